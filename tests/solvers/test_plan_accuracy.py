"""Memory of a small fit in a fresh process against its plan; times and full sizes: bench.plan_accuracy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bench import plan_accuracy
from bench.plan_accuracy import SHAPES, main, run, show


@pytest.mark.parametrize(("route", "on_disk"), [("dual-spectral", "nothing"), ("primal-leave-out", "both")])
def test_a_plan_is_about_right(route: str, on_disk: str) -> None:
    case = dataclasses.replace(SHAPES["gpt2"].scaled(0.15), route=route, on_disk=on_disk)
    row = run(case, threads=1)
    assert row["route"] == route
    assert 0.6 < row["memory_ratio"] < 1.3
    assert row["peak_mib"] < row["worst_mib"]
    assert row["expected_seconds"] > 0
    assert f"expected {row['expected_peak_mib']:7.0f}" in show(row)


def test_a_limit_that_is_too_small_is_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    row = run(dataclasses.replace(SHAPES["himalaya"].scaled(0.02), memory_limit=1000), threads=1)
    assert row["failed"] == "MemoryError"
    assert "failed: MemoryError" in show(row)
    assert "at least" in capsys.readouterr().err


def test_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed(case: plan_accuracy.Case, threads: int | None) -> dict[str, object]:
        return {**dataclasses.asdict(case), "failed": f"on {threads} threads"}

    monkeypatch.setattr(plan_accuracy, "run", failed)
    assert main(["--shapes", "wide,fine", "--scale", "0.1", "--threads", "2", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "plan-accuracy.json").read_text())
    assert [row["n"] for row in written["fits"]] == [200, 300]
    assert written["machine"]["settings"] == {"scale": 0.1, "threads": 2}
    assert "failed: on 2 threads" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--shapes", "round"])

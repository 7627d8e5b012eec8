"""The benchmark of the alignment, small: every way to write the formula gives the same numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import alignment  # noqa: E402


def test_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nilearn")
    options = ["--rounds", "2", "--scale", "0.03", "--nilearn-features", "5", "--out", str(tmp_path)]
    assert alignment.main(options) == 0
    record = json.loads((tmp_path / "alignment.json").read_text())
    assert [row["way"] for row in record["lanczos"]] == list(alignment.LANCZOS)
    assert [row["timed_features"] for row in record["glover"]] == [123, 5]
    for row in record["lanczos"] + record["glover"]:
        assert row["max_difference"] < 1e-6 * max(1.0, row["largest_value"])
        assert row["largest_value"] > 0.1
        assert 0 < row["times_min"] <= row["times_voxridge"] <= row["times_max"]
    assert record["lanczos"][0]["times_max"] == 1.0
    assert record["machine"]["settings"]["scale"] == 0.03
    assert "loop that skips" in capsys.readouterr().out

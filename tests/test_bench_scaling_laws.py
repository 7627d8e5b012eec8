"""The benchmark of scaling laws: what its record holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import scaling_laws  # noqa: E402


def test_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--draws", "200", "--wild", "4", "--tests", "4", "--out", str(tmp_path)]
    assert scaling_laws.main(arguments) == 0
    record = json.loads((tmp_path / "scaling-laws.json").read_text())
    assert len(record["coverage"]) == 6
    assert len(record["verdicts"]) == 24
    by_family = [row for row in record["coverage"] if "one size" in row["design"] and row["shared_error"]]
    assert by_family[0]["classical"] < 0.85 < by_family[0]["families"]
    for row in record["verdicts"]:
        assert sum(row[name] for name in scaling_laws.VERDICTS) == pytest.approx(1)
    assert "keeps rising" in capsys.readouterr().out

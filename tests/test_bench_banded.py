"""The benchmark of banded ridge, small: everybody gives the same scores to the same candidates."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import banded  # noqa: E402


def test_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("himalaya")
    options = ["--rounds", "2", "--scale", "0.05", "--candidates", "3", "--lengths", "3", "6"]
    assert banded.main([*options, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "banded.json").read_text())
    for name, ways in (("fewer columns", 2), ("more columns", 3)):
        rows, found = record[name]["race"], record[name]["searches"]
        assert len(rows) == ways
        assert rows[0]["times_voxridge"] == 1.0
        for row in rows:
            assert row["max_score_difference"] < 1e-3
            assert row["cv_score"] > 0.1
            assert 0 < row["times_min"] <= row["times_voxridge"] <= row["times_max"]
        assert [row["search"] for row in found] == ["random, 3", "random, 6", "voxridge, refined"]
        assert [row["candidates_per_target"] for row in found[:2]] == [3, 6]
        assert found[1]["cv_score"] >= found[0]["cv_score"]
        assert record[name]["summary"]["expected_times"] == 5.0
    assert record["machine"]["settings"]["scale"] == 0.05
    assert "MultipleKernelRidgeCV" in capsys.readouterr().out

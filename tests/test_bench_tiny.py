"""The benchmark of tiny problems: every action is measured on both packages, and the record says on what."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import tiny  # noqa: E402


def test_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.main(["--turns", "3", "--dtype", "float32", "--output", str(tmp_path / "tiny.json")])
    record = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "tiny.json").read_text()) == record
    assert set(record["races"]) == {
        "Ridge: fit",
        "Ridge: predict",
        "RidgeCV: fit",
        "RidgeCV: predict",
        "RidgeCV, 5 folds: fit",
    }
    for race in record["races"].values():
        low, high = race["ratio_quartiles"]
        assert 0 < low <= race["ratio"] <= high
        assert min(race["sklearn_us"], race["voxridge_us"]) > 0
    assert record["machine"]["settings"]["turns"] == 3


def test_turns_alternate() -> None:
    order: list[str] = []
    tiny.race(lambda: order.append("theirs"), lambda: order.append("ours"), turns=2)
    assert order[6:] == ["theirs", "ours", "ours", "theirs"]

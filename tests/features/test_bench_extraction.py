"""The benchmark of extraction, on a tiny model: what is timed is the same work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import extraction  # noqa: E402


def test_the_record(
    tiny_folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--rounds", "2", "--words", "60", "--fixed-words", "12"]
    assert extraction.main([*sizes, "--model", str(tiny_folder("llama")), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "extraction.json").read_text())
    for name in ("growing", "fixed"):
        assert [row["way"] for row in record[name]] == [
            "bare",
            "in memory",
            "into a store",
            "bare with head",
            "with surprisal",
        ]
        for row in record[name]:
            assert 0 < row["times_min"] <= row["times_bare"] <= row["times_max"]
        assert record[name][0]["times_max"] == record[name][3]["times_max"] == 1.0
        # The bare passes and the extraction end in the same states.
        assert record[f"{name}_difference"] < 1e-5
    assert record["machine"]["settings"]["words"] == 60
    assert "into a store" in capsys.readouterr().out

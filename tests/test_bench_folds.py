"""The benchmark of many folds: the same problem for every number of folds, ratios within a round."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import folds  # noqa: E402


@pytest.mark.filterwarnings("ignore::voxridge._warnings.SmallFoldWarning")
@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")  # so few penalties
def test_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"n": 400, "p": 20, "v": 30}

    def here(options: argparse.Namespace, n_folds: int) -> dict[str, Any]:
        return folds.measure(sizes, n_folds, options.route)

    monkeypatch.setattr(folds, "in_a_fresh_process", here)
    monkeypatch.setattr(folds, "FOLDS", (5, 95))
    monkeypatch.setattr(folds, "ALPHAS", np.logspace(0, 3, 4))
    assert folds.main(["--rounds", "2", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "folds.json").read_text())
    assert [(row["round"], row["folds"]) for row in record["rounds"]] == [(0, 5), (0, 95), (1, 95), (1, 5)]
    assert {row["route"] for row in record["rounds"]} == {"primal-leave-out"}
    assert all(row["n_alphas_chosen"] > 1 for row in record["rounds"])
    few, many = record["summary"]
    assert (few["folds"], few["ratio"], many["folds"]) == (5, 1.0, 95)
    assert many["ratio_min"] <= many["ratio"] <= many["ratio_max"]
    assert record["machine"]["settings"]["runs"] == 95
    assert "primal-leave-out" in capsys.readouterr().out


def test_a_fit_in_a_process_of_its_own() -> None:
    options = folds.parse(["--scale", "0.1"])
    row = folds.in_a_fresh_process(options, 5)
    assert (row["folds"], row["route"]) == (5, "primal-leave-out")
    assert row["seconds"] > 0
    with pytest.raises(SystemExit):
        folds.parse(["--scale", "0.05"])
    with pytest.raises(RuntimeError, match="more folds than there are runs"):
        folds.in_a_fresh_process(options, 96)

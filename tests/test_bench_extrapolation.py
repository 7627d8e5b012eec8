"""The benchmark of extrapolated ceilings: what is compared, and what the record says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import extrapolation  # noqa: E402


def test_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extrapolation, "N_SUBJECTS", 5)
    monkeypatch.setattr(extrapolation, "COVERAGE", {"targets": 30, "rows": 300, "folds": 10})
    arguments = ["--targets", "40", "--bootstraps", "6", "--sample", "3", "--rounds", "2"]
    assert extrapolation.main([*arguments, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "extrapolation.json").read_text())
    speed = record["speed"]
    assert speed["targets"] == 40
    assert speed["scipy_targets_run"] == 3
    assert speed["agreement"]["fits_compared"] == 3 * 7
    assert speed["agreement"]["voxridge_loss_higher"] == 0
    assert speed["ratio_min"] <= speed["ratio"] <= speed["ratio_max"]
    assert {(line["curve"], line["drawn"]) for line in record["coverage"]} == {
        (curve, drawn) for curve in ("exponential", "reliability") for drawn in ("points", "folds")
    }
    assert all(0 <= line["holds_own_limit"] <= 1 for line in record["coverage"])
    assert "holds_best_reachable" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        extrapolation.parse(["--targets", "2"])


def test_losses_are_of_the_curve() -> None:
    x = np.array([2.0, 3.0, 5.0])
    means = 0.4 * (1 - np.exp(-x / 2))[:, None]
    assert extrapolation.loss(x, means, np.array([0.4]), np.array([2.0]))[0] == pytest.approx(0, abs=1e-20)
    found = extrapolation.looped(x, means)
    assert (found["limit"][0], found["tau"][0]) == pytest.approx((0.4, 2.0), rel=1e-3)

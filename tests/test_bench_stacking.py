"""The benchmark of stacking, small: every way to the sums and to the weights gives the same answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import stacking  # noqa: E402


def test_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cvxopt")
    sizes = ["--rows", "50", "--targets", "40", "--models", "4", "--rows-at-once", "20"]
    timed = ["--rounds", "2", "--numpy-targets", "30", "--loop-targets", "6", "--out", str(tmp_path)]
    assert stacking.main(sizes + timed) == 0
    record = json.loads((tmp_path / "stacking.json").read_text())
    assert [row["timed_targets"] for row in record["sums"]] == [40, 30, 30]
    assert [row["way"] for row in record["weights"]] == list(stacking.WAYS)
    assert [row["timed_targets"] for row in record["weights"]] == [40, 6, 6, 40]
    for row in record["sums"]:
        assert row["relative_difference"] < 1e-5
    for row in record["weights"]:
        assert row["least_excess"] > -1e-9
        assert row["largest_excess"] < 1e-4
        assert row["weight_difference"] < 0.05
        assert row["times_min"] <= row["times_voxridge"] <= row["times_max"]
    assert record["machine"]["settings"]["models"] == 4
    assert "projected gradient" in capsys.readouterr().out


def test_the_nearest_point_of_the_simplex() -> None:
    points = np.random.default_rng(0).standard_normal((50, 5))
    nearest = stacking.onto_simplex(points)
    assert nearest.min() >= 0
    np.testing.assert_allclose(nearest.sum(axis=1), 1)
    for corner in np.eye(5):  # the condition of a projection: no corner lies on the point's side
        assert (((points - nearest) * (corner - nearest)).sum(axis=1) < 1e-12).all()
    inside = np.full((1, 5), 0.2)
    np.testing.assert_allclose(stacking.onto_simplex(inside), inside)

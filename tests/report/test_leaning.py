"""The figure of sides shows every region and its interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge.report.leaning import leaning_figure
from voxridge.report.style import save
from voxridge.science.asymmetry import lateralisation
from voxridge.science.hemispheres import hemispheres_from_names

SIDES = hemispheres_from_names(["LA", "RA", "LB", "RB"])
ROIS = np.array(["A", "A", "B", "B"])


def test_every_region_has_its_dot_and_line(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).uniform(0.1, 0.4, (5, 4))
    results = {name: lateralisation(scores, SIDES, over="subjects", rois=ROIS) for name in ("one", "two")}
    figure = leaning_figure(results)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["all pairs (2)", "A (1)", "B (1)"]
    assert "interval over 5 subjects" in axes.get_title(loc="left")
    lines, dots = axes.collections[:2]
    interval = results["one"].difference_interval
    drawn = np.array([segment[:, 0] for segment in lines.get_segments()])
    np.testing.assert_allclose(drawn, np.column_stack([interval.low, interval.high]))
    np.testing.assert_allclose(np.asarray(dots.get_offsets())[:, 0], interval.estimate)
    assert save(figure, tmp_path / "sides.png", dpi=40).stat().st_size > 2000


def test_what_cannot_be_drawn_together_is_named() -> None:
    one = lateralisation(np.full(4, 0.2), SIDES)
    assert "one map, no interval" in leaning_figure({"a": one}, what="index").axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="2 results of the regions"):
        leaning_figure({"a": one, "b": lateralisation(np.full(4, 0.2), SIDES, rois=ROIS)})
    with pytest.raises(ValueError, match="what='share'"):
        leaning_figure({"a": one}, what="share")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 results"):
        leaning_figure({})

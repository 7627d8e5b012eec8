"""Layer curves: every line has its band, every peak its interval, and models share colours and axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge.report.layers import Curve, DepthCurve, depth_figure, layer_figure, preferred_map
from voxridge.report.style import save
from voxridge.science.depths import peak_depth, preferred_layer
from voxridge.science.intervals import mean_interval


def scores(n_layers: int, peak: float, seed: int, n_repeats: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    curve = 0.3 - 0.4 * (np.linspace(0, 1, n_layers) - peak) ** 2
    return curve[:, None] + rng.normal(0, 0.01, (n_layers, n_repeats))


def test_layer_curves_all_have_bands_and_peaks(tmp_path: Path) -> None:
    curves = [
        Curve("language", scores(13, 0.6, 0), np.full(5, 0.1) + np.arange(5) / 100),
        Curve("shuffled", scores(13, 0.2, 1)),
    ]
    figure = layer_figure(
        range(13), curves, control="word rate", repeats="outer folds", true_layer=7, chosen=[7, 7, 8]
    )
    axes, strip = figure.axes
    assert len(axes.collections) == 2
    band = axes.collections[1].get_paths()[0].vertices
    interval = mean_interval(curves[1].layers, axis=1)
    assert band[:, 1].min() == pytest.approx(interval.low.min())
    assert band[:, 1].max() == pytest.approx(interval.high.max())
    places = np.arange(13.0)
    expected = [float(peak_depth(curve.layers, depths=places).depth) for curve in curves]
    marks = [line for line in strip.lines if line.get_marker() == "o"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == pytest.approx(expected)
    assert save(figure, tmp_path / "layers.png", dpi=40).stat().st_size > 4000
    with pytest.raises(ValueError, match="10 curves cannot be told apart"):
        layer_figure(range(13), curves * 5, control="rate", repeats="folds")


def test_models_over_depth(tmp_path: Path) -> None:
    control = np.array([0.1, 0.12, 0.09, 0.1, 0.11])
    groups = {
        "temporal": [
            DepthCurve("small", scores(7, 0.5, 2), control=control),
            DepthCurve("large", scores(25, 0.75, 3), control=control),
        ],
        "frontal": [DepthCurve("large", scores(25, 1.3, 4))],
    }
    figure = depth_figure(groups, repeats="listeners", control="word rate")
    first, first_strip, second, second_strip = figure.axes
    assert first.get_ylim() == second.get_ylim()
    lines = {len(line.get_xdata()): line.get_color() for line in first.lines if len(line.get_xdata()) > 2}
    assert lines[25] == next(line.get_color() for line in second.lines if len(line.get_xdata()) == 25)
    assert lines[7] != lines[25]
    dashed = [line for line in first.lines if line.get_linestyle() == "--" or line.is_dashed()]
    assert len(dashed) == 1  # the same control of both models is drawn once
    marks = [line for line in first_strip.lines if len(line.get_xdata()) == 1]
    assert [float(mark.get_xdata()[0]) for mark in marks] == pytest.approx([0.5, 0.75], abs=0.1)
    beyond = next(line for line in second_strip.lines if len(line.get_xdata()) == 1)
    assert beyond.get_markerfacecolor() == "white"
    assert float(beyond.get_xdata()[0]) == 1.0
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["small", "large", "word rate (bar: 95 %)"]
    assert save(figure, tmp_path / "depths.png", dpi=40).stat().st_size > 4000


def test_one_repeat_has_a_line_and_no_interval(tmp_path: Path) -> None:
    figure = depth_figure({"all": [DepthCurve("m", scores(6, 0.5, 5, n_repeats=1))]}, repeats="folds")
    strip = figure.axes[1]
    assert [len(line.get_xdata()) for line in strip.lines] == [1]
    assert save(figure, tmp_path / "one.png", dpi=40).stat().st_size > 2000
    with pytest.raises(ValueError, match="groups is empty"):
        depth_figure({}, repeats="folds")
    many = [DepthCurve(str(i), scores(6, 0.5, i)) for i in range(10)]
    with pytest.raises(ValueError, match="10 models"):
        depth_figure({"all": many}, repeats="folds")


def test_map_of_preferred_layers() -> None:
    rng = np.random.default_rng(6)
    curve = np.array([0.1, 0.2, 0.5, 0.2])[:, None, None] * np.array([1.0, 1.0, 0.0, 0.0, np.nan])
    found = preferred_layer(curve + rng.normal(0, 0.01, (4, 6, 5)))
    drawn = preferred_map(found, "Depth")
    np.testing.assert_allclose(drawn.values, [2 / 3, 2 / 3, np.nan, np.nan, np.nan])
    assert drawn.title == "Depth (50 % of targets have one)"

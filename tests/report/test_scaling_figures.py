"""Figures of scaling: what is drawn is what was fitted, and names do not hide each other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from voxridge.report.labels import label_points
from voxridge.report.scaling import family_styles, rois_figure, scaling_figure
from voxridge.report.style import new_figure
from voxridge.science.model_table import known_models
from voxridge.science.saturation import plateau_test
from voxridge.science.scaling import ScalingFit, fit_scaling
from voxridge.science.scaling_subjects import subject_scaling

MODELS = [model for model in known_models() if model.perplexity > 0]
SIZES = np.array([model.parameters for model in MODELS])
NAMES = [model.name for model in MODELS]
FAMILIES = [model.family for model in MODELS]
LOG = np.log10(SIZES)


def fit(seed: int = 0, slope: float = 0.03) -> ScalingFit:
    scores = 0.2 + slope * (LOG - 8) + 0.004 * np.random.default_rng(seed).standard_normal(28)
    return fit_scaling(SIZES, scores, names=NAMES, families=FAMILIES)


def boxes(figure: object, names: list[str]) -> dict[str, object]:
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [text for axes in figure.axes for text in axes.texts]  # type: ignore[attr-defined]
    from matplotlib.text import Text

    found = {}
    for text in texts:
        if text.get_text() in names:
            # Of an annotation with a line: the box of its letters only.
            text.update_positions(renderer)
            found[text.get_text()] = Text.get_window_extent(text, renderer)
    return found


def area(a: object, b: object) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)  # type: ignore[attr-defined]
    height = min(a.y1, b.y1) - max(a.y0, b.y0)  # type: ignore[attr-defined]
    return max(width, 0.0) * max(height, 0.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_model_is_named_and_no_name_hides_another(seed: int) -> None:
    figure = scaling_figure(fit(seed))
    placed = boxes(figure, NAMES)
    assert set(placed) == set(NAMES)
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    hidden = [area(placed[a], placed[b]) / (placed[a].width * placed[a].height) for a, b in pairs]
    assert max(hidden) < 0.1
    frame = figure.axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 + 1 for box in placed.values())


def test_points_that_coincide_are_named_apart() -> None:
    figure = new_figure(5, 4)
    axes = figure.add_subplot()
    x, y = np.array([1.0, 1.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0, 2.0])
    axes.scatter(x, y)
    names = ["first model", "second model", "third model", "fourth"]
    label_points(axes, x, y, names)
    placed = boxes(figure, names)
    assert all(area(placed[a], placed[b]) == 0 for a in names for b in names if a < b)


def test_the_line_drawn_is_the_fit() -> None:
    found = fit()
    axes = scaling_figure(found, title="T", score="r of voxels").axes[0]
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(y, found.predict(x))
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "number of parameters (logarithmic)"
    assert axes.get_ylabel() == "r of voxels"
    drawn = np.concatenate([points.get_offsets() for points in axes.collections if len(points.get_offsets())])
    assert {tuple(row) for row in np.round(drawn, 6)} >= {
        tuple(row) for row in np.round(np.column_stack([SIZES, found.scores]), 6)
    }
    words = axes.texts[0].get_text()
    assert f"slope {found.slope:.3g} per decade" in words
    assert "over 8 families" in words
    assert "of the fitted score at gpt2" in words
    assert scaling_figure(fit_scaling([1, 2, 3], [1, 2, 2], log=False)).axes[0].get_xscale() == "linear"


def test_a_plateau_is_drawn_only_where_it_is_supported() -> None:
    bent = 0.2 + 0.03 * np.minimum(LOG - 8, 1.2) + 0.003 * np.random.default_rng(0).standard_normal(28)
    dashed = {}
    for name, scores in (("bent", bent), ("straight", fit().scores)):
        test = plateau_test(SIZES, scores, families=FAMILIES, n_draws=199)
        axes = scaling_figure(fit_scaling(SIZES, scores, names=NAMES, families=FAMILIES), plateau=test).axes[
            0
        ]
        dashed[name] = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed["bent"]) == 1
    assert dashed["straight"] == []


def test_subjects_are_thin_lines() -> None:
    scores = fit().scores + np.array([[-0.02], [0.0], [0.02]])
    found = subject_scaling(SIZES, scores, names=NAMES)
    axes = scaling_figure(found.fit, lines=(found.slopes, found.intercepts)).axes[0]
    thin = [line for line in axes.lines if line.get_linewidth() < 1 and len(line.get_xdata())]
    assert len(thin) == 3
    assert thin[2].get_ydata()[0] - thin[0].get_ydata()[0] == pytest.approx(0.04)


def test_the_numbers_cover_no_point() -> None:
    scores = 0.3 + 0.001 * (LOG - 8)
    scores[:4] = 0.33  # where the numbers would be
    figure = scaling_figure(fit_scaling(SIZES, scores, names=NAMES))
    axes = figure.axes[0]
    box = axes.texts[0].get_window_extent()
    points = axes.transData.transform(np.column_stack([SIZES, scores]))
    assert not any(box.contains(*point) for point in points)


def test_panels_of_regions_have_axes_of_one_length() -> None:
    fits = {name: fit(i, 0.01 * i) for i, name in enumerate(["TP", "STS", "IFG", "AG"])}
    figure = rois_figure(fits, title="Regions")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == list(fits)
    heights = [np.ptp(axes.get_ylim()) for axes in panels]
    np.testing.assert_allclose(heights, heights[0])
    for axes, found in zip(panels, fits.values(), strict=True):
        low, high = axes.get_ylim()
        assert low < found.scores.min()
        assert found.scores.max() < high
    shared = rois_figure({"STS": fit(0), "IFG": fit(1)}, zero=True).axes
    assert shared[0].get_ylim() == shared[1].get_ylim()


def test_no_two_families_look_the_same() -> None:
    many = fit_scaling(np.arange(1.0, 31), np.arange(30.0), families=[f"f{i}" for i in range(30)])
    styles = family_styles([many])
    assert len(set(styles.values())) == 30


def test_errors() -> None:
    several = fit_scaling(SIZES, np.column_stack([fit().scores, fit().scores]))
    with pytest.raises(ValueError, match=r"shape \(28, 2\)"):
        scaling_figure(several)
    with pytest.raises(ValueError, match="fits is empty"):
        rois_figure({})


def test_series_without_a_line() -> None:
    few = np.where(np.arange(28) < 26, np.nan, 0.2)
    with pytest.raises(ValueError, match="fit has 2 models with a score, and no line"):
        scaling_figure(fit_scaling(SIZES, few))
    nothing = fit_scaling(SIZES, np.full(28, np.nan))
    figure = rois_figure({"STS": fit(), "few": fit_scaling(SIZES, few), "nothing": nothing})
    words = [text.get_text() for axes in figure.axes[1:3] for text in axes.texts]
    assert words == ["too few scores"] * 2


def test_long_names_stay_inside_the_figure() -> None:
    families = [f"a family with a long name, number {i % 6}" for i in range(28)]
    found = fit_scaling(SIZES, fit().scores, families=families)
    figure = scaling_figure(found, title="A title that is longer than the figure is wide. " * 3)
    figure.draw_without_rendering()
    for box in (figure.legends[0].get_window_extent(), figure.axes[0].title.get_window_extent()):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1

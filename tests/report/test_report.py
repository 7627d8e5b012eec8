"""The page is self-contained and escapes what it is given; the figures can be made."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from voxridge.report.alpha import alpha_figure, edge_share
from voxridge.report.figures import alignment_figure, bars_figure, folds_figure, sides_figure, truth_figure
from voxridge.report.html import Report, flatten
from voxridge.report.layers import Curve, layer_figure
from voxridge.report.study_figures import subjects_figure, weights_figure
from voxridge.report.style import look, new_figure, save


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    picture = save(new_figure(1, 1), tmp_path / "picture.png", dpi=30)
    report = Report("A <b> & c", "kicker")
    report.text("x < y")
    report.note('"quoted"', warning=True)
    report.cards([("0.44", "name", "<i>")])
    report.figure(picture, "caption", alt='an "alt"')
    report.table(["<h>", "r"], [["<script>", 0.123456], ["n", 3]])
    report.settings({"a": {"b": [1, 2.5]}, "c": "d"}, summary="all")
    page = report.write(tmp_path / "page.html", "footer").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<i>" not in page
    assert "x &lt; y" in page
    assert "0.123</td>" in page
    assert ">3</td>" in page
    assert "a.b" in page
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', page)
    assert sources == ["data:image/png;base64,"]
    assert "url(" not in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "picture.png"]


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == [("a.b.c", 1), ("d", 2)]


def test_edges_are_counted_and_said() -> None:
    grid = np.logspace(0, 3, 4)
    share = edge_share(np.array([1.0, 10, 10, 1000, np.nan]), grid)
    assert share.smallest == share.largest == 0.25
    assert share.alarming
    assert "50.0% of the choices for x lie at an edge" in share.sentence("x")
    assert not edge_share(np.full(5, 10.0), grid).alarming
    assert edge_share(np.full(5, np.nan), grid).total == 0


def test_figures_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    curves = [Curve("a", rng.random((3, 5)), rng.random(5)), Curve("null", rng.random((3, 5)))]
    masks = {"x": np.array([True, False] * 10), "y": np.array([False, True] * 10)}
    figures = [
        layer_figure([0, 1, 2], curves, control="rate", repeats="folds", true_layer=1, chosen=[1, 1, 2]),
        alpha_figure(np.logspace(0, 3, 4), {"a": np.array([1.0, 10.0]), "b": np.array([np.nan, 100.0])}),
        bars_figure(
            ["r1", "r2"], {"m": rng.random((5, 2))}, title="t", repeats="listener", marks={"m": np.ones(2)}
        ),
        truth_figure(rng.random(20), rng.random(20), masks),
        sides_figure(["one area", "two"], rng.random((2, 2)), rng.random((2, 2))),
        folds_figure(["a", "b"], {"m": rng.random(2)}, title="t"),
        alignment_figure([-2.0, 0.0, 2.0], {"m": rng.random(3)}, {"m": 0.4}),
    ]
    for number, figure in enumerate(figures):
        path = save(figure, tmp_path / f"{number}.png", dpi=40)
        assert path.stat().st_size > 2000


def test_settings_of_the_user_come_back() -> None:
    before = mpl.rcParams["axes.spines.top"]
    with look():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] == before


@pytest.mark.slow
def test_surface_maps(tmp_path: Path) -> None:
    from voxridge.report.brain import SurfaceMap, surface_figure
    from voxridge.responses.cortex import load_cortex

    cortex = load_cortex()
    values = np.zeros(cortex.n_vertices)
    values[: cortex.left.n_vertices] = np.linspace(0, 1, cortex.left.n_vertices)
    values[5] = np.nan
    figure = surface_figure(cortex, [SurfaceMap("one", values), SurfaceMap("two", -values)], threshold=0.1)
    assert len(figure.axes) == 9
    assert save(figure, tmp_path / "maps.png", dpi=40).stat().st_size > 10_000
    with pytest.raises(ValueError, match="the last axis must be 20484"):
        cortex.split(values[:10])


def test_long_names_leave_room_for_the_figure(tmp_path: Path) -> None:
    models = [f"Llama-3.{i}-8B-Instruct-quantised-gptq-int4-version-{i}" for i in range(3)]
    subjects = ["participant-" + 30 * "x" + str(i) for i in range(2)]
    drawn = [
        subjects_figure(subjects, models, np.ones((2, 3)), np.zeros(2)),
        weights_figure(models, np.full((3, 5), 1 / 3)),
        bars_figure(models, {"r": np.ones((4, 3))}, title="Models", repeats="fold"),
    ]
    for number, figure in enumerate(drawn):  # what does not fit is a warning, and an error here
        save(figure, tmp_path / f"{number}.png")
    assert drawn[1].axes[0].get_position().width > 0.6
    ticks = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert ticks[2] == "Llama-3.2…-version-2"

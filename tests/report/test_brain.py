"""Surface figures show what they are given where it belongs; projections refuse other spaces."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from voxridge.report._paint import Layer, border, commonest, face_colours, hatching, project
from voxridge.report._scales import make_scale
from voxridge.report.brain import SurfaceMap, lateralisation_figure, surface_figure
from voxridge.report.projection import surface_values
from voxridge.report.style import SERIES, save
from voxridge.report.volumes import volume_figure
from voxridge.responses import Geometry
from voxridge.responses.cortex import Cortex, Hemisphere, load_cortex
from voxridge.science.hemispheres import hemispheres_from_surfaces
from voxridge.science.lateral_regions import target_coordinates

pytest.importorskip("nilearn")
MNI = "MNI152NLin2009cAsym"


def ball(side: str, n_vertices: int = 300, *, flat: bool = True) -> Hemisphere:
    from scipy.spatial import ConvexHull

    index = np.arange(n_vertices) + 0.5
    polar, around = np.arccos(1 - 2 * index / n_vertices), np.pi * (1 + 5**0.5) * index
    unit = np.column_stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)])
    faces = ConvexHull(unit).simplices.astype(np.int64)
    corners = unit[faces]
    inward = (
        np.einsum(
            "ij,ij->i", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners[:, 0]
        )
        < 0
    )
    faces[inward] = faces[inward][:, ::-1]
    sign = -1.0 if side == "left" else 1.0
    place = unit * [sign, 1, 1]
    if side == "left":
        faces = faces[:, ::-1]
    return Hemisphere(
        side,
        place * [30, 80, 55] + [sign * 35, -15, 10],
        place * [40, 100, 70],
        100 * place,
        faces,
        np.sin(6 * polar),
        place[:, 1:] * [100, 80] if flat else None,
        faces[unit[faces][..., 0].min(axis=1) > 0] if flat else None,
        place * [27, 77, 52] + [sign * 35, -15, 10],
    )


@pytest.fixture(scope="module")
def small() -> Cortex:
    return Cortex(ball("left"), ball("right"))


@pytest.fixture(scope="module")
def fsaverage() -> Cortex:
    return load_cortex()


@pytest.mark.parametrize(("side", "view"), list(itertools.product(["left", "right"], ["lateral", "medial"])))
def test_each_view_shows_the_side_it_says(fsaverage: Cortex, side: str, view: str) -> None:
    hemisphere = getattr(fsaverage, side)
    seen = project(hemisphere, view)
    x = hemisphere.inflated[seen.faces][..., 0].mean()
    outwards = -1 if side == "left" else 1
    assert np.sign(x) == (outwards if view == "lateral" else -outwards)
    # The front of the head is on the left of the picture in views from the left.
    front = hemisphere.inflated[:, 1].argmax()
    from_left = (side == "left") == (view == "lateral")
    assert np.sign(seen.points[front, 0]) == (-1 if from_left else 1)


def test_the_flat_surface_leaves_the_medial_wall_out(fsaverage: Cortex) -> None:
    for hemisphere in fsaverage.sides:
        seen = project(hemisphere, "flat")
        used = np.unique(seen.faces)
        assert 0.9 < len(used) / hemisphere.n_vertices < 0.95
        assert seen.points.shape == (10242, 2)
    with pytest.raises(ValueError, match="no flat coordinates"):
        project(ball("left", flat=False), "flat")
    with pytest.raises(ValueError, match="view='top'"):
        project(fsaverage.left, "top")


def colours_of(hemisphere: Hemisphere, layer: Layer, hide: bool = False, **options: Any) -> np.ndarray:
    scale, _ = make_scale([layer.values], options.pop("palette", "sequential"), 0.1, 1.0, ())
    return face_colours(hemisphere, hemisphere.faces, layer, scale, hide=hide)


def coloured(colours: np.ndarray) -> np.ndarray:
    return np.ptp(colours[:, :3], axis=1) > 0.01


def test_faces_are_coloured_where_values_pass_and_faded_where_they_may_be_chance() -> None:
    hemisphere = ball("left")
    inside = hemisphere.pial[:, 1] > 0
    values = np.where(inside, 0.8, 0.05)
    values[inside & (hemisphere.pial[:, 2] > 40)] = np.nan
    plain = colours_of(hemisphere, Layer(values, None, None, {}))
    passing = (values >= 0.1)[hemisphere.faces].sum(axis=1) >= 2
    np.testing.assert_array_equal(coloured(plain), passing)
    significant = hemisphere.pial[:, 2] > 10
    layer = Layer(values, significant, None, {})
    hidden, faded = colours_of(hemisphere, layer, hide=True), colours_of(hemisphere, layer)
    sure = significant[hemisphere.faces].sum(axis=1) >= 2
    np.testing.assert_array_equal(coloured(hidden), passing & sure)
    np.testing.assert_array_equal(faded[sure], plain[sure])
    doubtful = passing & ~sure
    assert (np.ptp(faded[doubtful, :3], axis=1) < 0.5 * np.ptp(plain[doubtful, :3], axis=1)).all()
    lean = colours_of(hemisphere, Layer(-values, None, None, {}), palette="diverging")
    assert (lean[passing, 2] > lean[passing, 0]).all()  # blue below zero


def test_scales() -> None:
    values = np.concatenate([np.linspace(-0.2, 0.4, 2000), [5.0, np.nan]])
    scale, beyond = make_scale([values], "diverging", 0.1, None, ())
    assert beyond
    assert scale.norm.vmin == -scale.norm.vmax
    np.testing.assert_allclose(scale.norm(0.0), 0.5)
    assert scale.passing(np.array([-0.2, 0.05, np.nan, 0.1])).tolist() == [True, False, False, True]
    assert not make_scale([values], "sequential", 0.0, 5.0, ())[1]
    assert make_scale([np.full(4, np.nan)], "sequential", 0.0, None, ())[0].norm.vmax == 1.0
    for count in range(1, 7):
        codes, _ = make_scale([np.array([0.0, np.nan])], "categorical", 0.0, None, "abcdef"[:count])
        shown = [to_hex(codes.colours(codes.norm(float(code)))).upper() for code in range(count)]
        assert shown == list(SERIES[:count])
    with pytest.raises(ValueError, match="give a name for every code"):
        make_scale([np.array([0.0, 2.0])], "categorical", 0.0, None, ("a", "b"))
    for maximum in (-1.0, 0.0, 0.1):
        with pytest.raises(ValueError, match="give a maximum above the threshold"):
            make_scale([values], "sequential", 0.1, maximum, ())
    with pytest.raises(ValueError, match="palette='rainbow'"):
        make_scale([values], "rainbow", 0.0, None, ())  # type: ignore[arg-type]


def test_borders_codes_and_hatching() -> None:
    assert commonest(
        np.array([[1, 2, 2], [1, 1, 2], [np.nan, 3, 3], [4, np.nan, 4], [5, 6, 7.0]])
    ).tolist() == [2, 1, 3, 4, 5]
    hemisphere = ball("right")
    inside = hemisphere.pial[:, 1] > 0
    edges = border(hemisphere.faces, inside)
    # The border of one patch is one closed line: every vertex on it has two edges.
    _, count = np.unique(edges, return_counts=True)
    assert (count % 2 == 0).all()
    seen = project(hemisphere, "lateral")
    over = inside[seen.faces].sum(axis=1) >= 2
    lines = np.array(hatching(seen, over))
    np.testing.assert_allclose(lines[:, 0].sum(axis=1), lines[:, 1].sum(axis=1), atol=1e-9)
    corners = seen.points[seen.faces[over]].reshape(-1, 2)
    assert (lines.reshape(-1, 2) >= corners.min(axis=0) - 1e-9).all()
    assert len(hatching(seen, np.zeros(len(seen.faces), bool))) == 0


def test_figures_have_their_views_and_say_what_they_hide(small: Cortex, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = small.n_vertices
    values = rng.random(n)
    marked = SurfaceMap(
        "one", values, values > 0.3, values > 0.8, {"area": small.side_mask("left") & (values > 0.5)}
    )
    figure = surface_figure(
        small, [marked, SurfaceMap("two", values)], threshold=0.1, views=("lateral", "flat")
    )
    assert len(figure.axes) == 2 * 4 + 1
    said = " ".join(text.get_text() for text in figure.texts)
    for words in (
        "one",
        "left lateral",
        "right flat",
        "correlation r",
        "below 0.1",
        "faded",
        "hatched",
        "outlined: area",
    ):
        assert words in said
    assert save(figure, tmp_path / "one.png", dpi=40).stat().st_size > 5000
    grid = surface_figure(
        small, [SurfaceMap(str(i), values) for i in range(5)], views=("lateral",), columns=2
    )
    assert len(grid.axes) == 11
    kinds = surface_figure(
        small,
        [SurfaceMap("k", np.where(values > 0.5, 1.0, np.nan))],
        palette="categorical",
        categories=("a", "b"),
    )
    assert [text.get_text() for text in kinds.legends[0].get_texts()] == ["a", "b"]
    assert len(kinds.axes) == 4


def test_what_does_not_fit_the_cortex_is_refused(small: Cortex) -> None:
    n = small.n_vertices
    good = SurfaceMap("m", np.zeros(n))
    with pytest.raises(ValueError, match=rf"values of the map 'm' has shape \(3,\); the cortex has \({n},\)"):
        surface_figure(small, [SurfaceMap("m", np.zeros(3))])
    with pytest.raises(ValueError, match="must be bool"):
        surface_figure(small, [SurfaceMap("m", np.zeros(n), np.zeros(n))])
    with pytest.raises(ValueError, match="not_significant='grey'"):
        surface_figure(small, [good], not_significant="grey")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give one or more of each"):
        surface_figure(small, [])
    with pytest.raises(ValueError, match=r"sides has \['top'\]"):
        surface_figure(small, [good], sides=("top",))
    with pytest.raises(ValueError, match=r"views has \['top'\]"):
        surface_figure(small, [good], views=("top",))  # type: ignore[arg-type]


def test_leaning_is_drawn_on_the_left(small: Cortex) -> None:
    pairs = hemispheres_from_surfaces(small.left.pial, small.right.pial)
    assert pairs.n_pairs == 300
    lean = np.linspace(-0.2, 0.2, pairs.n_pairs)
    figure = lateralisation_figure(small, pairs, {"model": lean}, significant={"model": lean > 0})
    assert len(figure.axes) == 3
    said = [text.get_text() for text in figure.texts]
    assert "left lateral" in said
    assert not any("right lateral" in text for text in said)
    other = hemispheres_from_surfaces(small.left.pial[:5], small.right.pial[:5])
    with pytest.raises(ValueError, match="10 targets and the cortex 600 vertices"):
        lateralisation_figure(small, other, {"model": np.zeros(5)})


def head(voxel: float = 6.0) -> Geometry:
    axes = np.arange(-80, 81, voxel), np.arange(-114, 87, voxel), np.arange(-78, 91, voxel)
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return Geometry.volume((x / 78) ** 2 + ((y + 18) / 100) ** 2 + ((z - 5) / 85) ** 2 < 1, affine)


def test_a_volume_lands_on_the_vertices_at_its_place(fsaverage: Cortex) -> None:
    geometry = head()
    places = target_coordinates(geometry)
    found = surface_values(geometry, places.T, space=MNI, cortex=fsaverage)
    middle = np.concatenate([(side.pial + side.white) / 2 for side in fsaverage.sides])
    known = np.isfinite(found).all(axis=0)
    assert known.mean() > 0.97
    off = np.abs(found[:, known].T - middle[known])
    assert np.percentile(off, 90) < 1e-3  # linear between voxels
    assert off.max() < 6
    values = places[:, 0].copy()
    values[places[:, 0] > 0] = np.nan
    half = surface_values(geometry, values, space=MNI, cortex=fsaverage)
    assert np.isnan(half[fsaverage.side_mask("right") & (middle[:, 0] > 6)]).all()
    left = half[fsaverage.side_mask("left") & (middle[:, 0] < -12)]
    assert np.nanmax(left) < -5  # no zeros from outside mixed in
    assert np.isnan(
        surface_values(geometry, np.full(geometry.n_columns, np.nan), space=MNI, cortex=fsaverage)
    ).all()


def test_other_spaces_are_refused(fsaverage: Cortex) -> None:
    geometry = head(12.0)
    values = np.zeros(geometry.n_columns)
    with pytest.raises(ValueError, match="only volumes in MNI space"):
        surface_values(geometry, values, space="T1w")
    shifted = geometry.affine.copy()
    shifted[:3, 3] += 70
    with pytest.raises(ValueError, match="lie where a head does"):
        surface_values(Geometry.volume(geometry.mask.reshape(geometry.shape), shifted), values, space=MNI)
    with pytest.raises(ValueError, match="resample other meshes"):
        surface_values(Geometry.surface((32492, 32492), ("L", "R")), np.zeros(64984), space="fsLR")
    with pytest.raises(ValueError, match="needs both, L and R"):
        surface_values(Geometry.surface((10242,), ("L",)), np.zeros(10242), space="fsaverage5")
    with pytest.raises(ValueError, match="kind 'columns' cannot be drawn"):
        surface_values(Geometry.columns(3), np.zeros(3), space=MNI)
    with pytest.raises(ValueError, match=r"values has shape \(2,\)"):
        surface_values(geometry, [1.0, 2.0], space=MNI)
    mask = np.ones(81924, bool)
    mask[3] = False
    finer = surface_values(
        Geometry.surface((40962, 40962), ("L", "R"), mask), np.arange(81923.0), space="fsaverage6"
    )
    assert np.isnan(finer[3])
    assert finer[10242] == 40961


@pytest.mark.parametrize("flip", [False, True])
def test_slices_keep_left_on_the_left(flip: bool, tmp_path: Path) -> None:
    geometry = head(12.0)
    if flip:
        affine = geometry.affine.copy()
        affine[0, 3] += affine[0, 0] * (geometry.shape[0] - 1)
        affine[0, 0] *= -1
        geometry = Geometry.volume(np.flip(geometry.mask.reshape(geometry.shape), 0), affine)
    values = np.where(target_coordinates(geometry)[:, 0] < -12, 0.5, 0.0)
    figure = volume_figure(geometry, values, title="t", threshold=0.1, heights=[0, 24], maximum=1.0)
    drawn = figure.axes[0].images[1].get_array().filled(np.nan)
    columns = np.flatnonzero(np.isfinite(drawn).any(axis=0))
    assert columns.max() < drawn.shape[1] / 2
    said = [text.get_text() for text in figure.texts if "z =" in text.get_text()]
    assert said == ["z = \N{MINUS SIGN}6 mm", "z = 18 mm"]  # the slices nearest to 0 and 24 mm
    assert save(figure, tmp_path / "s.png", dpi=40).stat().st_size > 2000
    with pytest.raises(ValueError, match="give some between"):
        volume_figure(geometry, values, heights=[500])
    with pytest.raises(ValueError, match="background has shape"):
        volume_figure(geometry, values, background=np.zeros((2, 2, 2)))


@pytest.mark.slow
def test_the_glass_brain_needs_mni_space(tmp_path: Path) -> None:
    geometry = head(12.0)
    values = np.linspace(-0.4, 0.4, geometry.n_columns)
    with pytest.raises(ValueError, match="kind='slices' for an individual brain"):
        volume_figure(geometry, values, kind="glass")
    figure = volume_figure(geometry, values, kind="glass", space=MNI, palette="diverging", threshold=0.2)
    assert save(figure, tmp_path / "glass.png", dpi=40).stat().st_size > 5000
    with pytest.raises(ValueError, match="give a volume and one value per voxel"):
        volume_figure(Geometry.columns(3), np.zeros(3))


def test_values_far_below_zero_do_not_stretch_a_scale_of_one_side() -> None:
    r2 = np.concatenate([np.linspace(-9.0, 0.0, 900), np.linspace(0.0, 0.3, 100)])
    assert 0.28 < make_scale([r2], "sequential", 0.0, None, ())[0].norm.vmax <= 0.3
    assert not make_scale([r2], "sequential", 0.0, 0.3, ())[1]
    for palette in ("sequential", "diverging"):  # nothing to show: no bar of a millionth
        empty, _ = make_scale([np.zeros(5)], palette, 0.5, None, ())  # type: ignore[arg-type]
        assert empty.norm.vmax == 1.5

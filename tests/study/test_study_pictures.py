"""Maps in a study's page: what is drawn on the cortex, and of whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voxridge.report import study_maps, surface_maps
from voxridge.report.html import Report
from voxridge.report.study_layers import layers_section
from voxridge.report.study_maps import maps_section
from voxridge.report.surface_maps import over_known, surface_space
from voxridge.responses import Geometry
from voxridge.responses.cortex import load_cortex
from voxridge.study.config import ResponsesConfig, StudyConfig
from voxridge.study.nested import ModelScores
from voxridge.study.outcome import ModelSize, Study, SubjectOutcome
from voxridge.study.results import StudyResult

N = 20484
RNG = np.random.default_rng(0)


def scores(name: str, layer: int | None, level: float, n: int, folds: int = 3) -> ModelScores:
    values = level + 0.05 * RNG.standard_normal((folds, n))
    return ModelScores(name, layer, values, values, np.ones((folds, n)), values, values.mean(axis=1))


def subject(name: str, geometry: Geometry, level: float, *, more: bool = True) -> SubjectOutcome:
    n = geometry.n_columns
    usable = np.ones(n, bool)
    usable[:4] = False
    n -= 4
    results = {}
    for model, own in (("small", level / 2), ("large", level)):
        layers = [scores("layer 0", 0, own / 2, n), scores("layer 2", 2, own, n)]
        names = {"name": [f"t{i}" for i in range(n)]}
        result = StudyResult(
            "", scores("word rate", None, 0.1, n), layers, names, np.ones(1), list("abc"), {}
        )
        if more:
            result.maps |= {"unique R2": RNG.standard_normal(n), "detected": np.arange(n) % 2 == 0}
            result.maps |= {"preferred layer": np.where(np.arange(n) % 3 == 0, np.nan, 1.0)}
            result.maps |= {"normalised r b": np.full(n, 0.8)}
        results[model] = result
    low = np.where(np.arange(n) < 100, -0.1, 0.2)
    weights = np.tile([[0.25], [0.75]], n)
    return SubjectOutcome(
        name,
        results,
        {},
        [],
        usable,
        geometry,
        SimpleNamespace(names=("small", "large"), weights=weights) if more else None,  # type: ignore[arg-type]
        {"b": SimpleNamespace(low=low)} if more else {},  # type: ignore[dict-item]
        {"half": np.arange(n) < n // 2},
        {},
        np.full(n, 0.02) if more else None,
    )


def study(subjects: list[SubjectOutcome], space: str) -> Study:
    config = StudyConfig("", ResponsesConfig(2.0, space=space), ())
    sizes = [ModelSize("small", parameters=1e6), ModelSize("large", parameters=1e7)]
    return Study(config, sizes, {one.name: one for one in subjects}, {})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would be drawn, by the name of the file."""
    calls: dict[str, Any] = {}

    def surface(cortex: Any, maps: Any, **options: Any) -> Any:
        return maps, options

    def keep(figure: Any, path: Path, **_: Any) -> Path:
        calls[path.stem] = figure
        path.write_bytes(b"")
        return path

    monkeypatch.setattr(surface_maps, "surface_figure", surface)
    monkeypatch.setattr(surface_maps, "lateralisation_figure", lambda c, p, maps, **o: (maps, o))
    monkeypatch.setattr(surface_maps, "save", keep)
    monkeypatch.setattr(study_maps, "save", keep)
    monkeypatch.setattr(
        study_maps, "write_maps", lambda folder, maps, *a, **o: [folder / name for name in maps]
    )
    return calls


def draw(made: Study, folder: Path) -> str:
    report = Report("", "")
    maps_section(report, made, folder / "maps", folder)
    return report.render("")


def test_two_subjects_on_the_surface(drawn: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    surface = Geometry.surface((N // 2, N // 2), ("L", "R"))
    made = study([subject("S1", surface, 0.3), subject("S2", surface, 0.5)], "fsaverage5")
    page = draw(made, tmp_path)
    names = {"r", "subjects", "normalised", "unique", "layers", "weights", "sides", "slopes"}
    assert set(drawn) == {f"map-{name}" for name in names} | {"map-r-S1", "map-r-S2"}
    assert page.count("<figure") == len(names)
    (whole,), options = drawn["map-r"]
    expected = np.mean([s.columns(s.results["large"].chosen.mean(axis=0)) for s in made.subjects.values()], 0)
    np.testing.assert_allclose(whole.values, expected)
    assert whole.title == "Mean of 2 subjects: large"
    assert whole.significant is None
    assert "2 subjects are too few to test each vertex" in page
    assert options["threshold"] == 0.05
    assert whole.outlines["half"].sum() == (N - 4) // 2
    both, _ = drawn["map-subjects"]
    assert [one.title for one in both] == ["S1", "S2"]
    (normalised,), _ = drawn["map-normalised"]
    np.testing.assert_array_equal(np.flatnonzero(normalised.below_ceiling), np.arange(4, 104))
    (layers,), _ = drawn["map-layers"]
    np.testing.assert_array_equal(np.unique(layers.values[np.isfinite(layers.values)]), [1.0])
    weights, _ = drawn["map-weights"]
    assert [np.nanmax(one.values) for one in weights] == [0.25, 0.75]
    sides, _ = drawn["map-sides"]
    assert list(sides) == ["small", "large"]


def test_one_subject_has_its_own_test(drawn: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    surface = Geometry.surface((N // 2, N // 2), ("L", "R"))
    page = draw(study([subject("S1", surface, 0.3)], ""), tmp_path)
    (whole,), _ = drawn["map-r"]
    np.testing.assert_array_equal(np.flatnonzero(whole.significant), np.arange(4, N, 2))
    assert "map-subjects" not in drawn
    assert "not above chance (FDR 0.05)" in page


def test_many_subjects_are_tested_over(drawn: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    surface = Geometry.surface((N // 2, N // 2), ("L", "R"))
    people = [subject(f"S{i}", surface, 0.3, more=False) for i in range(7)]
    for one in people:
        for layer in one.results["large"].layers:
            layer.scores[:, :100] -= 0.3 if layer.layer == 2 else 0.15
    page = draw(study(people, "fsaverage5"), tmp_path)
    (whole,), _ = drawn["map-r"]
    assert whole.significant[104:].all()
    assert whole.significant[4:104].mean() < 0.2
    assert "t test, FDR 0.05" in page
    assert set(drawn) == {"map-r", "map-subjects", "map-sides"} | {f"map-r-S{i}" for i in range(7)}


def test_volumes_by_their_space(drawn: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = -50.0, -30.0, -10.0
    volume = Geometry.volume(np.ones((6, 3, 3), bool), affine)
    draw(study([subject("S1", volume, 0.3)], "MNI152NLin6Asym"), tmp_path)
    (whole,), _ = drawn["map-r"]
    known = whole.values[np.isfinite(whole.values)]
    assert 500 < len(known) < N
    assert abs(known.mean() - 0.3) < 0.05
    drawn.clear()
    page = draw(study([subject("S1", volume, 0.3), subject("S2", volume, 0.3)], "individual"), tmp_path)
    assert set(drawn) == {f"map-{kind}-{name}" for kind in ("r", "unique") for name in ("S1", "S2")}
    assert page.count("<figure") == 4
    assert "where it is above chance (FDR 0.05)" in page
    assert "responses.space" in draw(study([subject("S1", volume, 0.3)], ""), tmp_path)
    far = dataclasses.replace(volume, affine=50 * affine)
    page = draw(study([subject("S1", far, 0.3)], "MNI152"), tmp_path)
    assert "The maps could not be drawn" in page
    assert "check the affine and the space" in page


def test_which_geometries_can_be_drawn() -> None:
    both = Geometry.surface((N // 2, N // 2), ("L", "R"))
    assert surface_space(both, "") == "fsaverage5"
    assert surface_space(Geometry.surface((40962, 40962), ("L", "R")), "fsaverage6") == "fsaverage6"
    assert surface_space(Geometry.surface((40962, 40962), ("L", "R")), "") == ""
    assert surface_space(Geometry.surface((N // 2,), ("L",)), "fsaverage5") == ""
    assert surface_space(Geometry.columns(3), "MNI152") == surface_space(None, "MNI152") == ""


def test_more_models_than_can_be_told_apart(tmp_path: Path) -> None:
    people = [subject(name, Geometry.columns(30), 0.3, more=False) for name in ("S1", "S2")]
    for one in people:
        one.results = {f"m{i}": one.results["large"] for i in range(14)}
        one.rois = {}
    made = study(people, "")
    made.sizes = [ModelSize(f"m{i}") for i in range(14)]
    assert made.some_models(3) == ["m0", "m6", "m13"]
    report = Report("", "")
    layers_section(report, made, tmp_path, tmp_path)
    page = report.render("")
    assert "Drawn are 9 of 14 models" in page
    assert page.count("<td>m") == 14
    assert len((tmp_path / "layers.csv").read_text().splitlines()) == 1 + 14 * 2


def test_means_of_what_is_known() -> None:
    found = over_known(np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan]]))
    np.testing.assert_array_equal(found, [2.0, 2.0, np.nan])


@pytest.mark.slow
def test_pictures_are_really_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nilearn")
    monkeypatch.setattr(
        study_maps, "write_maps", lambda folder, maps, *a, **o: [folder / name for name in maps]
    )
    cortex = load_cortex()
    surface = Geometry.surface((cortex.left.n_vertices, cortex.right.n_vertices), ("L", "R"))
    page = draw(study([subject("S1", surface, 0.3)], "fsaverage5"), tmp_path)
    assert "could not be drawn" not in page
    assert len(list(tmp_path.glob("map-*.png"))) == page.count("data:image/png") == 7

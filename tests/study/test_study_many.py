"""A study of three subjects, three models and repeats, in a volume: everything a study makes of them."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.demo.story import load_story, read_aloud
from voxridge.features import tr_times, word_rate
from voxridge.responses import Geometry, build_response_store
from voxridge.study import engine, training
from voxridge.study import run as run_module
from voxridge.study.comparison import compare_studies
from voxridge.study.config import load_config
from voxridge.study.layer_choice import layer_choice
from voxridge.study.prepare import delayed
from voxridge.study.progress import FitProgress
from voxridge.study.run import run_study
from voxridge.study.trends import SharedResponses, subject_hemispheres

SUBJECTS = ("S1", "S2", "S3")
GRID, ROWS, TR = (6, 2, 2), 80, 1.5
STUDY = """
title = "Many"
subjects = ["S1", "S2", "S3"]
[[models]]
label = "small"
layers = [0]
parameters = 1e6
[[models]]
label = "middle"
layers = [0, 1]
parameters = 1e7
[[models]]
label = "large"
layers = [0, 1, 2]
parameters = 1e8
[responses]
tr = 1.5
[fit]
delays = [1, 2, 3]
alpha_low = 10
alpha_count = 4
[analysis]
joint = "ridge"
permutations = 60
training_sizes = [1, 2]
[rois]
file = "rois.nii.gz"
names = { 2 = "outer left", 1 = "inner right" }
"""


def write_subject(folder: Path, name: str, rng: np.random.Generator) -> None:
    """Three runs in a 6 x 2 x 2 volume whose left half answers to the word rate; the last is heard thrice."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = -50.0, -30.0, -10.0  # columns of voxels at -50, -30, -10, 10, 30, 50 mm
    nibabel.save(nibabel.Nifti1Image(np.ones(GRID, np.int16), affine), folder / "mask.nii.gz")
    labels = np.zeros(GRID, np.int16)
    labels[:2], labels[3] = 2, 1
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "rois.nii.gz")
    sources: dict[str, Any] = {}
    for number, chapter in enumerate(load_story().chapters[:3], start=1):
        words = read_aloud(chapter)
        if name == SUBJECTS[0]:
            with (folder / f"w{number}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["word", "onset", "offset"])
                writer.writerows(zip(words.text, words.onset, words.offset, strict=True))
        rate = delayed(word_rate(words, tr_times(ROWS, TR), TR, outside="keep"), (3,))[:, 0]
        paths = []
        for repeat in range(3 if number == 3 else 1):
            data = rng.standard_normal((*GRID, ROWS))
            data[:3] += 1.5 * rate
            paths.append(folder / f"{name}-{number}-{repeat}.nii.gz")
            image = nibabel.Nifti1Image(data.astype(np.float32), affine)
            image.header.set_zooms((20.0, 20.0, 20.0, TR))
            nibabel.save(image, paths[-1])
        sources[f"run-{number}"] = paths if len(paths) > 1 else paths[0]
    build_response_store(sources, folder / f"{name}.h5", mask=folder / "mask.nii.gz", tr=TR, progress=False)


class Counting(FitProgress):
    """Counts instead of showing."""

    def __init__(self, total: int) -> None:
        super().__init__(total, shown=False)
        self.total, self.done = total, 0

    def step(self) -> None:
        self.done += 1

    def skip(self, fits: int) -> None:
        self.total -= fits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for name in SUBJECTS:
        write_subject(folder, name, rng)
    runs = "".join(
        f'[[runs]]\nname = "run-{n}"\nwords = "w{n}.csv"\nresponses = "{{subject}}.h5"\n' for n in (1, 2, 3)
    )
    (folder / "study.toml").write_text(STUDY + runs, encoding="utf-8")
    return folder


def run(path: Path, out: Path, model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run_study(load_config(path), out, load=lambda _: model, progress=False)


@pytest.fixture(scope="module")
def done(folder: Path, tiny_model: Any) -> Any:
    return run(folder / "study.toml", folder / "out", tiny_model)


@pytest.mark.slow
def test_everything_is_there(done: Any, folder: Path) -> None:
    study = done.study
    assert list(study.subjects) == list(SUBJECTS)
    assert study.table.shape == (3, 3)
    first = study.subjects["S1"]
    left = np.repeat(np.arange(6) < 3, 4)
    result = first.results["large"]
    assert result.control.mean_scores[left].min() > 0.3
    assert abs(result.control.mean_scores[~left]).max() < 0.35
    assert result.maps["detected"][left].mean() > 0.8
    assert result.maps["p"].min() >= 1 / 61
    assert set(first.ceilings) == {"run-3"}
    ceiling = first.ceilings["run-3"]
    assert ceiling.conditions.repeats == 3
    assert np.nanmean(ceiling.values[left]) > 0.7
    assert study.isc is not None
    assert study.isc.values[left].min() > 0.4 > study.isc.values[~left].max()
    assert study.sides["S1"].difference[0, 0] > 0.2
    assert study.trends["parameters"].subjects.interval.n_groups == 3
    assert study.side_trends["all pairs"].subjects.interval.n_groups == 3
    weights = first.stack.weights
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    page = done.report.read_text(encoding="utf-8")
    for heading in ("Controls first", "Layer by layer", "Scaling", "Left and right", "Stacking", "Ceilings"):
        assert f">{heading}</h2>" in page
    for heading in ("Above chance", "Maps", "Penalties", "Run card", "Regions of interest"):
        assert f">{heading}</h2>" in page
    assert '<a href="#regions-of-interest">' in page
    # No space is said, so the volumes are not drawn on the cortex.
    names = {path.stem for path in (folder / "out" / "figures").glob("map-*.png")}
    assert names == {f"map-{kind}-{name}" for kind in ("r", "unique") for name in SUBJECTS}


@pytest.mark.slow
def test_regions(done: Any, folder: Path) -> None:
    study = done.study
    assert study.rois == ["outer left", "inner right"]
    first = study.subjects["S1"]
    column = np.repeat(np.arange(6), 4)
    np.testing.assert_array_equal(first.rois["outer left"], column < 2)
    large = first.results["large"].chosen.mean(axis=0)
    assert study.scores("large", "outer left")[0] == pytest.approx(large[column < 2].mean())
    assert study.roi_trends["outer left"].fit.slope != study.roi_trends["inner right"].fit.slope
    # The inner region lies at the midline, which is left out.
    assert set(study.side_trends) == {"all pairs", "outer left"}
    # A region on one side is compared with its mirror image.
    table = study.sides["S1"]
    expected = large[column < 2].mean() - large[column > 3].mean()
    place = table.models.index("large"), table.regions.index("outer left")
    assert table.difference[place] == pytest.approx(expected)
    with (folder / "out" / "tables" / "rois.csv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["model"] == "large" and row["what"] == "layer chosen"
        ]
    assert [row["region"] for row in rows] == study.rois
    assert float(rows[0]["r"]) == pytest.approx(study.scores("large", "outer left").mean(), rel=1e-5)
    assert float(rows[0]["low"]) < float(rows[0]["r"]) < float(rows[0]["high"])


@pytest.mark.slow
def test_training_sizes(done: Any, folder: Path) -> None:
    found = done.study.subjects["S2"].training["large"]
    assert found.sizes == (1, 2)
    assert found.scores.shape == (2, 3, 24)
    np.testing.assert_array_equal(found.samples, [[ROWS, 2 * ROWS]] * 3)
    # With all training runs the fit is that of the layer chosen in the fold.
    expected = done.study.subjects["S2"].results["large"].chosen
    np.testing.assert_allclose(found.scores[-1], expected, atol=1e-4)
    with (folder / "out" / "tables" / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["region"] for row in rows} == {"all targets", "outer left", "inner right"}


@pytest.mark.slow
def test_layers_and_what_picking_on_the_test_adds(done: Any, folder: Path) -> None:
    study = done.study
    choice = layer_choice(study, "large")
    scores = np.stack(
        [[layer.scores for layer in s.results["large"].layers] for s in study.subjects.values()]
    )
    assert choice.per_target == pytest.approx(scores.mean(axis=2).max(axis=1).mean())
    assert choice.one_layer == pytest.approx(scores.mean(axis=(2, 3)).max(axis=1).mean())
    assert choice.nested <= choice.one_layer + 1e-9
    assert choice.by_chance > 0
    assert choice.peak is not None
    assert choice.peak.low <= choice.peak.depth <= choice.peak.high
    assert layer_choice(study, "small").peak is None
    with (folder / "out" / "tables" / "layers.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * (1 + 2 + 3)


@pytest.mark.slow
def test_what_is_written(done: Any, folder: Path) -> None:
    out = folder / "out"
    with h5py.File(out / "results.h5") as file:
        assert [size["parameters"] for size in json.loads(file.attrs["models"])] == [1e6, 1e7, 1e8]
        group = file["subjects/S2/models/middle"]
        expected = done.study.subjects["S2"].results["middle"]
        np.testing.assert_allclose(group["chosen_scores"][:], expected.chosen, rtol=1e-6)
        np.testing.assert_array_equal(file["subjects/S2/rois/outer left"][:], np.arange(24) < 8)
        kept = file["subjects/S2/training/large/scores"][:]
        np.testing.assert_array_equal(kept, done.study.subjects["S2"].training["large"].scores)
        # Controls are kept once for all models of a subject.
        assert group["models/word rate"] == file["subjects/S2/models/small/models/word rate"]
    assert len(list((out / "tables").glob("targets_*.csv"))) == 9
    for name in ("scaling", "sides", "stacking", "ceilings"):
        assert (out / "tables" / f"{name}.csv").is_file()
    nibabel = pytest.importorskip("nibabel")
    (path,) = (out / "maps").glob("sub-S1_model-large_stat-r_map.nii.gz")
    image = np.asarray(nibabel.load(path).dataobj)
    values = done.study.subjects["S1"].results["large"].chosen.mean(axis=0)
    np.testing.assert_allclose(image[np.ones(GRID, bool)], values, rtol=1e-5)


@pytest.mark.slow
def test_only_what_is_new_is_fitted(
    done: Any, folder: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    original = engine.score_model
    monkeypatch.setattr(
        engine, "score_model", lambda m, *a, **k: fitted.append(m.name) or original(m, *a, **k)
    )
    monkeypatch.setattr(run_module, "write_study", lambda out, study: out)
    sized: list[int] = []
    score = training.score_by_training_size
    monkeypatch.setattr(
        training, "score_by_training_size", lambda *a, **k: sized.append(k["seed"]) or score(*a, **k)
    )
    bars: list[Counting] = []
    monkeypatch.setattr(
        run_module, "FitProgress", lambda total, shown: bars.append(Counting(total)) or bars[-1]
    )
    loaded: list[str] = []

    def load(config: Any) -> Any:
        loaded.append(config.title)
        return tiny_model

    again = run_study(load_config(folder / "study.toml"), folder / "out", load=load, progress=False)
    assert (fitted, loaded, sized) == ([], [], [])
    np.testing.assert_array_equal(again.study.table, done.study.table)
    text = (folder / "study.toml").read_text()
    text = text.replace("[responses]", '[[models]]\nlabel = "new"\nlayers = [2]\n[responses]')
    (folder / "more.toml").write_text(text, encoding="utf-8")
    run_study(load_config(folder / "more.toml"), folder / "out", load=load, progress=False)
    assert loaded == ["new"]
    assert fitted == ["layer 2"] * 3
    assert sized == [0, 1, 2] * 3
    # What is shown as the total is what is done: in the first run nothing, then each fold of the new model's
    # layer, of what it is part of, of its two sizes of training sets and its predictions.
    assert (bars[0].total, bars[0].done) == (0, 0)
    assert bars[1].total == bars[1].done >= 3 * 3 * (1 + 1 + 2 + 4)


@pytest.mark.slow
def test_other_layers_of_a_model_need_a_word(done: Any, folder: Path, tiny_model: Any) -> None:
    text = (folder / "study.toml").read_text().replace("layers = [0, 1]\n", "layers = [1, 2]\n")
    (folder / "other.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"model 'middle': .*middle\.h5 was made .*layers.*--out.*delete"
    ) as e:
        run(folder / "other.toml", folder / "out", tiny_model)
    assert "overwrite" not in str(e.value)


@pytest.mark.slow
def test_more_layers_and_another_order_of_models_leave_fits_alone(
    done: Any, folder: Path, tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "out", tmp_path / "out")
    (tmp_path / "out" / "work" / "features" / "middle.h5").unlink()
    text = (folder / "study.toml").read_text().replace("layers = [0, 1]\n", "layers = [0, 1, 2]\n")
    head, first, second, rest = text.split("[[models]]")
    (folder / "turned.toml").write_text("[[models]]".join([head, second, first, rest]), encoding="utf-8")
    fitted: list[str] = []
    original = engine.score_model
    monkeypatch.setattr(
        engine, "score_model", lambda m, *a, **k: fitted.append(m.name) or original(m, *a, **k)
    )
    monkeypatch.setattr(run_module, "write_study", lambda out, study: out)
    again = run(folder / "turned.toml", tmp_path / "out", tiny_model)
    assert fitted == ["layer 2"] * 3
    assert again.study.models == ["middle", "small", "large"]


@pytest.mark.slow
def test_two_models_are_compared(done: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    found = compare_studies(out, out / "results.h5", models=("small", "large"))
    assert list(found.subjects) == list(SUBJECTS)
    difference = [np.nanmean(subject.difference) for subject in found.subjects.values()]
    expected = done.study.table[:, 2] - done.study.table[:, 0]
    np.testing.assert_allclose(difference, expected, atol=1e-6)
    assert found.test is not None
    # What is done about missing runs says nothing of the responses that are there.
    copy = folder / "skipping.h5"
    shutil.copy(out / "results.h5", copy)
    with h5py.File(copy, "a") as file:
        made = json.loads(file.attrs["provenance"])
        made["responses"]["missing"] = "skip"
        file.attrs["provenance"] = json.dumps(made)
    assert compare_studies(out, copy, models=("small", "large")).settings == []
    with h5py.File(copy, "a") as file:
        del file.attrs["provenance"]
    with pytest.raises(ValueError, match=r"skipping\.h5 is not whole: .*provenance"):
        compare_studies(out, copy, models=("small", "large"))
    assert float(found.test.mean) == pytest.approx(float(expected.mean()), abs=1e-6)
    from voxridge.cli import main

    page = folder / "compared"
    assert main(["compare", str(out), str(out), "--models", "small", "large", "-o", str(page)]) == 0
    assert "3 subjects: the mean difference is" in capsys.readouterr().out
    assert (page / "report.html").is_file()
    assert (page / "tables" / "targets_S1.csv").is_file()


@pytest.mark.slow
def test_what_cannot_be_compared(done: Any, folder: Path, tmp_path: Path, tiny_model: Any) -> None:
    out = folder / "out"
    with pytest.raises(FileNotFoundError, match="give the folder that voxridge study wrote"):
        compare_studies(out, tmp_path)
    with pytest.raises(ValueError, match=r"the first study has .*small.*; say which to compare"):
        compare_studies(out, out)
    with pytest.raises(ValueError, match="has no model 'huge'; it has"):
        compare_studies(out, out, models=("small", "huge"))
    (tmp_path / "results.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        compare_studies(out, tmp_path)
    text = (folder / "study.toml").read_text().replace("tr = 1.5", "tr = 1.5\ntrim = [5, 0]")
    text = text.replace('["S1", "S2", "S3"]', '["S1"]').replace("permutations = 60", "permutations = 0")
    text = text.replace("training_sizes = [1, 2]", "").replace("layers = [0, 1, 2]", "layers = [1]")
    (folder / "trimmed.toml").write_text(text.replace('joint = "ridge"', 'joint = "off"'), encoding="utf-8")
    run(folder / "trimmed.toml", tmp_path / "trimmed", tiny_model)
    with pytest.raises(
        ValueError, match=r"prepared differently.*responses\.trim: \(?\[?0, 0.*against .*5, 0"
    ):
        compare_studies(out, tmp_path / "trimmed", models=("small", "small"))


def test_responses_are_held_as_long_as_they_are_few_and_alike() -> None:
    study: Any = SimpleNamespace(subjects={}, shared_space=True)
    part = np.zeros((100, 8), np.float32)
    held = SharedResponses(limit=3 * part.nbytes)
    for name in ("a", "b", "c"):
        held.keep(study, name, [part])
    assert list(held.of_all) == ["a", "b", "c"]
    held.keep(study, "d", [part])
    assert (held.of_all, len(held.notes)) == ({}, 1)
    held.keep(study, "e", [part])
    assert (held.of_all, len(held.notes)) == ({}, 1)
    other = SharedResponses()
    other.keep(study, "a", [part])
    study.shared_space = False
    other.keep(study, "b", [part])
    assert (other.of_all, other.notes) == ({}, [])


def test_voxels_of_an_individual_scan_are_not_mirrored() -> None:
    geometry = Geometry.volume(np.ones((6, 2, 2), bool), np.diag([6.0, 6.0, 6.0, 1.0]) - 15 * np.eye(4, 4, 3))
    subject: Any = SimpleNamespace(geometry=geometry)
    assert subject_hemispheres(subject, "individual") is None
    found = subject_hemispheres(subject, "MNI152")
    assert found is not None
    assert (found.n_pairs, found.n_midline) == (8, 8)

"""``voxridge responses``: what its options do, and what it says about bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from voxridge._warnings import ResponseWarning
from voxridge.cli import main
from voxridge.responses import Cleaning
from voxridge.streams import ResponseStore


def save_runs(folder: Path, *names: str, n_rows: int = 40, seed: int = 0) -> list[np.ndarray]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    runs = [rng.standard_normal((n_rows, 5)).cumsum(axis=0) for _ in names]
    for name, run in zip(names, runs, strict=True):
        np.save(folder / f"{name}.npy", run)
    return runs


def test_build_of_files_changes_nothing_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = save_runs(tmp_path / "s1", "run-1", "run-2")
    files = [str(tmp_path / "s1" / f"run-{i}.npy") for i in (1, 2)]
    command = ["responses", "build", *files, "-o", str(tmp_path / "s1.h5"), "--tr", "2", "--quiet"]
    assert main(command) == 0, capsys.readouterr().err
    assert "2 run(s), 80 rows, 5 columns" in capsys.readouterr().out
    store = ResponseStore.open(tmp_path / "s1.h5")
    np.testing.assert_array_equal(store.read("run-2"), runs[1])
    assert main([*command, "--high-pass", "40"]) == 1
    assert "made in another way" in capsys.readouterr().err
    options = ["--high-pass", "40", "--detrend", "--standardise", "--trim", "3,2", "--overwrite"]
    assert main([*command, *options]) == 0
    expected = Cleaning(high_pass=1 / 40, strategy=(), options={}).apply(runs[0], tr=2.0, trim=(3, 2))
    found = ResponseStore.open(tmp_path / "s1.h5").read("run-1")
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_files_of_one_name_are_repeats(tmp_path: Path) -> None:
    one = save_runs(tmp_path / "a", "story")[0]
    two = save_runs(tmp_path / "b", "story", seed=1)[0]
    files = [str(tmp_path / side / "story.npy") for side in "ab"]
    out = tmp_path / "s.h5"
    assert main(["responses", "build", *files, "-o", str(out), "--tr", "2", "--quiet"]) == 0
    store = ResponseStore.open(out)
    np.testing.assert_allclose(store.read("story"), (one + two) / 2)
    repeats = store.repeats("story")
    np.testing.assert_array_equal([r if isinstance(r, np.ndarray) else r.read() for r in repeats], [one, two])


def test_volumes_need_a_mask_and_keep_their_place(
    tmp_path: Path,
    save_volume: Callable[..., tuple[Path, np.ndarray]],
    mask: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = save_volume()
    image = nibabel.Nifti1Image(mask.astype(np.uint8), nibabel.load(path).affine)
    nibabel.save(image, tmp_path / "mask.nii.gz")
    command = ["responses", "build", str(path), "-o", str(tmp_path / "v.h5"), "--tr", "2", "--quiet"]
    assert main(command) == 1
    assert "mask" in capsys.readouterr().err
    assert main([*command, "--mask", str(tmp_path / "mask.nii.gz")]) == 0, capsys.readouterr().err
    store = ResponseStore.open(tmp_path / "v.h5")
    assert store.source().shape[1] == mask.sum()
    assert store.geometry.kind == "volume"


def test_the_hemispheres_of_a_surface_are_one_run(
    tmp_path: Path, save_surface: Callable[..., tuple[Path, np.ndarray]]
) -> None:
    names, shapes = [], []
    for side in "LR":
        path, data = save_surface(f"named/sub-01_hemi-{side}_bold.func.gii", seed=ord(side))
        names.append(path)
        shapes.append(data.shape)
    out = tmp_path / "surface.h5"
    command = ["responses", "build", *map(str, reversed(names)), "-o", str(out), "--tr", "2", "--quiet"]
    assert main(command) == 0
    store = ResponseStore.open(out)
    assert store.runs == ["sub-01_bold"]
    assert store.source().shape == (shapes[0][0], shapes[0][1] + shapes[1][1])


def test_fmriprep_is_cleaned_by_default(
    tmp_path: Path, derivatives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["responses", "build", "--fmriprep", str(derivatives), "-o", str(tmp_path / "p.h5"), "--quiet"]
    assert main(command) == 1
    assert "--fmriprep needs --subject" in capsys.readouterr().err
    with pytest.warns(ResponseWarning, match="2 rows at the start are not in steady state"):
        assert main([*command, "--subject", "01", "--high-pass", "60"]) == 0, capsys.readouterr().err
    store = ResponseStore.open(tmp_path / "p.h5")
    cleaning = store.provenance["clean"]
    assert cleaning["strategy"] == ["motion"]
    assert cleaning["detrend"] is cleaning["standardise"] is True
    assert cleaning["high_pass"] == pytest.approx(1 / 60)
    np.testing.assert_allclose(store.read(store.runs[0]).std(axis=0, ddof=1), 1, rtol=1e-5)


def test_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for seed in range(3):
        runs += save_runs(tmp_path / f"s{seed}", "story", seed=seed)
        file = str(tmp_path / f"s{seed}" / "story.npy")
        out = str(tmp_path / f"s{seed}.h5")
        assert main(["responses", "build", file, "-o", out, "--tr", "2", "--quiet"]) == 0
    stores = [str(tmp_path / f"s{seed}.h5") for seed in range(3)]
    command = ["responses", "average", *stores, "-o", str(tmp_path / "mean.h5"), "--quiet"]
    assert main([*command, "--raw"]) == 0
    assert "3 subjects, 1 run(s)" in capsys.readouterr().out
    np.testing.assert_allclose(ResponseStore.open(tmp_path / "mean.h5").read("story"), np.mean(runs, axis=0))
    assert main([*command, "--overwrite"]) == 0
    found = ResponseStore.open(tmp_path / "mean.h5").read("story")
    z = [(run - run.mean(axis=0)) / run.std(axis=0, ddof=1) for run in runs]
    mean = np.mean(z, axis=0)
    np.testing.assert_allclose(found, (mean - mean.mean(axis=0)) / mean.std(axis=0, ddof=1), atol=1e-6)
    assert main(["responses", "average", stores[0], stores[0], "-o", str(tmp_path / "x.h5")]) == 1
    assert "two stores have the same name" in capsys.readouterr().err


def test_check_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stories = tmp_path / "stories"
    stories.mkdir()
    for name in ("alice", "queen", "wheel"):
        (stories / f"{name}.csv").write_text("word,onset,offset\nthe,0,0.2\nend,70,78\n")
    save_runs(tmp_path / "s1", "alice", "extra")
    save_runs(tmp_path / "s1", "queen", n_rows=20)
    command = ["responses", "check", str(tmp_path / "s1"), "--stimuli", str(stories), "--tr", "2"]
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "wheel: no responses" in printed
    assert "extra: responses, but no stimulus" in printed
    assert "queen: 20 rows" in printed
    assert "alice:" not in printed
    for name, n_rows in (("queen", 41), ("wheel", 40)):
        save_runs(tmp_path / "s1", name, n_rows=n_rows)
    (tmp_path / "s1" / "extra.npy").unlink()
    assert main(command) == 0
    assert "nothing is wrong in 3 readable runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give files, or --fmriprep FOLDER"),
        (["a.npy", "--fmriprep", "x"], "and not both"),
        (["a.npy", "--trim", "ten"], "--trim is 'ten'"),
        (["a.npy"], "a.npy"),
    ],
)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["responses", "build", *options, "-o", str(tmp_path / "x.h5"), "--tr", "2"]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_runs_are_stored_in_natural_order(tmp_path: Path) -> None:
    save_runs(tmp_path / "s1", "run-1", "run-2", "run-10")
    files = [str(tmp_path / "s1" / f"run-{number}.npy") for number in (1, 10, 2)]  # as a shell lists them
    command = ["responses", "build", *files, "--tr", "2", "-o", str(tmp_path / "s1.h5"), "--quiet"]
    assert main(command) == 0
    assert ResponseStore.open(tmp_path / "s1.h5").runs == ["run-1", "run-2", "run-10"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--confounds", "wm_csf"], "--confounds is for --fmriprep"),
        (["--subject", "01"], "--subject is for --fmriprep"),
        (["--task", "rest"], "--task is for --fmriprep"),
        (["--space", "MNI"], "--space is for --fmriprep"),
        (["--kind", "cifti"], "--kind is for --fmriprep"),
        (["--high-pass", "-5"], "--high-pass is -5"),
    ],
)
def test_options_that_would_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    save_runs(tmp_path / "s1", "run-1")
    file, out = tmp_path / "s1" / "run-1.npy", tmp_path / "s1.h5"
    assert main(["responses", "build", str(file), "--tr", "2", "-o", str(out), "--quiet", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()

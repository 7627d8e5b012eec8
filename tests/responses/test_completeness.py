"""Everything that can be missing or wrong in a folder of responses is named in one report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.features.words import Words
from voxridge.responses import Cleaning, build_response_store, check_complete, find_fmriprep
from voxridge.streams import ResponseStore

pytest.importorskip("nilearn")

Save = Callable[..., tuple[Path, np.ndarray]]


def story(folder: Path, name: str, rows: int, columns: int = 4, fill: float | None = None) -> Path:
    path = folder / f"{name}.hf5"
    data = np.random.default_rng(len(name)).standard_normal((rows, columns))
    with h5py.File(path, "w") as file:
        file["data"] = data if fill is None else np.full_like(data, fill)
    return path


def kinds(report: object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in report.problems:  # type: ignore[attr-defined]
        found.setdefault(problem.run, []).append(problem.kind)
    return found


def test_a_complete_folder(tmp_path: Path) -> None:
    for name, rows in (("alice", 30), ("queen", 40)):
        story(tmp_path, name, rows)
    (tmp_path / "README.md").write_text("not a run")
    (tmp_path / "alice.json").write_text("{}")
    report = check_complete({"alice": 30, "queen": 40}, tmp_path, tr=2.0)
    assert report.ok
    report.raise_if_bad()
    assert str(report) == "nothing is wrong in 2 readable runs"
    assert [(f.run, f.n_rows, f.n_columns, f.nan_fraction) for f in report.runs] == [
        ("alice", 30, 4, 0.0),
        ("queen", 40, 4, 0.0),
    ]


def test_everything_wrong_is_in_one_report(tmp_path: Path) -> None:
    story(tmp_path, "good", 30)
    story(tmp_path, "short", 28)
    story(tmp_path, "zero", 30, fill=0.0)
    story(tmp_path, "still", 30, fill=2.5)
    story(tmp_path, "nan", 30, fill=np.nan)
    story(tmp_path, "narrow", 30, columns=3)
    story(tmp_path, "unasked", 30)
    cut = story(tmp_path, "cut", 30, columns=4)
    cut.write_bytes(cut.read_bytes()[:-200])
    os.symlink("../../.git/annex/objects/Xx/Yy/MD5E-s1000--0.hf5/MD5E-s1000--0.hf5", tmp_path / "annexed.hf5")
    (tmp_path / "lfs.npy").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 100\n"
    )
    holes = np.random.default_rng(0).standard_normal((30, 4))
    holes[:6, 1], holes[:, 2] = np.nan, 1.0
    np.save(tmp_path / "holes.npy", holes)
    names = ("good", "short", "zero", "still", "nan", "narrow", "cut", "annexed", "lfs", "holes", "missing")
    report = check_complete(dict.fromkeys(names, 30), tmp_path, tr=2.0)
    assert kinds(report) == {
        "short": ["length"],
        "zero": ["empty"],
        "still": ["empty"],
        "nan": ["empty"],
        "narrow": ["columns"],
        "cut": ["unreadable"],
        "annexed": ["unreadable"],
        "lfs": ["unreadable"],
        "missing": ["missing"],
        "unasked": ["extra"],
    }
    text = str(report)
    for words in (
        "short: 28 rows, but the stimulus asks for 30",
        "zero: every value is zero",
        "still: no column varies",
        "nan: every column has NaN",
        "narrow: 3 columns, but most runs have 4",
        "cut.hf5 is truncated",
        "git annex get annexed.hf5",
        "git lfs pull -I lfs.npy",
        "missing: no responses",
        "unasked: responses, but no stimulus of this name",
        "note: holes: 5.00% of the numbers are NaN or infinite, 1 of 4 columns are constant",
    ):
        assert words in text
    with pytest.raises(ValueError, match="10 problems in 7 readable runs"):
        report.raise_if_bad()


def test_durations_and_words_with_their_slack(tmp_path: Path) -> None:
    story(tmp_path, "alice", 33)
    words = Words(("Down", "the", "hole"), [1.0, 2.0, 59.0], [1.5, 2.5, 60.0])
    assert check_complete({"alice": words}, tmp_path, tr=2.0).ok
    assert check_complete({"alice": 60.0}, tmp_path, tr=2.0, tolerance=3).ok
    report = check_complete({"alice": 60.0}, tmp_path, tr=2.0, tolerance=2)
    assert "33 rows, but the stimulus lasts 60.0 s, 30 rows at a TR of 2 s (+- 2)" in str(report)
    report = check_complete({"alice": words}, tmp_path, tr=2.0, trimmed=15)
    assert "15 rows at a TR of 2 s, less 15 that were cut (+- 5)" in str(report)
    assert check_complete({"alice": 96.0}, tmp_path, tr=2.0, trimmed=15, tolerance=0).ok


def test_headers_only(tmp_path: Path) -> None:
    story(tmp_path, "zero", 30, fill=0.0)
    report = check_complete({"zero": 30}, tmp_path, tr=2.0, values=False)
    assert report.ok
    assert np.isnan(report.runs[0].nan_fraction)


def test_images_repeats_stores_and_fmriprep(
    save_volume: Save, mask: np.ndarray, derivatives: Path, tmp_path: Path
) -> None:
    one, _ = save_volume("one.nii.gz", 12)
    two, _ = save_volume("two.nii.gz", 11, tr=1.0)
    report = check_complete({"a": 12}, {"a": [one, two]}, tr=2.0)
    assert kinds(report) == {"a (presentation 1)": ["length", "tr"]}
    assert "the file says a TR of 1 s, not 2 s" in str(report)
    assert report.runs[0].n_columns == 5 * 6 * 4
    assert check_complete({"a": 12}, {"a": one}, tr=2.0, mask=mask).runs[0].n_columns == mask.sum()
    runs = {run.name: run for run in find_fmriprep(derivatives, "01")}
    assert check_complete({"task-alice_run-2": 70, "task-alice_run-10": 75}, runs, tr=1.5).ok
    store = build_response_store({"a": one}, tmp_path / "s.h5", mask=mask, progress=False)
    assert kinds(check_complete({"a": 12}, store, tr=1.5)) == {"a": ["tr"]}
    for given in (store, store.path):
        assert kinds(check_complete({"a": 13, "b": 2}, given, tr=2.0)) == {"a": ["length"], "b": ["missing"]}


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="above 0"):
        check_complete({"a": 1}, tmp_path, tr=0.0)
    with pytest.raises(ValueError, match="stimuli is empty"):
        check_complete({}, tmp_path, tr=2.0)
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        check_complete({"a": 1}, tmp_path / "nowhere", tr=2.0)
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    story(tmp_path, "a", 3)
    with pytest.raises(ValueError, match=r"two files for run 'a': a\.hf5 and a\.npy"):
        check_complete({"a": 1}, tmp_path, tr=2.0)


@pytest.mark.alice
def test_the_alice_listeners(alice: Path, tmp_path: Path) -> None:
    """28 files of real time courses: s33 holds no recording; the other 27 make the average listener."""
    from voxridge.features import read_words
    from voxridge.responses import average_subjects

    files = {path.name.partition("-")[0]: path for path in sorted((alice / "roi_6mm").glob("*.txt"))}
    words = read_words(alice / "stimulus" / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid")
    # The first row of the time courses is at 20 s: the ten volumes before it were cut.
    report = check_complete(dict.fromkeys(files, words), files, tr=2.0, trimmed=10)
    assert kinds(report) == {"s33": ["empty"]}
    with pytest.raises(ValueError, match=r"run 'alice' \(.*s33-timecourses\.txt\): every value is zero"):
        build_response_store({"alice": files["s33"]}, tmp_path / "s33.h5", tr=2.0, progress=False)
    del files["s33"]
    stores = {
        name: build_response_store({"alice": path}, tmp_path / f"{name}.h5", tr=2.0, progress=False)
        for name, path in files.items()
    }
    average = average_subjects(stores, tmp_path / "average.h5", progress=False)
    empty = ResponseStore.create(tmp_path / "s33.h5", overwrite=True)
    empty.write_run("alice", np.zeros_like(average.read("alice")), tr=2.0)
    with pytest.raises(ValueError, match=r"over s33 \(every value is zero"):
        average_subjects(stores | {"s33": empty}, tmp_path / "with.h5", progress=False)
    raw = np.stack([np.loadtxt(path) for path in files.values()])
    each = (raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, ddof=1, keepdims=True)
    mean = each.mean(axis=0)
    wanted = (mean - mean.mean(axis=0)) / mean.std(axis=0, ddof=1)
    np.testing.assert_allclose(average.read("alice"), wanted, atol=1e-10)
    assert average.attributes("alice")["n_subjects"] == 27
    cleaned = build_response_store(
        {"alice": files["s18"]},
        tmp_path / "clean.h5",
        tr=2.0,
        clean=Cleaning(),
        confounds={"alice": _motion(alice, len(wanted))},
        progress=False,
    )
    assert abs(np.corrcoef(cleaned.read("alice")[:, 0], np.arange(len(wanted)))[0, 1]) < 1e-9


def _motion(alice: Path, n_rows: int) -> np.ndarray:
    return np.loadtxt(next((alice / "nuisance").glob("s18-rp_*.txt")))[-n_rows:]


@pytest.mark.parametrize("wrong", [{"tolerance": -1}, {"trimmed": -2}])
def test_rows_cannot_be_fewer_than_none(tmp_path: Path, wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; give a number of rows, 0 or more"):
        check_complete({"alice": 30}, tmp_path, tr=2.0, **wrong)

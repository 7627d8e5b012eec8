"""Every warning has its lines on the page, and the code gives every error that the page quotes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from voxridge import EncodingRidge, Ridge, _warnings
from voxridge.features import Audio, Words, check_audio, read_words
from voxridge.features.extract_controls import ArrayReader
from voxridge.responses import build_response_store
from voxridge.science import Conditions, partial_effects, permutation_test, repeat_ceiling, subject_test
from voxridge.solvers import make_folds
from voxridge.solvers.cuda.devices import fake_device
from voxridge.solvers.cuda.plan import make_device_plan
from voxridge.solvers.memory import parse_memory
from voxridge.solvers.problem import Problem
from voxridge.streams import FeatureStore, write_runs

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CLASSES = [c for c in vars(_warnings).values() if isinstance(c, type) and c.__module__ == _warnings.__name__]

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((60, 4)), rng.standard_normal((60, 6))
RUNS = [20, 20, 20]


def encoding(**changes: Any) -> EncodingRidge:
    settings: dict[str, Any] = {"alphas": [1e-3, 1, 1e3], "delays": (0,), "progress": False}
    return EncodingRidge(**(settings | changes))


def resume_another(folder: Path) -> None:
    encoding(checkpoint=folder, scoring="r2").fit(X, Y, runs=RUNS)
    encoding(checkpoint=folder, scoring="correlation").fit(X, Y, runs=RUNS)


def interpolating() -> None:
    wide = rng.standard_normal((20, 40))
    encoding(alphas=[0.0], solver="svd", cv="leave-one-out").fit(wide, Y[:20])


ERRORS: dict[str, tuple[type[Exception], Callable[[Path], Any]]] = {
    "is too small: the fit needs at least": (
        MemoryError,
        lambda folder: encoding(memory_limit="1MB").plan(X, Y, runs=RUNS),
    ),
    "is not an amount of memory": (ValueError, lambda folder: parse_memory("much")),
    "needs at least 2 runs, got 1": (ValueError, lambda folder: encoding().fit(X, Y)),
    "asks for more folds than there are runs": (
        ValueError,
        lambda folder: encoding(cv=5).fit(X, Y, runs=RUNS),
    ),
    "add up to": (ValueError, lambda folder: encoding().fit(X, Y, runs=[20, 20])),
    "is as long as the shortest run": (
        ValueError,
        lambda folder: encoding(delays=(1, 20)).fit(X, Y, runs=RUNS),
    ),
    "no training sample is further than gap=": (
        ValueError,
        lambda folder: make_folds(2, [20], gap=30),
    ),
    "of the samples that it scores": (
        ValueError,
        lambda folder: make_folds([(np.arange(20), np.arange(5))], [20]),
    ),
    "every penalty must be finite and not negative": (
        ValueError,
        lambda folder: encoding(alphas=[-1.0]).fit(X, Y, runs=RUNS),
    ),
    "but the model was fitted on": (
        ValueError,
        lambda folder: encoding(alphas=[1]).fit(X, Y, runs=RUNS).predict(X[:, :2]),
    ),
    "has no coefficients": (
        ValueError,
        lambda folder: encoding(alphas=[1], weights="none").fit(X, Y, runs=RUNS).predict(X),
    ),
    'must be "r2"': (ValueError, lambda folder: encoding(cv="gcv").fit(X, Y)),
    "scores each fold, without sample weights": (
        ValueError,
        lambda folder: encoding(solver="spectral").fit(X, Y, runs=RUNS, sample_weight=np.ones(60)),
    ),
    "is of another fit": (ValueError, lambda folder: resume_another(folder / "begun")),
    "has no CUDA module": (RuntimeError, lambda folder: without_the_module()),
    "has too little memory": (MemoryError, lambda folder: on_a_small_device()),
    "give a larger alpha": (np.linalg.LinAlgError, lambda folder: interpolating()),
    "was made in another way": (ValueError, lambda folder: begun_again(folder / "features.h5")),
    "words lie outside": (ValueError, lambda folder: SPOKEN.check_within(0.0, 30.0)),
    "do not belong together": (ValueError, lambda folder: another_recording()),
    "all zeros, which no sound model gives": (ValueError, lambda folder: silent_layer(folder / "a.h5")),
}
ONSET = np.cumsum(rng.uniform(0.3, 1.2, 60))
SPOKEN = Words(["word"] * 60, ONSET, ONSET + 0.25)


def begun_again(path: Path) -> None:
    FeatureStore.create(path, {"pooling": "last"}).write_run("a", {"layer-00": np.ones((1, 1))})
    FeatureStore.begin(path, {"pooling": "mean"})


def another_recording() -> None:
    spoken = np.repeat(rng.random(600) > 0.4, 1600)
    check_audio(SPOKEN, Audio(spoken * rng.normal(scale=0.1, size=len(spoken)), 16000))


def silent_layer(path: Path) -> None:
    layers = {"layer-00": np.zeros((3, 2), np.float32)}
    write_runs(path, {"a": ArrayReader(layers, np.arange(3.0))}, {}, progress=False)


def without_the_module() -> None:
    with mock.patch("voxridge._cuda_libraries._MODULE", "voxridge._cuda_that_is_not_there"):
        encoding(device="cuda").fit(X, Y, runs=RUNS)


def on_a_small_device() -> None:
    problem = Problem(33_000, 28_672, 95_556, 20, make_folds(5, [33_000], gap=0), itemsize=4)
    make_device_plan(problem, fake_device("rtx3070"))


def test_every_warning_has_a_heading() -> None:
    headings = set(re.findall(r"^### `(\w+)`", PAGE, flags=re.MULTILINE))
    assert headings == {kind.__name__ for kind in CLASSES} - {"VoxridgeWarning"}
    assert "VoxridgeWarning" in PAGE


@pytest.mark.parametrize("fragment", ERRORS)
def test_errors_read_as_quoted(fragment: str, tmp_path: Path) -> None:
    kind, provoke = ERRORS[fragment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kind, match=re.escape(fragment)):
            provoke(tmp_path)


def test_the_page_quotes_these_errors_and_no_others() -> None:
    table = PAGE[PAGE.index("## Errors") :]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert quoted == list(ERRORS)


def overlapping(folder: Path) -> Any:
    grid = folder / "a.TextGrid"
    rows = ((0.0, 1.0, "one"), (0.5, 2.0, "two"))
    entries = "".join(f'{begin}\n{end}\n"{word}"\n' for begin, end, word in rows)
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n'
    grid.write_text(f'{head}"IntervalTier"\n"words"\n0\n2\n2\n{entries}')
    return read_words(grid)


def constant_voxel() -> Any:
    y = Y.copy()
    y[:, 0] = 1
    return encoding(alphas=[1]).fit(X, y, runs=RUNS)


def another_tr(folder: Path) -> Any:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(rng.standard_normal((2, 2, 2, 12)).astype(np.float32), np.eye(4))
    image.header.set_zooms((1, 1, 1, 3.0))
    nibabel.save(image, folder / "bold.nii")
    runs = {"run": folder / "bold.nii"}
    return build_response_store(runs, folder / "r.h5", mask=np.ones((2, 2, 2), bool), tr=2.0, progress=False)


WARNINGS: dict[str, Callable[[Path], Any]] = {
    "AlphaEdgeWarning": lambda folder: encoding(alphas=[1e-3, 1e-2]).fit(X, Y, runs=RUNS),
    "MaskedTargetsWarning": lambda folder: constant_voxel(),
    "SmallFoldWarning": lambda folder: encoding(alphas=[1], cv=10).fit(X, Y),
    "LeakageWarning": lambda folder: make_folds(5, [60], gap=0, longest_delay=2),
    "RankDeficientWarning": lambda folder: encoding(alphas=[1]).fit(np.hstack([X, X]), Y, runs=RUNS),
    "FallbackWarning": lambda folder: encoding(alphas=[0.0]).fit(
        X @ np.diag([1, 1, 1, 1e-9]) @ np.linalg.qr(rng.standard_normal((4, 4)))[0], Y, runs=RUNS
    ),
    "SingularDesignWarning": lambda folder: Ridge(alpha=0.0).fit(np.hstack([X, X]), Y),
    "StimulusWarning": lambda folder: overlapping(folder),
    "ResponseWarning": lambda folder: another_tr(folder),
    "SmallSampleWarning": lambda folder: subject_test([0.1, 0.2, 0.3]),
    "NoSignalWarning": lambda folder: repeat_ceiling(
        rng.standard_normal((3, 60, 20)), Conditions("held-out runs", ("a",), repeats=3), block=10
    ),
    "AutocorrelationWarning": lambda folder: permutation_test(
        np.cumsum(rng.standard_normal((300, 4)), axis=0) % 30,
        np.cumsum(rng.standard_normal((300, 4)), axis=0) % 30,
        cross_validated=False,
        block=1,
        n_permutations=30,
    ),
    "IndependenceWarning": lambda folder: subject_test(rng.standard_normal(2000)),
    "CollinearityWarning": lambda folder: partial_effects(Y[:, 0], X[:, 0], X[:, 1], X[:, 1] + 0.1 * X[:, 2]),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_the_causes_that_the_page_gives(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WARNINGS[name](tmp_path)
    assert getattr(_warnings, name) in {warning.category for warning in caught}


def test_every_warning_is_provoked() -> None:
    assert set(WARNINGS) == {kind.__name__ for kind in CLASSES} - {"VoxridgeWarning"}

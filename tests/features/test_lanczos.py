from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features import downsample, lanczos_matrix, read_words, tr_times


def _textbook(times: np.ndarray, scans: np.ndarray, lobes: int, cutoff: float) -> np.ndarray:
    kernel = np.zeros((len(scans), len(times)))
    for i, scan in enumerate(scans):
        for j, time in enumerate(times):
            t = (scan - time) * cutoff
            if t == 0:
                kernel[i, j] = 1.0
            elif abs(t) <= lobes:
                kernel[i, j] = (
                    lobes * math.sin(math.pi * t) * math.sin(math.pi * t / lobes) / (math.pi**2 * t**2)
                )
    return kernel


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    n_words=st.integers(0, 40),
    n_trs=st.integers(2, 25),
    tr=st.floats(0.3, 3.0),
    lobes=st.integers(1, 5),
    factor=st.one_of(st.none(), st.floats(0.2, 4.0)),
)
def test_equal_to_the_textbook_loop(
    seed: int, n_words: int, n_trs: int, tr: float, lobes: int, factor: float | None
) -> None:
    rng = np.random.default_rng(seed)
    scans = tr_times(n_trs, tr, offset=rng.uniform(-5, 5))
    times = rng.uniform(scans[0] - 4 * tr, scans[-1] + 4 * tr, n_words)
    times[: n_words // 3] = rng.choice(scans, n_words // 3)
    cutoff = None if factor is None else factor / tr
    found = lanczos_matrix(times, scans, lobes=lobes, cutoff=cutoff)
    default = (n_trs - 1) / (scans[-1] - scans[0])
    expected = _textbook(times, scans, lobes, default if cutoff is None else cutoff)
    np.testing.assert_allclose(found.toarray(), expected, rtol=0, atol=1e-12)
    assert found.nnz <= n_words * (2 * lobes / ((cutoff or default) * tr) + 2)


def test_downsample_is_the_product() -> None:
    rng = np.random.default_rng(0)
    scans = tr_times(30, 2.0)
    times = np.sort(rng.uniform(0, 60, 150))
    features = rng.standard_normal((150, 7))
    kept = features.copy()
    found = downsample(features, times, scans)
    np.testing.assert_allclose(found, _textbook(times, scans, 3, 0.5) @ features, atol=1e-12)
    np.testing.assert_array_equal(features, kept)
    assert found.dtype == np.float64
    for dtype in (np.float16, np.float32):
        narrow = downsample(features.astype(dtype), times, scans)
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, found, atol=2e-3 if dtype == np.float16 else 1e-5)


def test_kernel_is_not_renormalised() -> None:
    scans = tr_times(20, 2.0)
    sparse, dense = (np.arange(0.05, 40, step) for step in (1.0, 0.25))
    sums = [downsample(np.ones((len(t), 1)), t, scans)[8:12].mean() for t in (sparse, dense)]
    assert sums[1] / sums[0] == pytest.approx(4, rel=0.02)


def test_tr_times() -> None:
    np.testing.assert_allclose(tr_times(3, 1.5, offset=10), [10.75, 12.25, 13.75])
    for arguments in ((0, 2.0), (3, 0.0), (3, math.nan)):
        with pytest.raises(ValueError, match=r"at least one TR|positive number"):
            tr_times(*arguments)


def test_words_outside_the_scan() -> None:
    scans = tr_times(5, 2.0)
    features = np.ones((3, 1))
    downsample(features, [0.0, 5.0, 10.0], scans)
    with pytest.raises(
        ValueError, match=r"1 of 3 words lie outside the scan \(0 to 10 s\).*word 2 at 11 s.*keep"
    ):
        downsample(features, [0.0, 5.0, 11.0], scans)
    kept = downsample(features, [0.0, 5.0, 11.0], scans, outside="keep")
    assert kept[-1, 0] == pytest.approx(_textbook(np.array([5.0, 11.0]), scans, 3, 0.5)[-1].sum(), abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (np.ones((3, 2)), [1.0, 2.0], [1.0, 3.0]),
            {},
            r"features has shape \(3, 2\) and times has shape \(2,\)",
        ),
        ((np.ones(2), [1.0, 2.0], [1.0, 3.0]), {}, r"features has shape \(2,\)"),
        ((np.ones((2, 1)), [1.0, np.nan], [1.0, 3.0]), {}, r"times\[1\] is not a finite number"),
        ((np.ones((1, 1)), [1.0], [3.0, 1.0]), {}, "rise from each to the next"),
        ((np.ones((1, 1)), [1.0], []), {}, "at least one time"),
        ((np.ones((1, 1)), [1.0], [1.0]), {}, "single TR.*give cutoff"),
        ((np.ones((1, 1)), [1.0], [1.0, 3.0]), {"lobes": 0}, "lobes=0"),
        ((np.ones((1, 1)), [1.0], [1.0, 3.0]), {"cutoff": -1.0}, "cutoff=-1.0"),
        ((np.ones((1, 1)), [1.0], [1.0, 3.0]), {"outside": "drop"}, "outside='drop'"),
    ],
)
def test_bad_arguments(arguments: tuple[object, ...], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        downsample(*arguments, **options)  # type: ignore[arg-type]


def test_a_single_tr_with_a_cutoff() -> None:
    assert downsample([[2.0]], [1.0], [1.0], cutoff=0.5).tolist() == [[2.0]]


def test_no_words() -> None:
    assert downsample(np.ones((0, 2)), [], [1.0, 3.0]).tolist() == [[0, 0], [0, 0]]


@pytest.mark.alice
@pytest.mark.parametrize(("window", "cutoff_mult"), [(3, 1.0), (5, 0.5)])
def test_equal_to_the_huth_formula_on_a_story(alice: Path, window: int, cutoff_mult: float) -> None:
    words = read_words(next((alice / "stimulus").glob("*.TextGrid")))[:400]
    scans = tr_times(80, 2.0045, offset=10.0)
    features = np.random.default_rng(0).standard_normal((len(words), 3))
    cutoff = cutoff_mult / 2.0045
    found = downsample(features, words.midpoint, scans, lobes=window, cutoff=cutoff, outside="keep")
    expected = _textbook(words.midpoint, scans, window, cutoff_mult / np.mean(np.diff(scans))) @ features
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 1


def test_times_that_differ_by_almost_nothing_give_no_nan() -> None:
    scans = tr_times(4, 2.0)
    for gap in (0.0, 5e-324, 1e-200, 1e-16, 1e-9):
        kernel = lanczos_matrix([gap], [0.0, 2.0], cutoff=0.5).toarray()
        assert kernel[0, 0] == pytest.approx(1.0)
        assert np.isfinite(lanczos_matrix(scans + gap, scans).toarray()).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_wide_features_take_no_second_copy(order: Literal["C", "F"]) -> None:
    rng = np.random.default_rng(0)
    scans = tr_times(30, 2.0)
    times = np.sort(rng.uniform(0, 60, 500))
    features = np.asarray(rng.standard_normal((500, 3000)), dtype=np.float32, order=order)
    tracemalloc.start()
    found = downsample(features, times, scans)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < found.nbytes + features.nbytes / 3
    np.testing.assert_allclose(found, lanczos_matrix(times, scans) @ features, rtol=0, atol=1e-5)

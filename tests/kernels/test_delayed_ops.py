"""Delayed Grams, kernels and products against the explicitly delayed matrix in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import _cpu
from voxridge.solvers import DelayedDesign, delayed_gram, delayed_kernel
from voxridge.solvers.rows import ranges_of
from voxridge.testing import delayed_matrix, relative_error, tolerance

DELAYS = st.lists(st.integers(-5, 6), min_size=1, max_size=4, unique=True)
RUNS = st.lists(st.integers(7, 90), min_size=1, max_size=4)


def problem(seed: int, runs: list[int], dtype: type, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((sum(runs), width)).astype(dtype)


def some_rows(seed: int, n: int) -> np.ndarray:
    """A few ranges or, now and then, scattered rows: both code paths."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.3:
        return np.flatnonzero(rng.random(n) < 0.4)
    cuts = np.sort(rng.integers(0, n + 1, 4))
    return np.r_[cuts[0] : cuts[1], cuts[2] : cuts[3]]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), runs=RUNS, delays=DELAYS)
@pytest.mark.parametrize(("stored", "summed"), [("f4", "f4"), ("f4", "f8"), ("f8", "f8")])
def test_ops_equal_the_delayed_matrix(
    stored: str, summed: str, seed: int, runs: list[int], delays: list[int]
) -> None:
    features = problem(seed, runs, np.dtype(stored).type)
    x = delayed_matrix(features, delays, runs)
    design = DelayedDesign(features, delays, runs)
    rows = some_rows(seed, x.shape[0])
    ranges = ranges_of(rows)
    accepted = tolerance(summed)
    assert relative_error(design.gram(ranges, summed), x[rows].T @ x[rows]) <= accepted
    assert relative_error(design.kernel(summed), x @ x.T) <= accepted
    assert relative_error(design.sums(ranges), x[rows].sum(axis=0)) <= tolerance("f8")
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((x.shape[0], 5)).astype(summed)
    w = rng.standard_normal((x.shape[1], 5)).astype(summed)
    assert relative_error(design.xty(y, ranges), x[rows].T @ y[rows]) <= accepted
    assert relative_error(design.xw(w, ranges), x[rows] @ w) <= accepted


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), runs=RUNS, other=RUNS, delays=DELAYS)
def test_cross_kernel_equals_the_delayed_matrices(
    seed: int, runs: list[int], other: list[int], delays: list[int]
) -> None:
    left, right = problem(seed, runs, np.float64), problem(seed + 1, other, np.float64)
    expected = delayed_matrix(left, delays, runs) @ delayed_matrix(right, delays, other).T
    actual = DelayedDesign(right, delays, other).cross_kernel_of(DelayedDesign(left, delays, runs))
    assert relative_error(actual, expected) <= tolerance("f8")


@pytest.mark.parametrize("delays", [(0,), (1, 2, 3, 4), (-2, 0, 3), (5, 1, -1), (40, 7)])
def test_long_runs_cross_the_bands_and_chunks_of_the_kernels(delays: tuple[int, ...]) -> None:
    """One run longer than a band of diagonals (2048) and than a chunk of rows (512)."""
    runs = [2300, 300]
    features = problem(0, runs, np.float32, width=2)
    x = delayed_matrix(features, delays, runs)
    design = DelayedDesign(features, delays, runs)
    assert relative_error(design.kernel(), x @ x.T) <= tolerance("f8")
    assert relative_error(design.gram(design.everything()), x.T @ x) <= tolerance("f8")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads: int, rng: np.random.Generator) -> None:
    runs = [700, 900]
    base = rng.standard_normal((1600, 1600))
    expected, actual = base.copy(), base.copy()
    offsets = [0, 700, 1600]
    _cpu.shift_kernel(expected, offsets, offsets, [1, -2, 0], False, 1)
    _cpu.shift_kernel(actual, offsets, offsets, [1, -2, 0], False, threads)
    np.testing.assert_array_equal(actual, expected)
    assert sum(runs) == offsets[-1]


def test_nothing_crosses_a_run_boundary(rng: np.random.Generator) -> None:
    features = rng.standard_normal((60, 4))
    changed = features.copy()
    changed[30:] = rng.standard_normal((30, 4))
    first = [DelayedDesign(f, (-2, 1, 3), [30, 30]).xw(np.eye(12)) for f in (features, changed)]
    np.testing.assert_array_equal(first[0][:30], first[1][:30])
    assert not np.array_equal(first[0][30:], first[1][30:])


def test_rows_none_and_rows_all_are_the_same(rng: np.random.Generator) -> None:
    features = rng.standard_normal((50, 3))
    np.testing.assert_array_equal(
        delayed_gram(features, (0, 2)), delayed_gram(features, (0, 2), rows=range(50))
    )
    assert delayed_gram(features, (0, 2), rows=[]).tolist() == np.zeros((6, 6)).tolist()


def test_float32_gram_is_summed_in_float64_by_default(rng: np.random.Generator) -> None:
    """A float32 Gram loses the small eigenvalues; the default keeps them."""
    u, _ = np.linalg.qr(rng.standard_normal((200, 6)))
    features = (u * np.logspace(0, -5, 6)).astype(np.float32)
    exact = np.linalg.eigvalsh(features.astype(np.float64).T @ features.astype(np.float64))
    assert relative_error(np.linalg.eigvalsh(delayed_gram(features))[:1], exact[:1]) < 1e-3
    assert delayed_kernel(features).dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": [20, 20]}, r"runs add up to 40 samples, but the data have 50"),
        ({"runs": [50, 0]}, r"every run needs at least one sample"),
        ({"delays": ()}, r"delays is empty"),
        ({"delays": (1, 1)}, r"same delay twice"),
        ({"delays": (25,), "runs": [25, 25]}, r"delay of 25 samples is as long as the shortest run \(25"),
        ({"rows": [49, 50]}, r"rows run from 49 to 50, the data have 50"),
    ],
)
def test_bad_input_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        delayed_gram(np.zeros((50, 2)), **{"delays": (0,), **arguments})


def test_delays_must_be_whole_samples() -> None:
    with pytest.raises(TypeError, match="whole samples"):
        delayed_gram(np.zeros((50, 2)), delays=(1.5,))


def test_ops_refuse_wrong_shapes_layouts_and_read_only_outputs() -> None:
    features = np.zeros((10, 2))
    with pytest.raises(ValueError, match=r"out is \(3, 3\), expected \(2, 2\)"):
        _cpu.delayed_gram(features, [0, 10], [(0, 10)], [0], np.empty((3, 3)))
    with pytest.raises(ValueError, match=r"features have 10 rows, y has 9"):
        _cpu.delayed_xty(features, np.zeros((9, 1)), [0, 10], [(0, 10)], [0], np.empty((2, 1)))
    with pytest.raises(ValueError, match=r"rows \[5, 11\) are outside the 10 samples"):
        _cpu.delayed_sums(features, [0, 10], [(5, 11)], [0], np.empty(2))
    with pytest.raises(ValueError, match="C-ordered"):
        _cpu.base_kernel(np.asfortranarray(np.zeros((4, 3))), np.empty((4, 4)))
    locked = np.empty((10, 10))
    locked.flags.writeable = False
    with pytest.raises(ValueError, match=r"not writeable|read-only"):
        _cpu.base_kernel(features, locked)
    with pytest.raises(TypeError):
        _cpu.base_kernel(features.astype(np.int64), np.empty((10, 10)))

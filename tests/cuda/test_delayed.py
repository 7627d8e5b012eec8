"""Delayed Grams, kernels and products on the device against the explicitly delayed matrix in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxridge import _cpu
from voxridge.testing import delayed_matrix, relative_error, tolerance

Ints = Sequence[int]
TYPES = [("f4", "f4"), ("f4", "f8"), ("f8", "f8")]
DELAYS = [(1, 2, 3, 4), (0,), (-2, 0, 3), (-1, -2), (3, -1, 1), (7,)]
# Runs and row ranges: one run; runs of one sample; many short runs; holes, inside runs and over their ends.
LAYOUTS = [
    ([70], [(0, 70)]),
    ([1, 30, 1, 1, 45], [(0, 78)]),
    ([5] * 19, [(0, 95)]),
    ([64, 65], [(3, 20), (31, 33), (60, 70), (128, 129)]),
    ([90, 40], [(0, 0), (10, 85), (95, 130)]),
    ([33] * 4, [(0, 33), (66, 99)]),
]


class Ops:
    """The ops on numpy arrays, with rows of the device's matrices longer than they need be."""

    def __init__(self, cuda: ModuleType, queue: Any, pad: int = 3) -> None:
        self.cuda, self.queue, self.pad = cuda, queue, pad

    def up(self, x: np.ndarray) -> Any:
        whole = self.cuda.empty((x.shape[0], x.shape[1] + self.pad), x.dtype)
        view = whole[:, : x.shape[1]]
        self.cuda.upload(x, view, self.queue)
        return view

    def down(self, a: Any) -> np.ndarray:
        out = np.empty(a.shape, a.dtype)
        self.cuda.download(a, out, self.queue)
        self.queue.synchronize()
        return out

    def call(self, name: str, inputs: Sequence[Any], out: np.ndarray) -> np.ndarray:
        result = self.up(out)
        arguments = [self.up(x) if isinstance(x, np.ndarray) else x for x in inputs]
        getattr(self.cuda, name)(*arguments, result, queue=self.queue)
        return self.down(result)

    def sums(self, features: np.ndarray, runs: list[int], ranges: Any, delays: Ints) -> np.ndarray:
        out = self.cuda.empty((features.shape[1] * len(delays),), np.float64)
        self.cuda.upload(np.full(out.shape, np.nan), out, self.queue)
        self.cuda.delayed_sums(self.up(features), offsets(runs), ranges, delays, out, queue=self.queue)
        return self.down(out)

    def kernel(self, features: np.ndarray, runs: Ints, delays: Ints, out: np.ndarray) -> np.ndarray:
        result = self.up(out)
        self.cuda.base_kernel(self.up(features), result, queue=self.queue)
        self.cuda.shift_kernel(result, offsets(runs), offsets(runs), delays, True, queue=self.queue)
        return self.down(result)


@pytest.fixture
def ops(cuda: ModuleType, queue: Any, order: str) -> Ops:
    return Ops(cuda, queue)


@pytest.fixture
def lazy_ops(cuda: ModuleType, queue: Any) -> Ops:  # for what is slow
    return Ops(cuda, queue)


def offsets(runs: Ints) -> list[int]:
    return [0, *np.cumsum(runs).tolist()]


def rows_of(ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.concatenate([np.arange(begin, end) for begin, end in ranges])


def normal(seed: int, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def shifted(base: np.ndarray, runs: list[int], other: list[int], delays: Ints) -> np.ndarray:
    """What shift_kernel makes of ``base``, in float64."""

    def within(lengths: list[int], delay: int) -> np.ndarray:
        t = np.arange(sum(lengths))
        begins, ends = (
            np.repeat(bounds, lengths) for bounds in (offsets(lengths)[:-1], offsets(lengths)[1:])
        )
        return np.flatnonzero((t - delay >= begins) & (t - delay < ends))

    out = np.zeros(base.shape)
    for d in delays:
        t, u = within(runs, d), within(other, d)
        out[np.ix_(t, u)] += base[np.ix_(t - d, u - d)]
    return out


def unset(shape: tuple[int, int], dtype: Any) -> np.ndarray:
    """What memory may hold before an op writes it."""
    return np.full(shape, np.nan, dtype)


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize(("runs", "ranges"), LAYOUTS)
@pytest.mark.parametrize(("stored", "summed"), TYPES)
def test_ops_equal_the_delayed_matrix(
    ops: Ops, stored: str, summed: str, runs: list[int], ranges: Any, delays: tuple[int, ...]
) -> None:
    features = normal(1, (sum(runs), 35), stored)
    whole = delayed_matrix(features, delays, runs)
    rows, p = rows_of(ranges), whole.shape[1]
    x = whole[rows]
    y, w = normal(2, (len(whole), 37), summed), normal(3, (p, 33), summed)
    place, accepted = (offsets(runs), ranges, delays), tolerance(summed)
    gram = ops.call("delayed_gram", (features, *place), unset((p, p), summed))
    assert relative_error(gram, x.T @ x) <= accepted
    if len(delays) > 1:  # a block below the diagonal is a copy of one above it
        np.testing.assert_array_equal(gram[35:, :35], gram[:35, 35:].T)
    xty = ops.call("delayed_xty", (features, y, *place), unset((p, 37), summed))
    assert relative_error(xty, x.T @ y[rows]) <= accepted
    xw = ops.call("delayed_xw", (features, w, *place), unset((len(rows), 33), summed))
    assert relative_error(xw, x @ w) <= accepted
    assert relative_error(ops.sums(features, runs, ranges, delays), x.sum(axis=0)) <= tolerance("f8")


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("runs", [[1], [31], [32], [33], [1, 30, 1, 1, 45], [5] * 19, [257, 10]])
@pytest.mark.parametrize(("stored", "summed"), TYPES)
def test_kernel_equals_that_of_the_delayed_matrix(
    ops: Ops, stored: str, summed: str, runs: list[int], delays: tuple[int, ...]
) -> None:
    features = normal(1, (sum(runs), 5), stored)
    x = delayed_matrix(features, delays, runs)
    kernel = ops.kernel(features, runs, delays, unset((len(x), len(x)), summed))
    assert relative_error(kernel, x @ x.T) <= tolerance(summed)
    np.testing.assert_array_equal(kernel, kernel.T)


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize(("stored", "summed"), TYPES)
def test_cross_kernel_equals_that_of_the_delayed_matrices(
    ops: Ops, stored: str, summed: str, delays: tuple[int, ...]
) -> None:
    runs, other = [1, 40, 26], [100, 1, 60]
    left, right = normal(1, (67, 5), stored), normal(2, (161, 5), stored)
    expected = delayed_matrix(left, delays, runs) @ delayed_matrix(right, delays, other).T
    cross = ops.up(unset(expected.shape, summed))
    ops.cuda.base_cross_kernel(ops.up(left), ops.up(right), cross, queue=ops.queue)
    ops.cuda.shift_kernel(cross, offsets(runs), offsets(other), delays, False, queue=ops.queue)
    assert relative_error(ops.down(cross), expected) <= tolerance(summed)


@pytest.mark.parametrize("summed", ["f4", "f8"])
def test_kernels_add_up_over_groups_of_features(ops: Ops, summed: str) -> None:
    features = normal(1, (40, 12), "f4")
    kernel = ops.up(unset((40, 40), summed))
    for group in (slice(0, 5), slice(5, 12)):
        part = ops.up(features[:, group])
        ops.cuda.base_kernel(part, kernel, accumulate=group.start > 0, queue=ops.queue)
    x = features.astype("f8")
    assert relative_error(np.tril(ops.down(kernel)), np.tril(x @ x.T)) <= tolerance(summed)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("delays", [(1, 2, 3, 4), (-2, 0, 3), (-1, -2), (-40, 0, 35), (), (5000, 1)])
def test_a_long_kernel_is_shifted_strip_by_strip(
    lazy_ops: Ops, delays: tuple[int, ...], symmetric: bool
) -> None:
    """2,300 columns of float64 make two strips. The upper triangle of a symmetric kernel is not read."""
    runs, n = [1900, 1, 399], 2300
    base = np.random.default_rng(0).standard_normal((n, n))
    if symmetric:
        base = np.tril(base) + np.tril(base, -1).T
    expected = shifted(base, runs, runs, delays)
    kernel = lazy_ops.up(np.where(np.tri(n, dtype=bool) | (not symmetric), base, np.nan))
    lazy_ops.cuda.shift_kernel(kernel, offsets(runs), offsets(runs), delays, symmetric, queue=lazy_ops.queue)
    assert relative_error(lazy_ops.down(kernel), expected) <= tolerance("f8")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_wide_kernels_are_shifted_in_many_strips(lazy_ops: Ops, dtype: str) -> None:
    """Delays that span more rows than 32 MiB hold, and some that span fewer; strips end inside runs."""
    runs, other, delays = [1, 170, 129], [20_000, 3, 19_997], (-40, 0, 35)
    base = normal(3, (300, 40_000), dtype)
    kernel = lazy_ops.up(base)
    lazy_ops.cuda.shift_kernel(kernel, offsets(runs), offsets(other), delays, False, queue=lazy_ops.queue)
    assert relative_error(lazy_ops.down(kernel), shifted(base, runs, other, delays)) <= tolerance(dtype)


@pytest.mark.parametrize(("rows", "cols"), [(1, 9000), (9000, 1), (3, 700), (600_000, 3)])
def test_narrow_kernels_are_shifted(lazy_ops: Ops, rows: int, cols: int) -> None:
    """600,000 rows are more than one launch of 65,535 blocks of eight takes."""
    base = normal(4, (rows, cols), "f4")
    expected = shifted(base, [rows], [cols], [1, -1])
    kernel = lazy_ops.up(base)
    lazy_ops.cuda.shift_kernel(kernel, [0, rows], [0, cols], [1, -1], False, queue=lazy_ops.queue)
    assert relative_error(lazy_ops.down(kernel), expected) <= tolerance("f4")


def test_wide_features_are_converted_in_chunks_of_columns(lazy_ops: Ops) -> None:
    """128 MiB of float64 hold 262,144 columns of 64 rows."""
    features = normal(5, (64, 270_001), "f4")
    exact = features.astype("f8")
    expected = exact @ exact.T
    kernel = lazy_ops.call("base_kernel", (features,), unset((64, 64), "f8"))
    assert relative_error(np.tril(kernel), np.tril(expected)) <= tolerance("f8")
    cross = lazy_ops.call("base_cross_kernel", (features[31:], features), unset((33, 64), "f8"))
    assert relative_error(cross, expected[31:]) <= tolerance("f8")


def test_long_designs_are_gathered_in_chunks_of_rows(lazy_ops: Ops) -> None:
    """128 MiB of float64 hold 41,943 rows of 400 columns; 100 runs, and rows left out of some of them."""
    runs, delays = [430] * 100, (1, 2, 3, 4)
    features = normal(6, (43_000, 100), "f4")
    ranges = [(0, 20_000), (20_100, 20_101), (20_300, 43_000)]
    rows = rows_of(ranges)
    x = delayed_matrix(features, delays, runs)
    place = (offsets(runs), ranges, delays)
    y, w = normal(7, (43_000, 3), "f8"), normal(8, (400, 3), "f8")
    accepted = tolerance("f8", 10)  # sums of 43,000 terms
    gram = lazy_ops.call("delayed_gram", (features, *place), unset((400, 400), "f8"))
    assert relative_error(gram, x[rows].T @ x[rows]) <= accepted
    xty = lazy_ops.call("delayed_xty", (features, y, *place), unset((400, 3), "f8"))
    assert relative_error(xty, x[rows].T @ y[rows]) <= accepted
    xw = lazy_ops.call("delayed_xw", (features, w, *place), unset((len(rows), 3), "f8"))
    assert relative_error(xw, x[rows] @ w) <= accepted
    assert relative_error(lazy_ops.sums(features, runs, ranges, delays), x[rows].sum(axis=0)) <= accepted


def test_scattered_targets_are_gathered_in_panels(lazy_ops: Ops) -> None:
    """128 MiB of float64 hold 98 targets of 170,000 rows, less those of one hole."""
    n, ranges = 170_000, [(0, 400), (401, 170_000)]
    features, y = normal(1, (n, 1), "f4"), normal(2, (n, 101), "f8")
    xty = lazy_ops.call("delayed_xty", (features, y, [0, n], ranges, [1]), unset((1, 101), "f8"))
    rows = np.setdiff1d(np.arange(1, n), [400])
    assert relative_error(xty, features[rows - 1].T.astype("f8") @ y[rows]) <= tolerance(
        "f8", 10
    )  # long sums


def test_float32_grams_beyond_a_panel_of_4096(lazy_ops: Ops) -> None:
    features = normal(9, (40, 4100), "f4")
    exact = features.astype("f8")
    gram = lazy_ops.call("delayed_gram", (features, [0, 40], [(0, 40)], [0]), unset((4100, 4100), "f4"))
    assert relative_error(gram, exact.T @ exact) <= tolerance("f4")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_features_without_delays_are_used_where_they_lie(ops: Ops, dtype: str) -> None:
    """Stretches of 256 rows and more are not gathered; two of them add up."""
    features, y, w = normal(1, (900, 4), dtype), normal(2, (900, 3), dtype), normal(3, (4, 3), dtype)
    ranges = [(0, 400), (500, 900)]
    x, rows = features.astype("f8"), rows_of(ranges)
    place, accepted = ([0, 450, 900], ranges, [0]), tolerance(dtype)
    gram = ops.call("delayed_gram", (features, *place), unset((4, 4), dtype))
    assert relative_error(gram, x[rows].T @ x[rows]) <= accepted
    xty = ops.call("delayed_xty", (features, y, *place), unset((4, 3), dtype))
    assert relative_error(xty, x[rows].T @ y[rows]) <= accepted
    xw = ops.call("delayed_xw", (features, w, *place), unset((800, 3), dtype))
    assert relative_error(xw, x[rows] @ w) <= accepted


LAYOUT = st.tuples(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),  # runs
    st.lists(st.integers(-5, 6), min_size=1, max_size=4, unique=True),  # delays
    st.integers(1, 40),  # features
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), layout=LAYOUT, types=st.sampled_from(TYPES))
def test_gram_and_kernel_for_any_layout(
    cuda: ModuleType, queue: Any, seed: int, layout: tuple[list[int], list[int], int], types: tuple[str, str]
) -> None:
    (runs, delays, width), (stored, summed) = layout, types
    ops, n, p = Ops(cuda, queue, seed % 3), sum(runs), width * len(delays)
    features = normal(seed, (n, width), stored)
    x = delayed_matrix(features, delays, runs)
    cuts = np.sort(np.random.default_rng(seed).integers(0, n + 1, 4)).tolist()
    ranges = [(cuts[0], cuts[1]), (cuts[2], cuts[3])]
    rows = rows_of(ranges)
    gram = ops.call("delayed_gram", (features, offsets(runs), ranges, delays), unset((p, p), summed))
    # A block is the difference of larger sums, so the scale of the answer is that of all rows.
    scale = np.abs(x.T @ x).max() or 1.0
    assert np.abs(gram - x[rows].T @ x[rows]).max() <= tolerance(summed) * scale
    kernel = ops.kernel(features, runs, delays, unset((n, n), summed))
    assert relative_error(kernel, x @ x.T) <= tolerance(summed)


@pytest.mark.parametrize(("stored", "summed"), TYPES)
def test_ops_equal_those_of_the_processor(ops: Ops, stored: str, summed: str) -> None:
    runs, delays, ranges = [90, 2, 70], (-2, 0, 3), [(4, 80), (85, 160)]
    features = normal(1, (162, 6), stored)
    y, w = normal(2, (162, 7), summed), normal(3, (18, 7), summed)
    place = (offsets(runs), ranges, list(delays))

    def same(name: str, inputs: tuple[Any, ...], shape: tuple[int, int]) -> None:
        expected = np.empty(shape, summed)
        getattr(_cpu, name)(*inputs, expected)
        assert relative_error(ops.call(name, inputs, unset(shape, summed)), expected) <= tolerance(summed)

    same("delayed_gram", (features, *place), (18, 18))
    same("delayed_xty", (features, y, *place), (18, 7))
    same("delayed_xw", (features, w, *place), (151, 7))
    same("base_cross_kernel", (features, features[:50]), (162, 50))
    sums = np.empty(18)
    _cpu.delayed_sums(features, *place, sums)
    assert relative_error(ops.sums(features, runs, ranges, delays), sums) <= tolerance("f8")
    kernel = np.empty((162, 162), summed)
    _cpu.base_kernel(features, kernel)
    _cpu.shift_kernel(kernel, offsets(runs), offsets(runs), list(delays), True, 1)
    actual = ops.kernel(features, runs, delays, unset(kernel.shape, summed))
    assert relative_error(actual, kernel) <= tolerance(summed)


def test_nothing_is_summed_where_there_are_no_rows_or_features(ops: Ops) -> None:
    features = normal(1, (20, 3), "f8")
    place = ([0, 20], [(5, 5)], [1, 2])
    assert not ops.call("delayed_gram", (features, *place), unset((6, 6), "f8")).any()
    assert not ops.call("delayed_xty", (features, features, *place), unset((6, 3), "f8")).any()
    assert ops.call("delayed_xw", (features, features[:6], *place), unset((0, 3), "f8")).shape == (0, 3)
    assert not ops.sums(features, [20], [(5, 5)], [1, 2]).any()
    nothing = np.empty((20, 0))
    assert not ops.call("base_kernel", (nothing,), unset((20, 20), "f8")).any()
    assert not ops.call("base_cross_kernel", (nothing, nothing), unset((20, 20), "f8")).any()
    assert not ops.call(
        "delayed_xw", (nothing, np.empty((0, 2)), *place[:1], [(0, 20)], [0]), unset((20, 2), "f8")
    ).any()


def test_the_same_bits_again(ops: Ops) -> None:
    runs, delays, ranges = [300] * 4, (1, 2, 3, 4), [(0, 700), (710, 1200)]
    features, y = normal(1, (1200, 9), "f4"), normal(2, (1200, 5), "f8")
    place = (offsets(runs), ranges, delays)

    def everything() -> list[np.ndarray]:
        return [
            ops.call("delayed_gram", (features, *place), unset((36, 36), "f8")),
            ops.call("delayed_xty", (features, y, *place), unset((36, 5), "f8")),
            ops.sums(features, runs, ranges, delays),
            ops.kernel(features, runs, delays, unset((1200, 1200), "f8")),
        ]

    for first, second in zip(everything(), everything(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_inputs_stay_as_they_are_and_so_does_what_lies_between_rows(
    cuda: ModuleType, queue: Any, to_device: Callable[..., Any], to_host: Callable[[Any], np.ndarray]
) -> None:
    x, y = normal(1, (50, 4), "f8"), normal(2, (50, 3), "f8")
    features, targets = to_device(x), to_device(y)
    whole = to_device(np.full((8, 9), 7.0))
    place = ([0, 20, 50], [(0, 30), (35, 50)], [1, 2])
    cuda.delayed_gram(features, *place, whole[:, :8], queue=queue)
    cuda.delayed_xty(features, targets, *place, whole[:, :3], queue=queue)
    assert (to_host(whole)[:, 8] == 7).all()
    np.testing.assert_array_equal(to_host(features), x)
    np.testing.assert_array_equal(to_host(targets), y)


def test_wrong_arguments_are_named(cuda: ModuleType, queue: Any) -> None:
    def array(*shape: int, dtype: str = "f8") -> Any:
        return cuda.empty(shape, dtype)

    features, place, square = array(10, 2), ([0, 10], [(0, 10)], [0]), array(9, 9)
    single, whole = array(2, 2, dtype="f4"), array(2, 2, dtype="i8")
    cases: list[tuple[str, tuple[Any, ...], str]] = [
        ("delayed_gram", (features, *place, array(3, 3)), r"out is \(3, 3\), expected \(2, 2\)"),
        ("delayed_gram", (features, *place, single), r"out must be float64, as features is"),
        ("delayed_gram", (features, *place, whole), r"out must be float32 or float64, not int64"),
        ("delayed_gram", (features, [0, 9, 5], [(0, 5)], [0], array(2, 2)), r"run_offsets must start at 0"),
        ("delayed_xty", (features, array(9, 1), *place, array(2, 1)), r"features have 10 rows, y has 9"),
        ("delayed_xty", (features, array(10, 1), *place, array(2, 2)), r"out is \(2, 2\), expected \(2, 1\)"),
        ("delayed_xty", (features, array(10, 1, dtype="f4"), *place, array(2, 1)), r"y is float32 \(10, 1\)"),
        ("delayed_xw", (features, array(3, 1), *place, array(10, 1)), r"w is \(3, 1\), expected 2 rows"),
        ("delayed_xw", (features, array(2, 1), *place, array(9, 1)), r"out is \(9, 1\), expected \(10, 1\)"),
        ("delayed_sums", (features, [0, 10], [(5, 11)], [0], array(2)), r"rows \[5, 11\) are outside the 10"),
        ("delayed_sums", (features, *place, array(3)), r"out is float64 \(3,\), expected 2 elements"),
        ("base_kernel", (features, array(9, 10)), r"out is \(9, 10\), expected \(10, 10\)"),
        ("base_cross_kernel", (features, array(9, 3), array(10, 9)), r"left is \(10, 2\), right \(9, 3\)"),
        ("base_cross_kernel", (features, array(9, 2), array(9, 9)), r"\(9, 9\), expected \(10, 9\)"),
        ("shift_kernel", (square, [0, 9], [0, 8], [0], False), r"of \(9, 8\) samples, kernel \(9, 9\)"),
        ("shift_kernel", (square, [], [0, 9], [0], False), r"row_offsets must start at 0"),
        ("shift_kernel", (square, [0, 4, 9], [0, 9], [1], True), r"symmetric kernel has one set of runs"),
    ]
    for name, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            getattr(cuda, name)(*arguments, queue=queue)
    with pytest.raises(TypeError):
        cuda.base_kernel(np.zeros((10, 2)), array(10, 10), queue=queue)

"""The passes over matrices on a device against float64 numpy."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voxridge.testing import relative_error, tolerance

# Sizes, and by how many elements the rows are longer on either side.
ORDERS = [(0, 0), (1, 3), (31, 0), (32, 3), (33, 0), (64, 0), (127, 0), (129, 3), (300, 0)]
SHAPES = [
    ((0, 5), 3),
    ((5, 0), 0),
    ((1, 1), 0),
    ((31, 33), 3),
    ((33, 31), 0),
    ((32, 128), 0),
    ((127, 129), 3),
    ((300, 700), 0),
    ((300, 700), 3),
]


def symmetric(n: int, rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal((n, n))
    return a + a.T


def lower_only(a: np.ndarray) -> np.ndarray:
    """What is above the diagonal must not be read."""
    return np.tril(a) + np.triu(np.full(a.shape, np.nan), 1)


def some_rows(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two thirds of the rows, with gaps and out of order."""
    return rng.permutation(n)[: -(-2 * n // 3)].astype(np.int64)


# --- triangles and symmetric matrices


@pytest.mark.parametrize(("n", "pad"), ORDERS)
def test_restore_lower(n: int, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator) -> None:
    a = rng.standard_normal((n, n))
    on_device = arrays.put(a, pad)
    arrays.call(cuda.restore_lower, on_device, writes=[on_device])
    np.testing.assert_array_equal(arrays.get(on_device), np.triu(a) + np.triu(a, 1).T)


@pytest.mark.parametrize(("n", "pad"), ORDERS)
@pytest.mark.parametrize("part", [(0.0, 1.0), (0.2, 0.5), (0.9, 1.0), (0.5, 0.5)])
def test_symmetric_rows(
    n: int,
    part: tuple[float, float],
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    a = symmetric(n, rng)
    begin, end = (int(share * n) for share in part)
    given, out = arrays.put(lower_only(a), pad), arrays.put(np.zeros((end - begin, n), dtype), pad)
    arrays.call(cuda.symmetric_rows, given, begin, -0.5, 2.0, out, writes=[out])
    expected = (2.0 * np.eye(n) - 0.5 * a)[begin:end]
    np.testing.assert_array_equal(arrays.get(out), expected.astype(dtype))


def test_symmetric_rows_round_once(cuda: ModuleType, arrays: Any) -> None:
    """Where 1 - h cancels, the rest is as accurate as h is in float64."""
    a = np.diag(1.0 - np.array([1e-9, 3e-12, 7e-10]))
    given, out = arrays.put(a), arrays.put(np.zeros((3, 3), np.float32))
    arrays.call(cuda.symmetric_rows, given, 0, -1.0, 1.0, out, writes=[out])
    np.testing.assert_array_equal(arrays.get(out), (np.eye(3) - a).astype(np.float32))


@pytest.mark.parametrize(("n", "pad"), ORDERS)
def test_diagonals(n: int, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator) -> None:
    a, diagonal = rng.standard_normal((n, n)), rng.standard_normal(n)
    on_device, given, found = arrays.put(a, pad), arrays.put(diagonal), arrays.put(np.zeros(n))
    arrays.call(cuda.get_diagonal, on_device, found, writes=[found])
    np.testing.assert_array_equal(arrays.get(found), a.diagonal())
    arrays.call(cuda.set_diagonal, on_device, given, 0.25, writes=[on_device])
    np.testing.assert_array_equal(arrays.get(on_device), a - np.diag(a.diagonal()) + np.diag(diagonal + 0.25))


@pytest.mark.parametrize(("n", "pad"), ORDERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_centre_kernel(
    n: int, weighted: bool, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a, mean = symmetric(n, rng), rng.standard_normal(n)
    root = rng.random(n) if weighted else None
    given = arrays.put(lower_only(a), pad)
    arrays.call(cuda.centre_kernel, given, arrays.put(mean), 0.75, arrays.put(root), writes=[given])
    weight = np.ones(n) if root is None else root
    out = arrays.get(given)
    assert relative_error(out, np.outer(weight, weight) * (a - mean[:, None] - mean + 0.75)) < 1e-14
    np.testing.assert_array_equal(out, out.T)


@pytest.mark.parametrize(("n", "pad"), ORDERS)
@pytest.mark.parametrize("with_r", [False, True])
def test_symmetric_block(
    n: int, with_r: bool, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a, rows = symmetric(n, rng), some_rows(n, rng)
    r = rng.standard_normal(n) if with_r else None
    given, out = arrays.put(lower_only(a), pad), arrays.put(np.zeros((rows.size, rows.size)), pad)
    for chosen in (rows, np.sort(rows)):
        at = arrays.put(chosen)
        arrays.call(cuda.symmetric_block, given, at, -0.5, 2.0, 0.25, arrays.put(r), out, writes=[out])
        full = 2.0 * np.eye(n) - 0.5 * a + (0.0 if r is None else 0.25 * np.outer(r, r))
        found = arrays.get(out)
        assert relative_error(found, full[np.ix_(chosen, chosen)]) < 1e-14
        np.testing.assert_array_equal(found, found.T)


# --- targets


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
@pytest.mark.parametrize("raw_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_mean", [False, True])
def test_centre(
    shape: tuple[int, int],
    raw_dtype: type,
    with_mean: bool,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    raw = (1e3 + rng.standard_normal(shape)).astype(raw_dtype)
    valid = (rng.random(shape[1]) < 0.7).astype(np.uint8)
    raw[:, valid == 0] = np.nan
    mean = rng.standard_normal(shape[1]) + 1e3 if with_mean else None
    out = arrays.put(np.zeros(shape, dtype), pad)
    arrays.call(cuda.centre, arrays.put(raw, pad), arrays.put(mean), arrays.put(valid), out, writes=[out])
    centred = raw if mean is None else raw - mean.astype(dtype)
    np.testing.assert_array_equal(arrays.get(out), np.where(valid == 1, centred, 0).astype(dtype))


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
def test_column_moments(
    shape: tuple[int, int], pad: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    y = rng.standard_normal(shape).astype(dtype)
    n, v = shape
    given, sums, squares = arrays.put(y, pad), arrays.put(np.ones(v)), arrays.put(np.ones(v))
    for begin, end in [(0, n), (n // 3, n - n // 5), (n, n)]:
        arrays.call(cuda.column_moments, given, begin, end, sums, squares, writes=[sums, squares])
        part = y[begin:end].astype(float)
        np.testing.assert_allclose(arrays.get(sums), part.sum(axis=0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(arrays.get(squares), (part**2).sum(axis=0), rtol=1e-13)


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("with_rows", [False, True])
def test_product_moments_add_up(
    shape: tuple[int, int],
    weighted: bool,
    with_rows: bool,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    y, q = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    rows = some_rows(shape[0], rng) if with_rows else None
    taken = np.arange(shape[0]) if rows is None else rows
    w = rng.random(taken.size) if weighted else None
    moments = arrays.put(np.ones((3, shape[1])), pad)
    arrays.call(
        cuda.product_moments,
        arrays.put(y, pad),
        arrays.put(q, pad),
        arrays.put(rows),
        arrays.put(w),
        moments,
        writes=[moments],
    )
    column = np.ones(taken.size) if w is None else w
    wide_y, wide_q = y[taken].astype(float), q[taken].astype(float)
    expected = 1 + np.stack([column @ wide_q, column @ wide_q**2, column @ (wide_q * wide_y)])
    np.testing.assert_allclose(arrays.get(moments), expected, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("n", [255, 256, 257, 8192, 16384, 16385, 20001])
def test_sums_of_many_rows(n: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator) -> None:
    """At the borders of chunks, and of the number of them."""
    y = rng.standard_normal((n, 3))
    sums, squares = arrays.put(np.ones(3)), arrays.put(np.ones(3))
    arrays.call(cuda.column_moments, arrays.put(y), 0, n, sums, squares, writes=[sums, squares])
    np.testing.assert_allclose(arrays.get(sums), y.sum(axis=0), rtol=0, atol=1e-15 * n)
    np.testing.assert_allclose(arrays.get(squares), (y**2).sum(axis=0), rtol=1e-13)


def leave_one_out_moments(
    y: np.ndarray,
    smoothed: np.ndarray,
    h: np.ndarray,
    rest: np.ndarray,
    weights: np.ndarray | None,
    intercept: bool,
) -> np.ndarray:
    y, smoothed = y.astype(float), smoothed.astype(float)
    w = np.ones(y.shape[0]) if weights is None else weights
    mean = (w @ y - w[:, None] * y) / (w.sum() - w)[:, None] if intercept else np.zeros_like(y)
    root = np.sqrt(w)[:, None]
    moved = (smoothed - h[:, None] * root * (y - mean)) / rest[:, None]
    q = np.divide(moved, root, out=np.zeros_like(moved), where=root > 0) + mean
    return np.stack([w @ q, w @ q**2, w @ (q * y)])


@pytest.mark.parametrize(("shape", "pad"), [case for case in SHAPES if case[0] != (1, 1)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_single_moments_add_up(
    shape: tuple[int, int],
    weighted: bool,
    intercept: bool,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    n = shape[0]
    y, smoothed = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    h, rest = rng.uniform(0.1, 0.9, n), rng.uniform(0.2, 0.9, n)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    if weights is not None and n > 2:
        weights[n // 2] = 0.0
    w = np.ones(n) if weights is None else weights
    sums = w @ y.astype(float) if intercept else None
    moments = arrays.put(np.ones((3, shape[1])), pad)
    arrays.call(
        cuda.single_moments,
        arrays.put(y, pad),
        arrays.put(smoothed, pad),
        arrays.put(h),
        arrays.put(rest),
        arrays.put(weights),
        arrays.put(sums),
        float(w.sum()),
        moments,
        writes=[moments],
    )
    expected = 1 + leave_one_out_moments(y, smoothed, h, rest, weights, intercept)
    assert relative_error(arrays.get(moments), expected) < tolerance(dtype, 3)


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
@pytest.mark.parametrize("given", [set(), {"mean"}, {"root"}, {"smoothed"}, {"mean", "root", "smoothed"}])
@pytest.mark.parametrize("with_rows", [False, True])
def test_moved_rows(
    shape: tuple[int, int],
    given: set[str],
    with_rows: bool,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    y, before = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    mean = rng.standard_normal(shape[1]).astype(dtype) if "mean" in given else None
    root = rng.random(shape[0]) if "root" in given else None
    smoothed = rng.standard_normal(shape).astype(dtype) if "smoothed" in given else None
    rows = some_rows(shape[0], rng) if with_rows else None
    out = arrays.put(before, pad)
    arrays.call(
        cuda.moved_rows,
        arrays.put(y, pad),
        arrays.put(mean),
        arrays.put(root),
        arrays.put(smoothed, pad),
        arrays.put(rows),
        out,
        writes=[out],
    )
    moved = y.astype(float) - (0.0 if mean is None else mean)
    moved *= 1.0 if root is None else root[:, None]
    moved -= 0.0 if smoothed is None else smoothed
    expected = before.copy()
    chosen = slice(None) if rows is None else rows
    expected[chosen] = moved[chosen]
    found = arrays.get(out)
    assert relative_error(found, expected) < tolerance(dtype)
    left = np.setdiff1d(np.arange(shape[0]), np.arange(shape[0])[chosen])
    np.testing.assert_array_equal(found[left], before[left])


# --- general


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
@pytest.mark.parametrize("from_dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25)])
def test_accumulate(
    shape: tuple[int, int],
    from_dtype: type,
    alpha: float,
    beta: float,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    x, before = rng.standard_normal(shape).astype(from_dtype), rng.standard_normal(shape).astype(dtype)
    out = arrays.put(before if beta else np.full(shape, np.nan, dtype), pad)
    arrays.call(cuda.accumulate, alpha, arrays.put(x, pad), beta, out, writes=[out])
    expected = alpha * x.astype(dtype).astype(float) + beta * before.astype(float)
    assert relative_error(arrays.get(out), expected) < tolerance(dtype)


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
@pytest.mark.parametrize(
    ("by_row", "by_column"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_scale(
    shape: tuple[int, int],
    by_row: bool,
    by_column: bool,
    pad: int,
    dtype: type,
    cuda: ModuleType,
    arrays: Any,
    rng: np.random.Generator,
) -> None:
    a = rng.standard_normal(shape).astype(dtype)
    row = rng.standard_normal(shape[0]) if by_row else None
    column = rng.standard_normal(shape[1]) if by_column else None
    out = arrays.put(a, pad)
    arrays.call(cuda.scale, out, arrays.put(row), arrays.put(column), writes=[out])
    expected = a.astype(float)
    if row is not None:
        expected *= row[:, None]
    if column is not None:
        expected *= column
    np.testing.assert_array_equal(arrays.get(out), expected.astype(dtype))


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
def test_apply_penalty(
    shape: tuple[int, int], pad: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    z, l, alphas = rng.standard_normal(shape).astype(dtype), rng.random(shape[0]), rng.random(shape[1]) + 0.1
    out = arrays.put(z, pad)
    arrays.call(cuda.apply_penalty, out, arrays.put(l), arrays.put(alphas), writes=[out])
    np.testing.assert_array_equal(arrays.get(out), (z.astype(float) / (l[:, None] + alphas)).astype(dtype))


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
def test_rank_one(
    shape: tuple[int, int], pad: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a, row, column = (
        rng.standard_normal(shape).astype(dtype),
        rng.standard_normal(shape[0]),
        rng.standard_normal(shape[1]),
    )
    out = arrays.put(a, pad)
    arrays.call(cuda.rank_one, out, -0.5, arrays.put(row), arrays.put(column), writes=[out])
    assert relative_error(arrays.get(out), a - 0.5 * np.outer(row, column)) < tolerance(dtype)


@pytest.mark.parametrize(("shape", "pad"), SHAPES)
def test_columns_and_rows_taken_and_put(
    shape: tuple[int, int], pad: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a = rng.standard_normal(shape).astype(dtype)
    given, columns, rows = arrays.put(a, pad), some_rows(shape[1], rng), some_rows(shape[0], rng)
    at = arrays.put(columns)
    taken = arrays.put(np.zeros((shape[0], columns.size), dtype), pad)
    arrays.call(cuda.take_columns, given, at, taken, writes=[taken])
    np.testing.assert_array_equal(arrays.get(taken), a[:, columns])
    back = arrays.put(np.zeros(shape, dtype), pad)
    arrays.call(cuda.put_columns, taken, at, back, writes=[back])
    expected = np.zeros(shape, dtype)
    expected[:, columns] = a[:, columns]
    np.testing.assert_array_equal(arrays.get(back), expected)
    lines = arrays.put(np.zeros((rows.size, shape[1]), dtype), pad)
    arrays.call(cuda.take_rows, given, arrays.put(rows), lines, writes=[lines])
    np.testing.assert_array_equal(arrays.get(lines), a[rows])


# --- what holds for all of them


@pytest.mark.parametrize(("begin", "end"), [(0, 128), (128, 300), (37, 38), (299, 300), (5, 300)])
def test_a_column_has_the_same_bits_in_every_tile(
    begin: int, end: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    n, v = 700, 300
    y, q = (arrays.put(rng.standard_normal((n, v)).astype(dtype)) for _ in range(2))
    h, rest, weights = (arrays.put(rng.uniform(0.2, 0.9, n)) for _ in range(3))
    sums, rows = arrays.put(rng.standard_normal(v)), arrays.put(some_rows(n, rng))
    tile = slice(begin, end), slice(0, n)

    def moments(columns: slice) -> np.ndarray:
        of_y, of_q, width = y[:, columns], q[:, columns], columns.stop - columns.start
        products, singles = arrays.put(np.zeros((3, width))), arrays.put(np.zeros((3, width)))
        first, second = arrays.put(np.zeros(width)), arrays.put(np.zeros(width))
        arrays.call(cuda.product_moments, of_y, of_q, rows, None, products, writes=[products])
        arrays.call(
            cuda.single_moments, of_y, of_q, h, rest, weights, sums[columns], 500.0, singles, writes=[singles]
        )
        arrays.call(cuda.column_moments, of_y, 3, n - 1, first, second, writes=[first, second])
        return np.vstack([arrays.get(products), arrays.get(singles), arrays.get(first), arrays.get(second)])

    np.testing.assert_array_equal(moments(slice(0, v))[:, tile[0]], moments(tile[0]))


@pytest.mark.usefixtures("order")
def test_ops_that_share_scratch_keep_their_order(
    cuda: ModuleType, arrays: Any, queue: Any, rng: np.random.Generator
) -> None:
    """All queued before anything is waited for; the second wants more scratch than the first."""
    small, large = rng.standard_normal((40, 5)), rng.standard_normal((900, 200))
    given = [arrays.put(y) for y in (small, large, small)]
    found = [arrays.put(np.zeros((3, y.shape[1]))) for y in (small, large, small)]
    for y, moments in zip(given, found, strict=True):
        cuda.product_moments(y, y, None, None, moments, queue=queue)
    for y, moments in zip((small, large, small), found, strict=True):
        expected = np.stack([y.sum(axis=0), (y**2).sum(axis=0), (y**2).sum(axis=0)])
        np.testing.assert_allclose(arrays.get(moments), expected, rtol=1e-12, atol=1e-12)


def test_shapes_and_kinds_are_checked(cuda: ModuleType, arrays: Any, queue: Any) -> None:
    def zeros(*shape: int, kind: Any = float) -> Any:
        return arrays.put(np.zeros(shape, kind))

    wide, square, index = zeros(2, 3), zeros(3, 3), zeros(2, kind=np.int64)
    refused = [
        (cuda.restore_lower, [wide], r"restore_lower: the matrix is \(2, 3\), not square"),
        (cuda.symmetric_rows, [square, 2, 1.0, 0.0, wide], r"symmetric_rows: rows \[2, 4\) of a \(3, 3\)"),
        (cuda.set_diagonal, [wide, zeros(2), 0.0], "set_diagonal: the matrix is"),
        (cuda.get_diagonal, [square, zeros(2)], r"out is float64 \(2,\), expected 3 elements"),
        (cuda.centre_kernel, [wide, zeros(2), 0.0, None], "centre_kernel: the matrix is"),
        (cuda.centre_kernel, [square, zeros(3), 0.0, zeros(2)], "root is float64"),
        (cuda.symmetric_block, [square, index, 1.0, 0.0, 0.0, None, wide], "symmetric_block: out is"),
        (
            cuda.centre,
            [square, None, zeros(3, kind=np.uint8), wide],
            r"centre: raw \(3, 3\) and out \(2, 3\)",
        ),
        (cuda.centre, [wide, None, zeros(3), wide], "valid is float64"),
        (
            cuda.column_moments,
            [wide, 1, 3, zeros(3), zeros(3)],
            r"column_moments: rows \[1, 3\) of y \(2, 3\)",
        ),
        (
            cuda.product_moments,
            [square, wide, None, None, square],
            r"product_moments: y \(3, 3\), q \(2, 3\)",
        ),
        (cuda.product_moments, [wide, wide, index, zeros(3), square], "weights is float64"),
        (cuda.product_moments, [wide, wide, None, None, wide], r"moments \(2, 3\)"),
        (
            cuda.product_moments,
            [wide, zeros(2, 3, kind=np.float32), None, None, square],
            r"q is float32 \(2, 3\)",
        ),
        (
            cuda.single_moments,
            [square, wide, zeros(3), zeros(3), None, None, 3.0, square],
            r"single_moments: y \(3, 3\), smoothed \(2, 3\)",
        ),
        (cuda.single_moments, [wide, wide, zeros(2), zeros(3), None, None, 3.0, square], "rest is float64"),
        (cuda.moved_rows, [square, None, None, None, None, wide], r"moved_rows: y \(3, 3\) and out \(2, 3\)"),
        (cuda.moved_rows, [wide, None, None, square, None, wide], "smoothed"),
        (cuda.accumulate, [1.0, square, 0.0, wide], r"accumulate: x \(3, 3\) and out \(2, 3\)"),
        (cuda.scale, [wide, zeros(3), None], "row is float64"),
        (cuda.apply_penalty, [wide, zeros(2), zeros(2)], "alphas is float64"),
        (cuda.rank_one, [wide, 1.0, zeros(2), index], r"column is int64 \(2,\), expected float64"),
        (cuda.take_columns, [square, zeros(3, kind=np.int64), wide], r"take_columns: a \(3, 3\)"),
        (cuda.put_columns, [square, zeros(3, kind=np.int64), wide], r"put_columns: a \(3, 3\)"),
        (cuda.take_rows, [zeros(3, 2), index, wide], r"take_rows: a \(3, 2\)"),
        (
            cuda.take_rows,
            [zeros(2, 2, kind=np.int64), index, wide],
            "a must be float32 or float64, not int64",
        ),
    ]
    for op, arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            op(*arguments, queue=queue)


def test_arrays_of_another_device_are_refused(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRIDGE_EMULATED_DEVICES", "2")
    here, there = emulator.empty((3, 3), np.float64, 0), emulator.empty((3, 3), np.float64, 1)
    with pytest.raises(ValueError, match=r"out is on device 1, and the queue is one of device 0"):
        emulator.accumulate(1.0, here, 0.0, there, queue=emulator.Queue(0))
    with pytest.raises(ValueError, match=r"a is on device 0, and the queue is one of device 1"):
        emulator.restore_lower(here, queue=emulator.Queue(1))

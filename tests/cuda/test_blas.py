"""BLAS and LAPACK on a device against float64 numpy."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voxridge.testing import relative_error, tolerance

# Orders, and by how many elements the rows are longer on either side.
ORDERS = [(0, 0), (1, 0), (1, 3), (2, 0), (31, 3), (33, 0), (129, 3), (300, 0)]


def spd(n: int, rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal((n, n + 3))
    return a @ a.T + np.eye(n)


def with_other(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lower triangle of ``a``, and above it what must survive and must not be read."""
    return np.tril(a) + np.triu(rng.standard_normal(a.shape), 1)


# --- products


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 1, 1), (7, 3, 5), (33, 129, 31), (1, 700, 64), (128, 1, 300), (0, 4, 3), (4, 0, 3), (4, 3, 0)],
)
@pytest.mark.parametrize("pad", [0, 3])
def test_gemm(
    m: int, n: int, k: int, pad: int, dtype: type, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a, b, before = (rng.standard_normal(shape).astype(dtype) for shape in [(m, k), (k, n), (m, n)])
    for trans_a, trans_b, (alpha, beta) in product(
        [False, True], [False, True], [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25)]
    ):
        # Without beta, what is in the result must not be read.
        out = arrays.put(before if beta else np.full((m, n), np.nan, dtype), pad)
        left, right = np.ascontiguousarray(a.T if trans_a else a), np.ascontiguousarray(b.T if trans_b else b)
        arrays.call(
            cuda.gemm,
            arrays.put(left, pad),
            arrays.put(right, pad),
            out,
            trans_a=trans_a,
            trans_b=trans_b,
            alpha=alpha,
            beta=beta,
            writes=[out],
        )
        expected = alpha * a.astype(float) @ b.astype(float) + beta * before.astype(float)
        assert relative_error(arrays.get(out), expected) < tolerance(dtype)


def test_gemm_adds_to_nothing_by_default(cuda: ModuleType, arrays: Any, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((5, 4)), rng.standard_normal((4, 6))
    out = arrays.put(np.full((5, 6), np.nan))
    arrays.call(cuda.gemm, arrays.put(a), arrays.put(b), out, writes=[out])
    assert relative_error(arrays.get(out), a @ b) < 1e-14


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("tf32", 2e-3), ("bf16", 2e-2)])
def test_precisions(
    precision: str, error: float, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    """Of the inputs: 24, 11 and 8 bits. Products of float64 know nothing of it."""
    a, b = rng.standard_normal((70, 200)), rng.standard_normal((200, 90))
    single, double = arrays.put(np.zeros((70, 90), np.float32)), arrays.put(np.zeros((70, 90)))
    left, right = (arrays.put(x.astype(np.float32)) for x in (a, b))
    arrays.call(cuda.gemm, left, right, single, precision=precision, writes=[single])
    arrays.call(cuda.gemm, arrays.put(a), arrays.put(b), double, precision=precision, writes=[double])
    assert relative_error(arrays.get(single), a @ b) < error
    assert relative_error(arrays.get(double), a @ b) < 1e-13


@pytest.mark.parametrize(("n", "pad"), ORDERS)
@pytest.mark.parametrize("trans", [False, True])
def test_syrk_writes_both_triangles(
    n: int, trans: bool, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    for depth, (alpha, beta) in product([0, 1, 40], [(1.0, 0.0), (-0.5, 1.0)]):
        a = rng.standard_normal((depth, n) if trans else (n, depth))
        before = spd(n, rng)
        out = arrays.put(before if beta else np.full((n, n), np.nan), pad)
        arrays.call(cuda.syrk, arrays.put(a, pad), out, trans=trans, alpha=alpha, beta=beta, writes=[out])
        found = arrays.get(out)
        expected = alpha * (a.T @ a if trans else a @ a.T) + beta * before
        assert relative_error(found, expected) < 1e-13
        np.testing.assert_array_equal(found, found.T)


# --- factors


@pytest.mark.parametrize(("n", "pad"), ORDERS)
def test_the_inverse_lives_below_and_the_matrix_above(
    n: int, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a = spd(n, rng)
    given = with_other(a, rng)
    work = arrays.put(given, pad)
    assert arrays.call(cuda.cholesky, work, writes=[work]) == 0
    factor = arrays.get(work)
    np.testing.assert_array_equal(np.triu(factor, 1), np.triu(given, 1))
    assert relative_error(np.tril(factor), np.linalg.cholesky(a)) < 1e-13
    arrays.call(cuda.cholesky_inverse, work, writes=[work])
    inverse = arrays.get(work)
    np.testing.assert_array_equal(np.triu(inverse, 1), np.triu(given, 1))
    assert relative_error(np.tril(inverse), np.tril(np.linalg.inv(a))) < 1e-11


@pytest.mark.parametrize(("n", "pad"), ORDERS)
@pytest.mark.parametrize("width", [0, 1, 33, 600])
def test_solves(
    n: int, width: int, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a, b = spd(n, rng), rng.standard_normal((n, width))
    factor = np.linalg.cholesky(a)
    given = arrays.put(with_other(factor, rng), pad)
    solved, half = arrays.put(b, pad), arrays.put(b, pad)
    arrays.call(cuda.cholesky_solve, given, solved, writes=[solved])
    arrays.call(cuda.solve_lower, given, half, writes=[half])
    assert relative_error(arrays.get(solved), np.linalg.solve(a, b)) < 1e-11
    assert relative_error(arrays.get(half), np.linalg.solve(factor, b)) < 1e-11


@pytest.mark.parametrize("place", [0, 41, 99])
def test_cholesky_says_where_it_stops(
    place: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator
) -> None:
    a = spd(100, rng)
    a[place, place] = -1.0
    work = arrays.put(a)
    assert arrays.call(cuda.cholesky, work, writes=[work]) == place + 1


def test_a_singular_factor_has_no_inverse(cuda: ModuleType, arrays: Any, queue: Any) -> None:
    factor = arrays.put(np.diag([1.0, 2.0, 0.0, 4.0]))
    with pytest.raises(cuda.Failure, match="diagonal element 3 of the factor is zero"):
        cuda.cholesky_inverse(factor, queue=queue)


@pytest.mark.parametrize(("n", "pad"), ORDERS)
def test_eigh(n: int, pad: int, cuda: ModuleType, arrays: Any, rng: np.random.Generator) -> None:
    a = rng.standard_normal((n, n))
    a += a.T
    vectors, values = arrays.put(a, pad), arrays.put(np.zeros(n))
    arrays.call(cuda.eigh, vectors, values, writes=[vectors, values])
    v, w = arrays.get(vectors), arrays.get(values)
    assert relative_error(w, np.linalg.eigvalsh(a)) < 1e-13
    assert relative_error(v @ v.T, np.eye(n)) < 1e-12
    assert relative_error((v.T * w) @ v, a) < 1e-12


def test_shapes_and_kinds_are_checked(cuda: ModuleType, arrays: Any, queue: Any) -> None:
    wide, square, single = (
        arrays.put(x) for x in (np.zeros((2, 3)), np.eye(3), np.zeros((3, 3), np.float32))
    )
    refused = [
        (cuda.gemm, [square, wide, square], r"gemm: a \(3, 3\) times b \(2, 3\) does not give c \(3, 3\)"),
        (
            cuda.gemm,
            [wide, square, wide, True],
            r"gemm: a \(2, 3\)' times b \(3, 3\) does not give c \(2, 3\)",
        ),
        (cuda.gemm, [wide, wide, square, False, True], r"gemm: a \(2, 3\) times b \(2, 3\)' does not give"),
        (cuda.gemm, [square, single, square], r"b is float32 \(3, 3\), expected float64"),
        (cuda.syrk, [wide, wide], r"syrk: a \(2, 3\) does not give c \(2, 3\)"),
        (cuda.syrk, [wide, square, False], r"syrk: a \(2, 3\) does not give c \(3, 3\)"),
        (cuda.syrk, [single, square], "a is float32"),
        (cuda.cholesky, [wide], r"cholesky: the matrix is \(2, 3\), not square"),
        (cuda.cholesky, [single], "a is float32"),
        (cuda.cholesky_inverse, [wide], r"cholesky_inverse: the matrix is \(2, 3\), not square"),
        (
            cuda.cholesky_solve,
            [square, wide],
            r"cholesky_solve: factor \(3, 3\) and right-hand side \(2, 3\)",
        ),
        (cuda.solve_lower, [wide, square], r"solve_lower: factor \(2, 3\) and right-hand side \(3, 3\)"),
        (cuda.eigh, [wide, arrays.put(np.zeros(2))], r"eigh: the matrix is \(2, 3\), not square"),
        (cuda.eigh, [square, arrays.put(np.zeros(2))], r"w is float64 \(2,\), expected 3 elements"),
    ]
    for op, arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            op(*arguments, queue=queue)
    with pytest.raises(ValueError, match="precision must be 'float32', 'tf32' or 'bf16', not 'fp16'"):
        cuda.gemm(square, square, square, precision="fp16", queue=queue)

"""The BLAS wrappers against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge import _cpu
from voxridge.solvers import linalg
from voxridge.testing import relative_error, tolerance


@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_matmul(dtype: type, trans_a: bool, trans_b: bool, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((40, 30)).astype(dtype), rng.standard_normal((30, 20)).astype(dtype)
    expected = a.astype(float) @ b
    left, right = (a.T.copy() if trans_a else a), (b.T.copy() if trans_b else b)
    assert relative_error(
        linalg.matmul(left, right, trans_a=trans_a, trans_b=trans_b), expected
    ) <= tolerance(dtype)


def test_matmul_accumulates_into_strided_rows(dtype: type, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((4, 5)).astype(dtype)
    wide = np.ones((6, 9), dtype=dtype)
    linalg.matmul(a, b, out=wide[:, 2:7], beta=1.0)
    assert relative_error(wide[:, 2:7], 1 + a.astype(float) @ b) <= tolerance(dtype)
    assert (wide[:, :2] == 1).all()
    assert (wide[:, 7:] == 1).all()


def test_gram_is_symmetric_to_the_bit(dtype: type, rng: np.random.Generator) -> None:
    a = rng.standard_normal((70, 50)).astype(dtype)
    for trans, expected in ((True, a.T.astype(float) @ a), (False, a.astype(float) @ a.T)):
        actual = linalg.gram(a, trans=trans)
        np.testing.assert_array_equal(actual, actual.T)
        assert relative_error(actual, expected) <= tolerance(dtype)


def test_eigh_and_cholesky(rng: np.random.Generator) -> None:
    a = linalg.gram(rng.standard_normal((60, 40)))
    values, vectors = linalg.eigh(a)
    assert relative_error((vectors.T * values) @ vectors, a) <= tolerance("f8")
    assert (np.diff(values) >= 0).all()
    b = rng.standard_normal((40, 7))
    assert relative_error(a @ linalg.cholesky_solve(linalg.cholesky(a), b), b) <= tolerance(
        "f8", 1e3
    )  # condition of a


def test_cholesky_says_which_minor_fails() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="minor of order 2"):
        linalg.cholesky(np.diag([1.0, -1.0, 1.0]))


def test_empty_and_single_sizes() -> None:
    assert linalg.matmul(np.zeros((3, 0)), np.zeros((0, 2))).tolist() == [[0.0, 0.0]] * 3
    assert linalg.matmul(np.zeros((0, 3)), np.zeros((3, 2))).shape == (0, 2)
    values, vectors = linalg.eigh(np.array([[4.0]]))
    assert values.tolist() == [4.0]
    assert abs(vectors[0, 0]) == 1.0


def test_mismatched_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"a \(2, 3\) times b \(4, 5\) does not give c \(2, 5\)"):
        linalg.matmul(np.zeros((2, 3)), np.zeros((4, 5)))


def test_eigh_beyond_32_bit_lapack_is_refused_before_any_work() -> None:
    """2^31 elements of workspace: the check needs the size, not the memory."""
    n = 32_767
    assert _cpu.eigh_work(n) > 2**31 - 1
    huge = np.lib.stride_tricks.as_strided(np.zeros(1), (n, n), (8 * n, 8), writeable=True)
    work = np.lib.stride_tricks.as_strided(np.zeros(1), (_cpu.eigh_work(n),), (8,), writeable=True)
    with pytest.raises(OverflowError, match="beyond 32-bit LAPACK"):
        _cpu.eigh(huge, np.empty(n), work)

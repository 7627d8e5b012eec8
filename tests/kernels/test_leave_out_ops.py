"""The ops of the leave-out route against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge import _cpu
from voxridge.testing import relative_error, tolerance


def spd(n: int, rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal((n, n + 3))
    return a @ a.T + np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 31, 33, 100])
def test_the_inverse_lives_below_and_the_matrix_above(n: int, rng: np.random.Generator) -> None:
    a = spd(n, rng)
    work = a.copy()
    assert _cpu.cholesky(work) == 0
    np.testing.assert_array_equal(np.triu(work, 1), np.triu(a, 1))
    _cpu.cholesky_inverse(work)
    np.testing.assert_array_equal(np.triu(work, 1), np.triu(a, 1))
    assert relative_error(np.tril(work), np.tril(np.linalg.inv(a))) < 1e-12
    _cpu.restore_lower(work, 2)
    np.testing.assert_array_equal(np.tril(work, -1), np.tril(a, -1))


@pytest.mark.parametrize("block", [1, 7, 32, 99, 100])
@pytest.mark.parametrize("trans", [False, True])
def test_blocks_change_nothing_but_rounding(
    block: int, trans: bool, dtype: type, rng: np.random.Generator
) -> None:
    """Large orders go block by block; here every border of a block is tried at a small one."""
    a = spd(100, rng).astype(dtype)
    work = a.copy()
    assert _cpu.cholesky(work, block=block) == 0
    assert relative_error(np.tril(work), np.linalg.cholesky(a.astype(float))) < tolerance(dtype, 50)
    _cpu.cholesky_inverse(work, block=block)
    np.testing.assert_array_equal(np.triu(work, 1), np.triu(a, 1))
    assert relative_error(np.tril(work), np.tril(np.linalg.inv(a.astype(float)))) < tolerance(dtype, 1e3)
    out = np.ones((100, 100), dtype=dtype)
    _cpu.syrk(a[:, :60].T.copy() if trans else a[:, :60].copy(), out, trans=trans, beta=1.0, block=block)
    assert relative_error(out, 1 + a[:, :60].astype(float) @ a[:, :60].T) < tolerance(dtype)
    broken = a.copy()
    broken[41, 41] = -1.0
    assert _cpu.cholesky(broken, block=block) == 42


def test_solve_lower_is_half_of_a_solve(dtype: type, rng: np.random.Generator) -> None:
    a, b = spd(40, rng).astype(dtype), rng.standard_normal((40, 600)).astype(dtype)
    factor = a.copy()
    assert _cpu.cholesky(factor) == 0
    solved = b.copy()
    _cpu.solve_lower(factor, solved)
    assert relative_error(solved, np.linalg.solve(np.linalg.cholesky(a.astype(float)), b)) < tolerance(
        dtype, 1e2
    )


@pytest.mark.parametrize(("begin", "rows"), [(0, 70), (0, 5), (30, 40), (69, 1), (32, 32), (7, 0)])
def test_symmetric_rows(begin: int, rows: int, dtype: type, rng: np.random.Generator) -> None:
    a = spd(70, rng)
    lower = np.tril(a) + np.triu(rng.standard_normal((70, 70)), 1)  # what is above must not be read
    out = np.empty((rows, 70), dtype=dtype)
    _cpu.symmetric_rows(lower, begin, -0.5, 2.0, out, 2)
    expected = (2.0 * np.eye(70) - 0.5 * a)[begin : begin + rows]
    assert relative_error(out, expected) <= tolerance(dtype)


@pytest.mark.parametrize("weighted", [False, True])
def test_product_moments_add_up(weighted: bool, dtype: type, rng: np.random.Generator) -> None:
    y, q = (rng.standard_normal((50, 700)).astype(dtype) for _ in range(2))
    w = rng.random(50) if weighted else None
    moments = np.ones((3, 700))
    _cpu.product_moments(y, q, w, moments, 2)
    column = np.ones(50) if w is None else w
    wide_y, wide_q = y.astype(float), q.astype(float)
    expected = 1 + np.stack([column @ wide_q, column @ wide_q**2, column @ (wide_q * wide_y)])
    assert relative_error(moments, expected) < 1e-13


def test_a_product_has_the_same_bits_in_every_tile(dtype: type, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((70, 300)).astype(dtype), rng.standard_normal((300, 2300)).astype(dtype)
    whole, tiled = np.empty((70, 2300), dtype=dtype), np.empty((70, 2300), dtype=dtype)
    _cpu.gemm(a, b, whole)
    for begin in range(0, 2300, 1024):
        _cpu.gemm(a, b[:, begin : begin + 1024], tiled[:, begin : begin + 1024])
    np.testing.assert_array_equal(whole, tiled)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="not square"):
        _cpu.restore_lower(np.zeros((2, 3)), 1)
    with pytest.raises(ValueError, match="symmetric_rows"):
        _cpu.symmetric_rows(np.zeros((3, 3)), 2, 1.0, 0.0, np.zeros((2, 3)), 1)
    with pytest.raises(ValueError, match="product_moments"):
        _cpu.product_moments(np.zeros((3, 2)), np.zeros((2, 2)), None, np.zeros((3, 2)), 1)
    with pytest.raises(RuntimeError, match="element 1 of the factor is zero"):
        _cpu.cholesky_inverse(np.zeros((2, 2)))

"""Dense linear algebra on C-ordered arrays, all of it in one BLAS with the GIL released.

numpy and scipy wheels each carry an OpenBLAS with a thread pool of its own; calling both by turns makes their
threads compete. Heavy products of this package go through here, and so through scipy's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import one_blas_thread

Floating = NDArray[Any]

# Small factorisations gain nothing from a second thread (8.7 ms alone, 13 ms on two at order 300), and
# lose a hundredfold where other processes hold the cores: their many short steps each wait for the slowest
# thread.
_ONE_THREAD_ORDER = 500


def matmul(
    a: Floating,
    b: Floating,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    out: Floating | None = None,
    beta: float = 0.0,
) -> Floating:
    """``op(a) @ op(b)`` for C-ordered float32 or float64 matrices of one dtype; ``out`` <- product + ``beta``
    * ``out``."""
    if out is None:
        shape = (a.shape[1] if trans_a else a.shape[0], b.shape[0] if trans_b else b.shape[1])
        out = np.zeros(shape, dtype=a.dtype) if 0 in (*a.shape, *b.shape) else np.empty(shape, dtype=a.dtype)
    _cpu.gemm(a, b, out, trans_a=trans_a, trans_b=trans_b, beta=beta)
    return out


def gram(a: Floating, *, trans: bool = True) -> Floating:
    """``a.T @ a`` (``trans``) or ``a @ a.T``, both triangles, half the work of a product."""
    n = a.shape[1] if trans else a.shape[0]
    out = np.zeros((n, n), dtype=a.dtype)
    _cpu.syrk(a, out, trans=trans)
    return out


def blas_threads_for(order: int) -> AbstractContextManager[None]:
    """A context in which factorisations of this order run on as many threads as pay."""
    return one_blas_thread() if order <= _ONE_THREAD_ORDER else nullcontext()


class EighWorkspace:
    """Memory that many small eigendecompositions share: LAPACK wants 2 n^2 elements, and fresh pages would
    cost a quarter of the time. Large ones hardly notice, and others want the memory afterwards."""

    def __init__(self) -> None:
        self._work: Floating = np.empty(0)

    def take(self, n: int) -> Floating:
        size = _cpu.eigh_work(n)
        if self._work.size < size:
            self._work = np.empty(size)
        return self._work


def eigh_inplace(a: Floating, workspace: EighWorkspace | None = None) -> Floating:
    """Eigenvalues (ascending) of symmetric float64 ``a``; its rows are overwritten with the eigenvectors.

    Raises
    ------
    OverflowError
        If ``a`` is beyond 32-bit LAPACK (order 32,766).
    RuntimeError
        If the algorithm does not converge (NaN in ``a``, as a rule).
    """
    values = np.empty(a.shape[0])
    work = (workspace or EighWorkspace()).take(a.shape[0])
    with blas_threads_for(a.shape[0]):
        _cpu.eigh(a, values, work)
    return values


def eigh(a: Floating) -> tuple[Floating, Floating]:
    """``(w, q_t)`` with ``a = q_t.T @ diag(w) @ q_t``: w ascending, rows of q_t the eigenvectors, float64;
    ``a`` is kept."""
    vectors = np.array(a, dtype=np.float64, order="C")
    return eigh_inplace(vectors), vectors


def cholesky(a: Floating) -> Floating:
    """Lower factor L of symmetric positive definite ``a = L L'`` (the upper triangle of the result is not
    cleared; ``a`` is kept).

    Raises
    ------
    numpy.linalg.LinAlgError
        If ``a`` is not positive definite.
    """
    factor = np.array(a, order="C")
    failed = _cpu.cholesky(factor)
    if failed:
        raise np.linalg.LinAlgError(
            f"the leading minor of order {failed} of a {a.shape} matrix is not positive definite"
        )
    return factor


def cholesky_solve(factor: Floating, b: Floating) -> Floating:
    """``(L L')^-1 b`` for a factor from :func:`cholesky` and ``b`` (n, m); ``b`` is kept."""
    x = np.array(b, order="C")
    _cpu.cholesky_solve(factor, x)
    return x

"""Convex weights that combine the predictions of several models, one small quadratic programme per target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge import _cpu
from voxridge._threads import n_threads

Float64 = NDArray[np.float64]

_ENTRIES = 1 << 20  # of matrices in memory at once, beside those that are given
_ASYMMETRY = 1e-8
_GAP = 1e-6  # the method ends four decades and more below


def simplex_weights(p: ArrayLike, q: ArrayLike | None = None) -> Float64:
    """The point of the simplex that minimises a quadratic form, for every target.

    .. math:: w_v = \\arg\\min_w\\; w^\\top P_v w + q_v^\\top w
              \\quad\\text{subject to}\\quad w \\ge 0,\\; \\textstyle\\sum_m w_m = 1

    Solved exactly, in float64, by an active-set method: models enter one after the other, and every step goes
    to the minimum on those that are in, until no other would lower the objective.

    Parameters
    ----------
    p : array_like of shape (n_targets, n_models, n_models) or (n_models, n_models)
        Symmetric and positive semidefinite, of any rank.
    q : array_like of shape (n_targets, n_models) or (n_models,), optional
        Linear term; none by default.

    Returns
    -------
    numpy.ndarray of shape (n_targets, n_models) or (n_models,), float64
        No weight is negative, and each target's sum to 1. NaN where ``p`` or ``q`` of a target is not finite.

    Raises
    ------
    ValueError
        For shapes that do not belong together, and for a matrix that is not symmetric or has negative
        curvature, with the target named.
    ArithmeticError
        If rounding keeps the method from the minimum, with the target named.

    Notes
    -----
    Models whose residuals are the same (squared distance below 1e-12 of their squared sizes, so also a copy
    that went through float32) share their weight evenly; with ``p = 0`` all weights are equal. Otherwise the
    weights are unique unless residuals are linearly dependent; then one of the minima is returned, always
    the same.

    Examples
    --------
    >>> import numpy as np
    >>> simplex_weights(np.diag([1.0, 3.0, 100.0])).round(3)
    array([0.744, 0.248, 0.007])
    >>> simplex_weights([[1.0, 2.0], [2.0, 5.0]])
    array([1., 0.])
    """
    matrices = np.asarray(p, dtype=np.float64)
    single = matrices.ndim == 2
    matrices = matrices[None] if single else matrices
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] == 0:
        raise ValueError(f"p has shape {np.shape(p)}: give (n_targets, n_models, n_models), or one matrix")
    linear = None if q is None else np.array(q, dtype=np.float64, ndmin=matrices.ndim - 1, order="C")
    if linear is not None and linear.shape != matrices.shape[:2]:
        raise ValueError(
            f"q has shape {linear.shape} and p has shape {np.shape(p)}: give q one number for each model of "
            "each target"
        )
    weights, gaps = np.empty(matrices.shape[:2]), np.empty(len(matrices))
    step = targets_at_once(matrices.shape[1])
    for begin in range(0, len(matrices), step):
        part = slice(begin, begin + step)
        block = np.ascontiguousarray(matrices[part])
        one = None if linear is None else linear[part]
        _check_symmetry(block, begin)
        _cpu.simplex_qp(
            block.reshape(-1, block.shape[2]), one, weights[part], gaps[part], n_threads=n_threads()
        )
        _check_gaps(block, one, gaps[part], begin)
    return weights[0] if single else weights


def residual_products(parts: Sequence[NDArray[Any]], truth: NDArray[Any] | None = None) -> Float64:
    """Sums over samples of the products of models' residuals, for every target.

    .. math:: S_{v, ij} = \\sum_t e_{i, tv}\\, e_{j, tv}

    Parameters
    ----------
    parts : sequence of numpy.ndarray of shape (n_samples, n_targets)
        The residuals of each model; its predictions where ``truth`` is given.
    truth : numpy.ndarray of shape (n_samples, n_targets), optional
        Measured responses; residuals are ``truth - part``.

    Returns
    -------
    numpy.ndarray of shape (n_targets, n_models, n_models), float64
        Differences, products and sums are made in float64 whatever the inputs are, which are read where they
        lie: C-ordered float32 or float64 arrays of one dtype are not copied.

    Raises
    ------
    TypeError
        For arrays that are not real numbers.
    ValueError
        For no parts, or different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1.0], [2.0]])
    >>> residual_products([np.zeros((2, 1)), np.array([[1.0], [0.0]])], truth)
    array([[[5., 4.],
            [4., 4.]]])
    """
    arrays, whole = matching(parts, truth)
    m, n_targets = len(arrays), arrays[0].shape[1]
    result = np.empty((n_targets, m, m))
    step = targets_at_once(m)
    for begin in range(0, n_targets, step):
        columns = slice(begin, min(begin + step, n_targets))
        sums = np.zeros((m * (m + 1) // 2, columns.stop - begin))
        add_products(arrays, whole, columns, sums)
        result[columns] = unpacked(sums, m)
    return result


def targets_at_once(m: int) -> int:
    """How many targets' matrices are made at a time."""
    return max(1, _ENTRIES // m**2)


def matching(
    parts: Sequence[NDArray[Any]], truth: NDArray[Any] | None
) -> tuple[list[NDArray[Any]], NDArray[Any] | None]:
    """The arrays as such, of one shape and of real numbers."""
    if len(parts) == 0:
        raise ValueError("parts is empty: give the residuals or predictions of at least one model")
    named = {f"parts[{i}]": np.asarray(part) for i, part in enumerate(parts)}
    if truth is not None:
        named["truth"] = np.asarray(truth)
    shape = named["parts[0]"].shape
    for name, array in named.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} has dtype {array.dtype}: give real numbers")
        if array.ndim != 2:
            raise ValueError(f"{name} has shape {array.shape}: give (n_samples, n_targets), two dimensions")
        if array.shape != shape:
            raise ValueError(
                f"{name} has shape {array.shape} and parts[0] has shape {shape}: give (n_samples, n_targets) "
                "of the same samples and targets"
            )
    whole = named.pop("truth", None)
    return list(named.values()), whole


def add_products(
    parts: Sequence[NDArray[Any]], truth: NDArray[Any] | None, columns: slice, sums: Float64
) -> None:
    """sums (pairs, columns) += the products of those columns, lower triangle by rows; other dtypes and orders
    are copied by blocks of columns."""
    arrays = [*parts, truth] if truth is not None else list(parts)
    common = np.result_type(*arrays)
    dtype = np.dtype(np.float32 if common.kind == "f" and common.itemsize <= 4 else np.float64)
    in_place = all(array.dtype == dtype and array.flags.c_contiguous for array in arrays)
    step = columns.stop - columns.start if in_place else 512
    for begin in range(columns.start, columns.stop, max(step, 1)):
        here = slice(begin, min(begin + step, columns.stop))
        views = [array[:, here] for array in arrays]
        if not in_place:
            views = [np.ascontiguousarray(view, dtype=dtype) for view in views]
        whole = views.pop() if truth is not None else None
        part = sums[:, here.start - columns.start : here.stop - columns.start]
        _cpu.residual_products(views, whole, part, n_threads=n_threads())


def unpacked(sums: Float64, m: int) -> Float64:
    """(pairs, targets) to (targets, m, m)."""
    result = np.empty((sums.shape[1], m, m))
    rows, columns = np.tril_indices(m)
    result[:, rows, columns] = sums.T
    result[:, columns, rows] = sums.T
    return result


def _check_symmetry(block: Float64, first: int) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(block - block.swapaxes(1, 2)).max(axis=(1, 2))
        wrong = difference > _ASYMMETRY * np.abs(block).max(axis=(1, 2))
    if wrong.any():
        raise ValueError(f"p of target {first + int(wrong.argmax())} is not symmetric: give (A + A') / 2")


def _check_gaps(block: Float64, linear: Float64 | None, gaps: Float64, first: int) -> None:
    negative = np.isinf(gaps)
    if negative.any():
        raise ValueError(
            f"p of target {first + int(negative.argmax())} has negative curvature: give a positive "
            "semidefinite matrix, such as E'E of residuals E"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.abs(block).max(axis=(1, 2)) + (0.0 if linear is None else np.abs(linear).max(axis=1))
        missed = gaps > _GAP * scale
    if missed.any():
        target = int(missed.argmax())
        raise ArithmeticError(
            f"target {first + target}: rounding keeps the weights from the minimum (gap {gaps[target]:.3g}, "
            f"largest entry {scale[target]:.3g}); give residuals of less different sizes"
        )

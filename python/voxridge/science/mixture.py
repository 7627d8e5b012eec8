"""The convex mixture of several models' predictions that errs least, for every target.

:mod:`voxridge.science.stacking` says where the predictions must come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.stacking import add_products, matching, simplex_weights, targets_at_once, unpacked

Float64 = NDArray[np.float64]
Predictions = Mapping[str, NDArray[Any]]

_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class StackWeights:
    """Convex weights of models, one set per target; NaN where a target's residuals are not finite.

    Attributes
    ----------
    names : tuple of str
        The models.
    weights : ndarray (n_models, n_targets) float64
        No weight is negative; each target's sum to 1.
    errors : ndarray (n_models, n_targets) float64
        Mean squared cross-validated residual of each model alone.
    stack_errors : ndarray (n_targets,) float64
        The same of the mixture: at most the least of ``errors``, and optimistic, for the weights were chosen
        by it.
    n_samples : int
        Rows that chose the weights.
    """

    names: tuple[str, ...]
    weights: Float64
    errors: Float64
    stack_errors: Float64
    n_samples: int

    @property
    def best(self) -> NDArray[np.intp]:
        """Position of the model that errs least alone, (n_targets,); -1 where undefined."""
        known = np.isfinite(self.errors).all(axis=0)
        return np.where(known, np.where(known, self.errors, 0.0).argmin(axis=0), -1)

    @property
    def effective_models(self) -> Float64:
        """:math:`1 / \\sum_m w_m^2`, (n_targets,): 1 for a single model, n_models for equal weights."""
        return np.asarray(1.0 / np.square(self.weights).sum(axis=0))


class ResidualProducts:
    """What the weights need of the residuals, summed up piece by piece, a run or a fold at a time.

    Parameters
    ----------
    names : iterable of str
        The models.
    n_targets : int

    Raises
    ------
    ValueError
        For no names, or one that comes twice.

    Notes
    -----
    Memory: ``n_models (n_models + 1) / 2`` float64 numbers a target, 28 MB for 8 models and 95,556 targets.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> products = ResidualProducts(["near", "far"], n_targets=2)
    >>> for _ in range(3):
    ...     truth = rng.standard_normal((40, 2))
    ...     near = truth + 0.1 * rng.standard_normal((40, 2))
    ...     products.add(truth, {"near": near, "far": np.zeros((40, 2))})
    >>> products.weights().weights.round(1)
    array([[1., 1.],
           [0., 0.]])
    """

    def __init__(self, names: Iterable[str], n_targets: int) -> None:
        self.names = tuple(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names={self.names!r}: give at least one model, each once")
        self.n_samples = 0
        m = len(self.names)
        self._sums = np.zeros((m * (m + 1) // 2, n_targets))

    def add(self, truth: NDArray[Any] | None, predictions: Predictions) -> None:
        """Add some rows.

        Parameters
        ----------
        truth : ndarray (n_samples, n_targets), or None
            Measured responses; None where ``predictions`` holds residuals.
        predictions : mapping of name to ndarray (n_samples, n_targets)
            Of every model, cross-validated: each row predicted by a model that was not fitted to it.

        Raises
        ------
        ValueError
            For other models or other shapes than before.
        """
        parts, whole = matching(_ordered(self.names, predictions), truth)
        if parts[0].shape[1] != self._sums.shape[1]:
            raise ValueError(
                f"predictions have shape {parts[0].shape}: these sums are of {self._sums.shape[1]} targets"
            )
        add_products(parts, whole, slice(0, self._sums.shape[1]), self._sums)
        self.n_samples += len(parts[0])

    def mean_products(self, targets: slice = slice(None)) -> Float64:
        """The matrices :math:`P_v`, (n_targets, n_models, n_models): sums so far over the number of rows.

        Parameters
        ----------
        targets : slice
            Of which targets; of all by default.

        Returns
        -------
        ndarray (n_targets, n_models, n_models) float64

        Raises
        ------
        ValueError
            Where no rows were added.
        """
        if self.n_samples == 0:
            raise ValueError("no rows were added: call add first")
        return unpacked(self._sums[:, targets] / self.n_samples, len(self.names))

    def weights(self) -> StackWeights:
        """The weights by all rows so far.

        Returns
        -------
        StackWeights

        Raises
        ------
        ValueError
            Where no rows were added.
        """
        m, n_targets = len(self.names), self._sums.shape[1]
        weights, errors, stacked = np.empty((m, n_targets)), np.empty((m, n_targets)), np.empty(n_targets)
        step = targets_at_once(m)
        for begin in range(0, max(n_targets, 1), step):
            part = slice(begin, begin + step)
            p = self.mean_products(part)
            chosen = simplex_weights(p)
            weights[:, part] = chosen.T
            errors[:, part] = p.diagonal(axis1=1, axis2=2).T
            stacked[part] = np.einsum("vi,vij,vj->v", chosen, p, chosen)
        return StackWeights(self.names, weights, errors, stacked, self.n_samples)


def stack_weights(truth: NDArray[Any] | None, predictions: Predictions) -> StackWeights:
    """Weights of the convex mixture of models that errs least on cross-validated training rows.

    .. math:: w_v = \\arg\\min_{w \\ge 0, \\sum w = 1} w^\\top P_v w,
              \\qquad P_{v, ij} = \\frac1n \\sum_t e_{i, tv}\\, e_{j, tv}

    with the residuals :math:`e_i = y - \\hat y_i`; :math:`w^\\top P_v w` is the mean squared error of the
    mixture.

    Parameters
    ----------
    truth : ndarray (n_samples, n_targets), or None
        Measured responses of training rows; None where ``predictions`` holds residuals. float32 or float64.
    predictions : mapping of name to ndarray (n_samples, n_targets)
        Cross-validated predictions of the same rows: each by a model that was not fitted to it. In-sample
        predictions would favour whatever overfits.

    Returns
    -------
    StackWeights

    Raises
    ------
    TypeError
        For arrays that are not real numbers.
    ValueError
        For no models, no rows, or different shapes.

    Notes
    -----
    Models with the same residuals share their weight evenly. All sums are in float64, and the arrays are read
    where they lie when they are C-ordered and of one dtype.

    References
    ----------
    Wolpert 1992, Neural Networks 5:241. Breiman 1996, Machine Learning 24:49. Lin, Naselaris, Kay and Wehbe
    2024, "Stacked regressions and structured variance partitioning for interpretable brain maps", NeuroImage.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((500, 1))
    >>> near, far = (truth + s * rng.standard_normal((500, 1)) for s in (0.5, 1.0))
    >>> stack_weights(truth, {"near": near, "far": far}).weights.round(1)  # 0.8 and 0.2 in the long run
    array([[0.8],
           [0.2]])
    """
    names = tuple(predictions)
    parts, whole = matching(list(predictions.values()), truth)
    blocks, step = [], targets_at_once(len(names))
    for begin in range(0, max(parts[0].shape[1], 1), step):
        here = np.s_[:, begin : begin + step]
        products = ResidualProducts(names, parts[0][here].shape[1])
        views = {name: part[here] for name, part in zip(names, parts, strict=True)}
        products.add(None if whole is None else whole[here], views)
        blocks.append(products.weights())
    weights, errors = (
        np.concatenate([getattr(block, name) for block in blocks], axis=1) for name in ("weights", "errors")
    )
    stacked = np.concatenate([block.stack_errors for block in blocks])
    return StackWeights(names, weights, errors, stacked, n_samples=len(parts[0]))


def stacked_prediction(weights: StackWeights, predictions: Predictions) -> NDArray[Any]:
    """The mixture of the models' predictions.

    .. math:: \\hat y_{tv} = \\sum_m w_{mv}\\, \\hat y_{m, tv}

    Parameters
    ----------
    weights : StackWeights
    predictions : mapping of name to ndarray (n_samples, n_targets)
        Of the same models for any rows, each model refitted to all training rows.

    Returns
    -------
    ndarray (n_samples, n_targets)
        In the predictions' dtype; NaN for targets without weights.

    Raises
    ------
    TypeError
        For arrays that are not real numbers.
    ValueError
        For other models than the weights', or different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((2, 1))
    >>> weights = stack_weights(None, {"a": one, "b": -one})
    >>> stacked_prediction(weights, {"a": 3 * one, "b": one}).ravel()
    array([2., 2.])
    """
    parts, _ = matching(_ordered(weights.names, predictions), None)
    n_samples, n_targets = parts[0].shape
    if weights.weights.shape[1] != n_targets:
        raise ValueError(
            f"predictions have shape {parts[0].shape} and the weights are of {weights.weights.shape[1]} "
            "targets: give predictions of the same targets"
        )
    dtype = np.result_type(np.float32, *parts)
    result = np.empty((n_samples, n_targets), dtype=dtype)
    step = max(1, _ELEMENTS // max(n_targets, 1))
    for begin in range(0, n_samples, step):
        rows = slice(begin, begin + step)
        mixed = weights.weights[0] * parts[0][rows]
        for weight, part in zip(weights.weights[1:], parts[1:], strict=True):
            mixed += weight * part[rows]
        result[rows] = mixed
    return result


def _ordered(names: tuple[str, ...], predictions: Predictions) -> list[NDArray[Any]]:
    if set(predictions) != set(names):
        raise ValueError(
            f"predictions are of {tuple(predictions)}, the weights of {names}: give the same models"
        )
    return [predictions[name] for name in names]

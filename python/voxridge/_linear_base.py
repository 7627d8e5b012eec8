"""What a fitted ridge model does, whichever way its alpha was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from voxridge import _linear_checks as checks
from voxridge._device_results import HandsOver
from voxridge._linear_cv import r2
from voxridge.solvers.dense import Float64Array, FloatArray
from voxridge.solvers.linalg import matmul
from voxridge.streams.device_source import is_on_device


class LinearRidgeModel(HandsOver, MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Prediction and scores from ``coef_`` and ``intercept_``."""

    coef_: Any
    intercept_: Any
    n_features_in_: int

    def predict(self, X: ArrayLike) -> Any:
        """``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Dense. float32 X with a model fitted on float32 gives float32. A tensor in host memory (of torch,
            or whatever speaks DLPack) is read where it is.

        Returns
        -------
        ndarray (n_samples,) for one target, else (n_samples, n_targets)
            A NumPy array, whatever kind X is of (``torch.from_numpy`` takes it over without a copy); where X
            is on a CUDA device, an array of its library there.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Called before ``fit``.
        ValueError
            The number or names of features differ from ``fit``; values that are not finite.
        TypeError
            X is sparse, or a tensor that NumPy cannot read.
        """
        if "coef_" not in vars(self):
            check_is_fitted(self)
        fitted, intercept = self._host("coef_"), self._host("intercept_")
        if is_on_device(X):
            from voxridge._linear_device import predict_on_device

            return predict_on_device(X, fitted, intercept, type(self).__name__)
        x = checks.check_predict_array(self, X)
        dtype = np.result_type(x, fitted)
        one_target = fitted.ndim == 1
        coef = np.ascontiguousarray(fitted[None] if one_target else fitted, dtype=dtype)
        predicted = matmul(np.ascontiguousarray(x, dtype=dtype), coef, trans_b=True)
        predicted += np.asarray(intercept, dtype=dtype)
        return predicted[:, 0] if one_target else predicted

    def score_per_target(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Float64Array:
        """R^2 of each target; ``score`` is their mean.

        A constant target scores 1 where it is predicted exactly and 0 otherwise, as in
        ``sklearn.metrics.r2_score``.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,) or (n_samples, n_targets)
            The true responses.
        sample_weight : array_like (n_samples,), optional

        Returns
        -------
        ndarray (n_targets,) float64

        Raises
        ------
        ValueError
            y's shape does not fit the predictions (both are named).
        """
        predicted: FloatArray = self.predict(checks.as_numpy("X", X))
        predicted = predicted.reshape(predicted.shape[0], -1)
        truth = np.asarray(checks.as_numpy("y", y), dtype=predicted.dtype)
        if truth.ndim == 1:
            truth = truth[:, None]
        if truth.shape != predicted.shape:
            raise ValueError(
                f"y has shape {np.shape(y)}, but X {np.shape(X)} is predicted as {predicted.shape}"
            )
        return r2(truth, predicted, checks.check_weights(sample_weight, truth.shape[0]))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The mean R^2 of the targets, as in scikit-learn.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
        y : array_like (n_samples,) or (n_samples, n_targets)
            The true responses.
        sample_weight : array_like (n_samples,), optional
        """
        X, y = checks.as_numpy("X", X), checks.as_numpy("y", y)
        return float(super().score(X, y, checks.as_numpy("sample_weight", sample_weight)))

    def _store(self, coef: FloatArray, intercept: FloatArray, y_ndim: int, fit_intercept: bool) -> None:
        """scikit-learn's shapes: coef_ (p,) for a single target, intercept_ 0.0 when it is not fitted."""
        self.coef_ = coef[0] if coef.shape[0] == 1 else coef
        if not fit_intercept:
            self.intercept_ = 0.0
        else:
            self.intercept_ = intercept[0] if y_ndim == 1 else intercept

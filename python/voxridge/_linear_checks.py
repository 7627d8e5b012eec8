"""What the drop-in estimators check before they fit, with messages that say what was given and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import assert_all_finite, validate_data

from voxridge.solvers.dense import Float64Array, FloatArray
from voxridge.streams.device_source import DeviceSegment, is_on_device


def as_numpy(name: str, array: Any) -> Any:
    """A tensor of another library as a NumPy array over the same memory, by DLPack; one on a CUDA device as a
    copy; the rest as it is.

    Raises:
        TypeError: a tensor that needs gradients or has no NumPy dtype (bfloat16), or is on a device that is
            not CUDA's.
        ValueError, RuntimeError: what is wrong with an array on a CUDA device, or with the device.
    """
    if isinstance(array, np.ndarray | np.generic):
        return array
    if is_on_device(array):
        return DeviceSegment(array, name).on_host()
    if not hasattr(array, "__dlpack__"):
        return array
    try:
        return np.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} ({type(array).__name__}, {getattr(array, 'dtype', 'unknown dtype')}) cannot be read as "
            f"a NumPy array: {error}. Pass a dense array in host memory; of a torch tensor, "
            f"{name}.detach().cpu().float()"
        ) from error


def check_fit_arrays(estimator: Any, X: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """X (n, p) and y (n,) or (n, V) as float64, or float32 where X is float32 or float16; sets
    n_features_in_.

    Raises:
        TypeError: X is sparse, or a tensor that NumPy cannot read.
        ValueError: shapes that do not fit, no targets, values that are not finite, and whatever scikit-learn
            rejects.
    """
    X, y = as_numpy("X", X), as_numpy("y", y)
    _reject_sparse(estimator, X)
    x_shape, y_shape = getattr(X, "shape", None), getattr(y, "shape", None)
    if x_shape is not None and y_shape is not None and len(x_shape) == 2:
        if len(y_shape) not in (1, 2) or y_shape[0] != x_shape[0]:
            raise ValueError(
                f"X and y have inconsistent shapes: X {x_shape}, y {y_shape}. X must be "
                "(n_samples, n_features) and "
                "y (n_samples,) or (n_samples, n_targets)"
            )
        if len(y_shape) == 2 and y_shape[1] == 0:
            raise ValueError(
                f"y has zero targets: its shape is {y_shape} (X is {x_shape}). Pass at least one column"
            )
    x, target = validate_data(
        estimator, X, y, dtype=_dtypes_for(X), multi_output=True, y_numeric=True, accept_sparse=False
    )
    return x, target.astype(x.dtype, copy=False)


def check_predict_array(estimator: Any, X: Any) -> FloatArray:
    """X (n, p) for a fitted estimator, in the precision rules of :func:`check_fit_arrays`."""
    X = as_numpy("X", X)
    if _needs_no_conversion(estimator, X):
        # all that validate_data would do with it, without the search for other kinds of arrays: on 100 x 10
        # numbers that search takes longer than the prediction
        assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")
        return cast(FloatArray, X)
    _reject_sparse(estimator, X)
    x: FloatArray = validate_data(estimator, X, reset=False, dtype=_dtypes_for(X), accept_sparse=False)
    return x


def _needs_no_conversion(estimator: Any, X: Any) -> bool:
    """Whether X is an array as the fit had it: its type, shape and names leave nothing to convert or say."""
    return (
        type(X) is np.ndarray
        and X.dtype in (np.float64, np.float32)
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    )


def _reject_sparse(estimator: Any, X: Any) -> None:
    if issparse(X):
        name = type(estimator).__name__
        raise TypeError(
            f"Sparse X (shape {X.shape}) is not supported: voxridge solves dense problems. Use "
            f"sklearn.linear_model.{name} for sparse data, or pass X.toarray() if it fits in memory"
        )


def _dtypes_for(X: Any) -> Any:
    return np.float32 if getattr(X, "dtype", None) == np.float16 else [np.float64, np.float32]


def check_weights(sample_weight: Any, n_samples: int) -> Float64Array | None:
    """One float64 weight per sample, or None. A number stands for that weight on every sample.

    Raises:
        ValueError: wrong shape, negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    weight: NDArray[Any] = np.asarray(as_numpy("sample_weight", sample_weight))
    if weight.dtype.kind not in "fiub":
        weight = weight.astype(np.float64)
    if weight.ndim == 0:
        weight = np.full(n_samples, float(weight))
    if weight.shape != (n_samples,):
        raise ValueError(
            f"Sample weights must be 1D array or scalar: sample_weight has shape {weight.shape}, "
            f"expected ({n_samples},), one weight per sample"
        )
    weight = weight.astype(np.float64)
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("sample_weight must be finite and non-negative")
    if not weight.any():
        raise ValueError(
            "sample_weight is all zero: sample weights must contain at least one non-zero number"
        )
    return weight


def check_alpha(alpha: Any) -> Float64Array:
    """Ridge's ``alpha``: a number >= 0 or a list of them; () or (n,) float64. Their count is checked with y.

    Raises:
        TypeError: not numeric. ValueError: empty, more than one dimension, negative or not finite.
    """
    values = _as_numbers("alpha", alpha)
    if values.ndim > 1 or values.size == 0:
        raise ValueError(
            f"alpha must be a number or a list with one number per target; got shape {values.shape}"
        )
    for index, value in enumerate(np.asarray(alpha).reshape(-1)):
        _check_one("alpha" if values.ndim == 0 else f"alpha[{index}]", value, positive=False, why="")
    return values


def check_alphas(alphas: Any, *, positive: bool) -> Float64Array:
    """RidgeCV's ``alphas`` as (n_alphas,) float64, in the given order.

    Raises:
        TypeError: not numeric. ValueError: empty, more than one dimension, negative, not finite; or zero
            where ``positive`` (leave-one-out needs a penalty).
    """
    values = _as_numbers("alphas", alphas)
    if values.ndim > 1 or values.size == 0:
        raise ValueError(f"alphas must be a non-empty list of numbers; got shape {values.shape}")
    values = values.reshape(-1)
    why = " Leave-one-out (cv=None) needs a penalty; pass cv to include 0" if positive else ""
    for index, value in enumerate(np.asarray(alphas).reshape(-1)):
        name = "alphas" if values.size == 1 else f"alphas[{index}]"
        _check_one(name, value, positive=positive, why=why)
    return values


def _as_numbers(name: str, value: Any) -> Float64Array:
    if isinstance(value, str | bytes) or value is None:
        raise TypeError(f"{name} must be a number or a list of numbers; got {value!r}")
    if isinstance(value, Sequence):
        for index, item in enumerate(value):
            if not isinstance(item, Real | np.ndarray | Sequence) or isinstance(item, str | bytes):
                raise TypeError(f"{name}[{index}] must be an instance of float, not {type(item).__name__}")
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or a list of numbers; got {value!r}") from error


def _check_one(name: str, value: Any, *, positive: bool, why: str) -> None:
    if not np.isfinite(value):
        raise ValueError(f"{name} == {value}, must be finite")
    if value < 0 or (positive and value == 0):
        raise ValueError(f"{name} == {value}, must be {'>' if positive else '>='} 0.0.{why}")


def check_flag(name: str, value: Any) -> bool:
    """A true or false option.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def check_stop(max_iter: Any, tol: Any) -> None:
    """Where iterations end: ``max_iter`` an integer >= 1 or None, ``tol`` a number >= 0.

    Raises:
        TypeError: of another type. ValueError: out of range.
    """
    if max_iter is not None:
        if not isinstance(max_iter, Integral) or isinstance(max_iter, bool):
            raise TypeError(f"max_iter must be an integer >= 1 or None; got {max_iter!r}")
        if max_iter < 1:
            raise ValueError(f"max_iter must be an integer >= 1 or None; got {max_iter!r}")
    if not isinstance(tol, Real) or isinstance(tol, bool):
        raise TypeError(f"tol must be a number >= 0; got {tol!r}")
    if not float(tol) >= 0:
        raise ValueError(f"tol must be a number >= 0; got {tol!r}")


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")

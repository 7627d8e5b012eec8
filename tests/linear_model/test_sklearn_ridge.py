"""scikit-learn's own tests of ridge, as they ship in its wheel, with our ``Ridge`` and ``RidgeCV`` in them.

What cannot pass is in ``LISTED``, with the error that it must end in and the reason; a listed test that
passes fails here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import sklearn.linear_model
from scipy import sparse

from voxridge.linear_model import Ridge, RidgeCV

# scikit-learn's tests say which warnings they want, and are not written to run without any other
pytestmark = pytest.mark.filterwarnings("ignore")


def _with_our_estimators() -> ModuleType:
    """scikit-learn's test module, imported once more while its package offers our classes."""
    # first as it is: what it imports itself must not meet our classes
    spec = importlib.import_module("sklearn.linear_model.tests.test_ridge").__spec__
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.linear_model, "Ridge", Ridge)
        patch.setattr(sklearn.linear_model, "RidgeCV", RidgeCV)
        spec.loader.exec_module(module)
    return module


THEIRS = _with_our_estimators()
NOT_RUN = {
    "test_ridge_array_api_compliance",
    "test_ridge_classifier_multilabel_array_api",
    "test_ridge_per_target_alpha_array_api",
    "test_array_api_error_and_warnings_for_solver_parameter",
}
"""scikit-learn skips these too unless SCIPY_ARRAY_API is set: results here are NumPy arrays, whatever kind of
array came in (test_ecosystem.py)."""


class Listed(NamedTuple):
    """A test that cannot pass: the error it ends in, its message, why; and which cases, if not all."""

    error: type[BaseException] | tuple[type[BaseException], ...]
    message: str
    reason: str
    applies: Callable[[dict[str, Any]], bool] = lambda params: True


def _has_sparse(params: dict[str, Any]) -> bool:
    kinds = [value for value in params.values() if isinstance(value, type)]
    return any(issubclass(kind, sparse.spmatrix | sparse.sparray) for kind in kinds)


_SPARSE = Listed(
    TypeError,
    r"^Sparse X .* is not supported.* Use sklearn\.linear_model\.Ridge",
    "scikit-learn's estimator is there for sparse X, and the error names it",
    _has_sparse,
)
LISTED = {
    "test_dense_sparse": _SPARSE._replace(
        applies=lambda params: params["test_func"].__name__ != "_test_ridge_classifiers"
    ),
    "test_regularization_limits_ridge": _SPARSE,
    "test_regularization_limits_ridge_gcv": _SPARSE._replace(
        error=(TypeError, pytest.fail.Exception),
        message=f"{_SPARSE.message}|DID NOT WARN.*FutureWarning",  # of gcv_mode="svd" with sparse X
    ),
    "test_ridge_fit_intercept_sparse": _SPARSE,
    "test_ridge_fit_intercept_sparse_error": _SPARSE,
    "test_ridge_fit_intercept_sparse_sag": _SPARSE,
    "test_ridge_gcv_sample_weights": _SPARSE,
    "test_ridge_gcv_vs_ridge_loo_cv": _SPARSE,
    "test_ridge_regression_sample_weights": _SPARSE,
    "test_ridge_sample_weight_consistency": _SPARSE,
    "test_solver_consistency": _SPARSE,
    "test_sparse_design_with_sample_weights": _SPARSE,
    "test_ridge_cv_individual_penalties": Listed(
        pytest.fail.Exception,
        "DID NOT RAISE .*ValueError",
        "its last lines want alpha_per_target with cv refused, which is what voxridge adds",
    ),
}


def _as_run_here(name: str) -> Callable[..., None]:
    """Their test as it is, or inverted where it is listed; cases in lists, as pytest wants them."""
    test, listed = vars(THEIRS)[name], LISTED.get(name)

    @functools.wraps(test)
    def run(**params: Any) -> None:
        if listed is None or not listed.applies(params):
            test(**params)
            return
        with pytest.raises(listed.error, match=listed.message):
            test(**params)

    marks = getattr(test, "pytestmark", [])
    cases = [m for m in marks if m.name == "parametrize"]
    run.pytestmark = [m for m in marks if m.name != "parametrize"]  # type: ignore[attr-defined]
    for mark in cases:
        run = pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs)(run)
    return run


def _is_about_ours(name: str) -> bool:
    """Whether a test uses one of the two classes: the file has some of classifiers and of internals, too."""
    if not name.startswith("test_") or name in NOT_RUN or "ridge_classifier" in name:
        return False
    return re.search(r"\bRidge(CV)?\b|_test_ridge_loo", inspect.getsource(vars(THEIRS)[name])) is not None


globals().update({name: _as_run_here(name) for name in filter(_is_about_ours, vars(THEIRS))})
ols_ridge_dataset = THEIRS.ols_ridge_dataset


@pytest.fixture
def global_random_seed() -> int:
    """As in scikit-learn's conftest, without its environment variable."""
    return 42


@pytest.mark.parametrize("name", sorted({*LISTED, *NOT_RUN}))
def test_what_is_named_here_exists_there(name):
    assert hasattr(THEIRS, name)

"""scikit-learn's own conformance checks: all, but one that its own ``Ridge`` cannot pass either."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from voxridge.linear_model import Ridge, RidgeCV


@parametrize_with_checks(
    [
        Ridge(),
        Ridge(solver="svd", fit_intercept=False),
        Ridge(solver="lsqr"),
        Ridge(positive=True),
        RidgeCV(),
        RidgeCV(gcv_mode="svd", alpha_per_target=True),
        RidgeCV(cv=3),
        RidgeCV(cv=3, alpha_per_target=True, scoring="neg_median_absolute_error"),
    ]
)
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
def test_conformance(estimator, check):
    if check.func.__name__ == "check_non_transformer_estimators_n_iter" and estimator.__class__ is Ridge:
        if estimator.solver == "lsqr":
            check(estimator)
            return
        with pytest.raises(TypeError, match="'NoneType' and 'int'"):  # n_iter_ is None, as scikit-learn's is
            check(estimator)
        return
    check(estimator)


def test_scikit_learn_is_not_imported_by_the_package_or_its_solvers():
    code = (
        "import sys, voxridge, voxridge.solvers.ridge, voxridge.solvers.loo;"
        "assert not any(name.split('.')[0] == 'sklearn' for name in sys.modules), 'sklearn was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

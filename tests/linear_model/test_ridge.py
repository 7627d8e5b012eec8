"""Ridge as a drop-in for scikit-learn's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge as SkRidge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import voxridge
from voxridge._linear_iterative import ITERATIVE
from voxridge._warnings import SingularDesignWarning
from voxridge.linear_model import Ridge, RidgeCV


def problem(n=40, p=6, v=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 2
    return x, x @ rng.normal(size=(p, v)) + rng.normal(size=(n, v))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize(("n", "p"), [(40, 6), (6, 40), (15, 15)])
@pytest.mark.parametrize("y_columns", [None, 1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight", [None, 2.0, "vector"])
@pytest.mark.parametrize("solver", ["auto", "cholesky", "svd"])
def test_equals_scikit_learn(n, p, y_columns, fit_intercept, weight, solver):
    x, y = problem(n, p)
    y = y[:, 0] if y_columns is None else y[:, :y_columns]
    if weight == "vector":
        weight = np.linspace(0, 2, n)
    reference = SkRidge(1.3, fit_intercept=fit_intercept).fit(x, y, weight)
    got = Ridge(1.3, fit_intercept=fit_intercept, solver=solver).fit(x, y, weight)
    close(got.coef_, reference.coef_)
    close(got.intercept_, reference.intercept_)
    close(got.predict(x), reference.predict(x))
    assert np.shape(got.intercept_) == np.shape(reference.intercept_)
    assert got.coef_.shape == reference.coef_.shape
    assert got.score(x, y, np.ones(n)) == pytest.approx(reference.score(x, y), rel=1e-10)
    assert np.ndim(got.score(x, y)) == 0


@pytest.mark.parametrize("parameters", [{"solver": s} for s in ITERATIVE] + [{"positive": True}])
@pytest.mark.parametrize("y_columns", [None, 1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_iterations_are_scikit_learns(parameters, y_columns, fit_intercept, weighted, dtype):
    """The same steps from the same start: also where they are few and far from the solution."""
    x, y = (a.astype(dtype) for a in problem())
    y = y[:, 0] if y_columns is None else y[:, :y_columns]
    weight = np.linspace(0.5, 2, 40) if weighted else None
    kept = x.copy(), y.copy()
    for stop in ({"max_iter": 3}, {"max_iter": None, "tol": 1e-3}):
        settings = {"alpha": 1.3, "fit_intercept": fit_intercept, "random_state": 0, **stop, **parameters}
        reference = SkRidge(**settings).fit(x, y, weight)
        got = Ridge(**settings).fit(x, y, weight)
        rtol = 1e-10 if dtype is np.float64 else 2e-3  # float32 is centred about another rounding of the mean
        np.testing.assert_allclose(got.coef_, reference.coef_, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(got.intercept_, reference.intercept_, rtol=rtol, atol=10 * rtol)
        assert got.coef_.dtype == got.predict(x).dtype == dtype
        assert got.coef_.shape == reference.coef_.shape
        assert np.shape(got.intercept_) == np.shape(reference.intercept_)
        assert got.solver_ == reference.solver_
        if reference.n_iter_ is None:
            assert got.n_iter_ is None
        else:
            assert np.abs(got.n_iter_ - reference.n_iter_).max() <= (dtype is np.float32)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(y, kept[1])


def test_iterations_take_an_alpha_per_target():
    x, y = problem()
    direct = Ridge([0.1, 1.0, 100.0]).fit(x, y)
    lsqr = Ridge([0.1, 1.0, 100.0], solver="lsqr", tol=1e-12).fit(x, y)
    np.testing.assert_allclose(lsqr.coef_, direct.coef_, rtol=1e-7)
    assert lsqr.n_iter_.shape == (3,)
    assert direct.n_iter_ is None


def test_same_parameters_and_defaults():
    assert Ridge().get_params() == SkRidge().get_params()


def test_alpha_per_target():
    x, y = problem()
    alphas = [0.1, 1.0, 100.0]
    close(Ridge(alphas).fit(x, y).coef_, SkRidge(alphas).fit(x, y).coef_)
    close(Ridge([2.0]).fit(x, y[:, 0]).coef_, SkRidge(2.0).fit(x, y[:, 0]).coef_)


def test_alpha_zero_on_rank_deficient_data():
    x, y = problem()
    x[:, 3] = x[:, 1]
    with pytest.warns(SingularDesignWarning):
        got = Ridge(0.0).fit(x, y)
    np.testing.assert_allclose(got.coef_, SkRidge(0.0, solver="svd").fit(x, y).coef_, atol=1e-9)
    assert got.solver_ == "svd"


@pytest.mark.parametrize(
    ("given_dtype", "kept"),
    [(np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32), (np.int64, np.float64),
     (np.int8, np.float64), (bool, np.float64)],
)  # fmt: skip
def test_dtypes(given_dtype, kept):
    x, y = problem()
    x = (x > 2 if given_dtype is bool else 3 * x).astype(given_dtype)
    before = x.copy()
    model = Ridge().fit(x, y)
    assert model.coef_.dtype == model.intercept_.dtype == model.predict(x).dtype == kept
    assert (x == before).all()
    np.testing.assert_allclose(
        model.coef_,
        SkRidge().fit(x.astype(float), y).coef_,
        rtol=1e-10 if kept is np.float64 else 2e-4,
        atol=1e-6,
    )


def test_any_layout_and_read_only_inputs_stay_bit_identical():
    x, y = problem()
    expected = Ridge().fit(x, y).coef_
    strided = np.zeros((80, 18))
    strided[::2, ::3] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    target = y.copy()
    target.flags.writeable = False
    for layout in (np.asfortranarray(x), strided[::2, ::3], frozen, x[::-1][::-1]):
        close(Ridge(copy_X=False).fit(layout, target).coef_, expected)
        assert (layout == frozen).all()
    assert (target == y).all()


def test_one_sample_and_constant_features():
    model = Ridge().fit([[1.0, 2.0]], [3.0])
    assert (model.coef_ == 0).all()
    assert model.intercept_ == 3.0
    x, y = problem()
    x[:, 2] = 0.3
    assert (Ridge().fit(x, y).coef_[:, 2] == 0).all()


def test_score_per_target():
    x, y = problem()
    y[:, 1] = 2.0
    model = Ridge().fit(x, y)
    scores = model.score_per_target(x, y)
    assert scores.shape == (3,)
    assert scores.mean() == pytest.approx(model.score(x, y))
    weight = np.linspace(0, 1, 40)
    assert model.score_per_target(x, y, weight).mean() == pytest.approx(model.score(x, y, weight))
    assert Ridge().fit(x, y[:, 0]).score_per_target(x, y[:, 0]).shape == (1,)
    with pytest.raises(ValueError, match=r"y has shape \(40, 2\), but X \(40, 6\)"):
        model.score_per_target(x, y[:, :2])


def test_lives_in_scikit_learn_tools():
    x, y = problem()
    model = Ridge(0.5).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(x) == model.predict(x)).all()
    assert clone(model).get_params() == model.get_params()
    ours = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}).fit(x, y)
    theirs = GridSearchCV(SkRidge(), {"alpha": [0.1, 1.0, 10.0]}).fit(x, y)
    assert ours.best_params_ == theirs.best_params_
    close(cross_val_score(Ridge(), x, y), cross_val_score(SkRidge(), x, y))
    pipeline = make_pipeline(StandardScaler(), Ridge()).set_output(transform="default").fit(x, y)
    close(pipeline.predict(x), make_pipeline(StandardScaler(), SkRidge()).fit(x, y).predict(x))


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    x, y = problem()
    frame = pandas.DataFrame(x, columns=list("abcdef"))
    model = Ridge().fit(frame, pandas.DataFrame(y))
    assert list(model.feature_names_in_) == list("abcdef")
    assert model.n_features_in_ == 6
    close(model.predict(frame), SkRidge().fit(x, y).predict(x))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))
    pipeline = make_pipeline(StandardScaler(), Ridge()).set_output(transform="pandas").fit(frame, y)
    assert list(pipeline[-1].feature_names_in_) == list("abcdef")


@pytest.mark.parametrize("model", [Ridge(), RidgeCV(), RidgeCV(cv=3)])
@pytest.mark.parametrize(
    ("x", "y", "error", "match"),
    [
        (np.ones((5, 2)), np.ones(4), ValueError, r"X \(5, 2\), y \(4,\)"),
        (np.ones((5, 2)), np.ones((5, 2, 1)), ValueError, r"y \(5, 2, 1\)"),
        (np.ones((5, 2)), np.ones((5, 0)), ValueError, r"zero targets: its shape is \(5, 0\)"),
        (np.ones(5), np.ones(5), ValueError, "2D array"),
        (np.ones((5, 0)), np.ones(5), ValueError, r"0 feature\(s\)"),
        (np.full((5, 2), np.nan), np.ones(5), ValueError, "NaN"),
        (np.ones((5, 2)), np.full(5, np.inf), ValueError, "infinity"),
        (np.ones((5, 2)) * 1j, np.ones(5), ValueError, "Complex"),
        (sparse.csr_array(np.eye(5)), np.ones(5), TypeError, r"Sparse X.*sklearn.linear_model.Ridge"),
    ],
)
def test_bad_arrays(model, x, y, error, match):
    with pytest.raises(error, match=match):
        clone(model).fit(x, y)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"alpha": -1}, ValueError, "alpha == -1, must be >= 0.0"),
        ({"alpha": np.nan}, ValueError, "alpha == nan, must be finite"),
        ({"alpha": [1.0, np.inf, 1.0]}, ValueError, r"alpha\[1\] == inf"),
        ({"alpha": []}, ValueError, r"alpha must be .* shape \(0,\)"),
        ({"alpha": [1.0, 2.0]}, ValueError, "penalties do not correspond: 2 != 3"),
        ({"alpha": "1"}, TypeError, "alpha must be a number"),
        ({"alpha": [1.0, "a", 2.0]}, TypeError, r"alpha\[1\] must be an instance of float, not str"),
        ({"alpha": np.ones((3, 1))}, ValueError, r"shape \(3, 1\)"),
        ({"fit_intercept": "yes"}, TypeError, "fit_intercept must be True or False"),
        ({"positive": True, "solver": "svd"}, ValueError, "'svd' does not support positive .* 'auto'"),
        ({"solver": "lbfgs"}, ValueError, "only when positive=True. Use solver='auto'"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer >= 1 or None; got 0"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer >= 1 or None; got 2.5"),
        ({"tol": -1e-4}, ValueError, "tol must be a number >= 0; got -0.0001"),
        ({"tol": "1e-4"}, TypeError, "tol must be a number"),
        ({"solver": "lu"}, ValueError, "solver must be one of"),
    ],
)
def test_bad_parameters(parameters, error, match):
    x, y = problem()
    with pytest.raises(error, match=match):
        Ridge(**parameters).fit(x, y)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.ones(3), r"shape \(3,\), expected \(40,\)"),
        (np.ones((40, 1)), "1D array or scalar"),
        (-np.ones(40), "non-negative"),
        (np.full(40, np.nan), "finite"),
        (np.zeros(40), "at least one non-zero"),
    ],
)
@pytest.mark.parametrize("model", [Ridge(), RidgeCV(), RidgeCV(cv=3)])
def test_bad_weights(model, weight, match):
    x, y = problem()
    with pytest.raises(ValueError, match=match):
        clone(model).fit(x, y, sample_weight=weight)


def test_predict_checks_its_input():
    x, y = problem()
    model = Ridge().fit(x, y)
    with pytest.raises(ValueError, match="5 features"):
        model.predict(x[:, :5])
    with pytest.raises(TypeError, match="Sparse X"):
        model.predict(sparse.csr_array(x))


def test_public_names():
    assert voxridge.Ridge is Ridge
    assert voxridge.RidgeCV is RidgeCV

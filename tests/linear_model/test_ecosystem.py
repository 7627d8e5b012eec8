"""What people put around a ridge: pipelines, searches, routing, data frames, processes and tensors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge as SkRidge
from sklearn.linear_model import RidgeCV as SkRidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import voxridge._linear_ridge as ridge_module
import voxridge._linear_ridge_cv as ridge_cv_module
from voxridge import EncodingRidge
from voxridge.linear_model import Ridge, RidgeCV

ALPHAS = (0.1, 10.0, 1000.0)
PAIRS = [
    pytest.param(Ridge(2.0), SkRidge(2.0), id="Ridge"),
    pytest.param(RidgeCV(ALPHAS), SkRidgeCV(ALPHAS), id="RidgeCV"),
    pytest.param(RidgeCV(ALPHAS, cv=4), SkRidgeCV(ALPHAS, cv=4), id="RidgeCV-folds"),
]


def problem(n=60, p=5, v=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.geomspace(0.1, 10, p) + 2
    return x, x @ rng.normal(size=(p, v)) + 4 * rng.normal(size=(n, v))


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_pipelines(ours, theirs):
    x, y = problem()
    for steps in ((StandardScaler(),), (StandardScaler(), PCA(3))):
        got, expected = (
            make_pipeline(*map(clone, steps), clone(model)).fit(x, y) for model in (ours, theirs)
        )
        close(got.predict(x), expected.predict(x))
        assert got.score(x, y) == pytest.approx(expected.score(x, y))
    around = [
        TransformedTargetRegressor(model, func=np.cbrt, inverse_func=lambda a: a**3)
        for model in (ours, theirs)
    ]
    got, expected = (model.fit(x, y).predict(x) for model in around)
    close(got, expected)
    got, expected = (MultiOutputRegressor(model).fit(x, y).predict(x) for model in (ours, theirs))
    close(got, expected)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_cross_validation_functions(ours, theirs):
    x, y = problem()
    close(cross_val_score(ours, x, y, cv=4), cross_val_score(theirs, x, y, cv=4))
    close(cross_val_predict(ours, x, y, cv=4), cross_val_predict(theirs, x, y, cv=4))
    scoring = ("r2", "neg_mean_absolute_error")
    got, expected = (
        cross_validate(m, x, y, cv=4, scoring=scoring, return_train_score=True) for m in (ours, theirs)
    )
    for key in ("test_r2", "train_r2", "test_neg_mean_absolute_error"):
        close(got[key], expected[key])


def test_grid_search():
    x, y = problem()
    pairs = [(make_pipeline(StandardScaler(), model)) for model in (Ridge(), SkRidge())]
    grid = {
        "ridge__alpha": ALPHAS,
        "ridge__fit_intercept": [True, False],
        "ridge__solver": ["auto", "svd", "lsqr"],
    }
    got, expected = (GridSearchCV(model, grid, cv=4).fit(x, y) for model in pairs)
    for name in ("ridge__alpha", "ridge__fit_intercept"):  # solvers are equal up to rounding
        assert got.best_params_[name] == expected.best_params_[name]
    close(got.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    close(got.predict(x), expected.predict(x), 1e-4)  # one of the solvers iterates to 1e-4


def test_ridge_cv_is_the_grid_search_of_ridge():
    x, y = problem()
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=4).fit(x, y)
    chosen = RidgeCV(ALPHAS, cv=4).fit(x, y)
    assert chosen.alpha_ == search.best_params_["alpha"]
    close(chosen.cv_scores_, search.cv_results_["mean_test_score"])
    close(chosen.predict(x), search.predict(x))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_clone_and_pickle(ours, theirs, tmp_path):
    x, y = problem()
    fitted = clone(ours).fit(x, y)
    assert not hasattr(clone(fitted), "coef_")
    assert clone(fitted).get_params() == ours.get_params()
    assert type(fitted).__module__ == "voxridge.linear_model"
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model.joblib")):
        assert vars(copy).keys() == vars(fitted).keys()
        assert np.array_equal(copy.predict(x), fitted.predict(x))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_gives_the_same_bits(backend):
    x, y = problem()
    alone = [cross_val_score(model, x, y, cv=4) for model in (Ridge(), RidgeCV(ALPHAS, cv=3))]
    with joblib.parallel_backend(backend, n_jobs=2):
        together = [cross_val_score(model, x, y, cv=4) for model in (Ridge(), RidgeCV(ALPHAS, cv=3))]
        search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=3).fit(x, y)
    assert np.array_equal(alone, together)
    assert search.best_params_ == GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=3).fit(x, y).best_params_


@pytest.mark.usefixtures("routing")
def test_routed_weights_reach_ridge_inside_a_search():
    x, y = problem()
    weight = np.linspace(0.1, 3, 60)
    results = []
    for model in (Ridge(), SkRidge()):
        asking = model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler().set_fit_request(sample_weight=True), asking),
            {"ridge__alpha": ALPHAS},
            cv=GroupKFold(3),
        )
        search.fit(x, y, sample_weight=weight, groups=np.arange(60) // 12)
        results.append(search)
    got, expected = results
    close(got.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    unweighted = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": ALPHAS}, cv=3).fit(
        x, y
    )
    assert not np.allclose(got.predict(x), unweighted.predict(x))
    close(got.predict(x), expected.predict(x))


@pytest.mark.usefixtures("routing")
def test_routed_groups_reach_ridge_cv_inside_a_pipeline():
    x, y = problem()
    groups, weight = np.arange(60) % 5, np.linspace(0.1, 3, 60)
    inner = RidgeCV(ALPHAS, cv=GroupKFold(5)).set_fit_request(sample_weight=True)
    routed = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), inner)
    routed.fit(x, y, groups=groups, sample_weight=weight)
    by_hand = RidgeCV(ALPHAS, cv=list(GroupKFold(5).split(x, y, groups)))
    by_hand.fit(StandardScaler().fit_transform(x), y, sample_weight=weight)
    assert routed[-1].alpha_ == by_hand.alpha_
    close(routed[-1].cv_scores_, by_hand.cv_scores_)
    outer = cross_validate(
        make_pipeline(
            StandardScaler(), RidgeCV(ALPHAS, cv=GroupKFold(2)).set_fit_request(sample_weight=False)
        ),
        x,
        y,
        cv=GroupKFold(4),
        params={"groups": np.arange(60) // 6},
        return_estimator=True,
    )
    assert len(outer["estimator"]) == 4


def test_groups_without_routing():
    x, y = problem()
    groups = np.arange(60) % 5
    got = RidgeCV(ALPHAS, cv=GroupKFold(5)).fit(x, y, groups=groups)
    close(got.cv_scores_, RidgeCV(ALPHAS, cv=list(GroupKFold(5).split(x, y, groups))).fit(x, y).cv_scores_)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_data_frames_and_feature_names(ours, theirs):
    x, y = problem()
    frame, responses = pd.DataFrame(x, columns=list("abcde")), pd.DataFrame(y, columns=["v1", "v2", "v3"])
    got, expected = clone(ours).fit(frame, responses), clone(theirs).fit(frame, responses)
    assert list(got.feature_names_in_) == list("abcde")
    close(got.coef_, expected.coef_)
    assert isinstance(got.predict(frame), np.ndarray)
    close(got.predict(frame), expected.predict(frame))
    close(clone(ours).fit(frame, responses["v1"]).coef_, clone(theirs).fit(frame, responses["v1"]).coef_)
    with pytest.raises(ValueError, match="feature names should match"):
        got.predict(frame[list("bacde")])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        got.predict(x)
    with pytest.warns(UserWarning, match="X has feature names, but"):
        clone(ours).fit(x, y).predict(frame)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_set_output_upstream(ours, theirs):
    """Transformers that hand on data frames: names arrive, and the numbers are those of arrays."""
    x, y = problem()
    frame = pd.DataFrame(x, columns=list("abcde"))
    columns = ColumnTransformer([("few", PCA(2), ["a", "b"]), ("rest", StandardScaler(), ["c", "d", "e"])])
    as_frames = make_pipeline(clone(columns), clone(ours)).set_output(transform="pandas").fit(frame, y)
    assert list(as_frames[-1].feature_names_in_) == [
        "few__pca0",
        "few__pca1",
        "rest__c",
        "rest__d",
        "rest__e",
    ]
    close(as_frames.predict(frame), make_pipeline(columns, clone(theirs)).fit(frame, y).predict(frame))


class TestTensors:
    """torch tensors in host memory are read where they are; what comes out is NumPy."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def tensors(self, dtype=np.float64):
        x, y = (a.astype(dtype) for a in problem())
        return self.torch.from_numpy(x.copy()), self.torch.from_numpy(y.copy()), x, y

    @pytest.mark.parametrize(("ours", "theirs"), PAIRS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_same_fit_and_prediction(self, ours, theirs, dtype):
        tx, ty, x, y = self.tensors(dtype)
        weight = np.linspace(1, 2, 60)
        got = clone(ours).fit(tx, ty, self.torch.from_numpy(weight))
        expected = clone(ours).fit(x, y, weight)
        assert np.array_equal(got.coef_, expected.coef_)
        assert got.coef_.dtype == dtype
        assert type(got.coef_) is type(got.predict(tx)) is np.ndarray
        assert np.array_equal(got.predict(tx), expected.predict(x))
        assert got.score(tx, ty) == pytest.approx(expected.score(x, y))
        assert np.array_equal(got.score_per_target(tx, ty), expected.score_per_target(x, y))
        assert np.array_equal(tx.numpy(), x)
        assert np.array_equal(ty.numpy(), y)

    @pytest.mark.parametrize("solver", ["solve_ridge", "leave_one_out"])
    @pytest.mark.parametrize("transposed", [False, True])
    def test_no_copy_on_the_way_to_the_solver(self, solver, transposed, monkeypatch):
        """The solver's own argument lies where the tensor lies."""
        module = ridge_module if solver == "solve_ridge" else ridge_cv_module
        seen, real = [], getattr(module, solver)

        def spy(x, y, *args, **kwargs):
            seen.append((x, y))
            return real(x, y, *args, **kwargs)

        monkeypatch.setattr(module, solver, spy)
        tx, ty, _, _ = self.tensors()
        if transposed:
            tx = tx.T.contiguous().T
        (Ridge() if solver == "solve_ridge" else RidgeCV()).fit(tx, ty)
        [(x, y)] = seen
        assert x.__array_interface__["data"][0] == tx.data_ptr()
        assert y.__array_interface__["data"][0] == ty.data_ptr()
        assert x.strides == tuple(8 * step for step in tx.stride())

    def test_no_copy_on_the_way_to_a_prediction_or_out_of_it(self, monkeypatch):
        import voxridge._linear_base as base

        tx, ty, _, _ = self.tensors()
        model = Ridge().fit(tx, ty)
        seen, real = [], base.matmul
        monkeypatch.setattr(base, "matmul", lambda a, b, **options: seen.append(a) or real(a, b, **options))
        predicted = model.predict(tx)
        assert seen[0].__array_interface__["data"][0] == tx.data_ptr()
        assert self.torch.from_numpy(predicted).data_ptr() == predicted.__array_interface__["data"][0]

    def test_groups_folds_and_search(self):
        tx, ty, x, y = self.tensors()
        groups = np.arange(60) % 5
        got = RidgeCV(ALPHAS, cv=GroupKFold(5)).fit(tx, ty, groups=self.torch.from_numpy(groups))
        assert np.array_equal(
            got.cv_scores_, RidgeCV(ALPHAS, cv=GroupKFold(5)).fit(x, y, groups=groups).cv_scores_
        )
        assert np.array_equal(
            cross_val_score(Ridge(), tx, ty, cv=KFold(3)), cross_val_score(Ridge(), x, y, cv=3)
        )

    @pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")  # two penalties
    @pytest.mark.parametrize("kind", ["tensor", "frame"])
    def test_encoding_ridge_reads_them_too(self, kind):
        convert = self.torch.from_numpy if kind == "tensor" else pd.DataFrame
        runs = [problem(seed=seed) for seed in range(3)]
        features, responses = [x for x, _ in runs], [y for _, y in runs]
        model = EncodingRidge([1.0, 100.0], delays=(0, 1), progress=False)
        expected = model.fit(features, responses).predict(features)
        converted = [list(map(convert, arrays)) for arrays in (features, responses)]
        got = model.fit(*converted).predict(converted[0])
        assert type(got) is np.ndarray
        assert np.array_equal(got, expected)

    def test_half_precision_and_integers(self):
        tx, ty, x, y = self.tensors()
        half = Ridge().fit(tx.half(), ty.half())
        assert half.coef_.dtype == np.float32
        assert np.array_equal(half.coef_, Ridge().fit(x.astype(np.float16), y.astype(np.float16)).coef_)
        assert Ridge().fit(tx.int(), ty.int()).coef_.dtype == np.float64

    @pytest.mark.parametrize("spoil", ["bfloat16", "requires_grad_", "to_sparse"])
    def test_what_numpy_cannot_read_is_named_with_the_remedy(self, spoil):
        tx, ty, _, _ = self.tensors()
        spoiled = getattr(tx.clone(), spoil)()
        for model in (Ridge(), RidgeCV()):
            with pytest.raises(
                TypeError, match=r"X \(Tensor, torch.* cannot be read.* X.detach\(\).cpu\(\).float\(\)"
            ):
                model.fit(spoiled, ty)
            fitted = model.fit(tx, ty)
            with pytest.raises(TypeError, match=r"X.detach\(\).cpu\(\).float\(\)"):
                fitted.predict(spoiled)
        with pytest.raises(TypeError, match=r"y \(Tensor"):
            Ridge().fit(tx, ty.bfloat16())
        with pytest.raises(TypeError, match=r"sample_weight \(Tensor"):
            Ridge().fit(tx, ty, self.torch.ones(60).bfloat16())


def test_best_alphas_is_himalayas_name_for_one_alpha_per_target():
    x, y = problem()
    each = RidgeCV(ALPHAS, cv=3, alpha_per_target=True).fit(x, y)
    assert np.array_equal(each.best_alphas_, each.alpha_)
    assert np.array_equal(
        RidgeCV(ALPHAS).fit(x, y).best_alphas_, np.full(3, RidgeCV(ALPHAS).fit(x, y).alpha_)
    )
    assert RidgeCV(ALPHAS, alpha_per_target=True).fit(x, y[:, 0]).best_alphas_.shape == (1,)
    assert not hasattr(RidgeCV(), "best_alphas_")

"""EncodingRidge beyond one fold scheme and one memory: leave-one-out, GCV, weights of samples, groups, plans,
and what it warns of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from voxridge import EncodingRidge
from voxridge._warnings import AlphaEdgeWarning, FallbackWarning, RankDeficientWarning, SmallFoldWarning
from voxridge.testing import delayed_matrix, make_responses, relative_error

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [40, 50, 60]
DELAYS = (1, 2, 4)
ALPHAS = np.logspace(-1, 4, 8)


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    features = rng.standard_normal((150, 10))
    return features, make_responses(delayed_matrix(features, DELAYS, RUNS), 12, noise=2.0)


def model(**options: Any) -> EncodingRidge:
    return EncodingRidge(**{"alphas": ALPHAS, "delays": DELAYS, "progress": False, **options})


def test_leave_one_out_equals_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    fitted = model(cv="leave-one-out", scoring="r2").fit(features, responses, runs=RUNS)
    peer = RidgeCV(ALPHAS, alpha_per_target=True, scoring="r2").fit(
        delayed_matrix(features, DELAYS, RUNS), responses
    )
    assert relative_error(fitted.best_cv_scores_, peer.best_score_) <= 1e-10
    np.testing.assert_array_equal(fitted.alpha_, peer.alpha_)
    assert relative_error(fitted.coef_, peer.coef_) <= 1e-10


def test_gcv_is_near_leave_one_out(data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    options: dict[str, Any] = {"scoring": "r2", "alphas": [30.0, 300.0]}
    gcv = model(cv="gcv", **options).fit(features, responses, runs=RUNS)
    loo = model(cv="leave-one-out", **options).fit(features, responses, runs=RUNS)
    assert np.abs(gcv.cv_scores_ - loo.cv_scores_).max() < 0.05
    with pytest.raises(ValueError, match="scoring='correlation' must be \"r2\""):
        model(cv="gcv").fit(features, responses, runs=RUNS)


def test_sample_weights_equal_scikit_learn(
    data: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    features, responses = data
    weight = rng.random(150)
    fitted = model().fit(features, responses, runs=RUNS, sample_weight=weight)
    x = delayed_matrix(features, DELAYS, RUNS)
    peer = Ridge(alpha=fitted.alpha_).fit(x, responses, sample_weight=weight)
    assert relative_error(fitted.coef_, peer.coef_) <= 1e-10
    assert relative_error(fitted.intercept_, peer.intercept_) <= 1e-10


@pytest.mark.parametrize(
    "solver", ["primal-leave-out", "dual-leave-out", "primal-cholesky", "dual-cholesky", "svd"]
)
def test_every_route_gives_the_same_model(solver: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    expected = model(solver="primal-spectral").fit(features, responses, runs=RUNS)
    fitted = model(solver=solver).fit(features, responses, runs=RUNS)
    assert fitted.plan_.route == solver
    np.testing.assert_array_equal(fitted.alpha_, expected.alpha_)
    assert relative_error(fitted.cv_scores_, expected.cv_scores_) <= 1e-8
    assert relative_error(fitted.coef_, expected.coef_) <= 1e-8
    new = features[:50]
    assert relative_error(fitted.predict(new), expected.predict(new)) <= 1e-8


def test_masked_voxels_on_every_route(data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    broken = responses.copy()
    broken[:, 3], broken[7, 5] = 1.0, np.nan
    for solver in ("primal-spectral", "dual-leave-out", "primal-cholesky", "dual-cholesky", "svd"):
        with pytest.warns(UserWarning, match="2 of 12"):
            fitted = model(solver=solver).fit(features, broken, runs=RUNS)
        assert np.isnan(fitted.alpha_[[3, 5]]).all()
        assert np.isfinite(np.delete(fitted.alpha_, [3, 5])).all()
        assert not fitted.coef_[[3, 5]].any()


def test_a_plan_before_the_fit(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    features, responses = data
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = features
    plan = model(memory_limit="16GB").plan(tmp_path / "x.h5", responses, runs=RUNS)
    assert plan.peak_bytes <= 16e9
    assert plan.route in str(plan)
    fitted = model(memory_limit="16GB").fit(tmp_path / "x.h5", responses, runs=RUNS)
    assert fitted.plan_.route == plan.route


def test_folds_of_few_samples_are_reported(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.warns(SmallFoldWarning, match="30 of 30 folds score fewer than 10 samples .the fewest: 5"):
        model(cv=30, delays=(0,)).fit(*data)


def test_duplicated_features_are_counted(data: tuple[np.ndarray, np.ndarray]) -> None:
    features, responses = data
    twice = np.concatenate([features, features[:, :2]], axis=1)
    with pytest.warns(RankDeficientWarning, match="6 directions of the delayed features"):
        model(solver="primal").fit(twice, responses, runs=RUNS)


def test_a_fallback_is_reported_and_right(rng: np.random.Generator) -> None:
    """Features on scales from 1 to 1e-9, unpenalised: the Gram has lost the small ones."""
    features = rng.standard_normal((150, 6)) * np.logspace(0, -9, 6)
    responses = make_responses(features / np.logspace(0, -9, 6), 4)
    with pytest.warns(FallbackWarning, match="Using svd instead"):
        fitted = model(alphas=[0.0], delays=(0,)).fit(features, responses, runs=RUNS)
    well_scaled = Ridge(alpha=0.0).fit(features / np.logspace(0, -9, 6), responses)
    assert relative_error(fitted.coef_ * np.logspace(0, -9, 6), well_scaled.coef_) <= 1e-8


def test_an_ordinary_fit_warns_of_nothing(data: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", AlphaEdgeWarning)  # noise: some targets want none of the features
        model().fit(*data, runs=RUNS)


def test_a_model_saves_its_paths_and_groups(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    labels = np.repeat(["V1", "A1"], 6)
    fitted = model(weights=tmp_path / "w.h5", checkpoint=tmp_path / "kept", alpha_per_target=labels)
    fitted.fit(*data, runs=RUNS).save(tmp_path / "model.h5")
    again = EncodingRidge.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    assert again.checkpoint == str(tmp_path / "kept")
    assert list(again.alpha_per_target) == list(labels)

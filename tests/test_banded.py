"""BandedRidgeCV as a user meets it: against scikit-learn and himalaya, EncodingRidge for one band, every kind
of input, and bad input."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, PredefinedSplit

from voxridge import EncodingRidge
from voxridge._warnings import AlphaEdgeWarning, FallbackWarning, MaskedTargetsWarning, RankDeficientWarning
from voxridge.banded import BandedRidgeCV
from voxridge.science.scores import correlation_score, r2_score
from voxridge.solvers.memory import resident_memory
from voxridge.testing import delayed_matrix, relative_error, textbook_score, tolerance

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [40, 50, 60]
DELAYS = (1, 2)
ALPHAS = np.logspace(-1, 4, 6)
WIDTHS = {"sound": 5, "words": 6, "layer": 4}

Bands = dict[str, np.ndarray]


def make(rng: np.random.Generator, n_targets: int = 10, runs: list[int] = RUNS) -> tuple[Bands, np.ndarray]:
    """Targets that hear "sound", "words", or both; "layer" is noise."""
    features = {name: rng.standard_normal((sum(runs), width)) for name, width in WIDTHS.items()}
    share = np.linspace(0, 1, n_targets)
    parts = []
    for name, weight in (("sound", 1 - share), ("words", share)):
        x = delayed_matrix(features[name], DELAYS, runs)
        parts.append(weight * (x @ rng.standard_normal((x.shape[1], n_targets))))
    return features, sum(parts) + 1.5 * rng.standard_normal(parts[0].shape) + 7.0  # type: ignore[return-value]


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[Bands, np.ndarray]:
    return make(rng)


def model(**options: Any) -> BandedRidgeCV:
    chosen = {"alphas": ALPHAS, "delays": DELAYS, "n_iter": 6, "n_refine": 3, "progress": False, **options}
    return BandedRidgeCV(**chosen)


def side_by_side(features: Bands) -> np.ndarray:
    return np.concatenate(list(features.values()), axis=1)


def scale_of(gammas: np.ndarray) -> np.ndarray:
    """What multiplies every column of the delayed design."""
    return np.tile(np.sqrt(np.repeat(gammas, list(WIDTHS.values()))), len(DELAYS))


# --- the numbers


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_equals_scikit_learn_on_scaled_features_fold_by_fold(
    scoring: str, route: str, data: tuple[Bands, np.ndarray]
) -> None:
    features, responses = data
    fitted = model(scoring=scoring, solver=route).fit(features, responses, runs=RUNS)
    x = delayed_matrix(side_by_side(features), DELAYS, RUNS)
    for gammas, found in zip(fitted.candidates_, fitted.cv_scores_, strict=True):
        scaled, scores = x * scale_of(gammas), np.zeros((ALPHAS.size, 10))
        for fold in fitted.folds_:
            for a, alpha in enumerate(ALPHAS):
                peer = Ridge(alpha=alpha).fit(scaled[fold.train], responses[fold.train])
                predicted = peer.predict(scaled[fold.validation])
                scores[a] += textbook_score(responses[fold.validation], predicted, scoring) / 3
        tried = np.isfinite(found)
        assert np.abs(found - scores.max(axis=0))[tried].max(initial=0) <= 1e-10
    everyone = np.arange(10)
    np.testing.assert_allclose(fitted.best_cv_scores_, np.nanmax(fitted.cv_scores_, axis=0), rtol=1e-14)
    np.testing.assert_array_equal(fitted.gammas_, fitted.candidates_[fitted.best_candidate_].T)
    np.testing.assert_array_equal(fitted.cv_scores_[fitted.best_candidate_, everyone], fitted.best_cv_scores_)
    new = np.random.default_rng(5).standard_normal((70, 15))
    new_x = delayed_matrix(new, DELAYS, [30, 40])
    predicted = fitted.predict({"sound": new[:, :5], "words": new[:, 5:11], "layer": new[:, 11:]}, [30, 40])
    for target in everyone:
        scale = scale_of(fitted.gammas_[:, target])
        peer = Ridge(alpha=fitted.alpha_[target]).fit(x * scale, responses[:, target])
        assert relative_error(fitted.coef_[target], peer.coef_ * scale) <= 1e-10
        assert abs(fitted.intercept_[target] - peer.intercept_) <= 1e-10
        assert relative_error(predicted[:, target], peer.predict(new_x * scale)) <= 1e-10


@pytest.mark.filterwarnings(
    "ignore::voxridge._warnings.RankDeficientWarning"
)  # runs begin with empty samples
@pytest.mark.parametrize("width", [8, 120])
def test_one_band_is_an_encoding_ridge(width: int, rng: np.random.Generator) -> None:
    features = rng.standard_normal((150, width))
    x = delayed_matrix(features, DELAYS, RUNS)
    responses = x @ rng.standard_normal((2 * width, 7)) + 5 * rng.standard_normal((150, 7))
    plain = EncodingRidge(ALPHAS, DELAYS, progress=False).fit(features, responses, runs=RUNS)
    banded = model().fit({"all": features}, responses, runs=RUNS)
    without = EncodingRidge(ALPHAS, DELAYS, weights="none", progress=False)
    without.fit(features, responses, runs=RUNS)  # which may go another way than with weights
    np.testing.assert_array_equal(banded.cv_scores_, without.best_cv_scores_[None])
    assert relative_error(banded.best_cv_scores_, plain.best_cv_scores_) <= 1e-12
    np.testing.assert_array_equal(banded.alpha_, plain.alpha_)
    np.testing.assert_array_equal(banded.gammas_, np.ones((1, 7)))
    assert relative_error(banded.coef_, plain.coef_) <= 1e-10
    assert relative_error(banded.intercept_, plain.intercept_) <= 1e-10
    new = rng.standard_normal((60, width))
    assert relative_error(banded.predict({"all": new}), plain.predict(new)) <= 1e-10


@pytest.mark.parametrize("wide", [False, True], ids=["n > p", "n < p"])
def test_himalaya_finds_the_same_for_the_same_candidates(wide: bool, rng: np.random.Generator) -> None:
    ridge = pytest.importorskip("himalaya.ridge")
    from himalaya.backend import set_backend
    from himalaya.scoring import correlation_score as himalaya_correlation

    set_backend("numpy")
    widths = (60, 50) if wide else (6, 9)
    features = {str(i): rng.standard_normal((150, width)) for i, width in enumerate(widths)}
    xs = [delayed_matrix(f, DELAYS, RUNS) for f in features.values()]
    responses = xs[0] @ rng.standard_normal((xs[0].shape[1], 12)) + 3 * rng.standard_normal((150, 12))
    gammas = rng.dirichlet([1.0, 1.0], 7)
    fitted = model(n_iter=gammas, n_refine=0).fit(features, responses, runs=RUNS)
    options = {
        "n_iter": gammas,
        "alphas": ALPHAS,
        "score_func": himalaya_correlation,
        "progress_bar": False,
        "warn": False,
    }
    folds = PredefinedSplit(np.repeat(range(3), RUNS))
    peer = ridge.GroupRidgeCV("input", solver_params=options, fit_intercept=True, cv=folds).fit(xs, responses)
    assert np.abs(peer.cv_scores_ - fitted.cv_scores_).max() <= 1e-8
    np.testing.assert_allclose(fitted.deltas_, peer.deltas_, atol=1e-8)
    side = np.concatenate([fitted.predict(features, RUNS, split=True).sum(axis=0) + fitted.intercept_])
    assert relative_error(side, peer.predict(xs)) <= 1e-8


def test_as_good_as_himalayas_search_of_the_same_length(rng: np.random.Generator) -> None:
    """As many candidates for every target; scores on runs that neither has seen."""
    ridge = pytest.importorskip("himalaya.ridge")
    from himalaya.backend import set_backend
    from himalaya.scoring import correlation_score as himalaya_correlation

    set_backend("numpy")
    runs = [40] * 8
    features, responses = make(rng, 60, runs)
    seen = {name: f[:160] for name, f in features.items()}
    unseen = {name: f[160:] for name, f in features.items()}
    fitted = model(n_iter=9, n_refine=9).fit(seen, responses[:160], runs=runs[:4])
    tried = np.isfinite(fitted.cv_scores_).sum(axis=0)
    options = {
        "n_iter": int(tried.max()),
        "alphas": ALPHAS,
        "score_func": himalaya_correlation,
        "progress_bar": False,
    }
    folds = PredefinedSplit(np.repeat(range(4), runs[:4]))
    xs = [delayed_matrix(f, DELAYS, runs[:4]) for f in seen.values()]
    peer = ridge.GroupRidgeCV("input", solver_params=options, fit_intercept=True, cv=folds, random_state=0)
    peer.fit(xs, responses[:160])
    assert fitted.best_cv_scores_.mean() > peer.cv_scores_.max(axis=0).mean() - 0.002
    new = [delayed_matrix(f, DELAYS, runs[4:]) for f in unseen.values()]
    theirs = correlation_score(responses[160:], peer.predict(new)).mean()
    ours = fitted.score(unseen, responses[160:], runs=runs[4:], per_target=False)
    assert ours > theirs - 0.002


def test_a_band_of_noise_gets_next_to_no_weight(rng: np.random.Generator) -> None:
    features, responses = make(rng, 40)
    fitted = model(n_iter=12, n_refine=6).fit(features, responses, runs=RUNS)
    noise, sound, words = fitted.gammas_[2], fitted.gammas_[0], fitted.gammas_[1]
    assert np.median(noise) < 0.02
    assert (fitted.gammas_ == 0).any()
    # targets that hear more and more of the words: the penalties of the bands follow
    share = words / (sound + words)
    assert np.corrcoef(share, np.linspace(0, 1, 40))[0, 1] > 0.8
    assert share[0] < 0.1
    assert share[-1] > 0.9
    assert np.abs(fitted.predict(features, RUNS, split=True)[2][:, noise == 0]).max() == 0


def test_noise_gains_nothing_on_samples_that_were_not_seen(rng: np.random.Generator) -> None:
    """Selection sees training folds only: on responses of pure noise the winner of a search scores above 0 in
    the folds that chose it, and 0 on others."""
    runs = [50] * 8
    features = {name: rng.standard_normal((400, width)) for name, width in WIDTHS.items()}
    responses = rng.standard_normal((400, 200))
    seen = {name: f[:200] for name, f in features.items()}
    fitted = model(n_iter=12, n_refine=6).fit(seen, responses[:200], runs=runs[:4])
    assert fitted.best_cv_scores_.mean() > 0.05
    unseen = {name: f[200:] for name, f in features.items()}
    scores = np.nan_to_num(fitted.score(unseen, responses[200:], runs=runs[4:]))
    assert abs(scores.mean()) < 4 / np.sqrt(200 * 200)


def test_the_held_out_run_does_not_choose(data: tuple[Bands, np.ndarray]) -> None:
    """The scores of a fold depend on its own held-out rows and the training rows alone: with one fold, what
    lies in neither changes nothing."""
    features, responses = data
    fold = [(np.arange(90), np.arange(90, 120))]
    first = model(cv=fold, gap=0, weights="none").fit(features, responses, runs=RUNS)
    changed = responses.copy()
    changed[120:] = np.random.default_rng(3).standard_normal((30, 10))
    second = model(cv=fold, gap=0, weights="none").fit(features, changed, runs=RUNS)
    np.testing.assert_array_equal(first.alpha_, second.alpha_)
    np.testing.assert_array_equal(first.gammas_, second.gammas_)
    assert np.nanmax(np.abs(first.cv_scores_ - second.cv_scores_)) <= 1e-12


def test_duplicated_bands_share(data: tuple[Bands, np.ndarray]) -> None:
    """A band given twice can do what it does alone with twice the weight, and no more."""
    features, responses = data
    once = model(n_iter=np.ones((1, 1))).fit({"a": features["sound"]}, responses, runs=RUNS)
    twice = {"a": features["sound"], "b": features["sound"].copy()}
    with pytest.warns(RankDeficientWarning):
        both = model(n_iter=[[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]], n_refine=0).fit(twice, responses, runs=RUNS)
    assert np.abs(both.cv_scores_ - once.cv_scores_).max() <= 1e-10
    assert relative_error(both.predict(twice, RUNS), once.predict({"a": features["sound"]}, RUNS)) <= 1e-9


# --- runs and folds


def test_changing_one_run_leaves_other_predictions_bit_identical(
    route: str, data: tuple[Bands, np.ndarray]
) -> None:
    features, responses = data
    fitted = model(solver=route).fit(features, responses, runs=RUNS)
    changed = {name: f.copy() for name, f in features.items()}
    for f in changed.values():
        f[40:90] = np.random.default_rng(7).standard_normal(f[40:90].shape)
    before, after = fitted.predict(features, runs=RUNS), fitted.predict(changed, runs=RUNS)
    np.testing.assert_array_equal(after[:40], before[:40])
    np.testing.assert_array_equal(after[90:], before[90:])
    assert not np.array_equal(after[40:90], before[40:90])
    alone = fitted.predict({name: f[40:90] for name, f in features.items()})
    np.testing.assert_allclose(alone, before[40:90], atol=1e-12)


@pytest.mark.parametrize("cv", [2, KFold(3), "leave-one-out"], ids=["int", "splitter", "leave-one-out"])
def test_folds_are_those_of_an_encoding_ridge(cv: Any, data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model(cv=cv, n_iter=[[1.0, 0, 0]], n_refine=0).fit(features, responses, runs=RUNS)
        plain = EncodingRidge(ALPHAS, DELAYS, cv, progress=False)
        plain.fit(features["sound"], responses, runs=RUNS)
    assert [fold.train.tolist() for fold in fitted.folds_] == [fold.train.tolist() for fold in plain.folds_]
    assert np.abs(fitted.cv_scores_[0] - plain.best_cv_scores_).max() <= 1e-10
    np.testing.assert_array_equal(fitted.alpha_, plain.alpha_)


def test_a_single_choice_for_all_targets(data: tuple[Bands, np.ndarray]) -> None:
    fitted = model(alpha_per_target=False).fit(*data, runs=RUNS)
    assert len(np.unique(fitted.alpha_)) == 1
    assert len(np.unique(fitted.gammas_, axis=1).T) == 1
    means = fitted.cv_scores_.mean(axis=1)
    assert fitted.best_candidate_[0] == np.argmax(means)


# --- inputs


def one_matrix(features: Bands) -> tuple[Any, Any, Any]:
    return side_by_side(features), RUNS, WIDTHS


def lists_of_runs(features: Bands) -> tuple[Any, Any, Any]:
    return {name: np.split(f, [40, 90]) for name, f in features.items()}, None, None


def one_band_knows_the_runs(features: Bands) -> tuple[Any, Any, Any]:
    return {**features, "words": np.split(features["words"], [40, 90])}, None, None


def widths(features: Bands) -> tuple[Any, Any, Any]:
    return side_by_side(features), RUNS, [5, 6, 4]


@pytest.mark.parametrize("form", [one_matrix, lists_of_runs, one_band_knows_the_runs, widths])
def test_every_form_of_the_features_gives_the_same_fit(form: Any, data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    expected = model().fit(features, responses, runs=RUNS)
    given, runs, bands = form(features)
    before = pickle.dumps(given)
    fitted = model(bands=bands).fit(given, responses, runs=runs)
    assert pickle.dumps(given) == before
    np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    np.testing.assert_array_equal(fitted.predict(given, runs), expected.predict(features, RUNS))
    np.testing.assert_array_equal(
        fitted.score(given, responses, runs), expected.score(features, responses, RUNS)
    )


def test_labels_in_any_order(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    expected = model().fit(features, responses, runs=RUNS)
    order = np.random.default_rng(1).permutation(15)
    order = np.concatenate([[0], order[order != 0]])  # bands are in the order in which they appear
    labels = np.repeat(list(WIDTHS), list(WIDTHS.values()))[order]
    while list(dict.fromkeys(labels)) != list(WIDTHS):
        order[1:] = np.random.default_rng(order[1]).permutation(order[1:])
        labels = np.repeat(list(WIDTHS), list(WIDTHS.values()))[order]
    fitted = model(bands=labels).fit(side_by_side(features)[:, order], responses, runs=RUNS)
    assert fitted.band_names_ == tuple(WIDTHS)
    assert np.nanmax(np.abs(fitted.cv_scores_ - expected.cv_scores_)) <= 1e-10
    both = expected.coef_.reshape(10, 2, 15)[:, :, order]
    assert relative_error(fitted.coef_.reshape(10, 2, 15), both) <= 1e-10
    predicted = fitted.predict(side_by_side(features)[:, order], RUNS)
    assert relative_error(predicted, expected.predict(features, RUNS)) <= 1e-10


def test_bands_of_one_feature_each(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    two = side_by_side(features)[:, :2]
    fitted = model(bands=(1, 1)).fit(two, responses, runs=RUNS)
    expected = model().fit({"a": two[:, :1], "b": two[:, 1:]}, responses, runs=RUNS)
    assert fitted.band_widths_ == (1, 1)
    np.testing.assert_array_equal(fitted.gammas_, expected.gammas_)


def test_without_refinement_a_target_does_not_depend_on_others(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    whole = model(n_refine=0).fit(features, responses, runs=RUNS)
    some = model(n_refine=0).fit(features, responses[:, 4:7], runs=RUNS)
    np.testing.assert_array_equal(some.gammas_, whole.gammas_[:, 4:7])
    np.testing.assert_array_equal(some.alpha_, whole.alpha_[4:7])


def test_responses_that_know_the_runs_and_little_memory(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    expected = model().fit(features, responses, runs=RUNS)
    fitted = model().fit(features, np.split(responses, [40, 90]))
    np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    np.testing.assert_array_equal(
        fitted.score(features, np.split(responses, [40, 90])), expected.score(features, responses, RUNS)
    )
    shares = fitted.split_r2(features, np.split(responses, [40, 90]))
    np.testing.assert_array_equal(shares, expected.split_r2(features, responses, RUNS))
    fitted = model(memory_limit=resident_memory() + 120 * 2**20).fit(features, responses, runs=RUNS)
    np.testing.assert_allclose(fitted.cv_scores_, expected.cv_scores_, rtol=1e-10)


@pytest.mark.parametrize("n_refine", [1, 2, 4])
def test_short_refinements(n_refine: int, data: tuple[Bands, np.ndarray]) -> None:
    fitted = model(n_refine=n_refine).fit(*data, runs=RUNS)
    at_first = model(n_refine=0).fit(*data, runs=RUNS)
    n = len(at_first.candidates_)
    np.testing.assert_array_equal(fitted.candidates_[:n], at_first.candidates_)
    assert (np.isfinite(fitted.cv_scores_[n:]).sum(axis=0) >= n_refine).all()
    assert (fitted.best_cv_scores_ >= at_first.best_cv_scores_).all()


def test_files_and_the_order_of_bands(data: tuple[Bands, np.ndarray], tmp_path: Path) -> None:
    features, responses = data
    expected = model().fit(features, responses, runs=RUNS)
    np.save(tmp_path / "sound.npy", features["sound"])
    with h5py.File(tmp_path / "responses.h5", "w") as file:
        file["data"] = responses
    given = {**features, "sound": tmp_path / "sound.npy"}
    for limit in (None, "64GB"):
        fitted = model(memory_limit=limit).fit(given, tmp_path / "responses.h5", runs=RUNS)
        np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    with mock.patch(
        "voxridge._banded_inputs.worth_reading_whole", return_value=False
    ):  # every candidate reads the file
        fitted = model().fit(given, tmp_path / "responses.h5", runs=RUNS)
    np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    with mock.patch("voxridge.banded.keep_bytes", return_value=0):  # every candidate makes its Gram matrices
        fitted = model().fit(features, responses, runs=RUNS)
    np.testing.assert_array_equal(fitted.cv_scores_, expected.cv_scores_)
    shuffled = {name: features[name] for name in ("layer", "sound", "words")}
    np.testing.assert_array_equal(fitted.predict(shuffled, RUNS), expected.predict(features, RUNS))


def test_float32_stays_float32(route: str, data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    narrow = {name: f.astype(np.float32) for name, f in features.items()}
    candidates = np.random.default_rng(0).dirichlet([1, 1, 1], 5)
    options = {"solver": route, "n_iter": candidates, "n_refine": 0}
    fitted = model(**options).fit(narrow, responses.astype(np.float32), runs=RUNS)
    exact = model(**options).fit(features, responses, runs=RUNS)
    types = {fitted.coef_.dtype, fitted.intercept_.dtype, fitted.predict(narrow, RUNS).dtype}
    assert types == {np.dtype(np.float32)}
    assert np.abs(fitted.cv_scores_ - exact.cv_scores_).max() <= tolerance(np.float32)
    same = (fitted.best_candidate_ == exact.best_candidate_) & (fitted.alpha_ == exact.alpha_)
    assert same.mean() >= 0.9
    difference = fitted.predict(narrow, RUNS) - exact.predict(features, RUNS)
    assert np.abs(difference[:, same]).max() <= tolerance(np.float32, 50)


def test_masked_targets_are_nan_and_poison_nobody(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    expected = model().fit(features, responses, runs=RUNS)
    bad = np.insert(responses, [0, 4], np.nan, axis=1)
    bad[:, 0] = 3.0
    with pytest.warns(MaskedTargetsWarning, match="constant"):
        fitted = model().fit(features, bad, runs=RUNS)
    kept = fitted.valid_targets_
    np.testing.assert_array_equal(np.flatnonzero(~kept), [0, 5])
    for name in ("alpha_", "best_cv_scores_", "intercept_"):
        assert np.isnan(getattr(fitted, name)[~kept]).all()
    assert np.isnan(fitted.gammas_[:, ~kept]).all()
    assert (fitted.best_candidate_[~kept] == -1).all()
    np.testing.assert_array_equal(fitted.alpha_[kept], expected.alpha_)
    np.testing.assert_array_equal(fitted.gammas_[:, kept], expected.gammas_)
    np.testing.assert_allclose(fitted.cv_scores_[:, kept], expected.cv_scores_, rtol=1e-12)
    predicted = fitted.predict(features, RUNS)
    assert np.isnan(predicted[:, ~kept]).all()
    assert np.isnan(fitted.predict(features, RUNS, split=True)[:, :, ~kept]).all()
    np.testing.assert_allclose(predicted[:, kept], expected.predict(features, RUNS), atol=1e-10)
    assert np.isnan(fitted.score(features, bad, RUNS)[~kept]).all()
    assert np.isnan(fitted.split_r2(features, bad, RUNS)[:, ~kept]).all()


def test_without_a_penalty_singular_features_fall_back_and_warn_once(rng: np.random.Generator) -> None:
    """One warning for all candidates, and the fit of least norm."""
    features = {"a": rng.standard_normal((150, 4)), "b": rng.standard_normal((150, 4))}
    features["b"][:, 0] = features["a"][:, 0]
    responses = rng.standard_normal((150, 5))
    options = {"alphas": [0.0], "n_iter": [[0.5, 0.5], [0.3, 0.7]], "n_refine": 0}
    with pytest.warns(FallbackWarning, match="2 candidates of the search") as caught:
        fitted = model(**options).fit(features, responses, RUNS)
    assert sum(issubclass(w.category, FallbackWarning) for w in caught) == 1
    x = delayed_matrix(side_by_side(features), DELAYS, RUNS)
    assert_least_norm(fitted, x - x.mean(axis=0), responses, 4)


def test_next_to_no_penalty_on_more_features_than_samples(rng: np.random.Generator) -> None:
    features = {"a": rng.standard_normal((150, 90)), "b": rng.standard_normal((150, 90))}
    responses = rng.standard_normal((150, 5))
    options = {"alphas": [1e-12], "n_iter": [[0.5, 0.5], [0.3, 0.7]], "n_refine": 0, "delays": (0, 1)}
    with pytest.warns(FallbackWarning):
        fitted = model(**options).fit(features, responses, RUNS)
    x = delayed_matrix(side_by_side(features), (0, 1), RUNS)
    assert_least_norm(fitted, x - x.mean(axis=0), responses, 90)


def assert_least_norm(fitted: BandedRidgeCV, x: np.ndarray, responses: np.ndarray, width: int) -> None:
    for target in range(responses.shape[1]):
        scale = np.tile(np.sqrt(np.repeat(fitted.gammas_[:, target], width)), 2)
        centred = responses[:, target] - responses[:, target].mean()
        truth = scale * np.linalg.lstsq(x * scale, centred, rcond=1e-10)[0]
        assert relative_error(fitted.coef_[target], truth) <= 1e-8


# --- what a fit gives


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_bands_add_up(fit_intercept: bool, route: str, data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    fitted = model(fit_intercept=fit_intercept, solver=route).fit(features, responses, runs=RUNS)
    whole, parts = fitted.predict(features, RUNS), fitted.predict(features, RUNS, split=True)
    assert parts.shape == (3, 150, 10)
    np.testing.assert_allclose(parts.sum(axis=0) + fitted.intercept_, whole, atol=1e-10)
    by_coef = delayed_matrix(side_by_side(features), DELAYS, RUNS) @ fitted.coef_.T + fitted.intercept_
    np.testing.assert_allclose(whole, by_coef, atol=1e-10)
    shares = fitted.split_r2(features, responses, RUNS)
    np.testing.assert_allclose(shares.sum(axis=0), r2_score(responses, whole), atol=1e-12)
    assert shares[0, 0] > shares[1, 0]
    assert shares[1, -1] > shares[0, -1]
    np.testing.assert_allclose(fitted.score(features, responses, RUNS), correlation_score(responses, whole))


def test_uncorrelated_bands_split_as_their_own_scores(rng: np.random.Generator) -> None:
    """Of orthogonal bands each one's share of R2 is what it explains alone."""
    q = np.linalg.qr(np.column_stack([np.ones(120), rng.standard_normal((120, 6))]))[0][:, 1:] * 10
    features = {"a": q[:, :2], "b": q[:, 2:]}
    responses = q @ rng.standard_normal((6, 4)) + rng.standard_normal((120, 4))
    fitted = model(delays=(0,), cv=4, gap=0, n_iter=[[0.5, 0.5]], n_refine=0).fit(features, responses)
    parts = fitted.predict(features, split=True)
    alone = np.array([r2_score(responses, part + responses.mean(axis=0)) for part in parts])
    np.testing.assert_allclose(fitted.split_r2(features, responses), alone, atol=1e-10)


def test_scores_only(data: tuple[Bands, np.ndarray]) -> None:
    whole, scores = model().fit(*data, runs=RUNS), model(weights="none").fit(*data, runs=RUNS)
    np.testing.assert_array_equal(scores.cv_scores_, whole.cv_scores_)
    np.testing.assert_array_equal(scores.alpha_, whole.alpha_)
    with pytest.raises(ValueError, match='weights="none"'):
        scores.predict(data[0], RUNS)
    with pytest.raises(ValueError, match='weights="none"'):
        _ = scores.coef_


def test_same_seed_same_fit_and_pickles(data: tuple[Bands, np.ndarray]) -> None:
    first = model(seed=3).fit(*data, runs=RUNS)
    again = clone(first).fit(*data, runs=RUNS)
    np.testing.assert_array_equal(first.candidates_, again.candidates_)
    np.testing.assert_array_equal(first.coef_, again.coef_)
    assert not np.array_equal(model(seed=4).fit(*data, runs=RUNS).candidates_, first.candidates_)
    kept = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(kept.predict(data[0], RUNS), first.predict(data[0], RUNS))


def test_the_callers_features_may_change_after_the_fit(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    new = {name: f[:40].copy() for name, f in features.items()}
    fitted = model(solver="dual").fit(features, responses, runs=RUNS)
    before = fitted.predict(new)
    for f in features.values():
        f[:] = 0
    np.testing.assert_array_equal(fitted.predict(new), before)


def test_a_grid_that_is_too_short_is_told(data: tuple[Bands, np.ndarray]) -> None:
    with pytest.warns(AlphaEdgeWarning, match="widen alphas"):
        model(alphas=[1e3, 1e4, 1e5]).fit(*data, runs=RUNS)


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "disk"}, "weights='disk'"),
        ({"cv": "gcv"}, 'cv="gcv" is not for bands'),
        ({"n_refine": -1}, "n_refine=-1"),
        ({"n_refine": 2.5}, r"n_refine=2\.5 must be a whole number"),
        ({"n_iter": 0}, "n_iter=0"),
        ({"n_iter": [[0.5, 0.5]]}, r"n_iter has shape \(1, 2\)"),
        ({"n_iter": [[0.5, 0.5, 0.5]]}, "add up to 1"),
        ({"concentration": 0}, "concentration=0"),
        ({"alphas": [-1.0]}, "alphas holds"),
        ({"delays": (1, 1)}, "the same delay twice"),
        ({"scoring": "spearman"}, "scoring='spearman'"),
        ({"solver": "magic"}, "solver"),
        ({"bands": [5, 6, 4]}, "bands must be None"),
    ],
)
def test_bad_arguments_are_named(
    options: dict[str, Any], message: str, data: tuple[Bands, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=message):
        model(**options).fit(*data, runs=RUNS)


def test_bad_data_are_named(data: tuple[Bands, np.ndarray]) -> None:
    features, responses = data
    fitted = model().fit(features, responses, runs=RUNS)
    with pytest.raises(ValueError, match="mapping of band name to features, or bands"):
        model().fit(side_by_side(features), responses)
    with pytest.raises(ValueError, match="widths must be at least 1 and add up to the 15 features"):
        model(bands=[5, 6]).fit(side_by_side(features), responses)
    for bands in (3, "sound"):
        with pytest.raises(ValueError, match=rf"bands='?{bands}.*a width for each band"):
            model(bands=bands).fit(side_by_side(features), responses)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        _ = model().coef_
    with pytest.raises(ValueError, match="empty mapping"):
        model().fit({}, responses)
    with pytest.raises(
        ValueError, match=r"bands differ in their runs: features\['sound'\].*\(150, 5\).*\(149, 6\)"
    ):
        model().fit({**features, "words": features["words"][1:]}, responses)
    with pytest.raises(ValueError, match="features and responses differ in their runs"):
        model().fit(features, responses[:140])
    broken = {**features, "words": features["words"].copy()}
    broken["words"][50, 2] = np.nan
    with pytest.raises(ValueError, match=r"features\['words'\]"):
        model().fit(broken, responses, runs=RUNS)
    with pytest.raises(ValueError, match=r"the model was fitted on.*'layer': 4"):
        fitted.predict({name: features[name] for name in ("sound", "words")}, RUNS)
    with pytest.raises(ValueError, match="fitted on 10 targets"):
        fitted.score(features, responses[:, :3], RUNS)
    with (
        pytest.raises(ValueError, match="no target can be fitted"),
        contextlib.suppress(MaskedTargetsWarning),
    ):
        model().fit(features, np.full((150, 2), np.nan), runs=RUNS)
    with pytest.raises(NotFittedError, match="BandedRidgeCV is not fitted"):
        model().predict(features)
    with pytest.raises(MemoryError, match="memory_limit=1 MiB"):
        model(memory_limit="1MiB").fit(features, responses, runs=RUNS)

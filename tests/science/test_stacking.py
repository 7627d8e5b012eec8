"""Stacked regression: against cvxopt and closed forms, on simulations with known weights, and where it does
not win."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from voxridge.science import mixture
from voxridge.science.scores import correlation_score, r2_score
from voxridge.science.stacking import (
    ResidualProducts,
    StackingFold,
    stack_weights,
    stacked_prediction,
    stacked_scores,
)
from voxridge.solvers import stacking

Rows = tuple[np.ndarray, dict[str, np.ndarray]]


def noisy(n: int, v: int, deviations: dict[str, float], rng: np.random.Generator) -> Rows:
    """Truth of unit variance, and models that err independently of each other."""
    truth = rng.standard_normal((n, v))
    return truth, {name: truth + s * rng.standard_normal((n, v)) for name, s in deviations.items()}


# --- weights


def test_weights_are_the_convex_least_squares_fit(rng: np.random.Generator) -> None:
    """By scipy's bounded least squares, with a heavy row for the sum."""
    from scipy.optimize import lsq_linear

    truth, predictions = noisy(80, 6, {"a": 1.0, "b": 0.8, "c": 2.0}, rng)
    found = stack_weights(truth, predictions)
    for v in range(6):
        design = np.stack([part[:, v] for part in predictions.values()], axis=1)
        heavy = np.vstack([design, np.full((1, 3), 1e5)])
        best = lsq_linear(heavy, np.append(truth[:, v], 1e5), bounds=(0, np.inf), tol=1e-14).x
        np.testing.assert_allclose(found.weights[:, v], best, atol=1e-5)
    mixed = sum(w * part for w, part in zip(found.weights, predictions.values(), strict=True))
    np.testing.assert_allclose(found.stack_errors, np.square(truth - mixed).mean(axis=0), rtol=1e-12)
    alone = [np.square(truth - part).mean(axis=0) for part in predictions.values()]
    np.testing.assert_allclose(found.errors, alone, rtol=1e-12)
    np.testing.assert_array_equal(found.best, np.argmin(alone, axis=0))
    assert (found.stack_errors <= found.errors.min(axis=0) * (1 + 1e-12)).all()
    np.testing.assert_allclose(found.effective_models, 1 / np.square(found.weights).sum(axis=0))
    assert (found.n_samples, found.names) == (80, ("a", "b", "c"))


def test_independent_errors_weigh_by_their_precision(rng: np.random.Generator) -> None:
    """Truth: weights are inverse error variances, 1 : 1/4 : 1/16. With n rows the standard error of a
    weight is below 1 / sqrt(n)."""
    n = 40_000
    found = stack_weights(*noisy(n, 20, {"a": 1.0, "b": 2.0, "c": 4.0}, rng))
    expected = np.array([16, 4, 1]) / 21
    assert np.abs(found.weights - expected[:, None]).max() < 5 / np.sqrt(n)


def test_residuals_are_as_good_as_predictions(rng: np.random.Generator) -> None:
    truth, predictions = noisy(50, 4, {"a": 1.0, "b": 1.5}, rng)
    residuals = {name: truth - part for name, part in predictions.items()}
    np.testing.assert_allclose(
        stack_weights(None, residuals).weights, stack_weights(truth, predictions).weights, atol=1e-12
    )


def test_runs_add_up_and_blocks_change_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, predictions = noisy(90, 11, {"a": 1.0, "b": 0.9, "c": 1.1}, rng)
    whole = stack_weights(truth, predictions)
    products = ResidualProducts(predictions, 11)
    for rows in (slice(0, 20), slice(20, 21), slice(21, 90)):
        reordered = {name: predictions[name][rows] for name in reversed(list(predictions))}
        products.add(truth[rows], reordered)
    by_run = products.weights()
    np.testing.assert_allclose(by_run.weights, whole.weights, atol=1e-12)
    assert by_run.n_samples == 90
    monkeypatch.setattr(stacking, "_ENTRIES", 4 * 3**2)
    in_blocks = stack_weights(truth, predictions)
    np.testing.assert_array_equal(in_blocks.weights, whole.weights)
    np.testing.assert_array_equal(in_blocks.stack_errors, whole.stack_errors)


def test_a_target_without_numbers_harms_no_other(dtype: type, rng: np.random.Generator) -> None:
    truth, predictions = noisy(40, 6, {"a": 1.0, "b": 1.2}, rng)
    truth = truth.astype(dtype)
    predictions = {name: part.astype(dtype) for name, part in predictions.items()}
    clean = stack_weights(truth, predictions)
    truth[3, 1], predictions["b"][5, 4] = np.nan, np.inf
    dirty = stack_weights(truth, predictions)
    lost = [1, 4]
    assert np.isnan(dirty.weights[:, lost]).all()
    np.testing.assert_array_equal(dirty.best[lost], -1)
    kept = [0, 2, 3, 5]
    np.testing.assert_array_equal(dirty.weights[:, kept], clean.weights[:, kept])
    mixed = stacked_prediction(dirty, predictions)
    assert np.isnan(mixed[:, 1]).all()
    assert np.isfinite(mixed[:, kept]).all()
    assert mixed.dtype == dtype


def test_the_mixture_is_the_weighted_sum(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, predictions = noisy(30, 5, {"a": 1.0, "b": 0.9, "c": 2.0}, rng)
    weights = stack_weights(truth, predictions)
    expected = np.einsum("mv,mtv->tv", weights.weights, np.stack(list(predictions.values())))
    reordered = {name: predictions[name] for name in ("c", "a", "b")}
    monkeypatch.setattr(mixture, "_ELEMENTS", 12)
    np.testing.assert_allclose(stacked_prediction(weights, reordered), expected, atol=1e-14)


def test_what_does_not_fit_together(rng: np.random.Generator) -> None:
    truth, predictions = noisy(10, 3, {"a": 1.0, "b": 1.0}, rng)
    weights = stack_weights(truth, predictions)
    with pytest.raises(ValueError, match=r"predictions are of \('a',\), the weights of \('a', 'b'\)"):
        stacked_prediction(weights, {"a": truth})
    with pytest.raises(ValueError, match="the weights are of 3 targets"):
        stacked_prediction(weights, {"a": truth[:, :2], "b": truth[:, :2]})
    with pytest.raises(ValueError, match="at least one model, each once"):
        ResidualProducts(["a", "a"], 3)
    with pytest.raises(ValueError, match="no rows were added"):
        ResidualProducts(["a"], 3).weights()
    with pytest.raises(ValueError, match="these sums are of 3 targets"):
        ResidualProducts(["a"], 3).add(None, {"a": truth[:, :2]})
    with pytest.raises(ValueError, match="no rows were added"):
        stack_weights(truth[:0], {"a": truth[:0]})


# --- held-out scores


def make_folds(
    n_folds: int, deviations: dict[str, float], rng: np.random.Generator, v: int = 12
) -> Iterator[StackingFold]:
    for _ in range(n_folds):
        yield StackingFold(*noisy(150, v, deviations, rng), *noisy(60, v, deviations, rng))


@pytest.mark.parametrize("metric", ["r2", "correlation"])
def test_every_score_is_what_it_says(metric: str, rng: np.random.Generator) -> None:
    folds = list(make_folds(3, {"a": 1.0, "b": 0.7, "c": 2.0}, rng))
    result = stacked_scores(iter(folds), metric=metric)  # type: ignore[arg-type]
    score = r2_score if metric == "r2" else correlation_score
    for k, fold in enumerate(folds):
        weights = stack_weights(fold.inner_truth, fold.inner_predictions)
        np.testing.assert_array_equal(result.fold_weights[k], weights.weights)
        mixed = stacked_prediction(weights, fold.predictions)
        np.testing.assert_array_equal(result.fold_scores[k], score(fold.truth, mixed))
        alone = np.stack([score(fold.truth, part) for part in fold.predictions.values()])
        np.testing.assert_array_equal(result.fold_model_scores[k], alone)
        np.testing.assert_array_equal(result.fold_best[k], weights.best)
        np.testing.assert_array_equal(result.fold_best_scores[k], alone[weights.best, np.arange(12)])
    np.testing.assert_allclose(result.gain, result.scores - result.best_scores, atol=1e-12)
    assert result.weights.shape == result.model_scores.shape == (3, 12)
    interval = result.gain_interval()
    np.testing.assert_allclose(interval.mean, result.gain.mean(), atol=1e-12)
    assert interval.low < interval.mean < interval.high
    np.testing.assert_allclose(result.gain_interval([0, 5]).mean, result.gain[[0, 5]].mean(), atol=1e-12)


def test_held_out_rows_choose_nothing(rng: np.random.Generator) -> None:
    """Other held-out responses: other scores, but the same weights and the same single model."""
    folds = list(make_folds(2, {"a": 1.0, "b": 1.1}, rng))
    others = [
        StackingFold(
            each.inner_truth, each.inner_predictions, rng.standard_normal((60, 12)), each.predictions
        )
        for each in folds
    ]
    first, second = stacked_scores(folds), stacked_scores(others)
    np.testing.assert_array_equal(first.fold_weights, second.fold_weights)
    np.testing.assert_array_equal(first.fold_best, second.fold_best)
    assert (first.fold_scores != second.fold_scores).all()


def test_a_constant_prediction_correlates_nothing(rng: np.random.Generator) -> None:
    fold = next(make_folds(1, {"a": 1.0, "b": 1.0}, rng))
    fold.predictions["b"][:] = 3.0
    result = stacked_scores([fold], metric="correlation")
    np.testing.assert_array_equal(result.fold_model_scores[0, 1], 0)


def test_folds_without_a_target_are_left_out_of_its_means(rng: np.random.Generator) -> None:
    folds = list(make_folds(3, {"a": 1.0, "b": 1.0}, rng))
    folds[1].inner_truth[0, 2] = np.nan
    for fold in folds:
        fold.truth[:, 7] = 1.0
    result = stacked_scores(folds)
    np.testing.assert_array_equal(result.scores[2], result.fold_scores[[0, 2], 2].mean())
    assert result.fold_best[1, 2] == -1
    assert np.isnan(result.fold_best_scores[1, 2])
    assert np.isnan(result.scores[7])
    with pytest.raises(ValueError, match="none has a gain in every fold"):
        result.gain_interval([2, 7])


def test_folds_must_agree(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="folds is empty"):
        stacked_scores([])
    with pytest.raises(ValueError, match="give 'r2' or 'correlation'"):
        stacked_scores([], metric="R")  # type: ignore[arg-type]
    one, two = next(make_folds(1, {"a": 1.0, "b": 1.0}, rng)), next(make_folds(1, {"a": 1.0}, rng))
    with pytest.raises(ValueError, match=r"outer fold 1 has models \('a',\)"):
        stacked_scores([one, two])
    broken = StackingFold(one.inner_truth, one.inner_predictions, one.truth, {"a": one.truth})
    with pytest.raises(ValueError, match="outer fold 0: predictions are of"):
        stacked_scores([broken])


# --- simulations with known truth


def two_spaces(rng: np.random.Generator, shares: np.ndarray, n: int, p: int = 25) -> Rows:
    """Features of two spaces and responses of variance 1 + 1: signal, of which space 0 has the share given of
    each target, and noise."""
    spaces = {name: rng.standard_normal((n, p)) for name in ("sound", "text")}
    coefficients = np.random.default_rng(5).standard_normal((2, p, len(shares)))
    coefficients /= np.linalg.norm(coefficients, axis=1, keepdims=True)
    parts = [x @ c for x, c in zip(spaces.values(), coefficients, strict=True)]
    signal = np.sqrt(shares) * parts[0] + np.sqrt(1 - shares) * parts[1]
    return signal + rng.standard_normal(signal.shape), spaces


def ridge_folds(responses: np.ndarray, spaces: dict[str, np.ndarray], alpha: float) -> StackingFold:
    """The last quarter held out, 5 contiguous inner folds, textbook ridge."""
    n = len(responses)
    train, test = np.arange(n * 3 // 4), np.arange(n * 3 // 4, n)

    def predict(x: np.ndarray, fit: np.ndarray, at: np.ndarray) -> np.ndarray:
        gram = x[fit].T @ x[fit] + alpha * np.eye(x.shape[1])
        return np.asarray(x[at] @ np.linalg.solve(gram, x[fit].T @ responses[fit]))

    inner = {}
    for name, x in spaces.items():
        parts = [predict(x, np.setdiff1d(train, held), held) for held in np.array_split(train, 5)]
        inner[name] = np.concatenate(parts)
    outer = {name: predict(x, train, test) for name, x in spaces.items()}
    return StackingFold(responses[train], inner, responses[test], outer)


def test_weights_recover_which_space_drives_a_target(rng: np.random.Generator) -> None:
    """Each space drives half of the targets, alone: its weight is 1 up to chance, and the stack loses nothing
    to the single model."""
    shares = np.repeat([1.0, 0.0], 40)
    fold = ridge_folds(*two_spaces(rng, shares, 800), alpha=20.0)
    result = stacked_scores([fold])
    assert result.weights[0, :40].mean() > 0.9
    assert result.weights[1, 40:].mean() > 0.9
    assert np.mean(result.fold_best[0] == (shares == 0)) == 1
    assert abs(result.gain.mean()) < 0.01


def test_weights_follow_the_shares_and_the_stack_gains(rng: np.random.Generator) -> None:
    """A model errs by what the other space drives and by the noise n: P = [[1 - s + n, n], [n, s + n]]. The
    least w'Pw is at w_0 = s, the share itself, where s (1 - s) of the signal's variance is left."""
    shares = np.repeat([0.2, 0.5, 0.8], 60)
    fold = ridge_folds(*two_spaces(rng, shares, 2400), alpha=1.0)
    result = stacked_scores([fold])
    for share in (0.2, 0.5, 0.8):
        here = shares == share
        assert abs(result.weights[0, here].mean() - share) < 0.02
        gain = 0.5 * (1 - share * (1 - share) - max(share, 1 - share))  # the signal is half of the variance
        assert abs(result.gain[here].mean() - gain) < 0.02
    assert (result.effective_models[shares == 0.5] > 1.9).all()


def test_the_stack_need_not_win(rng: np.random.Generator) -> None:
    """Few rows for the weights, and models that are the best one with more noise: a mixture gains nothing,
    and choosing it costs, so the stack stays below the best model."""
    gains = []
    for _ in range(40):
        truth = rng.standard_normal((412, 10))
        best = truth + rng.standard_normal((412, 10))
        predictions = {"best": best}
        for k in range(5):
            predictions[f"worse {k}"] = best + 0.5 * rng.standard_normal((412, 10))
        inner = {name: part[:12] for name, part in predictions.items()}
        outer = {name: part[12:] for name, part in predictions.items()}
        fold = StackingFold(truth[:12], inner, truth[12:], outer)
        result = stacked_scores([fold])
        gains.append((result.fold_scores - result.fold_model_scores[:, 0]).mean())
    assert np.mean(gains) + 2 * np.std(gains) / np.sqrt(40) < 0


def test_in_sample_predictions_would_mislead(rng: np.random.Generator) -> None:
    """The leak that the documentation warns of: of predictions by fits to the same rows, the model of many
    useless features takes the weight; of cross-validated ones it takes next to none."""
    n, v = 200, 30
    useful, useless = rng.standard_normal((n, 3)), rng.standard_normal((n, 120))
    responses = useful @ rng.standard_normal((3, v)) + 2 * rng.standard_normal((n, v))
    honest = ridge_folds(responses, {"useful": useful, "useless": useless}, alpha=1.0)
    leaked = {
        name: x @ np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ responses)
        for name, x in (("useful", useful), ("useless", useless))
    }
    assert stack_weights(responses, leaked).weights[1].mean() > 0.5
    assert stack_weights(honest.inner_truth, honest.inner_predictions).weights[1].mean() < 0.05

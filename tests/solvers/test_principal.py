"""The primal spectral route on principal components, in float32, against float64 textbook fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers import DelayedDesign, RidgeCVResult, Targets, fits, make_folds, solve_ridge_cv
from voxridge.solvers.folds import Fold
from voxridge.solvers.principal import GainTooLarge, PrincipalFolds
from voxridge.solvers.spectral import PrimalFolds
from voxridge.solvers.spectral_method import SpectralMethod
from voxridge.solvers.spectrum import Spectrum
from voxridge.solvers.trust import MAX_FLOAT32_GAIN
from voxridge.solvers.weights import coefficients
from voxridge.testing import (
    delayed_matrix,
    make_design,
    make_responses,
    relative_error,
    textbook_ridge,
    textbook_scores,
    tolerance,
)

RUNS = [110, 130, 90, 120]
N, V = sum(RUNS), 600  # so many targets that turning the features pays
DELAYS = (0, 1, 3)


def solve(design: DelayedDesign, y: np.ndarray, alphas: Any, folds: list[Fold], **options: Any) -> Any:
    centre = options.get("fit_intercept", True)
    mean = y.mean(axis=0, dtype=np.float64) if centre else np.zeros(y.shape[1])
    targets = Targets(*y.shape, lambda begin, end: y[:, begin:end], mean, np.ones(y.shape[1], dtype=bool))
    return solve_ridge_cv(design, targets, alphas, folds, **{"solver": "primal-spectral", **options})


def pairs(folds: list[Fold]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(fold.train, fold.validation) for fold in folds]


def grid(x: np.ndarray) -> np.ndarray:
    """From 1e-6 of the largest eigenvalue to all of it."""
    return np.asarray(np.linalg.norm(x - x.mean(axis=0), 2) ** 2 * np.logspace(-6, 0, 5))


def assert_textbook(
    result: RidgeCVResult, x: np.ndarray, y: np.ndarray, folds: list[Fold], **how: Any
) -> None:
    """``x`` is the delayed design, float64."""
    scoring, fit_intercept = how.get("scoring", "correlation"), how.get("fit_intercept", True)
    each = [textbook_scores(x, y, result.alphas, [pair], scoring, fit_intercept) for pair in pairs(folds)]
    scale = max(1.0, np.abs(each).max())  # R2 of a poor fit is far below -1
    error = np.abs(result.cv_scores - np.mean(each, axis=0)).max()
    assert error <= tolerance(np.float32, how.get("scores", 1) * scale)
    coef, intercept = textbook_ridge(x, y, result.alpha, fit_intercept)
    fitted = x @ coefficients(result.weights).astype(np.float64) + result.intercept
    assert relative_error(fitted, x @ coef + intercept) <= how["fitted"]


FEATURES = {
    "generic": lambda: make_design("generic", N, 12),
    "ill-conditioned": lambda: make_design("ill-conditioned", N, 12),  # of the Gram: 1e8
    "large mean": lambda: make_design("generic", N, 12) + 30.0,
}
# Fitted values carry the rounding of the coefficients, which the strongest direction magnifies, and of an
# intercept that takes the means off again.
FITTED = {"generic": 5, "ill-conditioned": 10, "large mean": 50}


@pytest.mark.parametrize(
    ("kind", "fit_intercept"),
    [*((kind, True) for kind in FEATURES), ("generic", False), ("ill-conditioned", False)],
)
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_equals_the_textbook_in_float32(kind: str, scoring: str, fit_intercept: bool) -> None:
    features = FEATURES[kind]().astype(np.float32)
    x = delayed_matrix(features, DELAYS, RUNS)
    y = make_responses(x, V)
    y = (y if fit_intercept else y - y.mean(axis=0)).astype(np.float32)
    folds = make_folds("leave-one-run-out", RUNS, longest_delay=3)
    how: dict[str, Any] = {"scoring": scoring, "fit_intercept": fit_intercept}
    result = solve(DelayedDesign(features, DELAYS, RUNS), y, grid(x), folds, **how)
    assert result.plan.turned
    assert_textbook(result, x, y, folds, **how, fitted=tolerance(np.float32, FITTED[kind]))


SPLITS = {
    "purged": lambda: make_folds(4, [N], gap=5),
    "more left out than trained on": lambda: make_folds(
        [(np.arange(0, 200), np.arange(220, N)), (np.arange(250, N), np.arange(0, 230))], [N], gap=0
    ),
    "scattered": lambda: make_folds([(np.arange(0, N, 2), np.arange(1, N, 2))], [N], gap=0),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["generic", "ill-conditioned"])
def test_equals_the_textbook_however_samples_are_split(kind: str, split: str) -> None:
    x = make_design(kind, N, 20).astype(np.float32)
    y = make_responses(x.astype(np.float64), V).astype(np.float32)
    folds = SPLITS[split]()
    result = solve(DelayedDesign(x), y, grid(x), folds)
    assert result.plan.turned
    assert_textbook(result, x.astype(np.float64), y, folds, fitted=tolerance(np.float32, FITTED[kind]))


def test_float64_and_few_targets_keep_the_features_as_they_are() -> None:
    x = make_design("ill-conditioned", N, 12)
    y = make_responses(x, V)
    folds = make_folds("leave-one-run-out", RUNS)
    exact = solve(DelayedDesign(x), y, grid(x), folds)
    few = solve(DelayedDesign(x.astype(np.float32)), y[:, :9].astype(np.float32), grid(x), folds)
    assert not exact.plan.turned
    assert not few.plan.turned


# --- a fold that the others do not speak for


def hidden(weak: float, run: int = -1) -> np.ndarray:
    """Four features that are ``weak`` outside one run."""
    x = make_design("generic", N, 16)
    rows = np.repeat(np.arange(len(RUNS)), RUNS) != run % len(RUNS)
    x[np.ix_(rows, np.arange(4))] *= weak
    return x.astype(np.float32)


def test_a_run_that_alone_shows_some_features_magnifies_too_much() -> None:
    x, folds = hidden(1e-3), make_folds("leave-one-run-out", RUNS)
    engine = PrincipalFolds(DelayedDesign(x), fit_intercept=True, alpha_min=1e-6)
    with pytest.raises(GainTooLarge) as caught:
        engine.factor(folds[-1], "correlation")
    assert caught.value.args[0] > 1e3 * MAX_FLOAT32_GAIN
    engine.factor(folds[0], "correlation")  # which the others show


@pytest.mark.parametrize("weak", [0.0, 1e-6, 1e-3, 1e-2])
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("lowest", [1e-9, 1e-5])
def test_features_that_only_one_run_shows(weak: float, scoring: str, lowest: float) -> None:
    x = hidden(weak)
    y = make_responses(x.astype(np.float64), V).astype(np.float32)
    alphas = np.linalg.norm(x.astype(np.float64), 2) ** 2 * np.geomspace(lowest, 1.0, 4)
    folds = make_folds("leave-one-run-out", RUNS)
    result = solve(DelayedDesign(x), y, alphas, folds, scoring=scoring)
    assert result.plan.turned
    how = {"scoring": scoring, "scores": 2, "fitted": tolerance(np.float32, 5)}  # predictions are large there
    assert_textbook(result, x.astype(np.float64), y, folds, **how)


@pytest.mark.parametrize("run", [0, 2, -1])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_falling_back_in_any_pass(run: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes before have their scores already, from the components."""
    x = hidden(1e-3, run)
    y = make_responses(x.astype(np.float64), V).astype(np.float32)
    folds, alphas = make_folds("leave-one-run-out", RUNS), 1e-6 * np.logspace(0, 8, 5)
    in_passes(monkeypatch, folds_per_pass=step)
    result = solve(DelayedDesign(x), y, alphas, folds)
    assert result.plan.turned
    assert_textbook(result, x.astype(np.float64), y, folds, fitted=tolerance(np.float32, 5))

    method = SpectralMethod(
        DelayedDesign(x), alphas, folds, result.plan, scoring="correlation", fit_intercept=True
    )
    kinds = []
    for number in range(method.n_passes):
        method.begin(number, lambda step, done: None)
        kinds.append(type(method.engine))
    fallen = (run % len(RUNS)) // step
    assert kinds == [PrincipalFolds] * fallen + [PrimalFolds] * (method.n_passes - fallen)


@pytest.mark.parametrize("weak", [1.0, 1e-3], ids=["components to the end", "fallen back"])
@pytest.mark.parametrize("grouped", [True, False])
def test_penalties_that_targets_share(weak: float, grouped: bool) -> None:
    """The refit comes when every fold's factors are gone."""
    x = hidden(weak)
    y = make_responses(x.astype(np.float64), V, noise=3.0).astype(np.float32)
    folds, alphas = make_folds("leave-one-run-out", RUNS), 1e-6 * np.logspace(0, 10, 6)
    labels = np.arange(V) % 3
    result = solve(DelayedDesign(x), y, alphas, folds, alpha_per_target=labels if grouped else False)
    assert result.plan.turned
    assert_textbook(result, x.astype(np.float64), y, folds, fitted=tolerance(np.float32, 5))
    scores = textbook_scores(x, y, alphas, pairs(folds), "correlation")
    for label in range(3):
        members = labels == label if grouped else np.ones(V, dtype=bool)
        assert (result.alpha[members] == alphas[scores[:, members].mean(axis=1).argmax()]).all()


# --- passes and tiles


def in_passes(monkeypatch: pytest.MonkeyPatch, **sizes: int) -> None:
    make_plan = fits.make_plan

    def cut(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(make_plan(*arguments, **options), **sizes)

    monkeypatch.setattr(fits, "make_plan", cut)


@pytest.mark.parametrize("kind", ["generic", "ill-conditioned"])
@pytest.mark.parametrize(
    "sizes",
    [{"folds_per_pass": 1}, {"folds_per_pass": 3}, {"folds_per_pass": 2, "n_targets_batch": 512}],
)
def test_several_passes_give_the_same(
    kind: str, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = make_design(kind, N, 20).astype(np.float32)
    y = make_responses(x.astype(np.float64), V).astype(np.float32)
    folds = make_folds("leave-one-run-out", RUNS)
    whole = solve(DelayedDesign(x), y, grid(x), folds)
    in_passes(monkeypatch, **sizes)
    passes = solve(DelayedDesign(x), y, grid(x), folds)
    assert whole.plan.turned
    assert passes.plan.turned
    assert (whole.plan.folds_per_pass, passes.plan.folds_per_pass) == (4, sizes["folds_per_pass"])
    assert np.abs(passes.cv_scores - whole.cv_scores).max() <= tolerance(np.float32)
    assert relative_error(passes.intercept, whole.intercept) <= tolerance(np.float32, 5)
    same = passes.alpha == whole.alpha
    assert same.mean() > 0.95  # of the others, two penalties score the same to rounding
    assert relative_error(
        coefficients(passes.weights)[:, same], coefficients(whole.weights)[:, same]
    ) <= tolerance(np.float32, 5)


# --- dependent features


@pytest.mark.parametrize("delays", [(0,), (0, 1, 3)])
def test_dependent_features_are_counted(delays: tuple[int, ...]) -> None:
    features = make_design("duplicated", N, 12).astype(np.float32)
    x = delayed_matrix(features, delays, RUNS)
    y = make_responses(x, V).astype(np.float32)
    folds = make_folds("leave-one-run-out", RUNS, longest_delay=3)
    design = DelayedDesign(features, delays, RUNS)
    turned = solve(design, y, grid(x), folds)
    plain = solve(design, y[:, :9], grid(x), folds)
    assert turned.plan.turned
    assert not plain.plan.turned
    assert turned.n_dependent == plain.n_dependent == 6 * len(delays)
    assert_textbook(turned, x, y, folds, fitted=tolerance(np.float32, 5))


# --- the gain


def test_the_gain_of_the_samples_themselves_is_one() -> None:
    l = np.logspace(-8, 4, 30)
    assert Spectrum(l, np.eye(30)).gain(l, 0.0) == pytest.approx(1.0, rel=1e-14)
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 30)))
    flat = np.full(30, 3.0)
    assert Spectrum(flat, q).gain(flat, 0.0) == pytest.approx(1.0, rel=1e-12)
    assert Spectrum(np.empty(0), np.empty((0, 30))).gain(l, 0.0) == 1.0


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 12),
    decades=st.floats(0.0, 8.0),
    alpha=st.floats(1e-6, 1e6),
    factor=st.floats(1e-3, 1e3),
)
def test_the_gain_is_what_its_formula_says(
    seed: int, k: int, decades: float, alpha: float, factor: float
) -> None:
    """Linear in all samples' eigenvalues; only ratios matter; falling in the penalty."""
    rng = np.random.default_rng(seed)
    p = k + int(rng.integers(0, 5))
    q_t = np.linalg.qr(rng.standard_normal((p, p)))[0][:k]
    l, whole = np.sort(10 ** rng.uniform(-decades, 0, k)), 10 ** rng.uniform(-decades, 1, p)
    gain = Spectrum(l, q_t).gain(whole, alpha)
    g = [sum(q_t[i, j] ** 2 * whole[j] for j in range(p)) / (l[i] + alpha) for i in range(k)]
    assert gain == pytest.approx(np.sqrt(np.mean(np.square(g))), rel=1e-10)
    assert Spectrum(l, q_t).gain(factor * whole, alpha) == pytest.approx(factor * gain, rel=1e-10)
    assert Spectrum(factor * l, q_t).gain(factor * whole, factor * alpha) == pytest.approx(gain, rel=1e-10)
    assert Spectrum(l, q_t).gain(whole, 2 * alpha) < gain

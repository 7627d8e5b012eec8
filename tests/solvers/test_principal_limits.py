"""Where principal components would lose digits, and the fit goes back to the features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from voxridge.solvers import DelayedDesign, Targets, fits, make_folds, solve_ridge_cv
from voxridge.solvers.checkpoint import Checkpoint
from voxridge.solvers.weights import coefficients
from voxridge.testing import make_design, make_responses, textbook_scores


def solve(x: np.ndarray, y: np.ndarray, alphas: Any, folds: Any, **options: Any) -> Any:
    mean = y.mean(axis=0, dtype=np.float64) * options.get("fit_intercept", True)
    targets = Targets(*y.shape, lambda begin, end: y[:, begin:end], mean, np.ones(y.shape[1], dtype=bool))
    return solve_ridge_cv(DelayedDesign(x), targets, alphas, folds, **options)


@pytest.mark.parametrize("n_targets", [600, 9], ids=["turned", "plain"])
def test_large_means_without_an_intercept(n_targets: int) -> None:
    """Components would be rounded at the level of the mean: 1e-3 off. The fit keeps to the features."""
    runs = [110, 130, 90, 120]
    x = (make_design("generic", 450, 36) + 30.0).astype(np.float32)
    doubles = x.astype(np.float64)
    y = make_responses(doubles, 600)[:, :n_targets].astype(np.float32)
    folds = make_folds("leave-one-run-out", runs)
    alphas = np.linalg.norm(doubles - doubles.mean(axis=0), 2) ** 2 * np.logspace(-6, 0, 5)
    result = solve(x, y, alphas, folds, solver="primal-spectral", fit_intercept=False)
    assert result.plan.turned == (n_targets == 600)
    pairs = [(fold.train, fold.validation) for fold in folds]
    expected = textbook_scores(doubles, y, alphas, pairs, "correlation", fit_intercept=False)
    assert np.abs(result.cv_scores - expected).max() <= 5e-6


@pytest.mark.parametrize("n_targets", [600, 9], ids=["turned", "plain"])
def test_runs_of_far_different_means(n_targets: int) -> None:
    """A step of 100 standard deviations from run to run: 1.2e-4 off on components, which the fit leaves."""
    runs = [110, 130, 90, 120]
    shift = np.random.default_rng(8).standard_normal((4, 1)) * 100
    x = (make_design("generic", 450, 20) + np.repeat(shift, runs, axis=0)).astype(np.float32)
    doubles = x.astype(np.float64)
    y = make_responses(doubles, 600)[:, :n_targets].astype(np.float32)
    folds = make_folds("leave-one-run-out", runs)
    alphas = np.linalg.norm(doubles - doubles.mean(axis=0), 2) ** 2 * np.logspace(-6, 0, 5)
    result = solve(x, y, alphas, folds, solver="primal-spectral")
    assert result.plan.turned == (n_targets == 600)
    pairs = [(fold.train, fold.validation) for fold in folds]
    expected = textbook_scores(doubles, y, alphas, pairs, "correlation")
    assert np.abs(result.cv_scores - expected).max() <= 1e-5


class Died(BaseException):
    """A death that the test process outlives."""


@pytest.mark.parametrize("hidden_run", [0, 1, 3])
@pytest.mark.parametrize("records", [1, 2, 3, 5])
def test_a_fit_that_left_its_components_goes_on_to_the_same_bits(
    records: int, hidden_run: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four passes of a fold each, two tiles; some features are next to zero outside one run. A resumed fit
    skips the pass that gave the components up, and must not take them again."""
    runs = [110, 130, 90, 120]
    x = make_design("generic", 450, 16)
    x[np.ix_(np.repeat(np.arange(4), runs) != hidden_run, np.arange(4))] *= 1e-3
    y = make_responses(x, 900).astype(np.float32)
    x = x.astype(np.float32)
    make = fits.make_plan

    def cut(*arguments: Any, **options: Any) -> Any:
        plan = make(*arguments, **options)
        return dataclasses.replace(plan, turned=True, folds_per_pass=1, n_targets_batch=512)

    monkeypatch.setattr(fits, "make_plan", cut)
    folds, alphas = make_folds("leave-one-run-out", runs), 1e-6 * np.logspace(0, 8, 5)
    how: dict[str, Any] = {"solver": "primal-spectral", "identity": {"data": 1}}
    expected = solve(x, y, alphas, folds, checkpoint=tmp_path / "whole", **how)
    save, kept = Checkpoint.save, []

    def dying(self: Checkpoint, *arguments: Any) -> None:
        if len(kept) == records:
            raise Died
        kept.append(1)
        save(self, *arguments)

    monkeypatch.setattr(Checkpoint, "save", dying)
    with pytest.raises(Died):
        solve(x, y, alphas, folds, checkpoint=tmp_path / "c", **how)
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = solve(x, y, alphas, folds, checkpoint=tmp_path / "c", **how)
    np.testing.assert_array_equal(resumed.cv_scores, expected.cv_scores)
    np.testing.assert_array_equal(coefficients(resumed.weights), coefficients(expected.weights))

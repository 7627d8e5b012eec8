"""Banded ridge as functions: candidates, designs whose bands are scaled, and the search against code that
scales explicit matrices and refits in every fold."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers import DelayedDesign, Targets, banded_search, fits, make_folds
from voxridge.solvers import plan as plan_module
from voxridge.solvers.banded_candidates import (
    check_candidates,
    clusters_of,
    distinct,
    likely_best,
    random_candidates,
    steps_around,
)
from voxridge.solvers.banded_design import Bands
from voxridge.solvers.banded_search import SearchResult, _Found, search, some_targets
from voxridge.solvers.banded_split import split_r2
from voxridge.solvers.banded_weights import refit
from voxridge.solvers.memory import resident_memory
from voxridge.solvers.settings import Settings, check_settings
from voxridge.testing import (
    delayed_matrix,
    relative_error,
    textbook_ridge,
    textbook_score,
    textbook_scores,
    tolerance,
)

RUNS = [30, 25, 35]
WIDTHS = [4, 3, 5]
DELAYS = (-1, 0, 2)


# --- candidates


def test_candidates_begin_with_even_weights_and_the_corners() -> None:
    found = random_candidates(3, 10, seed=1)
    np.testing.assert_allclose(found[0], 1 / 3)
    np.testing.assert_array_equal(found[1:4], np.eye(3))
    np.testing.assert_allclose(found[4:7], (1 - np.eye(3)) / 2)
    assert len(found) == 16  # 1 + 6 corners + 9 draws
    assert len(random_candidates(3, 10, corners=False)) == 10
    np.testing.assert_array_equal(found, random_candidates(3, 10, seed=1))
    assert not np.array_equal(found, random_candidates(3, 10, seed=2))


@settings(max_examples=40, deadline=None)
@given(
    n_bands=st.integers(2, 6), n_iter=st.integers(1, 40), level=st.floats(0.05, 5), seed=st.integers(0, 99)
)
def test_candidates_lie_on_the_simplex_and_differ(n_bands: int, n_iter: int, level: float, seed: int) -> None:
    found = random_candidates(n_bands, n_iter, concentration=level, seed=seed)
    assert found.shape[1] == n_bands
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert len(np.unique(found.round(12), axis=0)) == len(found)
    rng = np.random.default_rng(seed)
    near = steps_around(found[-1], 8, 0.5, rng)
    np.testing.assert_allclose(near.sum(axis=1), 1, atol=1e-12)
    assert (near >= 0).all()


def test_concentrations_take_turns() -> None:
    found = random_candidates(4, 2001, concentration=(0.1, 10.0), corners=False, seed=0)[1:]
    largest = found.max(axis=1)
    assert largest[1::2].mean() > 0.8  # draws 2, 4, ... of which the first is the even candidate
    assert largest[0::2].mean() < 0.5


def test_steps_stay_near_and_shrink_with_their_width() -> None:
    rng = np.random.default_rng(0)
    centre = np.array([0.7, 0.29, 0.01])
    wide, narrow = steps_around(centre, 500, 1.0, rng), steps_around(centre, 500, 0.1, rng)
    assert np.abs(narrow - centre).mean() < 0.2 * np.abs(wide - centre).mean()
    np.testing.assert_allclose(np.median(narrow, axis=0), centre, rtol=0.05)
    np.testing.assert_allclose(wide[0], centre)
    back = steps_around(np.array([1.0, 0.0]), 500, 0.5, rng)
    assert 0.4 < (back[:, 1] == 0).mean() < 0.6
    assert back[:, 1].max() < 0.15


def test_the_best_is_looked_for_among_the_candidates_that_did_best() -> None:
    gammas = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    top = np.array([[0, 1, 2, -1], [0, -1, 0, -1]])
    likely = likely_best(top, gammas)
    np.testing.assert_allclose(likely[:, :2], [[1, 0], [0, 1]])
    root = np.sqrt([0.5, 0.5]) + 0.5 * np.array([1.0, 0.0])
    np.testing.assert_allclose(likely[:, 2], root**2 / (root**2).sum())
    np.testing.assert_array_equal(likely[:, 3], 0)


def test_targets_whose_weights_are_alike_make_a_group() -> None:
    first = np.array([0.99, 0.5, 0.0, 0.97, 0.0, 0.48, 1.0])
    weights = np.array([first, 1 - first])
    weights[:, 2] = 0  # masked
    rng = np.random.default_rng(0)
    groups = {tuple(members): centre for centre, members in clusters_of(weights, 3, 1, rng)}
    assert sorted(groups) == [(0, 3, 6), (1, 5), (4,)]
    np.testing.assert_allclose(groups[1, 5], [0.49, 0.51], atol=0.01)
    np.testing.assert_allclose([centre.sum() for centre in groups.values()], 1)
    wider = sorted(tuple(members) for _, members in clusters_of(weights, 3, 4, rng))
    assert (0, 1, 3, 6) in wider
    assert all(len(members) >= 4 for members in wider)
    assert clusters_of(np.zeros((2, 3)), 2, 1, rng) == []
    assert len(clusters_of(np.full((2, 5), 0.5), 3, 1, rng)) == 1


def test_given_candidates_are_checked() -> None:
    with pytest.raises(ValueError, match=r"n_iter has shape \(2,\).*\(n_candidates, 2\)"):
        check_candidates([0.5, 0.5], 2)
    with pytest.raises(ValueError, match=r"candidate 1 is \[0.5, 0.6\].*add up to 1"):
        check_candidates([[0.5, 0.5], [0.5, 0.6]], 2)
    with pytest.raises(ValueError, match="candidate 0"):
        check_candidates([[-0.5, 1.5]], 2)
    with pytest.raises(ValueError, match="candidate 0"):
        check_candidates([[np.nan, 1.0]], 2)
    with pytest.raises(ValueError, match="n_iter=0"):
        random_candidates(2, 0)
    with pytest.raises(ValueError, match="concentration"):
        random_candidates(2, 3, concentration=(0.1, -1))
    assert check_candidates([[1.0 - 1e-15, 1e-15]], 2)[0, 1] == 0
    assert len(distinct(np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]))) == 2


# --- designs


@pytest.fixture(
    params=[(0.5, 0.3, 0.2), (0.9, 0.0, 0.1), (0.0, 1.0, 0.0)], ids=["all", "one off", "one alone"]
)
def gammas(request: pytest.FixtureRequest) -> np.ndarray:
    return np.array(request.param)


def explicit(features: np.ndarray, gammas: np.ndarray) -> np.ndarray:
    """Delayed features of the bands that are on, each times the root of its weight."""
    scale = np.sqrt(np.repeat(gammas, WIDTHS))
    scaled = features.astype(np.float64) * scale
    return delayed_matrix(scaled[:, scale > 0], DELAYS, RUNS)


@pytest.mark.parametrize("kept", [0, 2**30], ids=["nothing kept", "kept"])
def test_a_scaled_design_is_the_explicit_matrix(
    gammas: np.ndarray, kept: int, dtype: type, rng: np.random.Generator
) -> None:
    features = rng.standard_normal((90, 12)).astype(dtype)
    bands = Bands(DelayedDesign(features, DELAYS, RUNS), WIDTHS, kept)
    x, y = explicit(features, gammas), rng.standard_normal((90, 4)).astype(dtype)
    w = rng.standard_normal((x.shape[1], 3)).astype(dtype)
    rows = [(5, 40), (60, 90)]
    some = np.concatenate([x[5:40], x[60:90]])
    exact, narrow = tolerance(np.float64, 10), tolerance(dtype, 10)
    for _ in range(2):  # the second time from what was kept
        design = bands.scaled(gammas)
        assert design.n_columns == x.shape[1]
        assert relative_error(design.gram(rows), some.T @ some) <= exact
        assert relative_error(design.kernel(), x @ x.T) <= exact
        assert relative_error(design.sums(rows), some.sum(axis=0)) <= exact
        assert relative_error(design.xty(y, design.everything()), x.T @ y) <= narrow
        assert relative_error(design.xw(w), x @ w) <= narrow
        assert relative_error(design.rows(10, 50), x[10:50]) <= narrow
        new = design.run(30, 55)
        assert relative_error(design.cross_kernel_of(new), x[30:55] @ x.T) <= narrow
        groups = np.concatenate(list(design.column_groups()), axis=1)
        assert relative_error(delayed_matrix(groups, DELAYS, RUNS), x) <= narrow
    bands.forget()
    assert bands.room == kept


def test_columns_of_bands_and_bands_alone(rng: np.random.Generator) -> None:
    features = rng.standard_normal((90, 12))
    bands = Bands(DelayedDesign(features, DELAYS, RUNS), WIDTHS)
    x = delayed_matrix(features, DELAYS, RUNS)
    for number, part in enumerate(bands.slices):
        own = delayed_matrix(features[:, part], DELAYS, RUNS)
        np.testing.assert_array_equal(x[:, bands.columns_of(number)], own)
        np.testing.assert_allclose(bands.kernel_of(number), own @ own.T, atol=1e-12)
    np.testing.assert_array_equal(np.sort(np.concatenate([bands.columns_of(b) for b in range(3)])), range(36))
    assert Bands(DelayedDesign(features), [12]).scaled(np.ones(1)).features is features


# --- the search


def test_the_best_few_candidates_of_every_target(rng: np.random.Generator) -> None:
    found = _Found(40, None, np.arange(40) != 7)
    scores = np.full((12, 40), -np.inf)
    for number, row in enumerate(scores):
        columns = np.flatnonzero(rng.random(40) < 0.7)
        row[columns] = rng.standard_normal(columns.size)
        some = SimpleNamespace(
            best_scores=row[columns], alpha=np.full(columns.size, float(number)), intercept=np.zeros(1)
        )
        found.add(np.array([0.5, 0.5]), columns, some)  # type: ignore[arg-type]
    order = np.argsort(-scores, axis=0, kind="stable")[:4]
    order[np.take_along_axis(scores, order, axis=0) == -np.inf] = -1
    order[:, 7] = -1
    np.testing.assert_array_equal(found.top, order)
    np.testing.assert_array_equal(found.best, order[0])
    np.testing.assert_array_equal(found.alpha[order[0] >= 0], order[0][order[0] >= 0])


def problem(
    rng: np.random.Generator, n_targets: int = 9, **options: object
) -> tuple[np.ndarray, np.ndarray, Bands, Targets, Settings]:
    features = rng.standard_normal((90, 12))
    x = delayed_matrix(features, DELAYS, RUNS)
    y = x[:, :4] @ rng.standard_normal((4, n_targets)) + 2 * rng.standard_normal((90, n_targets)) + 3
    targets = Targets(90, n_targets, lambda b, e: y[:, b:e], y.mean(axis=0), np.ones(n_targets, dtype=bool))
    chosen = {
        "scoring": "correlation",
        "fit_intercept": True,
        "alpha_per_target": True,
        "sample_weight": None,
        "evaluation": "folds",
        "solver": "auto",
        "memory_limit": None,
        "n_targets_batch": None,
    }
    folds = make_folds("leave-one-run-out", RUNS)
    asked = check_settings(90, targets, np.logspace(-1, 4, 6), folds, **(chosen | options))  # type: ignore[arg-type]
    bands = Bands(DelayedDesign(features, DELAYS, RUNS), WIDTHS)
    return features, y, bands, targets, asked


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("solver", ["primal-spectral", "dual-spectral", "leave-out", "cholesky", "svd"])
def test_the_search_equals_refitting_in_every_fold(
    scoring: str, solver: str, rng: np.random.Generator
) -> None:
    features, y, bands, targets, asked = problem(rng, scoring=scoring, solver=solver)
    candidates = random_candidates(3, 4, seed=0)
    found = search(bands, targets, asked, candidates, n_refine=3, seed=1)
    pairs = [(fold.train, fold.validation) for fold in asked.folds]
    every = np.array(
        [textbook_scores(explicit(features, g), y, asked.alphas, pairs, scoring) for g in found.candidates]
    )
    truth = every.max(axis=1)
    tried = np.isfinite(found.scores)
    assert tried[: len(candidates)].all()
    assert (tried[len(candidates) :].sum(axis=0) >= 3).all()  # as many steps as were asked for, each target
    assert np.abs(found.scores - truth)[tried].max() <= 1e-10
    best = np.where(tried, truth, -np.inf).argmax(axis=0)
    np.testing.assert_array_equal(found.best, best)
    np.testing.assert_array_equal(found.alpha, asked.alphas[every[best, :, range(9)].argmax(axis=1)])
    np.testing.assert_allclose(found.best_scores, truth[best, range(9)], atol=1e-10)


@pytest.mark.parametrize("n_columns", ["more", "fewer"])
def test_the_refit_is_textbook_ridge_on_scaled_features(n_columns: str, rng: np.random.Generator) -> None:
    features, y, bands, targets, asked = problem(rng)
    if n_columns == "more":
        features = np.concatenate([features, rng.standard_normal((90, 28))], axis=1)
        bands = Bands(DelayedDesign(features, DELAYS, RUNS), [*WIDTHS, 28])
    candidates = random_candidates(bands.n_bands, 5, seed=0)
    found = search(bands, targets, asked, candidates)
    got = refit(bands, targets, asked, found, lambda step, done: None)
    assert got.weights.dual == (n_columns == "more")
    x, coefficients = delayed_matrix(features, DELAYS, RUNS), got.weights.coefficients()
    for target in range(9):
        scale = np.sqrt(np.tile(np.repeat(candidates[found.best[target]], bands.widths), 3))
        coef, intercept = textbook_ridge(x * scale, y[:, [target]], found.alpha[target])
        assert relative_error(coefficients[:, target], scale * coef[:, 0]) <= 1e-10
        assert abs(y[:, target].mean() - got.mean_prediction[target] - intercept[0]) <= 1e-10


@pytest.mark.parametrize("width", [5, 60], ids=["n > p", "n < p"])
def test_a_refit_that_no_gram_can_be_trusted_with(width: int, rng: np.random.Generator) -> None:
    """Dependent features, or empty samples, and next to no penalty: weights of least norm by an SVD."""
    features = rng.standard_normal((90, 2 * width))
    features[:, width] = features[:, 0]
    _, y, _, targets, asked = problem(rng)
    delays = (1, 2)
    bands = Bands(DelayedDesign(features, delays, RUNS), [width, width])
    everyone = np.zeros(9, dtype=np.intp)
    gammas = np.array([[0.6, 0.4]])
    found = SearchResult(gammas, np.zeros((1, 9)), everyone, np.full(9, 1e-14), np.zeros(9))
    got = refit(bands, targets, asked, found, lambda step, done: None)
    scale = np.sqrt(np.tile(np.repeat(gammas[0], width), 2))
    x = delayed_matrix(features, delays, RUNS) * scale
    truth = scale[:, None] * np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=1e-10)[0]
    assert relative_error(got.weights.coefficients(), truth) <= 1e-8
    assert relative_error(got.mean_prediction, (x / scale @ truth).mean(axis=0)) <= 1e-8


def test_a_group_shares_weights_and_penalty(rng: np.random.Generator) -> None:
    labels = np.array([0, 1, 0, 1, 1, 0, 2, 2, 2])
    features, y, bands, targets, asked = problem(rng, alpha_per_target=labels)
    found = search(bands, targets, asked, random_candidates(3, 4), n_refine=3)
    pairs = [(fold.train, fold.validation) for fold in asked.folds]
    for label in range(3):
        members = labels == label
        assert len(np.unique(found.best[members])) == len(np.unique(found.alpha[members])) == 1
        tried = np.isfinite(found.scores[:, members]).all(axis=1)
        means = [
            textbook_scores(explicit(features, g), y[:, members], asked.alphas, pairs, "correlation")
            .mean(axis=1)
            .max()
            for g in found.candidates[tried]
        ]
        assert np.flatnonzero(tried)[int(np.argmax(means))] == found.best[members][0]


def test_progress_never_goes_back_and_ends(rng: np.random.Generator) -> None:
    _, _, bands, targets, asked = problem(rng)
    told: dict[str, list[float]] = {}
    search(
        bands,
        targets,
        asked,
        random_candidates(3, 3),
        n_refine=3,
        report=lambda step, done: told.setdefault(step, []).append(done),
    )
    assert list(told) == [
        "trying weights of bands",
        *(f"refining (steps of {w})" for w in ("1.5", "1", "0.7")),
    ]
    for fractions in told.values():
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1.0)


def test_candidates_of_the_same_sizes_share_a_plan(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, bands, targets, asked = problem(rng)
    sizes: list[tuple[int, int]] = []
    make = fits.make_plan

    def counting(problem: Any, **options: Any) -> Any:
        sizes.append((problem.p, problem.n_targets))
        return make(problem, **options)

    monkeypatch.setattr(fits, "make_plan", counting)
    found = search(bands, targets, asked, random_candidates(3, 12), n_refine=6)
    assert len(sizes) == len(set(sizes)) < len(found.candidates)
    # Where the memory is taken meanwhile, a plan is made anew, and says what is lacking.
    narrow = dataclasses.replace(asked, memory_limit=resident_memory() + 2**30)
    kept = _Found(9, None, targets.valid)
    design = bands.scaled(np.full(3, 1 / 3))
    plans = kept.plans_of(design, targets, narrow)
    assert kept.plans_of(design, targets, narrow) is plans
    monkeypatch.setattr(plan_module, "resident_memory", lambda: 2**40)
    monkeypatch.setattr(banded_search, "resident_memory", lambda: 2**40)
    with pytest.raises(MemoryError):
        kept.plans_of(design, targets, narrow)


def test_some_targets_are_read_by_number(rng: np.random.Generator) -> None:
    y = rng.standard_normal((5, 3000))
    asked: list[tuple[int, int]] = []

    def read(begin: int, end: int) -> np.ndarray:
        asked.append((begin, end))
        return y[:, begin:end]

    targets = Targets(5, 3000, read, y.mean(axis=0), np.ones(3000, dtype=bool))
    columns = np.array([3, 7, 1023, 1024, 2999])
    some = some_targets(targets, columns)
    np.testing.assert_array_equal(some.read(1, 5), y[:, columns[1:5]])
    assert asked == [(0, 1024), (1024, 2048), (2048, 3000)]
    np.testing.assert_array_equal(some.mean, y.mean(axis=0)[columns])


# --- split scores


def test_shares_add_up_to_r2_over_many_targets(rng: np.random.Generator) -> None:
    y = rng.standard_normal((30, 1500)) + 4
    parts = rng.standard_normal((3, 30, 1500)) + np.array([5.0, -7.0, 0.1])[:, None, None]
    intercept = rng.standard_normal(1500)
    y[:, 3] = 2.0
    y[4, 1200] = np.nan
    shares = split_r2(y, parts, intercept)
    kept = np.setdiff1d(np.arange(1500), [3, 1200])
    truth = textbook_score(y[:, kept], (parts.sum(axis=0) + intercept)[:, kept], "r2")
    np.testing.assert_allclose(shares.sum(axis=0)[kept], truth, rtol=1e-10)
    assert np.isnan(shares[:, [3, 1200]]).all()
    moved = split_r2(y, parts + np.array([1.0, 2.0, -3.0])[:, None, None], intercept)
    np.testing.assert_allclose(
        moved[:, kept], shares[:, kept], atol=1e-9
    )  # bands may share the intercept anyhow
    with pytest.raises(ValueError, match=r"parts \(3, 30, 2\).*responses \(30, 1500\)"):
        split_r2(y, parts[:, :, :2], intercept)

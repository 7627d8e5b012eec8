"""Fold factors of a grid of penalties from shared products, against each penalty alone and in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge.solvers import DelayedDesign, make_folds, shared_leverages
from voxridge.solvers.bases import dual_basis, svd_basis
from voxridge.solvers.eigen_smoother import EigenSmoother
from voxridge.solvers.filters import FEWEST, SMALLEST
from voxridge.solvers.leave_out import HeldOut, Leverage, held_out_predictions, held_out_sets, leverage
from voxridge.solvers.shared_leverages import leverages
from voxridge.testing import make_design, make_responses, textbook_ridge

RUNS = [70, 45, 95, 30]
N, P = sum(RUNS), 400


def smoother_of(
    x: np.ndarray, *, fit_intercept: bool = True, weight: np.ndarray | None = None, make: Any = dual_basis
) -> EigenSmoother:
    root = None if weight is None else np.sqrt(weight)
    basis = make(DelayedDesign(x), fit_intercept=fit_intercept, root=root)
    found: EigenSmoother = basis.smoother
    assert found.rank >= SMALLEST
    assert found.complete
    return found


def bootstraps(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Chunks of 5 samples at random, overlapping from one set to the next, and more of them each time."""
    rng, found = np.random.default_rng(3), []
    for number in range(count):
        chunks = rng.choice(N // 5, 4 + 3 * number, replace=False)
        held = np.sort((chunks[:, None] * 5 + np.arange(5)).ravel())
        found.append((np.setdiff1d(np.arange(N), held), held))
    return found


SETS: dict[str, Any] = {
    "runs": lambda: make_folds("leave-one-run-out", RUNS),
    "purged": lambda: make_folds(3, [N], gap=4),
    "bootstraps": lambda: make_folds(bootstraps(5), [N], gap=0),
    "one large, one single": lambda: make_folds(
        [(np.arange(150), np.arange(150, N)), (np.arange(1, N), np.arange(1))], [N], gap=0
    ),
}


def sets_of(name: str) -> list[HeldOut]:
    return held_out_sets(SETS[name](), N)


def full(factor: Any, r: np.ndarray | None) -> np.ndarray:
    """Matrix and constant side by side, float64."""
    columns = [factor.matrix] if factor.constant is None else [factor.matrix, factor.constant[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float64)


def norm_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Of the whole, by the larger norm."""
    scale = max(np.linalg.norm(found), np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected) / scale) if scale else 0.0


def assert_same(found: list[Leverage], alone: list[Leverage], most: float = 1e-5) -> None:
    for one, other in zip(found, alone, strict=True):
        assert (one.alpha, one.dtype, one.residual) == (other.alpha, other.dtype, other.residual)
        for factor, expected in zip(one.sets, other.sets, strict=True):
            assert factor.matrix.dtype == one.dtype
            assert (factor.constant is None) == (expected.constant is None)
            assert norm_error(factor.matrix, expected.matrix) <= most
            if factor.constant is not None:
                assert norm_error(factor.constant, expected.constant) <= most


def design(kind: str = "generic") -> np.ndarray:
    return make_design(kind, N, P).astype(np.float32)


def around(smoother: EigenSmoother, lowest: float, highest: float, count: int = 15) -> list[float]:
    """Penalties from ``lowest`` times the smallest eigenvalue to ``highest`` times the largest."""
    values = smoother.values[smoother.values > 0]
    return [float(a) for a in np.geomspace(lowest * values.min(), highest * values.max(), count)]


WEIGHT = np.random.default_rng(4).uniform(0.2, 3.0, N)


@pytest.mark.parametrize("held_out", SETS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_each_penalty_alone(held_out: str, weight: np.ndarray | None, fit_intercept: bool) -> None:
    smoother = smoother_of(design(), weight=weight, fit_intercept=fit_intercept)
    alphas, sets = around(smoother, 1e-3, 1e4), sets_of(held_out)
    found = leverages(smoother, alphas, sets, 2)
    assert_same(found, [leverage(smoother, alpha, sets) for alpha in alphas])
    assert any(one.residual for one in found)
    assert not all(one.residual for one in found)


@pytest.mark.parametrize("make", [dual_basis, svd_basis])
@pytest.mark.parametrize("kind", ["generic", "ill-conditioned", "duplicated"])
def test_any_spectrum(kind: str, make: Any) -> None:
    smoother = smoother_of(make_design(kind, N, 2 * P).astype(np.float32), make=make)
    alphas, sets = around(smoother, 1e-2, 1e3), sets_of("runs")
    assert_same(leverages(smoother, alphas, sets, 1), [leverage(smoother, alpha, sets) for alpha in alphas])


@pytest.mark.parametrize("held_out", SETS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_held_out_predictions_are_those_of_refits(held_out: str, fit_intercept: bool) -> None:
    x = design()
    doubles = x.astype(np.float64)
    y = make_responses(doubles, 4)
    y -= y.mean(axis=0) if fit_intercept else 0.0
    smoother, sets = smoother_of(x, fit_intercept=fit_intercept), sets_of(held_out)
    for one in leverages(smoother, around(smoother, 1e-1, 1e2, 9), sets, 1):
        narrow = y.astype(one.dtype)
        kept = smoother.keep(one.alpha) if one.residual else smoother.shrink(one.alpha)
        smoothed = smoother.v_t.T @ (kept[:, None] * (smoother.v_t @ y))
        if one.residual and fit_intercept:  # of the constant direction, which keeps all, y has nothing
            smoothed -= smoothed.mean(axis=0)
        for number, held in enumerate(sets):
            rest = np.setdiff1d(np.arange(N), held.rows)
            mean = y[rest].mean(axis=0) if fit_intercept else np.zeros(4)
            r = None if smoother.r is None else smoother.r[held.rows]
            q = np.empty((held.rows.size, 4), dtype=one.dtype)
            moved = narrow[held.rows] - mean.astype(one.dtype)
            held_out_predictions(one, number, smoothed[held.rows].astype(one.dtype), moved, r, q)
            coef, intercept = textbook_ridge(doubles[rest], y[rest], one.alpha, fit_intercept)
            expected = doubles[held.rows] @ coef + intercept
            error = np.abs(q + mean - expected).max()
            assert error <= 2e-5 * max(np.abs(expected).max(), np.abs(y).max())


# --- penalties that the shared factors will not do for


def test_small_penalties_take_residuals_of_the_shared_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """``(I - S_ff)^-1`` itself, held against float64, and no penalty is factorised for itself."""
    smoother, sets = smoother_of(design()), sets_of("runs")
    alphas = around(smoother, 1e-5, 1e-2, 9)
    monkeypatch.setattr(shared_leverages, "leverage", None)
    found = leverages(smoother, alphas, sets, 1)
    assert all(one.residual and one.dtype == np.float32 for one in found)
    for one in found:
        s = smoother.v_t.T @ (smoother.shrink(one.alpha)[:, None] * smoother.v_t) + 1 / N
        for factor, held in zip(one.sets, sets, strict=True):
            assert factor.constant is None
            keep = smoother.v_t[:, held.rows] * np.sqrt(smoother.keep(one.alpha))[:, None]
            rest = keep.T @ keep - 1 / N
            assert norm_error(rest, np.eye(held.rows.size) - s[np.ix_(held.rows, held.rows)]) < 1e-4
            assert norm_error(factor.matrix, np.linalg.inv(rest)) <= 1e-5


def test_what_float32_loses_is_made_in_float64() -> None:
    """Half of the samples left out, three quarters of the directions all but fitted: neither predictions nor
    residuals of the others do in float32."""
    u, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((N, N)))
    values = np.where(np.arange(N) < 3 * N // 4, 1.0, 1e-5)
    x = (u * np.sqrt(values)).astype(np.float32)
    smoother = smoother_of(x, fit_intercept=False)
    sets = held_out_sets(make_folds([(np.arange(N // 2), np.arange(N // 2, N))], [N], gap=0), N)
    alphas = [float(alpha) for alpha in np.geomspace(1e-4, 10.0, 11)]
    found = leverages(smoother, alphas, sets, 1)
    assert {one.dtype for one in found} == {np.dtype(np.float32), np.dtype(np.float64)}
    alone = [leverage(smoother, alpha, sets) for alpha in alphas]
    assert_same(found, alone)
    for one, other in zip(found, alone, strict=True):
        if one.dtype == np.float64:
            np.testing.assert_array_equal(one.sets[0].matrix, other.sets[0].matrix)


def test_the_order_of_penalties_and_twice_the_same() -> None:
    smoother, sets = smoother_of(design()), sets_of("runs")
    alphas = around(smoother, 1e-3, 1e3, 9)
    alphas = [*alphas[::-1], alphas[4], alphas[4]]
    found = leverages(smoother, alphas, sets, 1)
    assert [one.alpha for one in found] == alphas
    assert_same(found, [leverage(smoother, alpha, sets) for alpha in alphas])


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_an_interpolated_set_is_named(fit_intercept: bool) -> None:
    smoother, sets = smoother_of(design(), fit_intercept=fit_intercept), sets_of("runs")
    alphas = [float(alpha) for alpha in np.geomspace(1e-13, 1.0, 9)]
    with pytest.raises(np.linalg.LinAlgError, match=r"interpolated to working precision at alpha = 1e-13"):
        leverages(smoother, alphas, sets, 2)


# --- one by one


@pytest.mark.parametrize("why", ["float64", "few penalties", "single samples", "small rank", "incomplete"])
def test_one_by_one_where_nothing_is_to_be_gained(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = make_design("generic", N, P).astype(np.float64 if why == "float64" else np.float32)
    if why in ("small rank", "incomplete"):
        x = x[:, : SMALLEST - 1 if why == "small rank" else SMALLEST + 5]
    make = svd_basis if why == "incomplete" else dual_basis
    smoother = make(DelayedDesign(x), fit_intercept=True).smoother
    sets = sets_of("runs")
    if why == "single samples":
        sets = held_out_sets(make_folds("leave-one-out", [N], gap=0), N)
    alphas = around(smoother, 1.0, 10.0, FEWEST - 1 if why == "few penalties" else FEWEST)
    asked = []

    def counted(smoother: Any, alpha: float, *rest: Any) -> Leverage:
        asked.append(alpha)
        return leverage(smoother, alpha, *rest)

    monkeypatch.setattr(shared_leverages, "leverage", counted)
    found = leverages(smoother, alphas, sets, 1)
    assert asked == alphas
    alone = [leverage(smoother, alpha, sets) for alpha in alphas]
    assert_same(found, alone, 0.0)
    if why == "single samples":
        np.testing.assert_array_equal([one.diagonal for one in found], [one.diagonal for one in alone])


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_sets_side_by_side_give_the_same(at_once: int) -> None:
    smoother, sets = smoother_of(design()), sets_of("bootstraps")
    alphas = around(smoother, 1e-2, 1e2, FEWEST)
    assert_same(leverages(smoother, alphas, sets, at_once), leverages(smoother, alphas, sets, 1), 1e-6)

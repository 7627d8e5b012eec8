"""Weights on the simplex and sums of products, as Python has them; the ops themselves: tests/kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge import _cpu
from voxridge.solvers import stacking
from voxridge.solvers.stacking import residual_products, simplex_weights
from voxridge.testing import relative_error


def semidefinite(n_targets: int, m: int, rng: np.random.Generator) -> np.ndarray:
    residuals = rng.standard_normal((n_targets, 3 * m, m))
    return residuals.swapaxes(1, 2) @ residuals / (3 * m)


def test_one_matrix_is_one_target(rng: np.random.Generator) -> None:
    p, q = semidefinite(1, 4, rng), rng.standard_normal((1, 4))
    assert simplex_weights(p[0], q[0]).shape == (4,)
    np.testing.assert_array_equal(simplex_weights(p[0], q[0]), simplex_weights(p, q)[0])


def test_a_diagonal_gives_inverse_variances(rng: np.random.Generator) -> None:
    variances = rng.uniform(0.1, 5, (50, 6))
    expected = 1 / variances / (1 / variances).sum(axis=1, keepdims=True)
    weights = simplex_weights(variances[:, :, None] * np.eye(6))
    np.testing.assert_allclose(weights, expected, atol=1e-13)


def test_two_models_have_a_closed_form(rng: np.random.Generator) -> None:
    p, q = semidefinite(300, 2, rng), 0.5 * rng.standard_normal((300, 2))
    slope = 2 * (p[:, 1, 1] - p[:, 0, 1]) + q[:, 1] - q[:, 0]
    first = np.clip(slope / (2 * (p[:, 0, 0] + p[:, 1, 1] - 2 * p[:, 0, 1])), 0, 1)
    np.testing.assert_allclose(simplex_weights(p, q)[:, 0], first, atol=1e-12)


def test_blocks_of_targets_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = semidefinite(40, 3, rng), rng.standard_normal((40, 3))
    whole = simplex_weights(p, q)
    monkeypatch.setattr(stacking, "_ENTRIES", 7 * 3**2)
    np.testing.assert_array_equal(simplex_weights(p, q), whole)


def test_other_layouts_and_dtypes(rng: np.random.Generator) -> None:
    p = semidefinite(5, 3, rng)
    expected = simplex_weights(p)
    np.testing.assert_array_equal(simplex_weights(np.asfortranarray(p)), expected)
    np.testing.assert_array_equal(simplex_weights(np.concatenate([p, p], axis=2)[:, :, :3]), expected)
    np.testing.assert_allclose(simplex_weights(p.astype(np.float32)), expected, atol=1e-4)
    np.testing.assert_allclose(simplex_weights(np.eye(2, dtype=int)), [0.5, 0.5], atol=1e-15)
    assert simplex_weights(np.empty((0, 3, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (np.zeros((2, 3)), None, r"p has shape \(2, 3\)"),
        (np.zeros((2, 0, 0)), None, r"p has shape \(2, 0, 0\)"),
        (np.zeros((2, 3, 3)), np.zeros(3), r"q has shape \(1, 3\) and p has shape \(2, 3, 3\)"),
        (np.stack([np.eye(2), [[1.0, 0.5], [0.4, 1.0]]]), None, "p of target 1 is not symmetric"),
        (np.stack([np.eye(2), -np.eye(2)]), None, "p of target 1 has negative curvature"),
    ],
)
def test_what_cannot_be_solved(p: np.ndarray, q: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simplex_weights(p, q)


def test_weights_off_the_minimum_are_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(p: np.ndarray, q: Any, weights: np.ndarray, gaps: np.ndarray, *, n_threads: int) -> None:
        weights[:], gaps[:] = 0.5, [0.0, 0.01]

    monkeypatch.setattr(_cpu, "simplex_qp", lost)
    with pytest.raises(ArithmeticError, match="target 1: rounding"):
        simplex_weights(np.stack([np.eye(2)] * 2))


# --- products


@pytest.mark.parametrize("layout", ["C", "F", "mixed dtypes", "integers", "half"])
def test_products_of_any_arrays(layout: str, rng: np.random.Generator) -> None:
    parts: list[np.ndarray] = list(rng.integers(-9, 9, (3, 30, 600)).astype(np.float32))
    truth: np.ndarray = rng.integers(-9, 9, (30, 600)).astype(np.float32)
    if layout == "F":
        parts = [np.asfortranarray(part) for part in parts]
    elif layout == "mixed dtypes":
        parts[1] = parts[1].astype(np.float64)
    elif layout in ("integers", "half"):
        dtype = int if layout == "integers" else np.float16
        parts, truth = [part.astype(dtype) for part in parts], truth.astype(dtype)
    errors = np.stack([truth.astype(float) - part for part in parts], axis=-1)
    expected = np.einsum("tvi,tvj->vij", errors, errors)
    assert relative_error(residual_products(parts, truth), expected) < 1e-14
    residuals = np.stack([part.astype(float) for part in parts], axis=-1)
    assert relative_error(residual_products(parts), np.einsum("tvi,tvj->vij", residuals, residuals)) < 1e-14


def test_float32_is_summed_in_float64(rng: np.random.Generator) -> None:
    part = (1000 + rng.standard_normal((4000, 3))).astype(np.float32)
    expected = np.square(part.astype(np.float64)).sum(axis=0)
    assert relative_error(residual_products([part])[:, 0, 0], expected) < 1e-14


@pytest.mark.parametrize(
    ("parts", "truth", "error", "message"),
    [
        ([], None, ValueError, "parts is empty"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], None, ValueError, r"parts\[1\] has shape \(2, 2\)"),
        ([np.zeros(3)], None, ValueError, r"parts\[0\] has shape \(3,\)"),
        ([np.zeros((2, 3))], np.zeros((1, 3)), ValueError, r"truth has shape \(1, 3\)"),
        ([np.zeros((2, 3), dtype=complex)], None, TypeError, "parts\\[0\\] has dtype complex128"),
    ],
)
def test_what_cannot_be_summed(parts: list, truth: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        residual_products(parts, truth)


def test_one_dimension_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"parts\[0\] has shape \(5,\): give \(n_samples, n_targets\), two"):
        residual_products([np.ones(5)])

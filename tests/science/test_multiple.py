"""False discovery rate and maximum statistic against other code, the definition, and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from voxridge.science.multiple import fdr, max_statistic

PROBABILITIES = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@pytest.mark.parametrize("method", ["bh", "by"])
@settings(max_examples=50, deadline=None)
@given(p=PROBABILITIES, rate=st.sampled_from([0.01, 0.05, 0.3]))
def test_detected_are_those_below_the_line(method: Any, p: Any, rate: float) -> None:
    """The step-up procedure as the papers state it: all up to the last p-value under the line."""
    m = p.size
    scale = np.sum(1 / np.arange(1, m + 1)) if method == "by" else 1.0
    ordered = np.sort(p)
    under = np.flatnonzero(ordered * scale * m <= rate * np.arange(1, m + 1) * (1 + 1e-12))
    limit = ordered[under[-1]] if under.size else -1.0
    found = fdr(p, rate * (1 + 1e-9), method=method)
    np.testing.assert_array_equal(found.detected, p <= limit)
    np.testing.assert_allclose(found.q_values, stats.false_discovery_control(p, method=method))


@pytest.mark.parametrize("method", ["bh", "by"])
def test_equals_statsmodels(method: Any) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).beta(0.5, 2, 500)
    detected, q, *_ = multitest.multipletests(p, 0.05, "fdr_bh" if method == "bh" else "fdr_by")
    found = fdr(p, 0.05, method=method)
    np.testing.assert_allclose(found.q_values, q)
    np.testing.assert_array_equal(found.detected, detected)


def test_missing_values_do_not_count() -> None:
    p = np.array([[0.001, np.nan], [0.04, 0.6]])
    found = fdr(p)
    np.testing.assert_allclose(found.q_values[~np.isnan(p)], fdr(p[~np.isnan(p)]).q_values)
    assert np.isnan(found.q_values[0, 1])
    assert not found.detected[0, 1]
    assert not fdr([np.nan, np.nan]).detected.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], 1.5), "rate=1.5"),
        (([0.5, 1.2],), "p_values reach from 0.5 to 1.2"),
    ],
)
def test_refused_rates(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fdr(*arguments)
    with pytest.raises(ValueError, match=r'method=.holm.: give "bh" or "by"'):
        fdr([0.5], method="holm")  # type: ignore[arg-type]


def test_maximum_by_the_definition() -> None:
    rng = np.random.default_rng(1)
    null, observed = rng.standard_normal((200, 7)), rng.standard_normal(7) + 1
    observed[3] = null[:, 3][0]
    expected = [(1 + sum(row.max() >= s for row in null)) / 201 for s in observed]
    np.testing.assert_allclose(max_statistic(observed, null), expected)
    np.testing.assert_allclose(max_statistic(observed, null.max(axis=1)), expected)


def test_step_down_by_the_definition() -> None:
    """Westfall and Young: maxima over what is left, p-values made to rise."""
    rng = np.random.default_rng(2)
    null, observed = rng.standard_normal((300, 6)), np.array([2.5, 0.1, 3.5, np.nan, 1.5, 2.5])
    steps = max_statistic(observed, null, step_down=True)
    left, largest, expected = [0, 1, 2, 4, 5], 0.0, np.full(6, np.nan)
    for target in [2, 0, 5, 4, 1]:
        p = (1 + sum(row[left].max() >= observed[target] for row in null)) / 301
        largest = expected[target] = max(largest, p)
        left.remove(target)
    np.testing.assert_allclose(steps, expected)
    assert np.all((steps <= max_statistic(observed, null)) | np.isnan(observed))


def test_undefined_targets() -> None:
    null = np.random.default_rng(3).standard_normal((50, 3))
    null[:, 1] = np.nan
    p = max_statistic([1.0, np.nan, 0.5], null)
    np.testing.assert_array_equal(np.isnan(p), [False, True, False])
    np.testing.assert_allclose(p[[0, 2]], max_statistic([1.0, 0.5], null[:, [0, 2]]))
    assert np.isnan(max_statistic([np.nan], null[:, 0])).all()


def test_refused_nulls() -> None:
    with pytest.raises(ValueError, match=r"null has shape \(9, 2\) and observed \(3,\)"):
        max_statistic(np.zeros(3), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="step_down needs null of shape"):
        max_statistic(np.zeros(3), np.zeros(9), step_down=True)
    with pytest.raises(ValueError, match=r"observed has shape \(3, 1\)"):
        max_statistic(np.zeros((3, 1)), np.zeros(9))


def test_rates_hold_in_simulation() -> None:
    """False discoveries and any false positive, among correlated targets of which some are real."""
    rng = np.random.default_rng(4)
    n, real, draws = 400, 20, 200
    wrong, any_wrong, any_step = [], [], []
    for _ in range(n):
        noise = rng.standard_normal((1 + draws, 60)) + rng.standard_normal((1 + draws, 1))
        noise[0, :real] += 4
        p = stats.norm.sf(noise[0], scale=np.sqrt(2))
        detected = fdr(p, 0.1).detected
        wrong.append(detected[real:].sum() / max(1, detected.sum()))
        any_wrong.append(max_statistic(noise[0], noise[1:])[real:].min() <= 0.05)
        any_step.append(max_statistic(noise[0], noise[1:], step_down=True)[real:].min() <= 0.05)
    assert np.mean(wrong) < 0.1
    assert np.mean(any_wrong) <= np.mean(any_step) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)

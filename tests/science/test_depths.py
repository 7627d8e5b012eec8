"""Preferred layers and peaks: against scipy, formulas written out, and known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.science.depths import centre_of_mass, peak_depth, preferred_layer, relative_depths


def chain(n_layers: int, shape: tuple[int, ...], correlation: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    errors = [rng.standard_normal(shape)]
    for _ in range(n_layers - 1):
        errors.append(correlation * errors[-1] + np.sqrt(1 - correlation**2) * rng.standard_normal(shape))
    return np.stack(errors)


def test_analysis_of_variance_by_hand() -> None:
    """With two layers it is the paired t test, which scipy has."""
    from scipy.stats import ttest_rel

    scores = np.random.default_rng(0).random((2, 7, 9))
    found = preferred_layer(scores)
    assert found.epsilon == pytest.approx(1.0)
    np.testing.assert_allclose(found.p_values, ttest_rel(scores[0], scores[1], axis=0).pvalue, rtol=1e-9)


def test_epsilon_is_boxs() -> None:
    """From the covariance of layers, by the formula over its entries that textbooks give."""
    scores = chain(5, (60, 1), 0.9, seed=1)
    s = np.cov(scores[:, :, 0])
    k = 5
    upper = (k * (np.diag(s).mean() - s.mean())) ** 2
    lower = (k - 1) * ((s**2).sum() - 2 * k * (s.mean(axis=1) ** 2).sum() + k**2 * s.mean() ** 2)
    assert preferred_layer(scores).epsilon == pytest.approx(upper / lower)


@pytest.mark.parametrize("n_folds", [4, 9])
def test_alike_layers_are_masked_at_the_stated_rate(n_folds: int) -> None:
    found = preferred_layer(0.05 * chain(25, (n_folds, 3000), 0.95, seed=n_folds))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(found.p_values < level) == pytest.approx(level, abs=0.03)
    assert found.differ.mean() < 0.002
    assert np.isnan(found.layer[~found.differ]).all()


def test_layers_that_differ_are_found_where_they_are() -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(3, 22, 400)
    curve = -1.5 * (np.linspace(0, 1, 25)[:, None] - true / 24) ** 2
    scores = curve[:, None] + 0.03 * chain(25, (6, 400), 0.9, seed=4)
    scores[:, :, 300:] = 0.03 * chain(25, (6, 100), 0.9, seed=5)
    found = preferred_layer(scores)
    assert found.differ[:300].mean() > 0.95
    assert found.differ[300:].mean() < 0.1
    inside = found.differ & (np.arange(400) < 300)
    assert np.abs(found.layer[inside] - true[inside]).mean() < 2
    np.testing.assert_allclose(found.depth[inside], found.layer[inside] / 24)


def test_missing_scores_stay_with_their_target() -> None:
    rng = np.random.default_rng(6)
    scores = rng.random((4, 5, 30))
    holes = scores.copy()
    holes[2, 1, 7] = np.nan
    found, without = preferred_layer(holes), preferred_layer(np.delete(scores, 7, axis=2))
    np.testing.assert_allclose(np.delete(found.p_values, 7), without.p_values)
    assert np.isnan(found.p_values[7])
    assert found.best[7] == -1
    assert not found.differ[7]
    constant = preferred_layer(np.ones((3, 4, 2)))
    assert np.isnan(constant.layer).all()


@settings(max_examples=40, deadline=None)
@given(
    peak=st.floats(0.1, 0.9), height=st.floats(0.1, 5), n_layers=st.integers(8, 40), seed=st.integers(0, 99)
)
def test_the_vertex_of_a_parabola_is_exact_on_uneven_depths(
    peak: float, height: float, n_layers: int, seed: int
) -> None:
    inner = np.sort(np.random.default_rng(seed).random(n_layers))
    place = np.concatenate([[0.0], inner[np.diff(inner, prepend=0.0) > 1e-3], [1.001]])
    found = peak_depth((1 - height * (place - peak) ** 2)[:, None], depths=place)
    best = np.argmin(np.abs(place - peak))
    if 0 < best < len(place) - 1:
        assert found.depth == pytest.approx(peak, abs=1e-6)
    assert bool(found.at_edge) == (best in (0, len(place) - 1))
    assert np.isnan(found.low)


def test_peak_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """A record: 95 % of 300 intervals from six repeats."""
    place = np.linspace(0, 1, 25)
    scores = (0.3 - 0.4 * (place - 0.63) ** 2)[:, None, None] + 0.015 * chain(25, (6, 300), 0.95, seed=7)
    found = peak_depth(scores, n_bootstraps=500)
    assert found.depth.mean() == pytest.approx(0.63, abs=0.01)
    assert 0.9 < np.mean((found.low <= 0.63) & (found.high >= 0.63)) < 0.99
    # A curve that is not cut off by the ends has its centre at its peak.
    bump = np.exp(-0.5 * ((place - 0.5) / 0.1) ** 2)[:, None, None] + 0.02 * chain(25, (6, 300), 0.5, seed=8)
    centred = peak_depth(bump, n_bootstraps=300)
    assert centred.centre.mean() == pytest.approx(0.5, abs=0.01)
    assert 0.9 < np.mean((centred.centre_low <= 0.5) & (centred.centre_high >= 0.5)) < 0.99


def test_every_target_as_alone_and_repeats_that_lack_a_layer_are_left_out() -> None:
    rng = np.random.default_rng(9)
    scores = rng.random((6, 5, 4))
    scores[3, 2, 1] = np.nan
    scores[:, :, 3] = np.nan
    found = peak_depth(scores, n_bootstraps=50)
    for t in range(3):
        alone = peak_depth(scores[:, :, t], n_bootstraps=50)
        for name in ("depth", "low", "high", "centre", "centre_low", "centre_high", "at_edge"):
            assert getattr(alone, name).shape == ()
            np.testing.assert_allclose(getattr(found, name)[t], getattr(alone, name), rtol=1e-9)
    without = peak_depth(np.delete(scores[:, :, 1], 2, axis=1), n_bootstraps=50)
    assert found.depth[1] == pytest.approx(float(without.depth))
    assert np.isnan([found.depth[3], found.low[3], found.centre[3]]).all()


def test_centre_of_mass() -> None:
    scores = np.array([[0.0, 1.0], [0.2, 1.1], [0.1, 1.4]])
    place = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(centre_of_mass(scores, place), [0.2 / 0.3, 0.45 / 0.5])
    np.testing.assert_allclose(centre_of_mass(scores + 7, place), centre_of_mass(scores, place))
    np.testing.assert_allclose(centre_of_mass(scores, place, baseline=0.15), [0.5, (0.475 + 1.25) / 3.05])
    assert np.isnan(centre_of_mass(np.ones(4)))
    assert np.isnan(centre_of_mass(np.array([1.0, np.nan, 2.0])))


def test_relative_depths() -> None:
    np.testing.assert_allclose(relative_depths(13)[[0, 6, 12]], [0, 0.5, 1])
    np.testing.assert_allclose(relative_depths(2, embedding=False), [0.5, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_depths(1), "n_layers=1"),
        (lambda: preferred_layer(np.ones((1, 3, 4))), r"\(1, 3, 4\)"),
        (lambda: preferred_layer(np.ones((3, 3, 4)), depths=[0, 1]), "3 numbers that rise"),
        (lambda: preferred_layer(np.random.default_rng(0).random((3, 3, 4)), rate=5), "rate=5"),
        (lambda: peak_depth(np.ones(5)), r"\(5,\)"),
        (lambda: peak_depth(np.ones((3, 2)), depths=[0, 2, 1]), "rise"),
        (lambda: peak_depth(np.ones((3, 2)), level=95), "level=95"),
        (lambda: centre_of_mass(np.ones(3), baseline="least"), "baseline='least'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

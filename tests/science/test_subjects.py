"""Tests over subjects against SciPy, enumeration and simulation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from voxridge._warnings import IndependenceWarning, SmallSampleWarning
from voxridge.science.subjects import subject_test


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_equals_scipy(alternative: Any) -> None:
    values = np.random.default_rng(0).normal(0.3, 1, (9, 2, 3))
    test = subject_test(values, null=0.1, alternative=alternative, level=0.9)
    theirs = stats.ttest_1samp(values, 0.1, alternative=alternative)
    np.testing.assert_allclose(test.t, theirs.statistic)
    np.testing.assert_allclose(test.p_values, theirs.pvalue)
    interval = stats.ttest_1samp(values, 0.1).confidence_interval(0.9)
    np.testing.assert_allclose(test.low, interval.low)
    np.testing.assert_allclose(test.high, interval.high)
    np.testing.assert_allclose(test.effect_size, (values.mean(0) - 0.1) / values.std(0, ddof=1))
    assert (test.n_subjects == 9).all()
    for i, j in np.ndindex(2, 3):
        flipped = stats.permutation_test(
            (values[:, i, j] - 0.1,),
            lambda x: abs(x.mean()) if alternative == "two-sided" else x.mean(),
            permutation_type="samples",
            n_resamples=np.inf,
            alternative="less" if alternative == "less" else "greater",
        )
        assert test.p_flips[i, j] == pytest.approx(flipped.pvalue)


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
def test_largest_t_by_hand(alternative: Any) -> None:
    values = np.random.default_rng(1).normal([0.9, 0.0, 0.4], 1, (7, 3))

    def t(x: Any) -> Any:
        found = stats.ttest_1samp(x, 0).statistic
        return np.abs(found) if alternative == "two-sided" else found

    largest = [t(values * np.array(s)[:, None]).max() for s in itertools.product([1, -1], repeat=7)]
    expected = [np.mean(np.array(largest) >= reached - 1e-9) for reached in t(values)]
    test = subject_test(values, alternative=alternative)
    assert test.exact
    np.testing.assert_allclose(test.p_family, expected)
    assert (test.p_family >= test.p_flips).all()
    assert test.smallest_p == (2 if alternative == "two-sided" else 1) / 128


def test_drawn_flips_agree_with_all() -> None:
    values = np.random.default_rng(2).normal(0.3, 1, (12, 5))
    full, drawn = subject_test(values), subject_test(values, n_permutations=3000, seed=3)
    assert (full.exact, drawn.exact) == (True, False)
    np.testing.assert_allclose(drawn.p_flips, full.p_flips, atol=0.04)
    np.testing.assert_allclose(drawn.p_family, full.p_family, atol=0.04)
    assert drawn.smallest_p == 1 / 3001


@pytest.mark.filterwarnings("ignore::voxridge._warnings.SmallSampleWarning")
def test_missing_subjects_are_left_out_where_they_miss() -> None:
    values = np.random.default_rng(4).normal(0.5, 1, (8, 4))
    values[2, 1] = np.nan
    values[:, 2] = np.nan
    values[1:, 3] = np.nan
    test = subject_test(values)
    alone = subject_test(np.delete(values[:, 1], 2))
    for name in ("mean", "low", "high", "t", "p_values", "p_flips", "effect_size"):
        assert getattr(test, name)[1] == pytest.approx(getattr(alone, name).item())
    assert test.n_subjects.tolist() == [8, 7, 0, 1]
    assert np.isnan(test.p_flips[2:]).all()
    assert np.isnan(test.p_family[2:]).all()
    assert np.isfinite(test.p_family[:2]).all()


def test_p_is_never_zero_even_where_nobody_differs() -> None:
    test = subject_test(np.full(10, 0.02))
    assert test.p_flips == 2 / 1024
    assert np.isnan(test.p_values)  # Student's t has nothing to go by
    assert np.isnan(subject_test(np.zeros(8)).p_flips)


def test_level_in_simulation() -> None:
    """Sign flips keep theirs; a t test over voxels of the same people does not."""
    n = 300
    alone, family, voxels = [], [], []
    for number in range(n):
        rng = np.random.default_rng([5, number])
        values = rng.standard_normal((8, 30)) + rng.standard_normal((8, 1))
        test = subject_test(values)
        alone.append(test.p_flips[0] <= 0.05)
        family.append(test.p_family.min() <= 0.05)
        voxels.append(stats.ttest_1samp(values.mean(axis=0), 0).pvalue <= 0.05)
    allowed = 3.5 * np.sqrt(0.05 * 0.95 / n)
    assert np.mean(alone) < 0.05 + allowed
    assert np.mean(family) < 0.05 + allowed
    assert np.mean(voxels) > 0.5


def test_few_and_many_subjects_are_named() -> None:
    values = np.random.default_rng(6).normal(size=(4, 2))
    with pytest.warns(SmallSampleWarning, match=r"4 subjects: by sign flips no p-value can be below 0\.12"):
        subject_test(values)
    with pytest.warns(IndependenceWarning, match="12155 rows.*voxels, time points or resamples"):
        subject_test(np.random.default_rng(7).normal(size=12155), n_permutations=19)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, r"subjects has shape \(1,\): give the values of at least 2 subjects"),
        (3.0, {}, r"subjects has shape \(\)"),
        ([1.0, np.inf], {}, "infinite"),
        ([1.0, 2.0], {"alternative": "more"}, "alternative='more'"),
        ([1.0, 2.0], {"n_permutations": 5}, "n_permutations=5"),
        ([1.0, 2.0], {"level": 95}, "level=95"),
    ],
)
@pytest.mark.filterwarnings("ignore::voxridge._warnings.SmallSampleWarning")
def test_refusals(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subject_test(values, **options)

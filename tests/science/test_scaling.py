"""Scaling fits against statsmodels, scipy and simulations whose slope is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from voxridge._warnings import CollinearityWarning, SmallSampleWarning
from voxridge.science._lines import fit_lines
from voxridge.science.model_table import known_models
from voxridge.science.partial import partial_effects
from voxridge.science.scaling import fit_scaling
from voxridge.science.scaling_families import cluster_covariance, leave_one_out, wild_interval
from voxridge.science.scaling_subjects import roi_scores, subject_scaling

MODELS = [model for model in known_models() if model.perplexity > 0]
SIZES = np.array([model.parameters for model in MODELS])
FAMILIES = [model.family for model in MODELS]
CODES = np.unique(FAMILIES, return_inverse=True)[1]
LOG = np.log10(SIZES)


def numbers(*values: object) -> list[float]:
    return [float(value) for value in values]  # type: ignore[arg-type]


@pytest.fixture
def scores() -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 + 0.02 * LOG + 0.006 * rng.standard_normal(len(LOG))


# --- the line


def test_the_line_is_that_of_statsmodels_and_scipy(scores: np.ndarray) -> None:
    sm = pytest.importorskip("statsmodels.api")
    fit = fit_scaling(SIZES, scores)
    theirs = sm.OLS(scores, sm.add_constant(LOG)).fit()
    scipys = stats.linregress(LOG, scores)
    assert numbers(fit.intercept, fit.slope) == pytest.approx(theirs.params, rel=1e-10)
    assert fit.standard_error == pytest.approx(theirs.bse[1], rel=1e-10)
    assert numbers(fit.p, fit.r2) == pytest.approx([theirs.pvalues[1], theirs.rsquared], rel=1e-8)
    assert fit.aic == pytest.approx(theirs.aic + 2, rel=1e-10)  # they do not count the variance
    ends = fit.intervals["classical"]
    assert numbers(ends.low, ends.high) == pytest.approx(theirs.conf_int()[1], rel=1e-9)
    assert numbers(fit.r, fit.p) == pytest.approx([scipys.rvalue, scipys.pvalue], rel=1e-8)
    np.testing.assert_allclose(fit.residuals, theirs.resid, atol=1e-14)
    new = np.array([1e8, 2e9, 1e11])
    frame = theirs.get_prediction(sm.add_constant(np.log10(new))).summary_frame()
    for kind, name in (("mean", "mean_ci"), ("prediction", "obs_ci")):
        low, high = fit.band(new, kind=kind)
        np.testing.assert_allclose(low, frame[f"{name}_lower"], rtol=1e-9)
        np.testing.assert_allclose(high, frame[f"{name}_upper"], rtol=1e-9)


def test_published_p_values_follow_from_their_r_and_number_of_models() -> None:
    """Bonnasse-Gahot & Pallier 2024: r is printed with two decimals, so p must lie between its ends."""
    printed = [(28, 0.95, 3.2e-14), (28, 0.82, 8.4e-8), (28, 0.89, 1.8e-10), (28, 0.93, 1.2e-12)]
    printed += [(28, 0.87, 1.7e-9), (28, 0.91, 1.7e-11), (10, 0.21, 0.56), (10, 0.30, 0.41)]
    rng = np.random.default_rng(0)
    for n, r, p in printed:
        x = rng.standard_normal(n)
        noise = rng.standard_normal(n)
        noise -= noise.mean() + (x - x.mean()) * np.dot(x - x.mean(), noise) / np.sum((x - x.mean()) ** 2)
        z, e = stats.zscore(x), noise / noise.std()
        ends = [fit_scaling(x, q * z + np.sqrt(1 - q**2) * e, log=False) for q in (r - 0.005, r + 0.005)]
        assert [float(fit.r) for fit in ends] == pytest.approx([r - 0.005, r + 0.005])
        assert ends[1].p <= p * 1.05
        assert ends[0].p >= p * 0.95


def test_the_packaged_table_is_that_of_the_study() -> None:
    assert len(MODELS) == 28
    assert len(set(FAMILIES)) == 8
    assert np.sum(SIZES > 3e9) == 10
    assert stats.t.isf(0.5e-7, 28 - 2) == pytest.approx(7.28, abs=0.01)  # their voxel-wise threshold


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_units_of_scores_and_sizes(seed: int, shift: float, scale: float, unit: float) -> None:
    rng = np.random.default_rng(seed)
    values = 0.02 * LOG + 0.01 * rng.standard_normal(28)
    plain = fit_scaling(SIZES, values, families=FAMILIES)
    other = fit_scaling(SIZES * unit, shift + scale * values, families=FAMILIES)
    assert other.slope == pytest.approx(scale * plain.slope, rel=1e-8)
    assert other.r == pytest.approx(plain.r, rel=1e-8)
    for name, ends in plain.intervals.items():
        assert other.intervals[name].p == pytest.approx(ends.p, rel=1e-5)


def test_many_targets_are_each_alone_and_nan_stays_where_it_is() -> None:
    rng = np.random.default_rng(1)
    many = 0.02 * LOG[:, None] + 0.01 * rng.standard_normal((28, 6))
    many[3, 1] = many[4, 2] = many[5, 2] = np.nan
    many[:, 3] = np.nan
    many[:, 4] = 0.25
    many[2:, 5] = np.nan
    before = many.copy()
    fit = fit_scaling(SIZES, many, families=FAMILIES)
    np.testing.assert_array_equal(many, before)
    assert fit.n_models.tolist() == [28, 27, 26, 0, 28, 2]
    for target in range(3):
        kept = np.isfinite(many[:, target])
        alone = fit_scaling(SIZES[kept], many[kept, target], families=np.array(FAMILIES)[kept])
        for name in ("slope", "intercept", "standard_error", "p", "r2", "aic", "residual_sd"):
            assert getattr(fit, name)[target] == pytest.approx(getattr(alone, name), rel=1e-9), name
        for method, ends in alone.intervals.items():
            mine = fit.intervals[method]
            expected = numbers(ends.low, ends.high, ends.p, ends.dof)
            found = numbers(*(value[target] for value in (mine.low, mine.high, mine.p, mine.dof)))
            assert found == pytest.approx(expected, rel=1e-8), method
    assert np.isnan(fit.slope[[3, 5]]).all()
    assert fit.slope[4] == 0
    assert np.isnan(fit.p[4])


def test_float32_scores_of_many_voxels_are_not_copied_whole() -> None:
    import tracemalloc

    voxels = np.random.default_rng(0).random((28, 200_000), dtype=np.float32)
    tracemalloc.start()
    fit = fit_scaling(SIZES, voxels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit.scores is voxels
    assert peak < 120e6  # 15 numbers a voxel are 24 MB; a copy and residuals in float64 would be 90 MB more
    assert fit.slope[7] == pytest.approx(stats.linregress(LOG, voxels[:, 7]).slope, rel=1e-5)


# --- gains


def test_gains_state_their_baseline() -> None:
    fit = fit_scaling([1e8, 1e9, 1e10], [0.2, 0.22, 0.24], names=["S", "M", "L"])
    for baseline, value in (("smallest", 0.2), ("largest", 0.24), ("mean", 0.22), (1e7, 0.18)):
        gain = fit.gain(baseline)
        assert gain.value == pytest.approx(value)
        assert gain.per_decade == pytest.approx(100 * 0.02 / value)
        assert gain.per_doubling == pytest.approx(gain.per_decade * np.log10(2))
    assert fit.gain().baseline == "the fitted score at S (100M parameters)"
    assert fit.gain(1e7).baseline == "the fitted score at 10M parameters"
    falling = fit_scaling([30, 20, 10], [0.2, 0.22, 0.24], predictor="perplexity", names=["S", "M", "L"])
    assert falling.gain().baseline == "the fitted score at S (perplexity 30)"


def test_the_interval_of_a_gain_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    values = 0.2 + 0.02 * (LOG - 8)[:, None] + 0.01 * rng.standard_normal((28, 4000))
    gain = fit_scaling(SIZES, values).gain(1e8)
    covered = np.mean((gain.low < 10) & (gain.high > 10))
    assert covered == pytest.approx(0.95, abs=0.012)
    hopeless = fit_scaling(SIZES, rng.standard_normal(28)).gain()
    assert np.isnan(hopeless.low)


# --- families


def test_cluster_robust_covariance_is_unbiased_where_errors_are_independent() -> None:
    """What the CR2 correction is for; and without its correction the sum is statsmodels' cluster estimate."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    errors = rng.standard_normal((28, 60_000))
    lines = fit_lines(LOG, errors)
    covariance, _ = cluster_covariance(lines, CODES)
    truth = [1 / 28, 0.0, 1 / lines.spread]
    np.testing.assert_allclose(covariance.mean(axis=1), truth, atol=4e-3 / 28, rtol=0.02)
    values = errors[:, 0]
    theirs = sm.OLS(values, sm.add_constant(LOG)).fit(
        cov_type="cluster", cov_kwds={"groups": CODES, "use_correction": False}
    )
    residuals = lines.residuals[:, 0] * lines.deviations
    plain = np.sum(np.bincount(CODES, residuals) ** 2) / lines.spread**2
    assert plain == pytest.approx(theirs.cov_params()[1, 1], rel=1e-9)
    assert covariance[2, 0] > plain  # which is too small with few families


def test_within_families_is_a_regression_with_an_intercept_for_each(scores: np.ndarray) -> None:
    sm = pytest.importorskip("statsmodels.api")
    theirs = sm.OLS(scores, np.column_stack([LOG, np.eye(8)[CODES]])).fit()
    ends = fit_scaling(SIZES, scores, families=FAMILIES).intervals["within families"]
    assert numbers(ends.low, ends.high) == pytest.approx(theirs.conf_int()[0], rel=1e-8)
    assert ends.p == pytest.approx(theirs.pvalues[0], rel=1e-6)


def shared_errors(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten families, each with models of about one size and with an error of its own: the hard case."""
    rng = np.random.default_rng(seed)
    families = np.repeat(np.arange(10), [2, 3, 4, 2, 3, 5, 3, 2, 4, 2])
    u = np.linspace(8, 10.5, 10)[families] + 0.1 * rng.standard_normal(len(families))
    values = 0.02 * u[:, None] + 0.005 * rng.standard_normal((len(u), n))
    return 10**u, families, values + 0.01 * rng.standard_normal((10, n))[families]


def covers(ends: object, truth: float) -> float:
    return float(np.mean((ends.low < truth) & (ends.high > truth)))  # type: ignore[attr-defined]


def test_families_make_classical_intervals_too_narrow_and_theirs_hold() -> None:
    x, families, values = shared_errors(2000, seed=4)
    fit = fit_scaling(x, values, families=families.astype(str))
    assert covers(fit.intervals["classical"], 0.02) < 0.8
    assert covers(fit.intervals["families"], 0.02) > 0.93
    flat = fit_scaling(x, values - 0.02 * np.log10(x)[:, None], families=families.astype(str))
    assert np.mean(flat.intervals["classical"].p < 0.05) > 0.2
    assert np.mean(flat.intervals["families"].p < 0.05) < 0.07


def test_the_wild_bootstrap_holds_too() -> None:
    x, families, values = shared_errors(150, seed=5)
    found = [
        wild_interval(fit_scaling(x, column, families=families.astype(str)), n_draws=199)
        for column in values.T
    ]
    assert np.mean([ends.low < 0.02 < ends.high for ends in found]) > 0.9
    assert min(float(ends.p) for ends in found) >= 1 / 200


def test_the_wild_p_is_that_of_refitting_every_draw(scores: np.ndarray) -> None:
    def statistic(values: np.ndarray, slope: float) -> float:
        fitted = stats.linregress(LOG, values)
        left = (values - fitted.intercept - fitted.slope * LOG) * (LOG - LOG.mean())
        error = np.sqrt(np.sum(np.bincount(CODES, left) ** 2)) / np.sum((LOG - LOG.mean()) ** 2)
        return abs(float((fitted.slope - slope) / error))

    weights = np.sqrt([0.5, 1.0, 1.5])
    draws = np.random.default_rng(7).choice(np.concatenate([weights, -weights]), size=(199, 8))
    flat = 0.3 * scores + 0.01 * np.random.default_rng(8).standard_normal(28)
    about = flat - flat.mean()
    reached = [statistic(about * draw[CODES], 0.0) >= statistic(flat, 0.0) for draw in draws]
    fit = fit_scaling(SIZES, flat, families=FAMILIES)
    assert wild_interval(fit, n_draws=199, seed=7).p == pytest.approx((1 + sum(reached)) / 200, abs=1e-12)
    assert 0.01 < np.mean(reached) < 0.9


def test_the_ends_of_the_wild_interval_are_where_p_is_alpha(scores: np.ndarray) -> None:
    fit = fit_scaling(SIZES, scores, families=FAMILIES)
    ends = wild_interval(fit, seed=1)
    for end in (ends.low, ends.high):
        at_zero = fit_scaling(SIZES, scores - end * LOG, families=FAMILIES)
        assert wild_interval(at_zero, seed=1).p == pytest.approx(0.05, abs=0.002)
    assert wild_interval(fit, seed=1).low == ends.low
    assert wild_interval(fit, seed=2).low != ends.low


def test_two_families_exclude_nothing_by_the_wild_bootstrap() -> None:
    with pytest.warns(SmallSampleWarning, match="2 families"):
        fit = fit_scaling([1e8, 1e9, 1e10, 1e11, 1e12], [0.1, 0.22, 0.29, 0.41, 0.5], families=list("aabbb"))
    ends = wild_interval(fit)
    assert (ends.low, ends.high) == (-np.inf, np.inf)
    assert ends.p > 0.1


def test_residuals_that_cancel_in_every_family_give_no_wild_interval() -> None:
    with pytest.warns(SmallSampleWarning, match="2 families"):
        fit = fit_scaling([1e8, 1e9, 1e10, 1e11], [0.1, 0.22, 0.29, 0.41], families=list("aabb"))
    ends = wild_interval(fit)
    assert np.isnan(numbers(ends.low, ends.high, ends.p)).all()


def test_few_families_warn_and_one_has_no_interval_over_families() -> None:
    with pytest.warns(SmallSampleWarning, match="1 family"):
        fit = fit_scaling([1e8, 1e9, 1e10], [0.1, 0.2, 0.28], families=["opt"] * 3)
    assert set(fit.intervals) == {"classical"}
    with pytest.raises(ValueError, match="one family"):
        wild_interval(fit)


def test_leaving_models_and_families_out_is_fitting_without_them(scores: np.ndarray) -> None:
    fit = fit_scaling(SIZES, scores, families=FAMILIES, names=[model.name for model in MODELS])
    models, families = leave_one_out(fit), leave_one_out(fit, what="families")
    for i in (0, 13, 27):
        expected = stats.linregress(np.delete(LOG, i), np.delete(scores, i)).slope
        assert models.slopes[i] == pytest.approx(expected, rel=1e-10)
    assert families.dropped[:2] == ("GPT-2", "OPT")
    without = np.array(FAMILIES) != "OPT"
    assert families.slopes[1] == pytest.approx(stats.linregress(LOG[without], scores[without]).slope)
    assert models.low == models.slopes.min()
    assert models.high == models.slopes.max()
    assert models.dropped[int(np.argmin(models.slopes))] in models.sentence()
    many = np.column_stack([scores, scores, np.full(28, np.nan)])
    many[5, 1] = np.nan
    dropped = leave_one_out(fit_scaling(SIZES, many))
    np.testing.assert_allclose(dropped.slopes[:, 0], models.slopes, rtol=1e-10)
    kept = np.arange(28) != 5
    np.testing.assert_allclose(
        dropped.slopes[kept, 1], leave_one_out(fit_scaling(SIZES[kept], scores[kept])).slopes
    )
    assert np.isnan(dropped.slopes[:, 2]).all()
    assert np.isnan(dropped.low[2])


# --- subjects and regions


def test_slopes_of_subjects_and_their_interval() -> None:
    rng = np.random.default_rng(6)
    values = 0.02 * LOG + 0.01 * rng.standard_normal((5, 28))
    found = subject_scaling(SIZES, values, subjects=list("abcde"), families=FAMILIES)
    slopes = [stats.linregress(LOG, row).slope for row in values]
    np.testing.assert_allclose(found.slopes, slopes)
    np.testing.assert_allclose(found.r, [stats.linregress(LOG, row).rvalue for row in values])
    ends = stats.t.interval(0.95, 4, np.mean(slopes), stats.sem(slopes))
    assert numbers(found.interval.low, found.interval.high) == pytest.approx(ends)
    assert found.interval.p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)
    assert found.fit.slope == pytest.approx(np.mean(slopes))
    with_voxels = subject_scaling(SIZES, np.stack([values, values + 1], axis=2))
    np.testing.assert_allclose(with_voxels.slopes, np.stack([slopes, slopes], axis=1))
    assert with_voxels.interval.low.shape == (2,)


def test_a_model_that_a_subject_lacks_is_left_out_of_the_mean_only() -> None:
    values = 0.02 * LOG + 0.01 * np.random.default_rng(7).standard_normal((3, 28))
    values[1, 4] = np.nan
    found = subject_scaling(SIZES, values)
    assert found.fit.n_models == 27
    kept = np.isfinite(values[1])
    assert found.slopes[1] == pytest.approx(stats.linregress(LOG[kept], values[1, kept]).slope)
    assert found.slopes[0] == pytest.approx(stats.linregress(LOG, values[0]).slope)


def test_one_subject_has_no_interval() -> None:
    found = subject_scaling([1e8, 1e9, 1e10], [[0.1, 0.2, 0.28]])
    assert np.isnan(found.interval.low)


def test_regions_by_labels_masks_and_indices() -> None:
    values = np.arange(12.0).reshape(3, 4)
    values[1, 0] = np.nan
    labels = roi_scores(values, ["a", "a", "b", None])
    assert {name: list(row) for name, row in labels.items()} == {"a": [1, 5, 9], "b": [2, 6, 10]}
    assert list(roi_scores(values, ["a", "a", np.nan, float("nan")])) == ["a"]
    masks = roi_scores(values, {"left": np.array([True, True, False, False]), "right": [2, 3], "lost": [0]})
    assert list(masks["left"]) == [1, 5, 9]
    assert list(masks["right"]) == [2.5, 6.5, 10.5]
    assert np.isnan(masks["lost"]).all()
    with pytest.raises(ValueError, match=r"3 labels for 4 targets"):
        roi_scores(values, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"rois\['x'\] has shape \(3,\)"):
        roi_scores(values, {"x": np.ones(3, dtype=bool)})
    with pytest.raises(ValueError, match="indices below 4"):
        roi_scores(values, {"x": [4]})


# --- partial effects


@pytest.mark.parametrize("families", [None, FAMILIES])
def test_partial_effects_are_those_of_statsmodels(scores: np.ndarray, families: list[str] | None) -> None:
    sm = pytest.importorskip("statsmodels.api")
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    width, depth = ([getattr(model, name) for model in MODELS] for name in ("hidden", "layers"))
    design = np.column_stack([np.log(SIZES), width, depth])
    levels = np.ones((28, 1)) if families is None else np.eye(8)[CODES]
    theirs = sm.OLS(scores, np.hstack([design, levels])).fit()
    if families is None:
        found = partial_effects(scores, np.log(SIZES), width, depth)
    else:
        with pytest.warns(CollinearityWarning, match="log size"):
            found = partial_effects(scores, np.log(SIZES), width, depth, families=families)
    np.testing.assert_allclose(found.coefficients, theirs.params[:3], rtol=1e-7)
    np.testing.assert_allclose(found.p, theirs.pvalues[:3], rtol=1e-6)
    np.testing.assert_allclose(np.stack([found.low, found.high], axis=1), theirs.conf_int()[:3], rtol=1e-6)
    assert found.r2 == pytest.approx(theirs.rsquared, rel=1e-9)
    assert found.adjusted_r2 == pytest.approx(theirs.rsquared_adj, rel=1e-9)
    assert found.aic == pytest.approx(theirs.aic + 2, rel=1e-9)
    if families is None:
        assert found.intercept == pytest.approx(theirs.params[3], rel=1e-7)
        whole = np.hstack([design, levels])
        np.testing.assert_allclose(
            found.vif, [variance_inflation_factor(whole, i) for i in range(3)], rtol=1e-6
        )
    smaller = sm.OLS(scores, np.hstack([design[:, 1:], levels])).fit()
    assert found.unique_r2[0] == pytest.approx(theirs.rsquared - smaller.rsquared, rel=1e-6)


def test_partial_effects_of_many_targets_keep_a_nan_in_its_own(scores: np.ndarray) -> None:
    width, depth = ([getattr(model, name) for model in MODELS] for name in ("hidden", "layers"))
    many = np.column_stack([scores, scores])
    many[2, 1] = np.nan
    found = partial_effects(many, np.log(SIZES), width, depth)
    alone = partial_effects(scores, np.log(SIZES), width, depth)
    np.testing.assert_allclose(found.coefficients[:, 0], alone.coefficients, rtol=1e-10)
    assert np.isnan(found.coefficients[:, 1]).all()


def test_partial_effects_refuse_what_cannot_be_told_apart(scores: np.ndarray) -> None:
    width, depth = np.arange(28.0), np.arange(28.0) ** 2
    with pytest.raises(ValueError, match="combination of the others"):
        partial_effects(scores, width + depth, width, depth)
    with pytest.raises(ValueError, match="width is the same for all models"):
        partial_effects(scores, np.log(SIZES), np.ones(28), depth)
    with pytest.raises(ValueError, match="at least 5 are needed"):
        partial_effects(scores[:4], np.log(SIZES)[:4], width[:4], [1, 5, 2, 3])
    with pytest.raises(ValueError, match=r"depth has shape \(3,\), scores has \(28,\)"):
        partial_effects(scores, np.log(SIZES), width, depth[:3])


# --- errors


@pytest.mark.parametrize(
    ("x", "scores", "kwargs", "message"),
    [
        ([1, 2, 3], [1, 2], {}, r"x has shape \(3,\) and scores has shape \(2,\)"),
        ([1, 0, 3], [1, 2, 3], {}, r"x\[1\] = 0.0: parameters must be finite and above 0"),
        ([1, 2], [1, 2], {}, "2 model"),
        ([5, 5, 5], [1, 2, 3], {}, "1 different value"),
        ([1, 2, 3], [1, 2, 3], {"families": ["a"]}, "families has 1 entries for 3 models"),
        ([1, 2, 3], [1, 2, 3], {"names": ["a"]}, "names has 1 entries for 3 models"),
        ([1, 2, 3], [1, 2, 3], {"level": 95}, "level=95"),
    ],
)
def test_errors_name_the_argument(x: list[float], scores: list[float], kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_scaling(x, scores, **kwargs)


def test_other_errors(scores: np.ndarray) -> None:
    fit = fit_scaling(SIZES, scores)
    with pytest.raises(TypeError, match="dtype"):
        fit_scaling([1, 2, 3], ["a", "b", "c"])
    with pytest.raises(ValueError, match="baseline='first'"):
        fit.gain("first")
    with pytest.raises(ValueError, match="baseline=-1"):
        fit.gain(-1)
    with pytest.raises(ValueError, match="kind='line'"):
        fit.band([1e9], kind="line")
    with pytest.raises(ValueError, match="no families"):
        wild_interval(fit)
    with pytest.raises(ValueError, match="what='voxels'"):
        leave_one_out(fit, what="voxels")
    with pytest.raises(ValueError, match="give families"):
        leave_one_out(fit, what="families")
    with pytest.raises(ValueError, match="single series"):
        wild_interval(fit_scaling(SIZES, np.column_stack([scores, scores]), families=FAMILIES))
    with pytest.raises(ValueError, match=r"scores has shape \(28,\)"):
        subject_scaling(SIZES, scores)

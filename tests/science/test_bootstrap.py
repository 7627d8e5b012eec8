"""The block bootstrap against rows resampled by hand, SciPy, and known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from voxridge.science import _terms
from voxridge.science._drawn_blocks import drawn_counts, drawn_rows, resampled_scores
from voxridge.science.bootstrap import block_bootstrap, resample_rows
from voxridge.science.scores import correlation_score, r2_score


@pytest.mark.parametrize("statistic", ["r", "mean r", "R2"])
def test_scores_of_resamples_are_those_of_the_rows(statistic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxridge.science._drawn_blocks._PIECE", 7)
    rng = np.random.default_rng(0)
    lengths = [15, 20]
    y, p = rng.standard_normal((2, 35, 4)) * 1e3 + 1e4
    p += 0.5 * (y - p)
    counts = drawn_counts(lengths, 4, 6, rng, "circular")
    found = resampled_scores(y, p, lengths, counts, statistic)
    for count, scores in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(35), count)
        if statistic == "mean r":
            runs = [rows[rows < 15], rows[rows >= 15]]
            expected = np.mean([correlation_score(y[run], p[run]) for run in runs], axis=0)
        else:
            expected = (correlation_score if statistic == "r" else r2_score)(y[rows], p[rows])
        np.testing.assert_allclose(scores, expected, rtol=1e-9)


@pytest.mark.parametrize("scheme", ["circular", "moving", "stationary"])
def test_blocks_stay_in_their_run(scheme: Any) -> None:
    rng = np.random.default_rng(1)
    runs = [40, 25]
    seen = np.zeros(65)
    for _ in range(300):
        rows = resample_rows(runs, block=6, rng=rng, scheme=scheme)
        assert rows.shape == (65,)
        assert np.all(rows[:40] < 40)
        assert np.all(rows[40:] >= 40)
        seen += np.bincount(rows, minlength=65)
        steps = np.diff(rows[:40])
        joined = (steps == 1) | (steps == -39)
        if scheme != "stationary":
            assert all(joined[i] for i in range(39) if (i + 1) % 6)
        if scheme == "moving":
            starts = rows[:40][::6]
            assert starts.max() <= 34
    if scheme != "moving":  # whose first and last rows are in fewer blocks
        assert abs(seen / 300 - 1).max() < 0.5
    assert seen.sum() == 300 * 65


def test_mean_length_of_stationary_blocks() -> None:
    rows = drawn_rows(200_000, 8, np.random.default_rng(2), "stationary")
    breaks = np.sum((np.diff(rows) != 1) & (np.diff(rows) != -199_999))
    assert 200_000 / breaks == pytest.approx(8, rel=0.03)


@pytest.mark.parametrize("kind", ["percentile", "basic", "bca"])
def test_equals_scipy_for_independent_rows(kind: Any) -> None:
    rng = np.random.default_rng(3)
    y = rng.standard_normal(60)
    p = y + rng.standard_normal(60)
    ours = block_bootstrap(y, p, block=1, kind=kind, n_bootstraps=9999)
    theirs = stats.bootstrap(
        (y, p),
        lambda a, b: float(np.corrcoef(a, b)[0, 1]),
        paired=True,
        vectorized=False,
        n_resamples=2500,
        method={"bca": "BCa"}.get(kind, kind),
        rng=np.random.default_rng(4),
    )
    # Both are Monte Carlo; the standard error is 0.07.
    widen = ours.targets.standard_error[0] / theirs.standard_error
    assert ours.targets.low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.015)
    assert ours.targets.high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.015)
    assert widen == pytest.approx(1, abs=0.05)
    region = ours.regions["all targets"]
    assert region.low == pytest.approx(ours.targets.low[0])
    assert region.high == pytest.approx(ours.targets.high[0])


@pytest.mark.parametrize("coefficient", [0.0, 0.6])
def test_intervals_hold_the_truth(ar1: Any, coefficient: float) -> None:
    rng = np.random.default_rng(5)
    lengths, n = [200] * 4, 400
    p, noise = ar1(rng, coefficient, lengths, n), ar1(rng, coefficient, lengths, n)
    y = 0.4 * p + np.sqrt(1 - 0.16) * noise
    held = block_bootstrap(y, p, lengths, n_bootstraps=400).targets
    assert abs(np.mean((held.low <= 0.4) & (held.high >= 0.4)) - 0.95) < 0.045
    assert held.estimate.std() == pytest.approx(held.standard_error.mean(), rel=0.15)
    if coefficient:  # single rows, without the widening, would say half of that
        rows = [resample_rows([800], block=1, rng=rng) for _ in range(200)]
        naive = np.std([correlation_score(y[take], p[take]) for take in rows], axis=0)
        assert naive.mean() < 0.8 * held.estimate.std()


def test_targets_are_never_samples() -> None:
    """The mean over a target repeated 50 times is no surer than the target."""
    rng = np.random.default_rng(6)
    y = rng.standard_normal((200, 1))
    p = y + rng.standard_normal((200, 1))
    found = block_bootstrap(np.repeat(y, 50, axis=1), np.repeat(p, 50, axis=1), n_bootstraps=200)
    region = found.regions["all targets"]
    for name in ("estimate", "low", "high", "standard_error"):
        np.testing.assert_allclose(getattr(region, name), getattr(found.targets, name)[0], rtol=1e-10)


def test_regions_and_undefined_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    y = rng.standard_normal((120, 9))
    p = y + rng.standard_normal((120, 9))
    y[:, 4] = 1.0
    p[2, 7] = np.inf
    mask = np.arange(9) < 3
    regions = {"mask": mask, "numbers": [0, 1, 2], "with holes": [3, 4, 5], "only holes": [4, 7]}
    options: dict[str, Any] = {"regions": regions, "n_bootstraps": 150, "block": 5}
    found = block_bootstrap(y, p, [60, 60], **options)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.targets.low)), [4, 7])
    assert found.regions["mask"] == found.regions["numbers"]
    assert found.regions["with holes"].estimate == pytest.approx(found.targets.estimate[[3, 5]].mean())
    assert np.isnan(found.regions["only holes"].low)
    assert found.samples["mask"].shape == (150,)
    for name in ("mask", "with holes", "all targets"):
        region = found.regions[name]
        assert region.low < region.estimate < region.high
        assert region.standard_error == pytest.approx(found.samples[name].std(ddof=1))
    monkeypatch.setattr(_terms, "_ELEMENTS", 1500)  # two targets at a time
    again = block_bootstrap(y, p, [60, 60], **options)
    np.testing.assert_allclose(again.targets.high, found.targets.high)
    np.testing.assert_allclose(again.samples["all targets"], found.samples["all targets"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "jackknife"}, "scheme='jackknife'"),
        ({"kind": "t"}, "kind='t'"),
        ({"level": 95}, "level=95"),
        ({"n_bootstraps": 10}, "n_bootstraps=10"),
        ({"block": 40}, r"block=40 with runs=\[60\]: give 1 to 10 rows"),
        ({"regions": {"V1": [0, 2]}}, r"regions\['V1'\] has shape \(2,\) and dtype int64: give a mask"),
        ({"regions": {"V1": [0.5]}}, r"regions\['V1'\].*float64"),
        ({"statistic": "rho"}, "statistic='rho'"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    y = np.random.default_rng(8).standard_normal((60, 2))
    with pytest.raises(ValueError, match=message):
        block_bootstrap(y, y[::-1], **options)


def test_refused_rows() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(ValueError, match="block=0"):
        resample_rows([10], block=0, rng=rng)
    with pytest.raises(ValueError, match="scheme='x'"):
        resample_rows([10], block=2, rng=rng, scheme="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"runs=\[0, 10\]"):
        resample_rows([0, 10], block=2, rng=rng)


def test_no_region_takes_the_name_of_all() -> None:
    y, guess = np.random.default_rng(0).standard_normal((2, 60, 3))
    with pytest.raises(ValueError, match="a region is named 'all targets'"):
        block_bootstrap(y, guess, regions={"all targets": [1]})

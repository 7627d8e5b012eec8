"""The permutation test against enumeration and SciPy, and its level on noise with a memory."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from voxridge import EncodingRidge
from voxridge._warnings import AutocorrelationWarning
from voxridge.science import _terms
from voxridge.science._moves import BlockMoves
from voxridge.science.permutation import permutation_test
from voxridge.science.scores import correlation_score, r2_score

Array = NDArray[Any]
SCORES = {
    "r": lambda y, p, runs: correlation_score(y, p),
    "R2": lambda y, p, runs: r2_score(y, p),
    "mean r": lambda y, p, runs: np.mean([correlation_score(y[run], p[run]) for run in runs], axis=0),
}


def slices(lengths: list[int]) -> list[slice]:
    ends = np.cumsum(lengths)
    return [slice(int(end) - length, int(end)) for end, length in zip(ends, lengths, strict=True)]


def by_hand(y: Array, p: Array, lengths: list[int], rows_of_moves: list[Array], statistic: str) -> Array:
    """The statistic for every list of rows that predictions are taken from."""
    return np.array([SCORES[statistic](y, p[rows], slices(lengths)) for rows in rows_of_moves])


def block_rows(lengths: list[int], block: int) -> list[Array]:
    per_run = []
    for run in slices(lengths):
        length = run.stop - run.start
        count = length // block
        size = length // count
        pieces = [np.arange(run.start + i * size, run.start + (i + 1) * size) for i in range(count)]
        rest = np.arange(run.start + count * size, run.stop)
        per_run.append(
            [
                np.concatenate([*(pieces[i] for i in order), rest])
                for order in itertools.permutations(range(count))
            ]
        )
    return [np.concatenate(rows) for rows in itertools.product(*per_run)]


def shift_rows(lengths: list[int]) -> list[Array]:
    per_run = [
        [np.roll(np.arange(run.start, run.stop), -shift) for shift in range(run.stop - run.start)]
        for run in slices(lengths)
    ]
    return [np.concatenate(rows) for rows in itertools.product(*per_run)]


@pytest.mark.parametrize("statistic", ["r", "mean r", "R2"])
@pytest.mark.parametrize("scheme", ["blocks", "shift"])
@pytest.mark.filterwarnings("ignore::voxridge._warnings.AutocorrelationWarning")
def test_every_permutation_by_hand(statistic: Any, scheme: Any) -> None:
    rng = np.random.default_rng(0)
    lengths = [9, 11] if scheme == "blocks" else [5, 7]
    y, p = rng.standard_normal((2, sum(lengths), 6)) + 2
    y += 0.5 * p
    moves = block_rows(lengths, 3) if scheme == "blocks" else shift_rows(lengths)
    null = by_hand(y, p, lengths, moves, statistic)
    test = permutation_test(
        y,
        p,
        lengths,
        cross_validated=False,
        scheme=scheme,
        block=3 if scheme == "blocks" else None,
        statistic=statistic,
        levels=(0.5, 0.95),
    )
    assert test.exact
    assert test.n_permutations == len(moves) - 1 == (35 if scheme == "blocks" else 34)
    np.testing.assert_allclose(test.observed, null[0], rtol=1e-12)
    np.testing.assert_allclose(test.p_values, np.mean(null >= null[0] - 1e-12, axis=0))
    np.testing.assert_allclose(np.sort(test.null_max), np.sort(null[1:].max(axis=1)))
    np.testing.assert_allclose(test.null_mean, null[1:].mean(axis=0))
    np.testing.assert_allclose(test.null_sd, null[1:].std(axis=0))
    np.testing.assert_allclose(test.quantiles, np.quantile(null[1:], [0.5, 0.95], axis=0))
    family = [(1 + np.sum(null[1:].max(axis=1) >= s - 1e-12)) / len(moves) for s in null[0]]
    np.testing.assert_allclose(test.p_family, family)


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AutocorrelationWarning")
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_single_rows_equal_scipy(alternative: Any) -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal(6)
    p = y + rng.standard_normal(6)

    def r(x: Array) -> float:
        value = float(np.corrcoef(x, p)[0, 1])
        return abs(value) if alternative == "two-sided" else value

    theirs = stats.permutation_test(
        (y,), r, permutation_type="pairings", n_resamples=np.inf, alternative="greater"
    )
    ours = permutation_test(y, p, cross_validated=False, block=1, alternative=alternative)
    assert ours.exact
    np.testing.assert_allclose(ours.p_values, [theirs.pvalue])


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AutocorrelationWarning")
def test_drawn_permutations_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(2)
    y, p = rng.standard_normal((2, 21, 30))
    y += 0.2 * p
    full = permutation_test(y, p, cross_validated=False, block=3, n_permutations=math.factorial(7))
    drawn = permutation_test(y, p, cross_validated=False, block=3, n_permutations=2000, seed=5)
    assert full.exact
    assert not drawn.exact
    spread = np.sqrt(full.p_values * (1 - full.p_values) / 2000)
    assert np.all(np.abs(full.p_values - drawn.p_values) < 4.5 * spread + 1e-3)
    again = permutation_test(y, p, cross_validated=False, block=3, n_permutations=2000, seed=5)
    np.testing.assert_array_equal(drawn.p_values, again.p_values)


@pytest.mark.parametrize("scheme", ["blocks", "shift"])
@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_p_is_uniform_on_noise_with_a_memory(ar1: Any, scheme: Any, coefficient: float) -> None:
    lengths, n = [150] * 5, 1000
    rng = np.random.default_rng(3)
    y, p = ar1(rng, coefficient, lengths, n), ar1(rng, coefficient, lengths, n)
    found = permutation_test(y, p, lengths, cross_validated=False, scheme=scheme, n_permutations=499)
    for level in (0.01, 0.05, 0.2):
        share = np.mean(found.p_values <= level)
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / n)
    assert stats.kstest(found.p_values, "uniform").pvalue > 0.01


@pytest.mark.parametrize("coefficient", [0.5, 0.9])
def test_single_rows_would_be_wrong_and_say_so(ar1: Any, coefficient: float) -> None:
    lengths = [150] * 5
    rng = np.random.default_rng(4)
    y, p = ar1(rng, coefficient, lengths, 400), ar1(rng, coefficient, lengths, 400)
    with pytest.warns(AutocorrelationWarning, match="blocks of 1 rows keep"):
        naive = permutation_test(y, p, lengths, cross_validated=False, block=1, n_permutations=199)
    assert np.mean(naive.p_values <= 0.05) > (0.08 if coefficient == 0.5 else 0.25)


def test_real_effects_are_found(ar1: Any) -> None:
    lengths = [150] * 5
    rng = np.random.default_rng(5)
    y, p = ar1(rng, 0.6, lengths, 200), ar1(rng, 0.6, lengths, 200)
    y[:, :50] += 0.35 * p[:, :50]
    test = permutation_test(y, p, lengths, cross_validated=False)
    assert np.mean(test.p_values[:50] <= 0.05) > 0.95
    assert np.mean(test.p_family[:50] <= 0.05) > 0.7
    assert np.all(test.p_family >= test.p_values)
    assert test.p_values.min() == test.smallest_p == 1 / 1001


def predicted(x: Array, y: Array, train: list[int], test: int, length: int) -> Array:
    def rows(run: int) -> Array:
        return np.arange(run * length, (run + 1) * length)

    model = EncodingRidge(alphas=np.logspace(1, 5, 5), delays=(0, 1), progress=False)
    chosen = np.concatenate([rows(run) for run in train])
    model.fit(x[chosen], y[chosen], runs=[length] * len(train))
    return np.asarray(model.predict(x[rows(test)], runs=[length]))


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")  # noise wants all the penalty
@pytest.mark.parametrize("statistic", ["r", "mean r"])
def test_whole_pipeline_keeps_its_level(ar1: Any, statistic: Any) -> None:
    length, n_runs, n_studies, n_targets = 60, 4, 20, 20
    runs = range(n_runs)
    below: dict[str, list[float]] = {"own": [], "widened": [], "not widened": []}
    for study in range(n_studies):
        rng = np.random.default_rng([6, study])
        x, y = ar1(rng, 0.5, [length] * n_runs, 5), ar1(rng, 0.5, [length] * n_runs, n_targets)
        folds = [predicted(x, y, [k for k in runs if k != run], run, length) for run in runs]
        apart = [predicted(x, y, [0, 1], run, length) for run in (2, 3)]
        half = y[2 * length :]
        options: dict[str, Any] = {"statistic": statistic, "n_permutations": 199}
        tests = {
            "own": permutation_test(
                half, np.concatenate(apart), [length] * 2, cross_validated=False, **options
            ),
            "widened": permutation_test(
                y, np.concatenate(folds), [length] * 4, cross_validated=True, **options
            ),
            "not widened": permutation_test(
                y, np.concatenate(folds), [length] * 4, cross_validated=False, **options
            ),
        }
        for name, test in tests.items():
            below[name].append(float(np.mean(test.p_values <= 0.05)))
    mean = {name: np.mean(shares) for name, shares in below.items()}
    error = {name: np.std(shares, ddof=1) / np.sqrt(n_studies) for name, shares in below.items()}
    assert abs(mean["own"] - 0.05) < 4 * error["own"]
    assert mean["widened"] < 0.05 + 3 * error["widened"]
    # What the widening is for: folds that trained on each other.
    assert mean["not widened"] > 0.08


def test_widening_is_about_the_mean_of_the_null() -> None:
    rng = np.random.default_rng(7)
    y, p = rng.standard_normal((2, 60, 40)) + rng.standard_normal((2, 3, 1)).repeat(20, axis=1)
    narrow, wide = (
        permutation_test(y, p, [20] * 3, cross_validated=crossed, block=4) for crossed in (False, True)
    )
    np.testing.assert_allclose(wide.null_sd, np.sqrt(2) * narrow.null_sd)
    np.testing.assert_allclose(wide.null_mean, narrow.null_mean, atol=6 * narrow.null_sd.max() / 30)
    np.testing.assert_array_equal(wide.observed, narrow.observed)


def test_undefined_targets_stay_undefined_and_touch_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    y, p = rng.standard_normal((2, 90, 7))
    clean = permutation_test(y, p, [30] * 3, cross_validated=False, block=5)
    y[:, 2] = 4.2
    p[3, 4] = np.nan
    p[:, 6] = 0
    good = [0, 1, 3, 5]
    monkeypatch.setattr(_terms, "_ELEMENTS", 3000)  # blocks of three targets
    given = y.copy(), p.copy()
    test = permutation_test(y, p, [30] * 3, cross_validated=False, block=5)
    for values in (test.observed, test.p_values, test.p_family, test.quantiles[0]):
        assert np.isnan(values[[2, 4, 6]]).all()
        assert np.isfinite(values[good]).all()
    np.testing.assert_allclose(test.p_values[good], clean.p_values[good])
    assert np.isfinite(test.null_max).all()
    np.testing.assert_array_equal(given[0], y)
    np.testing.assert_array_equal(given[1], p)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    factor=st.floats(1e-6, 1e6),
    shift=st.floats(-100, 100),
    statistic=st.sampled_from(["r", "mean r"]),
)
def test_units_do_not_matter(seed: int, factor: float, shift: float, statistic: Any) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.standard_normal((2, 40, 3))
    options: dict[str, Any] = {"cross_validated": False, "block": 4, "statistic": statistic}
    options |= {"n_permutations": 50, "scheme": "blocks"}
    plain = permutation_test(y, p, [20, 20], **options)
    scaled = permutation_test(shift + factor * y, p / factor - shift, [20, 20], **options)
    # Rounding after so large a shift may turn a near tie.
    np.testing.assert_allclose(plain.observed, scaled.observed, atol=1e-6)
    assert np.all(np.abs(plain.p_values - scaled.p_values) <= 2 / 51)


@pytest.mark.parametrize("scheme", ["blocks", "shift"])
def test_nothing_defined(scheme: Any) -> None:
    y = np.random.default_rng(12).standard_normal((60, 2))
    test = permutation_test(y, np.zeros_like(y), cross_validated=False, scheme=scheme)
    assert np.isnan(test.p_values).all()
    assert np.isnan(test.p_family).all()


def test_float32_and_single_target() -> None:
    rng = np.random.default_rng(9)
    y = rng.standard_normal(80).astype(np.float32)
    test = permutation_test(y, y + 1, [40, 40], cross_validated=False)
    np.testing.assert_allclose(test.observed, [1])
    assert test.p_values[0] == test.smallest_p
    assert test.p_values.dtype == np.float64


def test_default_blocks_are_long_enough_but_leave_permutations(ar1: Any) -> None:
    rng = np.random.default_rng(10)
    y, p = ar1(rng, 0.5, [300], 300), ar1(rng, 0.5, [300], 300)
    assert 8 <= permutation_test(y, p, cross_validated=False).block <= 13  # 11 in theory
    assert permutation_test(y, p, cross_validated=False, longest_delay=20).block == 20
    slow = ar1(rng, 0.97, [120], 300), ar1(rng, 0.97, [120], 300)
    with pytest.warns(AutocorrelationWarning):
        short = permutation_test(*slow, cross_validated=False)
    assert BlockMoves((120,), short.block).distinct >= 1000 > BlockMoves((120,), short.block + 4).distinct
    assert not short.exact


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 20}, "only 6 distinct permutations of runs=.60. in blocks of 20 rows or more: no p-value"),
        ({"block": 61}, "block=61 with runs=.60.: give 1 to 60 rows"),
        ({"block": 5, "scheme": "shift"}, 'block=5 with scheme="shift"'),
        ({"scheme": "shuffle"}, 'scheme=.shuffle.: give "blocks" or "shift"'),
        ({"statistic": "rho"}, "statistic=.rho."),
        ({"alternative": "less"}, "alternative=.less."),
        ({"alternative": "two-sided", "statistic": "R2"}, "R2 has none"),
        ({"n_permutations": 10}, "n_permutations=10: no p-value could be below 0.05"),
        ({"levels": (95,)}, "levels=.95."),
        ({"runs": [30, 20]}, "runs=.30, 20. has 50 rows in all and y_true has 60"),
        ({"runs": [58, 2], "statistic": "mean r"}, "needs 3 rows in every run, and one has 2"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    y = np.random.default_rng(11).standard_normal((60, 2))
    with pytest.raises(ValueError, match=message):
        permutation_test(y, y[::-1], **{"cross_validated": False, **options})


def test_refused_arrays() -> None:
    y = np.random.default_rng(12).standard_normal((60, 2))
    with pytest.raises(ValueError, match=r"shape \(60, 2\) and y_pred has shape \(60, 1\)"):
        permutation_test(y, y[:, :1], cross_validated=False)
    with pytest.raises(TypeError, match="complex128"):
        permutation_test(y, y * 1j, cross_validated=False)
    with pytest.raises(TypeError, match="cross_validated"):
        permutation_test(y, y)  # type: ignore[call-arg]


def test_an_infinite_response_has_no_p_value_and_warns_of_nothing() -> None:
    y, guess = np.random.default_rng(0).standard_normal((2, 120, 2))
    y[3, 0] = np.inf
    test = permutation_test(y, guess, [40, 40, 40], cross_validated=False, n_permutations=99)
    assert np.isnan(test.p_values[0])
    assert 0 < test.p_values[1] <= 1

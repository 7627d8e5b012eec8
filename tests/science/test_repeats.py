"""Signal power and ceilings from repeats: against textbook loops, and simulations whose ceiling is known."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import NoSignalWarning
from voxridge.science.conditions import Conditions, Scores
from voxridge.science.repeat_ceilings import repeat_ceiling, spearman_brown
from voxridge.science.repeats import normalised_correlation, signal_power
from voxridge.science.scores import correlation_score, spe_score

Array = np.ndarray[Any, Any]


def made(n_repeats: int, **more: Any) -> Conditions:
    return Conditions("held-out runs", ("story",), repeats=n_repeats, **more)


def simulate(
    n_repeats: int, n_rows: int, n_targets: int, noise: float, memory: float = 0.0, seed: int = 0
) -> tuple[Array, Array]:
    """A signal of variance 1 and repeats of it in noise, both first-order autoregressive."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        white = rng.standard_normal(shape)
        return np.asarray(lfilter([np.sqrt(1 - memory**2)], [1, -memory], white, axis=-2))

    signal = draw(n_rows, n_targets)
    return signal, signal + np.sqrt(noise) * draw(n_repeats, n_rows, n_targets)


def textbook(repeats: Array, prediction: Array, unit: bool) -> dict[str, float]:
    """One target, (n_repeats, n_rows): the published formulas, step by step."""
    n = len(repeats)
    y = repeats.mean(axis=0)
    tp = 1.0 if unit else float(np.mean([np.var(repeat, ddof=1) for repeat in repeats]))
    sp = (n * np.var(y, ddof=1) - tp) / (n - 1)
    ccmax = 1 / np.sqrt(1 + (1 / n) * (tp / sp - 1))
    return {
        "tp": tp,
        "sp": sp,
        "spe": (np.var(y, ddof=1) - np.var(y - prediction, ddof=1)) / sp,
        "ccmax": ccmax,
        "ccnorm": np.corrcoef(y, prediction)[0, 1] / ccmax,
    }


@pytest.mark.parametrize("total_power", ["variance", "unit"])
def test_the_published_formulas(total_power: Any) -> None:
    signal, repeats = simulate(5, 90, 6, noise=2.0)
    repeats = (repeats - repeats.mean(axis=1, keepdims=True)) / repeats.std(axis=1, keepdims=True)
    expected = [textbook(repeats[:, :, v], signal[:, v], total_power == "unit") for v in range(6)]
    power = signal_power(repeats, total_power=total_power)
    ceiling = repeat_ceiling(repeats, made(5), total_power=total_power, interval=None)
    found = {
        "tp": power.total,
        "sp": power.signal,
        "spe": spe_score(repeats, signal, total_power=total_power),
        "ccmax": ceiling.values,
        "ccnorm": normalised_correlation(repeats, signal, total_power=total_power),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, [each[name] for each in expected], rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(ceiling.values**2, power.reliability, rtol=1e-10)
    np.testing.assert_allclose(power.noise, power.total - power.signal)


def test_signal_power_is_the_mean_covariance_of_two_repeats() -> None:
    _, repeats = simulate(4, 60, 3, noise=1.0)
    expected = [
        np.mean([np.cov(repeats[i, :, v], repeats[j, :, v])[0, 1] for i, j in combinations(range(4), 2)])
        for v in range(3)
    ]
    np.testing.assert_allclose(signal_power(repeats).signal, expected, rtol=1e-10)


def test_explainable_variance_of_the_voxelwise_tutorials() -> None:
    """Their bias-corrected formula, for z-scored repeats: ev - (1 - ev) / (n - 1), ev = 1 - var(residual)."""
    _, repeats = simulate(6, 80, 5, noise=3.0)
    z = (repeats - repeats.mean(axis=1, keepdims=True)) / repeats.std(axis=1, keepdims=True)
    ev = 1 - np.var(z - z.mean(axis=0), axis=1).mean(axis=0)
    np.testing.assert_allclose(signal_power(z).explainable, ev - (1 - ev) / 5, rtol=1e-10)


def test_split_half_against_a_loop_over_all_halves() -> None:
    _, repeats = simulate(4, 70, 3, noise=1.5)
    halves = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    expected = []
    for v in range(3):
        r = np.mean(
            [
                np.corrcoef(repeats[list(a), :, v].mean(0), repeats[list(b), :, v].mean(0))[0, 1]
                for a, b in halves
            ]
        )
        expected.append(np.sqrt(2 * r / (1 + r)))
    found = repeat_ceiling(repeats, made(4), method="split-half", interval=None)
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)


def test_an_odd_repeat_is_left_out_of_the_halves() -> None:
    _, repeats = simulate(3, 70, 2, noise=1.0)
    r = np.mean([correlation_score(repeats[i], repeats[j]) for i, j in combinations(range(3), 2)], axis=0)
    found = repeat_ceiling(repeats, made(3), method="split-half", interval=None)
    np.testing.assert_allclose(found.values, np.sqrt(3 * r / (1 + 2 * r)), rtol=1e-10)


@pytest.mark.parametrize("method", ["signal power", "split-half"])
def test_the_jackknife_against_a_loop(method: Any) -> None:
    from scipy.stats import t as student

    _, repeats = simulate(4, 60, 2, noise=1.0)
    found = repeat_ceiling(repeats, made(4), method=method, interval="blocks", block=15)

    def reliability(rows: Array) -> Array:
        alone = repeat_ceiling(repeats[:, rows], made(4), method=method, interval=None)
        return alone.values**2

    whole = np.log(1 - reliability(np.arange(60)))
    logs = np.array(
        [np.log(1 - reliability(np.delete(np.arange(60), np.arange(b, b + 15)))) for b in (0, 15, 30, 45)]
    )
    half = student.ppf(0.975, 3) * np.sqrt(3 / 4 * ((logs - logs.mean(0)) ** 2).sum(0))
    assert found.low is not None
    assert found.high is not None
    np.testing.assert_allclose(found.low, np.sqrt(np.maximum(1 - np.exp(whole + half), 0)), rtol=1e-8)
    np.testing.assert_allclose(found.high, np.sqrt(1 - np.exp(whole - half)), rtol=1e-8)
    assert (found.level, found.details["interval"]) == (0.95, "jackknife over 4 blocks of time")


@pytest.mark.parametrize("method", ["signal power", "split-half"])
@pytest.mark.parametrize(("n_repeats", "noise", "memory"), [(10, 4.0, 0.6), (3, 1.0, 0.0)])
def test_the_known_ceiling_is_in_the_interval(
    method: Any, n_repeats: int, noise: float, memory: float
) -> None:
    """CCmax = sqrt(S / (S + N / R)); 95 % of the intervals hold it, and the estimates are not biased."""
    _, repeats = simulate(n_repeats, 250, 400, noise, memory)
    truth = np.sqrt(1 / (1 + noise / n_repeats))
    found = repeat_ceiling(repeats, made(n_repeats), method=method)
    assert found.low is not None
    assert found.high is not None
    covered = (found.low < truth) & (truth < found.high)
    assert 0.91 < covered.mean() < 0.99
    assert found.values.mean() == pytest.approx(truth, abs=0.01)


def test_leaving_out_repeats_gives_an_interval_too() -> None:
    signal, repeats = simulate(8, 200, 300, noise=4.0)
    found = repeat_ceiling(repeats, made(8), interval="repeats")
    # Of this very stretch of signal, not of the stimuli that it stands for.
    own = signal.var(axis=0, ddof=1)
    truth = np.sqrt(own / (own + 4.0 / 8))
    assert found.low is not None
    assert found.high is not None
    assert 0.90 < ((found.low < truth) & (truth < found.high)).mean() < 0.995


def test_a_perfect_model_reaches_the_ceiling() -> None:
    signal, repeats = simulate(5, 2000, 20, noise=4.0)
    scores = Scores(correlation_score(repeats.mean(axis=0), signal), "r", made(5, n_samples=2000))
    normalised = repeat_ceiling(repeats, made(5)).normalise(scores)
    assert normalised.values.mean() == pytest.approx(1.0, abs=0.01)
    assert normalised.n_above > 0  # half of the estimates are above 1, and are kept there
    np.testing.assert_allclose(normalised.values, normalised_correlation(repeats, signal), rtol=1e-10)
    assert spe_score(repeats, signal).mean() == pytest.approx(1.0, abs=0.02)


def test_no_signal_is_nan_and_counted_and_poisons_no_one() -> None:
    _, repeats = simulate(4, 60, 5, noise=1.0)
    alone = repeat_ceiling(repeats, made(4))
    repeats[1::2, :, 1] = -repeats[0::2, :, 1]
    repeats[2, 7, 2] = np.nan
    repeats[0, :, 3] = 0.1
    for method in ("signal power", "split-half"):
        with pytest.warns(NoSignalWarning, match="3 of 5 targets"):
            found = repeat_ceiling(repeats, made(4), method=method)  # type: ignore[arg-type]
        assert found.n_undefined == 3
        for values in (found.values, found.low, found.high):
            np.testing.assert_array_equal(np.isnan(values), [False, True, True, True, False])
    with pytest.warns(NoSignalWarning):
        found = repeat_ceiling(repeats, made(4))
    np.testing.assert_array_equal(found.values[[0, 4]], alone.values[[0, 4]])
    with pytest.warns(NoSignalWarning, match="3 of 5"):
        assert np.isnan(normalised_correlation(repeats, repeats[0])[1:4]).all()
    with pytest.warns(NoSignalWarning, match="3 of 5"):
        assert np.isnan(spe_score(repeats, repeats[0])[1:4]).all()
    assert signal_power(repeats).n_undefined == 3


def test_tiles_runs_lists_and_sources_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxridge.streams import as_source

    _, repeats = simulate(3, 80, 11, noise=1.0)
    two = Conditions("held-out runs", ("a", "b"), repeats=3)
    whole = repeat_ceiling(repeats, two, runs=[50, 30], block=10)
    monkeypatch.setattr("voxridge.science.moments.TILE_BYTES", 1)
    for given in (
        [repeats[:, :50], repeats[:, 50:]],
        [[repeat[:50], repeat[50:]] for repeat in repeats],
        [as_source([repeat[:50], repeat[50:]], name="responses") for repeat in repeats],
    ):
        again = repeat_ceiling(given, two, block=10)
        np.testing.assert_allclose(again.values, whole.values, rtol=1e-12)
        assert again.low is not None
        assert whole.low is not None
        np.testing.assert_allclose(again.low, whole.low, rtol=1e-10)


def test_the_repeats_of_a_recording_are_read_from_its_file(tmp_path: Path) -> None:
    import h5py

    from voxridge.streams import ResponseStore

    _, repeats = simulate(3, 40, 5, noise=1.0)
    repeats = repeats.astype(np.float32)
    store = ResponseStore.create(tmp_path / "responses.h5")
    store.write_run("smoke", repeats.mean(axis=0))
    with h5py.File(tmp_path / "responses.h5", "a") as file:
        for number, repeat in enumerate(repeats):
            file[f"responses/smoke/repeats/{number}"] = repeat
    found = signal_power(store.repeats("smoke"), skip=(4, 1))
    np.testing.assert_array_equal(found.signal, signal_power(repeats[:, 4:-1]).signal)


def test_rows_are_skipped_in_every_run() -> None:
    _, repeats = simulate(3, 80, 4, noise=1.0)
    kept = np.r_[5:48, 55:78]
    with_skip = signal_power(repeats, runs=[50, 30], skip=(5, 2))
    np.testing.assert_allclose(with_skip.signal, signal_power(repeats[:, kept]).signal, rtol=1e-12)
    assert with_skip.n_samples == kept.size


def test_float32_far_from_zero_keeps_its_digits() -> None:
    _, repeats = simulate(4, 100, 3, noise=1.0)
    shifted = (repeats * 10 + 1e4).astype(np.float32)
    before = shifted.copy()
    reference = signal_power(shifted.astype(np.float64) - 1e4)
    np.testing.assert_allclose(signal_power(shifted).signal, reference.signal, rtol=1e-9)
    np.testing.assert_array_equal(shifted, before)


def test_spearman_brown() -> None:
    np.testing.assert_allclose(spearman_brown([0.5, 1.0, 0.0], 2), [2 / 3, 1.0, 0.0])
    np.testing.assert_allclose(spearman_brown(spearman_brown(0.3, 5), 0.2), 0.3)
    assert np.isnan(spearman_brown(-0.9, 3))
    with pytest.raises(ValueError, match="factor=0"):
        spearman_brown(0.5, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conditions": made(3)}, "repeats=3, and 4 are given"),
        ({"conditions": made(4, n_samples=59)}, "n_samples=59, and 60 are given"),
        ({"conditions": Conditions("s", ("a", "b"), repeats=4)}, "runs names 2 and there are 1"),
        (
            {
                "conditions": Conditions("s", ("a", "b"), repeats=4, combine="mean of runs"),
                "runs": [30, 30],
            },
            "make a ceiling of each",
        ),
        ({"method": "guess"}, "method='guess'"),
        ({"interval": "targets"}, "interval='targets'"),
        ({"level": 95}, "level=95"),
        ({"block": 0}, "block=0"),
        ({"block": 40}, "block=40 makes 2 block"),
        ({"total_power": "one"}, "total_power='one'"),
        ({"skip": (30, 29)}, r"skip=\(30, 29\) leaves 1 of a run's 60 rows"),
        ({"skip": (-1, 0)}, r"skip=\(-1, 0\)"),
        ({"runs": [20, 20]}, "runs"),
        ({"repeats": np.zeros((60, 2))}, r"repeats has shape \(60, 2\)"),
        ({"repeats": np.zeros((1, 60, 2))}, "holds 1 recording"),
        ({"repeats": [np.zeros((60, 2)), np.zeros((60, 3))]}, r"shape \(60, 2\).*shape \(60, 3\)"),
        ({"repeats": [np.zeros((2, 30, 2)), np.zeros((3, 30, 2))]}, r"hold \[2, 3\] recordings"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    given = {
        "repeats": np.random.default_rng(0).standard_normal((4, 60, 2)),
        "conditions": made(4),
    } | arguments
    with pytest.raises(ValueError, match=message):
        repeat_ceiling(given.pop("repeats"), given.pop("conditions"), **given)


def test_unit_power_is_refused_for_raw_responses() -> None:
    with pytest.raises(ValueError, match="z-scored, but their variance is"):
        signal_power(100 * np.random.default_rng(0).standard_normal((3, 50, 4)), total_power="unit")


def test_two_repeats_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="2 repeats cannot be left out"):
        repeat_ceiling(np.random.default_rng(0).standard_normal((2, 50, 1)), made(2), interval="repeats")


def test_predictions_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(3, 50, 4\).*\(50, 3\)"):
        spe_score(np.zeros((3, 50, 4)), np.zeros((50, 3)))
    with pytest.raises(ValueError, match=r"\(50, 3\).*\(50, 4\)"):
        normalised_correlation(np.ones((3, 50, 4)), np.zeros((50, 3)))


def test_an_infinite_response_warns_of_no_signal_and_of_nothing_else() -> None:
    repeats = np.random.default_rng(0).standard_normal((3, 60, 2)) + np.linspace(-3, 3, 60)[:, None]
    repeats[1, 5, 0] = np.inf
    power = signal_power(repeats)
    assert np.isnan(power.signal[0])
    assert power.signal[1] > 0
    with pytest.warns(NoSignalWarning, match="1 of 2 targets"):
        assert np.isnan(normalised_correlation(repeats, repeats[0])[0])

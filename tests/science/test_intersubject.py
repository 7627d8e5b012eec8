"""Inter-subject correlation against plain loops, simulations of known truth, and fits made one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import AlphaEdgeWarning
from voxridge.science.conditions import Conditions
from voxridge.science.intersubject import leave_one_out_isc, reliable_mask, split_half_isc
from voxridge.science.intersubject_ridge import ridge_isc
from voxridge.science.repeat_ceilings import half_weights

Array = np.ndarray[Any, Any]
RUNS = [40, 25, 35]


def group(n_subjects: int = 6, n_targets: int = 5, n_rows: int = 100, seed: int = 0) -> Array:
    """Subjects in units of their own, targets that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_rows, n_targets))
    scale = rng.uniform(0.5, 20, (n_subjects, 1, n_targets))
    return scale * (shared + 1.2 * rng.standard_normal((n_subjects, n_rows, n_targets))) + 3.0


def low_rank(n_subjects: int, n_rows: int = 90) -> Array:
    """Four signals behind twelve targets, so that the others help to predict one."""
    rng = np.random.default_rng(2)
    shared = rng.standard_normal((n_rows, 4)) @ rng.standard_normal((4, 12))
    return np.asarray(shared + 3 * rng.standard_normal((n_subjects, n_rows, 12)))


def z_scored(subjects: Array, runs: list[int]) -> list[Array]:
    """One array (n_subjects, n_rows, n_targets) per run."""
    parts = np.split(subjects, np.cumsum(runs)[:-1], axis=1)
    return [(p - p.mean(axis=1, keepdims=True)) / p.std(axis=1, keepdims=True) for p in parts]


def naive_leave_one_out(subjects: Array) -> Array:
    """Each subject against the mean of the others, (n_subjects, n_targets)."""
    n_subjects, _, n_targets = subjects.shape
    return np.array(
        [
            [
                np.corrcoef(subjects[s, :, v], np.delete(subjects, s, axis=0)[:, :, v].mean(axis=0))[0, 1]
                for v in range(n_targets)
            ]
            for s in range(n_subjects)
        ]
    )


def conditions(repeats: int, n_runs: int = 1, **more: Any) -> Conditions:
    return Conditions("none", tuple(f"run {i}" for i in range(n_runs)), repeats=repeats, **more)


# --- leave-one-out


def test_leave_one_out_against_a_loop() -> None:
    subjects = group()
    raw = leave_one_out_isc(subjects, standardise=False)
    np.testing.assert_allclose(raw.by_subject, naive_leave_one_out(subjects), rtol=1e-9)
    np.testing.assert_allclose(raw.values, naive_leave_one_out(subjects).mean(axis=0), rtol=1e-9)
    runs = z_scored(subjects, RUNS)
    whole = leave_one_out_isc(subjects, RUNS)
    np.testing.assert_allclose(whole.by_subject, naive_leave_one_out(np.concatenate(runs, axis=1)), rtol=1e-9)
    apart = leave_one_out_isc(subjects, RUNS, combine="mean of runs")
    expected = np.mean([naive_leave_one_out(run) for run in runs], axis=0)
    np.testing.assert_allclose(apart.by_subject, expected, rtol=1e-9)


def test_the_jackknife_leaves_each_subject_out_altogether() -> None:
    from scipy.stats import t as student

    subjects = group()
    found = leave_one_out_isc(subjects, standardise=False)
    z = np.arctanh([naive_leave_one_out(np.delete(subjects, s, axis=0)).mean(axis=0) for s in range(6)])
    half = student.ppf(0.975, 5) * np.sqrt(5 / 6 * ((z - z.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.low, np.tanh(np.arctanh(found.values) - half), rtol=1e-8)
    np.testing.assert_allclose(found.high, np.tanh(np.arctanh(found.values) + half), rtol=1e-8)


@pytest.mark.parametrize("measure", [leave_one_out_isc, split_half_isc])
def test_the_known_correlation_is_in_the_interval(measure: Any) -> None:
    """Targets are replications of one experiment; subjects differ in how much of the signal they have."""
    rng = np.random.default_rng(1)
    own = 1 + 0.4 * rng.standard_normal((16, 1, 500))
    subjects = rng.standard_normal((200, 1)) * own + np.sqrt(2) * rng.standard_normal((16, 200, 500))
    found = measure(subjects)
    truth = found.values.mean()
    assert 0.91 < ((found.low < truth) & (truth < found.high)).mean() < 0.99


def test_means_of_simulated_groups() -> None:
    """Signal variance 1, noise N: the formulas of both, for 12 subjects."""
    rng = np.random.default_rng(0)
    subjects = rng.standard_normal((400, 300)) + np.sqrt(3) * rng.standard_normal((12, 400, 300))
    alone = leave_one_out_isc(subjects).values.mean()
    assert alone == pytest.approx(1 / np.sqrt((1 + 3) * (1 + 3 / 11)), abs=0.005)
    halves = split_half_isc(subjects)
    assert halves.values.mean() == pytest.approx(1 / (1 + 3 / 6), abs=0.005)
    for m in (1, 6, 12):
        ceiling = halves.ceiling(conditions(m)).values.mean()
        assert ceiling == pytest.approx(np.sqrt(1 / (1 + 3 / m)), abs=0.005)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_units_and_order_of_subjects_do_not_matter(seed: int, scale: float, shift: float) -> None:
    subjects = group(n_subjects=5, n_targets=2, n_rows=30, seed=seed)
    found = leave_one_out_isc(subjects)
    moved = subjects.copy()
    moved[2] = moved[2] * scale + shift
    again = leave_one_out_isc(moved[::-1])
    np.testing.assert_allclose(again.values, found.values, atol=1e-8)
    np.testing.assert_allclose(again.low, found.low, atol=1e-7)


def test_a_lost_subject_is_left_out_of_that_target_alone() -> None:
    subjects = group()
    whole = leave_one_out_isc(subjects, RUNS)
    lost = subjects.copy()
    lost[2, 7, 1] = np.nan
    lost[4, :, 3] = 0.1
    found = leave_one_out_isc(lost, RUNS)
    np.testing.assert_array_equal(found.by_subject[:, [0, 2, 4]], whole.by_subject[:, [0, 2, 4]])
    others = leave_one_out_isc(np.delete(subjects, 2, axis=0), RUNS)
    np.testing.assert_allclose(found.by_subject[[0, 1, 3, 4, 5], 1], others.by_subject[:, 1], rtol=1e-12)
    assert np.isnan(found.by_subject[[2, 4], [1, 3]]).all()
    for name in ("values", "low", "high"):
        np.testing.assert_allclose(getattr(found, name)[1], getattr(others, name)[1], rtol=1e-10)
    halves = split_half_isc(lost, RUNS)
    assert np.isnan(halves.values).tolist() == [False, True, False, True, False]


def test_a_target_that_is_constant_in_one_run_counts_for_nothing_there() -> None:
    subjects = group()
    subjects[1, 40:65, 2] = 7.7
    found = leave_one_out_isc(subjects, RUNS)
    runs = z_scored(subjects, RUNS)
    runs[1][1, :, 2] = 0.0
    np.testing.assert_allclose(found.by_subject, naive_leave_one_out(np.concatenate(runs, axis=1)), rtol=1e-9)


def test_tiles_and_forms_of_input_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxridge.streams import as_source

    subjects = group().astype(np.float32)
    before = subjects.copy()
    whole = leave_one_out_isc(subjects, RUNS), split_half_isc(subjects, RUNS)
    monkeypatch.setattr("voxridge.science.moments.TILE_BYTES", 1)
    parts = np.split(subjects, np.cumsum(RUNS)[:-1], axis=1)
    sources = [as_source(subject, name="responses", runs=RUNS) for subject in subjects]
    for given_in in (parts, sources):
        again = leave_one_out_isc(given_in), split_half_isc(given_in)
        for first, second in zip(again, whole, strict=True):
            for name in ("values", "low", "high"):
                np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-10)
    np.testing.assert_array_equal(subjects, before)


# --- halves


def test_halves_against_a_loop() -> None:
    from scipy.stats import t as student

    subjects = group(n_subjects=7)
    found = split_half_isc(subjects, RUNS, n_splits=4, seed=3)
    z = np.concatenate(z_scored(subjects, RUNS), axis=1)
    weights = half_weights(7, 4, 3)
    assert (weights.sum(axis=2) == 3).all()
    assert not (weights[:, 0] * weights[:, 1]).any()

    def correlations(kept: list[int]) -> Array:
        out = []
        for first, second in weights:
            a, b = ([s for s in np.flatnonzero(half) if s in kept] for half in (first, second))
            out.append([np.corrcoef(z[a, :, v].mean(0), z[b, :, v].mean(0))[0, 1] for v in range(5)])
        return np.array(out)

    np.testing.assert_allclose(found.by_split, correlations(list(range(7))), rtol=1e-9)
    np.testing.assert_allclose(found.values, found.by_split.mean(axis=0), rtol=1e-12)
    without = np.arctanh([correlations([s for s in range(7) if s != k]).mean(axis=0) for k in range(7)])
    half = student.ppf(0.975, 6) * np.sqrt(6 / 7 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.low, np.tanh(np.arctanh(found.values) - half), rtol=1e-8)


def test_few_subjects_are_halved_in_every_way() -> None:
    assert half_weights(4, 10, 0).tolist() == [
        [[1, 1, 0, 0], [0, 0, 1, 1]],
        [[1, 0, 1, 0], [0, 1, 0, 1]],
        [[1, 0, 0, 1], [0, 1, 1, 0]],
    ]
    np.testing.assert_array_equal(half_weights(20, 5, 7), half_weights(20, 5, 7))
    assert (half_weights(20, 5, 7) != half_weights(20, 5, 8)).any()


# --- by ridge regression


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
@pytest.mark.parametrize("validation", ["leave-one-run-out", "first run"])
@pytest.mark.parametrize("alpha_per_target", [False, True])
def test_ridge_against_fits_one_by_one(validation: Any, alpha_per_target: bool) -> None:
    """The whole protocol again with scikit-learn's Ridge, penalty after penalty."""
    from sklearn.linear_model import Ridge

    subjects = low_rank(5)
    runs, alphas = [20, 25, 22, 23], np.logspace(0, 5, 6)
    choice = {"alphas": alphas, "validation": validation, "alpha_per_target": alpha_per_target}
    found = ridge_isc(subjects, runs, n_splits=2, seed=5, **choice)
    run_of = np.repeat(np.arange(4), runs)

    def scores(x: Array, y: Array, train: Array, test: Array, alpha: float) -> Array:
        p = Ridge(alpha=alpha, fit_intercept=False).fit(x[train], y[train]).predict(x[test])
        return np.array([np.corrcoef(p[:, v], y[test][:, v])[0, 1] for v in range(12)])

    expected = []
    for first, second in half_weights(5, 2, 5):
        one, other = (subjects[half > 0].mean(axis=0) for half in (first, second))
        for x, y in ((one, other), (other, one)):
            for k in range(4):
                left = [r for r in range(4) if r != k]
                inner = left[:1] if validation == "first run" else left
                grid = np.zeros((alphas.size, 12))
                for v in inner:
                    rest = (run_of != k) & (run_of != v)
                    grid += [scores(x, y, rest, run_of == v, alpha) / len(inner) for alpha in alphas]
                best = grid.argmax(axis=0) if alpha_per_target else np.full(12, grid.mean(axis=1).argmax())
                of_all = np.array([scores(x, y, run_of != k, run_of == k, a) for a in alphas])
                expected.append(of_all[best, np.arange(12)])
    by_split = np.array(expected).reshape(2, 8, 12).mean(axis=1)
    np.testing.assert_allclose(found.by_split, by_split, rtol=1e-7)
    np.testing.assert_allclose(found.values, by_split.mean(axis=0), rtol=1e-7)
    assert (found.n_averaged, found.combine, found.n_samples) == (2, "mean of runs", 90)


def test_a_target_without_data_is_left_out_of_the_ridge() -> None:
    subjects = low_rank(4)
    lost = np.insert(subjects, 5, np.nan, axis=2)
    settings_of = {"n_splits": 1, "alphas": np.logspace(-1, 6, 8)}
    whole = ridge_isc(subjects, [30, 30, 30], **settings_of)
    found = ridge_isc(lost, [30, 30, 30], **settings_of)
    assert np.isnan(found.values[5])
    np.testing.assert_array_equal(np.delete(found.values, 5), whole.values)
    with pytest.raises(ValueError, match="no target varies"):
        ridge_isc(np.zeros((4, 90, 3)), [30, 30, 30])


def test_edges_of_the_grid_are_reported_once() -> None:
    subjects = group(n_rows=90)
    with pytest.warns(AlphaEdgeWarning, match="6 of 6 fits chose penalties at an edge") as given_warnings:
        ridge_isc(subjects, [30, 30, 30], n_splits=1, alphas=[1e-9, 1e9])
    assert len(given_warnings) == 1


# --- ceilings of them


def test_ceilings_refuse_other_conditions() -> None:
    subjects = group()
    alone = leave_one_out_isc(subjects, RUNS, combine="mean of runs")
    made = conditions(1, 3, combine="mean of folds")
    ceiling = alone.ceiling(made)
    np.testing.assert_array_equal(ceiling.values, alone.values)
    assert ceiling.conditions.n_samples == 100
    assert ceiling.details["interval"] == "jackknife over subjects"
    for wrong, message in (
        (conditions(6, 3, combine="mean of runs"), r"mean of 1 subject\(s\), and repeats=6"),
        (conditions(1, 2, combine="mean of runs"), r"it is of 3 run\(s\), and conditions name 2"),
        (conditions(1, 3), "runs were combined as 'mean of runs'"),
        (conditions(1, 3, n_samples=90, combine="mean of runs"), "it is of 100 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            alone.ceiling(wrong)
    with pytest.raises(ValueError, match="as_published is for"):
        alone.ceiling(made, as_published=True)


def test_halves_that_do_not_correlate_have_no_ceiling() -> None:
    rng = np.random.default_rng(4)
    found = split_half_isc(rng.standard_normal((6, 30, 200)))
    ceiling = found.ceiling(conditions(6))
    negative = found.values <= 0
    assert 50 < negative.sum() < 150
    assert ceiling.n_undefined == negative.sum()
    for values in (ceiling.values, ceiling.low, ceiling.high):
        np.testing.assert_array_equal(np.isnan(values), negative)
    kept = ~negative
    assert (ceiling.low[kept] <= ceiling.values[kept]).all()
    assert (ceiling.values[kept] <= ceiling.high[kept]).all()
    assert (ceiling.low[kept] == 0).mean() > 0.8


def test_the_ridge_ceiling_is_of_a_half_unless_said_otherwise() -> None:
    found = ridge_isc(low_rank(6, 100), RUNS, n_splits=1, alphas=np.logspace(-2, 6, 9))
    half = conditions(3, 3, combine="mean of runs")
    whole = conditions(6, 3, combine="mean of runs")
    np.testing.assert_array_equal(found.ceiling(half).values, found.values)
    with pytest.raises(ValueError, match=r"mean of 3 subject\(s\), and repeats=6"):
        found.ceiling(whole)
    published = found.ceiling(whole, as_published=True)
    np.testing.assert_array_equal(published.values, found.values)
    assert "made of halves of 3, taken for the whole group's" in published.method


def test_reliable_mask() -> None:
    values = np.array([0.1, np.nan, 0.4, 0.3, 0.2])
    assert reliable_mask(values, 50).tolist() == [False, False, True, True, False]
    found = leave_one_out_isc(group(n_targets=40))
    assert reliable_mask(found).sum() == 10
    with pytest.raises(ValueError, match="percentile=101"):
        reliable_mask(values, 101)
    with pytest.raises(ValueError, match="no finite value"):
        reliable_mask([np.nan])


@pytest.mark.parametrize("measure", [leave_one_out_isc, split_half_isc])
def test_errors_name_the_argument(measure: Any) -> None:
    subjects = group()
    with pytest.raises(ValueError, match="combine='median'"):
        measure(subjects, combine="median")
    with pytest.raises(ValueError, match="level=0"):
        measure(subjects, level=0)
    with pytest.raises(ValueError, match=r"subjects\[0\] has shape \(100, 5\).*subjects\[1\]"):
        measure([subjects[0], subjects[1][:90]])
    with pytest.raises(ValueError, match="holds 1 recording"):
        measure(subjects[:1])


def test_errors_of_halves() -> None:
    subjects = group()
    with pytest.raises(ValueError, match="n_splits=0"):
        split_half_isc(subjects, n_splits=0)
    with pytest.raises(ValueError, match="n_splits=0"):
        ridge_isc(subjects, RUNS, n_splits=0)
    with pytest.raises(ValueError, match="validation='last run'"):
        ridge_isc(subjects, RUNS, validation="last run")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"have 2 run\(s\).*needs 3"):
        ridge_isc(subjects, [50, 50])


@pytest.mark.alice
def test_listeners_to_alice_share_the_auditory_and_language_regions(alice: Path) -> None:
    from voxridge.demo.alice import ROIS, load_alice

    data = load_alice(alice)
    listeners = list(data.listeners.values())
    found = leave_one_out_isc(listeners)
    assert found.n_subjects == 27
    z = np.concatenate(z_scored(np.array(listeners), [362]), axis=1)
    np.testing.assert_allclose(found.values, naive_leave_one_out(z).mean(axis=0), rtol=1e-9)
    temporal = [ROIS.index(name) for name in ("LATL", "RATL", "LPTL")]
    assert (found.low[temporal] > 0).all()
    assert (found.values < 0.6).all()

"""Nested scores against loops of scikit-learn fits, and against chance."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold

from voxridge import EncodingRidge, nested_scores
from voxridge._row_sources import pieces, rows_of
from voxridge._warnings import MaskedTargetsWarning
from voxridge.banded import BandedRidgeCV
from voxridge.streams import as_source, fingerprint
from voxridge.testing import delayed_matrix, make_responses, textbook_score, textbook_scores

pytestmark = pytest.mark.filterwarnings(
    "ignore::voxridge._warnings.AlphaEdgeWarning", "ignore::voxridge._warnings.SmallFoldWarning"
)

RUNS = [40, 34, 30, 46]
N, V = sum(RUNS), 6
DELAYS = (0, 1, 3)
ALPHAS = np.logspace(0, 4, 6)


@pytest.fixture
def data() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    sets = {"first": rng.standard_normal((N, 4)), "second": rng.standard_normal((N, 7))}
    halves = [
        make_responses(delayed_matrix(x, DELAYS, RUNS), V // 2, noise=2.0, seed=seed)
        for seed, x in enumerate(sets.values())
    ]
    return sets, np.concatenate(halves, axis=1)


def template(**options: Any) -> EncodingRidge:
    return EncodingRidge(**{"alphas": ALPHAS, "delays": DELAYS, "progress": False, **options})


# --- brute force


def cut_runs(rows: np.ndarray, longest: int) -> list[np.ndarray]:
    """Neighbouring rows of one run, as separate runs; written out row by row."""
    run_of = np.repeat(np.arange(len(RUNS)), RUNS)
    found = [[rows[0]]]
    for before, row in itertools.pairwise(rows):
        if row == before + 1 and run_of[row] == run_of[before]:
            found[-1].append(row)
        else:
            found.append([row])
    return [np.array(piece) for piece in found if len(piece) > longest]


def outer_splits(outer: Any, gap: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) with every training row further than ``gap`` from the test rows of its run."""
    run_of = np.repeat(np.arange(len(RUNS)), RUNS)
    splits = []
    for test in outer:
        near = {
            row + step
            for row in test
            for step in range(-gap, gap + 1)
            if 0 <= row + step < N and run_of[row + step] == run_of[row]
        }
        splits.append((np.array([row for row in range(N) if row not in near]), np.array(test)))
    return splits


def brute_force(
    sets: dict[str, np.ndarray], y: np.ndarray, outer: list, scoring: str
) -> dict[str, np.ndarray]:
    """Leave-one-run-out inside: choose penalty and features for each target, then refit with scikit-learn."""
    run_of = np.repeat(np.arange(len(RUNS)), RUNS)
    shape = len(outer), y.shape[1]
    found = {"scores": np.zeros(shape), "alphas": np.zeros(shape), "choice": np.zeros(shape, int)}
    found["inner"] = np.full(shape, -np.inf)
    for k, (train, test) in enumerate(outer):
        kept = cut_runs(train, max(DELAYS))
        rows = np.concatenate(kept)
        ids = run_of[rows]
        inner = [(np.flatnonzero(ids != run), np.flatnonzero(ids == run)) for run in np.unique(ids)]
        test_pieces = cut_runs(test, 0)
        for m, x in enumerate(sets.values()):
            design = delayed_matrix(x[rows], DELAYS, [piece.size for piece in kept])
            held_out = delayed_matrix(x[test], DELAYS, [piece.size for piece in test_pieces])
            scores = textbook_scores(design, y[rows], ALPHAS, inner, scoring)
            for target in range(y.shape[1]):
                best = scores[:, target].max()
                if best > found["inner"][k, target]:
                    alpha = ALPHAS[scores[:, target].argmax()]
                    peer = Ridge(alpha=alpha).fit(design, y[rows][:, [target]])
                    truth = y[test][:, [target]]
                    prediction = peer.predict(held_out).reshape(-1, 1)
                    found["scores"][k, target] = textbook_score(truth, prediction, scoring)[0]
                    found["alphas"][k, target], found["choice"][k, target] = alpha, m
                    found["inner"][k, target] = best
    return found


OUTERS = {
    "leave-one-run-out": [np.flatnonzero(np.repeat(np.arange(4), RUNS) == run) for run in range(4)],
    "blocks inside runs": [np.arange(10, 30), np.arange(60, 90), np.arange(130, N)],
}


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("case", OUTERS)
def test_equals_a_loop_of_scikit_learn_fits(case: str, scoring: str, data: tuple[dict, np.ndarray]) -> None:
    sets, y = data
    splits = outer_splits(OUTERS[case], gap=max(DELAYS))
    everything = np.arange(N)
    outer: Any = case
    if case == "blocks inside runs":
        outer = [(np.setdiff1d(everything, test), test) for test in OUTERS[case]]
    found = nested_scores(sets, y, RUNS, model=template(scoring=scoring), outer=outer)
    expected = brute_force(sets, y, splits, scoring)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-10)
    np.testing.assert_allclose(found.inner_scores, expected["inner"], atol=1e-10)
    np.testing.assert_array_equal(found.alphas, expected["alphas"])
    np.testing.assert_array_equal(found.choice, expected["choice"])
    assert len(set(found.choice.ravel().tolist())) == 2
    for fold, (train, test) in zip(found.folds, splits, strict=True):
        np.testing.assert_array_equal(fold.train, np.concatenate(cut_runs(train, max(DELAYS))))
        np.testing.assert_array_equal(fold.validation, test)
    np.testing.assert_allclose(found.mean_scores, found.scores.mean(axis=0))


def test_one_set_is_fitted_as_encoding_ridge_would(data: tuple[dict, np.ndarray]) -> None:
    x, y = data[0]["first"], data[1]
    found = nested_scores(x, y, RUNS, model=template())
    ends = np.cumsum(RUNS)
    for k, (begin, end) in enumerate(zip(ends - RUNS, ends, strict=True)):
        rows = np.r_[0:begin, end:N]
        alone = template().fit(x[rows], y[rows], [n for i, n in enumerate(RUNS) if i != k])
        np.testing.assert_array_equal(found.alphas[k], alone.alpha_)
        np.testing.assert_array_equal(found.inner_scores[k], alone.best_cv_scores_)
        np.testing.assert_allclose(found.scores[k], alone.score(x[begin:end], y[begin:end]), atol=1e-12)
    assert found.names == ("features",)
    assert not found.choice.any()


# --- honesty


def test_scores_of_noise_are_zero_on_average_and_the_best_on_the_test_data_is_not() -> None:
    rng = np.random.default_rng(1)
    sets = {f"{i}": rng.standard_normal((160, 8)) for i in range(5)}
    noise = rng.standard_normal((160, 400))
    model = EncodingRidge(alphas=np.logspace(0, 4, 5), delays=[0], progress=False)
    found = nested_scores(sets, noise, [40] * 4, model=model)
    error = found.mean_scores.std() / np.sqrt(noise.shape[1])
    assert abs(found.mean_scores.mean()) < 4 * error
    best_on_test = found.set_scores.mean(axis=1).max(axis=0)
    assert best_on_test.mean() > 20 * error
    assert found.inner_scores.mean() > 20 * error  # why it must not be reported


def test_held_out_responses_take_no_part(data: tuple[dict, np.ndarray]) -> None:
    sets, y = data
    before = nested_scores(sets, y, RUNS, model=template())
    changed = y.copy()
    changed[:40] = np.random.default_rng(2).standard_normal((40, V))
    after = nested_scores(sets, changed, RUNS, model=template())
    np.testing.assert_array_equal(after.alphas[0], before.alphas[0])
    np.testing.assert_array_equal(after.choice[0], before.choice[0])
    np.testing.assert_array_equal(after.inner_scores[0], before.inner_scores[0])
    assert (after.scores[0] != before.scores[0]).all()


def test_nothing_reaches_across_a_cut(data: tuple[dict, np.ndarray]) -> None:
    """Features of held-out and purged rows leave the fit of a cut run as it is."""
    x, y = data[0]["first"], data[1]
    test = np.arange(12, 28)
    outer = [(np.setdiff1d(np.arange(N), test), test)]
    before = nested_scores(x, y, RUNS, model=template(), outer=outer)
    changed = x.copy()
    changed[9:31] = 100.0
    after = nested_scores(changed, y, RUNS, model=template(), outer=outer)
    np.testing.assert_array_equal(after.folds[0].train, np.r_[0:9, 31:N])
    np.testing.assert_array_equal(after.alphas, before.alphas)
    np.testing.assert_array_equal(after.inner_scores, before.inner_scores)


# --- outer and inner folds


@pytest.mark.parametrize("cv", ["leave-one-run-out", 3, 2, KFold(4), GroupKFold(3), "leave-one-out", "gcv"])
@pytest.mark.parametrize("outer", [2, KFold(3), "leave-one-run-out"])
def test_every_kind_of_folds(cv: Any, outer: Any, data: tuple[dict, np.ndarray]) -> None:
    x, y = data[0]["first"], data[1]
    model = template(cv=cv, scoring="r2" if cv == "gcv" else "correlation")
    if cv in (3,) and outer == 2:  # a half has two runs
        with pytest.raises(ValueError, match="outer fold 0: cv=3 asks for more folds than there are runs"):
            nested_scores(x, y, RUNS, model=model, outer=outer)
        return
    if isinstance(cv, GroupKFold) and outer == 2:
        with pytest.raises(ValueError, match="outer fold 0: Cannot have number of splits"):
            nested_scores(x, y, RUNS, model=model, outer=outer)
        return
    found = nested_scores(x, y, RUNS, model=model, outer=outer)
    assert np.isfinite(found.scores).all()
    held_out = np.concatenate([fold.validation for fold in found.folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(N))


def test_a_single_run_in_blocks(data: tuple[dict, np.ndarray]) -> None:
    x, y = data[0]["first"], data[1]
    found = nested_scores(x, y, model=template(cv=3), outer=5)
    assert found.scores.shape == (5, V)
    for fold in found.folds:
        distance = np.abs(fold.train[:, None] - fold.validation[None]).min()
        assert distance == max(DELAYS) + 1


def test_pieces_that_are_too_short_are_left_out(data: tuple[dict, np.ndarray]) -> None:
    x, y = data[0]["first"], data[1]
    test = np.arange(6, 40)  # leaves 0 to 5 of the first run, of which the gap takes 3
    found = nested_scores(x, y, RUNS, model=template(), outer=[(np.setdiff1d(np.arange(N), test), test)])
    np.testing.assert_array_equal(found.folds[0].train, np.arange(40, N))


# --- predictions


@pytest.mark.parametrize("kind", ["array", "npy", "h5"])
def test_predictions_go_where_they_are_told(kind: str, data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    sets, y = data
    outer = [(np.setdiff1d(np.arange(N), test), test) for test in (np.arange(0, 40), np.arange(80, 104))]
    out: Any = np.empty((N, V)) if kind == "array" else tmp_path / f"p.{kind}"
    found = nested_scores(sets, y, RUNS, model=template(), outer=outer, out=out)
    assert found.predictions is out if kind == "array" else found.predictions == out
    if kind == "npy":
        out = np.load(out)
    if kind == "h5":
        with h5py.File(out) as file:
            out = file["data"][()]
    held_out = np.concatenate([fold.validation for fold in found.folds])
    assert np.isnan(np.delete(out, held_out, axis=0)).all()
    for k, fold in enumerate(found.folds):
        scores = textbook_score(y[fold.validation], out[fold.validation], "correlation")
        np.testing.assert_allclose(scores, found.scores[k], atol=1e-12)


def test_masked_targets_are_nan(data: tuple[dict, np.ndarray]) -> None:
    sets, y = data[0], data[1].copy()
    y[5, 2] = np.nan  # in the first run: every fold but that one trains on it
    y[40:, 4] = 1.0  # constant without the first run
    with pytest.warns(MaskedTargetsWarning):
        found = nested_scores(sets, y, RUNS, model=template())
    np.testing.assert_array_equal(found.choice[:, 2] == -1, [False, True, True, True])
    np.testing.assert_array_equal(np.isnan(found.alphas[:, 2]), [False, True, True, True])
    assert np.isnan(found.scores[:, 2]).all()  # and the first fold has no truth to compare with
    assert np.isnan(found.mean_scores[2])
    assert found.choice[0, 4] == -1
    clean = nested_scores(sets, data[1], RUNS, model=template())
    others = [0, 1, 3, 5]
    np.testing.assert_array_equal(found.scores[:, others], clean.scores[:, others])


# --- files and checkpoints


def test_features_in_files_and_a_fit_that_goes_on(data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    sets, y = data
    paths = {}
    for name, array in {**sets, "y": y}.items():
        paths[name] = tmp_path / f"{name}.h5"
        with h5py.File(paths[name], "w") as file:
            file["data"] = array
    expected = nested_scores(sets, y, RUNS, model=template())
    model = template(checkpoint=tmp_path / "c")
    for _ in range(2):
        found = nested_scores({n: paths[n] for n in sets}, paths["y"], RUNS, model=model)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-12)
        np.testing.assert_array_equal(found.alphas, expected.alphas)
        assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [f"outer-{k:04d}" for k in range(4)]
        shutil.rmtree(tmp_path / "c" / "outer-0002")
    with pytest.raises(ValueError, match=r"outer fold 0: .* is of another fit: .*responses.* differ"):
        nested_scores(sets, y + 1, RUNS, model=model)


def test_rows_of_a_source_are_a_source(data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    x = data[0]["first"]
    np.save(tmp_path / "x.npy", x)
    ranges = pieces(np.r_[3:50, 60:70, 71:N], RUNS)
    assert ranges == [(3, 40), (40, 50), (60, 70), (71, 74), (74, 104), (104, N)]
    rows = np.concatenate([np.arange(*piece) for piece in ranges])
    for stored in (x, tmp_path / "x.npy", list(np.split(x, np.cumsum(RUNS)[:-1]))):
        source = rows_of(as_source(stored, name="features"), ranges, "features")
        assert source.runs == (37, 10, 10, 3, 30, 46)
        np.testing.assert_array_equal(source.read(), x[rows])
        np.testing.assert_array_equal(source.read(slice(30, 60), slice(1, 3)), x[rows][30:60, 1:3])
        other = rows_of(as_source(stored, name="features"), ranges[1:], "features")
        assert fingerprint(source) == fingerprint(rows_of(as_source(stored, name="x"), ranges, "x"))
        assert fingerprint(source) != fingerprint(other)
    assert rows_of(as_source(x, name="features"), [(3, 40)], "features").read().base is not None


# --- bad input


def test_what_is_wrong(data: tuple[dict, np.ndarray]) -> None:
    sets, y = data
    x = sets["first"]
    everything = np.arange(N)
    with pytest.raises(ValueError, match="features is empty; give at least one feature set"):
        nested_scores({}, y, RUNS)
    with pytest.raises(ValueError, match="feature set 'short': features and responses differ"):
        nested_scores({"short": x[:-1]}, y)
    with pytest.raises(TypeError, match="model is a BandedRidgeCV; give an EncodingRidge"):
        nested_scores(x, y, RUNS, model=BandedRidgeCV())
    with pytest.raises(ValueError, match="weights='none': every outer fold needs its weights"):
        nested_scores(x, y, RUNS, model=template(weights="none"))
    with pytest.raises(ValueError, match="cv is a list: explicit folds are of all samples"):
        nested_scores(x, y, RUNS, model=template(cv=[(everything[:50], everything[60:])]))
    with pytest.raises(ValueError, match=r"outer fold 0: .*needs at least 2 runs, got 1"):
        nested_scores(x[:74], y[:74], RUNS[:2], model=template())
    with pytest.raises(ValueError, match="outer fold 0 holds out a piece of 3 samples, and the longest"):
        nested_scores(x, y, RUNS, model=template(), outer=[(everything[20:], everything[:3])])
    with pytest.raises(ValueError, match="outer fold 0 leaves no piece to train on that is longer"):
        nested_scores(x, y, RUNS, model=template(), outer=[(everything[:3], everything[40:])])
    twice = [(everything[80:], everything[:40]), (everything[80:], everything[30:74])]
    with pytest.raises(ValueError, match="out: sample 30 is held out by 2 outer folds"):
        nested_scores(x, y, RUNS, model=template(gap=3), outer=twice, out=np.empty((N, V)))
    assert nested_scores(x, y, RUNS, model=template(gap=3), outer=twice).scores.shape == (2, V)

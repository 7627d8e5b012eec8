"""Nested scores: equal to scikit-learn done by hand, and blind to what is left out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from voxridge.features import oasm
from voxridge.science.layers import choose_layers, chosen_scores
from voxridge.study.fold_plan import plan_folds
from voxridge.study.nested import (
    Block,
    FitSettings,
    Model,
    fit_fold,
    prepare_responses,
    score_model,
)
from voxridge.study.prepare import delayed

DELAYS = (1, 2)
SETTINGS = FitSettings(np.array([10.0]), DELAYS, 2.0)


def make(
    seed: int, lengths: tuple[int, ...], n_features: int = 3, n_targets: int = 4
) -> tuple[Model, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    features = tuple(rng.standard_normal((n, n_features)).astype(np.float32) for n in lengths)
    weights = rng.standard_normal((n_features * len(DELAYS), n_targets))
    responses = [
        (delayed(run, DELAYS) @ weights + 2 * rng.standard_normal((len(run), n_targets))).astype(np.float32)
        for run in features
    ]
    return Model("made up", (Block(features),)), responses


def by_hand(model: Model, parts: list[np.ndarray], plan, fold: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Scikit-learn on explicit delays, training rows listed one by one."""
    runs = model.blocks[0].runs
    left = plan.parts[fold]
    rows = {
        i: [
            r
            for r in range(p.start, p.stop)
            if p.run != left.run or r < left.start - plan.gap or r >= left.stop + plan.gap
        ]
        for i, p in enumerate(plan.parts)
        if i != fold
    }
    train = np.concatenate([runs[plan.parts[i].run][r] for i, r in rows.items()]).astype(float)
    mean, spread = train.mean(0), train.std(0)
    design = [delayed(run / spread, DELAYS) for run in (r.astype(float) for r in runs)]
    x = np.concatenate([design[plan.parts[i].run][r] for i, r in rows.items()])
    y = np.concatenate([parts[i][np.array(r) - plan.parts[i].start] for i, r in rows.items()])
    assert mean.shape == (3,)
    ridge = Ridge(alpha=10.0).fit(x, y)
    predicted = ridge.predict(design[left.run][left.start : left.stop])
    return np.array([np.corrcoef(p, t)[0, 1] for p, t in zip(predicted.T, parts[fold].T, strict=True)])


def ignoring_edges(call):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


@pytest.mark.parametrize(("lengths", "chunks", "gap"), [((40, 50, 45), None, 0), ((160,), 4, 2)])
def test_equals_scikit_learn_by_hand(lengths: tuple[int, ...], chunks: int | None, gap: int) -> None:
    model, responses = make(0, lengths)
    plan = plan_folds([str(i) for i in range(len(lengths))], lengths, chunks=chunks, gap=gap)
    parts = prepare_responses(responses, plan, tr=2.0, cutoff=0.0)
    scores = score_model(model, parts, plan, SETTINGS).scores
    assert scores.shape == (len(plan.parts), 4)
    for fold in range(len(plan.parts)):
        np.testing.assert_allclose(scores[fold], by_hand(model, parts, plan, fold), atol=2e-5)


def test_left_out_responses_do_not_reach_the_fit() -> None:
    model, responses = make(1, (120,))
    plan = plan_folds(["run"], [120], chunks=4, gap=2)
    parts = prepare_responses(responses, plan, tr=2.0, cutoff=0.0)
    before = fit_fold(model, parts, plan, SETTINGS, 1).prediction
    parts[1] = np.random.default_rng(2).standard_normal(parts[1].shape).astype(np.float32) * 100
    # The gap rows on either side are left out as well.
    parts[0][-2:] = 1e3
    parts[2][:2] = -1e3
    np.testing.assert_array_equal(fit_fold(model, parts, plan, SETTINGS, 1).prediction, before)


def test_inputs_stay_as_they_are() -> None:
    model, responses = make(3, (40, 50, 45))
    features = [run.copy() for run in model.blocks[0].runs]
    copies = [run.copy() for run in responses]
    plan = plan_folds(["a", "b", "c"], (40, 50, 45), chunks=None, gap=0)
    parts = prepare_responses(responses, plan, tr=2.0, cutoff=40.0)
    score_model(model, parts, plan, SETTINGS)
    for now, then in zip([*model.blocks[0].runs, *responses], [*features, *copies], strict=True):
        np.testing.assert_array_equal(now, then)


def test_noise_scores_around_zero_even_for_the_chosen_model() -> None:
    rng = np.random.default_rng(4)
    noise = [rng.standard_normal((60, 200)).astype(np.float32) for _ in range(4)]
    plan = plan_folds(["a", "b", "c", "d"], [60] * 4, chunks=None, gap=0)
    parts = prepare_responses(noise, plan, tr=2.0, cutoff=0.0)
    settings = FitSettings(np.logspace(0, 4, 5), DELAYS, 2.0)
    models = [
        ignoring_edges(lambda seed=seed: score_model(make(seed, (60,) * 4)[0], parts, plan, settings))
        for seed in range(5)
    ]
    chosen = chosen_scores(models, choose_layers(models))
    assert abs(chosen.mean()) < 0.02


def test_the_layer_with_the_signal_is_chosen() -> None:
    model, responses = make(5, (60, 60, 60))
    plan = plan_folds(["a", "b", "c"], [60] * 3, chunks=None, gap=0)
    parts = prepare_responses(responses, plan, tr=2.0, cutoff=0.0)
    other, _ = make(6, (60, 60, 60))
    scored = [score_model(m, parts, plan, SETTINGS) for m in (other, model)]
    np.testing.assert_array_equal(choose_layers(scored), 1)
    np.testing.assert_array_equal(chosen_scores(scored, choose_layers(scored)), scored[1].scores)


def test_warnings_are_kept_with_the_model() -> None:
    model, responses = make(7, (40, 50, 45))
    plan = plan_folds(["a", "b", "c"], (40, 50, 45), chunks=None, gap=0)
    parts = prepare_responses(responses, plan, tr=2.0, cutoff=0.0)
    scores = score_model(model, parts, plan, FitSettings(np.array([1e-9, 1e-8]), DELAYS, 2.0))
    assert any(message.startswith("AlphaEdgeWarning: made up, a left out") for message in scores.warnings)


@pytest.mark.parametrize(
    ("lengths", "chunks", "message"),
    [
        ((50, 50), None, "at least 3 runs, got 2"),
        ((50, 50), 4, "need a single run, got 2"),
        ((50,), 2, "2 chunks are too few"),
        ((50,), 5, "10 rows long, too short for gaps of 4"),
    ],
)
def test_folds_that_cannot_be(lengths: tuple[int, ...], chunks: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_folds([str(i) for i in range(len(lengths))], lengths, chunks=chunks, gap=4)


def test_time_alone_in_a_long_run_that_is_filtered() -> None:
    """Columns of left-out rows are next to nothing in training: scaled one by one they would overflow."""
    rng = np.random.default_rng(0)
    n_rows, plan = 362, plan_folds(["story"], [362], chunks=5, gap=4)
    smooth = np.cumsum(rng.standard_normal((n_rows, 3)), axis=0)
    responses = prepare_responses([smooth], plan, tr=2.0, cutoff=128.0)
    settings = FitSettings(np.logspace(0, 8, 5), (1, 2, 3, 4), 2.0, 128.0)
    block = Block(tuple(oasm([n_rows], 2.0)), scaling="common")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = score_model(Model("time alone", (block,)), responses, plan, settings)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.inner).all()


def test_one_scale_for_all_columns() -> None:
    model, responses = make(5, (60, 50, 40))
    large = tuple(run * np.float32([1, 10, 100]) for run in model.blocks[0].runs)
    plan = plan_folds(["a", "b", "c"], [60, 50, 40], chunks=None, gap=0)
    fit = fit_fold(Model("one scale", (Block(large, scaling="common"),)), responses, plan, SETTINGS, 2)
    train = np.concatenate(large[:2]).astype(float)
    divisor = np.sqrt(train.var(axis=0).mean())
    design = [delayed(run.astype(float) / divisor, DELAYS) for run in large]
    ridge = Ridge(alpha=10.0).fit(np.concatenate(design[:2]), np.concatenate(responses[:2]))
    np.testing.assert_allclose(fit.prediction, ridge.predict(design[2]), rtol=1e-3, atol=1e-3)

"""Stacks of encoding models against loops of textbook ridges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge._warnings import AlphaEdgeWarning
from voxridge.science.stacking import stack_weights, stacked_scores
from voxridge.stacking import nested_stack, stacking_folds
from voxridge.testing import delayed_matrix, textbook_ridge, textbook_scores

pytestmark = pytest.mark.filterwarnings(
    "ignore::voxridge._warnings.AlphaEdgeWarning", "ignore::voxridge._warnings.SmallFoldWarning"
)

RUNS = [36, 30, 34, 40]
N, V = sum(RUNS), 4
DELAYS = (0, 1)
ALPHAS = np.logspace(0, 3, 4)
run_of = np.repeat(np.arange(4), RUNS)


@pytest.fixture
def data() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    spaces = {"sound": rng.standard_normal((N, 3)), "text": rng.standard_normal((N, 5))}
    responses = sum(delayed_matrix(x, DELAYS, RUNS).sum(axis=1, keepdims=True) for x in spaces.values())
    return spaces, responses + 3 * rng.standard_normal((N, V))


def template(**options: Any) -> EncodingRidge:
    return EncodingRidge(
        **{"alphas": ALPHAS, "delays": DELAYS, "scoring": "r2", "progress": False, **options}
    )


def by_hand(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Penalty for each target by leaving out one run of `train`, then the refit's predictions for `test`."""
    held = [np.flatnonzero(run_of[train] == run) for run in np.unique(run_of[train])]
    folds = [(np.setdiff1d(np.arange(len(train)), rows), rows) for rows in held]
    alpha = ALPHAS[textbook_scores(x[train], y[train], ALPHAS, folds, "r2").argmax(axis=0)]
    coef, intercept = textbook_ridge(x[train], y[train], alpha)
    return x[test] @ coef + intercept


@pytest.mark.parametrize("weights", ["cv", "split"])
def test_against_loops_of_textbook_ridges(data: Any, weights: str) -> None:
    spaces, y = data
    designs = {name: delayed_matrix(x, DELAYS, RUNS) for name, x in spaces.items()}
    folds = list(
        stacking_folds(spaces, y, RUNS, model=template(), weights=weights, share=0.4)  # type: ignore[arg-type]
    )
    assert len(folds) == 4
    for run, fold in enumerate(folds):
        train, test = np.flatnonzero(run_of != run), np.flatnonzero(run_of == run)
        left = [each for each in range(4) if each != run]
        inner = left if weights == "cv" else left[-1:]  # 0.4 of three runs: one, nearest to it
        rows = np.concatenate([np.flatnonzero(run_of == each) for each in inner])
        np.testing.assert_array_equal(fold.truth, y[test])
        np.testing.assert_array_equal(fold.inner_truth, y[rows])
        for name, x in designs.items():
            expected = [
                by_hand(x, y, train[run_of[train] != each], np.flatnonzero(run_of == each)) for each in inner
            ]
            np.testing.assert_allclose(fold.inner_predictions[name], np.concatenate(expected), atol=1e-8)
            np.testing.assert_allclose(fold.predictions[name], by_hand(x, y, train, test), atol=1e-8)
    result = nested_stack(spaces, y, RUNS, model=template(), weights=weights, share=0.4)  # type: ignore[arg-type]
    again = stacked_scores(folds)
    np.testing.assert_array_equal(result.fold_scores, again.fold_scores)
    weights_of_one = stack_weights(folds[2].inner_truth, folds[2].inner_predictions).weights
    np.testing.assert_array_equal(result.fold_weights[2], weights_of_one)


def test_the_end_of_a_single_run_is_split_off_with_a_gap(data: Any) -> None:
    """Two runs: the outer fold leaves one, whose last fifth chooses the weights."""
    spaces, y = data
    folds = stacking_folds(spaces, y, [70, 70], model=template(cv=3), weights="split")
    assert [len(fold.inner_truth) for fold in folds] == [14, 14]


def test_held_out_responses_change_no_prediction(data: Any) -> None:
    spaces, y = data
    first = next(stacking_folds(spaces, y, RUNS, model=template()))
    other = y.copy()
    other[run_of == 0] = np.random.default_rng(1).standard_normal((RUNS[0], V))
    second = next(stacking_folds(spaces, other, RUNS, model=template()))
    for name in spaces:
        np.testing.assert_array_equal(first.inner_predictions[name], second.inner_predictions[name])
        np.testing.assert_array_equal(first.predictions[name], second.predictions[name])


def test_correlation_is_the_score_where_the_model_says_so(data: Any) -> None:
    spaces, y = data
    result = nested_stack(spaces, y, RUNS, model=template(scoring="correlation"))
    assert result.metric == "correlation"
    assert result.fold_scores.shape == (4, V)
    assert result.scores.mean() > 0.3


def test_a_masked_target_has_no_weights(data: Any) -> None:
    from voxridge._warnings import MaskedTargetsWarning

    spaces, y = data
    y = y.copy()
    y[:, 1] = 2.0
    with pytest.warns(MaskedTargetsWarning):
        result = nested_stack(spaces, y, RUNS, model=template())
    assert np.isnan(result.weights[:, 1]).all()
    assert np.isfinite(result.scores[[0, 2, 3]]).all()


@pytest.mark.filterwarnings("default::voxridge._warnings.AlphaEdgeWarning")
def test_the_edge_of_the_grid_is_told_once_for_each_outer_fold(data: Any) -> None:
    spaces, y = data
    with pytest.warns(AlphaEdgeWarning) as told:
        list(stacking_folds(spaces, y, RUNS, model=template(alphas=[1e-3, 2e-3])))
    assert len([each for each in told if each.category is AlphaEdgeWarning]) <= 2 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "half"}, "weights='half'"),
        ({"share": 1.0}, "share=1.0"),
        ({"model": template(checkpoint="folder")}, "checkpoint"),
        ({"model": template(weights="stream")}, "weights='stream'"),
    ],
)
def test_arguments_are_checked_at_once(data: Any, options: dict[str, Any], message: str) -> None:
    spaces, y = data
    with pytest.raises(ValueError, match=message):
        stacking_folds(spaces, y, RUNS, **{"model": template(), **options})


def test_one_space_needs_no_stack(data: Any) -> None:
    spaces, y = data
    with pytest.raises(ValueError, match="at least two"):
        stacking_folds({"text": spaces["text"]}, y, RUNS, model=template())
    with pytest.raises(ValueError, match="at least two"):
        stacking_folds(spaces["text"], y, RUNS, model=template())


def test_too_few_runs_are_named(data: Any) -> None:
    spaces, y = data
    folds = stacking_folds(spaces, y, [50, 40, 50], model=template())
    with pytest.raises(ValueError, match=r"outer fold 0, its training rows: outer fold 0: .*at least 2 runs"):
        next(folds)

"""Layers chosen without the reported samples, and the inflation of choosing with them: against plain loops
and simulations with known truth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voxridge.science.layers import choose_layers, chosen_scores, max_inflation, max_on_test


def layers_of(scores: np.ndarray, inner: np.ndarray) -> list[Any]:
    return [
        SimpleNamespace(scores=s, inner=i, inner_mean=np.nanmean(i, axis=1))
        for s, i in zip(scores, inner, strict=True)
    ]


def chain(n_layers: int, shape: tuple[int, ...], correlation: float, seed: int) -> np.ndarray:
    """Errors of layers whose neighbours are correlated, variance 1."""
    rng = np.random.default_rng(seed)
    errors = [rng.standard_normal(shape)]
    for _ in range(n_layers - 1):
        errors.append(correlation * errors[-1] + np.sqrt(1 - correlation**2) * rng.standard_normal(shape))
    return np.stack(errors)


def test_choices_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    scores, inner = rng.random((2, 6, 4, 15))
    models = layers_of(scores, inner)
    regions = np.array(["c", "a", "b"] * 5)
    together, own = choose_layers(models), choose_layers(models, per_target=True)
    by_region = choose_layers(models, labels=regions)
    for fold in range(4):
        assert together[fold] == np.argmax([inner[m, fold].mean() for m in range(6)])
        for t in range(15):
            assert own[fold, t] == np.argmax(inner[:, fold, t])
            members = regions == regions[t]
            assert by_region[fold, t] == np.argmax(inner[:, fold, members].mean(axis=1))
    for choice in (own, by_region, np.repeat(together[:, None], 15, axis=1)):
        expected = [[scores[choice[f, t], f, t] for t in range(15)] for f in range(4)]
        np.testing.assert_array_equal(chosen_scores(models, choice), expected)
    np.testing.assert_array_equal(
        chosen_scores(models, together), chosen_scores(models, np.repeat(together[:, None], 15, axis=1))
    )


def test_targets_without_inner_scores_choose_nothing_and_disturb_no_region() -> None:
    rng = np.random.default_rng(1)
    scores, inner = rng.random((2, 3, 2, 6))
    clean = choose_layers(layers_of(scores, inner), labels=[0, 0, 0, 1, 1, 2])
    inner[:, :, 5] = np.nan
    inner[1, 0, 2] = np.nan
    models = layers_of(scores, inner)
    own = choose_layers(models, per_target=True)
    assert (own[:, 5] == -1).all()
    assert own[0, 2] in (0, 2)
    assert np.isnan(chosen_scores(models, own)[:, 5]).all()
    found = choose_layers(models, labels=[0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(found[:, 3:5], clean[:, 3:5])
    np.testing.assert_array_equal(found[0, :3], np.argmax(inner[:, 0, :2].mean(axis=1)))
    assert (found[:, 5] == -1).all()


def test_a_layer_without_an_inner_mean_is_not_chosen() -> None:
    scores, inner = np.random.default_rng(2).random((2, 3, 2, 6))
    models = layers_of(scores, inner)
    models[0].inner_mean = np.array([np.nan, np.nan])
    for model in models:
        model.inner_mean[1] = np.nan
    choice = choose_layers(models)
    assert choice[0] == 1 + np.argmax(inner[1:, 0].mean(axis=1))
    assert choice[1] == -1
    assert np.isnan(chosen_scores(models, choice)[1]).all()


def test_inner_choice_does_not_score_above_chance_on_noise_while_the_maximum_does() -> None:
    errors = chain(20, (6, 400), 0.9, seed=2)
    inner = chain(20, (6, 400), 0.9, seed=3)
    models = layers_of(0.05 * errors, inner)
    honest = chosen_scores(models, choose_layers(models, per_target=True)).mean()
    assert abs(honest) < 0.003
    found = max_on_test(0.05 * errors)
    assert found.values.mean() > 0.02
    assert abs(found.honest.mean()) < 0.003


@pytest.mark.parametrize("n_folds", [5, 9])
def test_inflation_from_folds_is_the_true_one(n_folds: int) -> None:
    """All layers are equally good: the maximum's excess over their score is known by simulation, the
    sign-flip estimate and the parametric one must both give it."""
    errors = 0.04 * chain(25, (n_folds, 1500), 0.95, seed=n_folds)
    rng = np.random.default_rng(0)
    common = 0.2 + 0.1 * rng.standard_normal((1, n_folds, 1500))  # of a fold, the same in all layers
    found = max_on_test(errors + common)
    true = (errors.mean(axis=1).max(axis=0)).mean()
    assert found.inflation.mean() == pytest.approx(true, rel=0.1)  # signs of few folds fall a little short
    assert found.optimism.mean() == pytest.approx(true, rel=0.06)
    by_formula = max_inflation(25, 0.04 / np.sqrt(n_folds), 0.95, structure="neighbours")
    assert by_formula == pytest.approx(true, rel=0.06)


def test_where_one_layer_is_far_better_picking_it_adds_nothing() -> None:
    errors = 0.02 * chain(12, (6, 300), 0.8, seed=5)
    errors[7] += 0.3
    found = max_on_test(errors)
    assert (found.layer == 7).all()
    np.testing.assert_allclose(found.optimism, 0, atol=1e-12)
    assert found.inflation.mean() > 0.008  # what it would be, were the layers alike


def test_maximum_is_what_it_says() -> None:
    rng = np.random.default_rng(6)
    scores = rng.random((7, 3, 20))
    before = scores.copy()
    found = max_on_test(scores)
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_allclose(found.values, scores.mean(axis=1).max(axis=0))
    for t in range(20):
        by_hand = [
            scores[np.delete(scores[:, :, t], fold, axis=1).mean(axis=1).argmax(), fold, t]
            for fold in range(3)
        ]
        assert found.honest[t] == pytest.approx(np.mean(by_hand))
    flat = max_on_test(scores.mean(axis=1))
    np.testing.assert_allclose(flat.values, found.values)
    assert np.isnan(flat.inflation).all()
    assert np.isnan(flat.honest).all()


def test_targets_and_layers_that_lack_a_fold() -> None:
    rng = np.random.default_rng(7)
    scores = rng.random((5, 4, 6))
    clean = max_on_test(scores)
    holes = scores.copy()
    holes[:, 1, 2] = np.nan
    holes[3, 0, 4] = np.nan
    found = max_on_test(holes)
    for name in ("values", "honest", "inflation"):
        kept, whole = getattr(found, name), getattr(clean, name)
        np.testing.assert_allclose(kept[[0, 1, 3, 5]], whole[[0, 1, 3, 5]])
        assert np.isnan(kept[2])
    without = max_on_test(np.delete(scores[:, :, 4:5], 3, axis=0))
    for name in ("values", "honest", "inflation"):
        assert getattr(found, name)[4] == pytest.approx(getattr(without, name)[0])
    assert found.layer[2] == -1


def test_expected_maximum_of_normals() -> None:
    assert max_inflation(1, 0.3, 0.0) == pytest.approx(0, abs=1e-9)
    assert max_inflation(2, 1.0, 0.0) == pytest.approx(1 / np.sqrt(np.pi))
    assert max_inflation(3, 1.0, 0.0) == pytest.approx(1.5 / np.sqrt(np.pi))
    equal = np.full((13, 13), 0.95) + 0.05 * np.eye(13)
    assert max_inflation(13, 0.02, equal) == pytest.approx(max_inflation(13, 0.02, 0.95), rel=0.03)
    draws = 0.02 * chain(41, (20_000,), 0.95, seed=8).max(axis=0).mean()
    assert max_inflation(41, 0.02, 0.95, structure="neighbours") == pytest.approx(draws, rel=0.02)
    # 41 layers against 13, correlated .95, with the standard error of one run of 355 volumes
    more = max_inflation(41, 355**-0.5, 0.95) - max_inflation(13, 355**-0.5, 0.95)
    assert more == pytest.approx(0.006, abs=0.0002)


def test_what_cannot_be() -> None:
    models = layers_of(np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="models is empty"):
        choose_layers([])
    with pytest.raises(ValueError, match="exclude each other"):
        choose_layers(models, labels=[1, 2, 3, 4], per_target=True)
    with pytest.raises(ValueError, match=r"\(2,\) for 4 targets"):
        choose_layers(models, labels=[1, 2])
    with pytest.raises(ValueError, match=r"choice has shape \(4,\)"):
        chosen_scores(models, np.zeros(4, dtype=int))
    with pytest.raises(ValueError, match="goes to 2 with 2 models"):
        chosen_scores(models, np.full(3, 2))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        max_on_test(np.ones(4))
    with pytest.raises(ValueError, match="n_flips=0"):
        max_on_test(np.ones((2, 3, 4)), n_flips=0)
    for arguments, message in [
        ((0, 1.0, 0.5), "n_layers=0"),
        ((2, -1.0, 0.5), "standard_error=-1"),
        ((2, 1.0, 1.5), "correlation=1.5"),
        ((3, 1.0, np.eye(2)), r"or \(3, 3\)"),
        ((2, 1.0, [[1, 2], [2, 1]]), "no correlation matrix"),
    ]:
        with pytest.raises(ValueError, match=message):
            max_inflation(*arguments)
    with pytest.raises(ValueError, match="structure='far'"):
        max_inflation(2, 1.0, 0.5, structure="far")  # type: ignore[arg-type]

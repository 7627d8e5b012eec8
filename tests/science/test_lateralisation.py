"""Known asymmetries come back, the midline adds none, and the published code agrees where it is right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxridge.responses import Geometry
from voxridge.science.asymmetry import combine_subjects, lateralisation
from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Conditions, Scores
from voxridge.science.hemispheres import Hemispheres, find_hemispheres, hemispheres_from_names
from voxridge.science.lateral_models import lateralisation_by_model
from voxridge.science.lateral_regions import mirrored_spheres, target_coordinates

MADE = Conditions("leave-one-run-out", ("a", "b"))


def whole_brain(n_x: int, voxel: float = 4.0) -> tuple[Geometry, Hemispheres, np.ndarray]:
    """A box symmetric about x = 0; an odd number of planes puts one on the midline."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -(n_x - 1) / 2 * voxel, -60.0, -30.0
    geometry = Geometry.volume(np.ones((n_x, 30, 16), bool), affine)
    return geometry, find_hemispheres(geometry), target_coordinates(geometry)


def half_arrays(values: np.ndarray) -> float:
    """What the published analysis computes: first against second half of the flattened mask."""
    half = len(values) // 2
    return float(values[:half].mean() - values[half:].mean())


def test_agrees_with_half_arrays_where_no_voxel_is_near_the_midline() -> None:
    geometry, _, places = whole_brain(20)
    away = np.abs(places[:, 0]) >= 4
    cut = Geometry.volume(away.reshape(geometry.shape), geometry.affine)
    pairs = find_hemispheres(cut)
    values = np.random.default_rng(0).normal(0.2, 0.1, cut.n_columns)
    found = lateralisation(values, pairs)
    assert pairs.n_unpaired == pairs.n_midline == 0
    np.testing.assert_allclose(found.difference[0, 0], half_arrays(values), rtol=1e-12)


def test_halving_the_midline_makes_an_asymmetry_and_pairs_do_not() -> None:
    # Scores fall from the back of the head to the front, the same on both sides.
    _, pairs, places = whole_brain(21)
    scores = 0.3 - 0.002 * places[:, 1]
    assert pairs.n_midline == 30 * 16
    assert abs(half_arrays(scores)) > 0.004
    assert abs(lateralisation(scores, pairs).difference[0, 0]) < 1e-12


def test_a_known_asymmetry_comes_back_inside_its_interval() -> None:
    _, pairs, places = whole_brain(20)
    spheres = mirrored_spheres(places, {"pSTS": (-34.0, -39.0, 3.0), "BA45": (-32.0, 28.0, 10.0)}, 12.0)
    rng = np.random.default_rng(2)
    truth = {"pSTS": 0.05, "BA45": 0.0}
    hits = 0
    for _ in range(40):
        base = rng.uniform(0.1, 0.4, len(places))
        base[pairs.right] = base[pairs.left]
        subjects = np.tile(base, (8, 1)) + rng.normal(0, 0.05, (8, len(places)))
        own = rng.normal(0, 0.02, 8)[:, None]
        subjects += np.where(spheres["pSTS"] & (places[:, 0] < 0), truth["pSTS"] + own, 0.0)
        found = lateralisation(subjects, pairs, over="subjects", rois=spheres)
        at = found.regions.index("pSTS")
        interval = found.difference_interval
        hits += interval.low[at] <= truth["pSTS"] <= interval.high[at]
        other = found.regions.index("BA45")
        assert abs(interval.estimate[other]) < 0.02
    assert 33 <= hits <= 40
    left, right = (
        subjects[:, side][:, spheres["pSTS"][pairs.left]].mean(axis=1) for side in (pairs.left, pairs.right)
    )
    np.testing.assert_allclose(found.difference[:, at], left - right)
    np.testing.assert_allclose(found.index[:, at], (left - right) / (left + right))
    assert found.n_pairs[at] == spheres["pSTS"].sum() // 2


@pytest.mark.parametrize(
    ("order", "flip"), list(itertools.product([(0, 1, 2), (2, 0, 1), (1, 2, 0)], [False, True]))
)
def test_the_same_map_stored_otherwise_leans_the_same(order: tuple[int, ...], flip: bool) -> None:
    geometry, pairs, _ = whole_brain(21)
    volume = np.random.default_rng(3).random(geometry.shape)
    affine = geometry.affine.copy()
    affine[:3, :3] = affine[:3, :3][:, order]
    turned = volume.transpose(order)
    if flip:
        axis = order.index(0)
        turned = np.flip(turned, axis)
        affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
        affine[:3, axis] *= -1
    other = Geometry.volume(np.ones(turned.shape, bool), affine)
    expected = lateralisation(volume.ravel(), pairs)
    found = lateralisation(turned.ravel(), find_hemispheres(other))
    np.testing.assert_allclose(found.difference, expected.difference, rtol=1e-10)
    np.testing.assert_allclose(np.sort(found.pair_difference), np.sort(expected.pair_difference))


@given(st.integers(0, 1000))
def test_swapping_the_sides_turns_the_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.1, 0.2, (3, 12))
    values[rng.random((3, 12)) < 0.2] = np.nan
    side = np.repeat(np.array([-1, 1], np.int8), 6)
    one = Hemispheres(np.arange(6), np.arange(6, 12), side, 0, 0, "")
    two = Hemispheres(np.arange(6, 12), np.arange(6), -side, 0, 0, "")
    a, b = (lateralisation(values, pairs, over="folds") for pairs in (one, two))
    np.testing.assert_allclose(a.difference, -b.difference)
    np.testing.assert_allclose(a.index, -b.index)
    np.testing.assert_allclose(a.pair_index, -b.pair_index)


def test_nan_and_small_sums_are_counted_and_poison_nothing() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB", "LC", "RC"])
    values = np.array([0.3, 0.1, np.nan, 0.9, 0.01, -0.02])
    found = lateralisation(values, pairs, rois={"C": np.array([0, 0, 0, 0, 1, 1], bool)})
    np.testing.assert_allclose(found.left[0, 0], (0.3 + 0.01) / 2)
    np.testing.assert_allclose(found.right[0, 0], (0.1 - 0.02) / 2)
    assert np.isnan(found.index[0, 1])
    assert found.n_undefined.tolist() == [0, 1]
    np.testing.assert_allclose(found.pair_difference, [0.2, np.nan, 0.03])
    np.testing.assert_allclose(found.pair_index, [0.5, np.nan, np.nan])
    assert found.n_undefined_pairs == 1
    assert [row["region"] for row in found.rows()] == ["all pairs", "C"]
    labels = np.array(["A", "A", "", "", "C", "C"])
    assert lateralisation(values, pairs, rois=labels).regions == ("all pairs", "A", "C")
    labels = np.array(["A", "A", np.nan, float("nan"), "C", "C"], dtype=object)  # as data frames have them
    assert lateralisation(values, pairs, rois=labels).regions == ("all pairs", "A", "C")
    with pytest.raises(ValueError, match="smallest_sum=0"):
        lateralisation(values, pairs, smallest_sum=0)


def test_masks_become_symmetric_or_say_that_they_are_not() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB"])
    values, mask = np.array([0.5, 0.1, 0.3, 0.2]), np.array([True, False, True, True])
    assert lateralisation(values, pairs, mask=mask).difference[0, 0] == pytest.approx(0.1)
    assert lateralisation(values, pairs, mask=mask, mask_rule="either").difference[0, 0] == pytest.approx(
        0.25
    )
    each = lateralisation(values, pairs, mask=mask, mask_rule="each side")
    assert each.difference[0, 0] == pytest.approx(0.4 - 0.2)
    with pytest.raises(ValueError, match=r"keeps 0 pairs .* of 2"):
        lateralisation(values, pairs, mask=np.array([True, False, False, True]))
    with pytest.raises(ValueError, match="region 'x' has shape"):
        lateralisation(values, pairs, rois={"x": [True]})
    with pytest.raises(ValueError, match="this name is taken"):
        lateralisation(values, pairs, rois={"all pairs": mask})


def test_bootstraps_give_percentiles_and_never_a_test() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB"])
    values = np.array([0.5, 0.4, 0.3, 0.1])
    rng = np.random.default_rng(0)
    for count in (400, 4000):
        samples = values + rng.normal(0, 0.05, (count, 4))
        found = lateralisation(values, pairs, bootstraps=samples)
        differences = samples[:, [0, 2]].mean(axis=1) - samples[:, [1, 3]].mean(axis=1)
        interval = found.difference_interval
        assert interval.estimate[0] == pytest.approx(0.15)
        np.testing.assert_allclose(
            [interval.low[0], interval.high[0]], np.percentile(differences, [2.5, 97.5])
        )
        # More resamples do not make the interval narrower.
        assert interval.high[0] - interval.low[0] == pytest.approx(2 * 1.96 * 0.05, rel=0.15)
        assert found.over == "bootstraps"
        assert len(found.difference) == 1
    with pytest.raises(ValueError, match="bootstraps belong to one map"):
        lateralisation(np.stack([values, values]), pairs, over="subjects", bootstraps=samples)
    with pytest.raises(ValueError, match="say over='subjects'"):
        lateralisation(np.stack([values, values]), pairs)


def test_the_ceiling_divides_only_what_was_made_as_it_was() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB"])
    scores = Scores(np.array([0.4, 0.2, 0.3, 0.3]), "r", MADE)
    ceiling = Ceiling(np.array([0.8, 0.4, 0.6, np.nan]), "r", MADE, "given")
    found = lateralisation(scores, pairs, ceiling=ceiling)
    assert found.difference[0, 0] == pytest.approx(0.0)
    assert lateralisation(scores, pairs).difference[0, 0] == pytest.approx(0.1)
    two = lateralisation([scores, scores], pairs, over="subjects", ceiling=[ceiling, ceiling])
    assert two.left[:, 0].tolist() == [0.5, 0.5]
    samples = np.tile(scores.values, (5, 1))
    np.testing.assert_allclose(
        lateralisation(scores, pairs, bootstraps=samples, ceiling=ceiling).difference_interval.low,
        0.0,
        atol=1e-12,
    )
    with pytest.raises(TypeError, match="only divides Scores"):
        lateralisation(scores.values, pairs, ceiling=ceiling)
    other = Ceiling(ceiling.values, "r", Conditions("shuffled", ("a", "b")), "given")
    with pytest.raises(ValueError, match="split"):
        lateralisation(scores, pairs, ceiling=other)


def test_subjects_with_voxels_of_their_own() -> None:
    results = []
    for n_x, lean in ((20, 0.02), (22, 0.06), (24, 0.04)):
        _, pairs, places = whole_brain(n_x)
        results.append(lateralisation(np.where(places[:, 0] < 0, 0.3 + lean, 0.3), pairs))
    joined = combine_subjects(results)
    assert joined.difference[:, 0] == pytest.approx([0.02, 0.06, 0.04])
    half = 4.302652729911275 * 0.02 / np.sqrt(3)
    assert joined.difference_interval.high[0] == pytest.approx(0.04 + half)
    assert joined.over == "subjects"
    with pytest.raises(ValueError, match="two subjects or more"):
        combine_subjects(results[:1])


def test_models_are_compared_at_the_same_pairs() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB"])
    rng = np.random.default_rng(0)
    sizes = np.array([1e8, 1e9, 1e10])
    scores = {}
    for size in sizes:
        maps = np.tile([0.2, 0.2, 0.3, 0.3], (5, 1)) + rng.normal(0, 1e-4, (5, 4))
        maps[:, [0, 2]] += 0.01 * (np.log10(size) - 8)
        scores[f"{size:.0e}"] = maps
    scores["1e+08"][2, 0] = np.nan
    table = lateralisation_by_model(scores, pairs, over="subjects", rois={"B": np.array([0, 0, 1, 1], bool)})
    assert table.by_repeat.shape == (5, 3, 2)
    assert table.pair_difference.shape == (3, 2)
    slope = np.polyfit(np.log10(sizes), table.difference[:, 0], 1)[0]
    assert slope == pytest.approx(0.01, abs=5e-4)
    # Without pair A in subject 2, for every model.
    np.testing.assert_allclose(table.results["1e+10"].left[2, 0], scores["1e+10"][2, 2])
    assert len(table.rows()) == 6
    with pytest.raises(ValueError, match="differ in their repeats"):
        lateralisation_by_model({"a": scores["1e+08"], "b": scores["1e+09"][:2]}, pairs, over="subjects")
    with pytest.raises(ValueError, match="no entry for the models"):
        lateralisation_by_model({"a": np.ones(4)}, pairs, bootstraps={})


def test_the_slope_over_models_comes_back_through_the_scaling_fit() -> None:
    from voxridge.science.scaling import fit_scaling
    from voxridge.science.scaling_subjects import subject_scaling

    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB"])
    rng = np.random.default_rng(4)
    sizes = np.logspace(8, 10.5, 9)
    scores = {}
    for size in sizes:
        maps = 0.3 + rng.normal(0, 0.002, (6, 4))
        maps[:, 0] += 0.012 * (np.log10(size) - 9)
        scores[f"{size:.3g}"] = maps
    regions = {"A": np.array([1, 1, 0, 0], bool), "B": np.array([0, 0, 1, 1], bool)}
    table = lateralisation_by_model(scores, pairs, over="subjects", rois=regions)
    fit = fit_scaling(sizes, table.difference)
    np.testing.assert_allclose(fit.slope, [0.006, 0.012, 0.0], atol=0.0015)
    each = subject_scaling(sizes, table.by_repeat)
    np.testing.assert_allclose(each.slopes.mean(axis=0), fit.slope, atol=1e-12)
    assert each.interval.low[1] < 0.012 < each.interval.high[1]
    np.testing.assert_allclose(fit_scaling(sizes, table.pair_difference).slope, fit.slope[1:], atol=1e-12)


def test_inputs_stay_as_they_were_and_narrow_types_are_read() -> None:
    _, pairs, places = whole_brain(10)
    values = np.random.default_rng(0).random(len(places)).astype(np.float32)
    before = values.copy()
    found = lateralisation(values, pairs)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_allclose(
        found.difference, lateralisation(values.astype(float), pairs).difference, rtol=1e-9
    )


def test_an_index_of_a_side_below_zero_is_not_defined() -> None:
    pairs = hemispheres_from_names(["LATL", "RATL", "LPTL", "RPTL"])
    found = lateralisation(np.array([0.3, -0.1, 0.3, 0.1]), pairs)
    assert np.isnan(found.pair_index).sum() == 1
    assert np.nanmax(np.abs(found.pair_index)) <= 1
    assert found.difference[0, 0] == pytest.approx(0.3)

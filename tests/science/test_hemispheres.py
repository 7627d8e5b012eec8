"""Pairs of homologous targets do not depend on how a volume is stored, and follow the place in the head."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxridge._warnings import ResponseWarning
from voxridge.responses import Geometry
from voxridge.science._homologues import nearest_pairs
from voxridge.science.hemispheres import (
    Hemispheres,
    find_hemispheres,
    hemispheres_from_coordinates,
    hemispheres_from_labels,
    hemispheres_from_names,
    hemispheres_from_surfaces,
)
from voxridge.science.lateral_regions import LANGUAGE_CENTRES, mirrored_spheres, target_coordinates

RNG = np.random.default_rng(0)


def grid(shape: tuple[int, int, int], voxel: float, first: float) -> tuple[np.ndarray, np.ndarray]:
    """A mask with holes that differ between the sides, and an affine whose x starts at ``first`` mm."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = first, -7.0, 3.0
    return np.random.default_rng(1).random(shape) < 0.8, affine


def restored(
    mask: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]
) -> Geometry:
    """The same voxels in an array with other axes."""
    turned = mask.transpose(order)
    matrix = affine.copy()
    matrix[:3, :3] = affine[:3, :3][:, order]
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            matrix[:3, 3] += matrix[:3, axis] * (turned.shape[axis] - 1)
            matrix[:3, axis] *= -1
    return Geometry.volume(turned, matrix)


def place_pairs(geometry: Geometry, pairs: Hemispheres) -> set[tuple[float, ...]]:
    places = target_coordinates(geometry).round(6)
    return {(*places[one], *places[two]) for one, two in zip(pairs.left, pairs.right, strict=True)}


@pytest.mark.parametrize("first", [-12.0, -10.5, -11.25, -11.0], ids=["plane", "half", "tie", "between"])
@pytest.mark.parametrize("midline", ["exclude", "keep"])
def test_axis_order_and_direction_do_not_matter(first: float, midline: str) -> None:
    mask, affine = grid((8, 5, 4), 3.0, first)
    straight = Geometry.volume(mask, affine)
    expected = find_hemispheres(straight, midline=midline)
    wanted = place_pairs(straight, expected)
    assert len(wanted) > 30
    for order in itertools.permutations(range(3)):
        for flips in itertools.product([False, True], repeat=3):
            geometry = restored(mask, affine, order, flips)
            found = find_hemispheres(geometry, midline=midline)
            assert place_pairs(geometry, found) == wanted
            assert (found.n_midline, found.n_unpaired) == (expected.n_midline, expected.n_unpaired)


@pytest.mark.parametrize(("first", "voxel"), [(-12.0, 3.0), (-10.5, 3.0), (-8.0, 2.0)])
def test_pairs_are_the_voxels_that_mirror_each_other(first: float, voxel: float) -> None:
    mask, affine = grid((9, 5, 4), voxel, first)
    geometry = Geometry.volume(mask, affine)
    pairs = find_hemispheres(geometry)
    places = target_coordinates(geometry)
    at = {tuple(place): number for number, place in enumerate(places)}
    midline = [p for p in at if abs(p[0]) < voxel]
    brute = {
        (number, at[(-p[0], p[1], p[2])])
        for p, number in at.items()
        if p[0] <= -voxel and (-p[0], p[1], p[2]) in at
    }
    assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == brute
    assert pairs.n_midline == len(midline)
    assert pairs.n_unpaired == len(at) - len(midline) - 2 * len(brute)
    assert pairs.n_targets == 2 * pairs.n_pairs + pairs.n_midline + pairs.n_unpaired
    assert (pairs.side == np.where(np.abs(places[:, 0]) < voxel, 0, np.sign(places[:, 0]))).all()


def test_the_midline_is_left_out_unless_it_is_kept() -> None:
    geometry = Geometry.volume(
        np.ones((6, 1, 1), bool), np.array([[2.0, 0, 0, -5], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    )
    out, kept = find_hemispheres(geometry), find_hemispheres(geometry, midline="keep")
    assert (out.n_pairs, out.n_midline) == (2, 2)
    assert (kept.n_pairs, kept.n_midline) == (3, 0)
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 3] = -4.0
    on_plane = find_hemispheres(Geometry.volume(np.ones((5, 1, 1), bool), affine), midline="keep")
    assert (on_plane.n_pairs, on_plane.n_midline, on_plane.side[2]) == (2, 1, 0)


def test_an_oblique_volume_pairs_within_half_a_voxel() -> None:
    angle = np.radians(7)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = 3 * turn
    affine[:3, 3] = -turn @ [30, 30, 30]
    geometry = Geometry.volume(np.ones((21, 21, 8), bool), affine)
    pairs = find_hemispheres(geometry)
    places = target_coordinates(geometry)
    miss = (places[pairs.left] * [-1, 1, 1] - places[pairs.right]) @ turn
    assert np.abs(miss).max() <= 1.5 + 0.01
    assert pairs.n_pairs > 1000


def test_one_side_only_is_refused_and_an_odd_space_is_said() -> None:
    affine = np.diag([2.0, 2, 2, 1])
    with pytest.raises(ValueError, match=r"no target has a homologue \(10 targets, 0 on the midline, 0 left"):
        find_hemispheres(Geometry.volume(np.ones((10, 1, 1), bool), affine + np.eye(4, k=3) * 20))
    shifted = affine.copy()
    shifted[0, 3] = -6.0
    with pytest.warns(ResponseWarning, match="of 20 targets have no homologue"):
        find_hemispheres(Geometry.volume(np.ones((20, 1, 1), bool), shifted))
    with pytest.raises(ValueError, match="in MNI space only"):
        find_hemispheres(Geometry.volume(np.ones((3, 1, 1), bool), affine), space="T1w")
    with pytest.raises(ValueError, match="midline='x'"):
        hemispheres_from_coordinates([[-9, 0, 0], [9, 0, 0]], width=1, tolerance=1, midline="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="midline='x'"):
        find_hemispheres(Geometry.volume(np.ones((3, 1, 1), bool), affine), midline="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hemispheres_from_coordinates"):
        find_hemispheres(Geometry.columns(4))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000), st.booleans())
def test_nearest_pairs_are_one_to_one_and_symmetric(n_one: int, n_two: int, seed: int, lattice: bool) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.random((n_one, 3)), rng.random((n_two, 3))
    if lattice:
        one, two = one.round(1), two.round(1)
    pairs, back = nearest_pairs(one, two, 0.4), nearest_pairs(two, one, 0.4)
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs)
    away = np.linalg.norm(one[:, None] - two[None], axis=2)
    assert (away[pairs[:, 0], pairs[:, 1]] < 0.4).all()
    left = np.setdiff1d(np.arange(n_one), pairs[:, 0])
    right = np.setdiff1d(np.arange(n_two), pairs[:, 1])
    assert (away[np.ix_(left, right)] >= 0.4).all()
    if not lattice:
        assert set(map(tuple, pairs.tolist())) == {(b, a) for a, b in back.tolist()}


def test_fsaverage_is_paired_by_place_and_not_by_number() -> None:
    pytest.importorskip("nilearn")
    from nilearn.datasets import load_fsaverage_data

    from voxridge.responses.cortex import load_cortex

    cortex = load_cortex()
    pairs = find_hemispheres(Geometry.surface((10242, 10242), ("L", "R")))
    right = pairs.right - 10242
    away = np.linalg.norm(cortex.left.pial[pairs.left] * [-1, 1, 1] - cortex.right.pial[right], axis=1)
    assert pairs.n_pairs > 9000
    assert np.median(away) < 2
    by_number = np.linalg.norm(cortex.left.pial * [-1, 1, 1] - cortex.right.pial, axis=1)
    assert np.median(by_number) > 35
    # Folding and thickness, which the pairs were not made from, agree between the sides.
    for name, least in (("sulcal", 0.95), ("thickness", 0.9)):
        parts = load_fsaverage_data(mesh="fsaverage5", data_type=name).data.parts
        assert np.corrcoef(parts["left"][pairs.left], parts["right"][right])[0, 1] > least
        assert abs(np.corrcoef(parts["left"], parts["right"])[0, 1]) < 0.2
    mask = RNG.random(20484) < 0.7
    masked = find_hemispheres(Geometry.surface((10242, 10242), ("L", "R"), mask))
    columns = np.flatnonzero(mask)
    kept = mask[pairs.left] & mask[pairs.right]
    assert (columns[masked.left] == pairs.left[kept]).all()
    assert (columns[masked.right] == pairs.right[kept]).all()


def test_meshes_whose_pairs_are_known_by_number_or_must_be_given() -> None:
    known = find_hemispheres(Geometry.surface((32492, 32492), ("L", "R")))
    assert (known.right == known.left + 32492).all()
    assert known.n_pairs == 32492
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    given = find_hemispheres(Geometry.surface((4, 4), ("L", "R"), mask), surfaces="same number")
    assert (given.left.tolist(), given.right.tolist(), given.n_unpaired) == ([0, 2], [3, 5], 2)
    with pytest.raises(ValueError, match="163,842 vertices may be either"):
        find_hemispheres(Geometry.surface((163842, 163842), ("L", "R")))
    with pytest.raises(ValueError, match="needs both, L and R"):
        find_hemispheres(Geometry.surface((5,), ("L",)))
    with pytest.raises(ValueError, match=r"hemispheres have \(4, 4\) vertices"):
        find_hemispheres(Geometry.surface((4, 4), ("L", "R")), surfaces=(np.zeros((3, 3)), np.zeros((4, 3))))
    with pytest.raises(ValueError, match="not on the left"):
        hemispheres_from_surfaces(RNG.standard_normal((50, 3)), RNG.standard_normal((50, 3)))


def test_grayordinates() -> None:
    nibabel = pytest.importorskip("nibabel")
    cifti2 = nibabel.cifti2
    left = cifti2.BrainModelAxis.from_surface([0, 2, 5], 6, "CIFTI_STRUCTURE_CORTEX_LEFT")
    right = cifti2.BrainModelAxis.from_surface([2, 3, 5], 6, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 3] = -6.0
    blocks = []
    for name, columns in (
        ("ACCUMBENS_LEFT", [0, 1]),
        ("CAUDATE_RIGHT", [5]),
        ("ACCUMBENS_RIGHT", [6]),
        ("BRAIN_STEM", [3, 2, 4]),
    ):
        volume = np.zeros((7, 1, 1), bool)
        volume[columns] = True
        blocks.append(cifti2.BrainModelAxis.from_mask(volume, f"CIFTI_STRUCTURE_{name}", affine))
    axis = left + right
    for block in blocks:
        axis = axis + block
    pairs = find_hemispheres(Geometry.cifti(axis), surfaces="same number")
    # Voxels 1 and 5 mirror each other, but in different structures; the brain stem has no sides of its own.
    names = [
        (str(axis.name[a])[16:], str(axis.name[b])[16:]) for a, b in zip(pairs.left, pairs.right, strict=True)
    ]
    assert names == [("CORTEX_LEFT", "CORTEX_RIGHT")] * 2 + [
        ("ACCUMBENS_LEFT", "ACCUMBENS_RIGHT"),
        ("BRAIN_STEM",) * 2,
    ]
    assert pairs.n_midline == 1
    assert pairs.left[:2].tolist() == [1, 2]
    assert pairs.right[:2].tolist() == [3, 5]


def test_names_labels_and_coordinates() -> None:
    names = [
        "LATL",
        "RATL",
        "IFG_L",
        "IFG_R",
        "Left STS",
        "Right STS",
        "lh.MT",
        "rh.MT",
        "Lingual",
        "brainstem",
        "LaSTS",
        "RaSTS",
    ]
    pairs = hemispheres_from_names(names)
    assert [(names[a], names[b]) for a, b in zip(pairs.left, pairs.right, strict=True)] == [
        ("LATL", "RATL"), ("IFG_L", "IFG_R"), ("Left STS", "Right STS"), ("lh.MT", "rh.MT"),
        ("LaSTS", "RaSTS"),
    ]  # fmt: skip
    assert pairs.n_unpaired == 2
    assert pairs.side[8] == 0
    assert find_hemispheres(Geometry.columns(2, ("LIFG", "RIFG"))).n_pairs == 1
    with pytest.raises(ValueError, match="twice on side L"):
        hemispheres_from_labels(["L", "L"], [1, 1])
    with pytest.raises(ValueError, match="no area has both sides"):
        hemispheres_from_names(["a", "b"])
    places = RNG.uniform(5, 60, (20, 3))
    both = np.concatenate([places * [-1, 1, 1], places + RNG.normal(0, 0.1, places.shape)])
    order = RNG.permutation(40)
    found = hemispheres_from_coordinates(both[order], width=4.0, tolerance=2.0)
    assert set(zip(order[found.left], order[found.right], strict=True)) == {(i, i + 20) for i in range(20)}
    with pytest.raises(ValueError, match="give positive numbers"):
        hemispheres_from_coordinates(both, width=0, tolerance=1)


def test_maps_and_masks_of_pairs() -> None:
    pairs = hemispheres_from_names(["LA", "RA", "LB", "RB", "x"])
    mask = np.array([1, 0, 1, 1, 1], bool)
    assert pairs.symmetric(mask).tolist() == [False, False, True, True, False]
    assert pairs.symmetric(mask, "either").tolist() == [True] * 4 + [False]
    np.testing.assert_array_equal(pairs.to_map([[1.0, 2.0]], both=True), [[1, 1, 2, 2, np.nan]])
    assert pairs.paired.tolist() == [True] * 4 + [False]
    with pytest.raises(ValueError, match="the 2 pairs"):
        pairs.to_map([1.0])
    with pytest.raises(ValueError, match="dtype int64"):
        pairs.symmetric([0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="in two pairs"):
        Hemispheres(np.array([0]), np.array([0]), np.zeros(2, np.int8), 0, 0, "")


def test_spheres_are_mirrored() -> None:
    places = np.concatenate([np.array(list(LANGUAGE_CENTRES.values())) * [sign, 1, 1] for sign in (1, -1)])
    spheres = mirrored_spheres(np.concatenate([places, [[np.nan] * 3]]))
    for number, name in enumerate(LANGUAGE_CENTRES):
        assert np.flatnonzero(spheres[name]).tolist() == [number, number + 7]
    cloud = RNG.uniform(-70, 70, (4000, 3))
    inside = mirrored_spheres(cloud, {"a": (-30.0, 5.0, 10.0)}, 12.0)["a"]
    brute = [min(np.linalg.norm(p - [s * 30, 5, 10]) for s in (-1, 1)) <= 12 for p in cloud]
    assert inside.tolist() == brute
    with pytest.raises(ValueError, match="reaches over the midline"):
        mirrored_spheres(cloud, {"a": (-8.0, 0, 0)})

"""Variance partitioning: against residualised regressions in float64, closed forms and known truth."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.science.variance import (
    chain_partition,
    chain_subsets,
    joint_subsets,
    omega,
    partition_variance,
    subject_omega,
    unique_variance,
)

Spaces = dict[str, np.ndarray]


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


def r2(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """In-sample R2 of least squares with an intercept, float64."""
    x, y = centred(x), centred(y)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return np.asarray(1 - np.square(residual).sum(axis=0) / np.square(y).sum(axis=0))


def joint_scores(spaces: Spaces, y: np.ndarray) -> dict[tuple[str, ...], np.ndarray]:
    return {names: r2(np.hstack([spaces[n] for n in names]), y) for names in joint_subsets(spaces)}


def make(rng: np.random.Generator, names: str = "abc", n: int = 60, v: int = 5) -> tuple[Spaces, np.ndarray]:
    shared = rng.standard_normal((n, 1))
    spaces = {name: shared + rng.standard_normal((n, 2)) for name in names}
    return spaces, np.hstack(list(spaces.values())) @ rng.standard_normal(
        (2 * len(names), v)
    ) + rng.standard_normal((n, v))


# --- what has to be fitted


def test_subsets() -> None:
    assert joint_subsets("ab") == [("ab",)]
    assert joint_subsets(["b", "a", "c"]) == [
        ("b",), ("a",), ("c",), ("b", "a"), ("b", "c"), ("a", "c"), ("b", "a", "c"),
    ]  # fmt: skip
    assert len(joint_subsets("abcdef".replace("", " ").split())) == 63
    assert chain_subsets(["x"]) == [("x",)]
    with pytest.raises(ValueError, match="each once"):
        joint_subsets(["a", "a"])
    with pytest.raises(ValueError, match="at least one"):
        chain_subsets([])


# --- components


def test_unique_parts_are_squared_semipartial_correlations(rng: np.random.Generator) -> None:
    """For a space of one column: the squared correlation of y with what is left of the column after the
    others."""
    columns = {name: rng.standard_normal((50, 1)) for name in "abcd"}
    columns["b"] += columns["a"]
    y = sum(columns.values()) + rng.standard_normal((50, 3))
    parts = partition_variance(joint_scores(columns, y))
    for name in columns:
        others = centred(np.hstack([x for other, x in columns.items() if other != name]))
        x = centred(columns[name])
        left = x - others @ np.linalg.lstsq(others, x, rcond=None)[0]
        expected = [np.corrcoef(left[:, 0], y[:, v])[0, 1] ** 2 for v in range(3)]
        np.testing.assert_allclose(parts.unique(name), expected, atol=1e-12)


def test_two_columns_by_the_textbook(rng: np.random.Generator) -> None:
    """Commonality from correlations alone: R2 = (ra^2 + rb^2 - 2 ra rb rab) / (1 - rab^2), common part
    ra^2 + rb^2 - R2."""
    a = rng.standard_normal((40, 1))
    b = 0.6 * a + rng.standard_normal((40, 1))
    y = a - b + rng.standard_normal((40, 1))
    ra, rb, rab = (np.corrcoef(u[:, 0], w[:, 0])[0, 1] for u, w in ((a, y), (b, y), (a, b)))
    full = (ra**2 + rb**2 - 2 * ra * rb * rab) / (1 - rab**2)
    parts = partition_variance(joint_scores({"a": a, "b": b}, y))
    np.testing.assert_allclose(parts.component("a", "b"), ra**2 + rb**2 - full, atol=1e-12)
    np.testing.assert_allclose(parts.unique("a"), full - rb**2, atol=1e-12)
    np.testing.assert_allclose(parts.total, full, atol=1e-12)


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcd"])
def test_against_the_written_out_sum(names: str, rng: np.random.Generator) -> None:
    spaces, y = make(rng, names)
    scores = joint_scores(spaces, y)
    by_set = {frozenset(key): value for key, value in scores.items()} | {frozenset(): np.zeros(5)}
    parts = partition_variance(scores)
    assert list(parts.components) == joint_subsets(spaces)
    for subset, value in parts.components.items():
        rest = frozenset(names) - frozenset(subset)
        expected = sum(
            (-1) ** (size + 1) * by_set[rest | frozenset(chosen)]
            for size in range(len(subset) + 1)
            for chosen in combinations(subset, size)
        )
        np.testing.assert_allclose(value, expected, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 6), folds=st.sampled_from([None, 3]))
@settings(max_examples=40, deadline=None)
def test_components_add_up(seed: int, m: int, folds: int | None) -> None:
    """To the total; those that contain a space to that space's own score; any scores will do."""
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(m)]
    shape = (4,) if folds is None else (folds, 4)
    scores = {names_: rng.standard_normal(shape) for names_ in joint_subsets(names)}
    parts = partition_variance(scores)
    np.testing.assert_allclose(sum(parts.components.values()), parts.total, atol=1e-12)
    np.testing.assert_array_equal(parts.total, scores[tuple(names)])
    for name in names:
        own = sum(value for key, value in parts.components.items() if name in key)
        np.testing.assert_allclose(own, scores[name,], atol=1e-12)
    split = parts.even_split()
    total = parts.total if folds is None else parts.total.mean(axis=0)
    np.testing.assert_allclose(sum(split.values()), total, atol=1e-12)


def test_the_even_split_is_the_mean_over_orders(rng: np.random.Generator) -> None:
    spaces, y = make(rng)
    scores = joint_scores(spaces, y)
    by_set = {frozenset(key): value for key, value in scores.items()} | {frozenset(): np.zeros(5)}
    split = partition_variance(scores).even_split()
    for name in "abc":
        added = [
            by_set[frozenset(order[: order.index(name) + 1])] - by_set[frozenset(order[: order.index(name)])]
            for order in permutations("abc")
        ]
        np.testing.assert_allclose(split[name], np.mean(added, axis=0), atol=1e-12)


def test_orthogonal_spaces_share_nothing_and_equal_the_product_measure(rng: np.random.Generator) -> None:
    """With uncorrelated columns the product measure beta_i r_i of a space is its own R2, is its unique part,
    and is its even split."""
    q = np.linalg.qr(centred(rng.standard_normal((60, 6))))[0]
    spaces = {"a": q[:, :2], "b": q[:, 2:5], "c": q[:, 5:]}
    y = q @ rng.standard_normal((6, 4)) + 0.1 * rng.standard_normal((60, 4))
    parts = partition_variance(joint_scores(spaces, y))
    centred_y = centred(y)
    fitted = np.linalg.lstsq(centred(q), centred_y, rcond=None)[0]
    measure = fitted * (centred(q).T @ centred_y) / np.square(centred_y).sum(axis=0)
    split = parts.even_split()
    for name, columns in (("a", slice(0, 2)), ("b", slice(2, 5)), ("c", slice(5, 6))):
        np.testing.assert_allclose(parts.unique(name), measure[columns].sum(axis=0), atol=1e-12)
        np.testing.assert_allclose(split[name], measure[columns].sum(axis=0), atol=1e-12)
    for subset, value in parts.components.items():
        if len(subset) > 1:
            np.testing.assert_allclose(value, 0, atol=1e-12)


def test_two_spaces_split_evenly_as_the_product_measure_does(rng: np.random.Generator) -> None:
    """With two standardised columns of equal weight the product measure gives both half of R2, as the even
    split does; with unequal weights they differ, which is why both exist, but both sum to R2."""
    a = rng.standard_normal(100_000)
    b = 0.5 * a + np.sqrt(0.75) * rng.standard_normal(100_000)
    y = np.stack([a + b, 2 * a + b], axis=1)
    x = np.stack([a, b], axis=1)
    parts = partition_variance(joint_scores({"a": x[:, :1], "b": x[:, 1:]}, y))
    split = np.stack(list(parts.even_split().values()))
    beta = np.linalg.lstsq(centred(x), centred(y), rcond=None)[0]
    measure = beta * (centred(x).T @ centred(y)) / np.square(centred(y)).sum(axis=0)
    np.testing.assert_allclose(split[:, 0], measure[:, 0], atol=1e-2)
    assert abs(split[0, 1] - measure[0, 1]) > 0.02
    np.testing.assert_allclose(split.sum(axis=0), measure.sum(axis=0), atol=1e-12)


def test_known_shares_are_recovered(rng: np.random.Generator) -> None:
    """a and b hold a common column and one of their own; the responses are made of 0.3 common, 0.2 of a,
    0.1 of b and noise of 0.4."""
    n, v = 4000, 40
    common, own_a, own_b = rng.standard_normal((3, n, 1))
    spaces = {"a": np.hstack([common, own_a]), "b": np.hstack([common, own_b])}
    y = np.sqrt([0.3, 0.2, 0.1]) * np.ones((v, 1)) @ np.hstack([common, own_a, own_b]).T
    y = y.T + np.sqrt(0.4) * rng.standard_normal((n, v))
    halves = np.split(np.arange(n), 2)
    scores = {}
    for names in joint_subsets(spaces):  # held out: fitted to one half, scored on the other
        x = np.hstack([spaces[name] for name in names])
        folds = []
        for fit, test in (halves, halves[::-1]):
            coefficients = np.linalg.lstsq(x[fit], y[fit], rcond=None)[0]
            residual = y[test] - x[test] @ coefficients
            folds.append(1 - np.square(residual).mean(axis=0) / y[test].var(axis=0))
        scores[names] = np.stack(folds)
    parts = partition_variance(scores)
    for subset, truth in ((("a", "b"), 0.3), (("a",), 0.2), (("b",), 0.1)):
        assert abs(parts.component(*subset).mean() - truth) < 0.03
        interval = parts.interval(*subset, targets=slice(None))
        np.testing.assert_allclose(interval.mean, parts.component(*subset).mean(), atol=1e-12)
    assert parts.interval("b", "a").mean.shape == (v,)


def test_suppression_is_negative_and_counted() -> None:
    """x = signal + disturbance, z = disturbance: z alone explains nothing and helps x, so what they share is
    negative, here -R2(x's gain), in sample too."""
    rng = np.random.default_rng(3)
    signal, disturbance = rng.standard_normal((2, 2000, 1))
    spaces = {"x": signal + disturbance, "z": disturbance}
    parts = partition_variance(joint_scores(spaces, signal + 0.01 * rng.standard_normal((2000, 6))))
    shared = parts.component("z", "x")
    assert (shared < -0.4).all()
    np.testing.assert_allclose(parts.unique("x") + parts.unique("z") + shared, parts.total, atol=1e-12)
    assert parts.negatives == {("x",): 0, ("z",): 0, ("x", "z"): 6}


def test_scores_that_are_missing_make_a_target_missing() -> None:
    scores = {"a": [0.1, np.nan], "b": [0.2, 0.2], frozenset({"a", "b"}): [0.3, 0.3]}
    parts = partition_variance(scores)
    assert [np.isnan(value).tolist() for value in parts.components.values()] == [[False, True]] * 3
    assert np.isnan(parts.total[1])
    by_fold = partition_variance({key: np.array([value, [0.0, 0.1]]) for key, value in scores.items()})
    np.testing.assert_allclose(by_fold.component("a"), [0.05, 0.0], atol=1e-15)
    np.testing.assert_array_equal(scores["a"], [0.1, np.nan])


def test_what_cannot_be_partitioned() -> None:
    with pytest.raises(ValueError, match=r"lacks the joint models of \[\('a', 'b'\)\]"):
        partition_variance({"a": [0.1], "b": [0.2]})
    with pytest.raises(ValueError, match=r"shape \(2,\), the first ones \(1,\)"):
        partition_variance({"a": [0.1], "b": [0.2, 0.1]})
    with pytest.raises(ValueError, match=r"\['a', 'b'\] twice"):
        partition_variance({"a": [0.1], "b": [0.2], ("a", "b"): [0.3], ("b", "a"): [0.3]})
    with pytest.raises(ValueError, match="at least one feature space"):
        partition_variance({})
    parts = partition_variance({"a": [0.1], "b": [0.2], ("a", "b"): [0.3]})
    with pytest.raises(KeyError, match="the partition is of"):
        parts.component("a", "c")
    with pytest.raises(ValueError, match="by fold or subject"):
        parts.interval("a")
    by_fold = partition_variance({"a": [[np.nan], [0.1]]})
    with pytest.raises(ValueError, match="none has a value in every fold"):
        by_fold.interval("a", targets=[0])


def test_unique_variance() -> None:
    with pytest.raises(ValueError, match=r"full has shape \(2,\) and without \(1,\)"):
        unique_variance([0.1, 0.2], [0.1])
    assert np.isnan(unique_variance([np.nan], [0.1]))[0]


# --- chains


def test_a_chain_adds_up_both_ways(rng: np.random.Generator) -> None:
    spaces, y = make(rng, "abcd")
    chain = chain_partition(joint_scores(spaces, y), list("abcd"))
    full = r2(np.hstack(list(spaces.values())), y)
    np.testing.assert_allclose(chain.adds_to_earlier.sum(axis=0), full, atol=1e-12)
    np.testing.assert_allclose(chain.adds_to_later.sum(axis=0), full, atol=1e-12)
    np.testing.assert_allclose(chain.adds_to_earlier[0], r2(spaces["a"], y), atol=1e-12)
    np.testing.assert_allclose(
        chain.adds_to_later[1],
        r2(np.hstack([spaces[name] for name in "bcd"]), y)
        - r2(np.hstack([spaces[name] for name in "cd"]), y),
        atol=1e-12,
    )


@pytest.mark.parametrize("drivers", [(0,), (2,), (1, 3), (0, 4)])
def test_the_stretch_that_drives_a_target_is_found(
    drivers: tuple[int, ...], rng: np.random.Generator
) -> None:
    spaces = {f"layer {i}": rng.standard_normal((500, 2)) for i in range(5)}
    y = sum(spaces[f"layer {i}"] @ np.ones((2, 3)) for i in drivers) + 0.3 * rng.standard_normal((500, 3))
    scores = {names: r2(np.hstack([spaces[n] for n in names]), y) for names in chain_subsets(spaces)}
    chain = chain_partition(scores, list(spaces))
    np.testing.assert_array_equal(chain.first, min(drivers))
    np.testing.assert_array_equal(chain.last, max(drivers))


def test_chains_without_a_score() -> None:
    scores = {("a",): [[0.1, -0.1, 0.2]], ("a", "b"): [[0.3, -0.2, 0.2]], ("b",): [[0.2, 0.1, np.nan]]}
    chain = chain_partition(scores, ["a", "b"])
    np.testing.assert_array_equal(chain.first, [0, -1, -1])
    np.testing.assert_array_equal(chain.last, [1, -1, -1])
    assert np.isnan(chain.adds_to_earlier[:, 0, 2]).all()
    with pytest.raises(ValueError, match=r"lacks the joint models of \[\('b', 'a'\)"):
        chain_partition({("a",): [0.1], ("b",): [0.1]}, ["b", "a"])
    with pytest.raises(ValueError, match="share=0"):
        chain_partition(scores, ["a", "b"], share=0)


# --- Omega


def test_omega_by_hand() -> None:
    """Controls .125, model .140; a joint score below the model's is taken as the model's."""
    assert omega(0.14, 0.14, 0.125) == pytest.approx(100 * (1 - 0.015 / 0.14))
    assert omega(0.14, 0.10, 0.125) == pytest.approx(100 * (1 - 0.015 / 0.14))
    assert omega(0.14, 0.10, 0.125, floor=False) == 100
    assert omega(0.14, 0.40, 0.1) == 0
    assert omega(0.1, 0.15, -0.2) == 0
    found = omega([0.1, -0.1, np.nan, 0.1], [0.1, 0.2, 0.2, np.nan], [0.0, 0.0, 0.0, 0.1])
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, True])
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(1,\), \(1,\)"):
        omega([0.1, 0.1], [0.1], [0.1])


def test_omega_is_of_subjects_means(rng: np.random.Generator) -> None:
    sizes = (30, 50, 20)
    models, joints, controls = ([rng.uniform(0, 0.3, size) for size in sizes] for _ in range(3))
    joints[1][4], models[2][:] = np.nan, -0.1
    found = subject_omega(models, joints, controls)
    expected = []
    for one, both, simple in zip(models, joints, controls, strict=True):
        known = np.isfinite(both)
        expected.append(float(omega(one[known].mean(), both[known].mean(), simple[known].mean())))
    np.testing.assert_allclose(found.values, expected)
    assert np.isnan(found.values[2])
    np.testing.assert_allclose(found.mean.mean, np.mean(expected[:2]))
    np.testing.assert_array_equal(found.n_targets, [30, 49, 20])
    with pytest.raises(ValueError, match="of 3, 2 and 3 subjects"):
        subject_omega(models, joints[:2], controls)
    with pytest.raises(ValueError, match="subject 0: shapes"):
        subject_omega([[0.1]], [[0.1, 0.2]], [[0.1]])


def test_omega_of_a_model_that_adds_nothing_and_of_one_that_adds_all(rng: np.random.Generator) -> None:
    """Least squares, in sample: a model made of the controls' columns has Omega 100, one orthogonal to them
    0."""
    q = np.linalg.qr(centred(rng.standard_normal((80, 5))))[0]
    controls, other = q[:, :3], q[:, 3:]
    y = q @ np.ones((5, 6)) + 0.2 * rng.standard_normal((80, 6))
    inside = controls[:, :2]
    simple = r2(controls, y)
    np.testing.assert_allclose(omega(r2(inside, y), r2(np.hstack([inside, controls]), y), simple), 100)
    both = r2(np.hstack([other, controls]), y)
    np.testing.assert_allclose(omega(r2(other, y), both, simple), 0, atol=1e-9)

"""Conditions that must agree, and what a ceiling does with scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.science.ceilings import Ceiling
from voxridge.science.conditions import Conditions, Scores

MADE = Conditions("held-out runs", ("a", "b"), trim=(10, 5), repeats=10, n_samples=500)


def ceiling(values: list[float], **more: object) -> Ceiling:
    return Ceiling(np.array(values), "r", MADE, "signal power of 10 repeats", **more)  # type: ignore[arg-type]


# --- conditions


def test_equal_conditions_do_not_differ() -> None:
    assert MADE.differences(MADE) == []
    assert MADE.differences(replace(MADE, runs=("b", "a"))) == []
    assert MADE.differences(replace(MADE, n_samples=None)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"split": "shuffled"}, "split: held-out runs against shuffled"),
        ({"runs": ("a", "c")}, "runs: ['a', 'b'] against ['a', 'c']"),
        ({"trim": (10, 10)}, "trim: (10, 5) against (10, 10)"),
        ({"repeats": 1}, "repeats: 10 against 1"),
        ({"n_samples": 499}, "n_samples: 500 against 499"),
        ({"combine": "mean of runs"}, "combine: concatenated against mean of runs"),
    ],
)
def test_every_difference_is_named(change: dict[str, object], line: str) -> None:
    other = replace(MADE, **change)  # type: ignore[arg-type]
    assert MADE.differences(other) == [line]
    with pytest.raises(ValueError, match="was not made as the scores were") as error:
        ceiling([0.5]).normalise(Scores(np.array([0.1]), "r", other))
    assert line in str(error.value)


def test_several_differences_are_named_together() -> None:
    other = Conditions("shuffled", ("c",), n_samples=3)
    with pytest.raises(ValueError) as error:
        ceiling([0.5]).normalise(Scores(np.array([0.1, 0.2]), "signed r2", other))
    for word in (
        "metric: 'r' against 'signed r2'",
        "targets: 1 against 2",
        "split",
        "runs",
        "trim",
        "repeats",
    ):
        assert word in str(error.value)


def test_how_one_run_was_combined_makes_no_difference() -> None:
    one = Conditions("held-out runs", ("a",))
    assert one.differences(replace(one, combine="mean of runs")) == []


def test_conditions_through_json() -> None:
    assert Conditions.from_dict(json.loads(json.dumps(MADE.to_dict()))) == MADE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": ""}, "split is empty"),
        ({"runs": "story"}, "one string"),
        ({"runs": ("a", "a")}, "names a run twice"),
        ({"trim": (-1, 0)}, r"trim=\(-1, 0\)"),
        ({"repeats": 0}, "repeats=0"),
        ({"combine": "median"}, "combine='median'"),
    ],
)
def test_conditions_that_cannot_be(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conditions(**({"split": "s", "runs": ("a",)} | arguments))  # type: ignore[arg-type]


# --- dividing


def test_normalised_scores_keep_overshoot_and_count() -> None:
    found = ceiling([0.5, 0.1, np.nan, -0.2, 0.0, 0.8]).normalise(
        Scores(np.array([0.25, 0.3, 0.2, 0.1, 0.1, np.nan]), "r", MADE)
    )
    np.testing.assert_allclose(found.values, [0.5, 3.0, np.nan, np.nan, np.nan, np.nan])
    assert (found.n_above, found.n_undefined, found.n_floored) == (1, 3, 0)
    assert found.ceiling.n_undefined == 3


def test_a_floor_is_recorded_and_defines_nothing() -> None:
    floored = ceiling([0.5, 0.1, np.nan, -0.2]).with_floor(0.25)
    found = floored.normalise(Scores(np.array([0.25, 0.3, 0.2, 0.1]), "r", MADE))
    np.testing.assert_allclose(found.values, [0.5, 1.2, np.nan, np.nan])
    assert (found.n_floored, found.n_undefined, found.ceiling.floor) == (1, 2, 0.25)
    np.testing.assert_array_equal(floored.values, [0.5, 0.1, np.nan, -0.2])
    assert floored.with_floor(None).floor is None


def test_a_ceiling_of_r_squared_is_the_square() -> None:
    squared = ceiling([0.5, -0.1, np.nan], low=[0.4, -0.2, 0], high=[0.6, 0.1, 0], floor=0.2).as_metric("R2")
    np.testing.assert_allclose(squared.values, [0.25, -0.01, np.nan])
    assert squared.low is not None
    assert squared.floor is not None
    np.testing.assert_allclose(squared.low, [0.16, -0.04, 0])
    assert (squared.metric, round(squared.floor, 12)) == ("R2", 0.04)
    scores = Scores(np.array([0.1, 0.1, 0.1]), "R2", MADE)
    assert squared.normalise(scores).values[0] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="only one of 'r'"):
        squared.as_metric("signed r2")


def test_the_mean_over_runs_is_not_squared() -> None:
    averaged = replace(ceiling([0.5]), conditions=replace(MADE, combine="mean of runs"))
    with pytest.raises(ValueError, match="not the square of the mean"):
        averaged.as_metric("signed r2")
    assert averaged.as_metric("r") is averaged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "SPE"}, "share of the signal power already"),
        ({"metric": "r2"}, "metric='r2'"),
        ({"values": np.zeros((2, 2))}, r"values has shape \(2, 2\)"),
        ({"low": np.zeros(3)}, r"low has shape \(3,\) and values has shape \(1,\)"),
        ({"floor": 1.5}, "floor=1.5"),
    ],
)
def test_ceilings_that_cannot_be(arguments: dict[str, object], message: str) -> None:
    whole = {"values": np.ones(1), "metric": "r", "conditions": MADE, "method": "m"} | arguments
    with pytest.raises(ValueError, match=message):
        Ceiling(**whole)  # type: ignore[arg-type]


def test_scores_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="metric='accuracy'"):
        Scores(np.ones(1), "accuracy", MADE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"values has shape \(1, 1\)"):
        Scores(np.ones((1, 1)), "r", MADE)


def test_a_ceiling_is_kept_in_a_file(tmp_path: Path) -> None:
    made = ceiling(
        [0.5, np.nan], low=[0.4, np.nan], high=[0.6, np.nan], level=0.9, details={"seed": 3}, floor=0.1
    )
    made.save(tmp_path / "ceiling.h5")
    again = Ceiling.load(tmp_path / "ceiling.h5")
    for name in ("values", "low", "high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    for name in ("metric", "conditions", "method", "level", "floor", "details"):
        assert getattr(again, name) == getattr(made, name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        ceiling([0.5]).write_to(file.create_group("ceilings/smoke"))
        assert Ceiling.read_from(file["ceilings/smoke"]).low is None
        with pytest.raises(ValueError, match="group /ceilings: no ceiling"):
            Ceiling.read_from(file["ceilings"])


def test_numbers_of_numpy_are_written_too(tmp_path: Path) -> None:
    made = Conditions("a", ("b",), trim=(np.int64(1), 0), repeats=np.int64(3), n_samples=np.int64(7))
    details = {"block": np.int64(20), "rate": np.float32(0.5), "ends": np.arange(2)}
    ceiling = Ceiling([0.5], "r", made, "x", floor=np.float32(0.25), details=details)  # type: ignore[arg-type]
    ceiling.save(tmp_path / "ceiling.h5")
    read = Ceiling.load(tmp_path / "ceiling.h5")
    assert read.conditions == made
    assert read.floor == 0.25
    assert read.details == {"block": 20, "rate": 0.5, "ends": [0, 1]}

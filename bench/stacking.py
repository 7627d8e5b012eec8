"""What the weights of a stack cost: `python -m bench.stacking`.

Predictions of several models for a recording, a block of rows at a time as they would come from runs. First
the sums of products of their residuals: voxridge's pass against numpy's, one product of two models after the
other, all of them as published code has it and once each. Then the convex weights: voxridge's programme for
every target against cvxopt's solver in a loop, as published code has it, against scipy's SLSQP in a loop, and
against a projected gradient for all targets at once in numpy. himalaya has no stacked regression. Loops are
timed for some targets, spread over all, and multiplied up. Rounds are interleaved. The answers are compared
by what is to be made small, w'Pw, and by the weights. Writes results/stacking.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.tables import band, interleaved, show, write_json

Block = tuple[np.ndarray, dict[str, np.ndarray]]
SUMS_OF_ALL = "numpy, every pair twice"


def blocks(rows: int, targets: int, models: int, rows_at_once: int) -> Iterator[Block]:
    """float32: responses of signal and noise, and predictions that share part of what they get wrong."""
    rng = np.random.default_rng(0)
    quality = rng.uniform(0.3, 1.0, (models, targets)).astype(np.float32)
    for begin in range(0, rows, rows_at_once):
        shape = min(rows_at_once, rows - begin), targets
        signal, shared, truth = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
        truth += signal
        signal += shared
        predictions = {}
        for m in range(models):
            own = rng.standard_normal(shape, dtype=np.float32)
            own *= 1 - quality[m]
            own += quality[m] * signal
            predictions[f"model {m}"] = own
        yield truth, predictions


# --- sums of products


class Numpy:
    """Sums of products, one pair of models after the other; residuals and products in float32."""

    def __init__(self, models: int, targets: int, *, twice: bool) -> None:
        self.sums, self.twice = np.zeros((targets, models, models)), twice

    def add(self, truth: np.ndarray, predictions: dict[str, np.ndarray]) -> None:
        errors = [truth - part for part in predictions.values()]
        for i, left in enumerate(errors):
            for j, right in enumerate(errors if self.twice else errors[: i + 1]):
                self.sums[:, i, j] += (left * right).sum(axis=0)
                if not self.twice:
                    self.sums[:, j, i] = self.sums[:, i, j]


def race_sums(options: argparse.Namespace) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Seconds for all rows, by block times summed up; and the mean products, (targets, models, models)."""
    from voxridge.science.stacking import ResidualProducts

    few = min(options.targets, options.numpy_targets)
    names = [f"model {m}" for m in range(options.models)]
    seconds: dict[str, list[float]] = {}
    for number in range(options.rounds):
        ways: dict[str, tuple[int, Any]] = {
            "voxridge": (options.targets, ResidualProducts(names, options.targets)),
            "numpy, every pair once": (few, Numpy(options.models, few, twice=False)),
            SUMS_OF_ALL: (few, Numpy(options.models, few, twice=True)),
        }
        taken = dict.fromkeys(ways, 0.0)
        for turn, (truth, predictions) in enumerate(blocks(*sizes(options))):
            order = list(ways) if (turn + number) % 2 == 0 else list(ways)[::-1]
            for name in order:
                targets, sums = ways[name]
                here = np.ascontiguousarray(truth[:, :targets])
                part = {key: np.ascontiguousarray(value[:, :targets]) for key, value in predictions.items()}
                begin = time.perf_counter()
                sums.add(here, part)
                taken[name] += (time.perf_counter() - begin) * options.targets / targets
        for name in ways:
            seconds.setdefault(name, []).append(taken[name])
            print(f"round {number + 1}: {name}, {taken[name]:.4g} s", file=sys.stderr)
    found = ways["voxridge"][1].mean_products()
    rows = []
    for name, (targets, sums) in ways.items():
        other = found if name == "voxridge" else sums.sums / options.rows
        difference = np.abs(other[:few] - found[:few]).max() / np.abs(found[:few]).max()
        rows.append(row(name, seconds, targets) | {"relative_difference": float(difference)})
    return rows, found


# --- weights


def by_voxridge(p: np.ndarray) -> np.ndarray:
    from voxridge.solvers.stacking import simplex_weights

    return simplex_weights(p)


def by_cvxopt(p: np.ndarray) -> np.ndarray:
    """One call for each target with the solver's own tolerances, constraints made once."""
    from cvxopt import matrix, solvers

    m = p.shape[1]
    linear, bound = matrix(np.zeros(m)), matrix(np.zeros(m))
    above, ones, one = matrix(-np.eye(m)), matrix(np.ones((1, m))), matrix(1.0)
    options = {"show_progress": False}
    return np.stack(
        [
            np.ravel(solvers.qp(matrix(each), linear, above, bound, ones, one, options=options)["x"])
            for each in p
        ]
    )


def by_slsqp(p: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    m = p.shape[1]
    limits = {"bounds": [(0, 1)] * m, "constraints": {"type": "eq", "fun": lambda w: w.sum() - 1}}
    return np.stack(
        [
            minimize(
                lambda w, each=each: w @ each @ w,
                np.full(m, 1 / m),
                jac=lambda w, each=each: 2 * each @ w,
                method="SLSQP",
                options={"ftol": 1e-12},
                **limits,
            ).x
            for each in p
        ]
    )


def by_gradient(p: np.ndarray, steps: int = 300) -> np.ndarray:
    """Accelerated projected gradient for all targets at once."""
    m = p.shape[1]
    size = np.trace(p, axis1=1, axis2=2)[:, None]
    w = point = np.full(p.shape[:2], 1 / m)
    momentum = 1.0
    for _ in range(steps):
        new = onto_simplex(point - np.einsum("vij,vj->vi", p, point) / size)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point = new + (momentum - 1) / following * (new - w)
        w, momentum = new, following
    return w


def onto_simplex(points: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex to each row, by sorting."""
    m = points.shape[1]
    falling = -np.sort(-points, axis=1)
    excess = (falling.cumsum(axis=1) - 1) / np.arange(1, m + 1)
    last = (falling > excess).sum(axis=1) - 1
    return np.maximum(points - excess[np.arange(len(points)), last][:, None], 0)


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "voxridge": by_voxridge,
    "cvxopt, one by one": by_cvxopt,
    "SLSQP, one by one": by_slsqp,
    "projected gradient, 300 steps": by_gradient,
}


def race_weights(p: np.ndarray, options: argparse.Namespace) -> list[dict[str, Any]]:
    some = np.linspace(0, len(p) - 1, min(options.loop_targets, len(p))).astype(int)
    used = {name: p[some] if "one by one" in name else p for name in WAYS}
    found = {name: way(used[name]) for name, way in WAYS.items()}  # warms up, too
    seconds: dict[str, list[float]] = {}
    for number, name in interleaved(list(WAYS), options.rounds):
        begin = time.perf_counter()
        WAYS[name](used[name])
        taken = (time.perf_counter() - begin) * len(p) / len(used[name])
        seconds.setdefault(name, []).append(taken)
        print(f"round {number + 1}: {name}, {taken:.4g} s", file=sys.stderr)
    rows = []
    for name, weights in found.items():
        own = used[name]
        best = found["voxridge"] if len(own) == len(p) else found["voxridge"][some]
        reached, least = (np.einsum("vi,vij,vj->v", w, own, w) for w in (weights, best))
        rows.append(
            row(name, seconds, len(own))
            | {
                "largest_excess": float((reached / least - 1).max()),  # below 0: voxridge missed the minimum
                "least_excess": float((reached / least - 1).min()),
                "weight_difference": float(np.abs(weights - best).max()),
                "least_weight": float(weights.min()),
            }
        )
    return rows


def row(name: str, seconds: dict[str, list[float]], timed: int) -> dict[str, Any]:
    ratios = [other / own for other, own in zip(seconds[name], seconds["voxridge"], strict=True)]
    least, middle, most = band(ratios)
    return {
        "way": name,
        "seconds": round(float(np.median(seconds[name])), 5),
        "times_voxridge": round(middle, 1),
        "times_min": round(least, 1),
        "times_max": round(most, 1),
        "timed_targets": timed,
    }


def sizes(options: argparse.Namespace) -> tuple[int, int, int, int]:
    return options.rows, options.targets, options.models, options.rows_at_once


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--targets", type=int, default=95_556)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows-at-once", type=int, default=150, help="rows of a block; memory goes with it")
    parser.add_argument("--numpy-targets", type=int, default=8192, help="for how many numpy's sums are timed")
    parser.add_argument("--loop-targets", type=int, default=500, help="for how many the loops are timed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of stacking.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    sums, p = race_sums(options)
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    record = {
        "sums": sums,
        "weights": race_weights(p, options),
        "machine": describe(dtype="float32", **settings),
    }
    write_json(options.out / "stacking.json", record)
    for name in ("sums", "weights"):
        print(f"\n{name}\n{show(record[name], list(record[name][0]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Banded ridge against himalaya's random search: `python -m bench.banded`.

Two problems: fewer columns than samples, and more. On each, first a race over the same weights of bands
(himalaya takes them as they are): voxridge.BandedRidgeCV without refinement, himalaya's GroupRidgeCV, and
where there are more columns than samples its MultipleKernelRidgeCV on the kernels of the bands, which its
documentation advises there. Rounds are interleaved; the cross-validated scores of every candidate are
compared. Then what a search is worth: random searches of several lengths, with the very scores that
himalaya's would have, against voxridge's default, corners and refinement included: cross-validated score,
score on runs that no search has seen, and seconds; himalaya's seconds for each length are those of the race,
which grow with the number of candidates. Writes results/banded.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.problems import delayed
from bench.tables import band, interleaved, show, verdict, write_json

DELAYS = (1, 2, 3, 4)
EXPECTED = 5.0  # times as fast as GroupRidgeCV, at equal or better score
SHAPES: dict[str, dict[str, int]] = {
    "fewer columns": {"samples": 3000, "bands": 2, "features": 128, "targets": 5000},
    "more columns": {"samples": 1500, "bands": 4, "features": 256, "targets": 5000},
}
FOLDS, N_ALPHAS = 5, 20
LENGTHS = (10, 20, 50, 100)  # of random searches


@dataclass(frozen=True)
class Data:
    """float32; the ``new`` are two runs more, which no search sees."""

    features: dict[str, np.ndarray]
    responses: np.ndarray
    new_features: dict[str, np.ndarray]
    new_responses: np.ndarray
    runs: list[int]
    new_runs: list[int]

    def delayed(self) -> list[np.ndarray]:
        """Bands as himalaya takes them: the same numbers, made outside the clock."""
        return [delayed(f, DELAYS, self.runs) for f in self.features.values()]


def make(shape: dict[str, int], scale: float, seed: int = 0) -> Data:
    """Bands of features that are smooth in time, of unit variance. Each target hears a mixture of them, its
    shares drawn from Dirichlet(0.5), through finite impulse responses; that is 0 to 40 % of its variance."""
    rng = np.random.default_rng(seed)
    length = round(shape["samples"] * scale / FOLDS)
    runs, new_runs = [length] * FOLDS, [length] * 2
    n, n_bands, n_targets = 7 * length, shape["bands"], round(shape["targets"] * scale)
    width = max(4, round(shape["features"] * scale))
    features = {f"band {b}": _smooth(rng, n, width) for b in range(n_bands)}
    shares = np.sqrt(rng.dirichlet([0.5] * n_bands, n_targets)).astype(np.float32)
    signal = np.zeros((n, n_targets), dtype=np.float32)
    for number, f in enumerate(features.values()):
        part = delayed(f, DELAYS, runs + new_runs) @ rng.standard_normal((4 * width, n_targets), np.float32)
        signal += part / part.std(axis=0) * shares[:, number]
    signal /= signal.std(axis=0)
    explained = rng.uniform(0, 0.4, n_targets).astype(np.float32)
    noise = rng.standard_normal((n, n_targets), np.float32)
    responses = np.sqrt(explained) * signal + np.sqrt(1 - explained) * noise
    seen = FOLDS * length
    return Data(
        {name: f[:seen] for name, f in features.items()},
        responses[:seen],
        {name: f[seen:] for name, f in features.items()},
        responses[seen:],
        runs,
        new_runs,
    )


def _smooth(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    f = rng.standard_normal((n, width), np.float32)
    f[1:] += 0.5 * f[:-1]
    return np.ascontiguousarray((f - f.mean(axis=0)) / f.std(axis=0))


def alphas() -> np.ndarray:
    return np.logspace(0, 6, N_ALPHAS)


def candidates(n_bands: int, n: int) -> np.ndarray:
    """Even weights and draws, none of them 0: GroupRidgeCV divides by their roots."""
    from voxridge.solvers.banded_candidates import random_candidates

    drawn = np.maximum(random_candidates(n_bands, n, corners=False), 1e-6)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


# --- the competitors: seconds, and the score of every candidate with the best penalty of each target


def by_voxridge(data: Data, gammas: np.ndarray) -> np.ndarray:
    return np.asarray(_voxridge(data, n_iter=gammas, n_refine=0).cv_scores_)


def _voxridge(data: Data, **options: Any) -> Any:
    from voxridge._warnings import AlphaEdgeWarning
    from voxridge.banded import BandedRidgeCV

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaEdgeWarning)
        model = BandedRidgeCV(alphas(), DELAYS, progress=False, **options)
        return model.fit(data.features, data.responses, runs=data.runs)


def by_group_ridge(data: Data, gammas: np.ndarray, xs: list[np.ndarray], backend: str) -> np.ndarray:
    from himalaya.ridge import GroupRidgeCV

    to, options = _himalaya(data, gammas, backend)
    model = GroupRidgeCV("input", **options)
    model.fit([to(x) for x in xs], to(data.responses))
    return np.asarray(model.cv_scores_)


def by_kernels(data: Data, gammas: np.ndarray, xs: list[np.ndarray], backend: str) -> np.ndarray:
    from himalaya.kernel_ridge import MultipleKernelRidgeCV

    to, options = _himalaya(data, gammas, backend)
    options["solver_params"].pop("warn")
    kernels = np.stack([x @ x.T for x in xs])
    model = MultipleKernelRidgeCV(kernels="precomputed", solver="random_search", **options)
    model.fit(to(kernels), to(data.responses))
    return np.asarray(model.cv_scores_)


def _himalaya(data: Data, gammas: np.ndarray, backend: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    from himalaya.backend import set_backend
    from himalaya.scoring import correlation_score
    from sklearn.model_selection import PredefinedSplit

    to = set_backend(backend).asarray
    params = {
        "n_iter": to(gammas.astype(np.float32)),
        "alphas": to(alphas().astype(np.float32)),
        "score_func": correlation_score,
        "n_targets_batch": 5000,
        "progress_bar": False,
        "warn": False,
    }
    folds = PredefinedSplit(np.repeat(np.arange(len(data.runs)), data.runs))
    return to, {"solver_params": params, "fit_intercept": True, "cv": folds}


# --- the two parts


def race(data: Data, n_candidates: int, rounds: int, backends: Sequence[str]) -> list[dict[str, Any]]:
    """Seconds of everybody in every round over the same candidates, and how far scores are apart."""
    gammas, xs = candidates(len(data.features), n_candidates), data.delayed()
    ways: dict[str, Callable[[], np.ndarray]] = {"voxridge": lambda: by_voxridge(data, gammas)}
    for backend in backends if importlib.util.find_spec("himalaya") else ():
        ways[f"himalaya GroupRidgeCV, {backend}"] = lambda b=backend: by_group_ridge(data, gammas, xs, b)  # type: ignore[misc]
        if sum(x.shape[1] for x in xs) > len(xs[0]):
            name = f"himalaya MultipleKernelRidgeCV, {backend}"
            ways[name] = lambda b=backend: by_kernels(data, gammas, xs, b)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, np.ndarray] = {}
    for number, name in interleaved(list(ways), rounds):
        begin = time.perf_counter()
        scores[name] = ways[name]()
        seconds[name].append(time.perf_counter() - begin)
        print(f"round {number + 1}: {name}, {seconds[name][-1]:.4g} s", file=sys.stderr)
    rows = []
    for name in ways:
        ratios = [other / own for other, own in zip(seconds[name], seconds["voxridge"], strict=True)]
        least, middle, most = band(ratios)
        rows.append(
            {
                "way": name,
                "seconds": round(float(np.median(seconds[name])), 3),
                "seconds_per_candidate": float(np.median(seconds[name])) / len(gammas),
                "times_voxridge": round(middle, 2),
                "times_min": round(least, 2),
                "times_max": round(most, 2),
                "voxridge_is": "" if name == "voxridge" else verdict(ratios),
                "cv_score": float(scores[name].max(axis=0).mean()),
                "max_score_difference": float(np.abs(scores[name] - scores["voxridge"]).max()),
            }
        )
    return rows


def searches(data: Data, lengths: Sequence[int], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What searches find: random ones with the scores that himalaya's would have, then voxridge's own."""
    theirs = {row["way"]: row["seconds_per_candidate"] for row in rows[1:]}
    every = candidates(len(data.features), max(lengths))
    plans: dict[str, dict[str, Any]] = {f"random, {n}": {"n_iter": every[:n], "n_refine": 0} for n in lengths}
    plans["voxridge, refined"] = {}
    found = []
    for name, options in plans.items():
        begin = time.perf_counter()
        model = _voxridge(data, **options)
        seconds = time.perf_counter() - begin
        unseen = model.score(data.new_features, data.new_responses, data.new_runs, per_target=False)
        row = {
            "search": name,
            "candidates_per_target": int(np.isfinite(model.cv_scores_).sum(axis=0).max()),
            "voxridge_seconds": round(seconds, 3),
            "cv_score": float(model.best_cv_scores_.mean()),
            "unseen_score": float(unseen),
        }
        for way, each in theirs.items():
            row[f"{way}: seconds"] = round(each * len(options["n_iter"]), 1) if options else ""
        found.append(row)
        print(f"{name}: {seconds:.4g} s, {row['unseen_score']:.5f} on unseen runs", file=sys.stderr)
    return found


def summary(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    """Expected and found: the least of GroupRidgeCV's ratios over the same candidates; the refined search
    against the longest random one."""
    group = [row for row in rows if "GroupRidgeCV" in row["way"]]
    refined, longest = found[-1], found[-2]
    result: dict[str, Any] = {
        "expected_times": EXPECTED,
        "found_times": min((row["times_min"] for row in group), default=None),
        "largest_score_difference": max((row["max_score_difference"] for row in group), default=None),
        "refined_less_longest_cv_score": refined["cv_score"] - longest["cv_score"],
        "refined_less_longest_unseen_score": refined["unseen_score"] - longest["unseen_score"],
    }
    for row in group:
        seconds = longest[f"{row['way']}: seconds"]
        result[f"refined against {row['way']}, {longest['search']}: times"] = round(
            seconds / refined["voxridge_seconds"], 1
        )
    return result


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="samples, features and targets times this")
    parser.add_argument("--candidates", type=int, default=6, help="in the race")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), help="of random searches")
    parser.add_argument("--backends", nargs="+", default=["numpy"], help="himalaya's, such as numpy torch")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of banded.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    record: dict[str, Any] = {}
    for name in options.shapes:
        data = make(SHAPES[name], options.scale)
        rows = race(data, options.candidates, options.rounds, options.backends)
        found = searches(data, options.lengths, rows)
        record[name] = {"race": rows, "searches": found, "summary": summary(rows, found)}
        print(f"\n{name}\n{show(rows, list(rows[0]))}\n\n{show(found, list(found[0]))}")
        print("\n".join(f"{key}: {value}" for key, value in record[name]["summary"].items()))
    record["machine"] = describe(
        shapes={name: SHAPES[name] for name in options.shapes},
        delays=DELAYS,
        folds=FOLDS,
        alphas=alphas().tolist(),
        scale=options.scale,
        dtype="float32",
        rounds=options.rounds,
        candidates=options.candidates,
    )
    write_json(options.out / "banded.json", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What bringing a 20-minute story to its scans costs: `python -m bench.alignment`.

The Lanczos product of voxridge against three ways to write the same formula: one loop over scans and words
that adds up the features ("loop"), that loop with the words outside the window passed over ("loop that
skips"), and the kernel made row by row and multiplied densely, as published code does it ("rows and a dense
product"). Then the Glover response against nilearn's function called for one feature after the other, on ten
minutes, timed for some of the features and multiplied up. Rounds are interleaved; results agree to the
difference recorded. Writes results/alignment.json.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.tables import band, interleaved, show, write_json

TR, LOBES = 2.0, 3
STORY = {"seconds": 1200.0, "words": 3600, "features": 4096}
RUN = {"seconds": 600.0, "words": 1800, "features": 4096}

Problem = tuple[np.ndarray, Any, np.ndarray]


def problem(sizes: dict[str, Any], scale: float) -> Problem:
    """Features float32, the words (random, 0.1 to 0.5 s long), and the middles of the scans."""
    from voxridge.features import Words, tr_times

    rng = np.random.default_rng(0)
    n_words, n_trs = round(sizes["words"] * scale), round(sizes["seconds"] * scale / TR)
    onset = np.sort(rng.uniform(0, n_trs * TR - 0.5, n_words))
    words = Words(["w"] * n_words, onset, onset + rng.uniform(0.1, 0.5, n_words))
    features = rng.standard_normal((n_words, round(sizes["features"] * scale)), dtype=np.float32)
    return features, words, tr_times(n_trs, TR)


def kernel(u: float) -> float:
    """The Lanczos window of `LOBES` lobes at `u`, in units of 1 / cutoff."""
    if u == 0:
        return 1.0
    if abs(u) > LOBES:
        return 0.0
    return LOBES * math.sin(math.pi * u) * math.sin(math.pi * u / LOBES) / (math.pi * u) ** 2


def by_voxridge(features: np.ndarray, words: Any, scans: np.ndarray) -> np.ndarray:
    from voxridge.features.alignment import Alignment

    return Alignment(TR, lobes=LOBES).to_trs(features, words, len(scans))


def by_loop(features: np.ndarray, words: Any, scans: np.ndarray, *, skip: bool = False) -> np.ndarray:
    times, cutoff = words.midpoint.tolist(), 1.0 / float(np.mean(np.diff(scans)))
    result = np.zeros((len(scans), features.shape[1]))
    for i, scan in enumerate(scans.tolist()):
        row = result[i]
        for j, time_ in enumerate(times):
            weight = kernel(cutoff * (scan - time_))
            if weight or not skip:
                row += weight * features[j]
    return result


def by_loop_that_skips(features: np.ndarray, words: Any, scans: np.ndarray) -> np.ndarray:
    return by_loop(features, words, scans, skip=True)


def by_rows(features: np.ndarray, words: Any, scans: np.ndarray) -> np.ndarray:
    cutoff = 1.0 / np.mean(np.diff(scans))
    weights = np.zeros((len(scans), len(words)))
    for i, scan in enumerate(scans):
        u = (scan - words.midpoint) * cutoff
        with np.errstate(invalid="ignore"):
            row = LOBES * np.sin(np.pi * u) * np.sin(np.pi * u / LOBES) / (np.pi**2 * u**2)
        row[u == 0] = 1.0
        row[np.abs(u) > LOBES] = 0.0
        weights[i] = row
    return np.asarray(weights @ features)


def by_voxridge_glover(features: np.ndarray, words: Any, scans: np.ndarray) -> np.ndarray:
    from voxridge.features.alignment import Alignment

    return Alignment(TR, "glover").to_trs(features, words, len(scans))


def by_nilearn(features: np.ndarray, words: Any, scans: np.ndarray) -> np.ndarray:
    from nilearn.glm.first_level import compute_regressor

    event = (words.onset, words.offset - words.onset)
    columns = [compute_regressor((*event, column), "glover", scans)[0][:, 0] for column in features.T]
    return np.stack(columns, axis=1)


Way = Callable[[np.ndarray, Any, np.ndarray], np.ndarray]
LANCZOS: dict[str, Way] = {
    "voxridge": by_voxridge,
    "rows and a dense product": by_rows,
    "loop that skips": by_loop_that_skips,
    "loop": by_loop,
}
GLOVER: dict[str, Way] = {"voxridge": by_voxridge_glover, "nilearn, one by one": by_nilearn}


def race(ways: dict[str, Way], data: Problem, rounds: int, only: dict[str, int]) -> list[dict[str, Any]]:
    """Seconds of every way in every round, and how far its result is from the loop's (or nilearn's).

    ``only``: the number of features for which a way is timed; the time is multiplied up to all of them.
    """
    features, words, scans = data
    share = {name: min(1.0, only.get(name, len(features[0])) / len(features[0])) for name in ways}
    used = {name: np.ascontiguousarray(features[:, : only.get(name)]) for name in ways}
    found = {name: way(used[name], words, scans) for name, way in ways.items()}  # warms up, too
    truth = found[list(ways)[-1]]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number, name in interleaved(list(ways), rounds):
        begin = time.perf_counter()
        ways[name](used[name], words, scans)
        seconds[name].append((time.perf_counter() - begin) / share[name])
        print(f"round {number + 1}: {name}, {seconds[name][-1]:.4g} s", file=sys.stderr)
    rows = []
    for name in ways:
        ratios = [other / own for other, own in zip(seconds[name], seconds["voxridge"], strict=True)]
        least, middle, most = band(ratios)
        width = min(truth.shape[1], found[name].shape[1])
        rows.append(
            {
                "way": name,
                "seconds": round(float(np.median(seconds[name])), 5),
                "times_voxridge": round(middle, 1),
                "times_min": round(least, 1),
                "times_max": round(most, 1),
                "timed_features": used[name].shape[1],
                "max_difference": float(np.abs(found[name][:, :width] - truth[:, :width]).max()),
                "largest_value": float(np.abs(truth).max()),
            }
        )
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length and features times this")
    parser.add_argument("--nilearn-features", type=int, default=64, help="for how many nilearn is timed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of alignment.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    story, run = problem(STORY, options.scale), problem(RUN, options.scale)
    record = {
        "lanczos": race(LANCZOS, story, options.rounds, {}),
        "glover": race(GLOVER, run, options.rounds, {"nilearn, one by one": options.nilearn_features}),
        "machine": describe(
            story=STORY,
            run=RUN,
            tr=TR,
            lobes=LOBES,
            scale=options.scale,
            dtype="float32",
            rounds=options.rounds,
        ),
    }
    write_json(options.out / "alignment.json", record)
    for name in ("lanczos", "glover"):
        print(f"\n{name}\n{show(record[name], list(record[name][0]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

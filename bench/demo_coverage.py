"""How often the demonstration's intervals hold the simulated truth: `python -m bench.demo_coverage`.

The simulated study of `voxridge demo` is drawn anew for every seed, on a surface of 1284 vertices and with
smooth noise in place of a language model's activations, and analysed in the same way. For each row of the
demonstration's table: the share of seeds whose interval (95 % over six listeners) holds the truth, the mean
of found minus truth, and the mean half-width of the interval. Writes results/demo-coverage.csv.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections import defaultdict

import numpy as np

from bench.machine import RESULTS

TR = 1.5


def sources(rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Stand-ins for a layer's activations, mixed from smooth noise, and the story's own word rate."""
    from voxridge.demo.run import story_stimuli
    from voxridge.demo.story import load_story

    rate = [stimulus.rate(TR) for stimulus in story_stimuli(load_story(), TR)]
    layer = []
    for run in rate:
        noise = rng.standard_normal((len(run) + 20, 12))
        for row in range(1, len(noise)):
            noise[row] += 0.6 * noise[row - 1]
        layer.append(noise[20:] @ rng.standard_normal((12, 12)))
    return layer, rate


def one_study(seed: int) -> list:
    """The rows of one simulated study."""
    from voxridge.demo.expected import expect
    from voxridge.demo.findings import find
    from voxridge.demo.listeners import coarse, make_audience
    from voxridge.demo.listening import score_listener
    from voxridge.demo.session import ScienceSettings, make_session
    from voxridge.responses.cortex import load_cortex

    settings = ScienceSettings(seed=seed)
    session = make_session(*sources(np.random.default_rng(seed)), settings)
    audience = make_audience(coarse(coarse(load_cortex())), session)
    expected = expect(audience, session)
    found = [score_listener(listener, audience, session) for listener in audience.listeners]
    return list(find(audience, session, expected, found).rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(arguments)
    rows = defaultdict(list)
    for seed in range(options.first, options.first + options.seeds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for row in one_study(seed):
                rows[row.unit, row.topic, row.name].append(row)
        hits = np.array([[row.inside for row in group] for group in rows.values()])
        print(f"seed {seed}: {hits[:, -1].sum()} of {len(hits)} inside; so far {hits.mean():.3f}", flush=True)
    write(rows)


def write(rows: dict) -> None:
    """One line per quantity and one for all."""
    path = RESULTS / "demo-coverage.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(
            ["unit", "topic", "where", "seeds", "inside", "mean truth", "mean error", "mean half-width"]
        )
        for (unit, topic, name), group in rows.items():
            inside = np.mean([row.inside for row in group])
            truth = np.mean([row.truth for row in group])
            error = np.mean([row.found - row.truth for row in group])
            half = np.mean([(row.high - row.low) / 2 for row in group])
            out.writerow(
                [
                    unit,
                    topic,
                    name,
                    len(group),
                    f"{inside:.3f}",
                    f"{truth:.4f}",
                    f"{error:+.4f}",
                    f"{half:.4f}",
                ]
            )
        everything = [row.inside for group in rows.values() for row in group]
        out.writerow(
            ["all", "", "", len(next(iter(rows.values()))), f"{np.mean(everything):.3f}", "", "", ""]
        )
    print(path.read_text(encoding="utf-8"), file=sys.stderr)


if __name__ == "__main__":
    main()

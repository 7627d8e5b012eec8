"""How often what scaling fits claim is true: `python -m bench.scaling_laws`.

Simulated scores of models with a known slope or plateau: the share of intervals that hold the slope, and how
often each verdict about a plateau is given. Families of models share an error in half of the cases; in the
hardest set of models each family has one size. Nothing is timed. Writes results/scaling-laws.json.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.tables import show, write_json

SLOPE, NOISE = 0.02, 0.004  # per decade; standard deviation of a model's own error
VERDICTS = ("flattens", "keeps rising", "cannot tell", "no rise")
Design = tuple[np.ndarray, np.ndarray]  # log10 sizes, families


def designs() -> dict[str, Design]:
    """Log sizes and family numbers of the sets of models."""
    from voxridge.science.model_table import known_models

    models = [model for model in known_models() if model.perplexity > 0]
    sizes = np.log10([model.parameters for model in models])
    families = np.unique([model.family for model in models], return_inverse=True)[1].reshape(-1)
    rng = np.random.default_rng(0)
    alike = np.repeat(np.arange(10), [2, 3, 4, 2, 3, 5, 3, 2, 4, 2])
    by_family = np.linspace(8, 10.5, 10)[alike] + 0.1 * rng.standard_normal(len(alike))
    four = np.repeat(np.arange(4), 3)
    return {
        "28 models, 8 families, study 2": (sizes, families),
        "30 models, 10 families of one size each": (by_family, alike),
        "12 models, 4 families": (np.tile([8.0, 9.0, 10.0], 4) + 0.2 * rng.standard_normal(12), four),
    }


def errors(families: np.ndarray, shared: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n_models, n) with a part that families share."""
    own = NOISE * rng.standard_normal((len(families), n))
    return np.asarray(own + shared * rng.standard_normal((int(families.max()) + 1, n))[families])


def coverage(n: int, n_wild: int) -> list[dict[str, Any]]:
    """Share of 95 % intervals that hold the slope."""
    from voxridge.science.scaling import fit_scaling
    from voxridge.science.scaling_families import wild_interval

    lines = []
    for name, (u, families) in designs().items():
        for shared in (0.0, 2 * NOISE):
            scores = SLOPE * u[:, None] + errors(families, shared, n, np.random.default_rng(1))
            labels = families.astype(str)
            fit = fit_scaling(10**u, scores, families=labels)
            row: dict[str, Any] = {"design": name, "shared_error": shared}
            for method, ends in fit.intervals.items():
                row[method] = float(np.mean((ends.low < SLOPE) & (ends.high > SLOPE)))
                row[f"{method} width"] = float(np.median(ends.high - ends.low))
            columns = scores[:, :n_wild].T
            wild = [wild_interval(fit_scaling(10**u, column, families=labels)) for column in columns]
            row["wild"] = float(np.mean([ends.low < SLOPE < ends.high for ends in wild]))
            row["wild width"] = float(np.median([ends.high - ends.low for ends in wild]))
            lines.append(row)
    return lines


def verdicts(n: int) -> list[dict[str, Any]]:
    """How often each verdict about a plateau is given."""
    from voxridge.science.saturation import plateau_test

    truths = {
        "straight": lambda u: SLOPE * u,
        "flat above 2 billion": lambda u: SLOPE * np.minimum(u, 9.3),
        "ceiling": lambda u: -0.06 * np.exp(-2.5 * (u - 8)),
        "no trend": lambda u: 0.0 * u,
    }
    lines = []
    for name, (u, families) in designs().items():
        for truth, curve in truths.items():
            for shared in (0.0, NOISE):
                rng = np.random.default_rng(2)
                scores = curve(u)[:, None] + errors(families, shared, n, rng)
                kin = families.astype(str) if shared else None
                found = [plateau_test(10**u, s, families=kin, n_draws=199).verdict for s in scores.T]
                shares = {verdict: found.count(verdict) / n for verdict in VERDICTS}
                lines.append({"design": name, "truth": truth, "shared_error": shared, **shares})
    return lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000, help="simulated sets of scores for intervals")
    parser.add_argument("--wild", type=int, default=500, help="of these, for the wild bootstrap")
    parser.add_argument("--tests", type=int, default=500, help="simulated sets of scores for verdicts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of scaling-laws.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    from voxridge._warnings import SmallSampleWarning

    options = parse(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallSampleWarning)
        intervals, plateaus = coverage(options.draws, options.wild), verdicts(options.tests)
    settings = {"slope": SLOPE, "noise": NOISE, "draws": options.draws, "wild": options.wild}
    machine = describe(**settings, tests=options.tests)
    record = {"coverage": intervals, "verdicts": plateaus, "machine": machine}
    write_json(options.out / "scaling-laws.json", record)
    print(show(intervals, list(intervals[0])))
    print(show(plateaus, list(plateaus[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

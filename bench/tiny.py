"""What a fit costs where there is nothing to compute: `python -m bench.tiny`.

100 samples x 10 features x 1 target, voxridge's estimators against scikit-learn's, in one process: calls of
the two take turns, a thousand times, and the ratio is the median over the turns of (scikit-learn's time /
voxridge's), above 1 where voxridge is faster. Prints JSON; `--output` writes it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Action = Callable[[], Any]

SIZES = {"n": 100, "p": 10, "v": 1}  # samples, features, targets
ALPHAS = np.logspace(-1, 3, 10)
MEASURED: dict[str, dict[str, Any]] = {
    "Ridge": {},
    "RidgeCV": {"alphas": ALPHAS},
    "RidgeCV, 5 folds": {"alphas": ALPHAS, "cv": 5},
}


def pairs(dtype: str) -> dict[str, tuple[Action, Action]]:
    """For every action its two versions: scikit-learn's, voxridge's."""
    from sklearn import linear_model as theirs

    from voxridge import linear_model as ours

    rng = np.random.default_rng(0)
    x = rng.standard_normal((SIZES["n"], SIZES["p"])).astype(dtype)
    y = (x @ rng.standard_normal(SIZES["p"]) + rng.standard_normal(SIZES["n"])).astype(dtype)
    actions: dict[str, tuple[Action, Action]] = {}
    for name, parameters in MEASURED.items():
        kind = name.partition(",")[0]
        models = [getattr(package, kind)(**parameters).fit(x, y) for package in (theirs, ours)]
        np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-3, atol=1e-5)
        actions[f"{name}: fit"] = partial(models[0].fit, x, y), partial(models[1].fit, x, y)
        if kind == name:
            actions[f"{name}: predict"] = partial(models[0].predict, x), partial(models[1].predict, x)
    return actions


def race(theirs: Action, ours: Action, turns: int) -> dict[str, Any]:
    """Medians of the times in microseconds, and of the ratio with its quartiles; who begins alternates."""
    for action in (theirs, ours) * 3:
        action()
    seconds = np.empty((turns, 2))
    for turn in range(turns):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            begin = time.perf_counter()
            (theirs, ours)[which]()
            seconds[turn, which] = time.perf_counter() - begin
    low, ratio, high = np.percentile(seconds[:, 0] / seconds[:, 1], [25, 50, 75])
    scikit_learn, voxridge = np.median(seconds, axis=0) * 1e6
    return {
        "ratio": round(float(ratio), 2),
        "ratio_quartiles": [round(float(low), 2), round(float(high), 2)],
        "sklearn_us": round(float(scikit_learn), 1),
        "voxridge_us": round(float(voxridge), 1),
    }


def measure(turns: int, dtype: str) -> dict[str, dict[str, Any]]:
    return {name: race(*both, turns) for name, both in pairs(dtype).items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--output", type=Path, help="a .json file")
    options = parser.parse_args(arguments)
    from bench.machine import describe

    races = measure(options.turns, options.dtype)
    load = os.getloadavg()[0]
    machine = describe(**SIZES, turns=options.turns, dtype=options.dtype, load_1min=load)
    text = json.dumps({"races": races, "machine": machine}, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

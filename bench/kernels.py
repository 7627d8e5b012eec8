"""Grams of a delayed design, against building the delayed matrix and calling SYRK: `python -m bench.kernels`.

The peer is the best that a user does with scipy: the delayed matrix in the dtype of the product, ssyrk or
dsyrk of the same BLAS that voxridge calls, which fills one triangle. It is not asked to mirror that triangle;
voxridge gives both. Both make their output inside the clock.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.linalg.blas import dsyrk, ssyrk

from bench.machine import RESULTS, describe
from bench.problems import KERNEL_SHAPES, Floating, KernelShape, delayed, make_features
from bench.tables import Row, band, interleaved, show, verdict, write_csv, write_json

Side = Literal["primal", "dual"]
_COLUMNS = (
    *(
        "shape",
        "side",
        "dtype",
        "voxridge_s",
        "peer_s",
        "materialise_share",
        "ratio_min",
        "ratio",
        "ratio_max",
    ),
    *("verdict", "voxridge_error", "peer_error"),
)


def peer(features: Floating, shape: KernelShape, side: Side, dtype: Any) -> tuple[Floating, float]:
    """One triangle of X'X or X X', and the seconds spent on building X."""
    start = time.perf_counter()
    x = delayed(features, shape.delays, shape.runs, dtype)
    building = time.perf_counter() - start
    syrk = ssyrk if x.dtype == np.float32 else dsyrk
    # x.T is x in Fortran order, which goes to BLAS without a copy; its upper triangle is the lower one of .T
    return syrk(1.0, x.T, trans=side == "dual").T, building


def ours(features: Floating, shape: KernelShape, side: Side, dtype: Any) -> Floating:
    from voxridge.solvers import delayed_gram, delayed_kernel

    function = delayed_gram if side == "primal" else delayed_kernel
    gram: Floating = function(features, shape.delays, runs=shape.runs, dtype=dtype)
    return gram


def compare(name: str, side: Side, dtype: Any, n_rounds: int) -> Row:
    """Times of both in interleaved rounds after a warm-up of each, with their errors against float64."""
    shape = KERNEL_SHAPES[name]
    features = make_features(shape, np.float32)
    exact = peer(features, shape, side, np.float64)[0]
    competitors: dict[str, Callable[[], Any]] = {
        "voxridge": lambda: (ours(features, shape, side, dtype), 0.0),
        "peer": lambda: peer(features, shape, side, dtype),
    }
    errors = {key: _error(run()[0], exact) for key, run in competitors.items()}
    seconds: dict[str, list[float]] = {key: [] for key in competitors}
    building = []
    for _, key in interleaved(list(competitors), n_rounds):
        start = time.perf_counter()
        part = competitors[key]()[1]
        seconds[key].append(time.perf_counter() - start)
        if key == "peer":
            building.append(part)
    ratios = [theirs / own for theirs, own in zip(seconds["peer"], seconds["voxridge"], strict=True)]
    least, middle, largest = band(ratios)
    return {
        "shape": name,
        "side": side,
        "dtype": np.dtype(dtype).name,
        "rounds": n_rounds,
        "voxridge_s": float(np.median(seconds["voxridge"])),
        "peer_s": float(np.median(seconds["peer"])),
        "materialise_share": float(np.median(np.divide(building, seconds["peer"]))),
        "ratio_min": least,
        "ratio": middle,
        "ratio_max": largest,
        "verdict": verdict(ratios),
        "voxridge_error": errors["voxridge"],
        "peer_error": errors["peer"],
    }


def _error(gram: Floating, exact: Floating) -> float:
    """Largest difference in the triangle that everybody fills, relative to the largest entry."""
    lower = np.tril_indices(exact.shape[0])
    return float(np.abs(gram[lower] - exact[lower]).max() / np.abs(exact[lower]).max())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="n3000-p1024,n6000-p768", help=f"of: {', '.join(KERNEL_SHAPES)}")
    parser.add_argument("--dtypes", default="float32,float64", help="in which products are formed and summed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="a folder kernels is made in it")
    options = parser.parse_args(arguments)
    sides: tuple[Side, ...] = ("primal", "dual")
    rows = []
    for name in options.shapes.split(","):
        for side in sides:
            for dtype in options.dtypes.split(","):
                rows.append(compare(name, side, dtype, options.rounds))
                print(f"{name} {side} {dtype}: {rows[-1]['ratio']:.2f}", flush=True)
    write_csv(options.out / "kernels" / "summary.csv", rows)
    shapes = {name: vars(KERNEL_SHAPES[name]) for name in options.shapes.split(",")}
    write_json(options.out / "kernels" / "machine.json", describe(shapes=shapes, rounds=options.rounds))
    print("\n" + show(rows, _COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measurements on a GPU: `python -m bench.gpu runs|himalaya|loo|ceiling --out DIR`. `bench/gpu_proof`
calls them all.

Each goes on where an earlier call with the same --out was cut short; bench/README.md says what they
measure."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import ModuleType

from bench.gpu_results import Results
from bench.machine import describe

PARTS = ("runs", "himalaya", "loo", "ceiling")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="folder of results.json")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all sizes: below 1 for a look, no measurement"
    )
    parser.add_argument("--precision", default="tf32,float32", help="default: tf32,float32")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="no large fit is begun that would end later"
    )
    options = parser.parse_args(arguments)
    options.precision = options.precision.split(",")
    return options


def main(arguments: list[str] | None = None) -> int:
    from voxridge import _dispatch

    options = parse(arguments)
    device = _dispatch.find_device("cuda")
    assert device is not None
    results = Results(options.out)
    before = results.get(options.part, "scale")
    if before not in (None, options.scale):
        print(f"{options.part} in {options.out} was begun with --scale {before}; give another --out")
        return 2
    results.put(options.part, "scale", options.scale)
    results.put("machine", options.part, describe(device=device.facts, module=device.ops.build_info()))
    if not _measure(options, device.ops, results, time.monotonic() + options.seconds):
        return 1
    results.finish(options.part)
    return 0


def _measure(options: argparse.Namespace, ops: ModuleType, results: Results, end: float) -> bool:
    """False where something is still missing."""
    if options.part == "himalaya":
        from bench.gpu_himalaya import himalaya

        return himalaya(results, options.scale)
    if options.part == "ceiling":
        from bench.gpu_ceiling import ceiling

        return ceiling(ops, results, options.scale)
    from bench import gpu_runs

    measure = gpu_runs.runs if options.part == "runs" else gpu_runs.loo
    return measure(ops, results, options.scale, options.precision, end)


if __name__ == "__main__":
    sys.exit(main())

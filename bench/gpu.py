"""Measurements on a GPU: `python -m bench.gpu runs|himalaya|loo|ceiling --out DIR`. `bench/gpu_proof`
calls them all.

Each goes on where an earlier call with the same --out was cut short; bench/README.md says what they
measure."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

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
    parser.add_argument("--precision", default="float32,tf32", help="default: float32,tf32")
    options = parser.parse_args(arguments)
    options.precision = options.precision.split(",")
    return options


def main(arguments: list[str] | None = None) -> int:
    from voxridge import _dispatch

    options = parse(arguments)
    device = _dispatch.find_device("cuda")
    assert device is not None
    results = Results(options.out)
    asked = {"scale": options.scale, "precision": options.precision}
    before = results.get(options.part, "asked")
    if before not in (None, asked):
        print(f"{options.part} in {options.out} was begun with {before}, not {asked}; give another --out")
        return 2
    results.put(options.part, "asked", asked)
    results.put("machine", options.part, describe(device=device.facts, module=device.ops.build_info()))
    begin = time.perf_counter()
    if options.part == "himalaya":
        from bench.gpu_himalaya import himalaya

        himalaya(results, options.scale)
    elif options.part == "ceiling":
        from bench.gpu_ceiling import ceiling

        ceiling(device.ops, results, options.scale)
    else:
        from bench import gpu_runs

        measure = gpu_runs.runs if options.part == "runs" else gpu_runs.loo
        measure(device.ops, results, options.scale, options.precision)
    results.put(options.part, "seconds_of_last_call", time.perf_counter() - begin)
    results.finish(options.part)
    return 0


if __name__ == "__main__":
    sys.exit(main())

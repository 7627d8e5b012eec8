"""The scale proof: a 30B-sized design from HDF5 files, leave-one-run-out, in a stated amount of memory.

    python -m bench.scale --folder FOLDER           # 33,000 x (7,168 x 4) x 2,000, 95 runs, 20 GB
    python -m bench.scale --folder FOLDER --small   # the same at a sixteenth, in seconds

Writes the inputs to FOLDER (kept: a second call uses them again), fits in this process with a checkpoint, and
prints the plan, the time, the peak of resident memory and what the known truth says of the scores, as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

DELAYS = (1, 2, 3, 4)


def main() -> int:
    options = _parse()
    sizes = {"n": 33_000, "p0": 7_168, "v": options.targets, "runs": 95}
    if options.small:
        sizes = {"n": 2_000, "p0": 448, "v": options.targets, "runs": 20}
    folder = options.folder
    folder.mkdir(exist_ok=True)
    features, responses, lengths = make_inputs(folder, **sizes)
    record = fit(features, responses, lengths, options)
    record["command"] = " ".join(["python -m bench.scale", *sys.argv[1:]])
    record["sizes"] = sizes
    print(json.dumps(record, indent=1))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where inputs and the checkpoint go")
    parser.add_argument("--targets", type=int, default=2_000)
    parser.add_argument("--memory-limit", default="20GB")
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file")
    return parser.parse_args()


def make_inputs(folder: Path, n: int, p0: int, v: int, runs: int) -> tuple[Path, Path, list[int]]:
    """float32 HDF5: features of a falling spectrum, correlated in time; responses = a delayed linear map of
    them, of known share, and noise."""
    rng = np.random.default_rng(7)
    cuts = np.sort(rng.choice(np.arange(200, n - 200, 60 if n > 10_000 else 20), runs - 1, replace=False))
    lengths = np.diff([0, *cuts, n]).tolist()
    features, responses = folder / f"features-{n}-{p0}.h5", folder / f"responses-{n}-{v}.h5"
    if features.exists() and responses.exists():
        return features, responses, lengths
    mixing = (
        rng.standard_normal((p0, p0), dtype=np.float32) * np.logspace(0, -2, p0, dtype=np.float32)[:, None]
    )
    weights = rng.standard_normal((4, 256, v), dtype=np.float32) / np.float32(np.sqrt(1024))
    with h5py.File(features, "w") as x_file, h5py.File(responses, "w") as y_file:
        x = x_file.create_dataset("data", (n, p0), "f4")
        y = y_file.create_dataset("data", (n, v), "f4")
        start = 0
        for length in lengths:
            source = rng.standard_normal((length + 1, p0), dtype=np.float32)
            source = 0.8 * source[1:] + 0.6 * source[:-1]
            x[start : start + length] = source @ mixing / np.float32(np.sqrt(p0))
            signal = np.zeros((length, v), dtype=np.float32)
            for i, delay in enumerate(DELAYS):
                signal[delay:] += source[: length - delay, :256] @ weights[i]
            y[start : start + length] = 0.5 * signal + rng.standard_normal((length, v), dtype=np.float32)
            start += length
    return features, responses, lengths


def fit(features: Path, responses: Path, lengths: list[int], options: argparse.Namespace) -> dict[str, Any]:
    from voxridge import EncodingRidge

    model = EncodingRidge(
        alphas=np.logspace(1, 5, 5),
        delays=DELAYS,
        memory_limit=options.memory_limit,
        solver=options.solver,
        weights=str(features.parent / "weights.h5"),
        checkpoint=features.parent / "checkpoint",
    )
    planned = model.plan(str(features), str(responses), runs=lengths)
    print(planned, file=sys.stderr, flush=True)
    start = time.perf_counter()
    model.fit(str(features), str(responses), runs=lengths)
    seconds = time.perf_counter() - start
    chosen = {f"{alpha:g}": int((model.alpha_ == alpha).sum()) for alpha in model.alphas_}
    return {
        "seconds": round(seconds, 1),
        "planned_seconds": round(model.plan_.seconds, 1),
        "peak_rss_bytes": peak_rss(),
        "planned_peak_bytes": model.plan_.peak_bytes,
        "memory_limit": options.memory_limit,
        "route": model.plan_.route,
        "plan": str(model.plan_).splitlines(),
        "mean_cv_score": float(model.best_cv_scores_.mean()),
        "chosen_alphas": chosen,
    }


def peak_rss() -> int:
    """Bytes; the kernel's own high-water mark of this process where it tells."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())

"""Whether p-values and intervals hold on autocorrelated noise: `python -m bench.calibration`.

Under the null a p-value is below 0.05 in 5 % of the cases, whatever the autocorrelation; an interval of 95 %
holds the truth in 95 %. Each row is a simulation with known truth, naive ways of testing beside ours. Writes
results/calibration.json. `--scale 0.1` for a look.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import kstest, ttest_1samp

from bench.machine import RESULTS, describe, solver_version
from bench.memory import peak_mib
from bench.tables import show, write_json
from voxridge import EncodingRidge
from voxridge._warnings import VoxridgeWarning
from voxridge.science.blocks import run_slices
from voxridge.science.bootstrap import block_bootstrap
from voxridge.science.comparison import compare_models
from voxridge.science.multiple import fdr
from voxridge.science.nulls import refit_test
from voxridge.science.permutation import permutation_test
from voxridge.science.scores import correlation_score
from voxridge.science.subjects import subject_test

Array = NDArray[Any]
Row = dict[str, Any]
LAYOUTS = ([300], [100] * 5, [300] * 9)
COEFFICIENTS = (0.0, 0.5, 0.9)
STUDY = [100] * 6


def ar1(rng: np.random.Generator, coefficient: float, lengths: Sequence[int], n_series: int) -> Array:
    """Stationary first-order autoregressive noise of unit variance, runs independent, (n_rows, n_series)."""
    runs = []
    for length in lengths:
        drive = rng.standard_normal((length, n_series)) * np.sqrt(1 - coefficient**2)
        drive[0] = rng.standard_normal(n_series)
        runs.append(lfilter([1], [1, -coefficient], drive, axis=0))
    return np.concatenate(runs)


def rejections(p_values: Array) -> Row:
    """Share of p-values at most 0.05 and 0.01, and the distance from uniform (Kolmogorov and Smirnov)."""
    test = kstest(p_values, "uniform")
    return {
        "p_below_05": round(float(np.mean(p_values <= 0.05)), 4),
        "p_below_01": round(float(np.mean(p_values <= 0.01)), 4),
        "ks_distance": round(float(test.statistic), 4),
        "ks_p": round(float(test.pvalue), 4),
        "n": int(p_values.size),
    }


def permuted(n_targets: int) -> Iterator[Row]:
    """Predictions that have nothing to do with the responses, both autocorrelated."""
    ways: dict[str, Row] = {
        "blocks": {},
        "shift": {"scheme": "shift"},
        "rows one by one": {"block": 1},
    }
    rng = np.random.default_rng(0)
    for lengths in LAYOUTS:
        for coefficient in COEFFICIENTS:
            truth, guess = (ar1(rng, coefficient, lengths, n_targets) for _ in range(2))
            for way, options in ways.items():
                if way == "rows one by one" and lengths != LAYOUTS[1]:
                    continue
                test = permutation_test(
                    truth, guess, lengths, cross_validated=False, n_permutations=999, levels=(), **options
                )
                layout = f"{len(lengths)} x {lengths[0]}"
                yield {
                    "ar": coefficient,
                    "runs": layout,
                    "way": way,
                    "block": test.block,
                    **rejections(test.p_values),
                }


def held_out(
    features: Array, responses: Array, train: Sequence[int], test: int, lengths: Sequence[int]
) -> Array:
    """Predictions of run ``test`` by an EncodingRidge fitted to the runs ``train``."""
    rows = list(run_slices(lengths))
    model = EncodingRidge(alphas=np.logspace(0, 6, 7), delays=(0, 1, 2), progress=False)
    chosen = np.concatenate([np.arange(rows[run].start, rows[run].stop) for run in train])
    model.fit(features[chosen], responses[chosen], runs=[lengths[run] for run in train])
    return np.asarray(model.predict(features[rows[test]], runs=[lengths[test]]))


def left_out(features: Array, responses: Array, lengths: Sequence[int]) -> Array:
    """Predictions of every run from all others."""
    everyone = range(len(lengths))
    return np.concatenate(
        [held_out(features, responses, [k for k in everyone if k != run], run, lengths) for run in everyone]
    )


def pipelines(n_studies: int, n_targets: int = 10) -> Iterator[Row]:
    """EncodingRidge on autocorrelated features, then a test of its held-out scores."""
    for coefficient in COEFFICIENTS:
        found: dict[str, list[Array]] = {}
        for study in range(n_studies):
            rng = np.random.default_rng([1, study])
            features = ar1(rng, coefficient, STUDY, 8)
            responses = ar1(rng, coefficient, STUDY, n_targets)
            for way, p_values in one_pipeline(features, responses, study).items():
                found.setdefault(way, []).append(p_values)
        for way, several in found.items():
            shares = [float(np.mean(p_values <= 0.05)) for p_values in several]
            yield {
                "ar": coefficient,
                "way": way,
                "p_below_05": round(float(np.mean(shares)), 4),
                "error": round(float(np.std(shares, ddof=1) / np.sqrt(len(shares))), 4),
                "p_below_01": round(float(np.mean(np.concatenate(several) <= 0.01)), 4),
                "n": n_studies * n_targets,
            }


def one_pipeline(features: Array, responses: Array, seed: int) -> dict[str, Array]:
    """p-values of every way to test the same study."""
    rows = list(run_slices(STUDY))
    last = [len(STUDY) - 2, len(STUDY) - 1]
    first = range(len(STUDY) - 2)
    guess = np.concatenate([held_out(features, responses, first, run, STUDY) for run in last])
    truth, lengths = responses[rows[last[0]].start :], [STUDY[run] for run in last]
    crossed = left_out(features, responses, STUDY)
    options: Row = {"levels": (), "seed": seed, "n_permutations": 499}

    def refitted(runs: list[Array]) -> Array:
        together = np.concatenate(runs)
        return correlation_score(together, left_out(features, together, STUDY))

    by_run = [responses[run] for run in rows]
    return {
        "test runs of their own": permutation_test(
            truth, guess, lengths, cross_validated=False, **options
        ).p_values,
        "leave-one-run-out, widened": permutation_test(
            responses, crossed, STUDY, cross_validated=True, **options
        ).p_values,
        "leave-one-run-out, not widened": permutation_test(
            responses, crossed, STUDY, cross_validated=False, **options
        ).p_values,
        "leave-one-run-out, refitted": refit_test(
            refitted, by_run, margin=5, n_permutations=99, together=99, seed=seed
        ).p_values,
    }


def many_targets(n_maps: int) -> Iterator[Row]:
    """Maps of 200 targets, correlated like neighbours: false discoveries, family-wise error, and power."""
    lengths, n_targets, n_real = [150] * 4, 200, 40
    counts: dict[str, list[float]] = {name: [] for name in ("any", "share", "found", "naive", "family")}
    for number in range(n_maps):
        rng = np.random.default_rng([2, number])
        noise = ar1(rng, 0.6, lengths, n_targets)
        noise = (noise + np.roll(noise, 1, axis=1)) / np.sqrt(2)
        guess = ar1(rng, 0.6, lengths, n_targets)
        options: Row = {"cross_validated": False, "n_permutations": 999, "levels": (), "seed": number}
        counts["any"].append(permutation_test(noise, guess, lengths, **options).p_family.min() <= 0.05)
        noise[:, :n_real] += 0.35 * guess[:, :n_real]
        test = permutation_test(noise, guess, lengths, **options)
        detected = fdr(test.p_values).detected
        counts["share"].append(detected[n_real:].sum() / max(1, detected.sum()))
        counts["found"].append(detected[:n_real].mean())
        counts["family"].append(np.mean(test.p_family[:n_real] <= 0.05))
        naive = permutation_test(noise, guess, lengths, block=1, **options)
        shuffled = fdr(naive.p_values).detected
        counts["naive"].append(shuffled[n_real:].sum() / max(1, shuffled.sum()))
    mean = {name: float(np.mean(values)) for name, values in counts.items()}
    yield {"what": "any false positive, maximum statistic", "share": mean["any"], "wanted": 0.05}
    yield {"what": "false discoveries among detected", "share": mean["share"], "wanted": 0.05 * 0.8}
    yield {"what": "the same, rows permuted one by one", "share": mean["naive"], "wanted": 0.05 * 0.8}
    yield {"what": "real ones detected at a rate of 5 %", "share": mean["found"], "wanted": None}
    yield {"what": "real ones detected by the maximum", "share": mean["family"], "wanted": None}


def compared(n_targets: int) -> Iterator[Row]:
    """Two models that are equally good: half of the noise in their predictions is their own."""
    rng = np.random.default_rng(3)
    for lengths in LAYOUTS[1:]:
        for coefficient in COEFFICIENTS:
            signal, noise, first, second = (ar1(rng, coefficient, lengths, n_targets) for _ in range(4))
            truth = signal + 1.5 * noise
            for way, options in (("blocks", {}), ("rows one by one", {"block": 1})):
                for statistic in ("r", "R2"):
                    test = compare_models(
                        truth,
                        0.3 * (signal + first),
                        0.3 * (signal + second),
                        lengths,
                        statistic=statistic,
                        **options,
                    )
                    yield {
                        "ar": coefficient,
                        "runs": f"{len(lengths)} x {lengths[0]}",
                        "way": way,
                        "statistic": statistic,
                        "block": test.block,
                        **rejections(test.p_values),
                    }


def covered(n_targets: int) -> Iterator[Row]:
    """Intervals of r, and of the mean r of 50 targets that share half of their noise."""
    rng = np.random.default_rng(4)
    ways: dict[str, Row] = {
        "percentile": {},
        "basic": {"kind": "basic"},
        "bca": {"kind": "bca"},
        "stationary": {"scheme": "stationary"},
    }
    for lengths in LAYOUTS:
        for coefficient in COEFFICIENTS:
            guess, noise = (ar1(rng, coefficient, lengths, n_targets) for _ in range(2))
            for true_r in (0.0, 0.4):
                truth = true_r * guess + np.sqrt(1 - true_r**2) * noise
                for way, options in ways.items():
                    held = block_bootstrap(truth, guess, lengths, n_bootstraps=999, **options).targets
                    yield {
                        "ar": coefficient,
                        "runs": f"{len(lengths)} x {lengths[0]}",
                        "r": true_r,
                        "way": way,
                        "covered": round(float(np.mean((held.low <= true_r) & (true_r <= held.high))), 4),
                        "n": n_targets,
                    }


def regions_covered(n_regions: int) -> Iterator[Row]:
    """The mean r of 50 targets that share half of their noise: rows resampled, against targets as samples."""
    lengths, true_r, size = [150] * 4, 0.4, 50
    held, naive = [], []
    for number in range(n_regions):
        rng = np.random.default_rng([5, number])
        guess = ar1(rng, 0.5, lengths, 1)
        shared, own = ar1(rng, 0.5, lengths, 1), ar1(rng, 0.5, lengths, size)
        truth = true_r * guess + np.sqrt(1 - true_r**2) * (shared + own) / np.sqrt(2)
        result = block_bootstrap(
            truth, np.repeat(guess, size, axis=1), lengths, n_bootstraps=499, seed=number
        )
        region = result.regions["all targets"]
        held.append(region.low <= true_r <= region.high)
        error = result.targets.estimate.std(ddof=1) / np.sqrt(size)
        naive.append(abs(region.estimate - true_r) <= 1.96 * error)
    yield {"way": "rows resampled in blocks", "covered": float(np.mean(held)), "n": n_regions}
    yield {"way": "targets as if independent", "covered": float(np.mean(naive)), "n": n_regions}


def over_subjects(n_maps: int) -> Iterator[Row]:
    """Maps of 100 correlated values of several subjects without effect; and voxels taken for samples."""
    for n_subjects in (7, 12, 25):
        alone, family, voxels = [], [], []
        for number in range(n_maps):
            rng = np.random.default_rng([6, n_subjects, number])
            values = rng.standard_normal((n_subjects, 100)) + rng.standard_normal((n_subjects, 1))
            test = subject_test(values, n_permutations=999, seed=number)
            alone.append(np.mean(test.p_flips <= 0.05))
            family.append(np.nanmin(test.p_family) <= 0.05)
            voxels.append(ttest_1samp(values.mean(axis=0), 0).pvalue <= 0.05)
        yield {
            "subjects": n_subjects,
            "sign flips": round(float(np.mean(alone)), 4),
            "any of 100, maximum": round(float(np.mean(family)), 4),
            "t test over voxels": round(float(np.mean(voxels)), 4),
            "n": n_maps,
        }


def cost(n_targets: int) -> Iterator[Row]:
    """95,556 voxels x 300 rows x 1000 permutations, float32."""
    rng = np.random.default_rng(7)
    truth, guess = (rng.standard_normal((300, n_targets), dtype=np.float32) for _ in range(2))
    held = peak_mib()
    for lengths in ([300], [100] * 3):
        for way in ("blocks", "shift"):
            begin = time.process_time()
            test = permutation_test(truth, guess, lengths, cross_validated=False, scheme=way)
            yield {
                "what": f"permutation_test, {way}",
                "runs": f"{len(lengths)} x {lengths[0]}",
                "targets": n_targets,
                "permutations": test.n_permutations,
                "processor_seconds": round(time.process_time() - begin, 2),
                "mib_above_data": round(peak_mib() - held, 1),
            }
        begin = time.process_time()
        block_bootstrap(truth, guess, lengths)
        yield {
            "what": "block_bootstrap",
            "runs": f"{len(lengths)} x {lengths[0]}",
            "targets": n_targets,
            "permutations": 1000,
            "processor_seconds": round(time.process_time() - begin, 2),
            "mib_above_data": round(peak_mib() - held, 1),
        }


PARTS: dict[str, tuple[Callable[[int], Iterator[Row]], int]] = {
    "permutation": (permuted, 2000),
    "pipeline": (pipelines, 150),
    "many targets": (many_targets, 200),
    "two models": (compared, 2000),
    "intervals": (covered, 500),
    "intervals of regions": (regions_covered, 400),
    "subjects": (over_subjects, 500),
    "cost": (cost, 95_556),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="simulations times this")
    parser.add_argument("--least", type=int, default=10, help="simulations of a part, whatever the scale")
    parser.add_argument(
        "--part", action="append", choices=list(PARTS), help="only this, the rest stays; may be repeated"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of calibration.json")
    options = parser.parse_args(arguments)
    path = options.out / "calibration.json"
    record: dict[str, Any] = json.loads(path.read_text()) if options.part and path.exists() else {}
    for name in options.part or PARTS:
        simulate, size = PARTS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VoxridgeWarning)  # naive ways, and penalties of pure noise
            record[name] = list(simulate(max(options.least, round(size * options.scale))))
        print(f"\n{name}\n{show(record[name], list(record[name][0]))}", flush=True)
        record.setdefault("code", {})[name] = solver_version()
    record["machine"] = describe(scale=options.scale)
    write_json(path, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

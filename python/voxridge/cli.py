"""The command ``voxridge``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxridge._quiet import quiet_loading

_STUDY_HELP = """\
The study file is TOML; relative paths start at its folder:

  title = "My story"
  subjects = ["S1", "S2"]     # leave it out for a single one

  [[models]]                  # one per model; every key has a default
  name = "smollm2"            # or a Hugging Face name, or a local folder
  layers = "all"              # or [6, 9, 12]

  [responses]
  tr = 2.0                    # seconds
  high_pass = 128.0           # seconds, within each run; 0 removes the mean only
  trim = [10, 5]              # rows dropped at the start and end of each run

  [fit]
  delays = [1, 2, 3, 4]       # rows
  folds = "leave-one-run-out" # or 5: contiguous chunks of a single run

  [analysis]
  joint = "banded"            # each model beside all controls, a penalty for each; "ridge": one; "off"
  permutations = 1000         # of blocks of rows, for p-values

  [[runs]]                    # one per run
  name = "chapter-1"
  words = "chapter-1.TextGrid"       # or .csv/.tsv with columns word, onset, offset
  responses = "{subject}/chapter-1.npy" # or .hf5, .npz, .txt, .csv, .nii.gz with a mask, ...; or a
                                        # store of "voxridge responses" with a run of this name

Run it again with more subjects, models or layers: what is done is not done again.
"""

_FIT_HELP = """\
One file per run, or one file and the lengths of its runs:

  voxridge fit --features story-*.h5 --responses bold-*.h5 -o fit.h5
  voxridge fit --features features.h5 --responses responses.h5 --runs 300,280,310 -o fit.h5 \\
      --memory-limit 8GB --weights weights.h5 --checkpoint going-on

The fit holds its weights too, unless --weights is "none". Warnings go to standard error.
"""
_NAMED_CV = ("leave-one-run-out", "leave-one-out", "gcv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 bad input, 130 interrupted)."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        hint = ""
        if getattr(options, "resumes", False):
            hint = "; what is finished is kept, the same command goes on from there"
        elif "checkpoint" in options:
            hint = "; with --checkpoint FOLDER a fit can be gone on with"
        print(f"\nvoxridge: interrupted{hint}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print("\n".join([f"voxridge: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    import voxridge
    from voxridge._compare_command import add_compare
    from voxridge._convert_command import add_convert
    from voxridge._extract_command import add_extract
    from voxridge._plan_command import add_plan
    from voxridge._responses_command import add_responses
    from voxridge._scaling_command import add_scaling

    parser = argparse.ArgumentParser(
        prog="voxridge", description="Ridge encoding models at brain scale, from a story to a map."
    )
    parser.add_argument("--version", action="version", version=f"voxridge {voxridge.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_study(commands)
    add_compare(commands)
    add_extract(commands)
    add_responses(commands)
    add_convert(commands)
    _add_fit(commands)
    add_plan(commands)
    add_scaling(commands)
    info = commands.add_parser(
        "info",
        help="versions, build, BLAS, threads, memory and devices",
        description="Versions, how the extension was built, BLAS, threads, memory and devices: what a bug "
        "report should hold.",
    )
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="a complete example without any input",
        description="Read a packaged story with a real language model, fit a simulated cortex whose answer "
        "is known, and write a report. With --alice: the same on real fMRI of the Alice data set.",
    )
    demo.add_argument(
        "--alice", type=Path, metavar="PATH", help="folder of the Alice data (roi_6mm, stimulus)"
    )
    _add_out(demo, "voxridge-demo")
    demo.set_defaults(run=_demo, resumes=True)


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="stimulus, model and responses in; results and a report out",
        description="Run the study that a TOML file describes.",
        epilog=_STUDY_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("study", type=Path, metavar="STUDY.toml")
    _add_out(study, "voxridge-study")
    study.set_defaults(run=_study, resumes=True)


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit ridge models to features and responses on file",
        description="Fit EncodingRidge to features and responses on file and save the fit.\n"
        "`voxridge plan` says what a fit needs before it runs.",
        epilog=_FIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument(
        "--features",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help=".npy or HDF5 with dataset data: one file per run, or one file",
    )
    fit.add_argument(
        "--responses",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="the same runs in the same order",
    )
    fit.add_argument("-o", "--out", type=Path, required=True, help="HDF5 file of the fit")
    fit.add_argument(
        "--runs", help="lengths of the runs in a single file, such as 300,280 (default: as in the file)"
    )
    fit.add_argument("--delays", default="1,2,3,4", help="rows (default: 1,2,3,4)")
    fit.add_argument(
        "--alphas",
        default="1,1e8,17",
        metavar="LOW,HIGH,N",
        help="lowest, highest, number; logarithmic spacing (default: 1,1e8,17)",
    )
    fit.add_argument(
        "--relative-to",
        choices=("mean", "largest"),
        help="--alphas are multiples of this eigenvalue of the delayed features' Gram matrix",
    )
    fit.add_argument(
        "--cv",
        "--folds",
        default="leave-one-run-out",
        help='"leave-one-run-out" (default), "leave-one-out", "gcv", or a number of folds',
    )
    fit.add_argument(
        "--scoring",
        choices=("correlation", "r2"),
        default="correlation",
        help="what chooses the penalty (default: correlation; gcv takes r2 only)",
    )
    fit.add_argument(
        "--solver",
        default="auto",
        help='"auto" (default), "primal", "dual", "spectral", "leave-out", "cholesky", "svd", or a route '
        "that `voxridge plan` prints",
    )
    fit.add_argument(
        "--device",
        default="auto",
        help='"auto" (default: the first CUDA device, where that is expected to be faster), "cpu", "cuda" or '
        '"cuda:1"',
    )
    fit.add_argument(
        "--precision",
        choices=("float32", "tf32", "bf16"),
        default="float32",
        help="on a CUDA device, what the inputs of products are rounded to while penalties are compared "
        "(default: float32, which rounds nothing)",
    )
    fit.add_argument(
        "--memory-limit",
        help='of the whole process, such as "8GB" (default: what it holds and 80 %% of what is free)',
    )
    fit.add_argument(
        "--weights",
        default="memory",
        metavar="memory|none|PATH",
        help="where weights are kept while fitting: in memory (default); nowhere: scores and penalties only; "
        "or in a .h5 or .npy file, tile by tile",
    )
    fit.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="keep what is found on the way; after an interruption the same command goes on from there",
    )
    fit.add_argument("--quiet", action="store_true", help="no progress bar")
    fit.set_defaults(run=_fit)


def _add_out(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "-o", "--out", type=Path, default=Path(default), help=f"folder to write (default: ./{default})"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _demo(options: argparse.Namespace) -> int:
    if options.alice is not None:
        from voxridge.demo.alice import run_alice
        from voxridge.demo.alice_findings import listeners_sentence

        with quiet_loading(options.quiet):
            alice = run_alice(options.alice, options.out, progress=not options.quiet)
        for name, reason in alice.rejected.items():
            print(f"Listener {name} was rejected: {reason}.")
        print(f"Group mean, word rate alone: mean r = {alice.group_rate:.3f}")
        print(f"Group mean, word rate + language model: mean r = {alice.group_chosen:.3f}")
        print(listeners_sentence(alice.science.beside))
        print(f"Report: {alice.report}")
        return 0
    from voxridge.demo.run import run_demo

    with quiet_loading(options.quiet):
        demo = run_demo(options.out, progress=not options.quiet)
    print("The brain in this demo is simulated. " + demo.recovery.sentence())
    print(demo.science.findings.sentence())
    print(f"Report: {demo.report}")
    return 0


def _study(options: argparse.Namespace) -> int:
    from voxridge.study.config import load_config
    from voxridge.study.run import run_study

    config = load_config(options.study)
    with quiet_loading(options.quiet):
        outcome = run_study(config, options.out, progress=not options.quiet)
    for name, subject in outcome.study.subjects.items():
        for model, result in subject.results.items():
            scores = result.control.scores.mean(), result.chosen.mean()
            which = f"{name}, {model}" if len(outcome.study.subjects) > 1 else model
            print(f"{which}: mean held-out r = {scores[1]:.3f} (word rate alone {scores[0]:.3f})")
    print(f"Report: {outcome.report}")
    return 0


def _fit(options: argparse.Namespace) -> int:
    import numpy as np

    from voxridge import EncodingRidge

    options.resumes = options.checkpoint is not None
    if len(options.features) != len(options.responses):
        raise ValueError(
            f"{len(options.features)} feature file(s) and {len(options.responses)} response file(s): "
            "give one of each per run"
        )
    runs = None if options.runs is None else _numbers(options.runs, int, "--runs")
    if runs is not None and len(options.features) > 1:
        raise ValueError(
            f"--runs {options.runs} is for a single file; with {len(options.features)} each is a run"
        )
    features, responses = (_one_or_list(paths) for paths in (options.features, options.responses))
    delays = tuple(_numbers(options.delays, int, "--delays"))
    model = EncodingRidge(
        alphas=_grid(options, features, delays, runs),
        delays=delays,
        cv=options.cv if options.cv in _NAMED_CV else _numbers(options.cv, int, "--cv")[0],
        scoring=options.scoring,
        solver=options.solver,
        device=options.device,
        precision=options.precision,
        memory_limit=options.memory_limit,
        weights=options.weights,
        checkpoint=None if options.checkpoint is None else str(options.checkpoint),
        progress=not options.quiet,
    )
    model.fit(features, responses, runs=runs)
    model.save(options.out)
    best = model.best_cv_scores_
    measure = "r" if options.scoring == "correlation" else "R2"
    print(
        f"{best.size} target(s), mean cross-validated {measure} = {np.nanmean(best):.4f} at the penalty "
        f"chosen per target (route {model.plan_.route}, on {model.plan_.device})"
    )
    if options.resumes:
        print(f"The checkpoint is no longer needed: {options.checkpoint}")
    print(f"Fit: {options.out}")
    return 0


def _one_or_list(paths: Sequence[Path]) -> Any:
    return str(paths[0]) if len(paths) == 1 else [str(path) for path in paths]


def _grid(options: argparse.Namespace, features: Any, delays: tuple[int, ...], runs: list[int] | None) -> Any:
    """Penalties from ``--alphas`` and ``--relative-to``, for which the features are read."""
    import numpy as np

    from voxridge.solvers import relative_alphas
    from voxridge.solvers.stream_design import StreamedDesign
    from voxridge.streams import as_source, check_finite

    bounds = _numbers(options.alphas, float, "--alphas")
    if len(bounds) != 3 or bounds[0] <= 0 or bounds[1] < bounds[0] or bounds[2] < 1:
        raise ValueError(f"--alphas is {options.alphas!r}; give lowest,highest,number such as 1,1e8,17")
    grid = np.logspace(np.log10(bounds[0]), np.log10(bounds[1]), int(bounds[2]))
    if options.relative_to is None:
        return grid
    source = as_source(features, name="features", runs=runs)
    check_finite(source)
    return relative_alphas(grid, StreamedDesign(source, delays), options.relative_to)


def _numbers(text: str, kind: type, option: str) -> list[Any]:
    try:
        return [kind(entry) for entry in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} is {text!r}; give numbers separated by commas") from error


def _info(options: argparse.Namespace) -> int:
    from voxridge._info import as_text, collect

    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else as_text(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

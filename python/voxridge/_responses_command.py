"""The command ``voxridge responses``: recordings to a response store, checked, cleaned and averaged."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxridge.responses import Cleaning

_EPILOG = """\
  voxridge responses check  sub-01/ --stimuli stories/ --tr 2
  voxridge responses build  sub-01/*.nii.gz --mask mask.nii.gz --tr 2 --high-pass 128 -o sub-01.h5
  voxridge responses build  --fmriprep derivatives/ --subject 01 --task listening -o sub-01.h5
  voxridge responses average sub-*.h5 -o average.h5

Files: HDF5 with dataset data (.hf5, .h5), NIfTI, CIFTI (.dtseries.nii), GIFTI (.func.gii, both
hemispheres), .npy, .npz, .txt, .csv. Each is a run, named by its file; files with the same name from
different folders are repeats of one stimulus, which are kept beside their mean.
"""

_FMRIPREP_ONLY = {"subject": None, "task": None, "space": None, "kind": "volume", "confounds": "motion"}


def add_responses(commands: Any) -> None:
    """Add the subcommand to the parser."""
    responses = commands.add_parser(
        "responses",
        help="recordings of any format to a response store: check, build, average",
        description="Bring brain responses into a response store, one subject a file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = responses.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_check(kinds)
    _add_build(kinds)
    _add_average(kinds)


def _add_check(kinds: Any) -> None:
    check = kinds.add_parser(
        "check", help="is there a whole recording for every stimulus?", description="Nothing is written."
    )
    check.add_argument("responses", type=Path, help="folder with a file per run, or a response store")
    check.add_argument("--stimuli", type=Path, nargs="+", required=True, help="stories, as for extract")
    check.add_argument("--tr", type=float, required=True, help="seconds between two rows")
    check.add_argument("--mask", type=Path, help="mask image of volumes")
    check.add_argument(
        "--tolerance", type=int, help="rows by which a run may differ (default: 10 s after the last word)"
    )
    check.add_argument(
        "--trimmed", type=int, default=0, help="rows cut already, both ends together (default: 0)"
    )
    check.set_defaults(run=_check)


def _add_build(kinds: Any) -> None:
    build = kinds.add_parser(
        "build",
        help="one subject's recordings to a response store",
        description="One subject's recordings to a response store.",
    )
    build.add_argument("files", type=Path, nargs="*", metavar="FILE", help="one a run")
    build.add_argument("-o", "--out", type=Path, required=True, help="HDF5 file to write (resumes)")
    build.add_argument("--fmriprep", type=Path, metavar="FOLDER", help="derivatives, in place of files")
    build.add_argument("--subject", help="of fMRIPrep")
    build.add_argument("--task", help="of fMRIPrep, where there are several")
    build.add_argument("--space", help="of fMRIPrep, where there are several")
    build.add_argument(
        "--kind", choices=("volume", "surface", "cifti"), default="volume", help="of fMRIPrep's files"
    )
    build.add_argument("--mask", help='image of the voxels to keep, or "compute"; fMRIPrep brings its own')
    build.add_argument("--tr", type=float, help="seconds between two rows (default: what the files say)")
    build.add_argument(
        "--high-pass",
        type=float,
        metavar="SECONDS",
        help="take out what is slower, 0: nothing (default: 128 for fMRIPrep, 0 for files)",
    )
    for name, what in (
        ("--detrend", "take out a line"),
        ("--standardise", "z-score every column of every run"),
    ):
        build.add_argument(
            name, action=argparse.BooleanOptionalAction, help=f"{what} (default: for fMRIPrep only)"
        )
    build.add_argument(
        "--confounds",
        default="motion",
        help="of fMRIPrep, strategies such as motion,wm_csf; none for none (default: motion)",
    )
    build.add_argument(
        "--trim", default="0,0", help="rows cut at the start and end of each run (default: 0,0)"
    )
    build.add_argument("--overwrite", action="store_true", help="replace the file")
    build.add_argument("--quiet", action="store_true", help="no progress bar")
    build.set_defaults(run=_build, resumes=True)


def _add_average(kinds: Any) -> None:
    average = kinds.add_parser(
        "average",
        help="the mean over subjects of every run",
        description="The mean over subjects of every run, as another response store.",
    )
    average.add_argument("stores", type=Path, nargs="+", metavar="STORE", help="one a subject")
    average.add_argument("-o", "--out", type=Path, required=True, help="HDF5 file to write (resumes)")
    average.add_argument("--raw", action="store_true", help="do not z-score before and after the mean")
    average.add_argument("--overwrite", action="store_true", help="replace the file")
    average.add_argument("--quiet", action="store_true", help="no progress bar")
    average.set_defaults(run=_average, resumes=True)


def _check(options: argparse.Namespace) -> int:
    from voxridge.features.audio import read_audio
    from voxridge.features.stories import find_stories
    from voxridge.features.words import read_words
    from voxridge.responses import check_complete

    stimuli: dict[str, Any] = {}
    for name, story in find_stories(options.stimuli).items():
        if story.audio is not None:
            stimuli[name] = read_audio(story.audio).duration
        elif story.words is not None:
            stimuli[name] = read_words(story.words)
        else:
            raise ValueError(f"story {name!r} has no words and no sound, so its length is not known")
    report = check_complete(
        stimuli,
        options.responses,
        tr=options.tr,
        tolerance=options.tolerance,
        trimmed=options.trimmed,
        mask=options.mask,
    )
    print(report)
    return 0 if report.ok else 1


def _build(options: argparse.Namespace) -> int:
    from voxridge.responses import build_response_store

    trim = [int(part) if part.isdigit() else -1 for part in options.trim.split(",")]
    if len(trim) != 2 or min(trim) < 0:
        raise ValueError(f"--trim is {options.trim!r}; give rows at the start and at the end, such as 10,5")
    store = build_response_store(
        _sources(options),
        options.out,
        mask=options.mask,
        tr=options.tr,
        clean=_cleaning(options),
        trim=(trim[0], trim[1]),
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    rows, columns = store.source().shape
    print(f"{len(store.runs)} run(s), {rows:,} rows, {columns:,} columns: {options.out}")
    return 0


def _sources(options: argparse.Namespace) -> dict[str, Any]:
    """Presentations of every run: files by their names, or the runs of fMRIPrep."""
    from voxridge._natural import natural_key
    from voxridge.responses import find_fmriprep
    from voxridge.responses.readers import run_name

    if (options.fmriprep is None) == (not options.files):
        raise ValueError("give files, or --fmriprep FOLDER with --subject, and not both")
    if options.fmriprep is not None:
        if options.subject is None:
            raise ValueError("--fmriprep needs --subject, such as 01")
        runs = find_fmriprep(
            options.fmriprep, options.subject, task=options.task, space=options.space, kind=options.kind
        )
        return {run.name: run for run in runs}
    _refuse(options)
    found: dict[str, Any] = {}
    for name, files in _hemispheres(options.files).items():
        found.setdefault(run_name(name), []).append(files)
    # A shell lists run-10 before run-2; features are extracted in natural order.
    ordered = sorted(found.items(), key=lambda item: natural_key(item[0]))
    return {run: items[0] if len(items) == 1 else items for run, items in ordered}


def _refuse(options: argparse.Namespace) -> None:
    """An option that would do nothing is a mistake of the command."""
    for name, default in _FMRIPREP_ONLY.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name} is for --fmriprep, and files are given: leave it out")


def _hemispheres(files: list[Path]) -> dict[Path, Any]:
    """Put the two files of a surface together: those that differ only in hemi-L and hemi-R, or lh and rh."""
    pairs: dict[Path, list[Path]] = {}
    for file in files:
        name = file.name
        for left, right in (("hemi-L", "hemi-R"), ("lh.", "rh.")):
            name = name.replace(right, left)
        whole = file.with_name(name.replace("_hemi-L", "").replace("hemi-L_", "").removeprefix("lh."))
        pairs.setdefault(whole if file.name.endswith(".gii") else file, []).append(file)
    return {name: tuple(sorted(both)) if len(both) > 1 else both[0] for name, both in pairs.items()}


def _cleaning(options: argparse.Namespace) -> Cleaning | None:
    from voxridge.responses import Cleaning

    prepared = options.fmriprep is not None
    if options.high_pass is not None and not options.high_pass >= 0:
        raise ValueError(f"--high-pass is {options.high_pass:g}; give seconds, or 0 for no filter")
    period = options.high_pass if options.high_pass is not None else 128.0 if prepared else 0.0
    strategy = options.confounds.split(",") if prepared and options.confounds != "none" else []
    clean = Cleaning(
        detrend=prepared if options.detrend is None else options.detrend,
        high_pass=1 / period if period > 0 else None,
        standardise=prepared if options.standardise is None else options.standardise,
        strategy=tuple(strategy),
        options={"motion": "derivatives"} if "motion" in strategy else {},
    )
    idle = not (clean.detrend or clean.high_pass or clean.standardise or clean.strategy)
    return None if idle else clean


def _average(options: argparse.Namespace) -> int:
    from voxridge.responses import average_subjects

    stems = [path.stem for path in options.stores]
    if len(set(stems)) < len(stems):
        raise ValueError(f"two stores have the same name, which names the subject: {', '.join(stems)}")
    store = average_subjects(
        dict(zip(stems, options.stores, strict=True)),
        options.out,
        standardise=not options.raw,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    print(f"{len(stems)} subjects, {len(store.runs)} run(s): {options.out}")
    return 0

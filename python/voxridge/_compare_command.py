"""``voxridge compare``: two studies of the same responses."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_compare(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    compare = commands.add_parser(
        "compare",
        help="two studies of the same responses, subject by subject",
        description="Compare the held-out scores of two studies, or of two models of one study, on the same "
        "responses and left-out parts. Studies whose responses were prepared differently are refused.",
    )
    compare.add_argument(
        "first", type=Path, metavar="FIRST", help="folder of voxridge study, or its results.h5"
    )
    compare.add_argument("second", type=Path, metavar="SECOND", help="another, or the same")
    compare.add_argument(
        "--models",
        nargs=2,
        metavar=("LABEL", "LABEL"),
        help="which model of each study (needed where a study has several)",
    )
    compare.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("voxridge-compare"),
        help="folder (default: ./voxridge-compare)",
    )
    compare.add_argument("--seed", type=int, default=0, help="of the sign flips over subjects (default: 0)")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from voxridge.report.compare_page import sentence, write_comparison
    from voxridge.study.comparison import compare_studies

    models = None if options.models is None else tuple(options.models)
    found = compare_studies(options.first, options.second, models=models, seed=options.seed)
    path = write_comparison(found, options.out)
    print(f"First: {found.titles[0]}. Second: {found.titles[1]}.")
    print(sentence(found))
    print(f"Report: {path}")
    return 0

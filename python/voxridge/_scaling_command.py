"""The command ``voxridge scaling``: a table of models and scores in, a scaling law out."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxridge._scaling_analysis import Analysis, Options

_EPILOG = """\
The table is comma, semicolon or tab separated and has a column model. Long:

  model,subject,roi,score               (subject, roi and hemisphere where there are several)
  gpt2,sub-01,aSTS,0.21

or wide, a column for each region, or for each subject where they are named like subjects:

  model,family,parameters,aSTS,pSTS     or     model,sub-01,sub-02
  my-model,mine,1.3B,0.21,0.24                 gpt2,0.21,0.24

family, parameters, perplexity, hellaswag, layers and hidden are columns too; those of well-known models
(GPT-2, OPT, Llama 2, Qwen1.5, Gemma, StableLM, Mistral, Mamba, Whisper) need not be given. Regions named
left and right (aSTS_L, aSTS_R), or a column hemisphere, give left minus right.

  voxridge scaling scores.csv -o scaling
  voxridge scaling scores.csv -o scaling --x perplexity --per-roi --above 10
"""


def add_scaling(commands: Any) -> None:
    """Add the subcommand to the parser."""
    scaling = commands.add_parser(
        "scaling",
        help="how scores grow with the size of models: from a table to a fit, a figure and a page",
        description="Fit the scores of models against their size, perplexity or benchmark score: slope, "
        "intervals over families and subjects, gain, and whether it levels off.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scaling.add_argument("table", type=Path, metavar="TABLE.csv")
    scaling.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("voxridge-scaling"),
        metavar="FOLDER",
        help="folder to write (default: ./voxridge-scaling)",
    )
    scaling.add_argument(
        "--x",
        default="parameters",
        metavar="NAME",
        help="predictor: parameters (default), perplexity, hellaswag, stories, or any column of numbers",
    )
    scale = scaling.add_mutually_exclusive_group()
    scale.add_argument(
        "--log", action="store_true", default=None, help="take its logarithm (default, but for benchmarks)"
    )
    scale.add_argument("--linear", dest="log", action="store_false", help="take it as it is")
    scaling.add_argument("--score", metavar="COLUMN", help="column of the scores (default: score, r or r2)")
    scaling.add_argument(
        "--columns",
        choices=("auto", "roi", "subject"),
        default="auto",
        help="what the columns of a wide table are (default: by their names)",
    )
    scaling.add_argument("--per-roi", action="store_true", help="fit every region too")
    scaling.add_argument(
        "--baseline",
        default="smallest",
        help="what gains are percentages of: smallest (default), largest, mean, or a value of x such as 1B",
    )
    scaling.add_argument(
        "--above", metavar="X", help="fit the models beyond this too, such as 3B (for perplexity: below it)"
    )
    scaling.add_argument("--level", type=float, default=0.95, help="of intervals (default: 0.95)")
    scaling.add_argument("--seed", type=int, default=0, help="of bootstraps and simulations (default: 0)")
    scaling.add_argument("--title", default="Scaling of brain scores", help="of the page")
    scaling.add_argument("--json", action="store_true", help="print JSON")
    scaling.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from voxridge._scaling_analysis import analyse
    from voxridge.science.score_table import read_score_table

    _check_matplotlib()
    table = read_score_table(options.table, score=options.score, columns=options.columns)
    asked = asked_options(options)
    analysis = analyse(table, asked)
    from voxridge.report.scaling_page import write_scaling

    card = _card(options, analysis, table)
    paths = write_scaling(analysis, options.out, score=table.score, title=options.title, card=card)
    if options.json:
        print(json.dumps(_as_json(analysis, card, paths), indent=2))
    else:
        _print(analysis, paths)
    return 0


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "voxridge[brain]"') from error


def asked_options(options: argparse.Namespace) -> Options:
    """What the parsed arguments ask for."""
    from voxridge._scaling_analysis import Options
    from voxridge.science.model_table import parse_count

    baseline = options.baseline
    if baseline not in ("smallest", "largest", "mean"):
        try:
            baseline = parse_count(baseline)
        except ValueError as error:
            raise ValueError(f"--baseline: {error}; or smallest, largest or mean") from None
    try:
        above = None if options.above is None else parse_count(options.above)
    except ValueError as error:
        raise ValueError(f"--above: {error}") from None
    return Options(options.x, options.log, options.per_roi, baseline, above, options.level, options.seed)


def _card(options: argparse.Namespace, analysis: Analysis, table: Any) -> dict[str, Any]:
    """Everything needed to repeat the result."""
    import dataclasses

    import numpy
    import scipy

    import voxridge

    known = [part for part in (table.subjects, table.rois) if part != ("",)]
    return {
        "voxridge": voxridge.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "table": options.table.name,
        "sha256 of the table": hashlib.sha256(options.table.read_bytes()).hexdigest(),
        "score": table.score,
        "models": len(table.models),
        "subjects and regions": "; ".join(", ".join(names) for names in known) or "one series",
        **dataclasses.asdict(analysis.options),
        "log": analysis.whole.fit.log,
    }


def _print(analysis: Analysis, paths: dict[str, Path]) -> None:
    from voxridge._scaling_analysis import sentences

    print("\n".join(sentences(analysis.whole, analysis.options)))
    for part in (*analysis.rois, *analysis.sides):
        verdict = "" if part.plateau is None else f"; {part.plateau.verdict}"
        print(f"{part.name}: slope {part.fit.interval.sentence()}; r = {part.fit.r:.2f}{verdict}")
    for message in analysis.messages:
        print(f"Warning: {message}")
    print(
        f"Tables: {', '.join(str(paths[name]) for name in ('fits', 'models', 'subjects') if name in paths)}"
    )
    print(f"Report: {paths['report']}")


def _as_json(analysis: Analysis, card: dict[str, Any], paths: dict[str, Path]) -> dict[str, Any]:
    import math

    from voxridge._scaling_analysis import fit_rows, sentences

    header, rows = fit_rows(analysis)

    def plain(value: Any) -> Any:
        return None if value == "" or (isinstance(value, float) and not math.isfinite(value)) else value

    return {
        "fits": [{name: plain(v) for name, v in zip(header, row, strict=True)} for row in rows],
        "sentences": sentences(analysis.whole, analysis.options),
        "warnings": list(analysis.messages),
        "card": card,
        "files": {name: str(path) for name, path in paths.items()},
    }

"""The page, figures and tables of ``voxridge scaling``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxridge._scaling_analysis import (
    Analysis,
    Part,
    fit_rows,
    line_sentences,
    model_rows,
    more_sentences,
    subject_rows,
)
from voxridge.report.html import Report
from voxridge.report.scaling import rois_figure, scaling_figure
from voxridge.report.style import save
from voxridge.science.partial import PartialEffects
from voxridge.science.slopes import OVER
from voxridge.streams.atomic import atomic_path

_SHAPES = {
    "constant": "no trend",
    "straight": "straight line",
    "saturating": "curve towards a ceiling",
    "broken": "line, flat above a break",
}
_SHAPE_HEADER = ["shape", "parameters", "AIC", "AICc", "Akaike weight"]


def write_scaling(
    analysis: Analysis, folder: Path, *, score: str, title: str, card: Mapping[str, Any]
) -> dict[str, Path]:
    """Write tables (CSV), figures (PNG) and the page; the paths by what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"fits": _table(folder / "fits.csv", *fit_rows(analysis))}
    paths["models"] = _table(folder / "models.csv", *model_rows(analysis))
    if analysis.whole.subjects is not None:
        paths["subjects"] = _table(folder / "subjects.csv", *subject_rows(analysis))
    paths |= _figures(analysis, folder, score)
    report = Report(title, "voxridge scaling")
    _head(report, analysis, paths)
    _details(report, analysis)
    if analysis.rois:
        _many(report, "Region by region", analysis.rois, paths["regions"])
    if analysis.sides:
        _many(report, "Left and right", analysis.sides, paths["sides"])
    if analysis.partial is not None:
        _partial(report, analysis.partial)
    _models(report, analysis)
    report.heading("Run card")
    report.settings(card)
    paths["report"] = report.write(folder / "scaling.html", f"Made by voxridge {card['voxridge']}.")
    return paths


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[_full(value) for value in row] for row in rows])
    return path


def _full(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, float) else value


def _figures(analysis: Analysis, folder: Path, score: str) -> dict[str, Path]:
    whole = analysis.whole
    lines = None if whole.subjects is None else (whole.subjects.slopes, whole.subjects.intercepts)
    figure = scaling_figure(
        whole.fit,
        title=f"Score and {whole.fit.predictor}",
        score=score,
        lines=lines,
        plateau=whole.plateau,
        baseline=analysis.options.baseline,
    )
    paths = {"figure": save(figure, folder / "scaling.png")}
    if analysis.rois:
        fits = {part.name: part.fit for part in analysis.rois}
        paths["regions"] = save(rois_figure(fits, score=score), folder / "regions.png")
    if analysis.sides:
        fits = {part.name.partition(":")[0]: part.fit for part in analysis.sides}
        paths["sides"] = save(rois_figure(fits, score="left − right", zero=True), folder / "sides.png")
    return paths


def _head(report: Report, analysis: Analysis, paths: Mapping[str, Path]) -> None:
    part = analysis.whole
    fit, ends = part.fit, part.fit.interval
    gain = fit.gain(analysis.options.baseline)
    step = "per decade" if fit.log else "per unit"
    over = f"{ends.n_groups} {ends.method if ends.method == 'families' else fit.points}"
    low, high = f"{ends.low:.3g}", f"{ends.high:.3g}"
    percent = gain.per_decade if fit.log else gain.per_unit
    cards = [
        (
            f"{fit.slope:.3g}",
            f"slope {step}",
            f"{100 * ends.level:g} % interval {low} to {high}, over {over}",
        ),
        (f"{fit.r:.2f}", "correlation", f"{int(fit.n_models)} {fit.points}, R2 = {fit.r2:.2f}"),
        (f"{percent:+.1f} %", f"gain {step}", f"({gain.low:.1f} to {gain.high:.1f}) of {gain.baseline}"),
    ]
    if part.plateau is not None:
        remark = f"p = {part.plateau.p:.2g}" if part.plateau.shapes else "too few models"
        cards.append((part.plateau.verdict, "at the upper end", remark))
    report.cards(cards)
    for message in analysis.messages:
        report.note(message, warning=True)
    count = "" if part.subjects is None else " Thin lines are single subjects."
    report.figure(
        paths["figure"],
        f"{part.name[0].upper()}{part.name[1:]}. One point each of {int(fit.n_models)} {fit.points}; the "
        f"line is least squares, the band its {100 * fit.level:g} % interval if {fit.points} were "
        f"independent.{count} The samples of this fit are the {fit.points}, however many voxels each score "
        "is the mean of.",
        alt=f"Score of {int(fit.n_models)} {fit.points} against {fit.predictor}",
    )


def _details(report: Report, analysis: Analysis) -> None:
    part = analysis.whole
    report.heading("What the slope rests on")
    report.items([*line_sentences(part), *more_sentences(part, analysis.options)])
    header = ["interval over", "slope", "low", "high", "p", "degrees of freedom", "n"]
    report.table(
        header,
        [
            [OVER[name], *(_short(v) for v in (e.slope, e.low, e.high, e.p, e.dof)), e.n_groups]
            for name, e in part.intervals.items()
        ],
    )
    if part.plateau is not None:
        report.heading("Does it level off?")
        report.text(part.plateau.sentence)
    if part.plateau is not None and part.plateau.shapes:
        rows = [
            [
                _SHAPES[name],
                shape.n_parameters,
                f"{shape.aic:.1f}",
                f"{shape.aicc:.1f}",
                f"{shape.weight:.2f}",
            ]
            for name, shape in part.plateau.shapes.items()
        ]
        report.table(_SHAPE_HEADER, rows)


def _short(value: Any) -> str:
    return f"{float(value):.3g}" if np.isfinite(value) else ""


def _many(report: Report, heading: str, parts: Sequence[Part], figure: Path) -> None:
    report.heading(heading)
    report.figure(
        figure,
        f"Slope with its {100 * parts[0].fit.level:g} % interval in every panel; over families where these "
        "are known. Vertical axes have the same length, so that equal slopes look equal.",
        alt=f"{heading}: scores against the size of models",
        narrow=len(parts) < 3,
    )
    rows = []
    for part in parts:
        ends = part.fit.interval
        verdict = "" if part.plateau is None else part.plateau.verdict
        rows.append(
            [part.name, *(_short(v) for v in (ends.slope, ends.low, ends.high, ends.p, part.fit.r)), verdict]
        )
    header = ["series", "slope", "low", "high", "p", "r", "plateau"]
    report.table(header, rows if any(row[-1] for row in rows) else [row[:-1] for row in rows])
    report.text("p-values are those of single series; fits.csv has them corrected for their number too.")


def _partial(report: Report, effects: PartialEffects) -> None:
    report.heading("Size, width and depth together")
    report.text(
        "Multiple regression on the natural logarithm of the number of parameters, the hidden size and the "
        f"number of layers; R2 = {effects.r2:.3f}, adjusted {effects.adjusted_r2:.3f}. Inflation above 10 "
        "means that these models cannot tell a predictor from the others."
    )
    numbers = zip(
        effects.names,
        effects.coefficients,
        effects.low,
        effects.high,
        effects.p,
        effects.unique_r2,
        effects.vif,
        strict=True,
    )
    rows = [[name, *(_short(value) for value in values)] for name, *values in numbers]
    report.table(
        ["predictor", "coefficient", "low", "high", "p", "R2 of its own", "variance inflation"], rows
    )


def _models(report: Report, analysis: Analysis) -> None:
    report.heading(analysis.whole.fit.points.capitalize())
    header, rows = model_rows(analysis)
    shown = [[*row[:2], f"{row[2]:.4g}", *(f"{value:.4f}" for value in row[3:])] for row in rows]
    report.text("The prediction interval is where one more would be expected.")
    report.table(header, shown, tall=True)

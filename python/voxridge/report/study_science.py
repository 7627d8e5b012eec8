"""Sections of a study's page about models together: scaling, left and right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.report.html import Report
from voxridge.report.pages import interval_text
from voxridge.report.scaling import rois_figure, scaling_figure
from voxridge.report.style import save
from voxridge.science._sides import ALL_PAIRS
from voxridge.science.intervals import mean_interval
from voxridge.study.results import write_table

if TYPE_CHECKING:
    from voxridge.science.lateral_models import LateralisationByModel
    from voxridge.study.outcome import Study, Trend

_MOST_PANELS = 12
_LABELS = {"parameters": "number of parameters", "perplexity": "perplexity", "benchmark": "benchmark score"}


def scaling_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Score against what is known of the models."""
    if not study.trends:
        return
    report.heading("Scaling")
    rows = []
    for predictor, trend in study.trends.items():
        figure = scaling_figure(trend.fit, lines=trend.lines, plateau=trend.plateau)
        report.figure(
            save(figure, figures / f"scaling-{predictor}.png"),
            f"Mean held-out correlation of the layers chosen in the folds against {_LABELS[predictor]}; line "
            "and 95 % band: ordinary least squares over models.",
            alt=f"Score against {_LABELS[predictor]}",
        )
        rows += trend_rows(predictor, trend)
        if trend.plateau is not None:
            report.note(trend.plateau.sentence)
    report.table(_TREND_HEADER, rows)
    write_table(tables / "scaling.csv", _TREND_HEADER, rows)
    if any(len(trend.fit.x) < 6 for trend in study.trends.values()):
        report.text("Few models decide these slopes; intervals over models say little about other models.")
    label = "held-out correlation r"
    _region_trends(report, study.roi_trends, figures / "scaling-regions.png", tables, score=label, zero=False)


_TREND_HEADER = ["against", "interval over", "slope", "low", "high", "p", "% per decade", "% per doubling"]


def trend_rows(predictor: str, trend: Trend) -> list[list[Any]]:
    """The slope with every interval there is."""
    gain = trend.fit.gain()
    per_decade, per_doubling = (
        (float(gain.per_decade), float(gain.per_doubling)) if trend.fit.log else ("", "")
    )
    intervals = dict(trend.fit.intervals)
    if trend.subjects is not None:
        intervals["subjects"] = trend.subjects.interval
    names = {"classical": "models", "families": "families", "within families": "models within families"}
    return [
        [
            predictor,
            names.get(name, name),
            float(interval.slope),
            float(interval.low),
            float(interval.high),
            float(interval.p),
            per_decade,
            per_doubling,
        ]
        for name, interval in intervals.items()
    ]


def sides_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Left minus right, by subject and model, of regions, and its trend."""
    if not study.sides:
        return
    report.heading("Left and right")
    header = ["subject", "region", "model", "pairs", "left r", "right r", "L - R", "low", "high"]
    header.append("(L - R) / (L + R)")
    rows = [row for name, table in study.sides.items() for row in _side_rows(name, table)]
    write_table(tables / "sides.csv", header, rows)
    report.table([header[0], *header[2:]], [[row[0], *row[2:]] for row in rows if row[1] == ALL_PAIRS])
    report.text(
        "Means over pairs of homologous targets; the midline is left out. The interval is over the outer "
        "folds, which share training data: it describes, and is no test."
    )
    _region_sides(report, study)
    if not study.side_trends:
        return
    label = "left minus right, r"
    if ALL_PAIRS in study.side_trends:
        trend = study.side_trends[ALL_PAIRS]
        figure = scaling_figure(trend.fit, score=label, lines=trend.lines, zero=True)
        report.figure(
            save(figure, figures / "scaling-sides.png"),
            "Mean left minus right correlation against the number of parameters.",
            alt="Left minus right against the number of parameters",
        )
        report.table(_TREND_HEADER[:6], [row[:6] for row in trend_rows("parameters", trend)])
    regions = {name: trend for name, trend in study.side_trends.items() if name != ALL_PAIRS}
    _region_trends(report, regions, figures / "scaling-sides-regions.png", tables, score=label, zero=True)


def _side_rows(name: str, table: LateralisationByModel) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for model, found in table.results.items():
        for i, region in enumerate(found.regions):
            interval, own = found.difference_interval, table.models.index(model)
            ends = [float(x[i]) for x in (interval.estimate, interval.low, interval.high)]
            means = [float(table.left[own, i]), float(table.right[own, i])]
            row = [name, region, model, int(found.n_pairs[i]), *means, *ends]
            rows.append([*row, float(table.index[own, i])])
    return rows


def _region_sides(report: Report, study: Study) -> None:
    """L - R of every region and its mirror image, one column per model."""
    regions = [roi for roi in study.rois if any(roi in table.regions for table in study.sides.values())]
    rows: list[list[Any]] = []
    for roi in regions:
        having = [table for table in study.sides.values() if roi in table.regions]
        cells = []
        for model in study.models:
            if len(having) == 1:
                found = having[0].results[model]
                values = found.difference[:, found.regions.index(roi)]
            else:
                values = np.array([_difference(table, model, roi) for table in having])
            cells.append(interval_text(mean_interval(values)))
        rows.append([roi, *cells])
    if rows:
        report.table(["L - R (95 %)", *study.models], rows)
        report.text(
            f"Regions together with their mirror images; intervals over {study.repeats}. Single subjects are "
            "in tables/sides.csv."
        )


def _difference(table: LateralisationByModel, model: str, region: str) -> float:
    return float(table.difference[table.models.index(model), table.regions.index(region)])


def _region_trends(
    report: Report, trends: dict[str, Trend], path: Path, tables: Path, *, score: str, zero: bool
) -> None:
    """A panel per region, and the slopes."""
    if not trends:
        return
    shown = {name: trend.fit for name, trend in list(trends.items())[:_MOST_PANELS]}
    caption = f"{score[0].upper()}{score[1:]} against the number of parameters in each region; slope per "
    report.figure(
        save(rois_figure(shown, score=score, zero=zero), path),
        caption + "decade with its 95 % interval over models.",
        alt="Score against the number of parameters by region",
        narrow=len(shown) < 3,
    )
    width = 6 if zero else len(_TREND_HEADER)
    rows = [[n, *row[:width]] for n, trend in trends.items() for row in trend_rows("parameters", trend)]
    header = ["region", *_TREND_HEADER[:width]]
    report.table(header, rows, tall=True)
    write_table(tables / f"{path.stem}.csv", header, rows)

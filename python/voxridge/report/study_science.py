"""Sections of a study's page about models and subjects together: scaling, sides, stacking, ceilings, maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.report.figures import ceiling_figure, weights_figure
from voxridge.report.html import Report
from voxridge.report.scaling import scaling_figure
from voxridge.report.study_sections import median
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.results import write_table

if TYPE_CHECKING:
    from voxridge.study.outcome import Study, Trend

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
    """Left minus right, by subject and model, and its trend."""
    if not study.sides:
        return
    report.heading("Left and right")
    rows = []
    for name, table in study.sides.items():
        for model, found in table.results.items():
            interval = found.difference_interval
            rows.append(
                [
                    name,
                    model,
                    int(found.n_pairs[0]),
                    float(table.left[table.models.index(model), 0]),
                    float(table.right[table.models.index(model), 0]),
                    float(interval.estimate[0]),
                    float(interval.low[0]),
                    float(interval.high[0]),
                    float(table.index[table.models.index(model), 0]),
                ]
            )
    header = ["subject", "model", "pairs", "left r", "right r", "L - R", "low", "high", "(L - R) / (L + R)"]
    report.table(header, rows)
    write_table(tables / "sides.csv", header, rows)
    report.text(
        "Means over pairs of homologous targets; the midline is left out. The interval is over the outer "
        "folds, which share training data: it describes, and is no test."
    )
    if study.side_trend is not None:
        figure = scaling_figure(
            study.side_trend.fit, score="left minus right, r", lines=study.side_trend.lines, zero=True
        )
        report.figure(
            save(figure, figures / "scaling-sides.png"),
            "Mean left minus right correlation against the number of parameters.",
            alt="Left minus right against the number of parameters",
        )
        report.table(_TREND_HEADER[:6], [row[:6] for row in trend_rows("parameters", study.side_trend)])


def stacking_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Convex combinations of all models."""
    stacks = {name: s.stack for name, s in study.subjects.items() if s.stack is not None}
    if not stacks:
        return
    rows = []
    for name, stack in stacks.items():
        gain = mean_interval(np.nanmean(stack.fold_scores - stack.fold_best_scores, axis=1))
        weights = [float(np.nanmean(own)) for own in stack.weights]
        scores = [float(np.nanmean(stack.scores)), float(np.nanmean(stack.best_scores))]
        ends = [float(gain.mean), float(gain.low), float(gain.high)]
        rows.append([name, *scores, *ends, float(np.nanmean(stack.effective_models)), *weights])
    header = ["subject", "r stack", "r best single", "gain", "low", "high", "models in use"]
    header += [f"weight {model}" for model in study.models]
    report.heading("Stacking")
    first = next(iter(stacks.values()))
    report.figure(
        save(weights_figure(first.names, first.weights), figures / "stacking.png"),
        f"Weights, mean over folds, of {next(iter(stacks))}. They are 0 or more, sum to 1, and minimise the "
        "squared error of cross-validated predictions of the training rows; the left-out part has no say.",
        alt="Histogram of stacking weights",
    )
    report.table(header, rows)
    write_table(tables / "stacking.csv", header, rows)
    report.text(
        "The best single model is chosen per target by the same training predictions. The gain may be "
        "negative: weights are estimated too."
    )


def ceiling_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Scores of repeated runs against their ceilings, and the correlation between subjects."""
    rows = []
    report.heading("Ceilings")
    for name, subject in study.subjects.items():
        for run, ceiling in subject.ceilings.items():
            model = study.models[-1]
            normalised = subject.analyses[model].normalised[run]
            figure = ceiling_figure(
                ceiling.values, normalised.scores.values, low=ceiling.low, name=f"{name}, {run}"
            )
            report.figure(
                save(figure, figures / f"ceiling-{name}-{run}.png"),
                f"{model} on {run}, heard {ceiling.conditions.repeats} times: score against CCmax (Schoppe "
                "2016). Dots above the line overshoot by chance and are kept.",
                alt="Score against ceiling",
                narrow=True,
            )
            for title, analysis in subject.analyses.items():
                found = analysis.normalised[run]
                middle = [median(ceiling.values), median(found.values)]
                rows.append([name, title, run, *middle, found.n_above, found.n_undefined])
    if rows:
        header = ["subject", "model", "run", "median ceiling", "median r / ceiling", "above 1", "undefined"]
        report.table(header, rows)
        write_table(tables / "ceilings.csv", header, rows)
    if study.isc is not None:
        values = study.isc.values
        report.text(
            f"Correlation of each of {study.isc.n_subjects} subjects with the mean of the others: median "
            f"over targets {median(values):.3f}, highest {np.nanmax(values):.3f}. It bounds what is "
            "common to all subjects, and is no ceiling for a single one."
        )
    if not rows and study.isc is None:
        report.text(
            "None: a ceiling needs single presentations of a repeated run in a response store, or three or "
            "more subjects with the same targets. Scores are as they are, with no share of what could be "
            "reached."
        )


def maps_section(report: Report, study: Study, folder: Path) -> None:
    """Write every map as an image where it is known where the targets are."""
    from voxridge.report.maps import write_maps

    written: list[Path] = []
    for name, subject in study.subjects.items():
        if subject.geometry is None or subject.geometry.kind == "columns":
            continue
        for model, result in subject.results.items():
            maps = {"r": subject.columns(result.chosen.mean(axis=0))}
            maps |= {key: subject.columns(np.asarray(values, float)) for key, values in result.maps.items()}
            written += write_maps(folder, maps, subject.geometry, subject=name, model=model, overwrite=True)
        if subject.stack is not None:
            weights = {
                f"weight {m}": w for m, w in zip(subject.stack.names, subject.stack.weights, strict=True)
            }
            maps = {key: subject.columns(values) for key, values in weights.items()}
            written += write_maps(folder, maps, subject.geometry, subject=name, model="stack", overwrite=True)
    if written:
        report.heading("Maps")
        report.text(f"{len(written)} images in the folder maps, one per subject, model and statistic.")
        report.items([path.name for path in written[:12]])

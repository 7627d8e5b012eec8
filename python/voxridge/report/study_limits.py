"""Sections of a study's page about stacks of models and about ceilings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.report.html import Report
from voxridge.report.study_figures import ceiling_figure, weights_figure
from voxridge.report.study_sections import median
from voxridge.report.style import SERIES, save
from voxridge.science.intervals import mean_interval
from voxridge.study.results import write_table

if TYPE_CHECKING:
    from voxridge.science.stacking import StackedResult
    from voxridge.study.outcome import Study

_MOST_FIGURES = 2


def _weights(stack: StackedResult) -> Any:
    """Of the models with the largest weights, where there are many."""
    means = np.nanmean(stack.weights, axis=1)
    shown = sorted(np.argsort(-means)[: len(SERIES)].tolist())
    return weights_figure([stack.names[i] for i in shown], stack.weights[shown])


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
        save(_weights(first), figures / "stacking.png"),
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
    rows, drawn = [], 0
    report.heading("Ceilings")
    for name, subject in study.subjects.items():
        for run, ceiling in subject.ceilings.items():
            model = study.best
            normalised = subject.analyses[model].normalised[run]
            figure = ceiling_figure(
                ceiling.values, normalised.scores.values, low=ceiling.low, name=f"{name}, {run}"
            )
            path = save(figure, figures / f"ceiling-{name}-{run}.png")
            drawn += 1
            if drawn <= _MOST_FIGURES:
                report.figure(
                    path,
                    f"{model} on {run}, heard {ceiling.conditions.repeats} times: score against CCmax "
                    "(Schoppe 2016). Dots above the line overshoot by chance and are kept.",
                    alt="Score against ceiling",
                    narrow=True,
                )
            for title, analysis in subject.analyses.items():
                found = analysis.normalised[run]
                middle = [median(ceiling.values), median(found.values)]
                rows.append([name, title, run, *middle, found.n_above, found.n_undefined])
    if drawn > _MOST_FIGURES:
        report.text(f"{drawn - _MOST_FIGURES} more of these are in the folder of figures.")
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

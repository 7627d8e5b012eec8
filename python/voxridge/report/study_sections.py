"""Sections of a study's page about single models: overview, controls, layers, significance, tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.figures import bars_figure
from voxridge.report.html import Report
from voxridge.report.pages import interval_text
from voxridge.report.study_figures import subjects_figure
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.outcome import Study, Values
from voxridge.study.results import StudyResult, model_rows, target_rows, write_table

Float64 = NDArray[np.float64]
_MOST_BARS = 56  # in a figure


def overview(report: Report, study: Study, figures: Path) -> None:
    """The lead, the key numbers, and every subject's score of every model."""
    first, best = study.first.first, study.best
    n_subjects, n_models = len(study.subjects), len(study.models)
    report.text(
        f"{_count(n_subjects, 'subject')}, {_count(n_models, 'model')} with "
        f"{_count(_n_layers(study), 'layer')} and {1 + len(controls_of(study, best))} sets of controls, "
        f"fitted to {_targets(study)} and scored on {len(first.folds)} left-out parts.",
        lead=True,
    )
    chosen = mean_interval(study.over_repeats(best, lambda result: result.chosen))
    rate = mean_interval(study.over_repeats(best, lambda result: result.control.scores))
    name = "model" if n_models == 1 else f"best model, {best}"
    report.cards(
        [
            (f"{float(rate.mean):.3f}", "word rate alone", f"mean held-out r: {interval_text(rate)}"),
            (f"{float(chosen.mean):.3f}", name, f"mean held-out r: {interval_text(chosen)}"),
            (_spans(study, best), "layers chosen", "in the inner folds, one per outer fold"),
            (_best_target(study, best), "best single target", "highest of many: optimistic"),
        ]
    )
    if n_models > 1:
        report.note(
            f"The best of {n_models} models was picked by the scores shown here, so its own is a little too "
            "high. The interval is over " + study.repeats + "."
        )
    if n_subjects > 1:
        means, low, high = _subject_intervals(study)
        figure = subjects_figure(list(study.subjects), study.models, means, _rates(study), ends=(low, high))
        report.figure(
            save(figure, figures / "subjects.png"),
            "Held-out correlation of the layer chosen in each fold, mean over targets, every subject and "
            "model; lines: 95 % over the outer folds; dashed: word rate alone.",
            alt="Scores by subject and model",
        )


def controls_section(report: Report, study: Study, figures: Path) -> None:
    """Controls first: what is reached without the model, with it, and with both."""
    sources = {control.name: named_scores(control.name) for control in controls_of(study, study.models[0])}
    sources = {study.first.first.control.name: lambda result: result.control.scores, **sources}
    sources["model: layer chosen"] = lambda result: result.chosen
    models = study.some_models(groups_of_bars(len(sources) + 1))
    series = {name: _over_models(study, models, values) for name, values in sources.items()}
    if study.first.analyses[study.models[0]].beside is not None:
        beside = [study.over_repeats(model, joint_scores(study, model)) for model in models]
        series["model beside all controls"] = np.stack(beside, axis=1)
    figure = bars_figure(models, series, title="Controls and models", repeats=study.repeats.rstrip("s"))
    more = "" if len(models) == len(study.models) else f" {len(models)} of {len(study.models)} models."
    report.heading("Controls first")
    report.figure(
        save(figure, figures / "controls.png"),
        "Mean held-out correlation over targets. Random vectors and embeddings know which word is heard and "
        f"nothing of what it means; what they reach is no evidence for a language model.{more}",
        alt="Scores of controls and models",
    )
    report.table(*_unique_rows(study), tall=True)
    report.text(
        "Unique R2 is the R2 of the chosen layer beside all controls minus that of all controls, penalties "
        "chosen by R2. Omega is the share, in percent, of the model's own R2 that the controls account for: "
        "100 (1 - (both - controls) / model), of each subject's mean R2 over targets (Feghhi, Hadidi and "
        "others, 2024). A dash: the model's mean R2 is not above 0, so there is nothing to account for."
    )


def groups_of_bars(n_series: int) -> int:
    """Models or regions in a figure with so many bars for each."""
    return max(4, _MOST_BARS // n_series)


def _over_models(study: Study, models: Sequence[str], values: Values) -> Float64:
    """(n_repeats, n_models)"""
    return np.stack([study.over_repeats(model, values) for model in models], axis=1)


def significance_section(report: Report, study: Study) -> None:
    """Share of targets above chance, by subject and model."""
    settings = study.config.analysis
    if settings.permutations == 0:
        return
    rows = []
    for name, subject in study.subjects.items():
        for model, analysis in subject.analyses.items():
            test = analysis.test
            assert test is not None
            detected = subject.results[model].maps["detected"]
            row = [name, model, len(detected), float(100 * detected.mean())]
            rows.append([*row, float(100 * np.mean(test.p_family <= 0.05)), test.block])
    header = ["subject", "model", "targets", f"% at FDR {settings.rate:g}", "% at family-wise 0.05", "block"]
    report.heading("Above chance")
    report.table(header, rows)
    report.text(
        "Held-out predictions of the chosen layers against responses whose blocks of rows were permuted "
        f"within each part, {settings.permutations:,} times; p = (b + 1) / (m + 1), one-sided. A block is as "
        "long as the autocorrelation asks for, and the null is widened for predictions of folds that share "
        "training data. Targets are corrected by Benjamini-Hochberg (FDR) and by the maximum over all of "
        "them (family-wise)."
    )
    smallest = 1 / (settings.permutations + 1)
    if smallest > settings.rate / 10:
        report.note(
            f"No p can be below {smallest:.2g} with {settings.permutations} permutations: unless "
            f"{min(1.0, smallest / settings.rate):.0%} of the targets reach it, FDR finds none of them. Take "
            "more permutations.",
            warning=True,
        )


def tables_section(report: Report, study: Study, tables: Path) -> None:
    """All scores: models and targets of every subject, as CSV, and the first subject's in the page."""
    report.heading("All models")
    names = [
        (f"{subject}_{model}", result)
        for subject, outcome in study.subjects.items()
        for model, result in outcome.results.items()
    ]
    for name, result in names:
        suffix = "" if len(names) == 1 else f"_{name}"
        everything = {"all targets": np.ones(len(result.targets["name"]), dtype=bool)}
        write_table(tables / f"models{suffix}.csv", *model_rows(result, everything))
        write_table(tables / f"targets{suffix}.csv", *target_rows(result))
    report.text(
        "Mean held-out correlation and its 95 % interval over the outer folds; tables/models*.csv has every "
        "subject and model, tables/targets*.csv single targets with their maps, results.h5 every fold."
    )
    result = names[0][1]
    everything = {"all targets": np.ones(len(result.targets["name"]), dtype=bool)}
    report.table(*model_rows(result, everything), tall=True)


def median(values: Float64) -> float:
    """Median of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def study_warnings(study: Study) -> list[str]:
    """Targets that were left out, notes, and what the fits warned of."""
    lines = list(study.notes)
    for name, subject in study.subjects.items():
        which = f"{name}: " if len(study.subjects) > 1 else ""
        if subject.left_out:
            named = ", ".join(subject.left_out[:20]) + (" and others" if len(subject.left_out) > 20 else "")
            count = len(subject.left_out)
            lines.append(f"{which}{count} target(s) are constant or not finite and were left out: {named}.")
        if absent := [roi for roi in study.rois_asked if roi not in subject.rois]:
            lines.append(f"{which}no target that can be used lies in {', '.join(absent)}.")
        seen: set[str] = set()
        for model, result in subject.results.items():
            for warning in result.warnings:
                if warning not in seen:
                    lines.append(f"{which}{model}: {warning}")
                    seen.add(warning)
    return lines


def controls_of(study: Study, model: str) -> list[Any]:
    """Controls beside the word rate, without the joint fit."""
    analysis = study.first.analyses[model]
    joint = None if analysis.beside is None else analysis.beside.scores.name
    return [control for control in study.first.results[model].beside if control.name != joint]


def named_scores(name: str) -> Values:
    """Takes the scores of a model of this name from a result."""
    return lambda result: next(model for model in result.models if model.name == name).scores


def joint_scores(study: Study, model: str) -> Values:
    """Takes the scores of a model beside all controls from a result."""
    beside = study.first.analyses[model].beside
    assert beside is not None
    return named_scores(beside.scores.name)


def _unique_rows(study: Study) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = []
    for name, subject in study.subjects.items():
        for model, result in subject.results.items():
            analysis = subject.analyses[model]
            row = [name, model, float(np.nanmean(result.control.scores)), float(np.nanmean(result.chosen))]
            if analysis.beside is not None:
                unique = mean_interval(np.nanmean(analysis.beside.unique, axis=1))
                row += [float(np.nanmean(analysis.beside.scores.scores)), interval_text(unique)]
                row.append(analysis.beside.omega)
            rows.append(row)
    header = ["subject", "model", "r word rate", "r model"]
    if len(rows[0]) > len(header):
        header += ["r both", "unique R2 (95 % over folds)", "Omega (%)"]
    return header, rows


def _subject_intervals(study: Study) -> tuple[Float64, Float64, Float64]:
    """Mean and ends over the folds, (n_subjects, n_models) each."""
    intervals = [
        [mean_interval(subject.mean(subject.results[model].chosen)) for model in study.models]
        for subject in study.subjects.values()
    ]
    parts = ([[getattr(own, name) for own in row] for row in intervals] for name in ("mean", "low", "high"))
    means, low, high = (np.array(part, dtype=np.float64) for part in parts)
    return means, low, high


def _rates(study: Study) -> Float64:
    return np.array([np.nanmean(s.first.control.scores) for s in study.subjects.values()])


def _n_layers(study: Study) -> int:
    return sum(len(result.layers) for result in study.first.results.values())


def _targets(study: Study) -> str:
    counts = [len(subject.first.targets["name"]) for subject in study.subjects.values()]
    if min(counts) == max(counts):
        return _count(counts[0], "target")
    return f"{min(counts):,} to {max(counts):,} targets"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _spans(study: Study, model: str) -> str:
    layers = [layer for s in study.subjects.values() for layer in s.results[model].chosen_layers]
    return str(layers[0]) if min(layers) == max(layers) else f"{min(layers)}–{max(layers)}"


def _best_target(study: Study, model: str) -> str:
    return f"{max(_highest(s.results[model]) for s in study.subjects.values()):.3f}"


def _highest(result: StudyResult) -> float:
    return float(np.nanmax(result.chosen.mean(axis=0)))

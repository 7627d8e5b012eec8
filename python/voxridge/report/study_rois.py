"""Section of a study's page about regions of interest: controls and models in each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxridge.report.figures import bars_figure
from voxridge.report.html import Report
from voxridge.report.pages import interval_text
from voxridge.report.study_sections import controls_of, groups_of_bars, joint_scores, named_scores
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.results import write_table

if TYPE_CHECKING:
    from voxridge.study.outcome import Study, Values

CHOSEN = "layer chosen"
BESIDE = "layer beside all controls"


def rois_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Models by regions, and the controls in each region."""
    if not study.rois:
        return
    report.heading("Regions of interest")
    report.table(*_by_model(study))
    write_table(tables / "rois.csv", *_long_rows(study))
    report.text(
        "Mean held-out correlation of the layer chosen in each fold over the targets of a region, with its "
        f"95 % interval over {study.repeats}. Controls, layers and numbers of targets are in tables/rois.csv."
    )
    best = study.best
    sources = _sources(study, best)
    shown = study.rois[: groups_of_bars(len(sources))]
    series = {
        name: np.stack([study.over_repeats(best, values, roi) for roi in shown], axis=1)
        for name, values in sources.items()
    }
    figure = bars_figure(shown, series, title=f"Regions, {best}", repeats=study.repeats.rstrip("s"))
    more = "" if len(shown) == len(study.rois) else f" The first {len(shown)} regions."
    report.figure(
        save(figure, figures / "regions.png"),
        f"Controls in each region, and {best} alone and beside all controls.{more}",
        alt="Scores of controls and the best model by region",
    )


def _sources(study: Study, model: str) -> dict[str, Values]:
    """What is scored: controls, the chosen layer, that beside the controls."""
    names = [study.first.first.control.name, *(control.name for control in controls_of(study, model))]
    sources: dict[str, Values] = {name: named_scores(name) for name in names}
    sources[CHOSEN] = lambda result: result.chosen
    if study.first.analyses[model].beside is not None:
        sources[BESIDE] = joint_scores(study, model)
    return sources


def _by_model(study: Study) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = []
    for roi in study.rois:
        cells = [study.over_repeats(model, lambda result: result.chosen, roi) for model in study.models]
        rows.append([roi, _targets(study, roi), *(interval_text(mean_interval(cell)) for cell in cells)])
    return ["region", "targets", *study.models], rows


def _targets(study: Study, roi: str) -> str:
    counts = sorted({int(s.rois[roi].sum()) for s in study.subjects.values() if roi in s.rois})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def _long_rows(study: Study) -> tuple[list[str], list[list[Any]]]:
    """One row per region, model and what is scored."""
    rows: list[list[Any]] = []
    for roi in study.rois:
        for model in study.models:
            for name, values in _sources(study, model).items():
                found = study.over_repeats(model, values, roi)
                interval = mean_interval(found)
                ends = [float(x) for x in (interval.mean, interval.low, interval.high)]
                rows.append([roi, _targets(study, roi), model, name, *ends, int(np.isfinite(found).sum())])
    return ["region", "targets", "model", "what", "r", "low", "high", study.repeats], rows

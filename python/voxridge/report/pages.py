"""Sections that the reports of all studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.alpha import alpha_figure, edge_share
from voxridge.report.html import Report
from voxridge.report.layers import Curve, layer_figure
from voxridge.report.style import save
from voxridge.science.intervals import MeanInterval
from voxridge.study.results import StudyResult, model_rows, target_rows, write_results, write_table

Mask = NDArray[Any]


def interval_text(interval: MeanInterval) -> str:
    """``0.44 (0.40 to 0.48)`` for a single mean."""
    if not np.isfinite(interval.low):
        return f"{float(interval.mean):.3f}"
    return f"{float(interval.mean):.3f} ({float(interval.low):.3f} to {float(interval.high):.3f})"


def layer_section(
    report: Report,
    result: StudyResult,
    groups: Mapping[str, Mask],
    folder: Path,
    *,
    more: Sequence[Curve] = (),
    true_layer: int | None = None,
    caption: str = "",
) -> None:
    """The layer curve over outer folds, one line per group of targets."""
    curves = [
        Curve(name, result.layer_means(members), np.nanmean(result.control.scores[:, members], axis=1))
        for name, members in groups.items()
    ]
    figure = layer_figure(
        [int(model.layer or 0) for model in result.layers],
        [*curves, *more],
        control=result.control.name,
        repeats="outer folds",
        true_layer=true_layer,
        chosen=result.chosen_layers,
    )
    path = save(figure, folder / "layers.png")
    report.heading("Layer by layer")
    report.figure(
        path,
        f"{caption} Every score is held out: penalties were chosen without the part that is scored. The "
        "band shows how much the outer folds differ; they share training data, so it is no test. Dashed: "
        f"{result.control.name} alone. Triangles: the layer that the inner folds chose for each outer "
        "fold; the highest point of the curve itself was picked after seeing the scores and is not a "
        "fair estimate.",
        alt="Held-out correlation by layer of the language model",
    )


def alpha_section(report: Report, result: StudyResult, groups: Mapping[str, Mask], folder: Path) -> None:
    """Histogram of the penalties of the chosen layers, and a warning where the grid was too narrow."""
    chosen = {name: result.chosen_alphas[:, members] for name, members in groups.items()}
    penalties(report, result.alphas, chosen, folder)


def penalties(report: Report, grid: Mask, chosen: Mapping[str, Mask], folder: Path) -> None:
    """The same of penalties by name."""
    path = save(alpha_figure(grid, chosen), folder / "alphas.png")
    report.heading("Penalties")
    report.figure(
        path,
        "Ridge penalties (lambda, as in scikit-learn) of the layer chosen in each fold; "
        f"{len(grid)} values from {grid.min():g} to {grid.max():g} were tried.",
        alt="Histogram of chosen penalties",
    )
    for name, values in chosen.items():
        share = edge_share(values, grid)
        report.note(share.sentence(name), warning=share.alarming)


def models_section(report: Report, result: StudyResult, groups: Mapping[str, Mask], folder: Path) -> None:
    """The table of all models, in the page and as CSV; and the CSV of all targets."""
    header, rows = model_rows(result, groups)
    write_table(folder / "models.csv", header, rows)
    write_table(folder / "targets.csv", *target_rows(result))
    report.heading("All models")
    report.text(
        "Mean held-out correlation and its 95 % interval over the outer folds. The table is also in "
        "tables/models.csv, single targets are in tables/targets.csv, every fold of every target in "
        "results.h5."
    )
    report.table(header, rows, tall=True)


def warnings_section(report: Report, messages: Sequence[str]) -> None:
    """Everything that was warned about, or a line that says there was nothing."""
    report.heading("Warnings")
    if not messages:
        report.text("None.")
    for message in messages:
        report.note(message, warning=True)


def run_card(report: Report, provenance: Mapping[str, Any]) -> None:
    """All parameters, versions and hashes."""
    report.heading("Run card")
    report.text("Everything needed to repeat this result.")
    main = {key: value for key, value in provenance.items() if not isinstance(value, Mapping)}
    report.settings(main)
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            report.settings(value, summary=key)


def finish(result: StudyResult, report: Report, out: Path) -> Path:
    """Write ``results.h5`` and ``report.html``; the path of the page."""
    write_results(result, out / "results.h5")
    versions = result.provenance["versions"]
    footer = f"Made by voxridge {versions['voxridge']} on {result.provenance['made']}."
    return report.write(out / "report.html", footer)


def folders(out: Path) -> tuple[Path, Path]:
    """Make and return the folders of figures and tables."""
    figures, tables = out / "figures", out / "tables"
    for folder in (figures, tables):
        folder.mkdir(parents=True, exist_ok=True)
    return figures, tables

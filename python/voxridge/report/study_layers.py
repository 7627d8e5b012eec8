"""Sections of a study's page about layers and the amount of training data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.html import Report
from voxridge.report.layers import DepthCurve, depth_figure
from voxridge.report.pages import interval_text, layer_section
from voxridge.report.study_figures import training_figure
from voxridge.report.style import SERIES, save
from voxridge.science.depths import PeakDepth, peak_depth
from voxridge.science.intervals import mean_interval
from voxridge.science.training_size import data_scaling
from voxridge.study.layer_choice import layer_choice, layer_curve
from voxridge.study.outcome import Study
from voxridge.study.results import write_table
from voxridge.study.training import TrainingSizes

Float64 = NDArray[np.float64]
ALL = "all targets"
_MOST_PANELS = 9
_MOST_MODELS = 9
_MOST_CURVES = 8


def layers_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Score by layer, for all targets and each region; peaks; and the price of picking on the test."""
    regions = {ALL: "", **{roi: roi for roi in study.rois}}
    if len(study.subjects) == len(study.models) == 1:
        subject = study.first
        masks = {ALL: np.ones(len(subject.first.targets["name"]), dtype=bool), **subject.rois}
        shown = dict(list(masks.items())[:_MOST_CURVES])
        layer_section(report, subject.first, shown, figures)
    else:
        report.heading("Layer by layer")
        _depth_panels(report, study, dict(list(regions.items())[:_MOST_PANELS]), figures)
    _choice_table(report, study)
    write_table(tables / "layers.csv", *_layer_rows(study, regions))


def _depth_panels(report: Report, study: Study, regions: Mapping[str, str], figures: Path) -> None:
    panels = {}
    for name, roi in regions.items():
        curves = []
        for model in study.some_models(_MOST_MODELS):
            depths, scores = layer_curve(study, model, roi)
            control = study.over_repeats(model, lambda result: result.control.scores, roi)
            curves.append(DepthCurve(model, scores, depths=depths, control=control))
        panels[name] = curves
    figure = depth_figure(panels, repeats=study.repeats, control="word rate")
    report.figure(
        save(figure, figures / "layers.png"),
        "Mean held-out correlation by relative depth (0: embedding, 1: last layer used), with a 95 % band "
        f"over {study.repeats}. The layer that counts is chosen in the inner folds; the highest point of "
        "a curve was picked after seeing the scores and is not a fair estimate."
        + _shown(study, _MOST_MODELS),
        alt="Held-out correlation by relative depth of each model",
    )
    if len(study.rois) >= _MOST_PANELS:
        report.text(f"The first {_MOST_PANELS - 1} regions are drawn; all are in tables/layers.csv.")


def _shown(study: Study, most: int) -> str:
    """Words for a caption where not all models are drawn."""
    n_models = len(study.models)
    return "" if n_models <= most else f" Drawn are {most} of {n_models} models; all are in the tables."


def _choice_table(report: Report, study: Study) -> None:
    rows = []
    for model in study.models:
        found = layer_choice(study, model)
        peak = "–" if found.peak is None else _peak_text(found.peak)
        layers = ", ".join(str(layer) for layer in found.chosen)
        gains = [found.one_layer - found.nested, found.per_target - found.nested]
        rows.append([model, peak, layers, found.nested, *gains, found.by_chance])
    header = ["model", "peak depth (95 %)", "layers chosen", "r nested", "+ picked on test", "+ per target"]
    report.table([*header, "by chance"], rows)
    report.text(
        "Choosing on the test data would have added to the nested score: with one layer for all targets (+ "
        "picked on test), with a layer for each target (+ per target), and the latter if all layers were "
        f"equally good (by chance). The peak's interval is a bootstrap over {study.repeats}"
        + (", too few for it to be trusted." if _few(study) else ".")
    )


def _few(study: Study) -> bool:
    several = len(study.subjects)
    return (several if several > 1 else len(study.first.first.folds)) < 5


def _peak_text(peak: PeakDepth) -> str:
    edge = ", at the edge" if bool(peak.at_edge) else ""
    if not np.isfinite(peak.low):
        return f"{float(peak.depth):.2f}{edge}"
    return f"{float(peak.depth):.2f} ({float(peak.low):.2f} to {float(peak.high):.2f}){edge}"


def _layer_rows(study: Study, regions: Mapping[str, str]) -> tuple[list[str], list[list[Any]]]:
    """Every point of every curve, and the curve's peak."""
    rows: list[list[Any]] = []
    for name, roi in regions.items():
        for model in study.models:
            depths, scores = layer_curve(study, model, roi)
            known = scores[:, np.isfinite(scores).all(axis=0)]
            peak = peak_depth(known, depths=depths) if len(known) > 1 and known.size else None
            ends = ["", "", ""] if peak is None else [float(x) for x in (peak.depth, peak.low, peak.high)]
            interval = mean_interval(scores, axis=1)
            layers = study.first.results[model].layers
            for i, layer in enumerate(layers):
                point = [float(x[i]) for x in (interval.mean, interval.low, interval.high)]
                rows.append([name, model, layer.layer, float(depths[i]), *point, *ends])
    header = ["region", "model", "layer", "depth", "r", "low", "high", "peak depth", "peak low", "peak high"]
    return header, rows


def training_section(report: Report, study: Study, figures: Path, tables: Path) -> None:
    """Score against the number of training runs."""
    if not all(subject.training for subject in study.subjects.values()):
        return
    sizes = _common_sizes(study)
    shown = study.some_models(len(SERIES))
    curves = {model: _training_curve(study, model, sizes) for model in shown}
    report.heading("Amount of training data")
    report.figure(
        save(training_figure(sizes, curves, repeats=study.repeats), figures / "training.png"),
        "Mean held-out correlation when the layer chosen in each fold is fitted to fewer runs. Subsets are "
        "nested, the same for all models, and another order of runs is drawn for every fold; the layers were "
        f"chosen with all training runs. Band: 95 % over {study.repeats}.{_shown(study, len(SERIES))}",
        alt="Score against the number of training runs",
    )
    header = ["region", "model", "training runs", "rows", "r", "low", "high", "slope per decade"]
    header += ["slope low", "slope high"]
    rows = []
    for name, roi in {ALL: "", **{roi: roi for roi in study.rois}}.items():
        for model in study.models:
            rows += _training_rows(study, name, roi, model, sizes)
    write_table(tables / "training.csv", header, rows)
    report.table(header, [row for row in rows if row[0] == ALL], tall=True)
    if study.rois:
        report.text("Single regions are in tables/training.csv.")


def _common_sizes(study: Study) -> list[int]:
    """Sizes that every subject has the runs for."""
    found = [set(t.sizes) for subject in study.subjects.values() for t in subject.training.values()]
    return sorted(set.intersection(*found))


def _training_curve(study: Study, model: str, sizes: list[int], roi: str = "") -> Float64:
    """(n_repeats, n_sizes)"""
    found = []
    for subject in study.subjects.values():
        own = subject.training[model]
        found.append(subject.mean(own.scores[[own.sizes.index(size) for size in sizes]], roi))
    return found[0].T if len(found) == 1 else np.stack([own.mean(axis=1) for own in found])


def _training_rows(study: Study, name: str, roi: str, model: str, sizes: list[int]) -> list[list[Any]]:
    curve = _training_curve(study, model, sizes, roi)
    curve = curve[np.isfinite(curve).all(axis=1)]
    if not len(curve):
        return []
    ends = ["", "", ""]
    if len(sizes) > 2:
        slopes = mean_interval(data_scaling(sizes, curve, unit="runs").draw_slopes)
        ends = [interval_text(slopes).split(" ")[0], f"{float(slopes.low):.3f}", f"{float(slopes.high):.3f}"]
    interval = mean_interval(curve)
    samples = np.mean(
        [_rows_trained(subject.training[model], sizes) for subject in study.subjects.values()], 0
    )
    return [
        [name, model, size, round(float(samples[i])), *(float(x[i]) for x in _parts(interval)), *ends]
        for i, size in enumerate(sizes)
    ]


def _rows_trained(found: TrainingSizes, sizes: list[int]) -> Float64:
    """Mean over folds, (n_sizes,)."""
    return np.asarray(found.samples.mean(axis=0)[[found.sizes.index(size) for size in sizes]])


def _parts(interval: Any) -> tuple[Float64, Float64, Float64]:
    return interval.mean, interval.low, interval.high

"""A study's results in memory, in HDF5 and as tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.intervals import mean_interval
from voxridge.science.layers import choose_layers, chosen_scores
from voxridge.streams.atomic import atomic_path
from voxridge.study.nested import ModelScores

Float64 = NDArray[np.float64]
CHOSEN = "layer chosen in each fold"


@dataclass
class StudyResult:
    """Everything the tables, figures and the report are made from.

    ``control`` and ``layers``: nested scores, arrays (n_folds, n_targets); ``targets``: columns that
    describe the targets, each n_targets long ("name" is always there); ``alphas``: the grid; ``folds``:
    names of what was left out;
    ``maps``: further (n_targets,) arrays; ``provenance``: JSON-able. When the layers were compared on some
    targets only, ``sample`` holds the positions of those and ``final`` the chosen layers' scores on all.
    """

    title: str
    control: ModelScores
    layers: list[ModelScores]
    targets: dict[str, list[str]]
    alphas: Float64
    folds: list[str]
    provenance: dict[str, Any]
    maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    final: ModelScores | None = None
    sample: NDArray[np.intp] | None = None
    beside: list[ModelScores] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choice = choose_layers(self.layers)
        if (self.final is None) != (self.sample is None):
            raise ValueError("final and sample belong together: give both or neither")

    def members(self, model: ModelScores, targets: NDArray[Any]) -> NDArray[Any]:
        """A mask over all targets as a mask over those that ``model`` was fitted to."""
        own = model.scores.shape[1] == len(self.targets["name"])
        return targets if own or self.sample is None else targets[self.sample]

    @property
    def chosen(self) -> Float64:
        """Scores (n_folds, n_targets) of the layer chosen inside each fold."""
        if self.final is not None:
            return self.final.scores
        return chosen_scores(self.layers, self.choice)

    @property
    def chosen_layers(self) -> list[int]:
        """The chosen layer's number in each fold."""
        return [int(self.layers[int(i)].layer or 0) for i in self.choice]

    @property
    def chosen_alphas(self) -> Float64:
        """Penalties (n_folds, n_targets) of the chosen layers."""
        if self.final is not None:
            return self.final.alphas
        return np.stack([self.layers[int(m)].alphas[fold] for fold, m in enumerate(self.choice)])

    @property
    def models(self) -> list[ModelScores]:
        """All models: controls, layers, and the fit of the chosen layers if it is one of its own."""
        return [self.control, *self.beside, *self.layers, *([] if self.final is None else [self.final])]

    @property
    def warnings(self) -> list[str]:
        """Warnings of all fits, one line per class with how often it was given and the first message."""
        kinds: dict[str, list[str]] = {}
        for message in (message for model in self.models for message in model.warnings):
            kinds.setdefault(message.partition(":")[0], []).append(message.partition(": ")[2])
        return [f"{kind}, {len(texts)} time(s). First: {texts[0]}" for kind, texts in kinds.items()]

    def layer_means(self, targets: NDArray[Any]) -> Float64:
        """Mean score over the targets of a mask, (n_layers, n_folds)."""
        return np.stack([np.nanmean(m.scores[:, self.members(m, targets)], axis=1) for m in self.layers])


def write_results(result: StudyResult, path: Path) -> None:
    """Write ``results.h5``: ``/models/<name>/{scores,inner,alphas,r2}``, ``/targets``, ``/maps``, provenance
    as JSON."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = "voxridge result 1"
        file.attrs["title"] = result.title
        file.attrs["provenance"] = json.dumps(result.provenance, default=str)
        write_result(result, file)


def write_result(result: StudyResult, group: Any, beside: Any = None) -> None:
    """Write scores, targets and maps into an HDF5 group; fits that stand in the group ``beside`` already are
    linked."""
    import h5py

    text = h5py.string_dtype()
    group["alphas"] = result.alphas
    group.create_dataset("folds", data=result.folds, dtype=text)
    group["chosen_layer"] = np.array(result.chosen_layers)
    group["chosen_scores"] = result.chosen
    shared = {model.name for model in (result.control, *result.beside)}
    for position, model in enumerate(result.models):
        path = f"models/{model.name}"
        if beside is not None and model.name in shared and path in beside:
            group[path] = beside[path]
            continue
        own = group.create_group(path)
        own.attrs["position"] = position
        own.attrs["layer"] = -1 if model.layer is None else model.layer
        own.attrs["seconds"] = model.seconds
        for name in ("scores", "inner", "alphas", "r2", "inner_mean"):
            own[name] = getattr(model, name).astype(np.float32)
    if result.sample is not None:
        group["layer_sample"] = result.sample
    for name, column in result.targets.items():
        group.create_dataset(f"targets/{name}", data=column, dtype=text)
    for name, values in result.maps.items():
        group[f"maps/{name}"] = values


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file in UTF-8; floats with six significant digits."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{x:.6g}" if isinstance(x, float | np.floating) else x for x in row])


def model_rows(result: StudyResult, groups: Mapping[str, NDArray[Any]]) -> tuple[list[str], list[list[Any]]]:
    """One row per model: mean score and interval over folds in each group of targets, seconds."""
    header = ["model", "layer"]
    for name in groups:
        header += [f"r {name}", f"low {name}", f"high {name}"]
    rows: list[list[Any]] = []
    for model in [*result.models, *([] if result.final is not None else [_chosen_model(result)])]:
        row: list[Any] = [model.name, "" if model.layer is None else model.layer]
        for targets in groups.values():
            interval = mean_interval(np.nanmean(model.scores[:, result.members(model, targets)], axis=1))
            row += [float(interval.mean), float(interval.low), float(interval.high)]
        rows.append([*row, model.seconds])
    return [*header, "seconds"], rows


def _chosen_model(result: StudyResult) -> ModelScores:
    """The layers chosen in each fold as one model, put together from the layers' own fits."""
    parts = [(result.layers[int(m)], fold) for fold, m in enumerate(result.choice)]
    return ModelScores(
        CHOSEN,
        None,
        result.chosen,
        np.stack([model.inner[fold] for model, fold in parts]),
        result.chosen_alphas,
        np.stack([model.r2[fold] for model, fold in parts]),
        np.array([model.inner_mean[fold] for model, fold in parts]),
    )


def target_rows(result: StudyResult) -> tuple[list[str], list[list[Any]]]:
    """One row per target: control score, chosen-layer score, median penalty."""
    columns = list(result.targets)
    header = [*columns, f"r {result.control.name}", "r chosen layer", "median alpha", *result.maps]
    control, chosen = result.control.mean_scores, result.chosen.mean(axis=0)
    alpha = np.median(result.chosen_alphas, axis=0)
    rows = [
        [
            *(result.targets[name][t] for name in columns),
            float(control[t]),
            float(chosen[t]),
            float(alpha[t]),
            *(values[t] for values in result.maps.values()),
        ]
        for t in range(len(control))
    ]
    return header, rows

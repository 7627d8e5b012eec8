"""Where in each model the score is highest, and what it would add to pick that layer by the test scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.depths import PeakDepth, peak_depth
from voxridge.science.layers import max_on_test

if TYPE_CHECKING:
    from voxridge.study.outcome import Study
    from voxridge.study.results import StudyResult

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LayerChoice:
    """Of one model, means over subjects.

    ``peak``: depth of the highest score, None with a single layer; ``chosen``: layers of the inner folds;
    ``nested``: their score; ``one_layer`` and ``per_target``: the score if the layer had been picked on the
    test data, for all targets or for each; ``by_chance``: what the latter adds where all layers are equally
    good.
    """

    peak: PeakDepth | None
    chosen: list[int]
    nested: float
    one_layer: float
    per_target: float
    by_chance: float


def layer_curve(study: Study, model: str, roi: str = "") -> tuple[Float64, Float64]:
    """Relative depths (n_layers,) and scores (n_layers, n_repeats) of all targets or a region."""

    def values(position: int, result: StudyResult) -> NDArray[Any]:
        return result.layers[position].scores

    layers = study.first.results[model].layers
    curve = [study.over_repeats(model, partial(values, position), roi) for position in range(len(layers))]
    numbers = np.array([float(layer.layer or 0) for layer in layers])
    return numbers / max(numbers.max(), 1.0), np.stack(curve)


def layer_choice(study: Study, model: str) -> LayerChoice:
    """Peak depth over subjects or folds, and the nested choice beside the best on the test data."""
    depths, curve = layer_curve(study, model)
    peak = peak_depth(curve, depths=depths) if len(curve) > 1 else None
    rows, chosen = [], set()
    for subject in study.subjects.values():
        result = subject.results[model]
        chosen |= set(result.chosen_layers)
        scores = np.stack([layer.scores for layer in result.layers])
        whole = max_on_test(np.nanmean(scores, axis=2, keepdims=True))
        each = max_on_test(scores)
        rows.append(
            [np.nanmean(result.chosen), whole.values[0], np.nanmean(each.values), _mean(each.inflation)]
        )
    nested, one, per_target, by_chance = np.mean(rows, axis=0)
    return LayerChoice(peak, sorted(chosen), float(nested), float(one), float(per_target), float(by_chance))


def _mean(values: Float64) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")

"""How well a fit found what the simulation put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.simulate import Simulation
from voxridge.responses.cortex import Cortex
from voxridge.science.nulls import Detection, detect

Float64 = NDArray[np.float64]
FINDABLE = 0.2


@dataclass(frozen=True)
class Recovery:
    """Comparison of the recovered map with the truth; shares are between 0 and 1.

    ``map_correlation``: between best reachable and recovered scores over all vertices; ``sensitivity``:
    detected among vertices whose best reachable r is at least 0.2; ``false_positives``: detected among
    vertices without any signal; ``false_discoveries``: share of the detected that have no signal;
    ``reached``: mean recovered over mean best reachable r where there is signal; ``lean``: (left - right)
    / (left + right) of mean scores over the language areas.
    """

    map_correlation: float
    sensitivity: float
    false_positives: float
    false_discoveries: float
    reached: float
    lean_truth: float
    lean_recovered: float
    detection: Detection

    def sentence(self) -> str:
        """The line of the report that says how well the truth was recovered."""
        return (
            f"The recovered map correlates with the true one at r = {self.map_correlation:.2f}. "
            f"{self.sensitivity:.0%} of the vertices with a reachable correlation of {FINDABLE:g} or "
            f"more were detected, and {self.false_positives:.2%} of the vertices without signal were "
            f"flagged wrongly. The left lean of the language areas is {self.lean_recovered:+.2f} where "
            f"the truth is {self.lean_truth:+.2f}."
        )


def lean(cortex: Cortex, values: Float64, mask: NDArray[np.bool_]) -> float:
    """(left - right) / (left + right) of the mean of ``values`` over ``mask`` on each side."""
    left, right = (
        float(np.nanmean(side[inside]))
        for side, inside in zip(cortex.split(values), cortex.split(mask), strict=True)
    )
    return (left - right) / (left + right)


def compare(cortex: Cortex, simulation: Simulation, recovered: Float64, null: Float64) -> Recovery:
    """Set the recovered scores (n_vertices,) against the simulation; ``null``: scores of the same fits on
    shifted responses."""
    known, signal = simulation.known_r, simulation.signal_mask
    found = detect(recovered, null)
    findable = known >= FINDABLE
    values = np.nan_to_num(recovered)
    language = simulation.language_mask & ~simulation.auditory_mask
    return Recovery(
        float(np.corrcoef(known, values)[0, 1]),
        float(found.detected[findable].mean()),
        float(found.detected[~signal].mean()),
        float((found.detected & ~signal).sum() / max(found.detected.sum(), 1)),
        float(values[signal].mean() / known[signal].mean()),
        lean(cortex, known, language),
        lean(cortex, values, language),
        found,
    )

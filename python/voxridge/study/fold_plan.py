"""Which rows are left out together: whole runs, or contiguous chunks of a single one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Rows ``start:stop`` of a run, left out together."""

    name: str
    run: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class FoldPlan:
    """The parts that are left out one at a time.

    Attributes
    ----------
    parts : tuple of Part
        Rows of a run each.
    gap : int
        Rows next to a left-out chunk of the same run that are not trained on.
    """

    parts: tuple[Part, ...]
    gap: int

    @property
    def inside_runs(self) -> bool:
        """Whether a run is cut into several parts."""
        return len({part.run for part in self.parts}) < len(self.parts)

    def kept(self, part: Part, left_out: Part) -> slice:
        """Rows of ``part`` that may be trained on while ``left_out`` is held out.

        Parameters
        ----------
        part, left_out : Part
        """
        if part.run != left_out.run:
            return part.rows
        start, stop = part.start, part.stop
        if part.start >= left_out.stop:
            start = max(start, left_out.stop + self.gap)
        else:
            stop = min(stop, left_out.start - self.gap)
        return slice(start, max(start, stop))


def plan_folds(
    run_names: Sequence[str], run_lengths: Sequence[int], *, chunks: int | None, gap: int
) -> FoldPlan:
    """Leave one run out, or cut a single run into contiguous chunks and leave out one at a time.

    Parameters
    ----------
    run_names, run_lengths : sequences of equal length
    chunks : int or None
        None: every run is a fold (at least two are needed; at least three for the inner choice). A number:
        the one given run is cut into so many contiguous chunks.
    gap : int
        Rows on each side of a left-out chunk that are not trained on; the longest delay is the least safe
        value.

    Returns
    -------
    FoldPlan

    Raises
    ------
    ValueError
        For too few runs, several runs with chunks, or chunks too short for their gaps.

    Examples
    --------
    >>> from voxridge.study import plan_folds
    >>> [part.rows for part in plan_folds(["story"], [60], chunks=3, gap=4).parts]
    [slice(0, 20, None), slice(20, 40, None), slice(40, 60, None)]
    """
    lengths = [int(length) for length in run_lengths]
    if chunks is None:
        if len(lengths) < 3:
            raise ValueError(
                f"folds: leave-one-run-out with an inner choice of the penalty needs at least 3 runs, got "
                f"{len(lengths)}; give folds = 5 to cut a single run into 5 contiguous chunks"
            )
        parts = [Part(name, i, 0, n) for i, (name, n) in enumerate(zip(run_names, lengths, strict=True))]
        return FoldPlan(tuple(parts), gap)
    if len(lengths) != 1:
        raise ValueError(
            f"folds: {chunks} contiguous chunks need a single run, got {len(lengths)} runs; "
            "use leave-one-run-out"
        )
    if chunks < 3:
        raise ValueError(
            f"folds: {chunks} chunks are too few, an inner choice of the penalty needs at least 3"
        )
    edges = [round(i * lengths[0] / chunks) for i in range(chunks + 1)]
    shortest = min(b - a for a, b in itertools.pairwise(edges))
    if shortest < 2 * gap + 10:
        raise ValueError(
            f"folds: {chunks} chunks of {lengths[0]} rows are {shortest} rows long, too short for gaps of "
            f"{gap} rows on both sides; use fewer chunks"
        )
    return FoldPlan(tuple(Part(f"chunk-{i + 1}", 0, edges[i], edges[i + 1]) for i in range(chunks)), gap)

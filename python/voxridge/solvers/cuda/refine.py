"""Scores that tf32 or bf16 products gave, made again in float32 where they decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voxridge.solvers.cuda.session import Floating
from voxridge.solvers.cuda.target_tile import TargetTile

ExactScores = Callable[[TargetTile, int], Floating]

FAR_BELOW = 0.02  # of a score, which rounding to 7 bits moves by less (docs/gpu.md)


def refine_chosen(
    tile: TargetTile, scores: Floating, exact_scores: ExactScores, to_beat: Floating | None = None
) -> None:
    """Replace the best score of every target, in place, until the best of each is an exact one; but for
    targets whose best stays that far below ``to_beat`` that no rounding lets it win.

    Parameters
    ----------
    tile : TargetTile
    scores : ndarray (n_penalties, v)
        From the largest penalty to the smallest; overwritten.
    exact_scores : callable
        ``exact_scores(some of the tile, place of a penalty)`` gives their scores.
    to_beat : ndarray (v,), optional
        Exact scores of penalties that are not among these.
    """
    least = np.full(tile.width, -np.inf) if to_beat is None else to_beat - FAR_BELOW
    exact = np.zeros(scores.shape, dtype=bool)
    everyone = np.arange(tile.width)
    while True:
        best = np.argmax(scores, axis=0)  # the first: ties go to the larger penalty
        open_ = ~exact[best, everyone] & (scores[best, everyone] > least)
        if not open_.any():
            return
        for place in np.unique(best[open_]):
            which = np.flatnonzero(open_ & (best == place))
            part = tile if which.size == tile.width else tile.columns(which, " to refine")
            scores[place, which] = exact_scores(part, int(place))
            exact[place, which] = True

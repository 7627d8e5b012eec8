"""The driver of cross-validated fits: passes over the targets, tile by tile, for one or several designs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.buffers import Buffers
from voxridge.solvers.checkpoint import Checkpoint
from voxridge.solvers.host_tiles import TileReader
from voxridge.solvers.method import Method, Report
from voxridge.solvers.tiles import Targets
from voxridge.streams.sink_base import Sink

Floating = NDArray[Any]

WRITTEN = ".alpha"  # the ending of what only those records hold whose tile's weights were written, too


class FinishedTooSoon(Exception):
    """Weights are finished, and a record is gone that says what they are: they have to be made anew."""


@dataclass
class Fit:
    """One design's part: its method, and what is known of every target so far. ``weights`` is None where they
    are not wanted."""

    method: Method
    weights: Sink | None
    scores: Floating  # (n_alphas, n_targets)
    alpha: Floating = field(init=False)
    mean_prediction: Floating = field(init=False)
    n_dependent: int = 0  # as an earlier run found it

    def __post_init__(self) -> None:
        n_targets = self.scores.shape[1]
        self.alpha = np.full(n_targets, np.nan)
        self.mean_prediction = np.zeros(n_targets)


@dataclass
class Passes:
    """All fits see each tile of targets while it is in memory.

    ``groups`` (n_targets,) labels targets that share a penalty; None gives each its own. A ``checkpoint``
    keeps what each tile gave, so that a run that was cut short goes on behind its last tile.
    """

    fits: Sequence[Fit]
    targets: Targets
    alphas: Floating
    n_targets_batch: int
    reader: TileReader
    groups: NDArray[np.intp] | None
    report: Report
    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        self._buffers = Buffers()
        self._anew: set[int] = set()  # tiles that were worked on in this run

    def run(self) -> None:
        for number in range(max(fit.method.n_passes for fit in self.fits)):
            active = [fit for fit in self.fits if number < fit.method.n_passes]
            self._scoring_pass(number, active)
        if self.groups is not None:
            for number, fit in enumerate(self.fits):
                self._choose_by_group(fit, self.groups)
                self._refit_groups(fit, number)

    # --- scoring

    def _scoring_pass(self, number: int, fits: list[Fit]) -> None:
        todo = [tile for tile in self._tiles() if not self._resume(number, tile, fits)]
        if not todo:
            return
        self._require_unfinished(fits)
        refits = [fit for fit in fits if self._refits_in(fit, number)]
        for fit in fits:
            fit.method.begin(number, self.report)
        for fit in refits:
            if not fit.method.running and fit.weights is not None:
                fit.method.begin_refit(np.nan)
        for begin, end, y in self._read(todo, "scoring and refitting" if refits else "scoring"):
            record: dict[str, Floating] = {}
            for i, fit in enumerate(fits):
                fit.method.load(y)
                before = self._best_score(fit, begin, end)
                chosen, scores = fit.method.score(before)
                fit.scores[chosen, begin:end] += scores
                record[f"{i}.chosen"], record[f"{i}.scores"] = chosen, scores
                if fit in refits:
                    self._refit_tile(fit, chosen, before, begin, end)
                    record |= self._found(i, fit, begin, end)
            self._keep(number, begin, record, refits)

    def _refits_in(self, fit: Fit, number: int) -> bool:
        return self.groups is None and (fit.method.running or number == fit.method.n_passes - 1)

    def _best_score(self, fit: Fit, begin: int, end: int) -> Floating:
        """The best score so far of running fits, whose later penalties must beat it."""
        if not fit.method.running:
            return np.empty(0)
        done = np.isfinite(fit.alpha[begin:end])
        index = np.searchsorted(self._sorted, fit.alpha[begin:end][done])
        best = np.full(end - begin, -np.inf)
        best[done] = fit.scores[self._order[index], np.flatnonzero(done) + begin]
        return best

    @property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self.alphas, kind="stable")

    @property
    def _sorted(self) -> Floating:
        return np.asarray(self.alphas[self._order])

    def _refit_tile(self, fit: Fit, chosen: NDArray[np.intp], before: Floating, begin: int, end: int) -> None:
        if not fit.method.running:
            fit.alpha[begin:end] = self.alphas[best_index(fit.scores[:, begin:end], self.alphas)]
            if fit.weights is not None:
                self._write(fit, fit.alpha[begin:end], np.ones(end - begin, dtype=bool), begin, end)
            return
        here = chosen[best_index(fit.scores[chosen, begin:end], self.alphas[chosen])]
        better = fit.scores[here, np.arange(begin, end)] > before
        fit.alpha[begin:end][better] = self.alphas[here[better]]
        if fit.weights is not None and better.any():
            self._write(fit, fit.alpha[begin:end], better, begin, end)

    def _write(self, fit: Fit, alphas: Floating, which: NDArray[np.bool_], begin: int, end: int) -> None:
        """Weights of the loaded tile's targets ``which`` to their place."""
        assert fit.weights is not None
        place = fit.weights.place(begin, end) if which.all() else None
        if place is not None:
            mean = fit.method.refit(alphas, place)
        else:
            out = self._buffers.take("weights", fit.method.weights_size, end - begin, fit.weights.dtype)
            mean = fit.method.refit(alphas, out)
            if not which.all():
                kept = fit.weights.read(begin, end)[:, ~which]
                out[:, ~which] = kept
            fit.weights.write(begin, end, out)
        fit.mean_prediction[begin:end][which] = mean[which]

    # --- penalties shared by groups

    def _choose_by_group(self, fit: Fit, groups: NDArray[np.intp]) -> None:
        """The best mean score over a group's valid targets."""
        for label in np.unique(groups):
            members = groups == label
            valid = members & self.targets.valid
            mean = fit.scores[:, valid].mean(axis=1) if valid.any() else np.zeros(self.alphas.size)
            fit.alpha[members] = self.alphas[best_index(mean[:, None], self.alphas)[0]]

    def _refit_groups(self, fit: Fit, place: int) -> None:
        if fit.weights is None:
            return
        fit.method.begin(fit.method.n_passes, self.report)  # lets go of the factors of the last pass
        penalties = np.unique(fit.alpha)[::-1] if fit.method.running else [np.nan]
        first = max(other.method.n_passes for other in self.fits) + place * self.alphas.size
        for name, alpha in enumerate(penalties, first):
            todo = [tile for tile in self._tiles() if not self._resume(name, tile, [fit])]
            if todo:
                self._require_unfinished([fit])
                fit.method.begin_refit(float(alpha))
            for begin, end, y in self._read(todo, "refitting"):
                fit.method.load(y)
                chosen = fit.alpha[begin:end]
                which = np.ones(end - begin, dtype=bool) if np.isnan(alpha) else chosen == alpha
                if which.any():
                    self._write(fit, chosen, which, begin, end)
                self._keep(name, begin, self._found(0, fit, begin, end), [fit])

    # --- tiles

    def _require_unfinished(self, fits: Sequence[Fit]) -> None:
        if any(fit.weights is not None and fit.weights.finished for fit in fits):
            raise FinishedTooSoon

    def _tiles(self) -> list[tuple[int, int]]:
        n, step = self.targets.n_targets, self.n_targets_batch
        return [(begin, min(begin + step, n)) for begin in range(0, n, step)]

    def _read(self, tiles: list[tuple[int, int]], name: str) -> Iterator[tuple[int, int, Any]]:
        """Centred tiles of unchanged data."""
        between = self.targets.between_passes or (lambda: None)
        between()
        with contextlib.closing(self.reader.read(tiles)) as blocks:
            for number, (begin, end) in enumerate(tiles):
                self.report(name, number / len(tiles))
                y = next(blocks)
                between()
                self._anew.add(begin)
                yield begin, end, y
        self.report(name, 1.0)

    @staticmethod
    def _found(i: int, fit: Fit, begin: int, end: int) -> dict[str, Floating]:
        """What the refit of a tile adds to its record."""
        return {
            f"{i}{WRITTEN}": fit.alpha[begin:end],
            f"{i}.mean_prediction": fit.mean_prediction[begin:end],
            f"{i}.n_dependent": np.array(fit.method.n_dependent),
        }

    def _keep(self, number: int, begin: int, record: dict[str, Floating], refits: list[Fit]) -> None:
        if not self.checkpoint.active:
            return
        for fit in refits:
            if fit.weights is not None:
                fit.weights.flush()
        self.checkpoint.save(number, begin, record)

    def _resume(self, number: int, tile: tuple[int, int], fits: list[Fit]) -> bool:
        """Take over what an earlier run found for a tile. What it found behind a record that is gone does not
        count: weights that are written now replace those."""
        record = None if tile[0] in self._anew else self.checkpoint.load(number, tile[0])
        if record is None:
            return False
        part = slice(*tile)
        for i, fit in enumerate(fits):
            if f"{i}.chosen" in record:
                fit.scores[record[f"{i}.chosen"], part] += record[f"{i}.scores"]
            if f"{i}{WRITTEN}" in record:
                fit.alpha[part] = record[f"{i}{WRITTEN}"]
                fit.mean_prediction[part] = record[f"{i}.mean_prediction"]
                fit.n_dependent = int(record[f"{i}.n_dependent"])
        return True


def best_index(scores: Floating, alphas: Floating) -> NDArray[np.intp]:
    """Index of the best penalty for each target; ties go to the larger penalty."""
    largest_first = np.argsort(-alphas, kind="stable")
    best: NDArray[np.intp] = largest_first[np.argmax(scores[largest_first], axis=0)]
    return best

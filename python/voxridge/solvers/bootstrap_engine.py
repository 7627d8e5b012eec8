"""The passes over the targets that score every bootstrap of a ridge, in the memory there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.bootstrap_components import Components, TargetTiles
from voxridge.solvers.bootstrap_scores import (
    OperatorScorer,
    Scorer,
    SpectralScorer,
    SVDScorer,
    Tile,
    signed_root,
    target_sums,
)
from voxridge.solvers.costs import PANEL
from voxridge.solvers.heldout import correlation, variation
from voxridge.solvers.linalg import EighWorkspace
from voxridge.solvers.memory import in_words, resident_memory

Floating = NDArray[Any]
Rows = NDArray[np.intp]
Report = Callable[[str, float], None]

_CUTOFF_SHARE = 1e-6  # of a: singular values below it carry less than its square of a prediction
_FLOAT64_COST = 2.0  # a float64 flop in units of a float32 flop
_EIGH = 6.0  # flops of an eigendecomposition per k^3, as fast as products
_TILE_BYTES = 128 * 2**20  # wider tiles make products no faster
_SMALL_THINGS = 8 * 2**20  # bytes that no array here accounts for
_MOST_FACTORS = 2 * 2**30  # bytes held together: more only saves passes over the targets


class Sizes(NamedTuple):
    """Targets, penalties, test samples, and samples in the largest held-out set."""

    n_targets: int
    n_alphas: int
    n_test: int
    longest: int


class Unit(NamedTuple):
    """What one scorer is made for: some penalties of one bootstrap. ``kind``: "operators", "spectral" or
    "svd"."""

    boot: int
    kind: str
    which: NDArray[np.intp]


@dataclass
class BootstrapScores:
    """Scores of ``targets`` at the penalties ``alphas[b]`` (n_alphas,) in the samples ``held_out[b]``.

    ``cutoff``: singular values of the training samples up to it are left out. ``limit``: bytes that the
    process may reach. After :meth:`run`, ``n_by_svd`` pairs of a bootstrap and a penalty were scored by SVDs.
    """

    components: Components
    targets: TargetTiles
    held_out: list[Rows]
    alphas: list[Floating]
    cutoff: float
    use_corr: bool
    limit: int
    report: Report
    n_by_svd: int = field(init=False, default=0)

    def run(self, mean: Floating, every: Floating | None) -> None:
        """Mean scores into ``mean`` (n_alphas, n_targets), zeros at first; those of every bootstrap into
        ``every`` (n_alphas, n_targets, n_boots)."""
        self._workspace = EighWorkspace()
        free = self.limit - resident_memory() - self.targets.width * self.components.target_bytes()
        free -= mean.nbytes + (0 if every is None else every.nbytes)  # pages that are not in memory yet
        self._room = int(np.clip(free // 2, 1, _MOST_FACTORS))
        queue = [unit for boot in range(len(self.held_out)) for unit in self._units(boot)]
        done = 0.0
        while queue:
            done += self._pass(self._take(queue), mean, every, done)
        self.report("scoring bootstraps", 1.0)

    def _pass(
        self, scorers: list[tuple[int, Scorer]], mean: Floating, every: Floating | None, done: float
    ) -> float:
        """One pass over the targets; returns its share of all scores, of which ``done`` are done."""
        share = float(sum(scorer.which.size for _, scorer in scorers) / mean.shape[0] / len(self.held_out))
        for begin, end in self.targets:
            self.report("scoring bootstraps", done + share * begin / self.targets.n_targets)
            tile = Tile(self.components.smoother, self.targets.read(begin, end))
            for boot, scorer in scorers:
                scores = self._scores(scorer, tile, self.held_out[boot])
                scores[:, self.targets.missing[begin:end]] = 0.0
                mean[scorer.which, begin:end] += scores / len(self.held_out)
                if every is not None:
                    every[scorer.which, begin:end, boot] = scores
            del tile  # before the next one is read
        return share

    def _scores(self, scorer: Scorer, tile: Tile, rows: Rows) -> Floating:
        products, norms = scorer.moments(tile)
        sums, squares = target_sums(tile.y[rows])
        about = variation(sums, squares, rows.size)
        if self.use_corr:
            return correlation(products, norms, about)
        # 1 - var(y - q) / u with u = (1 + var y) / 2, from what does not cancel
        variance, explained = about / rows.size, (2 * products - norms) / rows.size
        return signed_root(((1 - variance) / 2 + explained) / ((1 + variance) / 2))

    # --- what is made together

    def _units(self, boot: int) -> list[Unit]:
        hard = np.array([self._is_hard(alpha) for alpha in self.alphas[boot]])
        easy = np.flatnonzero(~hard)
        units = [Unit(boot, "svd", np.flatnonzero(hard))] if hard.any() else []
        t = self.held_out[boot].size
        if easy.size and spectral_is_cheaper(self.components, self.targets.n_targets, t, easy.size):
            return [*units, Unit(boot, "spectral", easy)]
        together = max(1, self._room // self._operator_bytes(t))
        return units + [
            Unit(boot, "operators", easy[i : i + together]) for i in range(0, easy.size, together)
        ]

    def _is_hard(self, alpha: float) -> bool:
        """Whether the Gram cannot resolve the penalty, or singular values that ``cutoff`` drops matter."""
        return self.components.cannot_resolve(alpha) or self.cutoff > _CUTOFF_SHARE * np.sqrt(alpha)

    def _operator_bytes(self, t: int) -> int:
        return int(self.components.x.itemsize) * t * self.components.order

    def _bytes(self, unit: Unit) -> int:
        t, k = int(self.held_out[unit.boot].size), self.components.order
        if unit.kind == "operators":
            return self._operator_bytes(t) * (int(unit.which.size) + 1)
        if unit.kind == "spectral":
            return self._operator_bytes(t) * 2 + 8 * 2 * k**2
        return 8 * (t + int(self.components.x.shape[0])) * k

    def _take(self, queue: list[Unit]) -> list[tuple[int, Scorer]]:
        """Scorers that fit in memory together, off the front of the queue. Penalties that operators cannot be
        trusted with go to its end."""
        taken: list[tuple[int, Scorer]] = []
        held = 0
        while queue and (not held or held + self._bytes(queue[0]) <= self._room):
            unit = queue.pop(0)
            held += self._bytes(unit)
            scorer = self._make(unit)
            if isinstance(scorer, OperatorScorer) and scorer.failed.size:
                queue.append(Unit(unit.boot, "svd", scorer.failed))
            if scorer.which.size:
                taken.append((unit.boot, scorer))
        return taken

    def _make(self, unit: Unit) -> Scorer:
        rows, alphas = self.held_out[unit.boot], self.alphas[unit.boot][unit.which]
        smoother = self.components.smoother
        if unit.kind == "operators":
            return OperatorScorer(smoother, rows, unit.which, alphas, self.components.trust)
        if unit.kind == "spectral":
            return SpectralScorer(smoother, rows, unit.which, alphas, self._workspace)
        require_svd(self.limit, self.components)
        self.n_by_svd += unit.which.size
        return SVDScorer(self.components.x, rows, unit.which, alphas, self.cutoff)


def spectral_is_cheaper(components: Components, n_targets: int, t: int, n_alphas: int) -> bool:
    """Whether a bootstrap with ``t`` samples held out is scored faster from one eigendecomposition than by an
    operator for each penalty."""
    k, v = float(components.order), float(n_targets)
    wide = _FLOAT64_COST if components.dual else 1.0  # see SpectralScorer
    spectral = v * (4 * k * k + 2 * t * k + wide * (2 * k * k + 2 * t * k) + 3 * n_alphas * k)
    spectral += _FLOAT64_COST * (_EIGH * k**3 + 4 * t * k * k)
    operators = n_alphas * (2.0 * t * k * v + _FLOAT64_COST * (3 * t * t * k + t**3 / 3))
    return spectral < operators


def tile_width(limit: int, components: Components, sizes: Sizes, result_bytes: int) -> int:
    """Targets in a tile that keep the process within ``limit``, with results of ``result_bytes``.

    Raises
    ------
    MemoryError
        If ``limit`` is below what the bootstraps cannot do without; the message says the least that would
        do.
    """
    k, t, n_targets = components.order, sizes.longest, sizes.n_targets
    decomposing, held = components.n_bytes()
    spectral = spectral_is_cheaper(components, n_targets, t, sizes.n_alphas)
    one_scorer = 8 * (6 * k**2 + 2 * t * k if spectral else 4 * t * k + 2 * t**2)
    narrow = min(PANEL, max(n_targets, 1))
    resident = resident_memory()
    working = max(one_scorer, components.fit_bytes(sizes.n_test))
    scoring = held + working + result_bytes + narrow * components.target_bytes()
    least = resident + max(decomposing, scoring) + _SMALL_THINGS
    if least > limit:
        raise MemoryError(
            f"memory_limit={limit} bytes is too small: bootstrap_ridge needs at least {least} bytes "
            f"({in_words(least)}), of which the process holds {in_words(resident)} already and results take "
            f"{in_words(result_bytes)} (less with keep_boot_scores=False or return_wt=False)"
        )
    spare = min((limit - resident - scoring) // 2, _TILE_BYTES)
    return min(narrow + int(spare // components.target_bytes() // PANEL) * PANEL, max(n_targets, 1))


def require_svd(limit: int, components: Components) -> None:
    """Raise if an SVD of the design would take the process past ``limit``.

    Raises
    ------
    MemoryError
        With what would do, and what would do without.
    """
    n, p = components.x.shape
    needed = 8 * (2 * n * p + 2 * components.order * (n + p))  # a copy, factors and LAPACK's work space
    resident = resident_memory()
    if resident + needed > limit:
        raise MemoryError(
            f"an alpha is too small for the eigenvectors of Rstim'Rstim (largest eigenvalue "
            f"{components.largest:.3g}), or singcutoff matters to it; the SVD that it needs takes "
            f"{in_words(needed)} more than the {in_words(resident)} held, past memory_limit={limit} bytes. "
            "Leave the smallest alphas out, or raise the limit"
        )

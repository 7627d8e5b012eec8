"""One tile of targets: read, centred, and multiplied with what scoring and refitting need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.linalg import matmul
from voxridge.solvers.rows import Ranges, n_rows
from voxridge.solvers.spectral import FoldFactor, Spectrum, heldout_scores

if TYPE_CHECKING:
    from voxridge.solvers.spectral_method import SpectralMethod

Floating = NDArray[Any]
ReadTargets = Callable[[int, int], Floating]

_SCATTERED = 32  # ranges of rows: with more, one product on a copy beats many thin ones


@dataclass
class Targets:
    """Targets read a tile of columns at a time.

    ``read(begin, end)`` gives (n_samples, end - begin); ``mean`` (float64) is taken off where there is an
    intercept; targets that are not ``valid`` are replaced by zeros, so the others see the same arithmetic
    whatever was masked.

    Attributes
    ----------
    n_samples, n_targets : int
    read : callable
        ``read(begin, end)`` gives the columns [begin, end), (n_samples, end - begin).
    mean : ndarray (n_targets,) float64
    valid : ndarray of bool (n_targets,)
    in_memory : bool
        False where they are read from a file.
    between_passes : callable, optional
        Called between two passes over the targets; raises where the data have changed.
    """

    n_samples: int
    n_targets: int
    read: ReadTargets
    mean: Floating
    valid: NDArray[np.bool_]
    in_memory: bool = True
    between_passes: Callable[[], None] | None = None  # raises where the data have changed

    def place(self, block: Floating, begin: int, end: int, out: Floating, centre: bool) -> Floating:
        """``block``, as it was read, into ``out``: centred, in its dtype, masked targets zero.

        Parameters
        ----------
        block : ndarray (n_rows, end - begin)
        begin, end : int
            The targets [begin, end).
        out : ndarray of the shape of ``block``
            Written to and returned.
        centre : bool
            Whether the mean is taken off.
        """
        if centre:
            np.subtract(block, self.mean[begin:end].astype(out.dtype), out=out, casting="same_kind")
        else:
            np.copyto(out, block, casting="same_kind")
        out[:, ~self.valid[begin:end]] = 0
        return out


class TileProducts:
    """Products of one tile of targets with the design, each row of the data used once for all folds."""

    def __init__(self, fit: SpectralMethod, y: Floating, factors: list[FoldFactor]) -> None:
        self.fit, self.y, self.factors = fit, y, factors
        self.primal = fit.primal
        self.width = y.shape[1]
        self.dtype = fit.engine.product_dtype
        if self.primal:
            self._held_out()

    def _take(self, name: str, rows: int) -> Floating:
        return self.fit.take(name, rows, self.width, self.dtype)

    def _held_out(self) -> None:
        """X_f'Y_f of every fold; their sum is X'Y where the folds of all passes are these and cover every
        sample once."""
        design, p = self.fit.design, self.fit.design.n_columns
        self.exact_y = self.y
        if self.dtype != self.y.dtype:
            self.exact_y = self._take("exact y", design.n_samples)
            np.copyto(self.exact_y, self.y)
        self.held_out = {}
        for number, factor in enumerate(self.factors):
            self.held_out[id(factor)] = design.xty(
                self.exact_y, factor.validation, self._take(f"held out {number}", p)
            )
        self.total = self._take("total", p)
        if self._covers_once():
            np.copyto(self.total, self.held_out[id(self.factors[0])])
            for factor in self.factors[1:]:
                self.total += self.held_out[id(factor)]
        else:
            design.xty(self.exact_y, design.everything(), self.total)

    def _covers_once(self) -> bool:
        rows = sorted(pair for factor in self.factors for pair in factor.validation)
        ends = [0] + [end for _, end in rows]
        return (
            bool(rows) and [begin for begin, _ in rows] == ends[:-1] and ends[-1] == self.fit.design.n_samples
        )

    def scores(self, factor: FoldFactor) -> Floating:
        fit, k = self.fit, factor.spectrum.rank
        sums, squares = _moments(self.y, factor.validation)
        train_sums = _moments(self.y, factor.train)[0]
        train_mean = train_sums / n_rows(factor.train) if fit.fit_intercept else np.zeros(self.width)
        z, c = fit.take("z", k, self.width), fit.take("c", k, self.width)
        self._project_train(factor, train_sums, z)
        self._project_held_out(factor, sums, c)
        if fit.scoring == "r2" and fit.fit_intercept:
            _add_outer(c, -factor.a.sum(axis=0, dtype=np.float64), train_mean)
        work = fit.take("lz", k, self.width), fit.take("nz", k, self.width)
        return heldout_scores(factor, z, c, sums, squares, train_mean, fit.alphas, fit.scoring, work)

    def _project_train(self, factor: FoldFactor, train_sums: Floating, z: Floating) -> None:
        """z = Q' of the centred X_train'Y_train (primal) or of Y_train (dual: Q is orthogonal to the constant
        already)."""
        q_t = factor.spectrum.q_t
        if not self.primal:
            return _accumulate(q_t, self.y, factor.train, z)
        train = self._take("train", q_t.shape[1])
        if 2 * n_rows(factor.train) < self.y.shape[0]:  # little would drown in the rounding of the difference
            self.fit.design.xty(self.exact_y, factor.train, train)
        else:
            np.subtract(self.total, self.held_out[id(factor)], out=train)
            if factor.purged:
                train -= self.fit.design.xty(self.exact_y, factor.purged)
        if self.fit.fit_intercept:
            _add_outer(train, -factor.x_mean, train_sums)
        self._project(q_t, train, z)

    def _project(self, q_t: Floating, c: Floating, z: Floating) -> None:
        """z = Q' c, the product in its own dtype."""
        exact = z if z.dtype == c.dtype else self._take("exact z", q_t.shape[0])
        matmul(q_t, c, out=exact)
        if exact is not z:
            np.copyto(z, exact, casting="same_kind")

    def _project_held_out(self, factor: FoldFactor, sums: Floating, c: Floating) -> None:
        """c = A'Y_val, through the rows of A or through X_val'Y_val, whichever is fewer."""
        if self.primal and factor.a.shape[0] >= factor.spectrum.q_t.shape[1] and self.dtype == c.dtype:
            matmul(factor.spectrum.q_t, self.held_out[id(factor)], out=c)
            _add_outer(c, -factor.shift, sums)
            return
        _accumulate(factor.a, self.y, factor.validation, c, trans=True)

    def project_all(self, spectrum: Spectrum, z: Floating) -> None:
        """z = Q' of the centred X'Y (primal) or of Y (dual), all samples."""
        if self.primal:
            # The mean of y is 0 where there is an intercept: nothing else to centre.
            self._project(spectrum.q_t, self.total, z)
        else:
            matmul(spectrum.q_t, self.y, out=z)


def _accumulate(left: Floating, y: Floating, ranges: Ranges, out: Floating, *, trans: bool = False) -> None:
    """out = left y[rows], or left' y[rows] (``trans``), where side by side the columns (rows) of ``left`` are
    the rows of ``ranges``."""
    if len(ranges) > _SCATTERED:
        blocks = [np.concatenate([y[begin:end] for begin, end in ranges])]
    else:
        blocks = [y[begin:end] for begin, end in ranges]
    first = 0
    for block in blocks:
        rows = slice(first, first + block.shape[0])
        matmul(left[rows] if trans else left[:, rows], block, trans_a=trans, out=out, beta=float(first > 0))
        first = rows.stop


def _add_outer(out: Floating, left: Floating, right: Floating) -> None:
    """out += left right'."""
    matmul(left.astype(out.dtype)[:, None], right.astype(out.dtype)[None], out=out, beta=1.0)


def _moments(y: Floating, ranges: list[tuple[int, int]]) -> tuple[Floating, Floating]:
    sums, squares = np.empty(y.shape[1]), np.empty(y.shape[1])
    _cpu.column_moments(y, ranges, sums, squares, n_threads())
    return sums, squares

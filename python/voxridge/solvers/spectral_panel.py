"""Some of a tile's targets on the spectral route: their products with the design, scores and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _cpu
from voxridge._threads import n_threads
from voxridge.solvers.linalg import matmul
from voxridge.solvers.rows import Ranges, n_rows
from voxridge.solvers.spectral import FoldFactor, heldout_scores
from voxridge.solvers.spectrum import Spectrum

if TYPE_CHECKING:
    from voxridge.solvers.spectral_method import SpectralMethod

Floating = NDArray[Any]

_SCATTERED = 32  # ranges of rows: with more, one product on a copy beats many thin ones


class Panel:
    """Targets that one core, or all of them together, work on; each row of the data is used once for all
    folds.

    ``y`` (n, v) are columns of the tile; buffers are the method's, by the panel's ``number``.
    """

    def __init__(self, fit: SpectralMethod, y: Floating, number: int) -> None:
        self.fit, self.y, self.number, self.width = fit, y, number, y.shape[1]
        self.design, self.dtype = fit.engine.design, fit.product_dtype
        self._multiplied = not fit.primal

    def _take(self, name: str, rows: int, dtype: Any = None) -> Floating:
        return self.fit.buffers.take(f"{name} {self.number}", rows, self.width, dtype or self.dtype)

    def scores(self) -> Floating:
        """(n_alphas, v), summed over the folds of the pass and divided by the number of all folds."""
        self._multiply()
        total = np.zeros((self.fit.alphas.size, self.width))
        for number, factor in enumerate(self.fit.factors):
            total += self._fold_scores(number, factor) / len(self.fit.folds)
        return total

    def components(self, spectrum: Spectrum, out: Floating | None = None) -> Floating:
        """z = Q' of the centred X'Y (primal) or of Y (dual), all samples: (k, v), in ``out`` or a buffer."""
        self._multiply()
        z = self._take("z", spectrum.rank, self.y.dtype) if out is None else out
        if not self.fit.primal:
            return matmul(spectrum.q_t, self.y, out=z)
        if self.fit.engine.turned:
            np.copyto(z, self.total, casting="same_kind")
        else:  # the mean of y is 0 where there is an intercept: nothing else to centre
            self._project(spectrum.q_t, self.total, z)
        return z

    # --- the primal: products of the features with the targets

    def _multiply(self) -> None:
        """X_f'Y_f of every fold; their sum is X'Y where the folds of all passes are these and cover every
        sample once."""
        if self._multiplied:
            return
        self._multiplied = True
        design, p, factors = self.design, self.design.n_columns, self.fit.factors
        self.exact_y = self.y
        if self.dtype != self.y.dtype:
            self.exact_y = self._take("exact y", design.n_samples)
            np.copyto(self.exact_y, self.y)
        self.held_out = [
            design.xty(self.exact_y, factor.validation, self._take(f"held out {number}", p))
            for number, factor in enumerate(factors)
        ]
        self.total = self._take("total", p)
        if self._covers_once():
            np.copyto(self.total, self.held_out[0])
            for part in self.held_out[1:]:
                self.total += part
        else:
            design.xty(self.exact_y, design.everything(), self.total)

    def _covers_once(self) -> bool:
        rows = sorted(pair for factor in self.fit.factors for pair in factor.validation)
        ends = [0] + [end for _, end in rows]
        return bool(rows) and [begin for begin, _ in rows] == ends[:-1] and ends[-1] == self.design.n_samples

    # --- one fold

    def _fold_scores(self, number: int, factor: FoldFactor) -> Floating:
        fit, k, dtype = self.fit, factor.spectrum.rank, self.y.dtype
        sums, squares = _moments(self.y, factor.validation)
        train_sums = _moments(self.y, factor.train)[0]
        train_mean = train_sums / n_rows(factor.train) if fit.fit_intercept else np.zeros(self.width)
        z, c = self._take("z", k, dtype), self._take("c", k, dtype)
        self._project_train(number, factor, train_sums, z)
        self._project_held_out(number, factor, sums, c)
        if fit.scoring == "r2" and fit.fit_intercept:
            _add_outer(c, -factor.a.sum(axis=0, dtype=np.float64), train_mean)
        work = self._take("lz", k, dtype), self._take("nz", k, dtype)
        return heldout_scores(factor, z, c, sums, squares, train_mean, fit.alphas, fit.scoring, work)

    def _project_train(self, number: int, factor: FoldFactor, train_sums: Floating, z: Floating) -> None:
        """z = Q' of the centred X_train'Y_train (primal) or of Y_train (dual: Q is orthogonal to the constant
        already)."""
        q_t = factor.spectrum.q_t
        if not self.fit.primal:
            return _accumulate(q_t, self.y, factor.train, z)
        train = self._take("train", q_t.shape[1])
        if 2 * n_rows(factor.train) < self.y.shape[0]:  # little would drown in the rounding of the difference
            self.design.xty(self.exact_y, factor.train, train)
        else:
            np.subtract(self.total, self.held_out[number], out=train)
            if factor.purged:
                train -= self.design.xty(self.exact_y, factor.purged)
        if self.fit.fit_intercept:
            _add_outer(train, -factor.x_mean, train_sums)
        self._project(q_t, train, z)

    def _project(self, q_t: Floating, c: Floating, z: Floating) -> None:
        """z = Q' c, the product in its own dtype."""
        exact = z if z.dtype == c.dtype else self._take("exact z", q_t.shape[0])
        matmul(q_t, c, out=exact)
        if exact is not z:
            np.copyto(z, exact, casting="same_kind")

    def _project_held_out(self, number: int, factor: FoldFactor, sums: Floating, c: Floating) -> None:
        """c = A'Y_val, through the rows of A or through X_val'Y_val, whichever is fewer."""
        if self.fit.primal and factor.a.shape[0] >= factor.spectrum.q_t.shape[1] and self.dtype == c.dtype:
            matmul(factor.spectrum.q_t, self.held_out[number], out=c)
            _add_outer(c, -factor.shift, sums)
            return
        _accumulate(factor.a, self.y, factor.validation, c, trans=True)


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

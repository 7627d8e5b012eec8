"""The refit of banded ridge: every target once, with the weights of bands and the penalty chosen for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.banded_design import Bands
from voxridge.solvers.banded_search import SearchResult, some_targets
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.dual_weights import weights_dtype
from voxridge.solvers.fits import plan_designs
from voxridge.solvers.host_tiles import HostTiles
from voxridge.solvers.linalg import matmul
from voxridge.solvers.method import Report
from voxridge.solvers.settings import Settings, Storage
from voxridge.solvers.spectral import _centred_norm as centred_norm
from voxridge.solvers.spectral_method import SpectralMethod
from voxridge.solvers.tiles import Targets
from voxridge.solvers.trust import UntrustedFactor, gram_noise

Floating = NDArray[Any]
Columns = NDArray[np.intp]

_TILE_BYTES = 64 * 2**20
_IN_MEMORY = Storage("memory", None, {})


@dataclass
class BandedWeights:
    """A fitted map from delayed bands to targets, without the intercept.

    Attributes
    ----------
    matrix : ndarray (p, n_targets) or (n_samples, n_targets)
        Coefficients of the delayed bands; or, where there are more columns than samples, dual coefficients a:
        band b has the coefficients ``gamma_b X_b'a``.
    gammas : ndarray (n_bands, n_targets)
    bands : Bands
        Of the training samples.
    dual : bool
    """

    matrix: Floating
    gammas: Floating
    bands: Bands
    dual: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of coefficients and predictions."""
        return self.bands.design.dtype

    @property
    def n_targets(self) -> int:
        """Columns of ``matrix``."""
        return int(self.matrix.shape[1])

    def coefficients(self) -> Floating:
        """(p, n_targets), all bands side by side, delay-major."""
        if not self.dual:
            return self.matrix
        out = np.empty((self.bands.design.n_columns, self.n_targets), dtype=self.dtype)
        for number in range(self.bands.n_bands):
            band, rows = self.bands.band(number), self.bands.columns_of(number)
            for part in self._tiles(rows.size):
                weighted = self.matrix[:, part] * self.gammas[number, part].astype(self.matrix.dtype)
                out[rows, part] = band.xty(weighted, band.everything())
        return out

    def predictions(self, features: Floating, runs: list[int]) -> Iterator[tuple[int, slice, Floating]]:
        """(band, targets, its share of their predictions (n_samples, n)) of new ``features``, all bands side
        by side; runs apart.

        Parameters
        ----------
        features : ndarray (n_samples, n_features)
        runs : list of int
        """
        new = Bands(DelayedDesign(features, self.bands.design.delays, runs), self.bands.widths)
        for number in range(self.bands.n_bands):
            band = new.band(number)
            if self.dual:
                yield from self._dual_part(number, band)
                continue
            rows = self.bands.columns_of(number)
            for part in self._tiles(rows.size):
                yield number, part, band.xw(np.ascontiguousarray(self.matrix[rows, part]))

    def _dual_part(self, number: int, band: DelayedDesign) -> Iterator[tuple[int, slice, Floating]]:
        train = self.bands.band(number)
        kernel = np.empty((band.n_samples, train.n_samples), dtype=self.matrix.dtype)
        for begin, end in zip(band.offsets[:-1], band.offsets[1:], strict=True):
            kernel[begin:end] = train.cross_kernel_of(band.run(begin, end))
        for part in self._tiles(train.n_samples):
            weighted = self.matrix[:, part] * self.gammas[number, part].astype(self.matrix.dtype)
            yield number, part, matmul(kernel, weighted)

    def _tiles(self, rows: int) -> Iterator[slice]:
        size = max(1, max(rows, self.matrix.shape[0]) * self.matrix.dtype.itemsize)
        step = max(512, _TILE_BYTES // size // 512 * 512)
        for begin in range(0, self.n_targets, step):
            yield slice(begin, min(begin + step, self.n_targets))


@dataclass
class Refit:
    """What :func:`refit` returns.

    Attributes
    ----------
    weights : BandedWeights
    mean_prediction : ndarray (n_targets,) float64
        Mean over the training samples of the predictions without the intercept.
    n_dependent : int
        Directions of the features that depend on others, the most of any candidate; 0 where there are more
        columns than samples.
    """

    weights: BandedWeights
    mean_prediction: Floating
    n_dependent: int


def is_dual(bands: Bands) -> bool:
    """Whether weights are kept as those of samples: there are fewer of them than columns."""
    return bands.design.n_columns > bands.design.n_samples


def kept_dtype(bands: Bands, alpha: float, fit_intercept: bool) -> np.dtype[Any]:
    """Of the weights that are kept, for penalties from ``alpha`` on; see solvers/dual_weights.py. No kernel
    of a candidate, being a mean of those of the bands, is larger than the largest of them."""
    if not is_dual(bands):
        return bands.design.dtype
    norms = [centred_norm(bands.kernel_of(number), fit_intercept) for number in range(bands.n_bands)]
    return weights_dtype(max(norms), alpha, bands.design.dtype)


def refit(bands: Bands, targets: Targets, settings: Settings, found: SearchResult, report: Report) -> Refit:
    """Weights of every target with its own candidate and penalty, one factorisation for each candidate that
    any target chose.

    Parameters
    ----------
    bands : Bands
    targets : Targets
    settings : Settings
    found : SearchResult
    report : callable

    Returns
    -------
    Refit
    """
    dual, n = is_dual(bands), targets.n_targets
    chosen = np.unique(found.best[found.best >= 0])
    dtype = kept_dtype(bands, float(np.nanmin(found.alpha)), settings.fit_intercept)
    rows = bands.design.n_samples if dual else bands.design.n_columns
    matrix = np.zeros((rows, n), dtype=dtype)
    mean_prediction, n_dependent, done = np.zeros(n), 0, 0
    for candidate in chosen.tolist():
        report("refitting", done / n)
        columns = np.flatnonzero(found.best == candidate)
        part = _Part(bands, found.candidates[candidate], dual)
        n_dependent = max(
            n_dependent, part.fit(targets, columns, settings, found.alpha, matrix, mean_prediction)
        )
        done += columns.size
    report("refitting", 1.0)
    gammas = np.zeros((bands.n_bands, n))
    gammas[:, found.best >= 0] = found.candidates[found.best[found.best >= 0]].T
    return Refit(BandedWeights(matrix, gammas, bands, dual), mean_prediction, n_dependent)


class _Part:
    """The refit of the targets that chose one candidate."""

    def __init__(self, bands: Bands, gammas: Floating, dual: bool) -> None:
        self.design, self.dual = bands.scaled(gammas), dual
        on = np.flatnonzero(gammas > 0).tolist()
        self.rows = np.sort(np.concatenate([bands.columns_of(number) for number in on]))
        self.scale = np.sqrt(np.repeat(gammas[on], [bands.widths[number] for number in on]))
        self.scale = np.tile(self.scale, len(self.design.delays))

    def fit(
        self,
        targets: Targets,
        columns: Columns,
        settings: Settings,
        alphas: Floating,
        matrix: Floating,
        mean_prediction: Floating,
    ) -> int:
        """Weights into ``matrix``; returns how many directions of the design depend on others."""
        some = some_targets(targets, columns)
        solver = f"{'dual' if self.dual else 'primal'}-spectral"
        asked = dataclasses.replace(settings, solver=solver, groups=None, sample_weight=None)
        asked = dataclasses.replace(asked, evaluation="folds")
        plan = plan_designs([self.design], some, asked, _IN_MEMORY)[0]
        plan = dataclasses.replace(plan, turned=False, components=False)
        grid = np.unique(alphas[columns])
        centre = settings.fit_intercept
        method: SpectralMethod | _BySvd
        try:
            method = SpectralMethod(
                self.design, grid, settings.folds, plan, scoring=settings.scoring, fit_intercept=centre
            )
            method.begin_refit(float("nan"))
        except UntrustedFactor:
            method = _BySvd(self.design, self.dual, centre)
        step = plan.n_targets_batch
        tiles = [(begin, min(begin + step, columns.size)) for begin in range(0, columns.size, step)]
        reader = HostTiles(some, self.design.dtype, centre=centre)
        for (begin, end), y in zip(tiles, reader.read(tiles), strict=True):
            mine = columns[begin:end]
            method.load(y)
            out = np.empty((method.weights_size, end - begin), dtype=method.weights_dtype)
            mean_prediction[mine] = method.refit(alphas[mine], out)
            if self.dual:
                matrix[:, mine] = out
            else:
                matrix[np.ix_(self.rows, mine)] = out * self.scale[:, None]
        return 0 if self.dual else method.n_dependent  # of samples, empty ones at the starts of runs are


class _BySvd:
    """The same by an SVD of the rows of the design, for penalties that its Gram matrix cannot be trusted
    with: weights of least norm."""

    n_dependent = 0  # whoever asks for next to no penalty has asked for them

    def __init__(self, design: DelayedDesign, dual: bool, centre: bool) -> None:
        self.dual, self.weights_dtype = dual, np.dtype(np.float64)
        x = design.rows(0, design.n_samples).astype(np.float64)
        self._mean = x.mean(axis=0) if centre else np.zeros(x.shape[1])
        u, s, v_t = np.linalg.svd(x - self._mean, full_matrices=False)
        kept = s > gram_noise(float(s[0]), max(x.shape)) if s.size else s > 0
        self._u, self._s, self._v_t = u[:, kept], s[kept], v_t[kept]
        self._x_mean = x @ self._mean if dual else self._mean
        self.weights_size = design.n_samples if dual else design.n_columns

    def load(self, y: Floating) -> None:
        self._z = self._u.T @ y.astype(np.float64)

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        shrunk = self._z / (self._s[:, None] ** 2 + alphas)
        out[:] = self._u @ shrunk if self.dual else self._v_t.T @ (self._s[:, None] * shrunk)
        return np.asarray(self._x_mean @ out)

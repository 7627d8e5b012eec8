"""A fitted linear map, as features' weights or as samples' weights. Both predict; both give coefficients.

The matrix may lie in memory or in a file; it is read a tile of targets at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.dual_weights import remove_constant
from voxridge.solvers.linalg import matmul
from voxridge.streams import as_source, check_unchanged, fingerprint
from voxridge.streams.sink_files import matrix_file
from voxridge.streams.sinks import ArraySink

Floating = NDArray[Any]

_TILE_BYTES = 128 * 2**20


class Matrix(Protocol):
    """A (size, n_targets) matrix that is read a tile of targets at a time."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def result(self) -> Any:
        """The array, or the path of the file."""
        ...

    def read(self, begin: int, end: int) -> Floating:
        """(size, end - begin), not to be written to."""
        ...


@dataclass
class FileMatrix:
    """What a :class:`~voxridge.streams.FileSink` with tiles of targets has written: opened for each read, so
    that it can be pickled and the file stays free for others.

    Raises
    ------
    ValueError
        When it is read and the file is no longer the one that was written.
    """

    result: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    _before: Mapping[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.result = Path(os.path.abspath(self.result))
        self._before = fingerprint(as_source(self.result, name="weights"))

    def read(self, begin: int, end: int) -> Floating:
        source = as_source(self.result, name="weights")
        check_unchanged(source, self._before)
        if self.result.suffix.lower() == ".npy":
            return source.read(columns=slice(begin, end))
        return source.read(rows=slice(begin, end)).T  # HDF5 holds the transpose


def can_continue(path: str | os.PathLike[str], shape: tuple[int, int], dtype: Any, token: str) -> bool:
    """Whether a FileSink of these arguments would find tiles of an earlier run; nothing is changed."""
    target = Path(os.path.realpath(path))
    file = matrix_file(target, shape, np.dtype(dtype), True, "data")
    places = target.with_name(f"{target.name}.partial"), target
    return any(place.is_file() and file.find(place, token) is not None for place in places)


class Weights(Protocol):
    """A map from delayed features to targets, without the intercept."""

    matrix: Matrix

    @property
    def delays(self) -> tuple[int, ...]: ...

    @property
    def n_features(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def owned(self) -> Weights: ...

    def coefficient_tiles(self) -> Iterator[tuple[int, int, Floating]]: ...

    def prediction_tiles(self, design: Design) -> Iterator[tuple[int, int, Floating]]: ...


def in_memory(matrix: Floating) -> Matrix:
    """An array (size, n_targets) as the weights classes take it."""
    return ArraySink(matrix)


def coefficients(weights: Weights) -> Floating:
    """(p, n_targets), in memory."""
    if isinstance(weights, PrimalWeights) and isinstance(weights.matrix.result, np.ndarray):
        return weights.matrix.result
    n_columns = weights.n_features * len(weights.delays)
    out = np.empty((n_columns, weights.matrix.shape[1]), dtype=weights.dtype)
    for begin, end, block in weights.coefficient_tiles():
        out[:, begin:end] = block
    return out


@dataclass
class PrimalWeights:
    """``X -> X coef`` with ``matrix`` holding coef (p, n_targets)."""

    matrix: Matrix
    delays: tuple[int, ...]

    @property
    def n_features(self) -> int:
        return int(self.matrix.shape[0]) // len(self.delays)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the coefficients."""
        return self.matrix.dtype

    def owned(self) -> PrimalWeights:
        """Weights that share no memory with the caller's features."""
        return self

    def coefficient_tiles(self) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, (p, end - begin)) over the targets."""
        for begin, end in _tiles(self.matrix, self.matrix.shape[0]):
            yield begin, end, np.ascontiguousarray(self.matrix.read(begin, end))

    def prediction_tiles(self, design: Design) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, (n_samples, end - begin)) over the targets; each run from its own features only."""
        for begin, end in _tiles(self.matrix, max(design.n_samples, self.matrix.shape[0])):
            yield begin, end, design.xw(np.ascontiguousarray(self.matrix.read(begin, end)))


@dataclass(frozen=True)
class DualBasis:
    """What dual coefficients are components of: ``dual = root (I - r r') V c``.

    ``vectors`` holds V' (k, n_train), orthonormal rows, float64; ``r`` the constant direction, which rounding
    leaves a trace of in V, or None; ``root`` the roots of the sample weights, or None. Each component is
    rounded at its own level, so float32 does for c whatever the penalty, where dual coefficients would need
    float64 (solvers/dual_weights.py).
    """

    vectors: Floating
    r: Floating | None = None
    root: Floating | None = None

    def expand(self, c: Floating) -> Floating:
        """Dual coefficients (n_train, v), float64, from components (k, v)."""
        dual = matmul(self.vectors, np.ascontiguousarray(c, dtype=np.float64), trans_a=True)
        remove_constant(dual, self.r)
        if self.root is not None:
            dual *= self.root[:, None]
        return dual

    def turn(self, kernel: Floating) -> Floating:
        """``kernel root (I - r r') V`` (m, k), float64; ``kernel`` (m, n_train) is overwritten."""
        if self.root is not None:
            kernel *= self.root
        if self.r is not None:
            kernel -= (kernel @ self.r)[:, None] * self.r
        return matmul(kernel, self.vectors, trans_b=True)


@dataclass
class DualWeights:
    """``X -> X X_train' dual`` with ``matrix`` holding dual (n_train, n_targets), or its components of a
    ``basis``: smaller than coefficients where there are more columns than samples."""

    matrix: Matrix
    train: Design
    basis: DualBasis | None = None

    @property
    def delays(self) -> tuple[int, ...]:
        return self.train.delays

    @property
    def n_features(self) -> int:
        return self.train.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the coefficients; the dual ones may be kept more exactly."""
        return self.train.dtype

    @property
    def dual_dtype(self) -> np.dtype[Any]:
        """Of the dual coefficients."""
        return self.matrix.dtype if self.basis is None else np.dtype(np.float64)

    def owned(self) -> DualWeights:
        """Weights that share no memory with the caller's features: a fit must not change when they do."""
        if not isinstance(self.train, DelayedDesign):
            return self
        train = self.train.on_host()
        features = train.features
        if features.base is not None or not features.flags.writeable:
            train = DelayedDesign(features.copy(), self.delays, np.diff(train.offsets).tolist())
        return self if train is self.train else DualWeights(self.matrix, train, self.basis)

    def dual_tiles(self) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, dual coefficients (n_train, end - begin)) over the targets."""
        for begin, end in _tiles(self.matrix, self.train.n_samples):
            yield begin, end, self._dual(begin, end)

    def _dual(self, begin: int, end: int) -> Floating:
        block = self.matrix.read(begin, end)
        return np.ascontiguousarray(block) if self.basis is None else self.basis.expand(block)

    def coefficient_tiles(self) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, (p, end - begin)) over the targets, formed here."""
        for begin, end in _tiles(self.matrix, max(self.train.n_columns, self.train.n_samples)):
            tile = self.train.xty(self._dual(begin, end), self.train.everything())
            yield begin, end, tile.astype(self.train.dtype, copy=False)

    def prediction_tiles(self, design: Design) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, (n_samples, end - begin)) over the targets; each run from its own features only."""
        kernel = self._kernel(design)
        for begin, end in _tiles(self.matrix, max(design.n_samples, self.train.n_samples)):
            yield begin, end, matmul(kernel, np.ascontiguousarray(self.matrix.read(begin, end)))

    def _kernel(self, design: Design) -> Floating:
        """``X_new X_train'``, turned to the basis where there is one, in the dtype of the matrix, run by run:
        only one run's is ever in float64."""
        kernel = np.empty((design.n_samples, self.matrix.shape[0]), dtype=self.matrix.dtype)
        for begin, end in zip(design.offsets[:-1], design.offsets[1:], strict=True):
            part = self.train.cross_kernel_of(design.run(begin, end))
            kernel[begin:end] = part if self.basis is None else self.basis.turn(part)
        return kernel


def _tiles(matrix: Matrix, rows: int) -> Iterator[tuple[int, int]]:
    n_targets = matrix.shape[1]
    step = max(512, _TILE_BYTES // max(1, rows * matrix.dtype.itemsize) // 512 * 512)
    for begin in range(0, n_targets, step):
        yield begin, min(begin + step, n_targets)

"""Features of several bands as one matrix, and whether there is room for what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._encoding_job import worth_reading_whole
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.memory import default_limit, in_words, parse_memory, resident_memory
from voxridge.solvers.settings import Settings
from voxridge.streams import Source, as_source, check_finite, match_runs
from voxridge.streams.sources import describe_runs

Floating = NDArray[Any]
Columns = NDArray[np.intp]

_KEPT_SHARE = 0.35  # of the free memory, for Gram matrices that all candidates share


@dataclass(frozen=True)
class BandedFeatures:
    """Bands side by side.

    ``sources``: one for each band, or one for all of them. ``columns`` (n_features,): for each feature of the
    bands side by side, where it is in the matrix that was given; None where they are the same.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    sources: tuple[Source, ...]
    columns: Columns | None = None

    @property
    def source(self) -> Source:
        """What tells the number of samples, and the runs."""
        return self.sources[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.result_type(*(source.dtype for source in self.sources)))

    def in_order(self, names: Sequence[str]) -> BandedFeatures:
        """The same bands, each from a source of its own, in another order, if they have these names."""
        if set(names) != set(self.names):
            return self
        at = [self.names.index(name) for name in names]
        sources = tuple(self.sources[i] for i in at)
        return BandedFeatures(tuple(names), tuple(self.widths[i] for i in at), sources)

    def read(self, dtype: Any) -> BandedFeatures:
        """All bands in one matrix in memory that nobody else holds."""
        for source in self.sources:
            check_finite(source)
        n, width = self.source.shape[0], sum(source.shape[1] for source in self.sources)
        matrix = np.empty((n, width), dtype=dtype)
        begin = 0
        for source in self.sources:
            matrix[:, begin : begin + source.shape[1]] = source.read()
            begin += source.shape[1]
        if self.columns is not None:
            matrix = np.ascontiguousarray(matrix[:, self.columns])
        first = self.source
        whole = as_source(matrix, name="features", runs=first.runs, run_names=first.run_names)
        return replace(self, sources=(whole,))


def banded_features(features: Any, bands: Any, runs: Sequence[int] | None) -> BandedFeatures:
    """Features by band, or one matrix and its ``bands``; nothing is read.

    Raises
    ------
    ValueError
        No band, bands that do not match the features or each other.
    """
    if isinstance(features, Mapping):
        if bands is not None:
            raise ValueError("features are given by band, so bands must be None; it divides a single matrix")
        return _by_name(features, runs)
    if bands is None:
        raise ValueError(
            "which features are of which band? Give features as a mapping of band name to features, or bands "
            "for a single matrix"
        )
    source = as_source(features, name="features", runs=runs)
    names, widths, columns = _divided(bands, source.shape[1])
    return BandedFeatures(names, widths, (source,), columns)


def _by_name(features: Mapping[Any, Any], runs: Sequence[int] | None) -> BandedFeatures:
    if not features:
        raise ValueError("features is an empty mapping; give at least one band")
    names = tuple(str(name) for name in features)
    if len(set(names)) < len(names):
        raise ValueError(f"features has two bands of the same name: {names}")
    labels = [f"features[{name!r}]" for name in names]
    sources = [as_source(f, name=n, runs=runs) for f, n in zip(features.values(), labels, strict=True)]
    known = max(sources, key=lambda source: len(source.runs))
    for i, (data, label) in enumerate(zip(features.values(), labels, strict=True)):
        if sources[i].shape[0] == known.shape[0] and len(sources[i].runs) == 1 < len(known.runs):
            sources[i] = as_source(data, name=label, runs=known.runs, run_names=known.run_names)
        if sources[i].runs != sources[0].runs:
            raise ValueError(
                f"the bands differ in their runs: {labels[0]} has {describe_runs(sources[0])}, {label} has "
                f"{describe_runs(sources[i])}; all bands need one row per TR of the same runs"
            )
        match_runs(sources[0], sources[i])
    return BandedFeatures(names, tuple(source.shape[1] for source in sources), tuple(sources))


def _divided(bands: Any, n_features: int) -> tuple[tuple[str, ...], tuple[int, ...], Columns | None]:
    """Names and widths of the bands, and the columns in their order where that is another."""
    if isinstance(bands, Mapping):
        names, widths = tuple(str(name) for name in bands), tuple(int(width) for width in bands.values())
    elif isinstance(bands, str) or not hasattr(bands, "__len__"):
        raise ValueError(f"bands={bands!r}: give a width for each band, or a label for each feature")
    elif len(bands) == n_features and not _each_alone(bands):
        return _labelled(np.asarray(bands))
    else:
        widths = tuple(int(width) for width in bands)
        names = tuple(f"band {number}" for number in range(len(widths)))
    if sum(widths) != n_features or any(width < 1 for width in widths):
        raise ValueError(
            f"bands={bands!r}: widths must be at least 1 and add up to the {n_features} features, or there "
            f"must be {n_features} labels, one per feature"
        )
    return names, widths, None


def _each_alone(bands: Any) -> bool:
    """Whether these are widths of bands of one feature: as labels they would make a single band."""
    array = np.asarray(bands)
    return array.dtype.kind in "iu" and bool((array == 1).all())


def _labelled(labels: NDArray[Any]) -> tuple[tuple[str, ...], tuple[int, ...], Columns | None]:
    found, first, which = np.unique(labels, return_index=True, return_inverse=True)
    place = np.empty(found.size, dtype=np.intp)
    place[np.argsort(first)] = np.arange(found.size)  # bands in the order in which they appear
    number = place[which]
    columns = np.argsort(number, kind="stable")
    widths = tuple(np.bincount(number).tolist())
    names = tuple(str(found[i]) for i in np.argsort(first))
    moved = not np.array_equal(columns, np.arange(labels.size))
    return names, widths, columns if moved else None


def in_given_order(coefficients: Floating, columns: Columns | None) -> Floating:
    """Coefficients (n_delays * n_features, n_targets) of the bands side by side, by the columns of the matrix
    that was given."""
    if columns is None:
        return coefficients
    by_delay = coefficients.reshape(-1, columns.size, coefficients.shape[1])
    out = np.empty_like(by_delay)
    out[:, columns] = by_delay
    return out.reshape(coefficients.shape)


def paired_with(
    given: BandedFeatures, responses: Any, runs: Sequence[int] | None
) -> tuple[BandedFeatures, Source]:
    """The bands and the responses with the same runs; where one side knows them, the other takes them over.

    Raises
    ------
    ValueError
        As :func:`~voxridge.streams.match_runs`.
    """
    y = as_source(responses, name="responses", runs=runs)
    x = given.source
    if runs is None and len(x.runs) != len(y.runs) and x.shape[0] == y.shape[0]:
        if len(y.runs) == 1:
            y = as_source(responses, name="responses", runs=x.runs, run_names=x.run_names)
        elif len(x.runs) == 1:
            moved = tuple(
                as_source(source, name="features", runs=y.runs, run_names=y.run_names)
                for source in given.sources
            )
            given = replace(given, sources=moved)
    match_runs(given.source, y)
    return given, y


def in_memory_if_small(y: Source, memory_limit: Any) -> Source:
    """Responses in files, which every candidate reads, are read once where they take little memory."""
    limit = parse_memory(memory_limit) or default_limit()
    size = y.shape[0] * y.shape[1] * y.dtype.itemsize
    if y.in_memory or not worth_reading_whole(size, limit, resident_memory()):
        return y
    return as_source(y.read(), name="responses", runs=y.runs, run_names=y.run_names)


def require_room(
    design: DelayedDesign, n_targets: int, n_candidates: int, weights: bool, limit: int | None
) -> None:
    """Raise where the results of a fit do not fit in ``limit`` bytes of the process.

    Raises
    ------
    MemoryError
        Naming what is needed.
    """
    rows = min(design.n_columns, design.n_samples) if weights else 0
    needed = resident_memory() + (n_candidates + rows) * n_targets * design.dtype.itemsize
    if limit is not None and needed > limit:
        raise MemoryError(
            f"memory_limit={in_words(limit)}: {n_candidates} candidates' scores"
            f"{' and the weights' if weights else ''} of {n_targets} targets take the process to "
            f'{in_words(needed)} at least; give more, or use weights="none", fewer candidates, or fewer '
            "targets at a time"
        )


def keep_bytes(design: DelayedDesign, n_bands: int, settings: Settings) -> int:
    """How many bytes of Gram matrices and kernels of the bands to keep for all candidates."""
    n, p = design.n_samples, design.n_columns
    wanted = 8 * (n_bands * n**2 if p > n else (len(settings.folds) + 1) * p**2)
    if settings.memory_limit is None:
        return wanted
    return max(0, min(wanted, int(_KEPT_SHARE * (settings.memory_limit - resident_memory()))))

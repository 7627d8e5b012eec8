"""The filters of a whole grid of penalties as sums of a few shared ones.

Ridge weighs component i of the targets by a filter such as ``f_a(l_i) = l_i / (l_i + alpha_a)``, and every
penalty would need a product of its own. On eigenvalues that lie within a small factor of each other such
filters differ by little more than a scale: over a factor of two, those of all penalties from 0 to infinity
are sums of six shared ones to seven digits (their numerical rank; for 1 / (l + alpha) Zolotarev's bound is
``4 exp(-pi^2 r / log(16 ratio))``). So the spectrum is cut into clusters, and on cluster c

    f_a(l_i) = sum_s C_as phi_s(l_i)    within ``tolerance``, relative, checked for every a and i.

A product ``V diag(f_a) z`` for every a is then one product per shared filter, six or so whatever the number
of penalties, and sums of those, which cost little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import matmul

Floating = NDArray[Any]

_OCTAVE = 2.0**0.25  # a cluster is so many of these ratios of eigenvalues wide
_WIDEST = 16  # the most octaves in a cluster
_SAMPLED = 32  # eigenvalues of a cluster that its rank is estimated from
_LARGEST_ELEMENT = 0.25  # of what a singular value leaves, as a share of it, about
FEWEST, SMALLEST = 7, 200  # filters and eigenvalues below which there is nothing to gain
_TOLERANCE = 16.0 * float(np.finfo(np.float32).eps)  # relative, that a filter may be off
_OVERHEAD = 60.0  # what a shared filter costs beside its product, in eigenvalues


@dataclass(frozen=True)
class Cluster:
    """Components [begin, end), their ``shared`` filters (r, end - begin), and the sums ``coefficients``
    (n_filters, r), float64."""

    begin: int
    end: int
    shared: Floating
    coefficients: Floating


@dataclass(frozen=True)
class FilterBank:
    """Filters (n_filters, k) of a spectrum, compressed; see the module."""

    clusters: tuple[Cluster, ...]
    n_filters: int
    plain: bool  # the shared filters are the filters

    @cached_property
    def n_shared(self) -> int:
        return sum(cluster.shared.shape[0] for cluster in self.clusters)

    @property
    def n_products(self) -> float:
        """Products with all components that the bank takes in place of one for every filter."""
        size = sum(cluster.end - cluster.begin for cluster in self.clusters)
        return sum(cluster.shared.size for cluster in self.clusters) / max(size, 1)

    @cached_property
    def coefficients(self) -> Floating:
        """(n_filters, n_shared), clusters side by side."""
        return np.concatenate([cluster.coefficients for cluster in self.clusters], axis=1)

    def share(self, z: Floating, out: Floating) -> None:
        """``out`` (n_shared, components of the cluster, v), flat: every shared filter times its part of z
        (k, v)."""
        for block, cluster, row in self._blocks(out, z.shape[1]):
            weights = cluster.shared[row].astype(z.dtype)
            np.multiply(z[cluster.begin : cluster.end], weights[:, None], out=block)

    def products(self, left: Floating, shared: Floating, width: int, out: Floating) -> None:
        """``out`` (n_shared, rows times width) <- left' times what :meth:`share` made of a z that was
        ``width`` wide; ``left`` (k, rows)."""
        shape = left.shape[1], width
        for row, (block, cluster, _) in zip(out, self._blocks(shared, width), strict=True):
            part = left[cluster.begin : cluster.end]
            matmul(part, block, trans_a=True, out=row.reshape(shape))

    def _blocks(self, flat: Floating, width: int) -> list[tuple[Floating, Cluster, int]]:
        blocks, first = [], 0
        for cluster in self.clusters:
            size = (cluster.end - cluster.begin) * width
            for row in range(cluster.shared.shape[0]):
                block = flat[first : first + size].reshape(-1, width)
                blocks.append((block, cluster, row))
                first += size
        return blocks

    @cached_property
    def share_rows(self) -> int:
        """Rows, as wide as the targets, of what :meth:`share` makes."""
        return sum(cluster.shared.size for cluster in self.clusters)


def filter_bank(filters: Floating, values: Floating, dtype: Any, tolerance: float = _TOLERANCE) -> FilterBank:
    """Compress positive ``filters`` (n_filters, k) over monotonic positive ``values`` (k,) for products in
    float32. Those in float64 stay as they are: held-out solves magnify what is off in a filter, and the sums
    would cost them their last digits.

    Clusters are chosen by dynamic programming: of all ways to cut the octaves of the spectrum into runs, the
    one whose shared filters cost least.
    """
    n_filters, size = filters.shape
    if n_filters < FEWEST or size < SMALLEST or dtype != np.float32:
        return FilterBank((Cluster(0, size, filters, np.eye(n_filters)),), n_filters, plain=True)
    edges = _octave_edges(values)
    ranks = _ranks(filters, edges, tolerance)
    best, cut = [0.0], [0]
    for end in range(1, edges.size):
        choices = [
            (best[begin] + ranks[begin, end] * (edges[end] - edges[begin] + _OVERHEAD), begin)
            for begin in range(max(0, end - _WIDEST), end)
        ]
        cost, begin = min(choices)
        best.append(cost)
        cut.append(begin)
    clusters, end = [], edges.size - 1
    while end > 0:
        clusters.append(_cluster(filters, int(edges[cut[end]]), int(edges[end]), tolerance))
        end = cut[end]
    return FilterBank(tuple(reversed(clusters)), n_filters, plain=False)


def _octave_edges(values: Floating) -> NDArray[np.intp]:
    """Indices where monotonic ``values`` pass into another octave, both ends included."""
    if not values.size:
        return np.zeros(1, dtype=np.intp)
    number = np.floor(np.log(values / values.min()) / np.log(_OCTAVE))
    inner = np.flatnonzero(np.diff(number)) + 1
    return np.concatenate([[0], inner, [values.size]]).astype(np.intp)


def _ranks(filters: Floating, edges: NDArray[np.intp], tolerance: float) -> dict[tuple[int, int], int]:
    """Shared filters that all of ``filters`` need between two of ``edges``, by their numbers, estimated from
    some of the components."""
    pairs = [(begin, end) for end in range(1, edges.size) for begin in range(max(0, end - _WIDEST), end)]
    first, last = edges[[begin for begin, _ in pairs]], edges[[end for _, end in pairs]] - 1
    some = np.linspace(first, last, _SAMPLED, axis=1).round().astype(np.intp)
    parts = filters[:, some].transpose(1, 0, 2)
    s = np.linalg.svd(parts / parts.mean(axis=2, keepdims=True), compute_uv=False)
    ranks = 1 + (s[:, 1:] * _LARGEST_ELEMENT > tolerance).sum(axis=1)
    return dict(zip(pairs, ranks.tolist(), strict=True))


def _cluster(filters: Floating, begin: int, end: int, tolerance: float) -> Cluster:
    coefficients, shared = _factors(filters[:, begin:end], tolerance)
    return Cluster(begin, end, shared, coefficients)


def _factors(part: Floating, tolerance: float) -> tuple[Floating, Floating]:
    """``coefficients @ shared`` = ``part`` within ``tolerance``, relative to every element, with as few
    columns as will do. Shared filters are of size 1."""
    scale = part.mean(axis=1, keepdims=True)
    even = part / scale
    u, s, vt = np.linalg.svd(even, full_matrices=False)
    size = np.sqrt(part.shape[1])
    left, right = u * (s / size), vt * size
    error = np.array(even)
    for rank in range(s.size):
        error -= np.outer(left[:, rank], right[rank])
        if (np.abs(error) <= tolerance * even).all():
            break
    return left[:, : rank + 1] * scale, right[: rank + 1]

"""What a fit on a device holds, there and on the host, where every penalty wants the most.

n samples, p columns (p0 before delays), v targets in a tile, s the size of a number in the working precision;
of a set T rows held out and S rows scored. The names are those of the buffers in the code.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.costs import split_route
from voxridge.solvers.cuda.design import GROUP_BYTES
from voxridge.solvers.cuda.factors import HOST_ORDER
from voxridge.solvers.problem import Problem

MiB = 2**20
_LIBRARIES = 256 * MiB  # of the host: CUDA's libraries and what they hold there
_HOLES = 40 * MiB  # see solvers/footprints.py
_GATHERED = 2 * 128 * MiB  # kChunkBytes of csrc/cuda/delayed.hpp: what an op gathers, and its other operand
_STRIP = 32 * MiB  # kStripBytes there
_PANEL = 1024  # columns that a factorisation has work space for
_SUM_CHUNKS = 64  # csrc/cuda/row_sums.hpp
_MOMENT_BLOCKS = 64  # csrc/cuda/heldout_tiles.hpp
_SAMPLES = 4096  # whose Z is formed at once: solvers/cuda/gram_smoother.py
_SMALL_SETS = 256 * MiB  # on their way to the host: solvers/cuda/factors.py
_RESERVE = 400 * MiB  # of the device: libraries' work space, pages that are not full
_RESERVED_SHARE = 0.05


class DeviceTiling(NamedTuple):
    """Targets in a tile; penalties (Cholesky) and folds (spectral) whose factors are held at once; rows and
    columns of features that are read at once."""

    targets: int
    alphas: int
    folds: int
    rows: int
    columns: int


class DeviceFootprint(NamedTuple):
    """Bytes at worst: of the device, factors that stay while targets pass, the buffers of a tile, and all
    that there is at any moment; of the host, beside what the process held before: results, and all."""

    factors: int
    tile: int
    device: int
    results: int
    host: int


def usable_bytes(total: int, free: int) -> int:
    """Of the free bytes of a device, those that a plan may count on."""
    return max(0, free - max(_RESERVE, int(_RESERVED_SHARE * total)))


def device_footprint(problem: Problem, route: str, tiling: DeviceTiling, precision: str) -> DeviceFootprint:
    """Memory of a fit by ``route``, a design at a time as often as the problem says."""
    side, method = split_route(route)
    sets = _sets(problem)
    if method == "spectral":
        held, making = _spectral(problem, side, tiling, sets)
    else:
        held, making = _cholesky(problem, side, tiling, sets)
    tile = _tile(problem, side, method, tiling, precision) + _raw(problem, tiling)
    held_by_all = problem.n_models * held + _shared(problem, side)
    device = held_by_all + _scratch(problem, side, method, tiling) + max(making, 0) + tile
    results, host = _host(problem, side, method, tiling, sets)
    return DeviceFootprint(int(held_by_all), int(tile), int(device), int(results), int(host))


class _Sets(NamedTuple):
    """All held-out sets: their rows, those of the largest, and the numbers of elements of their factors: T^2
    of those that the host inverts, T^2 of the others, S T of all."""

    rows: int
    longest: int
    small: int
    large: int
    factors: int


def _sets(problem: Problem) -> _Sets:
    sizes = problem.fold_sizes
    return _Sets(
        rows=sum(f.held_out * f.n_folds for f in sizes),
        longest=max(f.held_out for f in sizes),
        small=sum(f.held_out**2 * f.n_folds for f in sizes if f.held_out <= HOST_ORDER),
        large=sum(f.held_out**2 * f.n_folds for f in sizes if f.held_out > HOST_ORDER),
        factors=sum(f.scored * f.held_out * f.n_folds for f in sizes),
    )


# --- the device


def _cholesky(problem: Problem, side: str, tiling: DeviceTiling, sets: _Sets) -> tuple[float, float]:
    """What stays, and what is there only while factors are made."""
    n, p, s = problem.n, problem.p, problem.itemsize
    order = n if side == "dual" else p
    factors = 16.0 * n if problem.leaves_one_out else 8.0 * sets.factors
    held = 8.0 * order**2 * (1 + tiling.alphas) + factors * tiling.alphas + 64.0 * (sets.rows + n + p)
    if side == "dual":
        held += s * n * n if s < 8 else 0  # "rounded H"
    else:
        held += float(n) * problem.n_features * s + 2 * 8.0 * p * min(_SAMPLES, n)  # "left", "right"
        held += 8.0 * p * min(_SAMPLES, n) if problem.sample_weight else 0  # "some columns"
    making = 0.0
    if not problem.leaves_one_out:
        held += 8.0 * sets.longest**2 if sets.large else 0  # "I - S"
        small = min(8.0 * sets.small, _SMALL_SETS + 8.0 * HOST_ORDER**2)
        making = max(8.0 * (sets.large + sets.longest**2), small)
    return held, making


def _spectral(problem: Problem, side: str, tiling: DeviceTiling, sets: _Sets) -> tuple[float, float]:
    """The kernel or Gram; a fold's eigenvectors in both precisions, and its rows of them."""
    n, p, s = problem.n, problem.p, problem.itemsize
    order = float(problem.longest_train if side == "dual" else p)
    scored = max(f.scored for f in problem.fold_sizes)
    copy = s if s < 8 else 0
    fold = (8.0 + copy) * order * (order + scored) + 8.0 * order
    refit = (8.0 + copy) * float(n if side == "dual" else p) ** 2
    held = 8.0 * float(n if side == "dual" else p) ** 2 + 64.0 * (sets.rows + n + p)
    held += max(tiling.folds * fold, refit)
    if side == "primal":
        held += float(n) * problem.n_features * s
    largest = float(n if side == "dual" else p)
    return held, 16.0 * largest**2


def _shared(problem: Problem, side: str) -> float:
    """Of all designs together: what the reader of targets knows of each, features on their way."""
    features = float(problem.n) * problem.n_features * problem.itemsize
    return 9.0 * problem.n_targets + (min(GROUP_BYTES, features) if side == "dual" else 0)


def _scratch(problem: Problem, side: str, method: str, tiling: DeviceTiling) -> float:
    """Of the queue, which grows to what any op wants."""
    n, p, v = problem.n, problem.p, tiling.targets
    order = n if side == "dual" else p
    factor = 8.0 * order * min(order, _PANEL)
    if method == "spectral":
        factor = 8.0 * (2.0 * order**2 + order * _PANEL)
    sums = 8.0 * min(_SUM_CHUNKS, -(-n // 256)) * 3 * max(v, order) + 64.0 * n
    tables = 16.0 * n * (len(problem.delays) + 1) + 4096
    features = 8.0 * n * (p if side == "primal" else problem.n_features)
    gathered = min(float(_GATHERED), 2 * features) + tables
    strip = min(8.0 * n * n, max(float(_STRIP), 8.0 * n * (32 + _span(problem)))) if side == "dual" else 0.0
    return max(factor, sums, gathered, strip + 32.0 * n)


def _span(problem: Problem) -> int:
    return max(problem.delays) - min(problem.delays)


def _raw(problem: Problem, tiling: DeviceTiling) -> float:
    """Two tiles as they come."""
    return 2.0 * problem.n * tiling.targets * _stored(problem)


def _stored(problem: Problem) -> int:
    """Bytes of a target's number where it comes from: float64 where nobody said."""
    return problem.targets_itemsize or 8


def _tile(problem: Problem, side: str, method: str, tiling: DeviceTiling, precision: str) -> float:
    """The targets, what is made of them, of those that one penalty suits, and of those that are refined."""
    n, p, s, v = problem.n, problem.p, problem.itemsize, tiling.targets
    both = s + 8 if s < 8 else 8  # a buffer in either precision
    folds = len(problem.folds)
    size = n if side == "dual" else p
    y = both * n + (both + s) * n * problem.sample_weight + s * n * (both > 8)  # "y" twice: raw and as it is
    smoothed = both * n
    if side == "primal":
        y += 8 * n if s < 8 else 0
        smoothed += (8 + both) * p + 8 * n * problem.sample_weight  # "products", "coefficients", "weighted"
    if method == "spectral":
        smoothed = both * (2 * size + 4 * max(n, p))
    scoring = 0.0
    if not problem.leaves_one_out or method == "spectral":
        scoring += both * n + 8 * 3 * _MOMENT_BLOCKS  # "moved", "partial sums"
    scoring += 8 * 3 * 2 * (folds + 1) + 8 * 6 * (folds + 1) + both * folds + 128
    per_target: float = y + smoothed + scoring
    if problem.weights != "none":
        part = y + smoothed + 8 * size
        per_target += 8 * size + part  # "weights" and a tile of those that one penalty suits
    if precision != "float32" and s < 8:
        per_target += y + smoothed + scoring
    return per_target * v


# --- the host


def _host(problem: Problem, side: str, method: str, tiling: DeviceTiling, sets: _Sets) -> tuple[float, float]:
    """Results, and all: page-locked tiles, weights on their way, the inverses of small sets."""
    n, v, folds = problem.n, tiling.targets, len(problem.folds)
    column = (n if side == "dual" else problem.p) * weights_itemsize(problem, side)
    scores = (problem.n_alphas + 6) * 8.0 * problem.n_targets * problem.n_models
    kept = column * problem.n_targets * problem.n_models if problem.weights == "memory" else 0
    raw = 2 * n * _stored(problem) * (1 if problem.targets_in_memory else 2)
    sums = 8 * 3 * folds * 2 + 8 * 6 * folds * 2
    tile = v * (raw + sums + 16.0 * problem.n_alphas + (2 * column if problem.weights != "none" else 0))
    chunk = 0.0
    if not problem.features_in_memory:
        chunk = 2.0 * problem.itemsize * max(tiling.rows * problem.n_features, problem.n * tiling.columns)
    inverses = 0.0
    if method == "cholesky" and not problem.leaves_one_out:
        inverses = 3 * 8.0 * sets.small
    results = scores + kept
    return results, results + tile + chunk + inverses + _LIBRARIES + _HOLES


def weights_itemsize(problem: Problem, side: str) -> int:
    """Dual coefficients are float64 on all but the best-conditioned data."""
    return 8 if side == "dual" else problem.itemsize

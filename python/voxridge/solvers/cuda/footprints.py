"""What a fit on a device holds, there and on the host, where every penalty wants the most.

n samples, p columns (p0 before delays), v targets in a tile, s the size of a number in the working precision;
of a set T rows held out and S rows scored. The names are those of the buffers in the code.
"""

from __future__ import annotations

from typing import NamedTuple

from voxridge.solvers.costs import rank, split_route
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
_MOMENT_BLOCKS = 128  # csrc/cuda/heldout_tiles.hpp
_SAMPLES = 4096  # whose Z is formed at once: solvers/cuda/gram_smoother.py
_SMALL_SETS = 256 * MiB  # on their way to the host: solvers/cuda/factors.py
_SMALL = 256  # bytes of a target in sums of a row or three
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
        held, making = _spectral(problem, side, tiling)
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


def _spectral(problem: Problem, side: str, tiling: DeviceTiling) -> tuple[float, float]:
    """What stays: the kernel or Gram, factors of the folds of a pass, and with the last ones the eigenvectors
    of all samples. What comes and goes: a fold that is decomposed, or a copy of those eigenvectors."""
    n, p, s = float(problem.n), float(problem.p), problem.itemsize
    dual = side == "dual"
    order = float(problem.longest_train) if dual else p
    scored = float(max(f.scored for f in problem.fold_sizes))
    k = rank(problem, problem.longest_train)
    width = s if dual else 8  # of the eigenvectors that products with the features take
    vectors = 8.0 * order * order if width == 8 else width * k * order
    fold = vectors + s * scored * k + 8 * problem.n_alphas * k + 8 * (order + problem.n)
    largest = n if dual else p
    held = 8 * largest**2 + tiling.folds * fold + s * scored * k  # and "scaled rows"
    held += 64 * (n + p) + 24 * problem.n
    if not dual:
        held += n * problem.n_features * s + 8 * p * min(_SAMPLES, scored)  # "some columns"
    narrow = s * largest * rank(problem) if s < 8 else 0.0
    held += narrow if problem.weights != "none" else 0.0
    making = 8 * order**2 + 8 * scored * ((n + order) if dual else k)
    return held, max(making, narrow if problem.weights != "none" else 0.0)


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
    """Tiles as they come: one that is worked on, and the next."""
    slots = 2.0 if problem.n_targets > tiling.targets else 1.0
    return slots * problem.n * tiling.targets * _stored(problem)


def _stored(problem: Problem) -> int:
    """Bytes of a target's number where it comes from: float64 where nobody said."""
    return problem.targets_itemsize or 8


def _tile(problem: Problem, side: str, method: str, tiling: DeviceTiling, precision: str) -> float:
    """Bytes of everything as wide as the tile."""
    make = _spectral_columns if method == "spectral" else _cholesky_columns
    columns = make(problem, side, tiling)
    per_target = columns.targets + columns.scores + _SMALL
    if problem.weights != "none":
        per_target += columns.weights
    if precision != "float32" and problem.itemsize < 8:  # once more for those that are refined
        per_target += columns.targets + columns.scores
    return per_target * tiling.targets


def _parts(problem: Problem) -> int:
    """Sets whose sums are kept apart."""
    return 1 if problem.leaves_one_out else len(problem.folds)


class _Columns(NamedTuple):
    """Bytes of a target: itself and what smooths or projects it, its scores, its weights."""

    targets: float
    scores: float
    weights: float


def _cholesky_columns(problem: Problem, side: str, tiling: DeviceTiling) -> _Columns:
    n, p, s, folds = problem.n, problem.p, problem.itemsize, _parts(problem)
    both = s + 8 if s < 8 else 8  # of a buffer in either precision
    size = n if side == "dual" else p
    targets = 2 * both * n  # "y", "smoothed"
    if problem.sample_weight:
        targets += (both + s) * n  # "scaled", "centred"
    if side == "primal":
        targets += (8 + both) * p  # "products", "coefficients"
        targets += 8 * n if problem.sample_weight else 0  # "weighted"
    scores = 0 if problem.leaves_one_out else both * n + _partial_sums(problem)  # "moved"
    scores += 8 * 3 * 2 * folds + 8 * 6 * folds + both * folds  # "sums", "moments of targets", means
    width = 8 if side == "dual" else s
    return _Columns(targets, scores, width * size + targets + (s + 8) * size)


def _spectral_columns(problem: Problem, side: str, tiling: DeviceTiling) -> _Columns:
    n, p, s, train = problem.n, problem.p, problem.itemsize, problem.longest_train
    both = s + 8 if s < 8 else 8
    if side == "dual":
        k = int(rank(problem))
        targets = s * (n + train + k)  # "y", "training rows", "z"
        weights = 8 * n + both * (k + n)  # "weights", "some z", "some weights"
    else:
        targets = both * n + 2 * both * p + both * p  # "y", "X'y", "X'y of a fold", "z" and "wide z"
        weights = s * p
    scores = 8 * 3 * problem.n_alphas + 8 * 7 * tiling.folds + _partial_sums(problem)
    return _Columns(targets, scores, weights)


def _partial_sums(problem: Problem) -> int:
    scored = max(f.scored for f in problem.fold_sizes)
    return 8 * 3 * min(_MOMENT_BLOCKS, -(-scored // 64))


# --- the host


def _host(problem: Problem, side: str, method: str, tiling: DeviceTiling, sets: _Sets) -> tuple[float, float]:
    """Results, and all: page-locked tiles, weights on their way, the inverses of small sets."""
    n, v, folds = problem.n, tiling.targets, _parts(problem)
    down = 64.0 * MiB  # page-locked, for weights on their way
    column = (n if side == "dual" else problem.p) * weights_itemsize(problem, side)
    scores = (problem.n_alphas + 6) * 8.0 * problem.n_targets * problem.n_models
    kept = column * problem.n_targets * problem.n_models if problem.weights == "memory" else 0
    raw = 2 * n * _stored(problem) * (1 if problem.targets_in_memory else 2)
    parts = problem.n_alphas if method == "spectral" else folds
    sums = 8 * 3 * parts * 2 + 8 * 6 * folds * 2
    tile = v * (raw + sums + 16.0 * problem.n_alphas + (2 * column if problem.weights != "none" else 0))
    chunk = 0.0
    if not problem.features_in_memory:
        chunk = 2.0 * problem.itemsize * max(tiling.rows * problem.n_features, problem.n * tiling.columns)
    inverses = 0.0
    if method == "cholesky" and not problem.leaves_one_out:
        inverses = 3 * 8.0 * sets.small
    results = scores + kept
    return results, results + tile + chunk + inverses + down + _LIBRARIES + _HOLES


def weights_itemsize(problem: Problem, side: str) -> int:
    """Dual coefficients are float64 on all but the best-conditioned data."""
    return 8 if side == "dual" else problem.itemsize

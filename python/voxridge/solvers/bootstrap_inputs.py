"""Inputs of a bootstrapped ridge: data, groups of targets, and the chunks of samples that are held out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floating = NDArray[Any]
Rows = NDArray[np.intp]


def check_data(*arrays: ArrayLike) -> list[Floating]:
    """Rstim, Rresp, Pstim, Presp as arrays; the stimuli contiguous, in the working precision: float32 where
    neither of the first two is wider, else float64.

    Raises
    ------
    ValueError
        If shapes do not fit or a stimulus holds a value that is not finite.
    """
    x, y, px, py = given = [np.asarray(a) for a in arrays]
    names = ("Rstim", "Rresp", "Pstim", "Presp")
    shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(names, given, strict=True))
    if any(a.ndim != 2 for a in given):
        raise ValueError(f"the four arrays must be matrices (samples, columns); got {shapes}")
    if x.shape[0] != y.shape[0] or px.shape[0] != py.shape[0]:
        raise ValueError(f"stimuli and responses must have the same number of samples; got {shapes}")
    if x.shape[1] != px.shape[1] or y.shape[1] != py.shape[1]:
        raise ValueError(f"training and test data must have the same columns; got {shapes}")
    if 0 in x.shape or 0 in px.shape:
        raise ValueError(f"there must be samples and features; got {shapes}")
    single = all(a.dtype in (np.float16, np.float32) for a in (x, y))
    x, px = (np.ascontiguousarray(a, dtype=np.float32 if single else np.float64) for a in (x, px))
    for name, a in (("Rstim", x), ("Pstim", px)):
        bad = _not_finite(a)
        if bad:
            raise ValueError(
                f"{name} holds values that are not finite, in {bad} of {a.shape[1]} columns; drop those "
                "columns, or fill them in (np.nan_to_num) if you know why they are there"
            )
    return [x, y, px, py]


def _not_finite(a: Floating) -> int:
    """Columns with a value that is not finite."""
    step = max(1, 2**20 // a.shape[0])
    blocks = (a[:, begin : begin + step] for begin in range(0, a.shape[1], step))
    return int(sum((~np.isfinite(block)).any(axis=0).sum() for block in blocks))


def check_joined(joined: Sequence[ArrayLike] | None, n_targets: int, single_alpha: bool) -> list[Rows]:
    """Groups of targets as index arrays without common members."""
    if joined is None:
        return []
    if single_alpha:
        raise ValueError("joined and single_alpha=True exclude each other; give one of them")
    return [_indices(group, n_targets, "joined", i) for i, group in enumerate(_disjoint(joined))]


def _disjoint(joined: Sequence[ArrayLike]) -> list[Any]:
    groups = [np.asarray(group).reshape(-1) for group in joined]
    members, counts = np.unique(np.concatenate([*groups, np.empty(0, np.intp)]), return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"joined: target {members[counts > 1][0]} is in two groups, or twice in one")
    return groups


def _indices(values: ArrayLike, size: int, name: str, number: int) -> Rows:
    index = np.asarray(values)
    if index.ndim != 1 or index.size == 0 or index.dtype.kind not in "iu":
        raise ValueError(
            f"{name}[{number}] must be a list of at least one index; got shape {index.shape}, {index.dtype}"
        )
    if index.min() < 0 or index.max() >= size:
        raise ValueError(f"{name}[{number}] runs from {index.min()} to {index.max()}; there are {size}")
    if np.unique(index).size < index.size:
        raise ValueError(f"{name}[{number}] holds an index twice")
    return index.astype(np.intp)


def held_out_samples(
    n: int,
    nboots: int | None,
    chunklen: int | None,
    nchunks: int | None,
    chunks: Sequence[ArrayLike] | None,
    seed: int | random.Random | None,
) -> list[Rows]:
    """Held-out samples of each bootstrap: those given, or random ones."""
    if chunks is None:
        return _draw(n, nboots, chunklen, nchunks, seed)
    if chunklen is not None or nchunks is not None or seed is not None:
        raise ValueError("chunks says what is held out: leave chunklen, nchunks and seed out")
    if nboots is not None and nboots != len(chunks):
        raise ValueError(f"nboots={nboots}, but chunks holds the samples of {len(chunks)} bootstraps")
    sets = [_indices(rows, n, "chunks", i) for i, rows in enumerate(chunks)]
    for i, rows in enumerate(sets):
        if rows.size == n:
            raise ValueError(f"chunks[{i}] holds out all {n} samples; some must be left to train on")
    return sets


def _draw(
    n: int, nboots: int | None, chunklen: int | None, nchunks: int | None, seed: int | random.Random | None
) -> list[Rows]:
    if nboots is None or chunklen is None or nchunks is None:
        raise ValueError("give nboots, chunklen and nchunks, or chunks")
    if nboots < 0 or chunklen < 1 or nchunks < 1:
        raise ValueError(
            f"nboots={nboots} must be 0 or more, chunklen={chunklen} and nchunks={nchunks} 1 or more"
        )
    available = n // chunklen
    if nboots and (nchunks > available or nchunks * chunklen >= n):
        raise ValueError(
            f"nchunks={nchunks} chunks of {chunklen} samples cannot be held out of {n} samples with some "
            f"left to train on: there are {available} whole chunks; a fifth to a quarter is usual"
        )
    generator: Any = random  # the module's own
    if seed is not None:
        generator = seed if isinstance(seed, random.Random) else random.Random(seed)
    sets = []
    for _ in range(nboots):
        order = list(range(available))
        generator.shuffle(order)
        first = np.array(order[:nchunks], dtype=np.intp) * chunklen
        sets.append((first[:, None] + np.arange(chunklen)).reshape(-1))
    return sets

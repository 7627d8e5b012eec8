"""Rows of a design: runs, ranges, delays, and the checks that every solver shares."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranges = list[tuple[int, int]]


def run_offsets(runs: Sequence[int] | None, n_samples: int, *, name: str = "runs") -> list[int]:
    """Offsets ``[0, runs[0], runs[0] + runs[1], ..., n_samples]`` from run lengths (None: one run).

    Raises
    ------
    ValueError
        If a run is empty or the lengths do not add up to ``n_samples``.
    """
    lengths = [n_samples] if runs is None else [operator.index(length) for length in runs]
    if any(length < 1 for length in lengths):
        raise ValueError(f"{name}={lengths}: every run needs at least one sample; leave empty runs out")
    if sum(lengths) != n_samples:
        raise ValueError(
            f"{name} add up to {sum(lengths)} samples, but the data have {n_samples}; "
            "give the length of every run in order"
        )
    return [0, *np.cumsum(lengths).tolist()]


def check_delays(delays: Iterable[int], runs: Sequence[int] | None = None) -> tuple[int, ...]:
    """``delays`` as a tuple of different integers, none of them as long as the shortest run.

    Raises
    ------
    ValueError
        If there are no delays, two are equal, or one moves a whole run out of itself.
    TypeError
        If one is not an integer.
    """
    checked: list[int] = []
    for delay in delays:
        try:
            checked.append(operator.index(delay))
        except TypeError:
            raise TypeError(f"delays must be whole samples (TRs), got {delay!r}") from None
    if not checked:
        raise ValueError("delays is empty; use (0,) for no delay")
    if len(set(checked)) < len(checked):
        raise ValueError(f"delays={tuple(checked)} holds the same delay twice")
    longest = max(abs(delay) for delay in checked)
    if runs is not None and longest >= min(runs):
        raise ValueError(
            f"the delay of {longest} samples is as long as the shortest run ({min(runs)} samples), "
            "whose delayed features would all be zero; shorten delays or leave that run out"
        )
    return tuple(checked)


def ranges_of(rows: NDArray[np.intp]) -> Ranges:
    """Sorted row indices as half-open ranges."""
    if rows.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1)
    begins = rows[np.concatenate([[0], breaks + 1])]
    ends = rows[np.concatenate([breaks, [rows.size - 1]])] + 1
    return list(zip(begins.tolist(), ends.tolist(), strict=True))


def n_rows(ranges: Ranges) -> int:
    """Number of rows in ``ranges``."""
    return sum(end - begin for begin, end in ranges)


def check_alphas(alphas: Any) -> NDArray[np.float64]:
    """``alphas`` as a float64 vector of finite penalties >= 0.

    Raises
    ------
    ValueError
        If it is empty, not one-dimensional, or holds a negative or non-finite penalty.
    """
    grid = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if grid.ndim != 1:
        raise ValueError(f"alphas must be a sequence of penalties, got an array of shape {grid.shape}")
    if grid.size == 0:
        raise ValueError("alphas is empty; give at least one penalty")
    bad = ~np.isfinite(grid) | (grid < 0)
    if bad.any():
        raise ValueError(f"alphas holds {grid[bad].tolist()}; every penalty must be finite and not negative")
    return np.ascontiguousarray(grid)

"""Weights of bands to try: draws from the simplex, its corners, and steps around what did best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]

OFF = 1e-10
"""Weights below this share are taken as 0: such a band explains nothing at a penalty that suits the
others."""

_RETURN = 0.02  # weight that a band starts from which the best so far switches off
_STAY_OFF = 0.5  # share of the steps that leave such a band off


def random_candidates(
    n_bands: int,
    n_iter: int,
    *,
    concentration: float | Sequence[float] = (0.1, 1.0),
    corners: bool = True,
    seed: int | np.random.Generator = 0,
) -> Floating:
    """Weights of bands for a random search: even ones, the corners, and draws from Dirichlet distributions.

    Parameters
    ----------
    n_bands : int
    n_iter : int
        Even weights and ``n_iter - 1`` draws.
    concentration : float or sequence of float
        Of the Dirichlet distributions, taken in turns: 1 is uniform on the simplex, 0.1 prefers its corners
        and edges.
    corners : bool
        Add, beside ``n_iter``, each band alone and each band switched off.
    seed : int or Generator

    Returns
    -------
    ndarray (n_candidates, n_bands) float64
        Rows are not negative and add up to 1; no two are the same.

    Raises
    ------
    ValueError
        If ``n_iter`` is less than 1, or a concentration is not positive and finite.

    References
    ----------
    Dupre la Tour et al. 2022 (NeuroImage 264), section 2.6.

    Examples
    --------
    >>> random_candidates(2, 1).tolist()
    [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    """
    if n_iter < 1:
        raise ValueError(f"n_iter={n_iter}: at least one candidate is needed")
    levels = np.atleast_1d(np.asarray(concentration, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(f"concentration={concentration!r} must be positive numbers, such as (0.1, 1.0)")
    rng = np.random.default_rng(seed)
    draws = [rng.dirichlet(np.full(n_bands, levels[i % levels.size])) for i in range(n_iter)]
    even = np.full((1, n_bands), 1.0 / n_bands)
    parts = [even, corners_of(n_bands)] if corners else [even]
    return distinct(np.concatenate([*parts, np.reshape(draws[1:], (-1, n_bands))]))


def corners_of(n_bands: int) -> Floating:
    """Each band alone, then each band switched off and the others even; (n_corners, n_bands)."""
    alone = np.eye(n_bands)
    if n_bands < 3:  # one band off is the other alone
        return alone
    return np.concatenate([alone, (1.0 - alone) / (n_bands - 1)])


def check_candidates(candidates: Any, n_bands: int) -> Floating:
    """Given weights as float64 (n_candidates, n_bands), weights below :data:`OFF` taken as 0.

    Raises
    ------
    ValueError
        If the shape is another, or a row is negative, not finite, or does not add up to 1.
    """
    gammas = np.array(candidates, dtype=np.float64)
    if gammas.ndim != 2 or gammas.shape[1] != n_bands or not len(gammas):
        raise ValueError(
            f"n_iter has shape {gammas.shape}; give a number, or weights of shape (n_candidates, {n_bands}), "
            "one row per candidate and one column per band"
        )
    wrong = ~np.isfinite(gammas).all(axis=1) | (gammas < 0).any(axis=1)
    wrong |= ~(np.abs(gammas.sum(axis=1) - 1.0) <= 1e-6)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"n_iter: candidate {row} is {gammas[row].tolist()}; weights must not be negative and add up to "
            "1 (divide them by their sum)"
        )
    return _on_simplex(gammas)


def distinct(gammas: Floating) -> Floating:
    """Rows on the simplex in their order, each kept once."""
    gammas = _on_simplex(gammas)
    _, first = np.unique(gammas.round(12), axis=0, return_index=True)
    return np.asarray(gammas[np.sort(first)])


def _on_simplex(gammas: Floating) -> Floating:
    total = gammas.sum(axis=1, keepdims=True)
    kept = np.where(gammas < OFF * total, 0.0, gammas)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def clusters_of(choice: NDArray[np.intp], gammas: Floating, most: int) -> list[tuple[int, NDArray[np.intp]]]:
    """Targets by the candidate that suits them best, at most ``most`` groups.

    The candidates that most targets chose are centres; targets of the others go to the centre whose weights
    are nearest (Hellinger distance, which tells 0 from 0.01).

    Parameters
    ----------
    choice : ndarray of int (n_targets,)
        Row of ``gammas``; negative where there is none.
    gammas : ndarray (n_candidates, n_bands)
    most : int

    Returns
    -------
    list of (candidate, targets)
        The larger groups first.
    """
    chosen, counts = np.unique(choice[choice >= 0], return_counts=True)
    centres = chosen[np.argsort(-counts, kind="stable")][:most]
    if not centres.size:
        return []
    root = np.sqrt(gammas)
    distance = ((root[chosen][:, None] - root[centres][None]) ** 2).sum(axis=2)
    nearest = centres[distance.argmin(axis=1)]
    centre_of = np.full(len(gammas), -1)
    centre_of[chosen] = nearest
    mine = np.where(choice >= 0, centre_of[choice], -1)
    return [(int(centre), np.flatnonzero(mine == centre)) for centre in centres]


def steps_around(centre: Floating, n_steps: int, width: float, rng: np.random.Generator) -> Floating:
    """Weights (n_steps, n_bands) near ``centre``: their logarithms move by normal steps of ``width``.

    Steps of logarithms suit weights, whose score depends on their ratios. A band that the centre switches off
    stays off in half of the steps and comes back with a small weight in the others.

    Parameters
    ----------
    centre : ndarray (n_bands,)
    n_steps : int
    width : float
        Standard deviation, in natural logarithms.
    rng : Generator
    """
    off = centre <= 0
    stays = off & (rng.random((n_steps, centre.size)) < _STAY_OFF)
    start = np.log(np.where(off, _RETURN, centre))
    moved = np.exp(start + width * rng.standard_normal((n_steps, centre.size)))
    return _on_simplex(np.where(stays, 0.0, moved))

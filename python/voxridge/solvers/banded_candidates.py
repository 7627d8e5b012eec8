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
_ROUNDS = 8  # of k-means: groups need not be the best ones
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


def likely_best(top: NDArray[np.intp], gammas: Floating) -> Floating:
    """Where the best weights of each target are likely to lie (n_bands, n_targets): the square of a mean of
    the roots of the candidates that did best so far, each counting half of the one before it.

    Parameters
    ----------
    top : ndarray of int (n_top, n_targets)
        Rows of ``gammas``, the best first; negative where there are fewer.
    gammas : ndarray (n_candidates, n_bands)
    """
    root = np.sqrt(gammas).T
    total = np.zeros((gammas.shape[1], top.shape[1]))
    for rank, row in enumerate(top):
        total += np.where(row >= 0, root[:, row], 0.0) * 0.5**rank
    square = total**2
    return np.asarray(square / np.maximum(square.sum(axis=0), np.finfo(np.float64).tiny))


def clusters_of(
    weights: Floating, most: int, least: int, rng: np.random.Generator
) -> list[tuple[Floating, NDArray[np.intp]]]:
    """Targets whose weights are alike, in at most ``most`` groups: k-means on the roots of the weights, so
    that 0 and 0.01 are not alike.

    Parameters
    ----------
    weights : ndarray (n_bands, n_targets)
        Targets whose weights are all 0 are left out.
    most : int
    least : int
        Smaller groups take in the targets of others that are nearest to their middle.
    rng : Generator
        Of the targets that the groups begin with.

    Returns
    -------
    list of (weights of the middle (n_bands,), targets)
    """
    targets = np.flatnonzero(weights.any(axis=0))
    points = np.sqrt(weights[:, targets]).T
    if not targets.size:
        return []
    centres = _spread(points, min(most, targets.size), rng)
    for _ in range(_ROUNDS):
        nearest = _distances(points, centres).argmin(axis=1)
        centres = np.array([points[nearest == number].mean(axis=0) for number in np.unique(nearest)])
    distances = _distances(points, centres)
    nearest = distances.argmin(axis=1)
    found = []
    for number, centre in enumerate(centres):
        own = nearest == number
        reach = np.sort(distances[:, number])[min(least, targets.size) - 1]
        if own.any():  # whose weights are equal stay together: targets that share them are not parted
            found.append((centre**2 / (centre**2).sum(), targets[own | (distances[:, number] <= reach)]))
    return found


def _distances(points: Floating, centres: Floating) -> Floating:
    return np.asarray(((points[:, None] - centres) ** 2).sum(axis=2))


def _spread(points: Floating, n: int, rng: np.random.Generator) -> Floating:
    """``n`` points at most, each drawn the rather the further it is from those before (k-means++)."""
    chosen = [int(rng.integers(len(points)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < n and distance.max() > 1e-12:
        chosen.append(int(rng.choice(len(points), p=distance / distance.sum())))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def steps_around(centre: Floating, n_steps: int, width: float, rng: np.random.Generator) -> Floating:
    """Weights (n_steps, n_bands) near ``centre``, itself the first: logarithms move by normal steps of
    ``width``.

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
    steps = rng.standard_normal((n_steps, centre.size))
    steps[:1], stays[:1] = 0.0, off  # the middle itself comes first
    moved = np.exp(start + width * steps)
    return _on_simplex(np.where(stays, 0.0, moved))

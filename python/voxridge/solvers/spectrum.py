"""Eigenvalues and eigenvectors of centred training Grams, and how exact the products with them have to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import eigh_inplace
from voxridge.solvers.trust import gram_noise, require_trust

Floating = NDArray[Any]


@dataclass
class Spectrum:
    """Eigenvectors (rows of ``q_t``) and eigenvalues of a centred training Gram, ascending."""

    l: Floating
    q_t: Floating

    @property
    def rank(self) -> int:
        return int(self.l.size)

    def condition(self, alpha_min: float) -> float:
        """Largest over smallest eigenvalue of the penalised Gram."""
        return float((self.l[-1] + alpha_min) / (self.l[0] + alpha_min)) if self.rank else 1.0

    def gain(self, whole: Floating, alpha_min: float) -> float:
        """By how much these eigenvectors magnify rounding where their coordinates are the principal
        components of all samples, whose eigenvalues are ``whole``: the root of the mean square of ::

            g_i = sum_j Q_ji^2 whole_j / (l_i + alpha_min)

        Component j is rounded at its own level ``sqrt(whole_j)``, so that of z = Q'C at ``sqrt(g_i (l_i +
        alpha_min))``; the held-out rows likewise. About the samples over the training samples; far larger
        where the training samples say next to nothing of directions that the others lie in.
        """
        power = np.einsum("ij,ij,j->i", self.q_t, self.q_t, whole) / (self.l + alpha_min)
        return float(np.sqrt(np.mean(power**2))) if power.size else 1.0

    def astype(self, dtype: Any) -> Spectrum:
        """The same, eigenvectors in ``dtype``; in float64 they stay where they are."""
        return Spectrum(self.l, self.q_t.astype(dtype, copy=False))


def decompose(a: Floating, rank: int, alpha_min: float) -> Spectrum:
    """Spectrum of symmetric ``a`` (overwritten), float64; the eigenvectors lie in the memory of ``a``.

    Raises
    ------
    UntrustedFactor
        See :func:`~voxridge.solvers.trust.require_trust`, which is given ``rank`` and ``alpha_min``.
    """
    values = eigh_inplace(a)
    first = first_trusted(values, rank, alpha_min)
    return Spectrum(np.ascontiguousarray(values[first:]), a[first:])


def first_trusted(values: Floating, rank: int, alpha_min: float) -> int:
    """Index of the first of ascending eigenvalues that is more than rounding of the largest; errors as
    :func:`decompose`."""
    require_trust(values, rank, alpha_min)
    floor = gram_noise(float(values[-1]), values.size) if values.size else 0.0
    return int(np.searchsorted(values, floor, side="right"))

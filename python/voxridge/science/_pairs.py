"""Pairs of homologous targets."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._warnings import ResponseWarning

Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]
_MANY_UNPAIRED = 0.5


@dataclass(frozen=True, eq=False)
class Hemispheres:
    """Pairs of homologous targets, each target in at most one pair.

    Attributes
    ----------
    left : ndarray (n_pairs,) intp
        Columns of the left members.
    right : ndarray (n_pairs,) intp
        Columns of their homologues, in the same order.
    side : ndarray (n_targets,) int8
        -1 left, 1 right, 0 on the midline or of unknown side; of every target, paired or not.
    n_midline : int
        Targets left out because they lie on the midline.
    n_unpaired : int
        Other targets without a homologue.
    description : str
        How the pairs were found.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.science.hemispheres import hemispheres_from_names
    >>> pairs = hemispheres_from_names(["LATL", "RATL", "LIFG", "RIFG"])
    >>> pairs.left.tolist(), pairs.right.tolist()
    ([0, 2], [1, 3])
    >>> pairs.to_map(np.array([0.1, 0.2]))
    array([0.1, nan, 0.2, nan])
    """

    left: Indices
    right: Indices
    side: NDArray[np.int8]
    n_midline: int
    n_unpaired: int
    description: str

    def __post_init__(self) -> None:
        members = np.concatenate([self.left, self.right])
        if self.left.shape != self.right.shape or self.left.ndim != 1:
            raise ValueError(
                f"left has shape {self.left.shape} and right {self.right.shape}: give one homologue each"
            )
        if len(np.unique(members)) != len(members):
            raise ValueError("a target is in two pairs, or paired with itself: give each target once")
        if len(members) and (members.min() < 0 or members.max() >= len(self.side)):
            raise ValueError(
                f"left and right reach from {members.min()} to {members.max()}, but side has "
                f"{len(self.side)} targets: give columns of the scores"
            )

    @property
    def n_targets(self) -> int:
        """Targets of the maps these pairs are for."""
        return len(self.side)

    @property
    def n_pairs(self) -> int:
        """Pairs of homologous targets."""
        return len(self.left)

    @property
    def paired(self) -> Bools:
        """(n_targets,) bool: targets that have a homologue."""
        inside = np.zeros(self.n_targets, dtype=bool)
        inside[self.left] = inside[self.right] = True
        return inside

    def to_map(self, values: ArrayLike, *, both: bool = False) -> Float64:
        """Values of pairs as a map: on the left member of each pair, NaN elsewhere.

        Parameters
        ----------
        values : (..., n_pairs)
        both : bool
            On both members.

        Returns
        -------
        ndarray (..., n_targets) float64

        Raises
        ------
        ValueError
            The last axis of ``values`` is not the pairs.
        """
        given = np.asarray(values, dtype=np.float64)
        if given.ndim == 0 or given.shape[-1] != self.n_pairs:
            raise ValueError(
                f"values has shape {given.shape}; the last axis must be the {self.n_pairs} pairs"
            )
        out = np.full((*given.shape[:-1], self.n_targets), np.nan)
        out[..., self.left] = given
        if both:
            out[..., self.right] = given
        return out

    def symmetric(self, mask: ArrayLike, rule: Literal["both", "either"] = "both") -> Bools:
        """The mask with the same places on both sides.

        Parameters
        ----------
        mask : (n_targets,) bool
        rule : "both" or "either"
            Keep a pair when both of its members are inside, or when one is.

        Returns
        -------
        ndarray (n_targets,) bool
            Targets without a homologue are outside.

        Raises
        ------
        ValueError
            Another length, or another rule.
        """
        inside = check_mask(mask, self.n_targets)
        if rule not in ("both", "either"):
            raise ValueError(f"rule={rule!r}: give 'both' or 'either'")
        join = np.logical_and if rule == "both" else np.logical_or
        keep = join(inside[self.left], inside[self.right])
        out = np.zeros(self.n_targets, dtype=bool)
        out[self.left[keep]] = out[self.right[keep]] = True
        return out


def check_mask(mask: ArrayLike, n_targets: int, name: str = "mask") -> Bools:
    """The mask as bool (n_targets,).

    Raises
    ------
    ValueError
        Another shape, or numbers that are not bool (column numbers, for example).
    """
    inside = np.asarray(mask)
    if inside.shape != (n_targets,) or inside.dtype != bool:
        raise ValueError(
            f"{name} has shape {inside.shape} and dtype {inside.dtype}; give bool values of shape "
            f"({n_targets},), one per target"
        )
    return inside


def checked(found: Any) -> Hemispheres:
    """Pairs in the order of the left columns; says when most targets found no partner."""
    order = np.argsort(found.left, kind="stable")
    left, right = found.left[order].astype(np.intp), found.right[order].astype(np.intp)
    unpaired = len(found.side) - found.n_midline - 2 * len(left)
    if not len(left):
        raise ValueError(
            f"no target has a homologue ({len(found.side)} targets, {found.n_midline} on the midline, "
            f"{int((found.side < 0).sum())} left, {int((found.side > 0).sum())} right): the midline must be "
            "at x = 0, as in MNI space, and the mask must reach to both sides"
        )
    if unpaired > _MANY_UNPAIRED * len(found.side):
        text = (
            f"{unpaired} of {len(found.side)} targets have no homologue: is this MNI space, with the midline "
            "at x = 0, and does the mask reach to both sides?"
        )
        warnings.warn(text, ResponseWarning, stacklevel=4)
    return Hemispheres(left, right, found.side, found.n_midline, unpaired, found.description)

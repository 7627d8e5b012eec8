"""The targets of a fit, which are read and centred a tile at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floating = NDArray[Any]
ReadTargets = Callable[[int, int], Floating]


@dataclass
class Targets:
    """Targets read a tile of columns at a time.

    ``read(begin, end)`` gives (n_samples, end - begin); ``mean`` (float64) is taken off where there is an
    intercept; targets that are not ``valid`` are replaced by zeros, so the others see the same arithmetic
    whatever was masked.

    Attributes
    ----------
    n_samples, n_targets : int
    read : callable
        ``read(begin, end)`` gives the columns [begin, end), (n_samples, end - begin).
    mean : ndarray (n_targets,) float64
    valid : ndarray of bool (n_targets,)
    in_memory : bool
        False where they are read from a file.
    between_passes : callable, optional
        Called between two passes over the targets; raises where the data have changed.
    on_device : matrix of a CUDA device (n_samples, n_targets), optional
        The targets, where they lie there already.
    """

    n_samples: int
    n_targets: int
    read: ReadTargets
    mean: Floating
    valid: NDArray[np.bool_]
    in_memory: bool = True
    between_passes: Callable[[], None] | None = None  # raises where the data have changed
    on_device: Any = None

    def place(self, block: Floating, begin: int, end: int, out: Floating, centre: bool) -> Floating:
        """``block``, as it was read, into ``out``: centred, in its dtype, masked targets zero.

        Parameters
        ----------
        block : ndarray (n_rows, end - begin)
        begin, end : int
            The targets [begin, end).
        out : ndarray of the shape of ``block``
            Written to and returned.
        centre : bool
            Whether the mean is taken off.
        """
        if centre:
            np.subtract(block, self.mean[begin:end].astype(out.dtype), out=out, casting="same_kind")
        else:
            np.copyto(out, block, casting="same_kind")
        out[:, ~self.valid[begin:end]] = 0
        return out

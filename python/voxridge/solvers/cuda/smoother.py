"""What the leave-out routes ask of the matrix that smooths the targets, H, of every penalty."""

from __future__ import annotations

from typing import Any, Protocol

from voxridge.solvers.cuda.session import Array, Floating
from voxridge.solvers.cuda.target_tile import TargetTile


class Held(Protocol):
    """What smooths under a penalty when another one's factor has taken the memory."""

    alpha: float


class DeviceSmoother(Protocol):
    """See :class:`voxridge.solvers.leave_out.Smoother`; matrices are the device's."""

    norm: float  # at least the largest eigenvalue of K or G

    def set_penalty(self, alpha: float) -> None: ...

    def rest(self, rows: Array, out: Array) -> None:
        """``I - S_ff`` (m, m) float64 of the samples ``rows``, both triangles, into ``out``."""
        ...

    def diagonal(self) -> tuple[Floating, Floating]:
        """``h_ii`` and ``1 - s_ii`` of every sample, on the host."""
        ...

    def hold(self, dtype: Any) -> Held:
        """What smooths under the present penalty from now on; ``dtype`` is the most exact it will be asked
        for."""
        ...

    def smooth(self, held: Any, tile: TargetTile, dtype: Any, *, exact: bool) -> Array:
        """``H y`` (n, v) of the scaled tile, in ``dtype``; a buffer of the tile's. ``exact=False`` where the
        session's precision may round."""
        ...

    def weights(self, held: Any, tile: TargetTile, dtype: Any) -> Array:
        """Weights of the fit to the tile, (n, v) dual coefficients or (p, v) coefficients; a buffer of the
        tile's."""
        ...

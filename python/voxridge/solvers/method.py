"""What the driver of a cross-validated fit asks of a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.buffers import Buffers
from voxridge.solvers.weights import DualBasis

Floating = NDArray[Any]
Report = Callable[[str, float], None]


class Method(Protocol):
    """Scores in one or more passes over the targets, then weights.

    A pass covers some folds or some penalties; what ``score`` returns is added up over the passes.
    ``running``: the factors of a penalty are gone when its pass is over, so weights are made, in the pass,
    for the targets that its penalties suit best so far; such passes go from the largest penalty to the
    smallest, and targets whose penalty is of another pass may be given anything.
    ``dual``: weights are of samples (weights_size = n_samples), else of columns.
    """

    n_passes: int
    running: bool
    dual: bool
    buffers: Buffers  # what a tile is worked on in; methods that take turns may share them

    @property
    def weights_size(self) -> int: ...

    @property
    def weights_dtype(self) -> np.dtype[Any]: ...

    @property
    def n_dependent(self) -> int: ...

    @property
    def basis(self) -> DualBasis | None:
        """What the weights are components of, once the refit has begun; None where they are coefficients."""
        ...

    def begin(self, number: int, report: Report) -> None:
        """Make the factors of a pass."""
        ...

    def load(self, y: Any) -> None:
        """Take a tile of centred targets (n, v): an array, or for methods on a device a matrix there."""
        ...

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        """Indices of penalties, and their scores (n_indices, v) summed over this pass's folds and divided by
        the number of all folds. ``to_beat`` (v,) are the best scores of the passes before: running methods
        that compare penalties by rounded products need no exact ones of targets that are far below."""
        ...

    def begin_refit(self, alpha: float) -> None:
        """Make the factors of the refit, which for running methods is that of the targets with ``alpha``;
        not called where they refit in the pass."""
        ...

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        """Weights of the loaded tile into ``out`` (weights_size, v); returns what the mean prediction is,
        (v,)."""
        ...

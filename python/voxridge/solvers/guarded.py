"""Several methods in the same passes: one that fails drops out, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.method import Method, Report
from voxridge.solvers.trust import UntrustedFactor
from voxridge.solvers.weights import DualBasis
from voxridge.streams.atomic import atomic_path

Floating = NDArray[Any]


class AllFailed(Exception):
    """No method is left: the passes may stop. Each method has its own ``error``."""


class Guarded:
    """A :class:`~voxridge.solvers.method.Method` that keeps the LinAlgError of the one inside as ``error``.

    From then on it gives zeros, which nobody should use. ``marker`` is where the error is noted, so that a
    run that goes on from a checkpoint, whose tiles hold such zeros, knows. ``alive`` is shared by the methods
    of the same passes, and holds those that have not failed.
    """

    def __init__(self, method: Method, alive: set[int], marker: Path | None = None) -> None:
        self._method: Method | None = method
        self._marker, self._width = marker, 0
        self._alive = alive
        self.error: np.linalg.LinAlgError | None = None
        self.n_passes, self.running, self.dual = method.n_passes, method.running, method.dual
        self.weights_size, self.weights_dtype = method.weights_size, method.weights_dtype
        self.buffers = method.buffers
        if marker is not None and marker.exists():
            kind, _, message = marker.read_text().partition("\n")
            self.error = UntrustedFactor(message) if kind == "untrusted" else np.linalg.LinAlgError(message)
            self._method = None
        if self.error is None:
            alive.add(id(self))

    @property
    def n_dependent(self) -> int:
        return 0 if self._method is None else self._method.n_dependent

    @property
    def basis(self) -> DualBasis | None:
        return None if self._method is None else self._method.basis

    def begin(self, number: int, report: Report) -> None:
        self._stop_if_alone()
        with self._guard():
            if self._method is not None:
                self._method.begin(number, report)

    def load(self, y: Any) -> None:
        self._width = y.shape[1]
        with self._guard():
            if self._method is not None:
                self._method.load(y)

    def score(self, to_beat: Floating | None = None) -> tuple[NDArray[np.intp], Floating]:
        with self._guard():
            if self._method is not None:
                return self._method.score(to_beat)
        return np.zeros(1, dtype=np.intp), np.zeros((1, self._width))

    def begin_refit(self, alpha: float) -> None:
        with self._guard():
            if self._method is not None:
                self._method.begin_refit(alpha)

    def refit(self, alphas: Floating, out: Floating) -> Floating:
        with self._guard():
            if self._method is not None:
                return self._method.refit(alphas, out)
        out[...] = 0
        return np.zeros(out.shape[1])

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except np.linalg.LinAlgError as error:
            # Without its traceback, which would keep every matrix on the way alive, as the method would.
            self.error = type(error)(str(error))
            self._method = None
            self._alive.discard(id(self))
            self._note()
            self._stop_if_alone()

    def _note(self) -> None:
        if self._marker is None:
            return
        kind = "untrusted" if isinstance(self.error, UntrustedFactor) else "failed"
        with atomic_path(self._marker) as temporary:
            Path(temporary).write_text(f"{kind}\n{self.error}")

    def _stop_if_alone(self) -> None:
        if not self._alive:
            raise AllFailed

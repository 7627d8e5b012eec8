"""A delayed design whose features lie on a device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from voxridge.solvers.cuda.session import Floating, Session
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.rows import Ranges, check_delays, n_rows, run_offsets
from voxridge.streams.device_source import DeviceSource


class HeldDesign(DelayedDesign):
    """The device's routes use the features where they lie (``on_device``); the host has a copy once it asks
    for ``features``.

    Parameters
    ----------
    source : DeviceSource
    delays : sequence of int, in samples
    runs : sequence of int
    dtype : float32 or float64
        Of the design: where the source has another, its features are copied on the device.
    """

    def __init__(self, source: DeviceSource, delays: Sequence[int], runs: Sequence[int], dtype: Any) -> None:
        self._source = source
        self._shape = source.shape
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self.offsets = run_offsets(runs, source.shape[0])
        self.delays = check_delays(delays, np.diff(self.offsets).tolist())

    @cached_property
    def on_device(self) -> Any:
        """(n_samples, n_features), a matrix of the device."""
        there = self._source.on_device
        if self._source.dtype == self._dtype:
            return there
        cast = self._session.cast(there, self._dtype)
        self._session.queue.synchronize()
        return cast

    @cached_property
    def features(self) -> Floating:  # type: ignore[override]
        """A copy in the memory of the host."""
        return self._source.read().astype(self._dtype, copy=False)

    @cached_property
    def _session(self) -> Session:
        return Session(self._source.cuda.ops, self._source.cuda.number)

    @property
    def n_samples(self) -> int:
        return int(self._shape[0])

    @property
    def n_features(self) -> int:
        return int(self._shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def on_host(self) -> DelayedDesign:
        return DelayedDesign(self.features, self.delays, np.diff(self.offsets).tolist())

    # --- what the device's routes ask of the host's design: small results, made where the features are

    def sums(self, ranges: Ranges) -> Floating:
        session, out = self._session, self._session.empty((self.n_columns,), np.float64)
        session.ops.delayed_sums(self.on_device, self.offsets, ranges, self.delays, out, queue=session.queue)
        return session.down(out)

    def xty(self, y: Floating, ranges: Ranges, out: Floating | None = None) -> Floating:
        if "features" in vars(self):
            return super().xty(y, ranges, out)
        session = self._session
        made = session.empty((self.n_columns, y.shape[1]), y.dtype)
        session.ops.delayed_xty(
            self.on_device, session.up(y), self.offsets, ranges, self.delays, made, queue=session.queue
        )
        if out is None:
            return session.down(made)
        np.copyto(out, session.down(made))
        return out

    def xw(self, w: Floating, ranges: Ranges | None = None) -> Floating:
        if "features" in vars(self):
            return super().xw(w, ranges)
        session, rows = self._session, self.everything() if ranges is None else ranges
        made = session.empty((n_rows(rows), w.shape[1]), w.dtype)
        session.ops.delayed_xw(
            self.on_device, session.up(w), self.offsets, rows, self.delays, made, queue=session.queue
        )
        return session.down(made)

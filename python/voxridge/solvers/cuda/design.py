"""The delayed design on a device: its kernel, its Gram, and products with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxridge.solvers.bases import constant_direction, feature_means, products_with_mean
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.design import Design
from voxridge.solvers.rows import Ranges

GROUP_BYTES = 256 * 2**20  # of features that are sent to the device at a time


class DeviceDesign:
    """What the device's routes ask of a design. Features stay on the device once a Gram or a product has
    asked for them; a kernel takes them a group of columns at a time.

    Parameters
    ----------
    session : Session
    design : Design
        In memory or in a file.
    fit_intercept : bool
    root : ndarray (n_samples,), optional
        Roots of the sample weights.
    """

    def __init__(
        self, session: Session, design: Design, *, fit_intercept: bool, root: Floating | None = None
    ) -> None:
        self.session, self.host, self.root = session, design, root
        self.fit_intercept = fit_intercept
        self.x_mean = feature_means(design, root, fit_intercept)
        self.r = constant_direction(design, root, fit_intercept)
        self._features: Array = getattr(design, "on_device", None)
        self._runs = list(design.offsets)
        self._delays = list(design.delays)
        self._lookup: Any = None
        self._mean_rows: dict[np.dtype[Any], Array] = {}  # what weights are multiplied by, in their dtype

    def mean_prediction(self, weights: Array, *, dual: bool) -> Floating:
        """Weighted mean over the samples of ``X w``, (v,) float64, of dual weights (n, v) or coefficients
        (p, v)."""
        session, dtype = self.session, np.dtype(weights.dtype)
        if dtype not in self._mean_rows:
            row = products_with_mean(self.host, self.x_mean) if dual else self.x_mean
            self._mean_rows[dtype] = session.up(row[None], dtype)
        out = session.take("mean prediction", 1, weights.shape[1], dtype)
        session.matmul(self._mean_rows[dtype], weights, out)
        return np.asarray(session.down(out)[0], dtype=np.float64)

    # --- the kernel

    def centred_kernel(self) -> Array:
        """``R (K - 1 m' - m 1' + c) R`` (n, n) float64: see :func:`voxridge.solvers.bases.centred_kernel`."""
        kernel = self.kernel()
        session, n = self.session, self.host.n_samples
        root = None if self.root is None else session.up(self.root)
        mean, grand = np.zeros(n), 0.0
        if self.fit_intercept:
            weights = np.full(n, 1.0) if self.root is None else self.root**2
            mean_row = session.empty((1, n), np.float64)
            session.matmul(session.up(weights[None] / weights.sum()), kernel, mean_row)
            mean = session.down(mean_row)[0]
            grand = float(weights @ mean) / float(weights.sum())
        if self.fit_intercept or root is not None:
            session.ops.centre_kernel(kernel, session.up(mean), grand, root, queue=session.queue)
        return kernel

    def kernel(self) -> Array:
        """``X X'`` (n, n) float64."""
        session, n = self.session, self.host.n_samples
        kernel = session.empty((n, n), np.float64)
        begun = False
        for group in self._groups():
            session.ops.base_kernel(group, kernel, begun, queue=session.queue)
            begun = True
        session.ops.shift_kernel(kernel, self._runs, self._runs, self._delays, True, queue=session.queue)
        return kernel

    def _groups(self) -> Any:
        """The features on the device, some columns at a time."""
        if self._features is not None:
            yield self._features
            return
        session, n = self.session, self.host.n_samples
        step = max(1, GROUP_BYTES // max(1, n * self.host.dtype.itemsize))
        for group in self.host.column_groups():
            for begin in range(0, group.shape[1], step):
                part = group[:, begin : begin + step]
                there = session.take("features", n, part.shape[1], part.dtype)
                session.ops.upload(part, there, session.queue)
                yield there
                session.queue.synchronize()  # its memory is for the next one

    # --- features on the device

    @property
    def features(self) -> Array:
        """(n_samples, n_features before delays)."""
        if self._features is None:
            session, host = self.session, self.host
            self._features = session.empty((host.n_samples, host.n_features), host.dtype)
            begin = 0
            for group in host.column_groups():
                end = begin + group.shape[1]
                session.ops.upload(group, self._features[:, begin:end], session.queue)
                session.queue.synchronize()
                begin = end
        return self._features

    def gram(self, ranges: Ranges) -> Array:
        """``X[rows]' X[rows]`` (p, p) float64."""
        session, p = self.session, self.host.n_columns
        gram = session.empty((p, p), np.float64)
        session.ops.delayed_gram(self.features, self._runs, ranges, self._delays, gram, queue=session.queue)
        return gram

    def sums(self, ranges: Ranges) -> Floating:
        """(p,) float64 on the host: the sum of the rows ``ranges`` of the design."""
        session = self.session
        out = session.empty((self.host.n_columns,), np.float64)
        session.ops.delayed_sums(self.features, self._runs, ranges, self._delays, out, queue=session.queue)
        return session.down(out)

    def xty(self, y: Array, ranges: Ranges, out: Array) -> Array:
        """``X[rows]' y[rows]`` (p, v) in the dtype of ``y``, which has all rows."""
        self.session.ops.delayed_xty(
            self.features, y, self._runs, ranges, self._delays, out, queue=self.session.queue
        )
        return out

    def xw(self, w: Array, ranges: Ranges, out: Array) -> Array:
        """``X[rows] w`` (n_rows, k) in the dtype of ``w``."""
        self.session.ops.delayed_xw(
            self.features, w, self._runs, ranges, self._delays, out, queue=self.session.queue
        )
        return out

    def columns(self, rows: Array, name: str) -> Array:
        """``X_c'`` (p, m) float64 of the samples ``rows``: scaled by the roots of their weights, and centred
        where there is an intercept. A buffer called ``name``."""
        session, p = self.session, self.host.n_columns
        if self._lookup is None:
            lengths = np.diff(self._runs)
            begins, ends = np.repeat(self._runs[:-1], lengths), np.repeat(self._runs[1:], lengths)
            mean = session.up(self.x_mean) if self.fit_intercept else None
            root = None if self.root is None else session.up(self.root)
            self._lookup = (session.rows(begins), session.rows(ends), session.rows(self._delays), mean, root)
        out = session.take(name, p, rows.shape[0], np.float64)
        session.ops.design_columns(self.features, rows, *self._lookup, out, queue=session.queue)
        return out

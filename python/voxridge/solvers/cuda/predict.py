"""Predictions made on a device, a tile of targets at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from voxridge._dispatch import CudaDevice
from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.weights import DualWeights, PrimalWeights, Weights

_ROOM = 0.8  # of the device's free memory, for all
_FREE_SHARE = 0.5  # of the device's memory, for tiles
_MOST_BYTES = 256 * 2**20  # of the coefficients of a tile
_WIDTHS = 512  # tiles of targets are multiples of it

Place = Callable[[int, int], Array]


def can_predict(weights: Weights) -> bool:
    """Whether the weights are of a kind that the device predicts with: features that a fit was trained on
    must lie in memory."""
    if isinstance(weights, DualWeights):
        return isinstance(weights.train, DelayedDesign)
    return isinstance(weights, PrimalWeights)


def has_room(cuda: CudaDevice, weights: Weights, design: DelayedDesign) -> bool:
    """Whether features, kernels and the narrowest tile fit what is free of the device's memory."""
    size, n = weights.matrix.shape[0], design.n_samples
    item = weights.matrix.dtype.itemsize
    needed = n * design.n_features * design.dtype.itemsize + (size + 2 * n) * _WIDTHS * item
    if isinstance(weights, DualWeights):
        train, longest = weights.train, max(end - begin for begin, end in pairwise(design.offsets))
        needed += train.n_samples * train.n_features * train.dtype.itemsize + n * size * item
        needed += 8 * train.n_samples * (2 * longest + (0 if weights.basis is None else size))
    return needed < _ROOM * int(cuda.ops.devices()[cuda.number]["free_bytes"])


class DevicePredictor:
    """``X W + intercept`` for the samples of one design.

    Parameters
    ----------
    cuda : CudaDevice
    weights : Weights
        As `can_predict` wants them.
    design : DelayedDesign
        The new features: ``on_device`` of it is used where it has that.
    intercept : ndarray (n_targets,)
        Its dtype is that of the predictions.
    """

    def __init__(self, cuda: CudaDevice, weights: Any, design: DelayedDesign, intercept: Floating) -> None:
        self.session = Session(cuda.ops, cuda.number)
        self.weights, self.design, self.intercept = weights, design, intercept
        self._cuda = cuda
        self._features = features_of(design, self.session)

    def whole(self) -> Array:
        """All predictions (n_samples, n_targets), on the device."""
        session = self.session
        out = session.empty((self.design.n_samples, self.intercept.size), self.intercept.dtype)
        for _ in self._tiles(lambda begin, end: out[:, begin:end]):
            pass
        session.queue.synchronize()
        return out

    def tiles(self) -> Iterator[tuple[int, int, Floating]]:
        """(begin, end, (n_samples, end - begin)) over the targets, on the host. A tile's memory is for the
        next one."""
        session, n = self.session, self.design.n_samples

        def place(begin: int, end: int) -> Array:
            return session.take("predictions", n, end - begin, self.intercept.dtype)

        for begin, end, there in self._tiles(place):
            here = session.take_pinned("predictions", n, end - begin, there.dtype)
            session.ops.download(there, here, session.queue)
            session.queue.synchronize()
            yield begin, end, here

    def _tiles(self, place: Place) -> Iterator[tuple[int, int, Array]]:
        session, matrix = self.session, self.weights.matrix
        left = self._left()
        ones = session.up(np.ones(self.design.n_samples))
        intercept = session.up(self.intercept, np.float64)
        size, n_targets = matrix.shape
        width = self._width(size + (2 if self._narrowed else 1) * self.design.n_samples)
        for begin in range(0, n_targets, width):
            end = min(begin + width, n_targets)
            block = np.ascontiguousarray(matrix.read(begin, end))
            w = session.take("coefficients", size, end - begin, matrix.dtype)
            session.ops.upload(block, w, session.queue)
            out = place(begin, end)
            made = out
            if self._narrowed:
                made = session.take("wide predictions", out.shape[0], out.shape[1], matrix.dtype)
            if left is None:
                self._delayed(w, made)
            else:
                session.matmul(left, w, made)
            session.ops.rank_one(made, 1.0, ones, intercept[begin:end], queue=session.queue)
            if made is not out:
                session.ops.accumulate(1.0, made, 0.0, out, queue=session.queue)
            yield begin, end, out

    @property
    def _narrowed(self) -> bool:
        """Whether dual coefficients are more exact than the predictions."""
        return bool(self.weights.matrix.dtype != self.intercept.dtype)

    def _width(self, rows: int) -> int:
        free = int(self._cuda.ops.devices()[self._cuda.number]["free_bytes"])
        most = min(_MOST_BYTES, int(_FREE_SHARE * free))
        per_target = max(1, rows * int(self.weights.matrix.dtype.itemsize))
        return max(_WIDTHS, most // per_target // _WIDTHS * _WIDTHS)

    def _delayed(self, w: Array, out: Array) -> None:
        design, session = self.design, self.session
        session.ops.delayed_xw(
            self._features,
            w,
            design.offsets,
            design.everything(),
            design.delays,
            out,
            queue=session.queue,
        )

    # --- dual weights

    def _left(self) -> Array | None:
        """What the matrix of dual weights is multiplied by, (n_samples, n_train or components) in its dtype:
        run by run, only one run's is ever in float64. None for coefficients."""
        if not isinstance(self.weights, DualWeights):
            return None
        session, weights, design = self.session, self.weights, self.design
        train = weights.train
        assert isinstance(train, DelayedDesign)
        known = features_of(train, session)
        vectors = None if weights.basis is None else session.up(weights.basis.vectors, np.float64)
        left = session.empty((design.n_samples, weights.matrix.shape[0]), weights.matrix.dtype)
        for begin, end in pairwise(design.offsets):
            kernel = session.take("kernel", end - begin, train.n_samples, np.float64)
            part = self._features[begin:end]
            session.ops.base_cross_kernel(part, known, kernel, queue=session.queue)
            session.ops.shift_kernel(
                kernel, [0, end - begin], train.offsets, train.delays, False, queue=session.queue
            )
            if vectors is not None:
                kernel = self._turned(kernel, vectors)
            session.ops.accumulate(1.0, kernel, 0.0, left[begin:end], queue=session.queue)
        return left

    def _turned(self, kernel: Array, vectors: Array) -> Array:
        """See :meth:`voxridge.solvers.weights.DualBasis.turn`."""
        session, basis = self.session, self.weights.basis
        n = kernel.shape[0]
        if basis.root is not None:
            session.ops.scale(kernel, None, session.up(basis.root, np.float64), queue=session.queue)
        if basis.r is not None:
            r = session.up(basis.r[None], np.float64)
            along = session.take("along", n, 1, np.float64)
            session.matmul(kernel, r, along, trans_b=True)
            session.ops.rank_one(kernel, -1.0, along.reshape(1, n)[0], r[0], queue=session.queue)
        out = session.take("components", n, vectors.shape[0], np.float64)
        return session.matmul(kernel, vectors, out, trans_b=True)


def features_of(design: DelayedDesign, session: Session) -> Array:
    """The features on the session's device."""
    there = getattr(design, "on_device", None)
    if there is None or there.device != session.device:
        return session.up(design.features)
    return there

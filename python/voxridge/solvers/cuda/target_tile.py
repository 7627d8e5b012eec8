"""A tile of centred targets on a device, in the forms that scores and weights are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.cuda.session import Array, Floating, Session
from voxridge.solvers.heldout import TargetMoments
from voxridge.solvers.leave_out import HeldOut


@dataclass(frozen=True)
class DeviceSet:
    """One held-out set: its rows, and the scored ones among them, on the host and on the device.

    ``weights`` and ``unscale`` (1 / root) are of the scored rows, None for unweighted samples.
    """

    held: HeldOut
    n_scored: int
    rows: Array  # (T_f,) samples
    scored: Array  # (S_f,) samples
    places: Array | None  # (S_f,) of the scored rows among the set's; None where all are scored
    held_weights: Array | None  # (T_f,)
    weights: Array | None  # (S_f,)
    unscale: Array | None  # (S_f,)
    r: Array | None  # (T_f,) of the constant direction, None without an intercept


def device_sets(
    session: Session, sets: Sequence[HeldOut], root: Floating | None, r: Floating | None
) -> list[DeviceSet]:
    """The sets of a fit, sent to the device once."""
    found = []
    for held in sets:
        scored = held.rows[held.scored]
        weights = None if root is None else root**2
        found.append(
            DeviceSet(
                held=held,
                n_scored=int(scored.size),
                rows=session.rows(held.rows),
                scored=session.rows(scored),
                places=None if isinstance(held.scored, slice) else session.rows(held.scored),
                held_weights=None if weights is None else session.up(weights[held.rows]),
                weights=None if weights is None else session.up(weights[scored]),
                unscale=None if root is None else session.up(reciprocal(root[scored])),
                r=None if r is None else session.up(r[held.rows]),
            )
        )
    return found


def reciprocal(root: Floating) -> Floating:
    """1 / root, and 0 for samples of no weight."""
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


class TargetTile:
    """``y`` (n, v) about the weighted means of the samples.

    Parameters
    ----------
    session : Session
    y : matrix on the device (n, v)
        Centred by the unweighted means where there is an intercept; only read.
    root : ndarray (n,), optional
        Roots of the sample weights.
    name : str
        Of the buffers: two tiles of different names live side by side.
    """

    def __init__(
        self, session: Session, y: Array, *, root: Floating | None, fit_intercept: bool, name: str = ""
    ) -> None:
        self.session, self.name, self.fit_intercept = session, name, fit_intercept
        self.n, self.width = y.shape
        self.dtype = np.dtype(y.dtype)
        self.host_root = root
        self.root = None if root is None else session.up(root)
        self.weights = None if root is None else session.up(root**2)
        self.total = float(self.n if root is None else root @ root)
        self.mean = np.zeros(self.width)
        self.y = y
        if root is not None and fit_intercept:
            self.mean = self._sums()[0] / self.total
            self.y = self.take("centred", self.n, self.dtype)
            self._move(y, session.up(self.mean.astype(self.dtype)), None, self.y)
        self._forms: dict[tuple[str, np.dtype[Any]], Array] = {("y", self.dtype): self.y}
        self.sums, self.squares = self._sums()
        # What a smoother has left in the tile's buffers "products" and "coefficients".
        self.has_products = False
        self.coefficients_of: Any = None

    def take(self, what: str, rows: int, dtype: Any) -> Array:
        """A buffer as wide as the tile."""
        return self.session.take(f"{what}{self.name}", rows, self.width, dtype)

    def cast(self, a: Array, what: str, dtype: Any) -> Array:
        """``a`` in ``dtype``: itself, or a buffer of the tile's."""
        return self.session.cast(a, dtype, f"{what}{self.name}")

    def columns(self, which: NDArray[np.intp], name: str) -> TargetTile:
        """Some of the targets as a tile of their own."""
        index = self.session.rows(which)
        part = self.session.take(f"y{name}", self.n, which.size, self.dtype)
        self.session.ops.take_columns(self.y, index, part, queue=self.session.queue)
        tile = TargetTile(
            self.session, part, root=self.host_root, fit_intercept=self.fit_intercept, name=name
        )
        tile.mean = self.mean[which]
        return tile

    # --- forms

    def as_type(self, dtype: Any) -> Array:
        """The targets in ``dtype``."""
        return self._form("y", dtype)

    def scaled(self, dtype: Any) -> Array:
        """The targets in the coordinates of the sample weights."""
        return self._form("y" if self.root is None else "scaled", dtype)

    def _form(self, what: str, dtype: Any) -> Array:
        key = what, np.dtype(dtype)
        if key not in self._forms:
            out = self.take(what, self.n, dtype)
            if what == "scaled":
                self._move(self.as_type(dtype), None, self.root, out)
            else:
                self.session.ops.accumulate(1.0, self.y, 0.0, out, queue=self.session.queue)
            self._forms[key] = out
        return self._forms[key]

    def _move(self, y: Array, mean: Array | None, root: Array | None, out: Array) -> None:
        self.session.ops.moved_rows(y, mean, root, None, None, out, queue=self.session.queue)

    # --- sums

    def _sums(self, rows: Array | None = None, weights: Array | None = None) -> Floating:
        """Weighted sums and sums of squares (2, v) over some rows."""
        moments = self._queue_sums(1, [(rows, self.weights if rows is None else weights)])
        return self.session.down(moments)[:2]

    def _queue_sums(self, count: int, parts: list[tuple[Array | None, Array | None]]) -> Array:
        session = self.session
        moments = self.take("moments of targets", 3 * count, np.float64)
        session.ops.zero(moments, session.queue)
        for number, (rows, weights) in enumerate(parts):
            own = moments[3 * number : 3 * number + 3]
            session.ops.product_moments(self.y, self.y, rows, weights, own, queue=session.queue)
        return moments

    def moments_of(self, sets: Sequence[DeviceSet]) -> list[TargetMoments]:
        """Of every set, over its scored rows, with its training mean."""
        parts = []
        for one in sets:
            parts += [(one.rows, one.held_weights), (one.scored, one.weights)]
        found = self.session.down(self._queue_sums(len(parts), parts)).reshape(len(parts), 3, self.width)
        moments = []
        for number, one in enumerate(sets):
            held, scored = found[2 * number], found[2 * number + 1]
            mean = np.zeros(self.width)
            if self.fit_intercept:
                mean = (self.sums - held[0]) / (self.total - self._weight(one.held.rows))
            count = self._weight(one.held.rows[one.held.scored])
            moments.append(TargetMoments(count, scored[0], scored[1], mean))
        return moments

    def training_means(self, moments: Sequence[TargetMoments], dtype: Any) -> Array:
        """Those of every set (n_sets, v), on the device in ``dtype``; ``moments`` are :meth:`moments_of`."""
        key = "training means", np.dtype(dtype)
        if key not in self._forms:
            out = self.take("training means", len(moments), dtype)
            means = np.stack([of_set.train_mean for of_set in moments]).astype(dtype)
            self.session.ops.upload(means, out, self.session.queue)
            self._forms[key] = out
        return self._forms[key]

    @cached_property
    def sums_there(self) -> Array:
        """``sums`` on the device."""
        return self.session.up(self.sums)

    @cached_property
    def along_r(self) -> Array:
        """``r'y`` (v,) of the scaled tile, r the unit constant direction: sums of w y over the root of those
        of w."""
        return self.session.up(self.sums / np.sqrt(self.total))

    def _weight(self, rows: NDArray[np.intp]) -> float:
        root = self.host_root
        return float(rows.size if root is None else root[rows] @ root[rows])

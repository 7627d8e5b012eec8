"""QR of a tall matrix that arrives in blocks of rows, and its singular values to high relative accuracy.

Blocks are folded one after the other into the triangle R (sequential tall-skinny QR); memory is one block and
R, whatever the number of rows. Each block's reflectors can be kept, in the block's place, to form the
orthogonal factor later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.linalg import matmul

Floating = NDArray[Any]
Place = list[tuple[slice, slice]]  # rows of a block, and which rows of the whole they are

EPS = float(np.finfo(np.float64).eps)
PANEL = 32  # columns per reflector block: the fastest of 16, 32, 64 at orders 500 to 2000
_LARGEST_32_BIT = 23_168  # dgesdd's workspace of 4 k^2 + 7 k must be a 32-bit integer

# Within a block of this range dgesdd, which is accurate to eps times the largest, keeps 12 digits of all.
_RANGE = 1e-4


class SequentialQR:
    """R (width, width) of the rows added so far: ``rows = Q R``, Q with orthonormal columns.

    Blocks are gathered until they have ``width`` rows; from there on each is folded into R by itself. (To
    start from R = 0 would add ``width`` rows of zeros to the matrix, and columns of Q that belong to small
    singular values would stray into them.) With ``n_rows``, the reflectors are kept in one (width, n_rows)
    matrix, in which :meth:`unfold` puts the vectors in their place: nothing is held twice.

    References
    ----------
    Demmel, Grigori, Hoemmen, Langou (2012), Communication-optimal parallel and sequential QR and LU
    factorizations, SIAM J. Sci. Comput. 34(1), A206-A239.
    """

    def __init__(self, width: int, n_rows: int | None = None) -> None:
        self.width = width
        self._r: Floating | None = None
        self._first: Floating | None = None  # the rows gathered so far
        self._gathered: Place = []  # where they belong
        self._tau: Floating = np.empty(0)
        self._folded: list[tuple[Place, Floating]] = []  # the other blocks: places and factors
        self._store = None if n_rows is None else np.empty((width, n_rows))

    @property
    def r(self) -> Floating:
        assert self._r is not None, f"fewer than {self.width} rows were added"
        return self._r

    def add(self, block: Floating, place: Place) -> None:
        """Fold in ``block`` (c, width), float64 with contiguous columns, which is overwritten. Its rows are
        those of ``place`` in the whole. All blocks but the last have the same c, which the last does not
        exceed."""
        if self._r is None:
            self._gather(block, place)
            return
        from scipy.linalg.lapack import dtpqrt

        panel = min(PANEL, self.width)
        self._r, reflectors, factors, info = dtpqrt(0, panel, self._r, block, overwrite_a=1, overwrite_b=1)
        assert info == 0
        if self._store is not None:
            _put(self._store, reflectors, place)
            self._folded.append((place, factors))

    def _gather(self, block: Floating, place: Place) -> None:
        rows, done = block.shape[0], _height(self._gathered)
        self._gathered += [(slice(done + here.start, done + here.stop), there) for here, there in place]
        if not done and rows >= self.width:
            self._first = block
        else:
            if self._first is None:
                self._first = np.empty((-(-self.width // rows) * rows, self.width), order="F")
            self._first[done : done + rows] = block
        if done + rows >= self.width:
            self._start(self._first[: done + rows])

    def _start(self, first: Floating) -> None:
        from scipy.linalg.lapack import dgeqrf

        self._first = None
        first, self._tau, _, info = dgeqrf(first, lwork=PANEL * self.width, overwrite_a=1)
        assert info == 0
        self._r = np.asfortranarray(np.triu(first[: self.width]))
        if self._store is not None:
            _put(self._store, first, self._gathered)

    def unfold(self, top: Floating) -> Floating:
        """``(Q top)'`` (k, n_rows), for ``top`` (width, k); once, since it takes the place of the reflectors.

        Orthonormal columns of ``top`` give orthonormal rows, to rounding.
        """
        from scipy.linalg.lapack import dormqr, dtpmqrt

        store = self._store
        assert store is not None, "the reflectors were not kept"
        carry = np.array(top, dtype=np.float64, order="F")
        k = carry.shape[1]
        while self._folded:
            place, factors = self._folded.pop()
            block = np.zeros((_height(place), k), order="F")
            carry, block, info = dtpmqrt(
                0, _get(store, place), factors, carry, block, overwrite_a=1, overwrite_b=1
            )
            assert info == 0
            _put(store, block, place)
        block = np.zeros((_height(self._gathered), k), order="F")
        block[: self.width] = carry
        first = _get(store, self._gathered)
        block, _, info = dormqr("L", "N", first, self._tau, block, max(1, PANEL * k), overwrite_c=1)
        assert info == 0
        _put(store, block, self._gathered)
        self._store = None
        return store[:k] if 2 * k > self.width else store[:k].copy()


def _height(place: Place) -> int:
    return sum(here.stop - here.start for here, _ in place)


def _put(store: Floating, block: Floating, place: Place) -> None:
    for here, there in place:
        store[: block.shape[1], there] = block[here].T


def _get(store: Floating, place: Place) -> Floating:
    block = np.empty((_height(place), store.shape[0]), order="F")
    for here, there in place:
        block[here] = store[:, there].T
    return block


def dense_svd(a: Floating) -> tuple[Floating, Floating, Floating]:
    """``(u, s, vt)`` of a square matrix; singular values to rounding of the largest."""
    from scipy.linalg import svd

    if a.shape[0] > _LARGEST_32_BIT:
        return _wide_integer_svd(a)
    u, s, vt = svd(a, check_finite=False)
    return u, s, vt


def _wide_integer_svd(a: Floating) -> tuple[Floating, Floating, Floating]:
    """The same from numpy's LAPACK, whose integers have 64 bits in the wheels of 64-bit systems."""
    built: Any = np.show_config(mode="dicts")
    if "USE64BITINT" not in str(built):
        raise OverflowError(
            f"the SVD of order {a.shape[0]} is beyond 32-bit LAPACK (order {_LARGEST_32_BIT}), and this "
            "numpy was built without 64-bit integers; give n_components, or choose another solver"
        )
    u, s, vt = np.linalg.svd(a)
    return u, s, vt


def graded_svd(r: Floating) -> tuple[Floating, Floating, Floating]:
    """``(u, s, v)`` of ``r`` whose columns are already nearly orthogonal and fall in length, ``r ~ u s v'``.

    A QR and an LQ of such a matrix leave a nearly diagonal one, which falls apart into diagonal blocks: what
    couples two blocks is a rounding error of the larger over the ratio of the two. Cut where the gap is
    largest after three decades, each block's singular values come with 12 digits, whatever their size
    relative to those of other blocks.

    References
    ----------
    Stewart (1999), The QLP approximation to the singular value decomposition, SIAM J. Sci. Comput. 20(4).
    """
    from scipy.linalg import qr

    order = r.shape[0]
    right, lower_t = qr(r.T, check_finite=False)  # r = lower right'
    u, s = np.zeros((order, order)), np.empty(order)
    for begin, end in _decades(np.abs(lower_t.diagonal())):
        part = slice(begin, end)
        u[part, part], s[part], vt = dense_svd(lower_t[part, part].T)
        right[:, part] = right[:, part] @ vt.T
    falling = np.argsort(-s, kind="stable")
    return u[:, falling], s[falling], right[:, falling]


def _decades(sizes: Floating) -> Iterator[tuple[int, int]]:
    """Ranges of nearly falling ``sizes``, each of at most four decades, cut at the largest gap in the
    fourth."""
    begin, last = 0, sizes.size
    while begin < last:
        if sizes[begin] == 0.0:
            yield begin, last
            return
        relative = sizes[begin:] / sizes[begin]
        below = np.flatnonzero(relative < _RANGE)
        stop = int(below[0]) if below.size else relative.size
        if stop == relative.size:
            yield begin, last
            return
        first = int(np.flatnonzero(relative[: stop + 1] < 10 * _RANGE)[0])
        at = np.arange(first, stop + 1)
        gaps = relative[at - 1] / np.maximum(relative[at], np.finfo(np.float64).tiny)
        end = begin + int(at[np.argmax(gaps)])
        yield begin, end
        begin = end


class SplitProduct:
    """``a @ v`` for a fixed ``v`` (p, k) with entries up to 1, to an absolute error far below float64's.

    Both factors are split in a part of few leading bits and the rest. The product of the leading parts is
    exact in float64; the two others are smaller by those bits, and their rounding with them. With p = 1000
    the error is 2^-74 of ``max |a_i|`` per term, where a plain product has 2^-53.

    References
    ----------
    Ozaki, Ogita, Oishi, Rump (2012), Error-free transformations of matrix multiplication by using fast
    routines of matrix multiplication and its applications, Numer. Algorithms 59, 95-118.
    """

    def __init__(self, v: Floating) -> None:
        self.bits = int((53 - np.ceil(np.log2(max(2, v.shape[0])))) // 2)
        self.v = np.ascontiguousarray(v)
        self.high = self.v.copy()
        self.low = _split(self.high, self.bits, np.abs(self.v).max(axis=0, initial=0.0))

    @property
    def error(self) -> float:
        """Bound on the error of one entry, relative to (largest entry of the row) times p."""
        return float(2.0 ** -(self.bits + 51))

    def __call__(self, a: Floating) -> Floating:
        """``a @ v`` (c, k) with contiguous columns, for ``a`` (c, p) with contiguous columns; ``a`` is
        overwritten."""
        a_t = a.T  # contiguous rows: what matmul wants
        rest_t = _split(a_t, self.bits, np.maximum(a_t.max(axis=0), -a_t.min(axis=0)))
        small_t = matmul(self.v, rest_t, trans_a=True)
        del rest_t
        matmul(self.low, a_t, trans_a=True, out=small_t, beta=1.0)
        out_t = matmul(self.high, a_t, trans_a=True)  # on its own: every partial sum is exact
        out_t += small_t
        return out_t.T


def _split(a: Floating, bits: int, largest: Floating) -> Floating:
    """Leave in ``a`` the leading ``bits`` of each entry relative to ``largest`` (of its column), return the
    rest."""
    exponent = np.frexp(largest)[1]
    anchor = np.ldexp(1.5, exponent - bits + 52)
    rest = a.copy()
    a += anchor  # rounds to multiples of 2^(exponent - bits)
    a -= anchor
    rest -= a
    return rest

"""One decomposition of a centred design that serves every penalty: eigenvectors of Xt'Xt or Xt Xt', or an SVD
of Xt.

With Xt = U S V' and l = s^2, the ridge weights for any alpha are W = V (s U'Yt / (l + alpha)). Three ways to
get them:

* primal, V from Xt'Xt:   g = V'(Xt'Yt),  W = V (g / (l + alpha))
* dual,   U from Xt Xt':  g = U'Yt,       W = Xt' U (g / (l + alpha))
* svd,    U, S, V of Xt:  g = s (U'Yt),   W = V (g / (l + alpha)); the condition number is not squared

A dual basis may be given V = Xt' U / s, too, and then works as an SVD does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.solvers.dense import Centred, Float64Array, FloatArray, blocks
from voxridge.solvers.linalg import eigh, matmul
from voxridge.solvers.trust import MAX_FLOAT32_CONDITION

Kind = Literal["primal", "dual", "svd"]
F64: np.dtype[Any] = np.dtype(np.float64)

_COLUMNS = 512  # of the design that are turned at a time: small enough for the heap to reuse


@dataclass(frozen=True)
class EigenBasis:
    """Squared singular values (k,) float64 and the vectors of one side or both, as rows.

    ``left_t`` (k, n) holds U', ``right_t`` (k, p) holds V', both in the precision of the wide products;
    primal has no ``left_t``, and dual no ``right_t`` unless it was asked for. ``values`` are >= 0. With an
    intercept, ``left_t`` of the dual and of the SVD leaves out the direction that centring removes, exactly;
    where n - 1 <= p it spans the other n - 1.
    """

    x: Centred
    kind: Kind
    values: Float64Array
    left_t: FloatArray | None
    right_t: FloatArray | None

    @property
    def dtype(self) -> np.dtype[Any]:
        vectors = self.left_t if self.right_t is None else self.right_t
        assert vectors is not None
        return vectors.dtype

    def astype(self, dtype: np.dtype[Any]) -> EigenBasis:
        """The same basis with its vectors in ``dtype``."""
        left = None if self.left_t is None else self.left_t.astype(dtype, copy=False)
        right = None if self.right_t is None else self.right_t.astype(dtype, copy=False)
        return replace(self, left_t=left, right_t=right)

    def narrowed(self, dtype: np.dtype[Any], smallest_alpha: float, n_targets: int) -> EigenBasis:
        """The basis in ``dtype`` where products with so many targets may run in it, else in float64.

        X'Y (primal) and X'(dual weights) hold the strong directions of X times large singular values and the
        weak ones times small ones; float32 rounds all of them at the level of the first. Both sides' vectors
        keep the directions apart, as an SVD's do; the dual's cost a product, which many targets repay.
        """
        total = self.values + smallest_alpha
        if total.max(initial=0.0) <= MAX_FLOAT32_CONDITION * total.min(initial=np.inf) or self.kind == "svd":
            return self.astype(dtype)
        if dtype == F64 or self.kind == "primal" or n_targets < self.x.shape[1]:
            return self
        return self._with_both_sides(dtype)

    def _with_both_sides(self, dtype: np.dtype[Any]) -> EigenBasis:
        """A dual basis in ``dtype`` with V = Xt' U / s, formed in float64; zero where s is rounding."""
        assert self.left_t is not None
        root = np.sqrt(self.values)
        usable = self.values > np.finfo(np.float64).eps * self.values.max(initial=0.0)
        scale = np.divide(1.0, root, out=np.zeros_like(root), where=usable)
        right_t = np.empty((self.values.size, self.x.shape[1]), dtype=dtype)
        for columns in blocks(self.x.shape[1], _COLUMNS):
            block = matmul(self.left_t, self.x.block(slice(None), columns, F64))
            np.multiply(block, scale[:, None], out=right_t[:, columns], casting="same_kind")
        return replace(self, left_t=self.left_t.astype(dtype), right_t=right_t)

    def project(self, yt: FloatArray) -> FloatArray:
        """g of the module's table, (k, v), for centred responses yt (n, v)."""
        if self.kind == "primal":
            assert self.right_t is not None
            return matmul(self.right_t, self.x.transpose_times(yt))
        assert self.left_t is not None
        g = matmul(self.left_t, yt)
        if self.right_t is not None:
            g *= np.sqrt(self.values).astype(g.dtype)[:, None]
        return g

    def inverse(self, alphas: Float64Array) -> Float64Array:
        """1 / (l + alpha), (k, len(alphas)); 0 where both vanish, which gives the solution of least norm."""
        total = self.values[:, None] + alphas[None, :]
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)

    def weights(self, scaled: FloatArray) -> FloatArray:
        """W' (v, p) from g / (l + alpha) (k, v)."""
        if self.right_t is not None:
            return matmul(scaled, self.right_t, trans_a=True)
        assert self.left_t is not None
        return self.x.times_transposed(matmul(self.left_t, scaled, trans_a=True))

    def features(self, rows: FloatArray) -> FloatArray:
        """Phi (m, k) of new raw rows (m, p): their predictions are Phi (g / (l + alpha)) + the training
        mean."""
        mean = self.x.mean
        new = Centred(rows, mean, None)
        if self.right_t is not None:
            return matmul(new.whole(self.dtype), self.right_t, trans_b=True)
        assert self.left_t is not None
        kernel = np.zeros((rows.shape[0], self.x.shape[0]), dtype=self.dtype)
        for columns in self.x.column_blocks():
            train = self.x.block(slice(None), columns, self.dtype)
            matmul(new.columns(columns, self.dtype), train, trans_b=True, out=kernel, beta=1.0)
        return matmul(kernel, self.left_t, trans_b=True)

    def left(self) -> FloatArray:
        """U' (k, n); rows of directions that carry no signal (l <= eps max l) are zero."""
        if self.left_t is not None:
            return self.left_t
        assert self.right_t is not None
        usable = self.values > np.finfo(np.float64).eps * self.values.max(initial=0.0)
        scale = np.divide(1.0, np.sqrt(self.values), out=np.zeros_like(self.values), where=usable)
        out = np.empty((self.values.size, self.x.shape[0]), dtype=self.dtype)
        for rows in self.x.row_blocks():
            block = self.x.block(rows, slice(None), self.dtype)
            out[:, rows] = matmul(self.right_t, block, trans_b=True)
        out *= scale.astype(self.dtype)[:, None]
        return out


def decompose(
    x: Centred,
    *,
    smallest_alpha: float,
    mode: Literal["auto", "eigen", "svd"] = "auto",
) -> EigenBasis:
    """The eigenbasis of a centred design, in float64.

    Args:
        x: the design, (n, p).
        smallest_alpha: the smallest penalty it will be used with.
        mode: "eigen" takes the smaller of the two Gram matrices; "svd" the design itself; "auto" is "eigen"
            unless ``smallest_alpha`` is below the rounding error of the Gram matrix, max(n, p) eps l_max.
    """
    n, p = x.shape
    if mode != "svd":
        basis = _dual(x) if n - (x.mean is not None) <= p else _primal(x)
        noise = max(n, p) * np.finfo(np.float64).eps * basis.values.max(initial=0.0)
        if mode == "eigen" or smallest_alpha > noise:
            return basis
    return _svd(x)


def _primal(x: Centred) -> EigenBasis:
    values, vectors_t = eigh(x.primal_gram())
    return EigenBasis(x, "primal", np.maximum(values, 0.0), None, vectors_t)


def _dual(x: Centred) -> EigenBasis:
    kernel = x.dual_gram()
    mirror = _mirror(x)
    if mirror is None:
        values, vectors_t = eigh(kernel)
        return EigenBasis(x, "dual", np.maximum(values, 0.0), vectors_t, None)
    # (I - 2uu') K (I - 2uu') = K - u q' - q u' with q = 2Ku - 2(u'Ku)u
    product = matmul(kernel, mirror[:, None])[:, 0]
    q = 2.0 * product - 2.0 * float(mirror @ product) * mirror
    for rows in blocks(kernel.shape[0], 1024):
        kernel[rows] -= mirror[rows, None] * q
        kernel[rows] -= q[rows, None] * mirror
    values, vectors_t = eigh(np.ascontiguousarray(kernel[1:, 1:]))
    return EigenBasis(x, "dual", np.maximum(values, 0.0), _unmirror(vectors_t, mirror), None)


def _svd(x: Centred) -> EigenBasis:
    from scipy.linalg import svd

    n, p = x.shape
    work = x.whole(F64)
    mirror = _mirror(x)
    if mirror is not None:
        work = work - 2.0 * mirror[:, None] * matmul(np.ascontiguousarray(mirror[None, :]), work)
        work = np.ascontiguousarray(work[1:])
    u, s, right_t = svd(work, full_matrices=False, check_finite=False)
    # directions below rounding are not part of the data; with alpha = 0 they would be divided by
    s[s <= max(n, p) * np.finfo(np.float64).eps * s.max(initial=0.0)] = 0.0
    left_t = np.ascontiguousarray(u.T)
    if mirror is not None:
        left_t = _unmirror(left_t, mirror)
    return EigenBasis(x, "svd", s * s, left_t, np.ascontiguousarray(right_t))


def _mirror(x: Centred) -> NDArray[np.float64] | None:
    """Unit u with (I - 2uu') r = -|r| e_1, r the direction that centring removes; None where nothing is
    removed."""
    n = x.shape[0]
    if x.mean is None or n == 1:
        return None
    u = np.ones(n) if x.root is None else x.root.copy()
    u /= np.linalg.norm(u)
    u[0] += 1.0  # entries are non-negative, so this cannot cancel
    u /= np.linalg.norm(u)
    return u


def _unmirror(vectors_t: Float64Array, mirror: Float64Array) -> Float64Array:
    """Rows (k, n - 1) in the mirrored coordinates 2..n -> rows (k, n) in the original ones."""
    k, m = vectors_t.shape
    out = np.zeros((k, m + 1))
    out[:, 1:] = vectors_t
    shadow = matmul(np.ascontiguousarray(vectors_t), np.ascontiguousarray(mirror[1:, None]))
    for rows in blocks(k, 1024):
        out[rows] -= 2.0 * shadow[rows] * mirror
    return out

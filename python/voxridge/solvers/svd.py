"""Singular value decomposition of a delayed design that need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._threads import one_blas_thread
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.memory import parse_memory
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.solvers.svd_blocks import ColumnBlocks, RowBlocks, RowDesign
from voxridge.solvers.svd_chunks import Need, chunk_rows
from voxridge.solvers.svd_full import FullSVD, full_svd
from voxridge.solvers.svd_topk import OVERSAMPLING, LeadingSVD, leading_svd
from voxridge.solvers.tsqr import EPS

Floating = NDArray[Any]
Report = Callable[[str, float], None]

# A fraction of a second. Small steps gain little from a second thread, and lose a hundredfold where other
# processes hold the cores.
_ONE_THREAD_FLOPS = 1e10


@dataclass(frozen=True)
class ChunkedSVD:
    """``A = u diag(s) vt`` of the design A, about its means where they were taken off.

    Attributes
    ----------
    u : ndarray (n_samples, k) float64, columns contiguous, or None
    s : ndarray (k,) float64, falling
    vt : ndarray (k, n_columns) float64, or None
        Columns are delay-major, as in the design.
    mean : ndarray (n_columns,) float64
        What was taken off the columns; zeros without centring.
    error_bound : float
        Every s_i is within this of a singular value of A: of the i-th, where all were computed. Of leading
        ones, s_i is never above the i-th but for rounding; that the one nearby is the i-th and not a later
        one is as good as certain after a few steps from a random start, but not part of the bound.
    relative_error : float
        The same relative to the singular value itself, at its worst over those that count for the rank.
    residual_norm : float
        Frobenius norm of ``A - u diag(s) vt``, and so a bound on its largest singular value; rounding where
        all were computed.
    n_passes : int
        How often the design was read.
    shape : (n_samples, n_columns)
    """

    u: Floating | None
    s: Floating
    vt: Floating | None
    mean: Floating
    error_bound: float
    relative_error: float
    residual_norm: float
    n_passes: int
    shape: tuple[int, int]

    @property
    def rank(self) -> int:
        """How many singular values are more than rounding: above ``max(shape) eps s_max``."""
        return int((self.s > max(self.shape) * EPS * self.s.max(initial=0.0)).sum())


def chunked_svd(
    features: Any,
    delays: Sequence[int] = (0,),
    *,
    runs: Sequence[int] | None = None,
    n_components: int | None = None,
    center: bool = False,
    compute_u: bool = True,
    compute_vt: bool = True,
    refine: bool | None = None,
    rows_per_chunk: int | None = None,
    memory_limit: Any = None,
    n_iter: int = 4,
    seed: int = 0,
    report: Report | None = None,
) -> ChunkedSVD:
    """SVD of the design ``X[t, (i, j)] = features[t - delays[i], j]`` (zero outside the run of t) in chunks.

    A tall design is decomposed by a QR of its rows, chunk after chunk, a wide one by the same of its columns;
    delays are applied inside the chunk. All arithmetic is in float64, whatever the features are stored in.

    Parameters
    ----------
    features : ndarray (n_samples, n_features) float32 or float64, or a source
        A source (:func:`voxridge.streams.as_source`) is read a chunk at a time, the next chunk while the
        present one is worked on.
    delays : sequence of int, in samples
    runs : sequence of int, optional
        Run lengths; None is one run, or the runs of the source.
    n_components : int, optional
        Only the leading ones, by randomised block Krylov iteration; None computes all ``min(n_samples -
        center, n_columns)``.
    center : bool
        Take the column means off first.
    compute_u, compute_vt : bool
        Singular vectors cost memory: ``8 k n_samples`` and ``8 k n_columns`` bytes.
    refine : bool, optional
        Whether a second pass gives small singular values relative accuracy; None: where some are below 1e-4
        of the largest and above rounding. Without effect on ``n_components``.
    rows_per_chunk : int, optional
        Samples in a chunk of a tall design; columns in a chunk of a wide one. None: as memory allows.
    memory_limit : int or str, optional
        What the whole process may hold in memory, such as "8GB"; the chunks are chosen to keep to it.
    n_iter : int
        Krylov steps behind the first; the design is read ``n_iter + 1`` times. More make ``error_bound``
        smaller.
    seed : int
        Of the random start of the Krylov iteration.
    report : callable, optional
        Called with what is being done and the fraction done.

    Returns
    -------
    ChunkedSVD

    Raises
    ------
    ValueError
        Features that are not finite or not two-dimensional, an ``n_components`` beyond the smaller dimension,
        ``n_iter`` or ``rows_per_chunk`` below 1, runs and delays that do not fit.
    TypeError
        Features that are neither float arrays nor a source.
    MemoryError
        ``memory_limit`` is below the least that would do, which the message names.
    OverflowError
        The smaller dimension is beyond 23,168, and numpy's LAPACK has 32-bit integers.

    Notes
    -----
    One pass gives every singular value to about 1e-15 of the largest. The second gives each of them, down to
    rounding of the largest, to 11 digits or more of its own, for **these** float64 numbers: how much features
    measured or computed with an error deserve that is another question, since an error E moves a singular
    value by up to ``|E|``. Columns of u and rows of vt are orthonormal to rounding.

    With ``n_components``, singular vectors are as good as the gaps between the singular values allow. If the
    Krylov space would have the smaller dimension or more, everything is computed and cut.

    References
    ----------
    Demmel, Grigori, Hoemmen, Langou (2012), Communication-optimal parallel and sequential QR and LU
    factorizations, SIAM J. Sci. Comput. 34(1), A206-A239. Musco and Musco (2015), Randomized block Krylov
    methods for stronger and faster approximate singular value decomposition, NeurIPS 28.

    Examples
    --------
    >>> import numpy
    >>> features = numpy.random.default_rng(0).standard_normal((500, 6)).astype("float32")
    >>> svd = chunked_svd(features, delays=(1, 2, 3), runs=(200, 300), center=True, rows_per_chunk=100)
    >>> svd.u.shape, svd.s.shape, svd.vt.shape, svd.n_passes
    ((500, 18), (18,), (18, 18), 1)
    >>> gram = (svd.vt.T * svd.s**2) @ svd.vt  # the Gram matrix of the centred delayed features
    >>> bool(abs(svd.u.sum(axis=0)).max() < 1e-12)  # centred: orthogonal to the constant
    True
    >>> leading = chunked_svd(features, delays=(1, 2, 3), runs=(200, 300), center=True, n_components=2)
    >>> bool(abs(leading.s - svd.s[:2]).max() <= leading.error_bound)
    True
    """
    return svd_of_design(
        _as_design(features, delays, runs),
        n_components=n_components,
        center=center,
        compute_u=compute_u,
        compute_vt=compute_vt,
        refine=refine,
        rows_per_chunk=rows_per_chunk,
        memory_limit=memory_limit,
        n_iter=n_iter,
        seed=seed,
        report=report,
    )


def svd_of_design(
    design: RowDesign,
    *,
    n_components: int | None = None,
    center: bool = False,
    root: Floating | None = None,
    compute_u: bool = True,
    compute_vt: bool = True,
    refine: bool | None = None,
    rows_per_chunk: int | None = None,
    memory_limit: Any = None,
    n_iter: int = 4,
    seed: int = 0,
    report: Report | None = None,
) -> ChunkedSVD:
    """:func:`chunked_svd` of a design that exists already.

    ``design`` has ``n_samples``, ``n_columns``, ``dtype`` and ``rows(begin, end)``; a wide one is read faster
    if it is a :class:`DelayedDesign` or a :class:`StreamedDesign`. With ``root`` (n_samples,), the roots of
    sample weights, A is ``diag(root) (X - 1 mean)`` and ``mean`` the weighted mean.
    """
    if root is not None and (root.shape != (design.n_samples,) or not root.any() or (root < 0).any()):
        raise ValueError(
            f"root must be {design.n_samples} roots of sample weights, not negative and not all zero, got "
            f"shape {root.shape}"
        )
    job = _Job(
        design,
        center,
        root,
        (compute_u, compute_vt),
        rows_per_chunk,
        parse_memory(memory_limit),
        report or (lambda step, done: None),
    )
    if n_components is not None and not 1 <= n_components <= job.smaller:
        raise ValueError(
            f"n_components={n_components} must be between 1 and {job.smaller}, what a design of shape "
            f"{job.shape}{' about its means' if center else ''} can have"
        )
    if n_iter < 1:
        raise ValueError(f"n_iter={n_iter} must be at least 1")
    with one_blas_thread() if job.flops < _ONE_THREAD_FLOPS else nullcontext():
        if n_components is None or (n_iter + 1) * (n_components + OVERSAMPLING) >= job.smaller:
            return job.full(refine, n_components or job.smaller)
        return job.leading(n_components, n_iter, seed)


@dataclass
class _Job:
    """One decomposition; ``wanted`` says whether u and vt are."""

    design: RowDesign
    center: bool
    root: Floating | None
    wanted: tuple[bool, bool]
    rows_per_chunk: int | None
    memory_limit: int | None
    report: Report

    def __post_init__(self) -> None:
        n, p = self.shape = (self.design.n_samples, self.design.n_columns)
        self.smaller = min(n - int(self.center), p)
        self.tall = n - int(self.center) >= p
        self.keep = self.wanted[0 if self.tall else 1]  # the vectors of the long side
        self.flops = 2.0 * max(n, p) * self.smaller**2
        # A tall design carries the constant direction along, a wide one is turned away from it.
        self.width = self.smaller + int(self.center and self.tall)
        if self.smaller < 1:
            raise ValueError(
                f"the design has shape {self.shape}, of which nothing is left"
                f"{' about its means; give more samples or center=False' if self.center else ''}"
            )

    def full(self, refine: bool | None, k: int) -> ChunkedSVD:
        """All singular values, of which the first ``k`` are returned."""
        long = max(self.shape)
        blocks = self._blocks(
            Need.of_full(self.design, long, self.width, keep=self.keep, refine=refine is not False)
        )
        found = full_svd(blocks, keep=self.keep, refine=refine, tolerance=long * EPS, report=self.report)
        left_over = float(np.hypot(found.error_bound, np.linalg.norm(found.s[k:])))
        return self._result(blocks, found, k, found.relative_error, left_over)

    def leading(self, k: int, n_iter: int, seed: int) -> ChunkedSVD:
        order = (n_iter + 1) * (k + OVERSAMPLING)
        blocks = self._blocks(
            Need.of_leading(self.design, max(self.shape), self.width, order, keep=self.keep)
        )
        found = leading_svd(blocks, k, n_iter=n_iter, seed=seed, keep=self.keep, report=self.report)
        smallest = float(found.s[-1])
        relative = found.error_bound / smallest if smallest > 0 else np.inf
        return self._result(blocks, found, k, relative, found.residual_norm)

    def _blocks(self, need: Need) -> RowBlocks | ColumnBlocks:
        size = chunk_rows(need, self.shape, self.rows_per_chunk, self.memory_limit)
        make = RowBlocks if self.tall else ColumnBlocks
        return make(self.design, size, self.center, self.root)

    def _result(
        self,
        blocks: RowBlocks | ColumnBlocks,
        found: FullSVD | LeadingSVD,
        k: int,
        relative_error: float,
        residual_norm: float,
    ) -> ChunkedSVD:
        large_t = found.large_vectors(k) if self.keep else None
        short = found.w[:, :k]
        u: Floating | None
        vt: Floating | None
        if isinstance(blocks, ColumnBlocks):
            u, vt = blocks.unreflected(short) if self.wanted[0] else None, large_t
        else:
            u = None if large_t is None else large_t.T
            vt = np.ascontiguousarray(short.T) if self.wanted[1] else None
        return ChunkedSVD(
            u=u,
            s=found.s[:k],
            vt=vt,
            mean=blocks.mean,
            error_bound=found.error_bound,
            relative_error=relative_error,
            residual_norm=residual_norm,
            n_passes=found.n_passes,
            shape=self.shape,
        )


def _as_design(features: Any, delays: Sequence[int], runs: Sequence[int] | None) -> RowDesign:
    if isinstance(features, np.ndarray):
        return DelayedDesign(features, delays, runs)
    if hasattr(features, "read") and hasattr(features, "shape"):
        return StreamedDesign(features, delays, runs)
    raise TypeError(
        f"features must be an ndarray or a source, got {type(features).__name__}; "
        "voxridge.streams.as_source makes a source of files, datasets and lists of runs"
    )

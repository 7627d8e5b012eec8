"""Ridge whose penalties are chosen on random held-out chunks: HuthLab's ``bootstrap_ridge``, from one
decomposition of the design instead of one for every bootstrap."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge._progress import Progress
from voxridge._warnings import AlphaEdgeWarning, MaskedTargetsWarning, SingularDesignWarning
from voxridge.solvers.bootstrap_components import Components, TargetTiles
from voxridge.solvers.bootstrap_engine import BootstrapScores, Sizes, require_svd, tile_width
from voxridge.solvers.bootstrap_fit import FinalFit
from voxridge.solvers.bootstrap_inputs import check_data, check_joined, held_out_samples
from voxridge.solvers.memory import default_limit, parse_memory
from voxridge.solvers.rows import check_alphas

Floating = NDArray[Any]
Rows = NDArray[np.intp]

_EDGE_SHARE = 0.01  # of the targets: more at an edge of the grid, and the grid is too short


class BootstrapRidgeResult(NamedTuple):
    """What :func:`bootstrap_ridge` returns, in HuthLab's order and under HuthLab's names.

    Attributes
    ----------
    wt : ndarray (n_features, n_targets), or None without ``return_wt``
    corrs : ndarray (n_targets,) float64
        Of the predictions of (Pstim, Presp): correlations, or signed roots of R2 without ``use_corr``.
    valphas : ndarray (n_targets,) float64
        The a of each target, as it stands in ``alphas``: not squared, not multiplied by ``normalpha``'s norm.
    allRcorrs : ndarray (n_alphas, n_targets, n_boots), or None
    valinds : list of ndarray
        Held-out samples of each bootstrap, in the order drawn; ``chunks`` takes them.
    """

    wt: Floating | None
    corrs: Floating
    valphas: Floating
    allRcorrs: Floating | None
    valinds: list[Rows]


def bootstrap_ridge(
    Rstim: ArrayLike,
    Rresp: ArrayLike,
    Pstim: ArrayLike,
    Presp: ArrayLike,
    alphas: ArrayLike,
    nboots: int | None = None,
    chunklen: int | None = None,
    nchunks: int | None = None,
    *,
    joined: Sequence[ArrayLike] | None = None,
    singcutoff: float = 1e-10,
    normalpha: bool = False,
    single_alpha: bool = False,
    use_corr: bool = True,
    return_wt: bool = True,
    chunks: Sequence[ArrayLike] | None = None,
    seed: int | random.Random | None = None,
    keep_boot_scores: bool = True,
    memory_limit: int | str | None = None,
    progress: bool = True,
) -> BootstrapRidgeResult:
    """Ridge with a penalty for every target, chosen by its mean score over bootstraps of held-out chunks.

    For every bootstrap, ``nchunks`` of the chunks of ``chunklen`` neighbouring samples are held out and

        W(a) = argmin ||Y_g - X_g W||^2 + a^2 ||W||^2

    is fitted to the rest g, without an intercept: columns are expected z-scored. The a of a target is the one
    whose score in the held-out samples has the best mean over bootstraps (the first of equals); the final
    weights are fitted to all of Rstim, and judged on Pstim. **a is squared**: for scikit-learn's ``alpha``
    see :func:`voxridge.solvers.squared_alphas`.

    Parameters
    ----------
    Rstim, Rresp : array_like (n_samples, n_features), (n_samples, n_targets)
        Training data. Delays, if any, are columns of Rstim already. (Features too wide for that, or in files:
        :class:`voxridge.EncodingRidge` delays them as it goes and keeps delays inside runs.)
    Pstim, Presp : array_like (n_test, n_features), (n_test, n_targets)
        Data that the final weights are judged on.
    alphas : array_like (n_alphas,)
        The a to try, each finite and >= 0.
    nboots, chunklen, nchunks : int
        Bootstraps; samples in a chunk; chunks held out in each bootstrap. What is left over after the last
        whole chunk is always trained on. With ``chunks``, leave chunklen and nchunks out; nboots is optional.
    joined : sequence of sequences of int, optional
        Groups of targets that share the a with the best mean score over the group. A target in no group has
        its own.
    singcutoff : float, default 1e-10
        Singular values of the training samples up to this are left out while a is chosen. Where it can
        matter, at a below a million times this, it costs an SVD for every bootstrap.
    normalpha : bool, default False
        The penalty is ``(a s_1)^2``, s_1 the largest singular value of the samples trained on: other ones in
        every bootstrap.
    single_alpha : bool, default False
        One a for all targets, by the mean score over them. With one candidate, nboots may be 0.
    use_corr : bool, default True
        Score by correlation. False: by ``sign(R) sqrt|R|``, ``R = 1 - var(y - prediction) / u``; while a is
        chosen, u is ``(1 + var(y)) / 2``, for ``corrs`` it is ``var(y)``.
    return_wt : bool, default True
        False: ``corrs`` without forming weights.
    chunks : sequence of sequences of int, optional
        The held-out samples of each bootstrap, instead of random ones, such as the ``valinds`` of an earlier
        call. Their lengths may differ.
    seed : int or random.Random, optional
        Chunks are drawn by ``shuffle`` of Python's own generator, as HuthLab's are: ``seed=s`` gives the
        chunks that their function gives after ``random.seed(s)``; None goes on with that global generator.
    keep_boot_scores : bool, default True
        False: ``allRcorrs`` is None, and memory for one score, not nboots, of every target and a is needed.
    memory_limit : int or str, optional
        Bytes, or text such as "8GB", that the whole process may reach. Default: what it holds and 80 % of
        what is free.
    progress : bool, default True
        Show progress with the time left for steps longer than a second.

    Returns
    -------
    BootstrapRidgeResult
        ``wt, corrs, valphas, allRcorrs, valinds``. ``wt`` and ``allRcorrs`` are in the working precision:
        float32 where Rstim and Rresp both are, else float64.

    Raises
    ------
    ValueError
        Shapes that do not fit, features that are not finite, penalties or chunks that cannot be; the message
        names them.
    MemoryError
        ``memory_limit`` is too small; the message says the least that would do.

    Warns
    -----
    MaskedTargetsWarning
        Responses that are not finite. As in HuthLab's code, such a target scores 0 while a is chosen and its
        weights are fitted with 0 in the place of the missing values.
    AlphaEdgeWarning
        More than 1 % of the targets chose the smallest or the largest a.
    SingularDesignWarning
        Some a^2 are too small for float64 to resolve beside the largest eigenvalue of Rstim'Rstim, or hardly
        determined without the held-out samples; they were scored or fitted by SVDs.

    Notes
    -----
    Chunks are held out without a gap, so delayed features of neighbouring chunks overlap and scores are
    optimistic, in HuthLab's code as here. Leave-one-run-out with :class:`voxridge.EncodingRidge` does not
    leak.

    Differences from HuthLab's function: nothing is written to the working folder; ``return_wt=False`` gives
    the same ``corrs`` (theirs changes u); scores that are undefined are 0 everywhere, in ``corrs`` without
    ``use_corr`` too; targets in no group of ``joined`` have their own a (theirs: no penalty), and groups may
    not overlap; infinite responses count as missing; singular values within rounding of 0 are never divided
    by. ``corrmin`` and ``logger``, which only printed, are gone.

    References
    ----------
    Huth et al. 2016 (Nature 532); Antonello, Vaidya & Huth 2023 (NeurIPS 36).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import bootstrap_ridge
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.standard_normal((250, 60)), rng.standard_normal((60, 8))
    >>> y = x @ w + 8 * rng.standard_normal((250, 8))
    >>> wt, corrs, valphas, allRcorrs, valinds = bootstrap_ridge(
    ...     x[:200], y[:200], x[200:], y[200:], np.logspace(-1, 3, 9), 5, chunklen=10, nchunks=4, seed=0)
    >>> wt.shape, allRcorrs.shape, len(valinds)
    ((60, 8), (9, 8, 5), 5)
    >>> bool(corrs.min() > 0.3)
    True
    """
    x, y, px, py = check_data(Rstim, Rresp, Pstim, Presp)
    grid = check_alphas(alphas)
    if not np.isfinite(singcutoff) or singcutoff < 0:
        raise ValueError(f"singcutoff={singcutoff} must be finite and not negative")
    groups = check_joined(joined, y.shape[1], single_alpha)
    held_out = held_out_samples(x.shape[0], nboots, chunklen, nchunks, chunks, seed)
    if not held_out and not (single_alpha and grid.size == 1):
        raise ValueError(
            f"nboots=0 chooses nothing between {grid.size} alphas; only single_alpha=True with one alpha "
            "needs no bootstrap"
        )
    limit = parse_memory(memory_limit) or default_limit()
    components = Components(x)
    n_kept = len(held_out) if keep_boot_scores else 0
    result_bytes = y.shape[1] * (grid.size * (8 + n_kept * x.itemsize) + return_wt * x.shape[1] * x.itemsize)
    longest = max((rows.size for rows in held_out), default=0)
    sizes = Sizes(y.shape[1], grid.size, px.shape[0], longest)
    width = tile_width(limit, components, sizes, result_bytes)
    tiles, test = TargetTiles(y, x.dtype, width), TargetTiles(py, x.dtype, width)
    mean = np.zeros((grid.size, y.shape[1]))
    every = np.zeros((*mean.shape, n_kept), dtype=x.dtype) if n_kept else None
    with Progress(progress) as report:
        report("decomposing the design", 0.0)
        components.decompose()
        scales = [components.largest_singular_value(rows) if normalpha else 1.0 for rows in held_out]
        penalties = [(grid * scale) ** 2 for scale in scales]
        room = limit - return_wt * x.shape[1] * y.shape[1] * x.itemsize
        boots = BootstrapScores(components, tiles, held_out, penalties, singcutoff, use_corr, room, report)
        boots.run(mean, every)
        best = _choose(mean, groups, single_alpha)
        scale = np.sqrt(components.largest) if normalpha else 1.0
        fit = FinalFit(components, px, ((grid * scale) ** 2)[best], return_wt)
        if fit.hard.any():
            require_svd(limit, components)
        wt, corrs = fit.run(tiles, test, use_corr, report)
    _warn_of_svd(boots.n_by_svd, int(fit.hard.sum()), components.largest)
    _warn_of_missing(tiles.missing, test.missing)
    _warn_of_edges(grid, best)
    return BootstrapRidgeResult(wt, corrs, grid[best], every, held_out)


def _choose(mean: Floating, groups: list[Rows], single_alpha: bool) -> NDArray[np.intp]:
    """Index of the best a of every target, from mean scores (n_alphas, n_targets); the first of equals."""
    if single_alpha:
        return np.full(mean.shape[1], np.argmax(mean.mean(axis=1)) if mean.size else 0, dtype=np.intp)
    best: NDArray[np.intp] = np.argmax(mean, axis=0)
    for group in groups:
        best[group] = np.argmax(mean[:, group].mean(axis=1))
    return best


def _warn_of_svd(n_pairs: int, n_targets: int, largest: float) -> None:
    if n_pairs or n_targets:
        warnings.warn(
            f"{n_pairs} pairs of a bootstrap and an alpha were scored, and {n_targets} targets fitted, by "
            "SVDs in float64, which take longer: their a^2 is too small for the eigenvectors of Rstim'Rstim "
            f"(largest eigenvalue {largest:.3g}), or singcutoff matters to them; larger alphas avoid this",
            SingularDesignWarning,
            stacklevel=3,
        )


def _warn_of_missing(training: NDArray[np.bool_], test: NDArray[np.bool_]) -> None:
    if training.any() or test.any():
        warnings.warn(
            f"of {training.size} targets, {training.sum()} of Rresp and {test.sum()} of Presp hold values "
            "that are not finite: one of Rresp scores 0 for every a and is fitted with 0 for those values; "
            "one of Presp has corrs 0",
            MaskedTargetsWarning,
            stacklevel=3,
        )


def _warn_of_edges(grid: Floating, best: NDArray[np.intp]) -> None:
    low, high = (int((grid[best] == edge).sum()) for edge in (grid.min(), grid.max()))
    if grid.min() < grid.max() and low + high > _EDGE_SHARE * best.size:
        warnings.warn(
            f"{low} targets chose the smallest and {high} the largest of the alphas, of {best.size}; the "
            "best may lie outside: widen alphas",
            AlphaEdgeWarning,
            stacklevel=3,
        )

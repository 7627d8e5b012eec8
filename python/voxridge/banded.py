"""BandedRidgeCV: banded ridge, a penalty for every feature space and every voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from voxridge._banded_inputs import (
    BandedFeatures,
    banded_features,
    in_given_order,
    in_memory_if_small,
    keep_bytes,
    paired_with,
    require_room,
)
from voxridge._encoding_job import Job, make_job, warn_of
from voxridge._progress import Progress
from voxridge.encoding import EncodingRidge
from voxridge.science.scores import correlation_score, r2_score
from voxridge.solvers.banded_candidates import check_candidates, random_candidates
from voxridge.solvers.banded_design import Bands
from voxridge.solvers.banded_search import MOST_GROUPS, SearchResult, search
from voxridge.solvers.banded_split import split_r2
from voxridge.solvers.banded_weights import BandedWeights, Refit, refit
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.fits import RidgeCVResult
from voxridge.solvers.folds import Fold
from voxridge.streams import scan_targets

__all__ = ["BandedRidgeCV"]

Floating = NDArray[Any]


class BandedRidgeCV(BaseEstimator):  # type: ignore[misc]
    """Banded ridge: delayed features of several spaces (bands), the penalty of every band and every voxel
    chosen by cross-validation.

    Minimises, for every voxel,

    ``||y - b0 - sum_b X_b w_b||^2 + sum_b (alpha / gamma_b) ||w_b||^2``

    with X_b the delayed features of band b, b0 unpenalised, and weights ``gamma_b >= 0`` that add up to 1. A
    band whose weight is 0 is switched off. Weights and alpha are those with the best mean held-out score.
    They refer to features as they are given: bring the bands to one scale (z-scores, as a rule) before.

    The search: even weights, each band alone and each band off, and draws from Dirichlet distributions are
    scored with every penalty on every voxel. Then, in three rounds, voxels are grouped by a mean of the four
    candidates that suit them best so far (2 to 8 groups), and each group is offered the weights in its middle
    and others around them, whose logarithms are moved by normal steps of standard deviation 1.5, 1 and 0.7.
    Gram matrices of the bands are made once; nothing is refitted on the way; in the end each voxel is
    refitted once. Only training folds choose, and the best score of a search is a maximum over candidates:
    report scores of samples that it did not see.

    Parameters
    ----------
    alphas : sequence of float, default np.logspace(0, 8, 20)
        Penalties, as in scikit-learn, for weights that add up to 1.
    delays : sequence of int, default (1, 2, 3, 4)
        In samples (TRs), for all bands; nothing crosses a run boundary.
    bands : mapping of name to width, sequence of widths, or one label per feature; optional
        The bands of features that are given as one matrix. Not for features by band. Ones for every feature
        are widths.
    n_iter : int or array (n_candidates, n_bands), default 30
        Even weights and so many less one draws; or the weights to try themselves, in rows that add up to 1.
    n_refine : int, default 12
        Further candidates for every voxel, at least, in the refinement; 0 leaves it out. Since voxels are
        refined in groups, which others are fitted with it can move what a voxel gets, a little; with 0 it
        cannot.
    concentration : float or sequence of float, default (0.1, 1.0)
        Of the Dirichlet distributions, taken in turns: 1 is uniform on the simplex, 0.1 prefers few bands.
    corners : bool, default True
        Try each band alone and each band switched off, beside ``n_iter``. Not where ``n_iter`` is an array.
    cv, gap, scoring, fit_intercept, memory_limit, progress
        As in :class:`~voxridge.EncodingRidge`; ``cv="gcv"`` is not for bands.
    alpha_per_target : bool or array (n_targets,), default True
        False chooses weights and penalty for all voxels together by their mean score; labels for each group.
    solver : str
        As in :class:`~voxridge.EncodingRidge`, for the scores of candidates. "auto": the fastest route within
        the memory limit, for each candidate.
    weights : "memory" or "none", default "memory"
        "none": scores, penalties and weights of bands only, no coefficients and no predictions.
    seed : int or numpy.random.Generator, default 0

    Attributes
    ----------
    band_names_ : tuple of str
    alpha_ : ndarray (n_targets,), NaN where masked
    gammas_ : ndarray (n_bands, n_targets), weights of the bands, which add up to 1; NaN where masked
    best_cv_scores_ : ndarray (n_targets,), mean over folds; the best of many, so optimistic
    candidates_ : ndarray (n_candidates, n_bands), all weights that were tried
    cv_scores_ : ndarray (n_candidates, n_targets), with the best penalty of each; NaN where not tried
    best_candidate_ : ndarray of int (n_targets,), row of ``candidates_``; -1 where masked
    coef_ : ndarray (n_targets, n_delays * n_features), formed when first asked for
    intercept_ : ndarray (n_targets,)
    valid_targets_ : ndarray of bool (n_targets,), False where a voxel is constant or not finite
    alphas_ : ndarray (n_alphas,)
    folds_ : list of Fold, the rows of every fold after purging
    band_widths_ : tuple of int, features of each band
    n_features_in_, n_targets_ : int, all bands together

    Raises
    ------
    ValueError, TypeError
        From ``fit``: as :class:`~voxridge.EncodingRidge`; bands that do not match the features, weights off
        the simplex. The message names the argument and what would do.
    MemoryError
        From ``fit``: ``memory_limit`` is too small.

    References
    ----------
    Nunez-Elizalde, Huth and Gallant 2019 (NeuroImage 197); Dupre la Tour et al. 2022 (NeuroImage 264).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.banded import BandedRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> words, noise = rng.standard_normal((120, 4)), rng.standard_normal((120, 20))
    >>> responses = np.roll(words, 1, axis=0) @ rng.standard_normal((4, 6)) + rng.standard_normal((120, 6))
    >>> model = BandedRidgeCV(np.logspace(-2, 4, 7), delays=(1, 2), n_iter=6, n_refine=0, progress=False)
    >>> model = model.fit({"words": words, "noise": noise}, responses, runs=[40, 40, 40])
    >>> model.band_names_, bool((model.gammas_[0] > 0.8).all())
    (('words', 'noise'), True)
    """

    def __init__(
        self,
        alphas: Any = None,
        delays: Sequence[int] = (1, 2, 3, 4),
        bands: Any = None,
        n_iter: Any = 30,
        n_refine: int = 12,
        concentration: float | Sequence[float] = (0.1, 1.0),
        corners: bool = True,
        cv: Any = "leave-one-run-out",
        gap: int | str = "auto",
        scoring: str = "correlation",
        alpha_per_target: Any = True,
        fit_intercept: bool = True,
        solver: str = "auto",
        memory_limit: int | str | None = None,
        weights: str = "memory",
        seed: int | np.random.Generator = 0,
        progress: bool = True,
    ) -> None:
        self.alphas = alphas
        self.delays = delays
        self.bands = bands
        self.n_iter = n_iter
        self.n_refine = n_refine
        self.concentration = concentration
        self.corners = corners
        self.cv = cv
        self.gap = gap
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.memory_limit = memory_limit
        self.weights = weights
        self.seed = seed
        self.progress = progress

    # --- fitting

    def fit(self, features: Any, responses: Any, runs: Sequence[int] | None = None) -> BandedRidgeCV:
        """Choose weights and penalties, and fit.

        Parameters
        ----------
        features : mapping of band name to features, or one matrix and ``bands``
            Each (n_samples, n_features): an array, a list of one array per run, a memmap, an HDF5 dataset or
            file, a list of files, or a store selection.
        responses : (n_samples, n_targets), likewise; read a tile of voxels at a time.
        runs : run lengths, where single matrices are given. Default: one run.

        Returns
        -------
        self
        """
        self._check_parameters()
        given, y = paired_with(banded_features(features, self.bands, runs), responses, runs)
        given = given.read(np.result_type(y.dtype, given.dtype))
        rng = np.random.default_rng(self.seed)
        candidates = self._candidates(len(given.names), rng)
        y = in_memory_if_small(y, self.memory_limit)
        scan = scan_targets(y)
        scan.require_valid("responses")
        job = make_job(self._plain(), [given.source], y, scan=scan)
        design = job.designs[0]
        assert isinstance(design, DelayedDesign)
        limit = job.settings.memory_limit
        most = len(candidates) + MOST_GROUPS * self.n_refine
        require_room(design, y.shape[1], most, self.weights != "none", limit)
        bands = Bands(design, given.widths, keep_bytes(design, len(given.widths), job.settings))
        with Progress(self.progress) as report:
            found = search(
                bands, job.targets, job.settings, candidates, n_refine=self.n_refine, seed=rng, report=report
            )
            refitted = None
            if self.weights != "none":
                refitted = refit(bands, job.targets, job.settings, found, report)
        bands.forget()
        self._keep(given, job, found, refitted)
        warn_of(self._outcome(found, refitted), scan)
        return self

    def _check_parameters(self) -> None:
        if self.weights not in ("memory", "none"):
            raise ValueError(f'weights={self.weights!r} must be "memory" or "none"')
        if isinstance(self.cv, str) and self.cv == "gcv":
            raise ValueError('cv="gcv" is not for bands; use "leave-one-run-out", a number or a splitter')
        if not isinstance(self.n_refine, int | np.integer) or self.n_refine < 0:
            raise ValueError(f"n_refine={self.n_refine!r} must be a whole number, 0 or more")

    def _candidates(self, n_bands: int, rng: np.random.Generator) -> Floating:
        if n_bands == 1:
            return np.ones((1, 1))
        if not isinstance(self.n_iter, int | np.integer):
            return check_candidates(self.n_iter, n_bands)
        return random_candidates(
            n_bands, int(self.n_iter), concentration=self.concentration, corners=self.corners, seed=rng
        )

    def _plain(self) -> EncodingRidge:
        """The same choices for one band."""
        return EncodingRidge(
            self.alphas,
            self.delays,
            self.cv,
            self.gap,
            self.scoring,
            self.alpha_per_target,
            self.fit_intercept,
            self.solver,
            "cpu",
            memory_limit=self.memory_limit,
            weights="none",
            progress=False,
        )

    def _keep(self, given: BandedFeatures, job: Job, found: SearchResult, refitted: Refit | None) -> None:
        dtype = job.designs[0].dtype
        self.band_names_, self.band_widths_ = given.names, given.widths
        self.alphas_, self.folds_ = job.settings.alphas, list[Fold](job.settings.folds)
        self.candidates_, self.cv_scores_ = found.candidates, found.scores
        self.alpha_, self.best_cv_scores_, self.best_candidate_ = found.alpha, found.best_scores, found.best
        self.gammas_ = np.where(found.best >= 0, found.candidates[found.best].T, np.nan)
        self.valid_targets_ = job.targets.valid
        self.n_features_in_, self.n_targets_ = sum(given.widths), int(found.best.size)
        self._columns = given.columns
        self._dtype = dtype
        self._weights: BandedWeights | None = None if refitted is None else refitted.weights
        self._coef: Floating | None = None
        intercept = np.zeros(self.n_targets_)
        if self.fit_intercept:
            intercept = job.targets.mean - (0.0 if refitted is None else refitted.mean_prediction)
        intercept[found.best < 0] = np.nan
        self.intercept_ = intercept.astype(dtype)

    def _outcome(self, found: SearchResult, refitted: Refit | None) -> RidgeCVResult:
        """As the warnings of an EncodingRidge read it."""
        grid = self.alphas_
        return RidgeCVResult(
            grid,
            found.alpha,
            found.scores,
            found.best_scores,
            self.intercept_,
            plan=None,  # type: ignore[arg-type]
            weights=None,
            n_edge=(int((found.alpha == grid.min()).sum()), int((found.alpha == grid.max()).sum())),
            n_dependent=0 if refitted is None else refitted.n_dependent,
        )

    # --- using the fit

    @property
    def deltas_(self) -> Floating:
        """``log(gammas_ / alpha_)`` (n_bands, n_targets), as himalaya has it; -inf where a band is off."""
        self._check_fitted()
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.gammas_ / self.alpha_))

    @property
    def coef_(self) -> Floating:
        """(n_targets, n_delays * n_features), delay-major: column ``i * n_features + j`` is delay i of
        feature j, as in the matrix that was given, or bands side by side in the order of ``band_names_``."""
        self._check_fitted()
        if self._coef is None:
            self._coef = in_given_order(self._fitted_weights().coefficients(), self._columns).T
        return self._coef

    def predict(self, features: Any, runs: Sequence[int] | None = None, split: bool = False) -> Floating:
        """Responses (n_samples, n_targets) to ``features``; NaN for masked voxels.

        Each run is predicted from its own features only. ``split=True`` gives what each band adds, (n_bands,
        n_samples, n_targets); these and ``intercept_`` add up to the prediction.

        Parameters
        ----------
        features, runs : as in :meth:`fit`
        split : bool, default False

        Raises
        ------
        ValueError
            If the bands or their widths differ from the fit, a run is not longer than a delay, or a feature
            is not finite.
        """
        weights, new = self._fitted_weights(), self._as_fitted(features, runs)
        shape = new.source.shape[0], self.n_targets_
        out = np.zeros((len(self.band_names_), *shape) if split else shape, dtype=self._dtype)
        for band, part, share in weights.predictions(new.source.read(), list(new.source.runs)):
            into = out[band, :, part] if split else out[:, part]
            np.add(into, share, out=into, casting="same_kind")
        if split:
            out[:, :, ~self.valid_targets_] = np.nan
        else:
            out += self.intercept_
        return out

    def score(
        self, features: Any, responses: Any, runs: Sequence[int] | None = None, per_target: bool = True
    ) -> Any:
        """Correlation or R2 (as ``scoring`` says) of the predictions over all given samples; NaN for masked
        voxels.

        ``per_target=False`` gives the mean over the voxels whose score is defined.

        Parameters
        ----------
        features, responses, runs : as in :meth:`fit`
        per_target : bool, default True

        Raises
        ------
        ValueError
            If the responses have another number of targets than the fit, or as in :meth:`predict`.
        """
        y, runs = self._responses(responses, features, runs)
        scorer = correlation_score if self.scoring == "correlation" else r2_score
        scores = scorer(y, self.predict(features, runs))
        return scores if per_target else float(np.nanmean(scores))

    def split_r2(self, features: Any, responses: Any, runs: Sequence[int] | None = None) -> Floating:
        """The R2 of the predictions over all given samples, split into bands (n_bands, n_targets); the sum
        over the bands is the R2 (product measure).

        See :func:`voxridge.solvers.banded_split.split_r2`. A band that works against the others has a
        negative share. NaN where a voxel is masked or constant.

        Parameters
        ----------
        features, responses, runs : as in :meth:`fit`

        Raises
        ------
        ValueError
            As :meth:`score`.
        """
        y, runs = self._responses(responses, features, runs)
        return split_r2(y, self.predict(features, runs, split=True), self.intercept_)

    def _responses(
        self, responses: Any, features: Any, runs: Sequence[int] | None
    ) -> tuple[Floating, Sequence[int]]:
        """The responses, and the runs, which only they may know."""
        self._check_fitted()
        _, y = paired_with(banded_features(features, self.bands, runs), responses, runs)
        if y.shape[1] != self.n_targets_:
            raise ValueError(
                f"responses has shape {y.shape}, but the model was fitted on {self.n_targets_} targets"
            )
        return y.read(), y.runs

    def _as_fitted(self, features: Any, runs: Sequence[int] | None) -> BandedFeatures:
        new = banded_features(features, self.bands, runs)
        if isinstance(features, Mapping):
            new = new.in_order(self.band_names_)
        if new.names != self.band_names_ or new.widths != self.band_widths_:
            raise ValueError(
                f"features have the bands {dict(zip(new.names, new.widths, strict=True))}, but the model was "
                f"fitted on {dict(zip(self.band_names_, self.band_widths_, strict=True))}"
            )
        return new.read(self._dtype)

    def _check_fitted(self) -> None:
        if not hasattr(self, "intercept_"):
            raise NotFittedError("this BandedRidgeCV is not fitted yet; call fit first")

    def _fitted_weights(self) -> BandedWeights:
        self._check_fitted()
        if self._weights is None:
            raise ValueError('this BandedRidgeCV was fitted with weights="none" and has no coefficients')
        return self._weights

"""EncodingRidge: voxelwise encoding models with runs, delays and a penalty for every voxel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from voxridge._dispatch import resolve_device
from voxridge._progress import Progress
from voxridge._warnings import AlphaEdgeWarning, MaskedTargetsWarning
from voxridge.science.scores import correlation_score, r2_score
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.folds import Fold, make_folds
from voxridge.solvers.plan import available_memory, parse_memory
from voxridge.solvers.ridge_cv import RidgeCVResult, solve_ridge_cv
from voxridge.solvers.rows import check_alphas, check_delays
from voxridge.solvers.tiles import Targets
from voxridge.streams import Source, TargetScan, as_source, check_finite, match_runs, scan_targets

Floating = NDArray[Any]

_EDGE_SHARE = 0.01  # of the targets: more at an edge of the grid, and the grid is too short
_MEMORY_SHARE = 0.8  # of the free memory, where no limit is given


class EncodingRidge(BaseEstimator):  # type: ignore[misc]
    """Ridge regression of voxel responses on delayed features, the penalty of every voxel chosen by
    cross-validation.

    Minimises, for every voxel, ``||y - b - sum_d X_d w_d||^2 + alpha ||w||^2``, where ``X_d[t] = features[t -
    d]`` inside the run of t and 0 outside (a finite impulse response), b is unpenalised, and alpha is the
    penalty of the grid with the best mean held-out score.

    Parameters
    ----------
    alphas : sequence of float, default np.logspace(0, 8, 20)
        Penalties, as in scikit-learn. (Code of the HuthLab lineage passes a and penalises a**2.)
    delays : sequence of int, default (1, 2, 3, 4)
        In samples (TRs); nothing crosses a run boundary.
    cv : "leave-one-run-out", int, splitter, or iterable of (train, test)
        An int makes folds of whole neighbouring runs, or contiguous blocks of a single run. Splitters get
        ``groups`` = runs.
    gap : "auto" or int
        Where folds cut inside a run, training samples closer than this to a scored sample are left out.
        "auto": the longest delay.
    scoring : "correlation" or "r2"
        What chooses alpha: the mean over folds of the held-out score. Ties go to the larger penalty. A
        constant prediction has correlation 0.
    alpha_per_target : bool, default True
        False chooses one penalty for all voxels by their mean score.
    fit_intercept : bool, default True
    solver : "auto", "primal" or "dual"
        "auto" takes the cheaper; see ``plan_``.
    device : "auto" or "cpu"
    memory_limit : int or str, optional
        Bytes, or text such as "8GB", that the fit may use beside its inputs. Default: 80 % of what is free.
    progress : bool, default True
        Show progress with the time left for steps longer than a second.

    Attributes
    ----------
    alpha_ : ndarray (n_targets,), the chosen penalties; NaN where masked
    cv_scores_ : ndarray (n_alphas, n_targets), mean over folds; rows in the order of ``alphas``
    best_cv_scores_ : ndarray (n_targets,)
    coef_ : ndarray (n_targets, n_delays * n_features), delay-major, formed when first asked for
    intercept_ : ndarray (n_targets,)
    valid_targets_ : ndarray of bool (n_targets,), False where a voxel is constant or not finite: masked, and
        the others bit-identical
    plan_ : Plan, which prints what the fit did
    folds_ : list of Fold, the rows of every fold after purging
    n_features_in_, n_targets_ : int

    Raises
    ------
    ValueError, TypeError
        From ``fit``: shapes or runs that do not match, delays as long as a run, bad penalties, folds that are
        empty or leak, features that are not finite, no valid voxel. The message names the argument and what
        would do.
    MemoryError
        From ``fit``: ``memory_limit`` is too small for any tiling; the message says the least that would do.

    References
    ----------
    Huth et al. 2016 (Nature 532) for the model; Dupre la Tour et al. 2022 (NeuroImage 264) for per-target
    penalties.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import EncodingRidge
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((120, 5))
    >>> responses = np.vstack([np.zeros((1, 5)), features[:-1]]) @ rng.standard_normal((5, 8))
    >>> model = EncodingRidge(alphas=[0.1, 1, 10], delays=(1, 2), cv=3, progress=False).fit(features,
    responses, runs=[40, 40, 40])
    >>> bool(model.best_cv_scores_.min() > 0.9)
    True
    """

    def __init__(
        self,
        alphas: Any = None,
        delays: Sequence[int] = (1, 2, 3, 4),
        cv: Any = "leave-one-run-out",
        gap: int | str = "auto",
        scoring: str = "correlation",
        alpha_per_target: bool = True,
        fit_intercept: bool = True,
        solver: str = "auto",
        device: str = "auto",
        memory_limit: int | str | None = None,
        progress: bool = True,
    ) -> None:
        self.alphas = alphas
        self.delays = delays
        self.cv = cv
        self.gap = gap
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.device = device
        self.memory_limit = memory_limit
        self.progress = progress

    # --- fitting

    def fit(self, features: Any, responses: Any, runs: Sequence[int] | None = None) -> EncodingRidge:
        """Choose the penalties and fit.

        Parameters
        ----------
        features : (n_samples, n_features)
            An array, a list of one array per run, a memmap, an HDF5 dataset or file, a list of files, or a
            store selection.
        responses : (n_samples, n_targets), likewise; read a tile of voxels at a time.
        runs : run lengths, where a single matrix is given. Default: one run.

        Returns
        -------
        self
        """
        resolve_device(self.device)
        grid = check_alphas(np.logspace(0, 8, 20) if self.alphas is None else self.alphas)
        x, y = self._sources(features, responses, runs)
        check_finite(x)
        scan = scan_targets(y)
        scan.require_valid("responses")
        block = x.read().astype(np.result_type(x.dtype, y.dtype), copy=False)
        design = DelayedDesign(block, self.delays, x.runs)
        longest = max(abs(delay) for delay in design.delays)
        self.folds_: list[Fold] = make_folds(self.cv, x.runs, gap=self.gap, longest_delay=longest)
        limit = parse_memory(self.memory_limit)
        with Progress(self.progress) as report:
            result = solve_ridge_cv(
                design,
                _targets(y, scan),
                grid,
                self.folds_,
                scoring=cast(Any, self.scoring),
                fit_intercept=self.fit_intercept,
                alpha_per_target=self.alpha_per_target,
                solver=self.solver,
                memory_limit=int(available_memory() * _MEMORY_SHARE) if limit is None else limit,
                report=report,
            )
        self._keep(design, result, scan)
        return self

    def _sources(self, features: Any, responses: Any, runs: Sequence[int] | None) -> tuple[Source, Source]:
        x = as_source(features, name="features", runs=runs)
        y = as_source(responses, name="responses", runs=runs)
        if (
            runs is None and len(x.runs) != len(y.runs) and x.shape[0] == y.shape[0]
        ):  # only one side says where runs end
            if len(y.runs) == 1:
                y = as_source(responses, name="responses", runs=x.runs, run_names=x.run_names)
            elif len(x.runs) == 1:
                x = as_source(features, name="features", runs=y.runs, run_names=y.run_names)
        match_runs(x, y)
        return x, y

    def _keep(self, design: DelayedDesign, result: RidgeCVResult, scan: TargetScan) -> None:
        self.alphas_ = result.alphas
        self.alpha_ = result.alpha
        self.cv_scores_ = result.cv_scores
        self.best_cv_scores_ = result.best_scores
        self.intercept_ = result.intercept
        self.valid_targets_ = scan.valid
        self.plan_ = result.plan
        self.n_features_in_ = int(design.features.shape[1])
        self.n_targets_ = int(result.alpha.size)
        self._weights = result.weights.owned()
        self._coef: Floating | None = None
        if scan.n_masked:
            warnings.warn(scan.message("responses"), MaskedTargetsWarning, stacklevel=3)
        if result.edge_fraction > _EDGE_SHARE:
            low, high = result.n_edge
            warnings.warn(
                f"{low} targets chose the smallest and {high} the largest penalty of the grid, "
                f"{result.edge_fraction:.1%} of those fitted; the best may lie outside: widen alphas",
                AlphaEdgeWarning,
                stacklevel=3,
            )

    # --- using the fit

    @property
    def coef_(self) -> Floating:
        """(n_targets, n_delays * n_features), delay-major: column ``i * n_features + j`` is delay i of
        feature j."""
        self._check_fitted()
        if self._coef is None:
            self._coef = self._weights.coefficients().T
        return self._coef

    def predict(self, features: Any, runs: Sequence[int] | None = None) -> Floating:
        """Responses (n_samples, n_targets) to ``features``; NaN for masked voxels. Each run is predicted from
        its own features only.

        Raises
        ------
        ValueError
            If the number of features differs from the fit, a run is not longer than a delay, or a feature is
            not finite.
        """
        self._check_fitted()
        x = as_source(features, name="features", runs=runs)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(
                f"features has shape {x.shape}, but the model was fitted on {self.n_features_in_} features"
            )
        check_finite(x)
        check_delays(self._weights.delays, x.runs)
        prediction = self._weights.predict(x.read().astype(self.intercept_.dtype, copy=False), x.runs)
        prediction += self.intercept_
        return prediction

    def score(
        self, features: Any, responses: Any, runs: Sequence[int] | None = None, per_target: bool = True
    ) -> Floating | float:
        """Correlation or R2 (as ``scoring`` says) of the predictions over all given samples; NaN for masked
        voxels.

        ``per_target=False`` gives the mean over the voxels whose score is defined.
        """
        self._check_fitted()
        x, y = self._sources(features, responses, runs)
        if y.shape[1] != self.n_targets_:
            raise ValueError(
                f"responses has shape {y.shape}, but the model was fitted on {self.n_targets_} targets"
            )
        scorer = correlation_score if self.scoring == "correlation" else r2_score
        scores = scorer(y.read(), self.predict(x))
        return scores if per_target else float(np.nanmean(scores))

    def _check_fitted(self) -> None:
        if not hasattr(self, "intercept_"):
            raise NotFittedError("this EncodingRidge is not fitted yet; call fit first")

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fit to an HDF5 file (to a temporary name, then renamed)."""
        from voxridge._persist import save_encoding

        self._check_fitted()
        save_encoding(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> EncodingRidge:
        """Read a fit back. ``cv`` becomes the folds that were used, where it was a splitter or an
        iterable."""
        from voxridge._persist import load_encoding

        return load_encoding(path)


def _targets(source: Source, scan: TargetScan) -> Targets:
    return Targets(
        n_samples=source.shape[0],
        n_targets=source.shape[1],
        read=lambda begin, end: source.read(columns=slice(begin, end)),
        mean=np.where(scan.valid, scan.mean, 0.0),
        valid=scan.valid,
        in_memory=source.in_memory,
    )

"""EncodingRidge: voxelwise encoding models with runs, delays and a penalty for every voxel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from voxridge._device_results import Caller, HandsOver
from voxridge._encoding_job import Job, make_job, paired_sources, warn_of, watch
from voxridge._encoding_prediction import predict_there, predicting_design, prediction_tiles
from voxridge._progress import Progress
from voxridge.science.scores import correlation_score, r2_score
from voxridge.solvers.design import Design
from voxridge.solvers.fits import RidgeCVResult, fit_designs, plan_designs
from voxridge.solvers.folds import Fold
from voxridge.solvers.plan import Plan
from voxridge.solvers.rows import check_delays
from voxridge.solvers.weights import Weights, coefficients
from voxridge.streams import (
    ArraySink,
    FileSink,
    TargetScan,
    as_sink,
    as_source,
    check_finite,
    scan_targets,
)

Floating = NDArray[Any]

_HANDED_OVER = ("alpha_", "cv_scores_", "best_cv_scores_", "intercept_")  # where the features were, to there


class EncodingRidge(HandsOver, BaseEstimator):  # type: ignore[misc]
    """Ridge regression of voxel responses on delayed features, the penalty of every voxel chosen by
    cross-validation.

    Minimises, for every voxel, ``||y - b - sum_d X_d w_d||^2 + alpha ||w||^2``, where ``X_d[t] = features[t -
    d]`` inside the run of t and 0 outside (a finite impulse response), b is unpenalised, and alpha is the
    penalty of the grid with the best mean held-out score.

    Parameters
    ----------
    alphas : sequence of float, default np.logspace(0, 8, 20)
        Penalties, as in scikit-learn. (Code of the HuthLab lineage passes a and penalises a**2:
        ``solvers.squared_alphas`` converts.) ``solvers.relative_alphas`` gives a grid in multiples of the
        mean or the largest eigenvalue of the features.
    delays : sequence of int, default (1, 2, 3, 4)
        In samples (TRs); nothing crosses a run boundary.
    cv : "leave-one-run-out", "leave-one-out", "gcv", int, splitter, or iterable of (train, test)
        "leave-one-out" scores the held-out predictions of all samples together; "gcv" is its closed-form
        approximation (scoring="r2" only). Neither knows that neighbouring samples are correlated. An int
        makes folds of whole neighbouring runs, or contiguous blocks of a single run. Splitters get
        ``groups`` = runs.
    gap : "auto" or int
        Where folds cut inside a run, training samples closer than this to a scored sample are left out.
        "auto": the longest delay.
    scoring : "correlation" or "r2"
        What chooses alpha: the mean over folds of the held-out score. Ties go to the larger penalty. A
        constant prediction has correlation 0.
    alpha_per_target : bool or array (n_targets,), default True
        False chooses one penalty for all voxels by their mean score; labels choose one for each group.
    fit_intercept : bool, default True
    solver : str
        "auto" takes the fastest route that keeps within the memory limit; see ``plan_``. "primal", "dual",
        "spectral", "leave-out" and "cholesky" narrow the choice; "svd" keeps full precision on
        ill-conditioned features, at several times the cost.
    device : "auto", "cpu", "cuda" or "cuda:1"
        Where the arithmetic is done. "auto": where the inputs are, if they are on a CUDA device; else on the
        first CUDA device, where there is one and the fit is expected to end sooner; else on the processor.
    precision : "float32", "tf32" or "bf16", default "float32"
        On a CUDA device, what the inputs of float32 products are rounded to while penalties are compared. The
        scores of the chosen ones and the weights are float32 whatever is said here, and all scores are where
        targets share a penalty.
    memory_limit : int or str, optional
        Bytes, or text such as "8GB", that the whole process may reach while it fits, inputs included.
        Default: what it holds, and 80 % of what is free. Features that lie in files and would take more than
        a quarter of what is left are read a chunk at a time.
    weights : "memory", "none" or path, default "memory"
        Where the weights are kept. "none": scores and penalties only, no predictions. A path ending in .h5
        or .npy is written a tile of voxels at a time; it holds coefficients or, where there are more columns
        than samples, dual coefficients (``kind`` among its attributes).
    checkpoint : path, optional
        A folder for what is found on the way. A fit that was cut short, however it happened, goes on from it
        and ends with the same bits (same machine, same threads). Delete it when it is done with.
    progress : bool, default True
        Show progress with the time left for steps longer than a second.

    Attributes
    ----------
    alpha_ : ndarray (n_targets,), the chosen penalties; NaN where masked; himalaya's name for
        it, ``best_alphas_``, works too
    cv_scores_ : ndarray (n_alphas, n_targets), mean over folds; rows in the order of ``alphas``
    best_cv_scores_ : ndarray (n_targets,)
    coef_ : ndarray (n_targets, n_delays * n_features), delay-major, formed when first asked for
    intercept_ : ndarray (n_targets,)
    valid_targets_ : ndarray of bool (n_targets,), False where a voxel is constant or not finite: masked, and
        the others bit-identical
    plan_ : Plan, which prints what the fit did
    folds_ : list of Fold, the rows of every fold after purging
    n_features_in_, n_targets_ : int

    Of a fit to features on a CUDA device, ``alpha_``, ``cv_scores_``, ``best_cv_scores_``, ``coef_`` and
    ``intercept_`` are arrays of the features' library on that device, and ``valid_targets_`` is an ndarray
    still; what is saved, pickled or copied has ndarrays.

    Raises
    ------
    ValueError, TypeError
        From ``fit``: shapes or runs that do not match, delays as long as a run, bad penalties, folds that are
        empty or leak, features that are not finite, no valid voxel, inputs on two devices or on another than
        ``device``. The message names the argument and what would do.
    RuntimeError
        From ``fit``: a CUDA device is asked for that cannot be had; the message says what is missing.
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
    >>> responses += 2 * rng.standard_normal((120, 8))
    >>> model = EncodingRidge(np.logspace(-4, 6, 11), delays=(1, 2), cv=3, scoring="r2", progress=False)
    >>> model = model.fit(features, responses, runs=[40, 40, 40])
    >>> bool(model.best_cv_scores_.max() > 0.6)
    True
    """

    def __init__(
        self,
        alphas: Any = None,
        delays: Sequence[int] = (1, 2, 3, 4),
        cv: Any = "leave-one-run-out",
        gap: int | str = "auto",
        scoring: str = "correlation",
        alpha_per_target: Any = True,
        fit_intercept: bool = True,
        solver: str = "auto",
        device: str = "auto",
        precision: str = "float32",
        memory_limit: int | str | None = None,
        weights: str | os.PathLike[str] = "memory",
        checkpoint: str | os.PathLike[str] | None = None,
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
        self.precision = precision
        self.memory_limit = memory_limit
        self.weights = weights
        self.checkpoint = checkpoint
        self.progress = progress

    # --- fitting

    def fit(
        self,
        features: Any,
        responses: Any,
        runs: Sequence[int] | None = None,
        sample_weight: Any = None,
    ) -> EncodingRidge:
        """Choose the penalties and fit.

        Parameters
        ----------
        features : (n_samples, n_features)
            An array, a list of one array per run, a memmap, an HDF5 dataset or file, a list of files, or a
            store selection; or a matrix on a CUDA device (torch, cupy, or whatever speaks DLPack or
            ``__cuda_array_interface__``; float32 or float64, row-major), which is used where it is, without a
            copy. (A list of such matrices, one per run, is copied once, on the device.)
        responses : (n_samples, n_targets), likewise; read a tile of voxels at a time.
        runs : run lengths, where a single matrix is given. Default: one run.
        sample_weight : (n_samples,), optional
            Weights >= 0 of the samples in the loss and in the held-out scores; 0 leaves a sample out.

        Returns
        -------
        self
        """
        x, y = paired_sources(features, responses, runs)
        unchanged = watch(x, y)
        check_finite(x)
        scan = scan_targets(y)
        scan.require_valid("responses")
        job = make_job(self, [x], y, scan=scan, sample_weight=sample_weight)
        unchanged()  # from here on the fit sees to it
        with Progress(self.progress) as report:
            result = fit_designs(job.designs, job.targets, job.settings, job.storage, report)[0]
        self._keep(job.designs[0], result, scan, job)
        self._hand_over(Caller.of(x), _HANDED_OVER)
        warn_of(result, scan)
        return self

    def plan(self, features: Any, responses: Any, runs: Sequence[int] | None = None) -> Plan:
        """What :meth:`fit` would do with these inputs, in what memory and time, before anything runs.

        Only sizes are looked at. Arguments and errors as in :meth:`fit`.

        Parameters
        ----------
        features : (n_samples, n_features), in any form that :meth:`fit` takes
        responses : (n_samples, n_targets), likewise
        runs : run lengths, where single matrices are given
        """
        x, y = paired_sources(features, responses, runs)
        job = make_job(self, [x], y, read=False)
        return plan_designs(job.designs, job.targets, job.settings, job.storage)[0]

    def _keep(self, design: Design, result: RidgeCVResult, scan: TargetScan, job: Job) -> None:
        self.alphas_ = result.alphas
        self.alpha_ = result.alpha
        self.cv_scores_ = result.cv_scores
        self.best_cv_scores_ = result.best_scores
        self.intercept_ = result.intercept
        self.valid_targets_ = scan.valid
        self.plan_ = result.plan
        self.folds_: list[Fold] = list(job.settings.folds)
        self.n_features_in_ = design.n_features
        self.n_targets_ = int(result.alpha.size)
        self._weights = None if result.weights is None else result.weights.owned()
        self._coef: Floating | None = None

    # --- using the fit

    @property
    def best_alphas_(self) -> Any:
        """``alpha_``, (n_targets,), under the name that it has in himalaya."""
        return self.alpha_

    @property
    def coef_(self) -> Any:
        """(n_targets, n_delays * n_features), delay-major: column ``i * n_features + j`` is delay i of
        feature j."""
        if self._handed_to is not None:
            if "_coef_there" not in vars(self):
                self._coef_there = self._handed_to.send(coefficients(self._fitted_weights()).T)
            return self._coef_there
        if self._coef is None:
            self._coef = coefficients(self._fitted_weights()).T
        return self._coef

    def save_coef(self, path: str | os.PathLike[str]) -> None:
        """Write the coefficients to a .h5 or .npy file a tile of voxels at a time, without forming them in
        memory: ``data`` (n_targets, n_delays * n_features) in HDF5, its transpose in .npy.

        Parameters
        ----------
        path : path
            Ending in .h5 or .npy.
        """
        weights = self._fitted_weights()
        size = self.n_features_in_ * len(weights.delays)
        with FileSink(path, (size, self.n_targets_), self._host("intercept_").dtype) as sink:
            for begin, end, tile in weights.coefficient_tiles():
                sink.write(begin, end, tile)
            sink.finish({"kind": "coef", "delays": list(weights.delays)})

    def predict(self, features: Any, runs: Sequence[int] | None = None, out: Any = None) -> Any:
        """Responses (n_samples, n_targets) to ``features``; NaN for masked voxels. Each run is predicted from
        its own features only.

        Parameters
        ----------
        features, runs : as in :meth:`fit`
            Features on a CUDA device are predicted from there, and the predictions are on it.
        out : path, array, memmap or open HDF5 dataset, optional
            Where the predictions go, a tile of voxels at a time; features in files are then read a chunk at a
            time. A .h5 file holds ``data`` (n_targets, n_samples). Returned in place of an array.

        Raises
        ------
        ValueError
            If the number of features differs from the fit, a run is not longer than a delay, or a feature is
            not finite.
        """
        weights = self._fitted_weights()
        x = as_source(features, name="features", runs=runs)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(
                f"features has shape {x.shape}, but the model was fitted on {self.n_features_in_} features"
            )
        check_finite(x)
        check_delays(weights.delays, x.runs)
        intercept, caller = self._host("intercept_"), Caller.of(x)
        cuda, design = predicting_design(self, x, weights, whole=out is None)
        if out is None and caller is not None and cuda is not None:
            return caller.give(predict_there(cuda, weights, design, intercept))
        shape = x.shape[0], self.n_targets_
        dtype = intercept.dtype
        sink = ArraySink(np.empty(shape, dtype=dtype)) if out is None else as_sink(out, *shape, dtype)
        try:
            for begin, end, tile in prediction_tiles(cuda, weights, design, intercept):
                sink.write(begin, end, tile)
            sink.finish()
        finally:
            sink.close()
        return sink.result if out is not None or caller is None else caller.send(sink.result)

    def score(
        self, features: Any, responses: Any, runs: Sequence[int] | None = None, per_target: bool = True
    ) -> Any:
        """Correlation or R2 (as ``scoring`` says) of the predictions over all given samples; NaN for masked
        voxels.

        ``per_target=False`` gives the mean over the voxels whose score is defined.

        Parameters
        ----------
        features : (n_samples, n_features), in any form that :meth:`fit` takes
        responses : (n_samples, n_targets), likewise
        runs : run lengths, where single matrices are given
        per_target : bool, default True
            False: the mean over voxels.

        Raises
        ------
        ValueError
            If the responses have another number of targets than the fit, or as in :meth:`predict`.
        """
        self._check_fitted()
        x, y = paired_sources(features, responses, runs)
        if y.shape[1] != self.n_targets_:
            raise ValueError(
                f"responses has shape {y.shape}, but the model was fitted on {self.n_targets_} targets"
            )
        scorer = correlation_score if self.scoring == "correlation" else r2_score
        caller = Caller.of(x)
        predicted = None if caller is None else np.empty(y.shape, self._host("intercept_").dtype)
        scores = scorer(y.read(), self.predict(x, out=predicted))
        if not per_target:
            return float(np.nanmean(scores))
        return scores if caller is None else caller.send(scores)

    def _check_fitted(self) -> None:
        if not hasattr(self, "intercept_"):
            raise NotFittedError("this EncodingRidge is not fitted yet; call fit first")

    def _fitted_weights(self) -> Weights:
        self._check_fitted()
        if self._weights is None:
            raise ValueError('this EncodingRidge was fitted with weights="none" and has no coefficients')
        return self._weights

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fit to an HDF5 file (to a temporary name, then renamed).

        Parameters
        ----------
        path : path
        """
        from voxridge._persist import save_encoding

        self._check_fitted()
        save_encoding(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> EncodingRidge:
        """Read a fit back. ``cv`` becomes the folds that were used, where it was a splitter or an
        iterable.

        Parameters
        ----------
        path : path
            What :meth:`save` wrote.
        """
        from voxridge._persist import load_encoding

        return load_encoding(path)

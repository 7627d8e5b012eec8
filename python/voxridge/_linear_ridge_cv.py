"""``RidgeCV``: scikit-learn's estimator that chooses its penalty, on voxridge's solvers.

Added to scikit-learn's: one alpha per target with any ``cv``, ``groups`` in ``fit``,
``scoring="correlation"``, ``cv_scores_`` and ``best_alphas_``.
"""

from __future__ import annotations

from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from voxridge import _linear_checks as checks
from voxridge._device_results import Caller
from voxridge._linear_base import LinearRidgeModel
from voxridge._linear_cv import (
    FoldProblem,
    HeldOutScore,
    check_folds,
    first_best,
    fold_scores,
    leave_one_out_scores,
    mean_over_targets,
)
from voxridge._linear_ridge import Ridge
from voxridge._linear_spectral import spectral_fit
from voxridge.solvers.dense import Float64Array, FloatArray
from voxridge.solvers.loo import leave_one_out
from voxridge.solvers.ridge import RidgeSolution, solve_ridge


class RidgeCV(LinearRidgeModel):
    """Ridge with built-in choice of alpha; a drop-in for ``sklearn.linear_model.RidgeCV`` on dense data.

    For every alpha the held-out score is computed: leave-one-out in closed form (``cv=None``), or the mean
    over the folds of ``cv``. The alpha of the highest score is used to fit all samples. Of equal scores the
    first alpha in the given order wins, as in scikit-learn; an undefined (NaN) score never wins.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=(0.1, 1.0, 10.0)
        Penalties to try, > 0 for leave-one-out, else >= 0; a single number is a list of one.
    fit_intercept : bool, default=True
        Fit an unpenalised intercept, in the folds too.
    scoring : str, callable or None, default=None
        None: minus the mean squared error for ``cv=None``, R^2 otherwise. A name: any of scikit-learn's, or
        "correlation" (Pearson's r, the mean over targets unless ``alpha_per_target``). A callable: a
        scikit-learn scorer, or ``f(estimator, X, y)``; with ``cv=None`` its estimator predicts its input,
        which is the leave-one-out prediction.
    cv : int, splitter, iterable of (train, test) or None, default=None
        None: leave-one-out. An integer: that many contiguous folds. Splitters get ``groups`` from ``fit``.
    gcv_mode : {None, 'auto', 'svd', 'eigen'}, default=None
        Leave-one-out only. 'eigen': eigendecomposition of the smaller Gram matrix; 'svd': of X itself; 'auto'
        and
        None: 'eigen', unless an alpha is below the Gram matrix's rounding error.
    store_cv_results : bool, default=False
        Leave-one-out only: keep ``cv_results_``.
    alpha_per_target : bool, default=False
        Choose an alpha for every target, with any ``cv``.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The chosen alpha; an array if ``alpha_per_target`` and there is more than one target.
    best_score_ : float or ndarray of shape (n_targets,)
        The held-out score at ``alpha_``; an array if ``alpha_per_target`` and y has two dimensions.
    cv_scores_ : ndarray of shape (n_alphas,) or (n_alphas, n_targets)
        The held-out score of every alpha; per target if ``alpha_per_target``. (Not in scikit-learn.)
    cv_results_ : ndarray of shape (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        If ``store_cv_results``: squared errors, times the sample weight (``scoring=None``), or predictions.
    best_alphas_ : ndarray of shape (n_targets,)
        ``alpha_``, always one number per target: the name that it has in himalaya.
    coef_, intercept_, n_features_in_, feature_names_in_
        As in :class:`Ridge`.

    References
    ----------
    Rifkin and Lippert (2007), "Notes on Regularized Least Squares", MIT-CSAIL-TR-2007-025.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import RidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    >>> y = np.column_stack([X[:, 0], 0 * X[:, 0]]) + 0.1 * noise
    >>> RidgeCV([0.1, 1000.0], cv=5, alpha_per_target=True).fit(X, y).alpha_
    array([1.e-01, 1.e+03])
    """

    alpha_: Any
    best_score_: Any
    cv_scores_: Float64Array
    cv_results_: FloatArray

    def __init__(
        self,
        alphas: Any = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: Any = None,
        cv: Any = None,
        gcv_mode: str | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | float | None = None, **params: Any
    ) -> Self:
        """Choose alpha and fit; inputs are only read.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Real numbers, finite, any memory layout: an array, a data frame, or a tensor in host memory; only
            read. Or a float32 or float64 matrix on a CUDA device, row-major: folds are scored there by R^2 or
            correlation without sample weights (all else on the processor), and ``coef_`` and ``intercept_``
            are arrays of its library there.
        y : array_like (n_samples,) or (n_samples, n_targets)
            Real numbers, finite; brought to X's dtype; only read.
        sample_weight : array_like (n_samples,), number or None
            Weights >= 0, used in fitting, and in scoring where the score takes weights.
        **params
            ``groups`` (n_samples,), for the splitter; with scikit-learn's metadata routing enabled, whatever
            the scorer and the splitter request.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Shapes that do not fit (both are named), zero targets, NaN or infinity, bad alphas, an empty fold,
            leave-one-out with fewer than two samples, ``store_cv_results`` with ``cv``.
        TypeError
            Sparse X, a parameter of the wrong type, an unknown keyword.

        Warns
        -----
        VoxridgeWarning
            The score is undefined for every alpha for some targets.
        """
        alphas = checks.check_alphas(self.alphas, positive=self.cv is None)
        score, caller = self._check_options(), Caller.of_array(X)
        X, y = checks.as_numpy("X", X), checks.as_numpy("y", y)
        params = {name: checks.as_numpy(name, value) for name, value in params.items()}
        score_params, split_params = self._route(score, sample_weight, params)
        x, target = checks.check_fit_arrays(self, X, y)
        weight = checks.check_weights(sample_weight, x.shape[0])
        if score_params.get("sample_weight") is not None:
            score_params["sample_weight"] = weight
        if self.cv is None:
            solution = self._fit_leave_one_out(x, target, alphas, weight, score, score_params)
        else:
            splitter = check_cv(self.cv, y, classifier=False)
            problem = FoldProblem(
                x=x,
                y=target.reshape(target.shape[0], -1),
                alphas=alphas,
                folds=check_folds(splitter.split(X, y, **split_params), x.shape[0]),
                fit_intercept=self.fit_intercept,
                weight=weight,
                score=score,
                score_params=score_params,
                as_model=lambda coef, intercept, alpha: self._model(coef, intercept, alpha, target.ndim),
                rows_for_user=lambda rows: (_safe_indexing(X, rows), _safe_indexing(y, rows)),
                device="cpu" if caller is None else caller.cuda.name,
            )
            solution = self._fit_folds(problem, target)
        self._store(solution.coef, solution.intercept, target.ndim, self.fit_intercept)
        self._hand_over(caller, ("coef_", "intercept_"))
        return self

    @property
    def best_alphas_(self) -> Float64Array:
        """The alpha of every target, (n_targets,) float64, whether or not each has its own.

        Raises:
            AttributeError: called before ``fit``.
        """
        coef = self._host("coef_")
        n_targets = 1 if coef.ndim == 1 else coef.shape[0]
        return np.array(np.broadcast_to(self.alpha_, (n_targets,)), dtype=np.float64)

    def _check_options(self) -> HeldOutScore:
        for name in ("fit_intercept", "store_cv_results", "alpha_per_target"):
            checks.check_flag(name, getattr(self, name))
        checks.check_choice("gcv_mode", self.gcv_mode, (None, "auto", "svd", "eigen"))
        if self.store_cv_results and self.cv is not None:
            raise ValueError(
                "cv!=None and store_cv_results=True are incompatible; the score of every alpha is in "
                "cv_scores_"
            )
        return HeldOutScore.from_scoring(self.scoring, "r2")

    def _fit_leave_one_out(
        self,
        x: FloatArray,
        target: FloatArray,
        alphas: Float64Array,
        weight: Float64Array | None,
        score: HeldOutScore,
        score_params: dict[str, Any],
    ) -> RidgeSolution:
        loo = leave_one_out(
            x,
            target.reshape(target.shape[0], -1),
            alphas,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            mode=cast(Literal["auto", "eigen", "svd"], self.gcv_mode or "auto"),
        )
        scores, results = leave_one_out_scores(
            loo,
            target,
            None if self.scoring is None else score,
            per_target=self.alpha_per_target,
            params=score_params,
            keep=self.store_cv_results,
        )
        if results is not None:
            self.cv_results_ = results
        return loo.solve(self._choose(scores, alphas, target))

    def _fit_folds(self, problem: FoldProblem, target: FloatArray) -> RidgeSolution:
        fast = spectral_fit(problem, per_target=self.alpha_per_target)
        if fast is None:
            scores = fold_scores(problem, per_target=self.alpha_per_target)
            chosen = self._choose(scores, problem.alphas, target)
            return solve_ridge(
                problem.x,
                problem.y,
                chosen,
                fit_intercept=self.fit_intercept,
                sample_weight=problem.weight,
            )
        scores = fast.scores
        if not self.alpha_per_target:
            scores = mean_over_targets(scores)
        return fast.solution(self._choose(scores, problem.alphas, target))

    def _choose(self, scores: Float64Array, alphas: Float64Array, target: FloatArray) -> Float64Array:
        """Set alpha_, best_score_ and cv_scores_; returns the alpha of every target, (n_targets,)."""
        self.cv_scores_ = scores
        best = first_best(scores)
        n_targets = 1 if target.ndim == 1 else target.shape[1]
        if not self.alpha_per_target:
            self.alpha_, self.best_score_ = float(alphas[best]), float(scores[best])
            return np.full(n_targets, self.alpha_)
        values = scores[best, np.arange(n_targets)]
        self.best_score_ = float(values[0]) if target.ndim == 1 else values
        self.alpha_ = float(alphas[best[0]]) if n_targets == 1 else alphas[best]
        return np.asarray(alphas[best])

    def _model(self, coef: FloatArray, intercept: FloatArray, alpha: float, y_ndim: int) -> Ridge:
        """A fitted Ridge for a user's scorer; a single target of many is a one-dimensional problem."""
        model = Ridge(alpha=float(alpha), fit_intercept=self.fit_intercept)
        one_of_many = self.alpha_per_target and coef.shape[0] == 1
        model._store(coef, intercept, 1 if one_of_many else y_ndim, self.fit_intercept)
        model.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_
        return model

    def _route(
        self, score: HeldOutScore, sample_weight: Any, params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments of the scorer and of the splitter."""
        if get_config()["enable_metadata_routing"]:
            if sample_weight is not None:
                params = {**params, "sample_weight": sample_weight}
            routed = process_routing(self, "fit", **params)
            return dict(routed.scorer.score), dict(routed.splitter.split)
        groups = params.pop("groups", None)
        if params:
            raise TypeError(
                f"fit got unexpected keyword(s) {sorted(params)}; only 'groups' is taken unless metadata "
                "routing is enabled (sklearn.set_config(enable_metadata_routing=True))"
            )
        weighted = sample_weight is not None and score.accepts_weight()
        return ({"sample_weight": sample_weight} if weighted else {}), {"groups": groups}

    def get_metadata_routing(self) -> MetadataRouter:
        """What scikit-learn's metadata routing hands on from ``fit``: to the scorer and to the splitter."""
        scorer = HeldOutScore.from_scoring(self.scoring, "r2").scorer
        if self.scoring is None:
            scorer = scorer.set_score_request(sample_weight=True)  # type: ignore[attr-defined]
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        )

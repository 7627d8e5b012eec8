"""``Ridge``: scikit-learn's estimator for given penalties, on voxridge's solvers."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge import _linear_checks as checks
from voxridge._device_results import Caller
from voxridge._linear_base import LinearRidgeModel
from voxridge._linear_iterative import ITERATIVE, solve_iteratively
from voxridge.solvers.dense import Float64Array, FloatArray
from voxridge.solvers.ridge import RidgeSolution, Solver, solve_ridge


class Ridge(LinearRidgeModel):
    """Linear least squares with an l2 penalty; a drop-in for ``sklearn.linear_model.Ridge`` on dense data.

    Minimises, for every target v, ``sum_i s_i (y_iv - b_v - x_i'w_v)^2 + alpha_v |w_v|^2``; the intercept b
    is not penalised. Solved directly (see :func:`voxridge.solvers.solve_ridge`); many different
    alphas, one per target, cost one eigendecomposition in total.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        The penalty, >= 0, in squared units of X; one number, or one per target. With 0 on a rank-deficient
        design the least-squares solution of least norm is returned, with a warning.
    fit_intercept : bool, default=True
        Fit b. Otherwise X and y are used as they are.
    copy_X : bool, default=True
        Accepted for compatibility. X is never written to, whatever this says, and the direct solvers never
        copy it as a whole.
    max_iter : int, default=None
        Iterative solvers only: the most iterations, >= 1; None is scikit-learn's default for the solver.
    tol : float, default=1e-4
        Iterative solvers only: where to stop, >= 0. The direct solvers are exact to rounding.
    solver : {'auto', 'cholesky', 'svd', 'lsqr', 'sparse_cg', 'sag', 'saga', 'lbfgs'}, default='auto'
        'auto' picks the cheaper of Cholesky and an eigendecomposition. 'svd' is the most accurate on
        ill-conditioned X. These three are direct. The others run scikit-learn's iterations on a centred
        copy of X and stop where its ``Ridge`` stops, so that code which names them keeps its results.
        'lbfgs' needs ``positive=True``.
    positive : bool, default=False
        Keep every weight >= 0, by 'lbfgs'; ``solver`` must be 'auto' or 'lbfgs'.
    random_state : int, RandomState instance, default=None
        'sag' and 'saga' only: the order of the samples.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Weights, in the dtype of X (float32 stays float32; float16 becomes float32; the rest is float64).
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts; 0.0 if ``fit_intercept=False``.
    n_iter_ : ndarray of shape (n_targets,) or None
        Iterations of 'lsqr', 'sag' and 'saga'; None for the others, as in scikit-learn.
    solver_ : str
        What was used: ``solver``, where it names one; for 'auto' 'cholesky' or 'eigen' ('lbfgs' with
        ``positive=True``); 'svd' where Cholesky met a singular problem.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Hoerl and Kennard (1970), "Ridge regression: biased estimation for nonorthogonal problems", Technometrics
    12(1).

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import Ridge
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 3.0]])
    >>> Ridge(alpha=[0.1, 10.0]).fit(X, np.column_stack([X[:, 0], X[:, 0]])).coef_.shape
    (2, 2)
    """

    n_iter_: NDArray[np.int32] | None
    solver_: str

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | float | None = None) -> Self:
        """Fit the weights; inputs are only read.

        Parameters
        ----------
        X : array_like (n_samples, n_features)
            Real numbers, finite, any memory layout: an array, a data frame, or a tensor in host memory; only
            read. Or a float32 or float64 matrix on a CUDA device, row-major: the fit runs there (``solver``
            "auto" and "cholesky", alpha > 0; others on the processor), and ``coef_`` and ``intercept_`` are
            arrays of its library there.
        y : array_like (n_samples,) or (n_samples, n_targets)
            Real numbers, finite; brought to X's dtype; only read.
        sample_weight : array_like (n_samples,), number or None
            Weights >= 0. An integer weight is that many repetitions.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Shapes that do not fit (both are named), zero targets, NaN or infinity, a bad alpha, a list of
            alphas of another length than the targets, an unknown solver, a bad ``max_iter`` or ``tol``,
            ``positive=True`` with another solver than 'lbfgs', or 'lbfgs' without it.
        TypeError
            Sparse X, or a parameter of the wrong type.

        Warns
        -----
        SingularDesignWarning
            The normal equations are singular; the least-norm solution was returned.
        sklearn.exceptions.ConvergenceWarning
            An iterative solver stopped at ``max_iter``.
        """
        solver = self._solver_to_run()
        caller = Caller.of_array(X)
        alpha = checks.check_alpha(self.alpha)
        fit_intercept = checks.check_flag("fit_intercept", self.fit_intercept)
        x, target = checks.check_fit_arrays(self, X, y)
        weight = checks.check_weights(sample_weight, x.shape[0])
        columns = target.reshape(target.shape[0], -1)
        if alpha.size not in (1, columns.shape[1]):
            raise ValueError(
                f"Number of targets and number of penalties do not correspond: {alpha.size} != "
                f"{columns.shape[1]} "
                f"(alpha has shape {alpha.shape}, y {target.shape})"
            )
        coef, intercept = self._solve(x, columns, alpha, weight, solver, caller)
        self._store(coef, intercept, target.ndim, fit_intercept)
        self._hand_over(caller, ("coef_", "intercept_"))
        return self

    def _solve(
        self,
        x: FloatArray,
        y: FloatArray,
        alpha: Float64Array,
        weight: Float64Array | None,
        solver: str,
        caller: Caller | None,
    ) -> tuple[FloatArray, FloatArray]:
        """Weights (n_targets, n_features) and intercepts (n_targets,); sets n_iter_ and solver_."""
        if solver in (*ITERATIVE, "lbfgs"):
            coef, intercept, self.n_iter_ = solve_iteratively(
                x,
                y,
                alpha,
                fit_intercept=self.fit_intercept,
                sample_weight=weight,
                solver=solver,
                max_iter=self.max_iter,
                tol=self.tol,
                random_state=self.random_state,
            )
            self.solver_ = solver
            return coef, intercept
        solution = self._solve_on_device(x, y, alpha, weight, solver, caller) or solve_ridge(
            x,
            y,
            alpha,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            solver=cast(Solver, solver),
        )
        self.n_iter_ = None
        self.solver_ = solution.route.rsplit("-", 1)[-1]
        return solution.coef, solution.intercept

    def _solve_on_device(
        self,
        x: FloatArray,
        y: FloatArray,
        alpha: Float64Array,
        weight: Float64Array | None,
        solver: str,
        caller: Caller | None,
    ) -> RidgeSolution | None:
        """None where X is not on a device, or the device has no such route."""
        if caller is None or solver not in ("auto", "cholesky"):
            return None
        from voxridge._linear_device import ridge_on

        return ridge_on(caller.cuda, x, y, alpha, fit_intercept=self.fit_intercept, sample_weight=weight)

    def _solver_to_run(self) -> str:
        """The solver for the parameters, or ValueError naming what to use instead."""
        checks.check_choice("solver", self.solver, ("auto", "cholesky", "svd", *ITERATIVE, "lbfgs"))
        checks.check_stop(self.max_iter, self.tol)
        if not checks.check_flag("positive", self.positive):
            if self.solver == "lbfgs":
                raise ValueError(
                    "'lbfgs' solver can be used only when positive=True. Use solver='auto', which is exact, "
                    "or set positive=True"
                )
            return self.solver
        if self.solver not in ("auto", "lbfgs"):
            raise ValueError(
                f"solver={self.solver!r} does not support positive fitting. Set the solver to 'auto' or "
                "'lbfgs', or positive=False"
            )
        return "lbfgs"

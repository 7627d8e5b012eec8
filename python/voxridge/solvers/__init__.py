"""Pure solver functions over arrays and streams. They know nothing of language models, brains or
scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

if TYPE_CHECKING:
    from voxridge.solvers.alphas import (
        reference_eigenvalue,
        relative_alphas,
        squared_alphas,
        unsquared_alphas,
    )
    from voxridge.solvers.bootstrap import BootstrapRidgeResult, bootstrap_ridge
    from voxridge.solvers.design import DelayedDesign
    from voxridge.solvers.fits import RidgeCVResult
    from voxridge.solvers.folds import Fold, make_folds
    from voxridge.solvers.gram import delayed_gram, delayed_kernel
    from voxridge.solvers.loo import leave_one_out
    from voxridge.solvers.ridge import solve_ridge
    from voxridge.solvers.ridge_cv import solve_ridge_cv
    from voxridge.solvers.stacking import residual_products, simplex_weights
    from voxridge.solvers.stream_design import StreamedDesign
    from voxridge.solvers.svd import ChunkedSVD, chunked_svd
    from voxridge.solvers.tiles import Targets

_HOME = {
    "BootstrapRidgeResult": "bootstrap",
    "ChunkedSVD": "svd",
    "DelayedDesign": "design",
    "Fold": "folds",
    "RidgeCVResult": "fits",
    "Targets": "tiles",
    "StreamedDesign": "stream_design",
    "bootstrap_ridge": "bootstrap",
    "chunked_svd": "svd",
    "delayed_gram": "gram",
    "delayed_kernel": "gram",
    "leave_one_out": "loo",
    "make_folds": "folds",
    "reference_eigenvalue": "alphas",
    "relative_alphas": "alphas",
    "residual_products": "stacking",
    "simplex_weights": "stacking",
    "solve_ridge": "ridge",
    "solve_ridge_cv": "ridge_cv",
    "squared_alphas": "alphas",
    "unsquared_alphas": "alphas",
}

__all__ = [
    "BootstrapRidgeResult",
    "ChunkedSVD",
    "DelayedDesign",
    "Fold",
    "RidgeCVResult",
    "StreamedDesign",
    "Targets",
    "bootstrap_ridge",
    "chunked_svd",
    "delayed_gram",
    "delayed_kernel",
    "leave_one_out",
    "make_folds",
    "reference_eigenvalue",
    "relative_alphas",
    "residual_products",
    "simplex_weights",
    "solve_ridge",
    "solve_ridge_cv",
    "squared_alphas",
    "unsquared_alphas",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

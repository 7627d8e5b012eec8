"""Pure solver functions over arrays and streams. They know nothing of language models, brains or
scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

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
    "solve_ridge": "solve_ridge",
    "solve_ridge_cv": "ridge_cv",
    "squared_alphas": "alphas",
    "unsquared_alphas": "alphas",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"voxridge.solvers.{_HOME[name]}"), name)
    raise AttributeError(f"module 'voxridge.solvers' has no attribute {name!r}")

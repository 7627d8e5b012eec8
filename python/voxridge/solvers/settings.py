"""What a cross-validated fit is asked for, checked once, and where it may write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge._dispatch import CudaDevice, check_precision
from voxridge.solvers.folds import Fold
from voxridge.solvers.heldout import Scoring
from voxridge.solvers.leave_out import are_single, held_out_sets
from voxridge.solvers.rows import check_alphas
from voxridge.solvers.tiles import Targets

Floating = NDArray[Any]
Evaluation = Literal["folds", "pooled", "gcv"]


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`~voxridge.solvers.ridge_cv.solve_ridge_cv`, checked."""

    alphas: Floating
    folds: tuple[Fold, ...]
    scoring: Scoring
    fit_intercept: bool
    groups: NDArray[np.intp] | None
    sample_weight: Floating | None
    evaluation: Evaluation
    solver: str
    memory_limit: int | None
    n_targets_batch: int | None
    cuda: CudaDevice | None = None  # None: the processor
    device_required: bool = False  # False: the processor, too, if it is expected to be faster
    precision: str = "float32"

    @property
    def needs_leave_out(self) -> bool:
        """Whether the spectral routes cannot do it."""
        return self.sample_weight is not None or self.evaluation != "folds"

    @property
    def root(self) -> Floating | None:
        return None if self.sample_weight is None else np.sqrt(self.sample_weight)


def check_settings(
    n_samples: int,
    targets: Targets,
    alphas: Any,
    folds: Sequence[Fold],
    *,
    scoring: Scoring,
    fit_intercept: bool,
    alpha_per_target: Any,
    sample_weight: Any,
    evaluation: Evaluation,
    solver: str,
    memory_limit: int | None,
    n_targets_batch: int | None,
    cuda: CudaDevice | None = None,
    device_required: bool = False,
    precision: str = "float32",
) -> Settings:
    """The arguments of :func:`~voxridge.solvers.ridge_cv.solve_ridge_cv` that concern every design alike."""
    grid = check_alphas(alphas)
    if scoring not in ("correlation", "r2"):
        raise ValueError(f'scoring={scoring!r} is not known here; use "correlation" or "r2"')
    if not folds:
        raise ValueError("folds is empty")
    weight = _check_weight(sample_weight, n_samples)
    groups = _groups(alpha_per_target, targets.n_targets)
    check_precision(precision)
    if groups is not None:  # chosen by means of scores, each of which would have to be float32
        precision = "float32"
    if evaluation == "folds" and are_single(held_out_sets(folds, n_samples), n_samples):
        evaluation = "pooled"  # a sample alone has no correlation and no variance
    if evaluation == "gcv" and scoring != "r2":
        raise ValueError(f'generalised cross-validation is a squared error; scoring={scoring!r} must be "r2"')
    return Settings(
        grid,
        tuple(folds),
        scoring,
        fit_intercept,
        groups,
        weight,
        evaluation,
        solver,
        memory_limit,
        n_targets_batch,
        cuda,
        device_required,
        precision,
    )


def _check_weight(sample_weight: Any, n_samples: int) -> Floating | None:
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; give one weight per sample, ({n_samples},)"
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must be finite, not negative, and not all zero")
    return weight


def _groups(alpha_per_target: Any, n_targets: int) -> NDArray[np.intp] | None:
    """None: a penalty per target; else the group of each target."""
    if isinstance(alpha_per_target, bool | np.bool_):
        return None if alpha_per_target else np.zeros(n_targets, dtype=np.intp)
    labels = np.asarray(alpha_per_target)
    if labels.shape != (n_targets,):
        raise ValueError(
            f"alpha_per_target has shape {labels.shape}; give True, False, or one label per target, "
            f"({n_targets},)"
        )
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


@dataclass(frozen=True)
class Storage:
    """Where weights and intermediate results of a fit go: ``weights`` is "memory", "none", a path, or a path
    for each of several designs."""

    weights: str | os.PathLike[str] | tuple[Path, ...]
    checkpoint: str | os.PathLike[str] | None
    identity: dict[str, Any]

    @property
    def kind(self) -> Any:
        """What the plan calls it."""
        return self.weights if self.weights in ("none", "memory") else "file"

    def of_design(self, number: int) -> str | os.PathLike[str]:
        """Where the weights of one design go."""
        return self.weights[number] if isinstance(self.weights, tuple) else self.weights

    def alone(self, number: int, solver: str) -> Storage:
        """For one design that is fitted by itself, after others."""
        folder = None if self.checkpoint is None else Path(self.checkpoint) / f"design-{number}-{solver}"
        return Storage(self.of_design(number), folder, self.identity)

"""Sizes of a cross-validated ridge problem: all that a plan is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from voxridge.solvers.folds import Fold


class FoldSize(NamedTuple):
    """Rows of a fold: trained on, held out of the training (scored and purged), scored; and how many folds
    have these sizes."""

    train: int
    held_out: int
    scored: int
    n_folds: int


@dataclass(frozen=True)
class Problem:
    """Sizes that decide a plan.

    Parameters
    ----------
    n, p, n_targets, n_alphas : int
        Samples, columns of the delayed design, targets, penalties.
    folds : sequence of Fold
    itemsize : int
        Bytes of a number in the working precision: 4 or 8.
    targets_in_memory, features_in_memory : bool
        False where they are read from a file, tile by tile or chunk by chunk.
    delays : tuple of int
    targets_itemsize : int, optional
        Bytes of a number in the file of the targets; None is ``itemsize``.
    weights : "memory", "file" or "none"
        Where the weights are kept.
    alpha_per_target : bool
        False chooses one penalty for all, after which the targets are read again.
    sample_weight, pooled : bool
        Weighted samples; scores of all folds together. Neither is for the spectral routes.
    checkpoint : bool
        Whether what is found on the way is kept in files.
    n_models : int
        Designs of these sizes that are fitted to the same targets.
    resident_bytes : int, optional
        What the process holds before the fit, its inputs in memory included. None: what it holds now.
    """

    n: int
    p: int
    n_targets: int
    n_alphas: int
    folds: Sequence[Fold]
    itemsize: int
    targets_in_memory: bool = True
    features_in_memory: bool = True
    delays: tuple[int, ...] = (0,)
    targets_itemsize: int | None = None
    weights: Literal["memory", "file", "none"] = "memory"
    alpha_per_target: bool = True
    sample_weight: bool = False
    n_models: int = 1
    pooled: bool = False
    resident_bytes: int | None = None
    checkpoint: bool = False

    def __str__(self) -> str:
        return (
            f"{self.n:,} samples x {self.p:,} columns x {self.n_targets:,} targets, "
            f"{self.n_alphas} penalties, {len(self.folds)} folds"
        )

    @property
    def n_features(self) -> int:
        """Columns of the features before they are delayed."""
        return self.p // len(self.delays)

    @cached_property
    def fold_sizes(self) -> tuple[FoldSize, ...]:
        """Sizes of the folds, equal ones counted together."""
        sizes = Counter((fold.n_train, self.n - fold.n_train, fold.validation.size) for fold in self.folds)
        return tuple(FoldSize(*size, count) for size, count in sizes.items())

    @property
    def longest_train(self) -> int:
        """Rows of the largest training set."""
        return max(size.train for size in self.fold_sizes)

    @cached_property
    def covers_once(self) -> bool:
        """Every sample is scored in one fold and purged from none."""
        return all(size.held_out == size.scored for size in self.fold_sizes) and self.n == sum(
            size.scored * size.n_folds for size in self.fold_sizes
        )

    @cached_property
    def leaves_one_out(self) -> bool:
        """The folds hold out all samples, one by one."""
        return len(self.folds) == self.n and all(size.held_out == 1 for size in self.fold_sizes)

    @property
    def keeps_components(self) -> bool:
        """Whether dual weights stay components of the eigenvectors (solvers/weights.py). Files hold dual
        coefficients, which mean something without the eigenvectors of this run; float64 has no use for
        components, and a few targets would take less memory than the eigenvectors do."""
        in_memory = self.weights == "memory" and not self.checkpoint
        return in_memory and self.itemsize < 8 and self.n_targets >= 2 * self.n

    @cached_property
    def n_lags(self) -> int:
        """Different distances between two delays: products of features with shifted features in a Gram."""
        return len({abs(a - b) for a in self.delays for b in self.delays})

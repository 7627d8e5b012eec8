"""Sizes of the benchmark problems: the one place where they are written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Split = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows to train on, rows to score


@dataclass(frozen=True)
class Shape:
    """Sizes of a ridge problem. Penalties: ``n_alphas`` of logspace(0, 8).

    ``n_features`` counts before delays; ``n_delays`` above 1 means delays of 1, 2, ... samples inside runs.
    Samples come in ``run_lengths``; where these are not given, in ``n_runs`` (or else ``n_folds``) runs of
    about equal length. A fold holds out whole neighbouring runs. ``n_folds`` 0 is leave-one-out.
    """

    n_samples: int
    n_features: int
    n_targets: int
    n_alphas: int
    n_folds: int
    n_delays: int = 1
    n_runs: int = 0
    run_lengths: tuple[int, ...] = ()
    seed: int = 0

    @property
    def n_columns(self) -> int:
        """Columns of the delayed design."""
        return self.n_features * self.n_delays

    @property
    def delays(self) -> tuple[int, ...]:
        return tuple(range(1, self.n_delays + 1)) if self.n_delays > 1 else (0,)

    @property
    def leaves_one_out(self) -> bool:
        return self.n_folds == 0

    @property
    def runs(self) -> tuple[int, ...]:
        """Samples of every run."""
        if self.run_lengths:
            return self.run_lengths
        return equal_parts(self.n_samples, self.n_runs or self.n_folds or 1)

    def folds(self) -> list[Split]:
        """(train, test) rows of every fold, the same for every competitor; none where one sample is left
        out."""
        if self.leaves_one_out:
            return []
        ends = np.cumsum(self.runs)
        borders = np.concatenate([[0], ends[np.cumsum(equal_parts(len(ends), self.n_folds)) - 1]])
        rows = np.arange(self.n_samples)
        tests = [rows[begin:end] for begin, end in pairwise(borders)]
        return [(np.delete(rows, test), test) for test in tests]

    @property
    def longest_train(self) -> int:
        return max(train.size for train, _ in self.folds())

    @property
    def longest_test(self) -> int:
        return max(test.size for _, test in self.folds())

    def scaled(self, scale: float) -> Shape:
        """Samples, features and targets times ``scale``."""
        sizes = self.n_samples, self.n_features, self.n_targets
        n, p, v = (_round(size, scale) for size in sizes)
        return self.with_sizes(n_samples=n, n_features=p, n_targets=v)

    def with_sizes(self, **sizes: int) -> Shape:
        """Another size of the same kind: runs of equal length."""
        return replace(self, run_lengths=(), **sizes)


def _round(size: int, scale: float) -> int:
    return max(2, round(size * scale))


def equal_parts(total: int, parts: int) -> tuple[int, ...]:
    """Lengths that differ by one at most, the longer ones first."""
    return tuple(total // parts + (i < total % parts) for i in range(parts))


# What each stands for is in bench/README.md.
RACES = {
    "himalaya": Shape(3000, 1000, 30_000, n_alphas=20, n_folds=3),
    "gpt2": Shape(9000, 768, 5000, n_alphas=20, n_folds=5, n_delays=4, n_runs=25),
    "square": Shape(4000, 4096, 10_000, n_alphas=20, n_folds=5),
    "wide": Shape(2000, 2048, 20_000, n_alphas=20, n_folds=5, n_delays=4, n_runs=10),
    "lpp13b": Shape(
        2636,
        5120,
        25_870,
        n_alphas=16,
        n_folds=9,
        run_lengths=(262, 278, 320, 283, 245, 323, 305, 272, 348),  # the English runs, 20 scans fewer each
    ),
    "fine": Shape(3000, 1000, 10_000, n_alphas=100, n_folds=5),
}
LEAVE_ONE_OUT = {"sklearn": Shape(1000, 2000, 2000, n_alphas=20, n_folds=0)}
SMALL = {
    "layer": Shape(2000, 4096, 5000, n_alphas=20, n_folds=5),
    "tiny": Shape(150, 20, 40, n_alphas=9, n_folds=3),
    "tiny-wide": Shape(90, 200, 40, n_alphas=9, n_folds=3),
    "tiny-delays": Shape(160, 12, 40, n_alphas=9, n_folds=3, n_delays=3, n_runs=5),
    "tiny-loo": Shape(60, 80, 30, n_alphas=9, n_folds=0),
}
SHAPES = RACES | LEAVE_ONE_OUT | SMALL

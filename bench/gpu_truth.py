"""Scores in float64 by torch, on the GPU where there is one, to hold the fits of the large problems
against. Nothing here shares code with the solvers.

The residuals of a set that is left out come from the inverse of the bordered kernel ``[K + alpha I, 1;
1', 0]`` of all samples: ``(A^-1)_ff^-1 (A^-1 y)_f``, intercept and all (Cawley and Talbot 2003; An, Liu
and Venkatesh 2007). :func:`refitted` does without that identity, for the folds and penalties that there
is time for: textbook ridge of the training samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gpu_data import Brain
from bench.gpu_results import Row

Floating = NDArray[Any]
_SINGLES = 1  # rows of a set that is one sample


class Truth:
    """Held-out predictions of some targets.

    Parameters
    ----------
    brain : Brain
    targets : ndarray of int
        Whose scores are wanted.
    """

    def __init__(self, brain: Brain, targets: NDArray[np.intp]) -> None:
        import torch

        self.torch = torch
        self.where = "cuda" if torch.cuda.is_available() else "cpu"
        self.y = torch.tensor(brain.y[:, targets].astype(np.float64), device=self.where)
        self.kernel = self._kernel(brain)

    def _kernel(self, brain: Brain) -> Any:
        """``X X'`` of the delayed design, a delay at a time."""
        torch, shape = self.torch, brain.shape
        x = torch.tensor(brain.x, device=self.where)
        kernel = torch.zeros((shape.n_samples, shape.n_samples), dtype=torch.float64, device=self.where)
        ends = np.cumsum(shape.runs).tolist()
        for delay in shape.delays:
            moved = torch.zeros(x.shape, dtype=torch.float64, device=self.where)
            for end, length in zip(ends, shape.runs, strict=True):
                moved[end - length + delay : end] = x[end - length : end - delay]
            kernel.addmm_(moved, moved.T)
        return kernel

    def left_out(self, alpha: float, sets: Sequence[Sequence[NDArray[np.intp]]]) -> list[Any]:
        """Predictions (n, v) for every division of the samples into ``sets``, each set by the others."""
        torch, n = self.torch, self.y.shape[0]
        inverse = self.kernel.clone()
        inverse.diagonal().add_(alpha)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(inverse))
        ones = inverse.sum(dim=1, keepdim=True)
        inverse.addmm_(ones, ones.T / ones.sum(), alpha=-1.0)
        coefficients = inverse @ self.y
        found = []
        for division in sets:
            if len(division) == n:
                residual = coefficients / inverse.diagonal()[:, None]
            else:
                residual = torch.empty_like(self.y)
                for rows in division:
                    at = torch.as_tensor(rows, device=self.where)
                    residual[at] = torch.linalg.solve(inverse[at[:, None], at], coefficients[at])
            found.append(self.y - residual)
        return found

    def refitted(self, alpha: float, train: NDArray[np.intp], test: NDArray[np.intp]) -> Any:
        """Predictions of the rows ``test`` by a fit to the rows ``train``."""
        torch = self.torch
        a, b = (torch.as_tensor(rows, device=self.where) for rows in (train, test))
        own, cross = self.kernel[a[:, None], a], self.kernel[b[:, None], a]
        mean, grand = own.mean(dim=1), own.mean()
        cross = cross - cross.mean(dim=1, keepdim=True) - mean + grand
        own = own - mean - mean[:, None] + grand
        own.diagonal().add_(alpha)
        y_mean = self.y[a].mean(dim=0)
        weights = torch.cholesky_solve(self.y[a] - y_mean, torch.linalg.cholesky(own))
        return cross @ weights + y_mean

    def scores(self, predicted: Any, sets: Sequence[NDArray[np.intp]], scoring: str) -> Floating:
        """(v,) mean over ``sets`` of the score of predictions (n, v); where sets are single samples, of
        all together."""
        if len(sets[0]) == _SINGLES:
            sets = [np.arange(self.y.shape[0])]
        total: Any = 0.0
        for rows in sets:
            at = self.torch.as_tensor(rows, device=self.where)
            total = total + self._score(self.y[at], predicted[at], scoring)
        found: Floating = (total / len(sets)).cpu().numpy()
        return found

    def _score(self, y: Any, prediction: Any, scoring: str) -> Any:
        centred = y - y.mean(dim=0)
        if scoring == "r2":
            return 1 - (y - prediction).square().sum(dim=0) / centred.square().sum(dim=0)
        moved = prediction - prediction.mean(dim=0)
        norm = (centred.square().sum(dim=0) * moved.square().sum(dim=0)).sqrt()
        return (centred * moved).sum(dim=0) / norm.clamp_min(1e-300)

    def clear(self) -> None:
        """Give the device's memory back."""
        del self.kernel, self.y
        if self.where == "cuda":
            self.torch.cuda.empty_cache()


def sample(n_targets: int, count: int = 200) -> NDArray[np.intp]:
    """Evenly spaced targets."""
    return np.unique(np.linspace(0, n_targets - 1, min(count, n_targets)).astype(np.intp))


def compare(truth: Floating, alphas: Floating, cv_scores: Floating, best: Floating, alpha: Floating) -> Row:
    """How far scores (n_alphas, v) and best scores (v,) are from those in float64 (n_alphas, v), how
    often the penalty is the same, and what another one loses at most."""
    chosen = np.abs(np.log(alpha[:, None] / alphas)).argmin(axis=1)
    right, everyone = truth.argmax(axis=0), np.arange(alpha.size)
    return {
        "true_targets": int(alpha.size),
        "same_alpha": float(np.mean(right == chosen)),
        "max_score_difference": _largest(best - truth[chosen, everyone]),
        "max_score_difference_of_all_alphas": _largest(cv_scores - truth),
        "max_score_lost": float((truth.max(axis=0) - truth[chosen, everyone]).max()),
    }


def _largest(difference: Floating) -> float:
    """NaN where one is: no score may be missing."""
    return float(np.abs(difference).max())

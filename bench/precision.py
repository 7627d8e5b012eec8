"""How much float32 and float64 fits lose on ill-conditioned designs: `python -m bench.precision`.

Every route fits the same small problems, whose Gram matrices have eigenvalues from 1 down to 1 / condition,
and is held against ridge by a QR decomposition in extended precision (numpy's longdouble), which never forms
a Gram matrix. Writes results/precision.json and draws results/precision.png; --draw only draws what the file
holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.tables import write_json

ROUTES = {
    "tall": ("primal-spectral", "primal-leave-out", "primal-cholesky", "svd"),
    "wide": ("dual-spectral", "dual-leave-out", "dual-cholesky", "svd"),
}
SIZES = {"tall": (300, 100), "wide": (100, 300)}  # samples, features
CONDITIONS = tuple(10.0**k for k in range(13))
N_TARGETS, N_FOLDS, N_NEW = 40, 5, 200
_USUAL = 1e-3  # a penalty as cross-validation chooses it, times the largest eigenvalue


def bound(quantity: str, route: str, dtype: str, condition: float) -> float:
    """What docs/solver.md promises of an error at the largest eigenvalue / alpha = ``condition``."""
    eps64, eps = np.finfo(np.float64).eps, np.finfo(dtype).eps
    spread = np.sqrt(condition) if route == "svd" else condition
    if dtype == "float64":
        return float(20 * eps64 * (10 + spread))
    exact = 20 * eps64 * spread
    if quantity == "score":
        return float(20 * eps + exact)
    return float(eps * (10 + _float32_weights(route, condition)) + exact)


def _float32_weights(route: str, condition: float) -> float:
    """By how much predictions magnify the rounding of weights in float32; dual ones change to float64."""
    return min(condition, 1e4) if route.startswith("dual") else float(np.sqrt(condition))


@dataclass(frozen=True)
class Case:
    """A design of one shape whose Gram matrix has this condition number, and one penalty: the "smallest" of
    the eigenvalues, or a "usual" one.

    The data are float32 numbers, the same for both precisions: what is measured is arithmetic, not data.
    """

    shape: str
    condition: float
    penalty: str = "smallest"

    @property
    def alpha(self) -> float:
        """The largest eigenvalue is 1."""
        return 1 / self.condition if self.penalty == "smallest" else _USUAL

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (n, p), responses with signal in every direction (n, v), new features; float32."""
        rng = np.random.default_rng(1)
        n, p = SIZES[self.shape]
        k = min(n - 1, p)
        scores = rng.standard_normal((n, k))
        left = np.linalg.qr(scores - scores.mean(axis=0))[0]
        right = np.linalg.qr(rng.standard_normal((p, k)))[0]
        values = np.logspace(0, -0.5 * np.log10(self.condition), k)
        x = (left * values) @ right.T
        new = (rng.standard_normal((N_NEW, k)) / np.sqrt(n) * values) @ right.T
        y = left @ rng.standard_normal((k, N_TARGETS)) * np.sqrt(n / k) + rng.standard_normal((n, N_TARGETS))
        return x.astype(np.float32), y.astype(np.float32), new.astype(np.float32)

    @cached_property
    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean held-out correlations (v,) and predictions of the new features (200, v)."""
        x, y, new = (array.astype(np.longdouble) for array in self.data)
        scores = np.zeros(N_TARGETS, dtype=np.longdouble)
        for rows in np.array_split(np.arange(x.shape[0]), N_FOLDS):
            kept = np.setdiff1d(np.arange(x.shape[0]), rows)
            prediction = extended_ridge(x[kept], y[kept], self.alpha, x[rows])
            scores += _correlation(prediction, y[rows]) / N_FOLDS
        return scores, extended_ridge(x, y, self.alpha, new)


def extended_ridge(x: np.ndarray, y: np.ndarray, alpha: float, new: np.ndarray) -> np.ndarray:
    """Predictions of ridge with an intercept by Householder QR of [X; sqrt(alpha) I], in the dtype of x."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y, new = x - x_mean, y - y_mean, new - x_mean
    if x.shape[0] < x.shape[1]:  # rows span all that matters: X = R' Q', and new rows are taken along Q
        r, turned = _qr(x.T.copy(), np.concatenate([np.zeros((x.shape[1], 0)), new.T], axis=1))
        x, new = r.T, turned[: r.shape[0]].T
    k = x.shape[1]
    stacked = np.concatenate([x, np.sqrt(x.dtype.type(alpha)) * np.eye(k, dtype=x.dtype)])
    r, z = _qr(stacked, np.concatenate([y, np.zeros((k, y.shape[1]), dtype=y.dtype)]))
    coef = z[:k]
    for i in range(k - 1, -1, -1):
        coef[i] = (coef[i] - r[i, i + 1 :] @ coef[i + 1 :]) / r[i, i]
    return new @ coef + y_mean


def _qr(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R (k, k) and Q'b of a (n, k), n >= k; both are overwritten."""
    b = b.astype(a.dtype)
    for i in range(a.shape[1]):
        v = a[i:, i].copy()
        v[0] += np.copysign(np.sqrt(v @ v), v[0])
        size = v @ v
        if size == 0:
            continue
        v /= np.sqrt(size)
        a[i:, i:] -= 2 * np.outer(v, v @ a[i:, i:])
        b[i:] -= 2 * np.outer(v, v @ b[i:])
    return a[: a.shape[1]], b


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


def errors(case: Case, route: str, dtype: str) -> dict[str, Any]:
    """Of one fit: the largest error of a mean held-out correlation, and of the predictions of new samples the
    largest root mean square error of a target, in standard deviations of its responses."""
    from voxridge import EncodingRidge
    from voxridge._warnings import FallbackWarning, VoxridgeWarning

    x, y, new = (array.astype(dtype) for array in case.data)
    model = EncodingRidge(alphas=[case.alpha], delays=(0,), cv=N_FOLDS, solver=route, progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VoxridgeWarning)
        model.fit(x, y)
    scores, predictions = case.expected
    difference = np.linalg.norm((model.predict(new) - predictions).astype(np.float64), axis=0)
    size = np.sqrt(N_NEW) * y.std(axis=0, dtype=np.float64)
    return {
        "route": route,
        "shape": case.shape,
        "dtype": dtype,
        "condition": case.condition,
        "penalty": case.penalty,
        "score_error": float(f"{np.abs(model.best_cv_scores_ - scores).max():.3g}"),
        "prediction_error": float(f"{(difference / size).max():.3g}"),
        "fell_back": any(issubclass(w.category, FallbackWarning) for w in caught),
    }


def measure() -> list[dict[str, Any]]:
    """Errors of every route at every condition number. Wide designs begin at 100: of condition 1, their
    samples are orthogonal, and no model of some says anything of the others."""
    rows = []
    for shape, condition, penalty in product(ROUTES, CONDITIONS, ("smallest", "usual")):
        if shape == "wide" and condition < 100:
            continue
        case = Case(shape, condition, penalty)
        rows += [errors(case, route, dtype) for route in ROUTES[shape] for dtype in ("float32", "float64")]
    return rows


_COLOURS = {
    "spectral": "#0072B2",
    "leave-out": "#E69F00",
    "cholesky": "#009E73",
    "svd": "#CC79A7",
}  # Okabe, Ito
_MARKERS = {"spectral": "o", "leave-out": "s", "cholesky": "^", "svd": "D"}
_TITLES = {
    "score": "error of the mean held-out correlation",
    "prediction": "error of predictions / std of responses",
}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Errors against the condition number, with what is promised."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(14, 7.2), sharex=True, sharey="row", layout="constrained")
    for i, quantity in enumerate(_TITLES):
        for axis, (dtype, shape) in zip(axes[i], product(("float32", "float64"), ROUTES), strict=True):
            chosen = [row for row in rows if (row["shape"], row["dtype"]) == (shape, dtype)]
            _panel(axis, chosen, quantity, dtype, shape)
            n, p = SIZES[shape]
            axis.set(xscale="log", yscale="log")
            if i == 0:
                axis.set_title(f"{dtype}, {n} samples x {p} features")
            else:
                axis.set_xlabel("condition number of the Gram matrix")
        axes[i, 0].set_ylabel(_TITLES[quantity])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, rows: list[dict[str, Any]], quantity: str, dtype: str, shape: str) -> None:
    def curve(route: str, penalty: str) -> list[float]:
        chosen = [row for row in rows if (row["route"], row["penalty"]) == (route, penalty)]
        return [max(row[f"{quantity}_error"], 1e-17) for row in chosen]

    conditions = sorted({row["condition"] for row in rows})
    for route in ROUTES[shape]:
        kind = route.partition("-")[2] or route
        label = f"{kind}, penalty = smallest eigenvalue"
        style = {"color": _COLOURS[kind], "marker": _MARKERS[kind], "markersize": 4, "linewidth": 1.2}
        axis.plot(conditions, curve(route, "smallest"), label=label, **style)
        promised = [bound(quantity, route, dtype, condition) for condition in conditions]
        axis.plot(conditions, promised, color=_COLOURS[kind], linestyle="--", linewidth=0.9)
    worst = np.max([curve(route, "usual") for route in ROUTES[shape]], axis=0)
    label = f"worst route, penalty = {_USUAL:g} of the largest eigenvalue"
    axis.plot(conditions, worst, color="0.4", linestyle=":", marker="x", markersize=4, label=label)
    axis.plot([], [], color="black", linestyle="--", linewidth=0.9, label="promised (docs/solver.md)")
    axis.grid(color="0.9", linewidth=0.6)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder of precision.json and precision.png"
    )
    parser.add_argument("--draw", action="store_true", help="draw what precision.json holds; measure nothing")
    options = parser.parse_args(arguments)
    place = options.out / "precision.json"
    if not options.draw:
        write_json(place, {"machine": describe(), "errors": measure()})
    rows = json.loads(place.read_text())["errors"]
    draw(rows, options.out / "precision.png")
    for shape, routes in ROUTES.items():
        for route, dtype in product(routes, ("float32", "float64")):
            chosen = [
                row for row in rows if (row["shape"], row["route"], row["dtype"]) == (shape, route, dtype)
            ]
            print(
                f"{shape} {route:<17}{dtype}  " + "  ".join(_worst(chosen, q, route, dtype) for q in _TITLES)
            )
    return 0


def _worst(rows: list[dict[str, Any]], quantity: str, route: str, dtype: str) -> str:
    """The largest share of what is promised, and where."""
    shares = []
    for row in rows:
        condition = row["condition"] if row["penalty"] == "smallest" else 1 / _USUAL
        limit = bound(quantity, route, dtype, condition)
        shares.append((row[f"{quantity}_error"] / limit, row["condition"], row["penalty"]))
    share, condition, penalty = max(shares)
    return f"{quantity}s: {share:.2g} of the bound at {condition:.0e}, {penalty}"


if __name__ == "__main__":
    sys.exit(main())

"""What docs/solver.md promises of float32 and float64 on ill-conditioned designs, on three of its points."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from voxridge.testing import textbook_ridge

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import precision  # noqa: E402

_CASES = {
    (shape, condition): precision.Case(shape, condition)
    for shape, condition in product(precision.ROUTES, (1e2, 1e6, 1e10))
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "route"), [(shape, route) for shape, routes in precision.ROUTES.items() for route in routes]
)
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_errors_are_within_the_promised_bounds(shape: str, route: str, dtype: str, condition: float) -> None:
    found = precision.errors(_CASES[shape, condition], route, dtype)
    assert not found["fell_back"]
    for quantity in ("score", "prediction"):
        assert found[f"{quantity}_error"] <= precision.bound(quantity, route, dtype, condition), quantity


@pytest.mark.parametrize(("n", "p"), [(40, 12), (12, 40)])
def test_the_reference_is_ridge(n: int, p: int) -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.standard_normal((n, p)) + 3, rng.standard_normal((n, 5)), rng.standard_normal((7, p))
    coef, intercept = textbook_ridge(x, y, 0.5)
    predicted = precision.extended_ridge(*(a.astype(np.longdouble) for a in (x, y)), 0.5, new)
    np.testing.assert_allclose(predicted.astype(float), new @ coef + intercept, atol=1e-12)


def test_designs_have_their_condition_number() -> None:
    for shape, condition in (("tall", 1e6), ("wide", 1e6)):
        x = precision.Case(shape, condition).data[0].astype(np.float64)
        values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
        values = values[: min(x.shape[0] - 1, x.shape[1])]
        np.testing.assert_allclose((values[0] / values[-1]) ** 2, condition, rtol=1e-2)


def test_errors_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        {"shape": shape, "route": route, "dtype": dtype, "condition": condition, "penalty": penalty}
        | {"score_error": 1e-9, "prediction_error": 1e-8, "fell_back": False}
        for shape, routes in precision.ROUTES.items()
        for route, dtype, condition, penalty in product(
            routes, ("float32", "float64"), (1e2, 1e3), ("smallest", "usual")
        )
    ]
    precision.write_json(tmp_path / "precision.json", {"errors": rows})
    assert precision.main(["--draw", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "precision.png").stat().st_size > 10_000

"""Plateaus: found where they are, seldom where they are not, and nothing claimed of a few models."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge._warnings import SmallSampleWarning
from voxridge.science._shapes import fit_shapes
from voxridge.science.model_table import known_models
from voxridge.science.saturation import plateau_test, slope_above

MODELS = [model for model in known_models() if model.perplexity > 0]
SIZES = np.array([model.parameters for model in MODELS])
FAMILIES = [model.family for model in MODELS]
CODES = np.unique(FAMILIES, return_inverse=True)[1]
LOG = np.log10(SIZES)
NOISE = 0.004


def verdicts(truth: np.ndarray, *, shared: float = 0.0, n: int = 100) -> list[str]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        scores = truth + NOISE * rng.standard_normal(28) + shared * rng.standard_normal(8)[CODES]
        families = FAMILIES if shared else None
        found.append(plateau_test(SIZES, scores, families=families, n_draws=99).verdict)
    return found


@pytest.mark.parametrize("shared", [0.0, NOISE])
def test_a_straight_line_is_seldom_called_a_plateau(shared: float) -> None:
    found = verdicts(0.02 * LOG, shared=shared)
    assert found.count("flattens") <= 8  # 5 are expected of 100
    assert found.count("keeps rising") >= 70


@pytest.mark.parametrize(
    "truth",
    [0.02 * np.minimum(LOG, 9.3), -0.06 * np.exp(-2.5 * (LOG - 8))],
    ids=["a break at 2 billion", "a ceiling"],
)
def test_a_plateau_is_found(truth: np.ndarray) -> None:
    assert verdicts(truth, n=40).count("flattens") >= 34


def test_noise_has_no_rise() -> None:
    found = verdicts(np.zeros(28), n=40)
    assert found.count("no rise") >= 35
    assert verdicts(-0.02 * LOG, n=3) == ["no rise"] * 3


def test_shapes_are_the_best_of_a_fine_search() -> None:
    """Each shape's residual sum of squares against a general optimiser, and AIC against its formula."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(1)
    z = (LOG - LOG.min()) / np.ptp(LOG)
    scores = 0.2 * np.minimum(z, 0.55) + 0.004 * rng.standard_normal(28)
    shapes = fit_shapes(z, scores)
    curves = {
        "saturating": lambda v: v[0] - v[1] * np.exp(-v[2] * z),
        "broken": lambda v: v[0] + v[1] * np.minimum(z, v[2]),
    }
    starts = {"saturating": [0.1, 0.1, 2.0], "broken": [0.0, 0.2, 0.5]}
    for name, curve in curves.items():
        loss = lambda v, f=curve: float(np.sum((scores - f(v)) ** 2))  # noqa: E731
        best = min(
            minimize(loss, starts[name], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9}).fun
            for _ in range(1)
        )
        assert shapes[name].rss <= best * 1.02
        assert shapes[name].rss >= best * (1 - 1e-6)
        np.testing.assert_allclose(np.sum((scores - shapes[name].at(z)) ** 2), shapes[name].rss)
    for shape in shapes.values():
        k, n = shape.n_parameters, 28
        aic = n * np.log(2 * np.pi * shape.rss / n) + n + 2 * k
        assert shape.aic == pytest.approx(aic)
        assert shape.aicc == pytest.approx(aic + 2 * k * (k + 1) / (n - k - 1))
    lowest = min(shape.aicc for shape in shapes.values())
    likelihood = {name: np.exp((lowest - shape.aicc) / 2) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        assert shape.weight == pytest.approx(likelihood[name] / sum(likelihood.values()))


def test_the_numbers_of_a_known_break() -> None:
    scores = 0.02 * np.minimum(LOG, 9.3) + 0.001 * np.random.default_rng(2).standard_normal(28)
    found = plateau_test(SIZES, scores, n_draws=199, above=3e9)
    assert found.verdict == "flattens"
    assert found.p == 1 / 200
    assert found.delta_aicc > 20
    assert np.log10(found.breakpoint) == pytest.approx(9.3, abs=0.1)
    assert found.flattening is found.shapes["broken"]
    np.testing.assert_allclose(found.curve("broken", [1e10, 1e11]), 0.186, atol=0.001)
    np.testing.assert_allclose(found.curve("straight", SIZES), np.poly1d(np.polyfit(LOG, scores, 1))(LOG))
    assert found.upper is not None
    assert found.upper.n_models == 10
    assert "flat above" in found.sentence


def test_perplexity_levels_off_at_its_low_end() -> None:
    perplexity = np.array([model.perplexity for model in MODELS])
    rng = np.random.default_rng(3)
    u = np.log10(perplexity)
    bent = -0.05 * np.maximum(u, 1.0) + 0.002 * rng.standard_normal(28)
    found = plateau_test(perplexity, bent, predictor="perplexity", n_draws=199)
    assert found.verdict == "flattens"
    assert found.breakpoint == pytest.approx(10, rel=0.2)
    assert "below perplexity" in found.sentence
    straight = -0.05 * u[:, None] + 0.002 * rng.standard_normal((28, 30))
    for name in ("ppl", "cross-entropy", "bits per byte"):
        assert plateau_test(perplexity, bent, predictor=name, n_draws=199).verdict == found.verdict
    seen = [plateau_test(perplexity, s, predictor="perplexity", n_draws=99).verdict for s in straight.T]
    assert seen.count("keeps rising") >= 20
    assert seen.count("flattens") <= 4


def test_units_do_not_matter() -> None:
    scores = 0.02 * np.minimum(LOG, 9.3) + NOISE * np.random.default_rng(4).standard_normal(28)
    plain = plateau_test(SIZES, scores, n_draws=199)
    other = plateau_test(SIZES / 1e6, 5 + 3 * scores, n_draws=199)
    assert other.p == plain.p
    assert other.delta_aicc == pytest.approx(plain.delta_aicc)
    assert other.breakpoint * 1e6 == pytest.approx(plain.breakpoint)


def test_few_models_cannot_tell() -> None:
    found = plateau_test([1e8, 1e9, 1e10], [0.1, 0.2, 0.2])
    assert found.verdict == "cannot tell"
    assert found.sentence.startswith("3 models cannot tell a plateau")
    assert found.shapes == {}
    assert found.flattening is None
    assert np.isnan(found.p)
    scores = np.full(28, np.nan)
    scores[:7] = 0.02 * LOG[:7]
    assert plateau_test(SIZES, scores).sentence.startswith("7 models cannot tell")


def test_the_models_beyond_a_size_alone() -> None:
    from scipy.stats import linregress

    scores = 0.02 * LOG + NOISE * np.random.default_rng(5).standard_normal(28)
    large = SIZES > 3e9
    fit = slope_above(SIZES, scores, 3e9, families=FAMILIES, names=[model.name for model in MODELS])
    expected = linregress(LOG[large], scores[large])
    assert fit.n_models == 10
    assert float(fit.slope) == pytest.approx(expected.slope)
    assert float(fit.p) == pytest.approx(expected.pvalue)
    assert set(fit.names) == {model.name for model in MODELS if model.parameters > 3e9}
    below = slope_above([30, 20, 10, 5, 4], np.arange(5.0), 15, predictor="perplexity")
    assert below.x.tolist() == [10, 5, 4]
    with pytest.raises(ValueError, match=r"2 model.* beyond 1.4e.10: at least 3"):
        slope_above([1e8, 1e9, 2e10, 3e10], np.arange(4.0), 1.4e10)
    with pytest.warns(SmallSampleWarning):
        slope_above(SIZES, scores, 1.2e10, families=["a" if family != "OPT" else "b" for family in FAMILIES])


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(28, 2\): give one series"):
        plateau_test(SIZES, np.ones((28, 2)))
    with pytest.raises(ValueError, match="n_draws=5"):
        plateau_test(SIZES, LOG, n_draws=5)
    with pytest.raises(ValueError, match="one score per model"):
        slope_above(SIZES, LOG[:3], 1e9)

"""bootstrap_ridge against its formula: an SVD of the training samples for every bootstrap, in float64."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from voxridge import _warnings
from voxridge.solvers import BootstrapRidgeResult, bootstrap_ridge
from voxridge.testing import make_responses, relative_error

TIE = {np.float32: 1e-6, np.float64: 1e-11}
SCORE = {np.float32: 1e-5, np.float64: 1e-8}  # what is promised of scores
WEIGHT = {np.float32: 1e-5, np.float64: 1e-8}
SHAPES = [(203, 30), (203, 150), (120, 260)]  # few features; near the number trained on; more than samples
ALPHAS = np.logspace(0, 4, 9)
DRAW: dict[str, Any] = {"nboots": 4, "chunklen": 10, "nchunks": 4}


@pytest.fixture(autouse=True)
def _edges_are_no_matter() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _warnings.AlphaEdgeWarning)
        yield


@pytest.fixture(params=["operators", "spectral"])
def scorer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of scoring a bootstrap, whichever is cheaper."""
    spectral = request.param == "spectral"
    monkeypatch.setattr("voxridge.solvers.bootstrap_engine.spectral_is_cheaper", lambda *sizes: spectral)
    return str(request.param)


def problem(
    n: int,
    p: int,
    dtype: type = np.float64,
    n_targets: int = 12,
    noise: float = 1.5,
    seed: int = 0,
    fall: float = 0.5,
) -> list[np.ndarray]:
    """Rstim, Rresp, Pstim, Presp, about z-scored; singular values of the features fall with this power."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 60, p)) / np.arange(1, p + 1) ** fall @ rng.standard_normal((p, p))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = make_responses(x, n_targets, noise=noise, seed=seed)
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    return [np.ascontiguousarray(a, dtype=dtype) for a in (x[:n], y[:n], x[n:], y[n:])]


def score(y: np.ndarray, prediction: np.ndarray, use_corr: bool, unit: Any = None) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        if use_corr:
            zy, zp = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (y, prediction))
            found = (zy * zp).mean(axis=0)
        else:
            r2 = 1 - (y - prediction).var(axis=0) / (y.var(axis=0) if unit is None else unit)
            found = np.sign(r2) * np.sqrt(np.abs(r2))
    return np.where(np.isfinite(found), found, 0.0)


def textbook_scores(
    x: np.ndarray,
    y: np.ndarray,
    alphas: np.ndarray,
    sets: list[Any],
    normalpha: bool = False,
    use_corr: bool = True,
    singcutoff: float = 1e-10,
) -> np.ndarray:
    """(n_alphas, n_targets, n_boots)."""
    x, y = x.astype(float), y.astype(float)
    scores = np.zeros((len(alphas), y.shape[1], len(sets)))
    for b, held in enumerate(sets):
        kept = np.setdiff1d(np.arange(len(x)), held)
        u, s, v_t = np.linalg.svd(x[kept], full_matrices=False)
        used = s > max(singcutoff, s[0] * 1e-13)
        u, s, v_t = u[:, used], s[used], v_t[used]
        for i, a in enumerate(alphas * (s[0] if normalpha else 1.0)):
            prediction = x[held] @ v_t.T @ ((s / (s**2 + a**2))[:, None] * (u.T @ y[kept]))
            scores[i, :, b] = score(y[held], prediction, use_corr, (1 + y[held].var(axis=0)) / 2)
    return scores


def textbook_weights(x: np.ndarray, y: np.ndarray, a: np.ndarray) -> np.ndarray:
    u, s, v_t = np.linalg.svd(x.astype(float), full_matrices=False)
    used = s > s[0] * 1e-13
    u, s, v_t = u[:, used], s[used], v_t[used]
    return np.asarray(v_t.T @ ((s[:, None] / (s[:, None] ** 2 + a**2)) * (u.T @ y.astype(float))))


def check(result: BootstrapRidgeResult, data: list[np.ndarray], alphas: np.ndarray, **options: Any) -> None:
    """Every output but chosen alphas that are grouped."""
    x, y, px, py = data
    dtype = x.dtype.type
    use_corr, normalpha = options.get("use_corr", True), options.get("normalpha", False)
    expected = textbook_scores(x, y, alphas, result.valinds, **options)
    assert result.allRcorrs is not None
    assert result.allRcorrs.dtype == dtype
    if use_corr:
        assert np.abs(result.allRcorrs - expected).max() <= SCORE[dtype]
    else:  # a root: near 0 it magnifies, and its square is what can be promised
        squares = [np.sign(a) * a.astype(float) ** 2 for a in (result.allRcorrs, expected)]
        assert np.abs(squares[0] - squares[1]).max() <= SCORE[dtype]
    means = expected.mean(axis=2)
    chosen = np.abs(np.subtract.outer(alphas, result.valphas)).argmin(axis=0)
    np.testing.assert_array_equal(result.valphas, alphas[chosen])
    # Where penalties tie to rounding (0 and 1e-8, say) the BLAS decides.
    assert (means.max(axis=0) - means[chosen, np.arange(len(chosen))]).max() <= TIE[dtype]
    a = result.valphas * (np.linalg.norm(x.astype(float), 2) if normalpha else 1.0)
    weights = textbook_weights(x, y, a)
    assert result.wt is not None
    assert result.wt.dtype == dtype
    assert relative_error(result.wt, weights) <= WEIGHT[dtype]
    np.testing.assert_allclose(
        result.corrs, score(py.astype(float), px @ weights, use_corr), atol=SCORE[dtype]
    )


@pytest.mark.parametrize("options", [{}, {"normalpha": True}, {"use_corr": False}], ids=str)
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_equals_the_textbook(n: int, p: int, options: dict[str, Any], scorer: str, dtype: type) -> None:
    data = problem(n, p, dtype)
    alphas = np.logspace(-2, 1, 9) if options.get("normalpha") else ALPHAS
    result = bootstrap_ridge(*data, alphas, **DRAW, seed=1, **options)
    check(result, data, alphas, **options)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(12, 80),
    p=st.integers(1, 90),
    chunklen=st.integers(1, 6),
    decades=st.integers(0, 5),
)
def test_any_shape(seed: int, n: int, p: int, chunklen: int, decades: int) -> None:
    data = problem(n, p, n_targets=4, seed=seed)
    alphas = np.logspace(4 - decades, 4, 5)
    nchunks = max(1, n // chunklen // 4)
    assume(chunklen * nchunks > 2)  # of two samples the correlation is the sign of a difference
    result = bootstrap_ridge(*data, alphas, 3, chunklen, nchunks, seed=seed)
    expected = textbook_scores(*data[:2], alphas, result.valinds)
    assert np.abs(result.allRcorrs - expected).max() <= SCORE[np.float64]


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("return_wt", [True, False])
def test_an_ill_conditioned_design(n: int, p: int, return_wt: bool, scorer: str, dtype: type) -> None:
    """Directions whose eigenvalues are lost in the rounding of the Gram still have their part of the
    weights."""
    data = problem(n, p, dtype, fall=3.0)
    condition = np.divide(*np.linalg.svd(data[0].astype(float), compute_uv=False)[[0, -1]])
    assert condition > 1e4
    result = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    check(result, data, ALPHAS)
    px, py = (a.astype(float) for a in data[2:])
    expected = score(py, px @ result.wt.astype(float), use_corr=True)  # predictions of these very weights
    short = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1, return_wt=return_wt)
    np.testing.assert_allclose(short.corrs, expected, atol=SCORE[dtype])


def test_large_penalties_keep_their_digits_in_float32(scorer: str) -> None:
    """Predictions shrink to nothing beside the responses; their correlations do not."""
    data = problem(203, 60, np.float32)
    alphas = np.array([1e4, 1e6, 1e9])
    result = bootstrap_ridge(*data, alphas, **DRAW, seed=0)
    assert np.abs(result.allRcorrs - textbook_scores(*data[:2], alphas, result.valinds)).max() <= 1e-6


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_penalties_that_the_gram_cannot_resolve(n: int, p: int, scorer: str, dtype: type) -> None:
    data = problem(n, p, dtype)
    alphas = np.array([0.0, 1e-8, 1e-4, 1e-2, 1.0])
    with pytest.warns(
        _warnings.SingularDesignWarning, match=r"pairs of a bootstrap and an alpha were scored"
    ):
        result = bootstrap_ridge(*data, alphas, **DRAW, seed=2)
    check(result, data, alphas)


def test_no_penalty_at_all_on_a_rank_deficient_design() -> None:
    """Singular values within rounding of zero are not divided by."""
    x, y, px, py = problem(150, 20)
    data = [np.hstack([x, x]), y, np.hstack([px, px]), py]
    with pytest.warns(_warnings.SingularDesignWarning, match="12 targets fitted"):
        result = bootstrap_ridge(*data, [0.0], **DRAW, seed=0)
    check(result, data, np.array([0.0]))


def test_singular_values_below_the_cutoff_are_left_out(dtype: type) -> None:
    data = problem(150, 20, dtype)
    cutoff = float(np.median(np.linalg.svd(data[0], compute_uv=False)))
    with pytest.warns(_warnings.SingularDesignWarning, match="singcutoff"):
        result = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=0, singcutoff=cutoff)
    expected = textbook_scores(*data[:2], ALPHAS, result.valinds, singcutoff=cutoff)
    assert np.abs(result.allRcorrs - expected).max() <= SCORE[dtype]
    assert np.abs(expected - textbook_scores(*data[:2], ALPHAS, result.valinds)).max() > 0.01


def test_a_feature_that_only_held_out_samples_have(scorer: str, dtype: type) -> None:
    """Its direction has leverage 1: nothing is known of it in training."""
    data = problem(150, 12, dtype)
    data[0][:, 3] = 0
    data[0][20:30, 3] = 5
    result = bootstrap_ridge(*data, ALPHAS, chunks=[np.arange(10, 40), np.arange(0, 30), np.arange(90, 120)])
    check(result, data, ALPHAS)


# --- what is held out


def shuffled_chunks(n: int, nboots: int, chunklen: int, nchunks: int) -> list[list[int]]:
    """As HuthLab's code draws them: whole chunks, shuffled anew for each bootstrap by Python's generator."""
    sets = []
    for _ in range(nboots):
        chunks = [tuple(range(i, i + chunklen)) for i in range(0, n - chunklen + 1, chunklen)]
        random.shuffle(chunks)
        sets.append([i for chunk in chunks[:nchunks] for i in chunk])
    return sets


def test_a_seed_gives_the_chunks_of_the_global_generator() -> None:
    data = problem(107, 5)
    random.seed(5)
    expected = shuffled_chunks(107, 4, 10, 4)
    assert max(max(rows) for rows in expected) < 100  # what is left over is never held out
    random.seed(8)
    state = random.getstate()
    seeded = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=5)
    assert random.getstate() == state
    given = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=random.Random(5))
    random.seed(5)
    unseeded = bootstrap_ridge(*data, ALPHAS, **DRAW)
    for result in (seeded, given, unseeded):
        assert [rows.tolist() for rows in result.valinds] == expected
        np.testing.assert_array_equal(result.allRcorrs, seeded.allRcorrs)


def test_chunks_of_an_earlier_call_give_its_result() -> None:
    data = problem(107, 20)
    drawn = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=5)
    again = bootstrap_ridge(*data, ALPHAS, chunks=drawn.valinds)
    for a, b in zip(drawn[:4], again[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    shuffled = bootstrap_ridge(*data, ALPHAS, 4, chunks=[rows[::-1].tolist() for rows in drawn.valinds])
    assert relative_error(shuffled.allRcorrs, drawn.allRcorrs) < 1e-10


def test_chunks_may_differ_in_length(scorer: str) -> None:
    data = problem(107, 20)
    check(
        bootstrap_ridge(*data, ALPHAS, chunks=[range(0, 50), [3, 9, 80, 81], range(100, 107)]), data, ALPHAS
    )


# --- which alpha


def test_a_single_alpha_is_the_best_on_average() -> None:
    data = problem(203, 30)
    result = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1, single_alpha=True)
    scores = textbook_scores(*data[:2], ALPHAS, result.valinds)
    np.testing.assert_array_equal(result.valphas, ALPHAS[scores.mean(axis=(1, 2)).argmax()])
    weights = textbook_weights(*data[:2], result.valphas)
    assert relative_error(result.wt, weights) <= 1e-8


def test_joined_targets_share_an_alpha_and_the_others_have_their_own() -> None:
    data = problem(203, 60, noise=4.0)
    groups = [[0, 5, 7], np.array([1, 2])]
    result = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1, joined=groups)
    mean = textbook_scores(*data[:2], ALPHAS, result.valinds).mean(axis=2)
    expected = ALPHAS[mean.argmax(axis=0)]
    for group in groups:
        expected[group] = ALPHAS[mean[:, group].mean(axis=1).argmax()]
    np.testing.assert_array_equal(result.valphas, expected)
    assert (expected != ALPHAS[mean.argmax(axis=0)]).any()


@pytest.mark.parametrize("alphas", [[1.0, 10.0, 100.0], [100.0, 1.0, 10.0]])
def test_the_first_of_equal_alphas_is_taken(alphas: list[float], scorer: str) -> None:
    _, y, _, py = problem(90, 3)
    result = bootstrap_ridge(np.zeros((90, 3)), y, np.zeros((60, 3)), py, alphas, **DRAW, seed=0)
    np.testing.assert_array_equal(result.valphas, alphas[0])
    np.testing.assert_array_equal(result.allRcorrs, 0.0)
    np.testing.assert_array_equal(result.corrs, 0.0)
    np.testing.assert_array_equal(result.wt, 0.0)


def test_no_bootstrap_with_a_single_alpha() -> None:
    data = problem(90, 10)
    result = bootstrap_ridge(*data, [30.0], 0, 10, 2, single_alpha=True)
    assert result.allRcorrs is None
    assert result.valinds == []
    np.testing.assert_array_equal(result.valphas, 30.0)
    assert relative_error(result.wt, textbook_weights(*data[:2], np.float64(30.0))) <= 1e-8


# --- outputs


@pytest.mark.parametrize("use_corr", [True, False])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_without_weights_everything_else_is_the_same(n: int, p: int, use_corr: bool) -> None:
    data = problem(n, p, np.float32)
    whole = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1, use_corr=use_corr)
    short = bootstrap_ridge(
        *data, ALPHAS, **DRAW, seed=1, use_corr=use_corr, return_wt=False, keep_boot_scores=False
    )
    assert short.wt is None
    assert short.allRcorrs is None
    np.testing.assert_array_equal(short.corrs, whole.corrs)
    np.testing.assert_array_equal(short.valphas, whole.valphas)


def test_it_unpacks_in_the_order_of_old() -> None:
    wt, corrs, valphas, all_corrs, valinds = bootstrap_ridge(*problem(90, 6), ALPHAS, 3, 10, 2, seed=0)
    assert (wt.shape, corrs.shape, valphas.shape, all_corrs.shape) == ((6, 12), (12,), (12,), (9, 12, 3))
    assert [rows.size for rows in valinds] == [20, 20, 20]


def test_missing_and_constant_responses_leave_the_others_alone(scorer: str) -> None:
    data = problem(107, 20)
    whole = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    x, y, px, py = (a.copy() for a in data)
    y[4, 1], y[5, 2], y[:, 3], py[0, 4], py[:, 5] = np.nan, np.inf, 0.5, np.nan, 2.0
    with pytest.warns(_warnings.MaskedTargetsWarning, match="of 12 targets, 2 of Rresp and 1 of Presp"):
        result = bootstrap_ridge(x, y, px, py, ALPHAS, **DRAW, seed=1)
    others = np.setdiff1d(np.arange(12), [1, 2, 3])
    for name in ("valphas", "allRcorrs", "wt"):
        axis = 0 if name == "valphas" else 1
        np.testing.assert_array_equal(
            getattr(result, name).take(others, axis), getattr(whole, name).take(others, axis)
        )
    np.testing.assert_array_equal(result.allRcorrs[:, 1:4], 0.0)
    np.testing.assert_array_equal(result.valphas[1:4], ALPHAS[0])
    filled = np.where(np.isfinite(y), y, 0.0)
    assert relative_error(result.wt[:, 1:3], textbook_weights(x, filled[:, 1:3], ALPHAS[0])) <= 1e-8
    np.testing.assert_array_equal(result.corrs[4:6], 0.0)
    np.testing.assert_array_equal(result.corrs[6:], whole.corrs[6:])


def test_alphas_at_the_edge_are_counted() -> None:
    data = problem(107, 20)
    with pytest.warns(
        _warnings.AlphaEdgeWarning, match=r"\d+ targets chose the smallest and \d+ the largest"
    ):
        bootstrap_ridge(*data, [1e6, 1e7], **DRAW, seed=1)


def test_inputs_are_not_modified_and_may_be_strided_or_lists() -> None:
    data = problem(107, 8)
    whole = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    strided = [np.asfortranarray(np.repeat(a, 2, axis=1))[:, ::2] for a in data]
    for a in strided:
        a.flags.writeable = False
    again = bootstrap_ridge(*strided, ALPHAS, **DRAW, seed=1)
    lists = bootstrap_ridge(*[a.tolist() for a in data], ALPHAS.tolist(), **DRAW, seed=1)
    for other in (again, lists):
        for a, b in zip(whole[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(strided, data, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_written_to_the_working_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bootstrap_ridge(*problem(90, 6), ALPHAS, **DRAW, return_wt=False)
    assert os.listdir(tmp_path) == []


# --- memory


@pytest.mark.parametrize(("n", "p"), [(203, 30), (90, 120)])
def test_tiles_of_targets_give_the_same_bits(
    n: int, p: int, scorer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = problem(n, p, np.float32, n_targets=1300)
    whole = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    monkeypatch.setattr("voxridge.solvers.bootstrap_engine._TILE_BYTES", 0)
    tiled = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    for a, b in zip(whole[:4], tiled[:4], strict=True):
        np.testing.assert_array_equal(a, b)


def test_few_factors_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch, scorer: str) -> None:
    data = problem(203, 30)
    whole = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    monkeypatch.setattr("voxridge.solvers.bootstrap_engine._MOST_FACTORS", 30_000)
    some = bootstrap_ridge(*data, ALPHAS, **DRAW, seed=1)
    np.testing.assert_array_equal(some.allRcorrs, whole.allRcorrs)
    np.testing.assert_array_equal(some.valphas, whole.valphas)


MEMORY_PROGRAM = """
import numpy as np, sys, warnings
from voxridge.solvers import bootstrap_ridge
from voxridge.solvers.memory import peak_memory
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
n, p, v = (int(a) for a in sys.argv[1:4])
x, y = (rng.standard_normal(shape, dtype=np.float32) for shape in ((n, p), (n, v)))
args = x, y, x[:50], y[:50], np.logspace(1, 4, 6), 4, 10, n // 50
options = dict(seed=0, progress=False)
small = np.ones((60, 3), np.float32)
bootstrap_ridge(small, small, small, small, [1.0], 1, 10, 2, **options)  # loads what is loaded on first use
try:
    bootstrap_ridge(*args, **options, memory_limit=1)
except MemoryError as error:
    limit = int(1.02 * int(str(error).partition("at least ")[2].split()[0]))
bootstrap_ridge(*args, **options, memory_limit=limit)
print(limit, peak_memory())
"""


@pytest.mark.parametrize(("n", "p"), [(1500, 500), (500, 1500)])
def test_the_least_memory_is_enough_and_is_not_exceeded(n: int, p: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM, str(n), str(p), "9000"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    limit, peak = (int(word) for word in done.stdout.split())
    assert peak <= limit


def test_a_limit_that_is_too_small_says_what_would_do() -> None:
    with pytest.raises(MemoryError, match=r"memory_limit=1000000 bytes is too small: .* at least \d+ bytes"):
        bootstrap_ridge(*problem(90, 6), ALPHAS, **DRAW, memory_limit="1MB")


def test_an_svd_that_does_not_fit_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = problem(90, 6)
    held = iter([10**9, 2 * 10**9] * 2 + [2 * 10**9])  # before the fit; with its factors
    monkeypatch.setattr("voxridge.solvers.bootstrap_engine.resident_memory", lambda: next(held))
    bootstrap_ridge(*data, [10.0], **DRAW, memory_limit="2GB")
    with pytest.raises(MemoryError, match="Leave the smallest alphas out"):
        bootstrap_ridge(*data, [0.0], **DRAW, memory_limit="2GB")


# --- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": [1.0, -1.0]}, r"alphas holds \[-1.0\]"),
        ({"singcutoff": -1.0}, "singcutoff=-1.0 must be finite"),
        ({"joined": [[0, 1], [1]]}, "joined: target 1 is in two groups"),
        ({"joined": [[12]]}, r"joined\[0\] runs from 12 to 12; there are 12"),
        ({"joined": [[]]}, r"joined\[0\] must be a list of at least one index"),
        ({"joined": [[0]], "single_alpha": True}, "exclude each other"),
        ({"nboots": 0}, "nboots=0 chooses nothing between 9 alphas"),
        ({"nboots": -1}, "nboots=-1 must be 0 or more"),
        ({"chunklen": 0}, "chunklen=0"),
        ({"nchunks": 9}, "nchunks=9 chunks of 10 samples cannot be held out of 90"),
        ({"nchunks": 10}, "there are 9 whole chunks"),
        ({"nchunks": None}, "give nboots, chunklen and nchunks, or chunks"),
        ({"chunks": [[1, 2]]}, "leave chunklen, nchunks and seed out"),
        (
            {"chunklen": None, "nchunks": None, "chunks": [[1, 2]]},
            "nboots=3, but chunks holds .* 1 bootstraps",
        ),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    given = {"alphas": ALPHAS, "nboots": 3, "chunklen": 10, "nchunks": 2, **options}
    with pytest.raises(ValueError, match=message):
        bootstrap_ridge(*problem(90, 6), given.pop("alphas"), **given)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 90]], r"chunks\[0\] runs from 0 to 90; there are 90"),
        ([[0, 1], [-1]], r"chunks\[1\] runs from -1"),
        ([[3, 3]], r"chunks\[0\] holds an index twice"),
        ([[0.5]], r"chunks\[0\] must be a list .* float64"),
        ([range(90)], r"chunks\[0\] holds out all 90 samples"),
    ],
)
def test_bad_chunks_are_named(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_ridge(*problem(90, 6), ALPHAS, chunks=rows)


def test_bad_data_are_named() -> None:
    x, y, px, py = problem(90, 6)
    cases = [
        ((x[:80], y, px, py), "Rstim (80, 6), Rresp (90, 12)"),
        ((x, y, px[:, :5], py), "must have the same columns"),
        ((x, y, px, py[:, :3]), "must have the same columns"),
        ((x[0], y, px, py), "must be matrices"),
        ((x[:, :0], y, px[:, :0], py), "there must be samples and features"),
        ((np.where(x == x[3, 2], np.nan, x), y, px, py), "Rstim holds values that are not finite, in 1 of 6"),
        ((x, y, np.where(px == px[3, 2], np.inf, px), py), "Pstim holds values that are not finite"),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            bootstrap_ridge(*data, ALPHAS, **DRAW)

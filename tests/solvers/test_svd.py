"""The chunked SVD against numpy, against exact arithmetic where numpy has no digits left, and its bounds."""

from __future__ import annotations

import doctest
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from voxridge.solvers.bases import svd_basis
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.svd import ChunkedSVD, chunked_svd, svd_of_design
from voxridge.streams import as_source
from voxridge.testing import DESIGNS, delayed_matrix, make_design, relative_error, textbook_ridge, tolerance

Floating = Any
RUNS = (70, 50)
DELAYS = (1, 2, -1)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The references are hundreds of small decompositions, slow on two threads where cores are shared."""
    with threadpool_limits(1):
        yield


def orthonormal(rng: np.random.Generator, n: int, k: int) -> Floating:
    return np.linalg.qr(rng.standard_normal((n, k)))[0]


def with_singular_values(s: Sequence[float], n: int, p: int, seed: int = 0) -> Floating:
    """A matrix whose singular values are ``s`` but for the rounding of its entries, directions at random."""
    rng = np.random.default_rng(seed)
    return (orthonormal(rng, n, len(s)) * np.asarray(s)) @ orthonormal(rng, p, len(s)).T


def exact_singular_values(x: Floating) -> Floating:
    """Singular values of the float64 matrix ``x``, each to about 14 digits of its own.

    X V is computed in integers, V numpy's right singular vectors: orthogonal to rounding, so X V has the
    singular values of X times 1 + rounding, and its columns are nearly orthogonal and as long as the singular
    values. Jacobi rotations are accurate for such a matrix.
    """
    if x.shape[0] < x.shape[1]:
        x = x.T
    v = np.linalg.svd(x, full_matrices=False)[2].T
    (xi, x_exponent), (vi, v_exponent) = as_integers(x), as_integers(v)
    exact = xi @ vi
    scale = max(abs(int(entry)) for entry in exact.ravel())
    shift = max(scale.bit_length() - 900, 0)  # into the range of float64
    high = np.array([[float(int(e) >> shift) if shift else float(e) for e in row] for row in exact])
    return jacobi_singular_values(high) * 2.0 ** (x_exponent + v_exponent + shift)


def as_integers(a: Floating) -> tuple[Floating, int]:
    """``a = integers * 2^exponent``, exactly."""
    mantissa, exponent = np.frexp(a)
    lowest = int(exponent[mantissa != 0].min()) if mantissa.any() else 0
    whole = (mantissa * 2.0**53).astype(np.int64)
    integers = np.array(
        [
            [int(m) << max(int(e) - lowest, 0) for m, e in zip(*rows, strict=True)]
            for rows in zip(whole, exponent, strict=True)
        ],
        dtype=object,
    )
    return integers, lowest - 53


def jacobi_singular_values(b: Floating) -> Floating:
    """One-sided Jacobi, the textbook's."""
    b, k = b.copy(), b.shape[1]
    for _ in range(30):
        turned = False
        for i in range(k):
            for j in range(i + 1, k):
                aa, bb, ab = b[:, i] @ b[:, i], b[:, j] @ b[:, j], b[:, i] @ b[:, j]
                if abs(ab) <= 1e-15 * np.sqrt(aa * bb) or ab == 0:
                    continue
                turned = True
                zeta = (bb - aa) / (2 * ab)
                t = (1.0 if zeta >= 0 else -1.0) / (abs(zeta) + np.hypot(1.0, zeta))
                c = 1 / np.hypot(1.0, t)
                b[:, i], b[:, j] = c * (b[:, i] - t * b[:, j]), c * (b[:, j] + t * b[:, i])
        if not turned:
            break
    return np.sort(np.linalg.norm(b, axis=0))[::-1]


def relative_to_each(actual: Floating, expected: Floating) -> float:
    return float(np.max(np.abs(actual - expected) / expected))


def check_vectors(svd: ChunkedSVD, design: Floating) -> None:
    assert svd.u is not None
    assert svd.vt is not None
    k = svd.s.size
    scale = svd.s[0] or 1.0
    assert np.all(np.diff(svd.s) <= 0)
    assert np.abs(svd.u.T @ svd.u - np.eye(k)).max() < 1e-13
    assert np.abs(svd.vt @ svd.vt.T - np.eye(k)).max() < 1e-13
    left_over = design - (svd.u * svd.s) @ svd.vt
    assert np.linalg.norm(left_over) <= 1.01 * svd.residual_norm + 1e-13 * np.sqrt(k) * scale


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("rows_per_chunk", [None, 1, 13, 64, 1000])
@pytest.mark.parametrize(("width", "delays"), [(9, (0,)), (9, DELAYS), (60, DELAYS), (40, DELAYS)])
def test_equals_numpy(
    width: int, delays: tuple[int, ...], rows_per_chunk: int | None, center: bool, dtype: type
) -> None:
    """Tall and wide (and as good as square), in chunks of any size, with delays inside runs."""
    features = (np.random.default_rng(1).standard_normal((sum(RUNS), width)) + 3).astype(dtype)
    kept = features.copy()
    design = delayed_matrix(features, delays, RUNS)
    mean = design.mean(axis=0) * center
    svd = chunked_svd(features, delays, runs=RUNS, center=center, rows_per_chunk=rows_per_chunk)
    expected = np.linalg.svd(design - mean, compute_uv=False)[: min(len(design) - center, design.shape[1])]
    assert svd.s.shape == expected.shape
    assert np.abs(svd.s - expected).max() <= 2 * svd.error_bound + tolerance(np.float64) * expected[0] / 10
    assert svd.error_bound < 2e-13 * expected[0]
    assert relative_error(svd.mean, mean) < tolerance(np.float64)
    check_vectors(svd, design - mean)
    assert np.array_equal(features, kept)
    if center and svd.u is not None:
        assert np.abs(svd.u.sum(axis=0)).max() < 1e-12


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("shape", [(80, 30), (30, 80)])
def test_every_kind_of_design(kind: str, shape: tuple[int, int]) -> None:
    x = make_design(kind, *shape)
    svd = chunked_svd(x, rows_per_chunk=11)
    assert np.abs(svd.s - np.linalg.svd(x, compute_uv=False)).max() < 1e-14 * svd.s[0]
    assert svd.rank == np.linalg.matrix_rank(x)
    check_vectors(svd, x)


SMALL_VALUES = {
    "even": np.logspace(0, -10, 24),
    "clusters": np.repeat(10.0 ** np.array([0, -3.5, -4, -7.4, -7.5, -10]), 4),
    "dense": np.logspace(-2, -11, 24),
    "one large": np.concatenate([[1.0], np.logspace(-9, -10, 23)]),
    "gap": np.concatenate([np.logspace(0, -1, 12), np.logspace(-9, -10, 12)]),
}


@pytest.mark.parametrize("name", SMALL_VALUES)
@pytest.mark.parametrize("shape", [(150, 24), (24, 150), (24, 24)])
def test_small_singular_values_have_their_own_digits(name: str, shape: tuple[int, int]) -> None:
    """Random directions on both sides: float64 loses them in one pass, and all of them in the Gram."""
    x = with_singular_values(SMALL_VALUES[name], *shape)
    exact = exact_singular_values(x)
    svd = chunked_svd(x, rows_per_chunk=31)
    assert svd.n_passes == 2
    assert np.abs(svd.s - exact).max() < 1e-14 * exact[0]
    assert svd.relative_error < 1e-9
    assert relative_to_each(svd.s, exact) <= svd.relative_error
    gram = x.T @ x if shape[0] > shape[1] else x @ x.T
    from_gram = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))
    assert relative_to_each(from_gram, exact) > 1e-2
    check_vectors(svd, x)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_the_relative_error_is_a_bound(data: st.DataObject, seed: int) -> None:
    k = data.draw(st.integers(2, 10))
    exponents = data.draw(st.lists(st.floats(-11, 0), min_size=k, max_size=k))
    shape = data.draw(st.sampled_from([(k, k), (40, k), (k, 40)]))
    refine = data.draw(st.sampled_from([None, False, True]))
    chunk = data.draw(st.integers(1, 45))
    x = with_singular_values(10.0 ** np.sort(exponents)[::-1], *shape, seed=seed)
    exact = exact_singular_values(x)
    svd = chunked_svd(x, rows_per_chunk=chunk, refine=refine)
    assert np.abs(svd.s - exact).max() <= svd.error_bound
    assert relative_to_each(svd.s[: svd.rank], exact[: svd.rank]) <= svd.relative_error
    check_vectors(svd, x)


@pytest.mark.parametrize("width", [30, 200])
@pytest.mark.parametrize("center", [False, True])
def test_features_of_very_different_scales(width: int, center: bool) -> None:
    """Columns over ten decades, with delays and means far from zero relative to the deviations."""
    rng = np.random.default_rng(2)
    scales = rng.permutation(np.logspace(0, -10, width))
    # Whole numbers times powers of two: the centred design is exact in float64, its mean too.
    steps = rng.integers(-500, 500, size=(128, width)) * 128 + 2**20
    features = steps * np.exp2(np.round(np.log2(scales)))
    svd = chunked_svd(features, center=center, rows_per_chunk=17)
    exact = exact_singular_values(features - features.mean(axis=0) * center)[: svd.s.size]
    big = exact > 1e-11 * exact[0]
    assert relative_to_each(svd.s[big], exact[big]) < 1e-9


def test_the_second_pass_is_only_made_where_it_helps() -> None:
    x = np.random.default_rng(0).standard_normal((60, 10))
    assert chunked_svd(x).n_passes == 1
    assert chunked_svd(x, refine=True).n_passes == 2
    duplicated = np.concatenate([x, x], axis=1)
    assert chunked_svd(duplicated).n_passes == 1  # zero is not a small singular value
    graded = x * np.logspace(0, -6, 10)
    assert chunked_svd(graded).n_passes == 2
    assert chunked_svd(graded, refine=False).n_passes == 1


def test_constant_columns_and_empty_designs() -> None:
    x = np.random.default_rng(0).standard_normal((50, 6))
    x[:, 2] = 0.1
    svd = chunked_svd(x, center=True, rows_per_chunk=7)
    assert svd.rank == 5
    assert svd.s[-1] < 1e-14 * svd.s[0]
    nothing = chunked_svd(np.full((50, 6), 3.0), center=True, rows_per_chunk=7)
    assert nothing.s.max() < 1e-13
    zeros = chunked_svd(np.zeros((6, 50)))
    assert zeros.rank == 0
    assert np.array_equal(zeros.s, np.zeros(6))


@pytest.mark.parametrize("width", [5, 60])
def test_means_far_from_zero_cost_no_digits(width: int) -> None:
    """The mean is 1e8 deviations; the deviations are exact in float64."""
    rng = np.random.default_rng(3)
    steps = rng.integers(-(2**20), 2**20, size=(32, width)).astype(np.float64)
    features = steps * 2.0**-20 + 1e8
    exact = exact_singular_values(steps * 2.0**-20 - (steps * 2.0**-20).mean(axis=0))
    svd = chunked_svd(features, center=True, rows_per_chunk=5)
    assert np.abs(svd.s - exact[: svd.s.size]).max() < 1e-13 * exact[0]


@pytest.mark.parametrize("width", [8, 60])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("n_components", [None, 2])
def test_sample_weights(width: int, center: bool, n_components: int | None) -> None:
    rng = np.random.default_rng(4)
    features = rng.standard_normal((sum(RUNS), width)) + 2
    root = np.sqrt(rng.integers(0, 4, size=sum(RUNS)).astype(np.float64))
    design = DelayedDesign(features, DELAYS, RUNS)
    x = delayed_matrix(features, DELAYS, RUNS)
    mean = np.average(x, axis=0, weights=root**2) * center
    weighted = root[:, None] * (x - mean)
    svd = svd_of_design(
        design, center=center, root=root, rows_per_chunk=19, n_components=n_components, n_iter=2
    )
    expected = np.linalg.svd(weighted, compute_uv=False)[: svd.s.size]
    assert np.abs(svd.s - expected).max() <= svd.error_bound + 1e-14 * expected[0]
    assert relative_error(svd.mean, mean) < 1e-12
    check_vectors(svd, weighted)
    if center and svd.u is not None:
        kept = svd.u[:, : svd.rank]
        assert np.abs(root @ kept).max() < 1e-12


# The leading ones


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(300, 120), (120, 300), (200, 200)]),
    decay=st.sampled_from(["flat", "power", "fast", "rank 3", "step", "noise"]),
    k=st.integers(1, 6),
    n_iter=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    center=st.booleans(),
)
def test_the_bound_of_the_leading_ones_holds(
    shape: tuple[int, int], decay: str, k: int, n_iter: int, seed: int, center: bool
) -> None:
    i = np.arange(1.0, 101.0)
    spectra = {
        "flat": np.ones(100),
        "power": 1 / i,
        "fast": 10.0 ** -(i - 1),
        "rank 3": (i <= 3) / i,
        "step": np.where(i <= 4, 1.0, 0.9),
    }
    noise = np.random.default_rng(seed).standard_normal(shape)
    x = noise if decay == "noise" else with_singular_values(spectra[decay], *shape, seed=seed)
    svd = chunked_svd(x, n_components=k, n_iter=n_iter, center=center, seed=seed, rows_per_chunk=50)
    centred = x - x.mean(axis=0) * center
    every = np.linalg.svd(centred, compute_uv=False)
    assert svd.s.shape == (k,)
    assert np.all(svd.s <= every[:k] + 1e-13 * every[0])
    assert np.abs(svd.s[:, None] - every).min(axis=1).max() <= svd.error_bound
    check_vectors(svd, centred)
    left_over = centred - (svd.u * svd.s) @ svd.vt
    assert abs(np.linalg.norm(left_over) - svd.residual_norm) < 1e-7 * np.linalg.norm(centred)


def test_leading_ones_converge_and_repeat() -> None:
    x = with_singular_values(1 / np.arange(1.0, 101.0), 400, 300)
    expected = np.linalg.svd(x, compute_uv=False)[:5]
    bounds = []
    for n_iter in (1, 2, 4):
        svd = chunked_svd(x, n_components=5, n_iter=n_iter, rows_per_chunk=90)
        assert svd.n_passes == n_iter + 1
        bounds.append(svd.error_bound)
    assert bounds[0] > 10 * bounds[1] > 100 * bounds[2]
    assert np.abs(svd.s - expected).max() < 1e-6 * expected[0]
    again = chunked_svd(x, n_components=5, rows_per_chunk=90)
    assert np.array_equal(svd.s, again.s)
    assert np.array_equal(svd.vt, again.vt)
    other = chunked_svd(x, n_components=5, rows_per_chunk=90, seed=1)
    assert not np.array_equal(svd.vt, other.vt)
    assert np.abs(svd.s - other.s).max() <= svd.error_bound


def test_many_components_are_cut_from_all() -> None:
    x = np.random.default_rng(0).standard_normal((90, 30))
    svd, every = chunked_svd(x, n_components=25), chunked_svd(x)
    assert svd.n_passes == 1
    assert np.array_equal(svd.s, every.s[:25])
    check_vectors(svd, x)
    assert abs(svd.residual_norm - np.linalg.norm(every.s[25:])) < 1e-12


# Where the design comes from


class CountingSource:
    """A source that counts what is read."""

    def __init__(self, array: Floating, runs: tuple[int, ...]) -> None:
        self.array, self.runs, self.shape, self.dtype = array, runs, array.shape, array.dtype
        self.read_numbers = 0

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Floating:
        block = self.array[rows, columns].copy()
        self.read_numbers += block.size
        return block


@pytest.mark.parametrize("width", [10, 60])
@pytest.mark.parametrize("n_components", [None, 2])
@pytest.mark.parametrize("scale", [0, -8])
def test_a_source_gives_what_the_array_gives(width: int, n_components: int | None, scale: float) -> None:
    rng = np.random.default_rng(5)
    features = (rng.standard_normal((sum(RUNS), width)) * np.logspace(0, scale, width)).astype(np.float32)
    source = CountingSource(features, RUNS)
    options: dict[str, Any] = {
        "center": True,
        "rows_per_chunk": 60,
        "n_components": n_components,
        "n_iter": 2,
    }
    streamed = chunked_svd(source, DELAYS, **options)
    whole = chunked_svd(features, DELAYS, runs=RUNS, **options)
    assert np.array_equal(streamed.s, whole.s)
    assert np.array_equal(streamed.u, whole.u)
    assert np.array_equal(streamed.vt, whole.vt)
    # Rows that delays reach are read with both of their chunks.
    assert features.size * streamed.n_passes <= source.read_numbers <= 1.2 * features.size * streamed.n_passes


def test_a_file(tmp_path: Path) -> None:
    features = np.random.default_rng(6).standard_normal((200, 12)).astype(np.float32)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["data"] = features
    source = as_source(tmp_path / "features.h5", name="features")
    svd = chunked_svd(source, (0, 1), rows_per_chunk=33)
    assert np.array_equal(svd.s, chunked_svd(features, (0, 1), rows_per_chunk=33).s)
    assert not any(thread.name == "voxridge-reader" for thread in threading.enumerate())


class OnlyRows:
    """The least that a design may be."""

    def __init__(self, array: Floating) -> None:
        self.array, self.dtype = array, array.dtype
        self.n_samples, self.n_columns = array.shape

    def rows(self, begin: int, end: int) -> Floating:
        return self.array[begin:end]


@pytest.mark.parametrize("shape", [(70, 20), (20, 70)])
def test_any_design_with_rows(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(7).standard_normal(shape)
    svd = svd_of_design(OnlyRows(x), center=True, rows_per_chunk=9)
    check_vectors(svd, x - x.mean(axis=0))


# What the ridge solver takes from it


@pytest.mark.parametrize("width", [8, 60])
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 10.0])
def test_components_solve_ridge(width: int, alpha: float) -> None:
    rng = np.random.default_rng(8)
    features = rng.standard_normal((sum(RUNS), width)) + 1
    y = rng.standard_normal((sum(RUNS), 3))
    basis = svd_basis(DelayedDesign(features, DELAYS, RUNS), fit_intercept=True)
    coef = np.empty((features.shape[1] * len(DELAYS), 3))
    basis.weights(basis.smoother.project(y - y.mean(axis=0)), np.full(3, alpha), coef)
    expected, _ = textbook_ridge(delayed_matrix(features, DELAYS, RUNS), y, alpha)
    assert relative_error(coef, expected) < 1e-9


def test_components_drop_rounding() -> None:
    basis = svd_basis(DelayedDesign(make_design("duplicated", 60, 20)), fit_intercept=True)
    values = basis.smoother.values
    assert basis.smoother.rank == 10
    assert values.min() > 1e-3 * values.max()


def test_vectors_are_left_out_on_request() -> None:
    x = np.random.default_rng(0).standard_normal((30, 20))
    for features in (x, x.T.copy()):
        for n_components in (None, 1):
            svd = chunked_svd(
                features, compute_u=False, compute_vt=False, n_components=n_components, n_iter=1
            )
            assert svd.u is None
            assert svd.vt is None
            assert svd.s[0] == pytest.approx(np.linalg.norm(x, 2), abs=svd.error_bound)


# What goes wrong


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_are_not_finite(shape: tuple[int, int], bad: float) -> None:
    x = np.ones(shape)
    x[17, 13] = bad
    with pytest.raises(ValueError, match=r"features hold NaN or infinity \(1 values in"):
        chunked_svd(x, rows_per_chunk=10)


def test_arguments_that_make_no_sense() -> None:
    x = np.random.default_rng(0).standard_normal((50, 20))
    with pytest.raises(ValueError, match="n_components=21 must be between 1 and 20"):
        chunked_svd(x, n_components=21)
    with pytest.raises(ValueError, match="n_components=0"):
        chunked_svd(x, n_components=0)
    with pytest.raises(ValueError, match="n_iter=0"):
        chunked_svd(x, n_components=1, n_iter=0)
    with pytest.raises(ValueError, match="rows_per_chunk=0"):
        chunked_svd(x, rows_per_chunk=0)
    with pytest.raises(TypeError, match="as_source"):
        chunked_svd([[1.0, 2.0]])
    with pytest.raises(TypeError, match="int64"):
        chunked_svd(np.ones((3, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="nothing is left about its means"):
        chunked_svd(x[:1], center=True)
    with pytest.raises(ValueError, match="50 roots of sample weights"):
        svd_of_design(DelayedDesign(x), root=np.ones(20))


def test_too_little_memory_names_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxridge.solvers import svd_chunks

    monkeypatch.setattr(svd_chunks, "resident_memory", lambda: 10**9)
    x = np.random.default_rng(0).standard_normal((4000, 200))
    with pytest.raises(MemoryError, match=r"4000 x 200 .* needs at least (\d+) bytes") as raised:
        chunked_svd(x, memory_limit="1.001 GB")
    least = int(str(raised.value).split("at least ")[1].split()[0])
    assert least > 10**9
    assert np.allclose(chunked_svd(x, memory_limit=least).s, chunked_svd(x).s, rtol=1e-13)
    with pytest.raises(MemoryError):
        chunked_svd(x, memory_limit=least - 1)


def test_orders_beyond_32_bit_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxridge.solvers import tsqr

    x = np.random.default_rng(0).standard_normal((50, 20)) * np.logspace(0, -8, 20)
    expected = chunked_svd(x)
    monkeypatch.setattr(tsqr, "_LARGEST_32_BIT", 5)
    monkeypatch.setattr(np, "show_config", lambda mode: {"blas": "OpenBLAS USE64BITINT"})
    svd = chunked_svd(x)
    assert relative_to_each(svd.s, expected.s) < 1e-11
    check_vectors(svd, x)
    monkeypatch.setattr(np, "show_config", lambda mode: {"blas": "OpenBLAS"})
    with pytest.raises(OverflowError, match="the SVD of order 20 is beyond 32-bit LAPACK"):
        chunked_svd(x)


def test_progress_and_interrupt() -> None:
    features = np.random.default_rng(0).standard_normal((90, 5)).astype(np.float32)
    source = CountingSource(features, (90,))
    steps: list[tuple[str, float]] = []
    chunked_svd(source, rows_per_chunk=30, report=lambda step, done: steps.append((step, done)))
    assert [done for _, done in steps] == pytest.approx([0, 1 / 3, 2 / 3, 1])

    def interrupt(step: str, done: float) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunked_svd(source, rows_per_chunk=30, report=interrupt)
    assert not any(thread.name == "voxridge-reader" for thread in threading.enumerate())


def test_the_example() -> None:
    from voxridge.solvers import svd

    assert doctest.testmod(svd).attempted > 5
    assert doctest.testmod(svd).failed == 0

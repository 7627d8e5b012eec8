"""Element indices past 2^31: views whose rows lie gigabytes apart, and files that are mostly holes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from voxridge import _cpu
from voxridge.solvers.linalg import matmul
from voxridge.streams import FileSink, as_source
from voxridge.testing import relative_error

ROWS, STRIDE = 5, 2**30 + 7  # the last row begins past 2^32 elements
ITEM = 4


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """22 GB of addresses, of which only the pages that are touched exist: a mapped file of holes."""
    folder = tmp_path_factory.mktemp("holes")
    if shutil.disk_usage(folder).free < 30 * 2**30:
        pytest.skip("the size, though not the blocks, of this file must fit on the disk")
    return np.memmap(folder / "pages", np.uint8, "w+", shape=((ROWS * STRIDE + 4096) // 2 * 2 * ITEM,))


def spread(pages: np.ndarray, rows: int, cols: int, first: int = 0) -> np.ndarray:
    """A (rows, cols) float32 view with STRIDE elements from row to row, from column ``first`` on."""
    whole = np.asarray(pages).view(np.float32)
    view = np.lib.stride_tricks.as_strided(whole[first:], (rows, cols), (STRIDE * ITEM, ITEM))
    assert (rows - 1) * STRIDE > 2**31
    return view


def test_products(pages: np.ndarray, rng: np.random.Generator) -> None:
    a, out = spread(pages, ROWS, 16), spread(pages, ROWS, 24, first=1024)
    a[:] = rng.standard_normal(a.shape)
    b = rng.standard_normal((16, 24)).astype(np.float32)
    dense = np.array(a)
    _cpu.gemm(a, b, out)
    assert relative_error(out, dense.astype("f8") @ b) < 1e-6
    other = rng.standard_normal((ROWS, 24)).astype(np.float32)
    assert relative_error(matmul(a, other, trans_a=True), dense.astype("f8").T @ other) < 1e-6
    gram = np.zeros((16, 16), dtype=np.float32)
    _cpu.syrk(a, gram)
    assert relative_error(np.tril(gram), np.tril(dense.astype("f8").T @ dense)) < 1e-6


def test_delayed_products(pages: np.ndarray, rng: np.random.Generator) -> None:
    x, y = spread(pages, ROWS, 16), spread(pages, ROWS, 24, first=1024)
    x[:], y[:] = rng.standard_normal(x.shape), rng.standard_normal(y.shape)
    delayed = np.zeros((ROWS, 32))
    delayed[:, :16] = x
    delayed[1:, 16:] = x[:-1]
    offsets, ranges, delays = [0, ROWS], [(0, ROWS)], [0, 1]
    found = np.empty((32, 24), dtype=np.float32)
    _cpu.delayed_xty(x, y, offsets, ranges, delays, found)
    assert relative_error(found, delayed.T @ y) < 1e-6
    out = spread(pages, ROWS, 24, first=2048)
    _cpu.delayed_xw(x, found, offsets, ranges, delays, out)
    assert relative_error(out, delayed @ found) < 1e-5
    gram = np.empty((32, 32))
    _cpu.delayed_gram(x, offsets, ranges, delays, gram, 1)
    assert relative_error(gram, delayed.T @ delayed) < 1e-12
    sums = np.empty(32)
    _cpu.delayed_sums(x, offsets, ranges, delays, sums)
    assert relative_error(sums, delayed.sum(axis=0)) < 1e-12
    kernel = np.empty((ROWS, ROWS))
    _cpu.base_kernel(x, kernel)
    _cpu.shift_kernel(kernel, offsets, offsets, delays, True, 1)
    assert relative_error(kernel, delayed @ delayed.T) < 1e-12


def test_moments_and_penalties(pages: np.ndarray, rng: np.random.Generator) -> None:
    y, q = spread(pages, ROWS, 24), spread(pages, ROWS, 24, first=1024)
    y[:], q[:] = rng.standard_normal(y.shape), rng.standard_normal(q.shape)
    exact_y, exact_q = y.astype("f8"), q.astype("f8")
    sums, squares = np.empty(24), np.empty(24)
    _cpu.column_moments(y, [(1, ROWS)], sums, squares, 2)
    np.testing.assert_allclose(sums, exact_y[1:].sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(squares, (exact_y[1:] ** 2).sum(axis=0), rtol=1e-12)
    moments = np.zeros((3, 24))
    _cpu.product_moments(y, q, None, moments, 2)
    expected = [exact_q.sum(axis=0), (exact_q**2).sum(axis=0), (exact_q * exact_y).sum(axis=0)]
    np.testing.assert_allclose(moments, expected, rtol=1e-12)
    l, alphas = np.arange(1.0, ROWS + 1), np.logspace(-1, 1, 24)
    _cpu.apply_penalty(q, l, alphas, 2)
    np.testing.assert_allclose(q, exact_q / (l[:, None] + alphas), rtol=1e-5)


def test_symmetric_matrices(pages: np.ndarray, rng: np.random.Generator) -> None:
    whole = np.asarray(pages).view(np.float64)
    stride = STRIDE // 2
    a = np.lib.stride_tricks.as_strided(whole, (ROWS, ROWS), (stride * 8, 8))
    assert (ROWS - 1) * stride * 8 > 2**33
    half = rng.standard_normal((ROWS, 8))
    exact = half @ half.T + np.eye(ROWS)
    a[:] = exact
    assert _cpu.cholesky(a) == 0
    assert relative_error(np.tril(a), np.linalg.cholesky(exact)) < 1e-13
    b = rng.standard_normal((ROWS, 3))
    solved = b.copy()
    _cpu.cholesky_solve(a, solved)
    assert relative_error(solved, np.linalg.solve(exact, b)) < 1e-12
    _cpu.cholesky_inverse(a)
    rows = np.empty((3, ROWS))
    _cpu.symmetric_rows(a, 2, -2.0, 1.0, rows, 1)
    assert relative_error(rows, (np.eye(ROWS) - 2.0 * np.linalg.inv(exact))[2:]) < 1e-12
    a[:] = np.triu(exact)
    _cpu.restore_lower(a, 1)
    np.testing.assert_array_equal(np.tril(a, -1), np.tril(exact.T, -1))


# --- files


@pytest.fixture
def holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files that are nearly all holes: space is not set aside for them."""
    if shutil.disk_usage(tmp_path).free < 20 * 2**30:
        pytest.skip("the sizes, though not the blocks, of these files must fit on the disk")
    monkeypatch.setattr("os.posix_fallocate", lambda descriptor, offset, length: None)
    return tmp_path


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_tiles_of_a_file_past_two_to_the_31_elements(suffix: str, holes: Path) -> None:
    size, n_targets = 30_011, 80_021  # 2.4e9 numbers, 9 GB
    assert size * n_targets > 2**31
    path = holes / f"weights{suffix}"
    tile = np.random.default_rng(0).standard_normal((size, 3)).astype(np.float32)
    with FileSink(path, (size, n_targets), np.float32) as sink:
        for begin in (0, 71_600, n_targets - 3):  # target 71,557 begins at element 2^31
            sink.write(begin, begin + 3, tile + begin)
        np.testing.assert_array_equal(sink.read(n_targets - 3, n_targets), tile + (n_targets - 3))
        sink.finish()
    assert path.stat().st_size > 2**33
    assert path.stat().st_blocks * 512 < 2**24 + 2**20
    source = as_source(path, name="weights")
    for begin in (0, 71_600, n_targets - 3):
        part = slice(begin, begin + 3)
        found = source.read(columns=part) if suffix == ".npy" else source.read(rows=part).T
        np.testing.assert_array_equal(found, tile + begin)
    assert not source.read(slice(5, 6), slice(9, 12)).any()

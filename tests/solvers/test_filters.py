"""Filters of a grid of penalties as sums of a few shared ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import _cpu
from voxridge.solvers.filters import FEWEST, SMALLEST, FilterBank, filter_bank


def ridge_filters(values: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    return values / (values + alphas[:, None])


def expanded(bank: FilterBank, size: int) -> np.ndarray:
    """The filters that a bank stands for, (n_filters, size)."""
    out = np.full((bank.n_filters, size), np.nan)
    for cluster in bank.clusters:
        out[:, cluster.begin : cluster.end] = cluster.coefficients @ cluster.shared
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    decades=st.floats(0.0, 12.0),
    n_alphas=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
    descending=st.booleans(),
)
def test_every_filter_is_there_to_its_last_digits(
    seed: int, decades: float, n_alphas: int, dtype: Any, descending: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(10 ** rng.uniform(-decades / 2, decades / 2, rng.integers(1, 500)))
    if descending:
        values = values[::-1]
    alphas = 10 ** rng.uniform(-8, 8, n_alphas)
    filters = ridge_filters(values, alphas)
    small = alphas < np.median(alphas)
    filters[small] = alphas[small, None] / (values + alphas[small, None])
    bank = filter_bank(filters, values, dtype)
    np.testing.assert_allclose(expanded(bank, values.size), filters, rtol=2e-6 if dtype == np.float32 else 0)


@pytest.mark.parametrize("n_alphas", [20, 100, 400])
@pytest.mark.parametrize("steepness", [0.0, 1.0, 3.0])
def test_products_do_not_grow_with_the_grid(n_alphas: int, steepness: float) -> None:
    values = np.sort(1e4 * np.arange(1, 1501.0) ** -steepness)
    bank = filter_bank(ridge_filters(values, np.logspace(-6, 10, n_alphas)), values, np.float32)
    assert bank.n_products <= 7.0
    assert not bank.plain


def test_few_filters_or_components_and_float64_stay_as_they_are() -> None:
    values = np.linspace(1, 2, SMALLEST)
    few = ridge_filters(values, np.logspace(0, 1, FEWEST - 1))
    many = ridge_filters(values, np.logspace(0, 1, 30))
    for filters, dtype in ((few, np.float32), (many[:, 1:], np.float32), (many, np.float64)):
        spectrum = values[-filters.shape[1] :]
        bank = filter_bank(filters, spectrum, dtype)
        assert bank.plain
        np.testing.assert_array_equal(expanded(bank, spectrum.size), filters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_with_every_filter(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    values = np.logspace(0, 4, 300)
    z, left = (rng.standard_normal((300, width)).astype(dtype) for width in (33, 20))
    filters = ridge_filters(values, np.logspace(0, 5, 12))
    bank = filter_bank(filters, values, dtype)
    mixed = np.empty((12, 20, 33), dtype)
    for columns in (slice(0, 10), slice(10, 33)):
        width = columns.stop - columns.start
        shared = np.empty(bank.share_rows * width, dtype)
        bank.share(z[:, columns], shared)
        products = np.empty((bank.n_shared, 20 * width), dtype)
        bank.products(left, shared, width, products)
        part = np.empty((12, 20 * width), dtype)
        _cpu.mix_rows(bank.coefficients.astype(dtype), products, part, 2)
        mixed[:, :, columns] = part.reshape(12, 20, width)
    expected = np.einsum("ak,kr,kv->arv", filters, left.astype(np.float64), z.astype(np.float64))
    atol = 30 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "r", "size"), [(1, 1, 1), (4, 7, 128), (5, 130, 129), (17, 3, 1000), (3, 0, 5)]
)
def test_mix_rows(dtype: Any, m: int, r: int, size: int) -> None:
    rng = np.random.default_rng(1)
    coefficients, shared = (
        rng.standard_normal((m, r)).astype(dtype),
        rng.standard_normal((r, size)).astype(dtype),
    )
    out = {threads: np.full((m, size), np.nan, dtype) for threads in (1, 3)}
    for threads, rows in out.items():
        _cpu.mix_rows(coefficients, shared, rows, threads)
    expected = coefficients.astype(np.float64) @ shared.astype(np.float64)
    np.testing.assert_allclose(out[1], expected, rtol=0, atol=3 * (r + 1) * np.finfo(dtype).eps)
    np.testing.assert_array_equal(out[1], out[3])


def test_mix_rows_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"mix_rows: coefficients .* do not give out"):
        _cpu.mix_rows(np.ones((2, 3)), np.ones((4, 5)), np.empty((2, 5)), 1)

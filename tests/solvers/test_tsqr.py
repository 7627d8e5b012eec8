"""Sequential QR, the product beyond float64's precision, and the SVD of graded matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers.tsqr import SequentialQR, SplitProduct, _decades, graded_svd


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 40),
    size=st.integers(1, 50),
    more=st.integers(0, 100),
    rank=st.integers(0, 40),
    seed=st.integers(0, 2**31),
)
def test_sequential_qr(width: int, size: int, more: int, rank: int, seed: int) -> None:
    """R'R is the Gram, Q R the rows, Q orthonormal: whatever the blocks and the rank."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((width + more, rank)) @ rng.standard_normal((rank, width))
    qr = SequentialQR(width, len(x))
    for begin in range(0, len(x), size):
        block = np.array(x[begin : begin + size], order="F")
        qr.add(block, [(slice(0, len(block)), slice(begin, begin + len(block)))])
    r = qr.r.copy()
    assert np.array_equal(r, np.triu(r))
    q = qr.unfold(np.eye(width)).T
    scale = max(1.0, float(np.abs(x).max()))
    assert np.abs(q.T @ q - np.eye(width)).max() < 1e-13
    assert np.abs(q @ r - x).max() < 1e-12 * scale


def test_blocks_find_their_places() -> None:
    """A block's rows may belong to several stretches of the whole."""
    x = np.random.default_rng(0).standard_normal((12, 3))
    qr = SequentialQR(3, 12)
    for number in range(3):
        place = [
            (slice(0, 2), slice(2 * number, 2 * number + 2)),
            (slice(2, 4), slice(6 + 2 * number, 8 + 2 * number)),
        ]
        qr.add(np.asfortranarray(np.concatenate([x[there] for _, there in place])), place)
    assert np.abs(qr.unfold(qr.r).T - x).max() < 1e-14


@settings(max_examples=30, deadline=None)
@given(p=st.sampled_from([1, 2, 7, 300]), seed=st.integers(0, 2**31), spread=st.integers(0, 40))
def test_split_product(p: int, seed: int, spread: int) -> None:
    """Against the same product in integers."""
    rng = np.random.default_rng(seed)
    a = np.asfortranarray(rng.standard_normal((5, p)) * np.exp2(rng.integers(-spread, 1, size=(5, p))))
    v = np.linalg.qr(rng.standard_normal((p, p)))[0][:, :4]
    # Cancel nearly everything: the last row is orthogonal to v but for rounding.
    a[4] -= v @ (v.T @ a[4])
    whole_a = (np.ldexp(a, 160)).astype(object)
    whole_v = (np.ldexp(v, 160)).astype(object)
    to_int = np.vectorize(int, otypes=[object])
    exact = to_int(whole_a) @ to_int(whole_v)
    product = SplitProduct(v)
    found = product(a.copy(order="F"))
    error = np.array(
        [
            [float(e - int(np.ldexp(f, 160)) * 2**160) * 2.0**-320 for e, f in zip(*rows, strict=True)]
            for rows in zip(exact, found, strict=True)
        ]
    )
    bound = product.error * p * np.abs(a).max(axis=1)[:, None] + np.finfo(float).eps * np.abs(found)
    assert np.all(np.abs(error) <= bound)
    assert product.error <= 2.0**-70


@settings(max_examples=100, deadline=None)
@given(exponents=st.lists(st.floats(-18, 0), min_size=1, max_size=30), zeros=st.integers(0, 3))
def test_decades_cover_everything_once(exponents: list[float], zeros: int) -> None:
    sizes = np.concatenate([10.0 ** np.sort(exponents)[::-1], np.zeros(zeros)])
    ranges = list(_decades(sizes))
    assert [begin for begin, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == sizes.size
    for begin, end in ranges:
        assert sizes[end - 1] >= 1e-4 * sizes[begin] * (1 - 1e-12) or sizes[begin] == 0


@pytest.mark.parametrize("order", [1, 2, 40])
def test_graded_svd(order: int) -> None:
    """An orthogonal matrix whose columns are scaled over fourteen decades, and a rounding error."""
    rng = np.random.default_rng(0)
    s = np.logspace(0, -14, order)
    noise = np.triu(rng.standard_normal((order, order))) * 1e-16
    r = np.diag(s) + noise * np.minimum(1.0, s * 1e6)
    u, found, v = graded_svd(r)
    assert np.max(np.abs(found - s) / s) < 1e-9
    assert np.abs(u.T @ u - np.eye(order)).max() < 1e-14
    assert np.abs(v.T @ v - np.eye(order)).max() < 1e-14
    assert np.abs((u * found) @ v.T - r).max() < 1e-15

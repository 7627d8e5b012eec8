"""The inverse from a Cholesky factor, which csrc/cuda/invert_factor.cu makes from solves of 512 columns."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest


def invert(cuda: ModuleType, a: np.ndarray) -> np.ndarray:
    """What cholesky and cholesky_inverse leave of ``a``, whose rows lie in wider ones."""
    n = len(a)
    wide = np.full((n, n + 7), np.nan)
    wide[:, :n] = a
    queue, array = cuda.Queue(0), cuda.empty(wide.shape, "float64")
    cuda.upload(wide, array, queue=queue)
    view = array[slice(0, n), slice(0, n)]
    assert cuda.cholesky(view, queue=queue) == 0
    cuda.cholesky_inverse(view, queue=queue)
    cuda.download(array, wide, queue=queue)
    queue.synchronize()
    assert np.isnan(wide[:, n:]).all()
    return wide[:, :n]


@pytest.mark.parametrize("n", [1, 2, 31, 511, 512, 513, 1024, 1100])
def test_the_lower_triangle_is_the_inverse_and_the_upper_one_is_left_alone(cuda: ModuleType, n: int) -> None:
    x = np.random.default_rng(n).standard_normal((n, n + 20))
    a = x @ x.T / n + 0.1 * np.eye(n)
    out, expected = invert(cuda, a), np.linalg.inv(a)
    lower, upper = np.tril_indices(n), np.triu_indices(n, 1)
    assert np.abs(out[lower] - expected[lower]).max() <= 1e-13 * np.abs(expected).max()
    np.testing.assert_array_equal(out[upper], a[upper])


def test_a_singular_factor_is_named_and_left_as_it_was(cuda: ModuleType) -> None:
    factor = np.diag([1.0, 2.0, 0.0, 3.0])
    queue, array = cuda.Queue(0), cuda.empty((4, 4), "float64")
    cuda.upload(factor, array, queue=queue)
    with pytest.raises(cuda.Failure, match="cholesky_inverse: diagonal element 3 of the factor is zero"):
        cuda.cholesky_inverse(array, queue=queue)
    after = np.empty_like(factor)
    cuda.download(array, after, queue=queue)
    queue.synchronize()
    np.testing.assert_array_equal(after, factor)

"""A streamed design equals the one in memory, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.streams import as_source
from voxridge.testing import delayed_matrix, relative_error, tolerance

RUNS = [9, 14, 6, 21]
DELAYS = [(0,), (1, 2, 3, 4), (-2, 0, 5), (3,)]


@pytest.fixture(params=[3, 7, 16, 64], ids=lambda size: f"chunk{size}")
def rows_per_chunk(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("delays", DELAYS, ids=str)
def test_every_product_equals_the_design_in_memory(
    delays: tuple[int, ...], rows_per_chunk: int, dtype: type, rng: np.random.Generator
) -> None:
    features = rng.standard_normal((sum(RUNS), 5)).astype(dtype)
    design = StreamedDesign(
        as_source(features, name="features"), delays, RUNS, rows_per_chunk=rows_per_chunk, columns_per_chunk=2
    )
    x = delayed_matrix(features, delays, RUNS)
    y = rng.standard_normal((sum(RUNS), 3)).astype(dtype)
    w = rng.standard_normal((x.shape[1], 4)).astype(dtype)
    within = tolerance(dtype)
    np.testing.assert_array_equal(design.rows(4, 31), x[4:31])
    for ranges in ([(0, sum(RUNS))], [(2, 5), (8, 30), (44, 50)], []):
        rows = np.concatenate([np.arange(b, e) for b, e in ranges]) if ranges else np.arange(0)
        assert relative_error(design.gram(ranges), x[rows].T @ x[rows]) <= tolerance("f8")
        assert relative_error(design.sums(ranges), x[rows].sum(axis=0)) <= tolerance("f8")
        assert relative_error(design.xty(y, ranges), x[rows].T @ y[rows]) <= within
        assert relative_error(design.xw(w, ranges), x[rows] @ w) <= within
    assert relative_error(design.kernel(), x @ x.T) <= tolerance("f8")


@pytest.mark.parametrize("delays", DELAYS, ids=str)
def test_cross_kernel(delays: tuple[int, ...], rows_per_chunk: int, rng: np.random.Generator) -> None:
    features, new = rng.standard_normal((sum(RUNS), 5)), rng.standard_normal((17, 5))
    design = StreamedDesign(as_source(features, name="features"), delays, RUNS, rows_per_chunk=rows_per_chunk)
    expected = delayed_matrix(new, delays, [8, 9]) @ delayed_matrix(features, delays, RUNS).T
    assert relative_error(design.cross_kernel_of(DelayedDesign(new, delays, [8, 9])), expected) <= tolerance(
        "f8"
    )


def test_the_source_is_asked_before_and_after_every_pass(rng: np.random.Generator) -> None:
    passes = []
    design = StreamedDesign(
        as_source(rng.standard_normal((10, 3)), name="features"),
        between_passes=lambda: passes.append(1),
    )
    design.kernel()
    design.gram(design.everything())
    assert len(passes) == 4

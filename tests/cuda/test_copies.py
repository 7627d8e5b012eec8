"""Copies within the host's memory by several cores."""

from __future__ import annotations

import numpy as np
import pytest

from voxridge.solvers.cuda.copies import copy_rows


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (7, 1), (3, 500_000), (4099, 513)])
def test_every_row_is_copied(shape: tuple[int, int], dtype: type) -> None:
    a = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    wide = np.full((shape[0], shape[1] + 5), -1, dtype=dtype)
    copy_rows(a, wide[:, 2 : 2 + shape[1]])
    np.testing.assert_array_equal(wide[:, 2 : 2 + shape[1]], a)
    assert (wide[:, :2] == -1).all()
    assert (wide[:, 2 + shape[1] :] == -1).all()


def test_types_are_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "5")
    a = np.random.default_rng(0).standard_normal((3001, 700))
    out = np.empty((3001, 700), dtype=np.float32)
    copy_rows(a, out)
    np.testing.assert_array_equal(out, a.astype(np.float32))


def test_what_fails_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "2")
    with pytest.raises(TypeError, match="Cannot cast"):
        copy_rows(np.zeros((2000, 1000)), np.zeros((2000, 1000), dtype=np.int64))

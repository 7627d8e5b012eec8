"""The file of an unfinished run: whatever a kill leaves of it, whole blocks are kept, the rest is cut off."""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams.partial import PartialRun, RowBlock, is_zero, not_finite, partial_path

LAYERS = {"layer-00": 3, "layer-01": 2}
HEAD = {"run": "älice", "n_rows": 9, "dtype": "<f2", "layers": LAYERS, "provenance": {"model": "m"}}
EDGES = (0, 4, 5, 9)


def block(start: int, stop: int) -> RowBlock:
    rng = np.random.default_rng(start)
    layers = {name: rng.normal(size=(stop - start, width)).astype("f2") for name, width in LAYERS.items()}
    side = {"surprisal": rng.normal(size=stop - start), "token": np.arange(start, stop, dtype="i4")}
    return RowBlock(start, stop, layers, side, {"bits": start / 3, "n_scored": stop - start})


BLOCKS = [block(start, stop) for start, stop in itertools.pairwise(EDGES)]


def opened(folder: Path) -> PartialRun:
    return PartialRun(partial_path(folder / "x.h5", "features"), folder / "x.h5")


def filled(folder: Path, n_blocks: int = 3) -> Path:
    with opened(folder) as partial:
        partial.begin(HEAD)
        for one in BLOCKS[:n_blocks]:
            partial.append(one)
    return partial.place


@functools.cache
def pieces() -> tuple[bytes, list[int]]:
    """A whole file, and its length after the head and after each block."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lengths = []
        with opened(Path(folder)) as partial:
            partial.begin(HEAD)
            lengths.append(partial.place.stat().st_size)
            for one in BLOCKS:
                partial.append(one)
                lengths.append(partial.place.stat().st_size)
        return partial.place.read_bytes(), lengths


def check_blocks(partial: PartialRun, n_blocks: int) -> None:
    assert partial.n_rows == EDGES[n_blocks]
    wanted = BLOCKS[:n_blocks]
    for name in LAYERS:
        found = list(partial.pieces(name))
        assert [(rows.start, rows.stop) for rows, _ in found] == [(one.start, one.stop) for one in wanted]
        for (_, values), one in zip(found, wanted, strict=True):
            assert values.dtype == np.float16
            np.testing.assert_array_equal(values, one.layers[name])
    side, last = partial.side(), partial.last_rows()
    if not wanted:
        assert (side, last, partial.totals(), partial.side_kinds()) == ({}, None, {}, None)
        return
    assert last is not None
    for name in ("surprisal", "token"):
        expected = np.concatenate([one.side[name] for one in wanted])
        assert side[name].dtype == expected.dtype
        np.testing.assert_array_equal(side[name], expected)
    for name in LAYERS:
        np.testing.assert_array_equal(last[name], wanted[-1].layers[name][-1])
    assert partial.totals() == {
        "bits": functools.reduce(lambda a, b: a + b.totals["bits"], wanted, 0.0),
        "n_scored": EDGES[n_blocks],
    }


def test_blocks_come_back(tmp_path: Path) -> None:
    place = filled(tmp_path)
    assert place.name == "x.h5.features.partial"
    with opened(tmp_path) as partial:
        assert partial.head == HEAD
        check_blocks(partial, 3)
        whole = place.read_bytes()
    assert place.read_bytes() == whole


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_cut_off_at_any_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole, lengths = pieces()
    cut = data.draw(st.integers(0, len(whole)), "bytes left")
    garbage = data.draw(st.sampled_from([b"", b"\0" * 40, b"\xff" * 3]), "what a file system put behind them")
    folder = tmp_path_factory.mktemp("cut")
    place = partial_path(folder / "x.h5", "features")
    place.write_bytes(whole[:cut] + garbage)
    with opened(folder) as partial:
        n_blocks = sum(cut >= length for length in lengths) - 1
        if n_blocks < 0:
            assert partial.head is None
            partial.begin(HEAD)
            n_blocks = 0
        assert place.stat().st_size == lengths[n_blocks]
        check_blocks(partial, n_blocks)
        for one in BLOCKS[n_blocks:]:
            partial.append(one)
    assert place.read_bytes() == whole


def test_cut_off_at_every_byte_of_the_last_block(tmp_path: Path) -> None:
    whole, lengths = pieces()
    place = partial_path(tmp_path / "x.h5", "features")
    for cut in range(lengths[2], len(whole)):
        place.write_bytes(whole[:cut])
        with opened(tmp_path) as partial:
            check_blocks(partial, 2)
            partial.append(BLOCKS[2])
        assert place.read_bytes() == whole


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_a_changed_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole, lengths = pieces()
    at = data.draw(st.integers(0, len(whole) - 1), "place")
    damaged = bytearray(whole)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
    folder = tmp_path_factory.mktemp("bit")
    partial_path(folder / "x.h5", "features").write_bytes(damaged)
    with opened(folder) as partial:
        n_blocks = sum(at >= length for length in lengths) - 1
        assert (partial.head is None) == (n_blocks < 0)
        if partial.head is not None:
            check_blocks(partial, n_blocks)


def test_an_empty_one_is_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as partial:
        assert os.listdir(tmp_path) == [partial.place.name]
        partial.begin(HEAD)
    assert os.listdir(tmp_path) == []
    filled(tmp_path)
    with opened(tmp_path) as partial:
        partial.clear()
        assert partial.n_rows == 0
    assert os.listdir(tmp_path) == []


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(BlockingIOError, match=r"x\.h5 is being written by another program"):
        opened(tmp_path)
    with opened(tmp_path):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_a_write_that_fails_half_way(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, lengths = pieces()
    plain, calls = os.write, iter(range(100))

    def failing(descriptor: int, content: Any) -> int:
        if next(calls) == 2:
            raise error
        return plain(descriptor, memoryview(content)[:7])

    with opened(tmp_path) as partial:
        partial.begin(HEAD)
        partial.append(BLOCKS[0])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", failing)
            with pytest.raises(type(error)):
                partial.append(BLOCKS[1])
        assert partial.place.stat().st_size == lengths[1]
        partial.append(BLOCKS[1])
        partial.append(BLOCKS[2])
    assert partial.place.read_bytes() == whole


def test_layers_of_zeros(tmp_path: Path) -> None:
    with opened(tmp_path) as partial:
        partial.begin(HEAD)
        for one in BLOCKS[:2]:
            one = RowBlock(
                one.start, one.stop, one.layers | {"layer-01": np.zeros_like(one.layers["layer-01"])}
            )
            partial.append(one)
        assert partial.dead_layers() == ["layer-01"]
        partial.append(RowBlock(5, 9, BLOCKS[2].layers))
        assert partial.dead_layers() == []


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_bits_of_halves_say_what_numpy_says(dtype: str) -> None:
    special = [
        0.0,
        -0.0,
        1.0,
        -2.5,
        np.finfo(dtype).max,
        np.finfo(dtype).tiny,
        np.inf,
        -np.inf,
        np.nan,
        -np.nan,
    ]
    for value in special:
        values = np.zeros((3, 4), dtype)
        values[1, 2] = value
        assert is_zero(values) == (not values.any())
        found = not_finite(values)
        expected = ~np.isfinite(values).all(axis=1)
        assert (found is None) == (not expected.any())
        if found is not None:
            np.testing.assert_array_equal(found, expected)

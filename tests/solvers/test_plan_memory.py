"""Amounts of memory: in words, of this machine and of this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.solvers import memory
from voxridge.solvers.memory import (
    available_memory,
    default_limit,
    in_words,
    parse_memory,
    peak_memory,
    resident_memory,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GB", 8 * 10**9),
        ("8 gib", 8 * 2**30),
        ("512 MiB", 512 * MIB),
        ("1.5e9", 1_500_000_000),
        ("2tb", 2 * 10**12),
        ("7B", 7),
        (1000, 1000),
        (1e6, 10**6),
        (np.int64(5), 5),
        (None, None),
    ],
)
def test_amounts_in_words(text: Any, expected: int | None) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["8 apples", "", "GB", "8GX", "1,5GB", [8], True])
def test_what_is_no_amount_is_named(text: Any) -> None:
    with pytest.raises(ValueError, match=r"memory_limit=.* is not an amount of memory; give bytes or text"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["-1GB", 0, "nanGB", "infGB", float("nan")])
def test_amounts_are_positive(text: Any) -> None:
    with pytest.raises(ValueError, match=r"memory_limit=.* must be positive"):
        parse_memory(text)


def test_what_is_resident_grows_with_what_is_touched() -> None:
    # A process of its own: in this one, other threads may give memory back meanwhile.
    code = """
import mmap
from voxridge.solvers.memory import peak_memory, resident_memory
before = resident_memory()
block = mmap.mmap(-1, 256 * 2**20)
for page in range(0, len(block), mmap.PAGESIZE):
    block[page] = 1
print(resident_memory() - before, peak_memory() - before)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    grown, peak = (int(number) for number in printed.split())
    assert 248 * MIB < grown < 264 * MIB
    assert peak >= grown - 8 * MIB


def test_the_default_limit_leaves_a_fifth_of_what_is_free() -> None:
    limit, free, held = default_limit(), available_memory(), resident_memory()
    assert free > 0
    assert limit == pytest.approx(held + 0.8 * free, rel=0.1)


def test_a_container_may_have_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = available_memory()
    (tmp_path / "max").write_text("300000000\n")
    (tmp_path / "current").write_text("100000000\n")
    (tmp_path / "none").write_text("max\n")
    pair = str(tmp_path / "max"), str(tmp_path / "current")
    monkeypatch.setattr(memory, "_CGROUPS", (pair,))
    assert available_memory() == 200_000_000
    monkeypatch.setattr(memory, "_CGROUPS", ((str(tmp_path / "none"), pair[1]),))
    assert available_memory() == pytest.approx(free, rel=0.2)


def test_systems_that_do_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_kibibytes", lambda path, field: None)
    assert available_memory() == 8 * 2**30
    assert resident_memory() == peak_memory() > 10 * MIB


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 MiB"), (1500 * MIB, "1,500 MiB"), (2**33, "8.0 GiB"), (1e14, "93,132.3 GiB")]
)
def test_words(n_bytes: float, text: str) -> None:
    assert in_words(n_bytes) == text

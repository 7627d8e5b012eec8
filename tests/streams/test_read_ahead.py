"""Reading ahead: order, memory, errors in their place, and no thread left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import ClassVar

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from voxridge.streams import read_ahead


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "voxridge-reader"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in readers():
        thread.join(5)
    assert not readers()


class Item:
    """Counts how many of its kind are alive."""

    alive: ClassVar[weakref.WeakSet[Item]] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        self.number = number
        Item.alive.add(self)


def jobs(n: int) -> Iterator[Callable[[], int]]:
    return (lambda i=i: i for i in range(n))


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 12), depth=st.integers(0, 4))
def test_every_item_in_order(n: int, depth: int) -> None:
    with read_ahead(jobs(n), depth) as items:
        assert list(items) == list(range(n))
        assert list(items) == []
    assert not readers()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_no_more_than_depth_items_beside_the_present_one(depth: int) -> None:
    most = 0

    def job(number: int) -> Item:
        nonlocal most
        item = Item(number)
        # The consumer lets go of an item while he asks for the next: that moment is granted.
        deadline = time.monotonic() + 2
        while len(Item.alive) > depth + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        most = max(most, len(Item.alive))
        return item

    with read_ahead((lambda i=i: job(i) for i in range(10)), depth) as items:
        for item in items:
            time.sleep(0.005)
            assert len(Item.alive) <= depth + 1
            del item
    assert most <= depth + 1
    assert len(Item.alive) == 0


def test_both_sides_work_at_once() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def job(number: int) -> int:
        if number > 0:
            meeting.wait()  # with the consumer of the item before: one after the other, nobody would come
        return number

    with read_ahead([lambda i=i: job(i) for i in range(8)]) as items:
        for item in items:
            if item < 7:
                meeting.wait()


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_an_error_comes_in_its_place_as_it_was(depth: int) -> None:
    class OwnError(Exception):
        pass

    thrown = OwnError("disk")

    def broken() -> int:
        raise thrown

    seen = []
    with (  # noqa: PT012
        pytest.raises(OwnError) as caught,
        read_ahead([lambda: 0, lambda: 1, broken, lambda: 3], depth) as items,
    ):
        for item in items:
            seen.append(item)
            time.sleep(0.01)
    assert seen == [0, 1]
    assert caught.value is thrown
    assert "broken" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert list(items) == []


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_of_the_list_of_jobs_comes_too(depth: int) -> None:
    def listed() -> Iterator[Callable[[], int]]:
        yield lambda: 0
        raise OSError("no list")

    with pytest.raises(OSError, match="no list"), read_ahead(listed(), depth) as items:  # noqa: PT012
        assert next(items) == 0
        next(items)


@pytest.mark.parametrize("depth", [0, 1])
def test_stop_iteration_in_a_job_is_no_end(depth: int) -> None:
    def job() -> int:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"), read_ahead([job], depth) as items:
        list(items)


def test_an_error_holds_no_memory() -> None:
    gc.collect()
    gc.disable()
    try:

        def broken() -> Item:
            raise ValueError("no")

        with read_ahead([lambda: Item(0), broken]) as items:
            del items
        with pytest.raises(ValueError, match="no"), read_ahead([lambda: Item(0), broken]) as items:
            list(items)
        assert len(Item.alive) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("how", ["break", "error", "close", "interrupt"])
def test_leaving_early_ends_the_thread(how: str) -> None:
    def leave() -> None:
        with read_ahead(jobs(1000)) as items:
            for item in items:
                if item == 3 and how == "break":
                    break
                if item == 3 and how == "close":
                    items.close()
                if item == 3 and how == "error":
                    raise LookupError
                if item == 3 and how == "interrupt":
                    raise KeyboardInterrupt

    if how in ("break", "close"):
        leave()
    else:
        with pytest.raises(LookupError if how == "error" else KeyboardInterrupt):
            leave()
    assert not readers()


def test_a_loop_without_with_ends_the_thread_too() -> None:
    for item in read_ahead(jobs(1000)):
        if item == 3:
            break
    for thread in readers():
        thread.join(5)
    assert not readers()


def test_closing_twice_and_asking_afterwards() -> None:
    items = read_ahead(jobs(5))
    assert next(items) == 0
    items.close()
    items.close()
    assert next(items, "end") == "end"


def test_an_interrupt_while_waiting_is_not_lost() -> None:
    release = threading.Event()

    def slow() -> int:
        release.wait(10)
        return 0

    def interrupt() -> None:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        release.set()

    other = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt), read_ahead([slow, slow]) as items:
            next(items)
        other.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not readers()


def test_a_program_that_forgets_it_still_ends() -> None:
    code = """
import numpy
from voxridge.streams import read_ahead
items = read_ahead(lambda: numpy.ones(3) for _ in range(100))
print(next(items).sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3.0\n", "")


def test_arrays_are_handed_on_without_a_copy() -> None:
    array = np.ones(5)
    with read_ahead([lambda: array]) as items:
        assert next(items) is array


def test_depth_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="depth is -1"):
        read_ahead([], -1)

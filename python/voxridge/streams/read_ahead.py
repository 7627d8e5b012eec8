"""Reading the next item in a thread while the caller works on the present one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

# How long a waiting thread sleeps before it looks whether the program is ending.
_POLL_SECONDS = 0.5


def read_ahead(jobs: Iterable[Callable[[], T]], depth: int = 1) -> ReadAhead[T]:
    """Run jobs one after the other in a thread, ahead of the caller who takes their results in order.

    Memory is a promise: beside the item that the caller works on there are never more than ``depth`` others,
    the one in the making included. The caller keeps his side of it by letting go of an item before, or while,
    he asks for the next, which a loop over the items does.

    Parameters
    ----------
    jobs
        Functions without arguments, each making one item; drawn one at a time, in the thread.
    depth
        How many items to make ahead. 1 is enough to keep both sides busy; 0 makes each item when it is asked
        for, without a thread.

    Returns
    -------
    ReadAhead
        An iterator and a context manager. Leave by the end of the ``with`` block, however that comes about,
        and the thread is gone; without ``with`` it ends after the item in the making.

    Raises
    ------
    ValueError
        ``depth`` is negative.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source
    >>> source = as_source(numpy.ones((6, 2)), name="features")
    >>> slices = [slice(0, 2), slice(2, 4), slice(4, 6)]
    >>> with read_ahead(lambda rows=rows: source.read(rows) for rows in slices) as blocks:
    ...     sum(float(block.sum()) for block in blocks)
    12.0
    """
    if depth < 0:
        raise ValueError(f"depth is {depth}; give the number of items to read ahead, 0 for none")
    return ReadAhead(iter(jobs), depth)


class ReadAhead(Generic[T]):
    """What `read_ahead` returns. A job's exception is raised, as it was, where its item would have come.

    Parameters
    ----------
    jobs : iterator of functions without arguments
    depth : int
        How many items to make ahead; 0 makes each when it is asked for.

    Examples
    --------
    >>> from voxridge.streams import read_ahead
    >>> with read_ahead((lambda n=n: n * n) for n in range(4)) as items:
    ...     list(items)
    [0, 1, 4, 9]
    """

    def __init__(self, jobs: Iterator[Callable[[], T]], depth: int) -> None:
        self._jobs = jobs
        self._shelf: _Shelf[T] = _Shelf(depth)
        self._thread: threading.Thread | None = None
        if depth:
            # The thread knows the shelf, not this object: a caller who forgets it ends the thread.
            self._thread = threading.Thread(target=_work, args=(jobs, self._shelf), name="voxridge-reader")
            self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            return self._make_here()
        try:
            return self._shelf.take()
        except BaseException:
            # The end, an error of a job, or an interrupt while waiting.
            self.close()
            raise

    def _make_here(self) -> T:
        if self._shelf.stopped:
            raise StopIteration
        try:
            return _run(next(self._jobs))
        except BaseException:
            self._shelf.stop()
            raise

    def close(self) -> None:
        """Stop after the item in the making, drop what was read ahead, and wait for the thread to end."""
        self._shelf.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # No waiting here: the collector may call this while a lock is held that the job needs.
        shelf = getattr(self, "_shelf", None)
        if shelf is not None:
            shelf.stop()


class _Shelf(Generic[T]):
    """What the thread and the consumer share."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self.stopped = False

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._items.clear()
            self._changed.notify_all()

    def wait_for_room(self) -> bool:
        """Wait until another item may be made; False if none is wanted any more."""
        with self._changed:
            while not self.stopped and len(self._items) >= self._depth:
                self._changed.wait(_POLL_SECONDS)
                # At its end the interpreter waits for this thread, which then waits for nobody.
                if not threading.main_thread().is_alive():
                    self.stopped = True
            return not self.stopped

    def put(self, item: T) -> None:
        with self._changed:
            if not self.stopped:
                self._items.append(item)
                self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> T:
        with self._changed:
            while not (self._items or self._ended or self.stopped):
                self._changed.wait()
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error  # it refers to this frame


def _work(jobs: Iterator[Callable[[], T]], shelf: _Shelf[T]) -> None:
    try:
        while shelf.wait_for_room():
            try:
                job = next(jobs)
            except StopIteration:
                break
            # Passed on without a name, which would keep the item alive while the next one is made.
            shelf.put(_run(job))
    except BaseException as error:
        shelf.end(error)
    else:
        shelf.end(None)


def _run(job: Callable[[], T]) -> T:
    try:
        return job()
    except StopIteration as error:
        raise RuntimeError("a job raised StopIteration, which would pass for the end of the jobs") from error

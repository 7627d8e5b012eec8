"""How many threads the kernels of this package use: the processors this process may run on, or fewer on
request."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_limiting = (
    threading.Lock()
)  # BLAS has one limit for the whole process: two borrowers must not restore each other's


def n_threads() -> int:
    """Threads for our own kernels (BLAS keeps its own pool; the two never run at once).

    ``VOXRIDGE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the processors in this process's affinity mask.

    Raises
    ------
    ValueError
        If one of the variables is set to something that is not a positive integer.
    """
    for name in ("VOXRIDGE_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name)
        if value:
            if not value.strip().isdigit() or int(value) < 1:
                raise ValueError(
                    f"{name}={value!r} is not a positive integer; unset it or give a number of threads"
                )
            return int(value)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS keeps to one thread inside; one caller at a time."""
    with _limiting, _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through every loaded library: once is enough

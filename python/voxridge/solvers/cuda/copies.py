"""Copies within the memory of the host, as fast as a device sends and takes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._threads import n_threads, on_all_cores

_WORTH_A_THREAD = 2**20  # bytes


def copy_rows(a: NDArray[Any], out: NDArray[Any]) -> None:
    """``out[...] = a``, some rows by every core: one alone copies, and touches new pages, at a fraction of
    the rate of the link to a device."""
    n_rows = a.shape[0]
    parts = min(n_threads(), n_rows, out.nbytes // _WORTH_A_THREAD)
    if parts <= 1:
        np.copyto(out, a)
        return
    edges = [n_rows * i // parts for i in range(parts + 1)]
    rows = [slice(*pair) for pair in pairwise(edges)]
    on_all_cores([partial(np.copyto, out[part], a[part]) for part in rows])

"""How many rows a chunk of an SVD may have: what each needs in memory, and what there is."""

from __future__ import annotations

from dataclasses import dataclass

from voxridge.solvers.memory import in_words, resident_memory
from voxridge.solvers.svd_blocks import RowDesign
from voxridge.solvers.tsqr import PANEL

_TARGET_BYTES = 32 * 2**20  # of a chunk in float64: larger ones are not faster
_LEAST_ROWS = 64
_SLACK = 16 * 2**20  # what BLAS and the allocator keep to themselves


@dataclass(frozen=True)
class Need:
    """Bytes that an SVD takes, whose tall side has ``long`` rows.

    ``kept`` stays to the end, ``small`` is the most that is needed while no chunk is in memory, ``beside``
    while one is. Each row of a chunk takes ``per_row``, each chunk leaves ``per_chunk`` behind.
    """

    long: int
    width: int
    kept: int
    small: int
    beside: int
    per_row: int
    per_chunk: int

    @classmethod
    def of_full(cls, design: RowDesign, long: int, width: int, *, keep: bool, refine: bool) -> Need:
        """``keep``: the singular vectors of the long side are wanted; ``refine``: there may be a second
        pass."""
        square = 8 * width**2
        return cls(
            long=long,
            width=width,
            kept=8 * long * width if keep else 0,
            small=square * (12 if refine else 8),
            beside=square * (7 if refine else 4),
            per_row=_raw_bytes(design, width) + 8 * width * (5 if refine else 2),
            per_chunk=8 * PANEL * width if keep else 0,
        )

    @classmethod
    def of_leading(cls, design: RowDesign, long: int, width: int, order: int, *, keep: bool) -> Need:
        """``order``: of the Krylov space."""
        return cls(
            long=long,
            width=width,
            kept=8 * order * (2 * width + (long if keep else 0)),  # basis, images, vectors
            small=8 * (8 * order**2 + 2 * width * order),
            beside=8 * 4 * order**2,
            per_row=_raw_bytes(design, width) + 8 * (2 * width + 2 * order),
            per_chunk=8 * PANEL * order if keep else 0,
        )

    def total(self, rows: int) -> int:
        """Bytes with chunks of ``rows``."""
        while_reading = self.beside + rows * self.per_row
        return self.kept + self.per_chunk * -(-self.long // rows) + max(self.small, while_reading) + _SLACK


def _raw_bytes(design: RowDesign, width: int) -> int:
    """One row as the design gives it; from a file the next is read meanwhile, out of the features it is made
    of."""
    copies = 3 if hasattr(design, "source") else 1
    return int(copies * design.dtype.itemsize * width)


def chunk_rows(need: Need, shape: tuple[int, int], asked: int | None, memory_limit: int | None) -> int:
    """Rows of the tall side in a chunk: those asked for, or what is fast and fits.

    Raises
    ------
    ValueError
        If ``asked`` is below 1.
    MemoryError
        If the least chunk (or the one asked for) does not fit; the message says what would do.
    """
    if asked is not None and asked < 1:
        raise ValueError(f"rows_per_chunk={asked} must be at least 1")
    fast = max(256, need.width // 2, _TARGET_BYTES // (8 * need.width))
    rows = min(need.long, fast if asked is None else asked)
    if memory_limit is None:
        return rows
    held = resident_memory()
    least = min(rows, _LEAST_ROWS if asked is None else rows)
    tried = [rows]
    while held + need.total(tried[-1]) > memory_limit and tried[-1] > least:
        tried.append(max(least, tried[-1] * 3 // 4))
    if held + need.total(tried[-1]) <= memory_limit:
        return tried[-1]
    enough = held + min(need.total(rows) for rows in tried)
    raise MemoryError(
        f"memory_limit={memory_limit} bytes is too small: the SVD of a {shape[0]} x {shape[1]} design needs "
        f"at least {enough} bytes ({in_words(enough)}), of which the process holds {held} already; "
        f"{'leave out rows_per_chunk, ' if asked else ''}do without singular vectors or set n_components"
    )

"""Ways to move predictions against responses within runs, and what every move makes of a sum of products.

A move only picks which pieces meet. So the products of all pieces that could meet are summed once, into a
table with a row per meeting and a column per target, and each move is then the sum of a few rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.science.blocks import Float64, run_slices

Picks = NDArray[np.int64]


@dataclass(frozen=True)
class BlockMoves:
    """Blocks of equal length change places within their run.

    The fewer than ``n_blocks`` rows at the end of a run that fill no block stay where they are. That is a
    group of permutations still, so the test keeps its level.
    """

    lengths: tuple[int, ...]
    block: int

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Blocks of every run."""
        return tuple(max(1, length // self.block) for length in self.lengths)

    @property
    def distinct(self) -> int:
        return math.prod(math.factorial(count) for count in self.counts)

    @property
    def table_rows(self) -> tuple[int, ...]:
        """Of the table of every run."""
        return tuple(count**2 for count in self.counts)

    def all_moves(self) -> Iterator[list[Picks]]:
        """Rows of each run's table for every move; the one that moves nothing comes first."""
        for orders in itertools.product(*(itertools.permutations(range(count)) for count in self.counts)):
            yield [np.arange(len(order)) * len(order) + np.array(order) for order in orders]

    def draw(self, rng: np.random.Generator) -> list[Picks]:
        """Rows of each run's table for a random move."""
        return [np.arange(count) * count + rng.permutation(count) for count in self.counts]

    def tables(self, left: Float64, right: Float64) -> Iterator[Float64]:
        """(count**2, n_targets) for each run: the sum of products of every block with every other."""
        for rows, count in zip(run_slices(self.lengths), self.counts, strict=True):
            moved = slice(rows.start, rows.stop - (rows.stop - rows.start) % count)
            a, b = (
                np.ascontiguousarray(values[moved].reshape(count, -1, left.shape[1]).transpose(2, 0, 1))
                for values in (left, right)
            )
            yield np.ascontiguousarray((a @ b.transpose(0, 2, 1)).reshape(left.shape[1], -1).T)

    def unmoved(self, left: Float64, right: Float64) -> Float64:
        """(n_targets,): the products of rows that fill no block."""
        total = np.zeros(left.shape[1])
        for rows, count in zip(run_slices(self.lengths), self.counts, strict=True):
            rest = slice(rows.stop - (rows.stop - rows.start) % count, rows.stop)
            total += np.einsum("ij,ij->j", left[rest], right[rest])
        return total


@dataclass(frozen=True)
class ShiftMoves:
    """Every run is shifted around in time by a number of rows of its own."""

    lengths: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """A single piece of every run."""
        return (1,) * len(self.lengths)

    @property
    def distinct(self) -> int:
        return math.prod(self.lengths)

    @property
    def table_rows(self) -> tuple[int, ...]:
        """Of the table of every run."""
        return self.lengths

    def all_moves(self) -> Iterator[list[Picks]]:
        """Rows of each run's table for every move; the one that moves nothing comes first."""
        for shifts in itertools.product(*(range(length) for length in self.lengths)):
            yield [np.array([shift]) for shift in shifts]

    def draw(self, rng: np.random.Generator) -> list[Picks]:
        """Rows of each run's table for a random move."""
        return [rng.integers(0, length, 1) for length in self.lengths]

    def tables(self, left: Float64, right: Float64) -> Iterator[Float64]:
        """(length, n_targets) for each run: the sum of products with ``right`` shifted by every number."""
        from scipy.fft import irfft, rfft

        for rows in run_slices(self.lengths):
            products = rfft(left[rows], axis=0).conj() * rfft(right[rows], axis=0)
            yield np.asarray(irfft(products, rows.stop - rows.start, axis=0))

    def unmoved(self, left: Float64, right: Float64) -> Float64:
        """(n_targets,): zero, as every row moves."""
        return np.zeros(left.shape[1])


Moves = BlockMoves | ShiftMoves


@dataclass(frozen=True)
class Chosen:
    """The moves of a test.

    Attributes
    ----------
    picks : list
        For every run a sparse (m, table_rows) matrix of ones where a move picks from its table.
    exact : bool
        Whether these are all moves but the one that moves nothing.
    """

    moves: Moves
    picks: list[Any]
    exact: bool

    @property
    def n_moves(self) -> int:
        return int(self.picks[0].shape[0])

    @property
    def peak_rows(self) -> int:
        """Rows of the largest array that a target needs."""
        return max(sum(self.moves.lengths), *self.moves.table_rows, self.n_moves)

    def sums(self, left: Float64, right: Float64, wider: float = 1.0) -> Float64:
        """(m, n_targets): the sum of products after each move, ``wider`` times as far from its mean."""
        null = np.zeros((self.n_moves, left.shape[1]))
        expected = np.zeros(left.shape[1])
        tables = self.moves.tables(left, right)
        for picked, table, count in zip(self.picks, tables, self.moves.counts, strict=True):
            null += picked @ table
            expected += table.mean(axis=0) * count
        if wider != 1:
            null -= expected
            null *= wider
            null += expected
        null += self.moves.unmoved(left, right)
        return null


def choose_moves(moves: Moves, n_permutations: int, rng: np.random.Generator) -> Chosen:
    """All moves but the one that moves nothing where there are no more than asked for, else random ones."""
    from scipy.sparse import csr_array

    exact = moves.distinct <= n_permutations + 1
    made = list(moves.all_moves())[1:] if exact else [moves.draw(rng) for _ in range(n_permutations)]
    picks = []
    for run, rows in enumerate(moves.table_rows):
        columns = np.concatenate([move[run] for move in made])
        starts = np.arange(0, len(columns) + 1, len(made[0][run]))
        picks.append(csr_array((np.ones(len(columns)), columns, starts), shape=(len(made), rows)))
    return Chosen(moves, picks, exact)

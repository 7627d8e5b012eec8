"""Windows of tokens read by a language model in batches, and the rows of their words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxridge.features.context import Window
from voxridge.features.language_model import LanguageModel, WindowStates
from voxridge.features.pooling import FloatArray, Pooling, pool_words
from voxridge.features.tokens import IntArray, TokenisedWords

Float64Array = npt.NDArray[np.float64]

# So many words whose values are all zero are no accident.
_ZERO_WORDS = 16


@dataclass(frozen=True, eq=False)
class WordBlock:
    """What one batch of windows gave.

    Attributes
    ----------
    start, stop : int
        Words [start, stop) of the run.
    states : dict of int to (stop - start, width) floating
        One row for each word in the layers asked for.
    surprisal : (stop - start,) float64 or None
        Bits of each word: the sum over the tokens of the word without the punctuation at its ends, and of a
        token that holds only the blank in front of it. NaN if one of them has nothing before it; 0 for a
        word without any token. None if it was not asked for.
    bits : float
        Sum over all tokens of the block that have something before them, punctuation included.
    n_scored : int
        Number of these tokens.
    """

    start: int
    stop: int
    states: dict[int, FloatArray]
    surprisal: Float64Array | None = None
    bits: float = 0.0
    n_scored: int = 0


class Batch(NamedTuple):
    """Neighbouring windows that are read at once: what to give to `LanguageModel.read`, and for which words.

    Attributes
    ----------
    start, stop : int
        Words [start, stop) get their rows from this batch.
    sequences : list of (n_tokens,) int64
        Tokens of the windows that have new tokens, special tokens included.
    rows : list of slice
        Places of the new tokens in each of them; together they are neighbours in the run.
    """

    start: int
    stop: int
    sequences: list[IntArray]
    rows: list[slice]


@dataclass(frozen=True, eq=False)
class WindowReader:
    """Reads windows of a tokenised run in batches.

    The batches depend on the run, the windows and `LanguageModel.tokens_per_pass` alone. Reading that goes on
    at the start of a block therefore gives the blocks that reading from the beginning gives, bit by bit.

    Parameters
    ----------
    model : LanguageModel
    tokens : TokenisedWords
    labels : sequence of str
        The words, for messages.
    windows : sequence of Window
        In order, each word new in one of them.
    bos : bool
        As in `GrowingContext`.
    unit : str
        What the words are, for messages.

    Raises
    ------
    ValueError
        If a window has more tokens than the model takes.
    """

    model: LanguageModel
    tokens: TokenisedWords
    labels: Sequence[str]
    windows: Sequence[Window]
    bos: bool = True
    unit: str = "word"
    _batches: list[list[Window]] = field(init=False)

    def __post_init__(self) -> None:
        before, after = self.model.special_tokens(bos=self.bos)
        edges, n_special = self.tokens.edges, len(before) + len(after)
        sizes = [int(edges[w.stop] - edges[w.start]) + n_special for w in self.windows]
        _check_fit(self.model, self.windows, sizes, n_special, self.unit)
        groups: list[list[Window]] = []
        longest = 0
        for window, size in zip(self.windows, sizes, strict=True):
            longest = max(longest, size)
            if not groups or (len(groups[-1]) + 1) * longest > self.model.tokens_per_pass:
                groups.append([])
                longest = size
            groups[-1].append(window)
        object.__setattr__(self, "_batches", groups)

    def batches(self, first_word: int = 0) -> Iterator[Batch]:
        """Return the batches from the one that starts with `first_word` on, one after the other.

        Raises
        ------
        ValueError
            If no batch starts there.
        """
        starts = [group[0].new for group in self._batches]
        if first_word not in [*starts, len(self.labels)]:
            raise ValueError(
                f"first_word={first_word} is not the start of a block; blocks start at {starts[:8]}..."
                if len(starts) > 8
                else f"first_word={first_word} is not the start of a block; blocks start at {starts}"
            )
        return (self._batch(group) for group in self._batches if group[0].new >= first_word)

    def _batch(self, group: Sequence[Window]) -> Batch:
        before, after = (np.array(ids, dtype=np.int64) for ids in self.model.special_tokens(bos=self.bos))
        edges = self.tokens.edges
        sequences, rows = [], []
        for window in group:
            start, new, stop = (int(edges[word]) for word in window)
            if new < stop:
                sequences.append(np.concatenate([before, self.tokens.ids[start:stop], after]))
                shift = len(before) - start
                rows.append(slice(new + shift, stop + shift))
        return Batch(group[0].new, group[-1].stop, sequences, rows)

    def blocks(
        self,
        layers: Sequence[int],
        pooling: Pooling,
        dtype: np.dtype[np.floating],
        *,
        surprisal: bool = False,
        first_word: int = 0,
        before: Mapping[int, FloatArray] | None = None,
    ) -> Iterator[WordBlock]:
        """Yield one block for each batch; see `voxridge.features.word_features.read_blocks`."""
        todo = self.batches(first_word)
        repeats = first_word < len(self.labels) and self.tokens.last[first_word] < 0
        if repeats and before is None and layers:
            raise ValueError(
                f"before: word {first_word} has no token and repeats the word in front of it: give the last "
                "row of every layer of the block in front"
            )
        return self._read(todo, layers, pooling, dtype, surprisal, dict(before or {}))

    def _read(
        self,
        todo: Iterable[Batch],
        layers: Sequence[int],
        pooling: Pooling,
        dtype: np.dtype[np.floating],
        surprisal: bool,
        last_rows: dict[int, FloatArray],
    ) -> Iterator[WordBlock]:
        zero = dict.fromkeys(layers, 0)
        for batch in todo:
            parts: list[WindowStates] = []
            if batch.sequences:
                parts = self.model.read(batch.sequences, layers, batch.rows, surprisal=surprisal)
            states = {}
            for layer in layers:
                values = self._pooled(batch, parts, layer, pooling, dtype, last_rows.get(layer))
                last_rows[layer] = values[-1].copy()
                states[layer] = values
                # -1: the layer has been seen to be sound.
                zero[layer] = -1 if zero[layer] < 0 or values.any() else zero[layer] + len(values)
                if zero[layer] >= _ZERO_WORDS or (zero[layer] > 0 and batch.stop == len(self.labels)):
                    raise ValueError(
                        f"layer {layer} of {self.model.name} is all zeros, which no sound model gives: "
                        "weights not loaded, or placed wrongly over several devices"
                    )
            if surprisal:
                yield WordBlock(batch.start, batch.stop, states, *self._scored(batch, parts))
            else:
                yield WordBlock(batch.start, batch.stop, states)

    def _pooled(
        self,
        batch: Batch,
        parts: Sequence[WindowStates],
        layer: int,
        pooling: Pooling,
        dtype: np.dtype[np.floating],
        last_row: FloatArray | None,
    ) -> FloatArray:
        spoken = batch.start + np.flatnonzero(self.tokens.last[batch.start : batch.stop] >= 0)
        if spoken.size:
            taken = [part.states.pop(layer) for part in parts]
            joined = taken[0] if len(taken) == 1 else np.concatenate(taken)
            first = int(self.tokens.edges[batch.start])
            rows = self._checked(
                pool_words(joined, self.tokens, spoken, first, pooling), dtype, layer, spoken
            )
            if len(rows) == batch.stop - batch.start:
                return rows
        # A word without a token repeats the row before it.
        source = np.searchsorted(spoken, np.arange(batch.start, batch.stop), side="right")
        if last_row is not None:
            kept = np.asarray(last_row, dtype=dtype)[None]
        else:
            kept = np.zeros((1, self.model.widths[layer]), dtype=dtype)
        found: FloatArray = np.concatenate([kept, rows] if spoken.size else [kept])[source]
        return found

    def _checked(
        self, block: FloatArray, dtype: np.dtype[np.floating], layer: int, spoken: IntArray
    ) -> FloatArray:
        """Return `block` in `dtype`; raise ValueError for the first word with a value that cannot be kept."""
        place = f"layer {layer} of {self.model.name}"
        largest = np.abs(block).max(axis=1)
        bad = ~np.isfinite(largest)
        if bad.any():
            word = int(spoken[np.argmax(bad)])
            raise ValueError(
                f"{place} has NaN or infinity at {self.unit} {word} ({self.labels[word]!r}): load the model "
                "with dtype='float32' or 'bfloat16', whose range is wider than that of float16"
            )
        top = float(np.finfo(dtype).max)
        if (largest > top).any():
            i = int(np.argmax(largest > top))
            word = int(spoken[i])
            raise ValueError(
                f"{place} reaches {largest[i]:.6g} at {self.unit} {word} ({self.labels[word]!r}), more than "
                f"{dtype.name} can hold ({top:g}): use dtype='float32'"
            )
        return block.astype(dtype)

    def _scored(self, batch: Batch, parts: Sequence[WindowStates]) -> tuple[Float64Array, float, int]:
        """Return the bits of every word, their sum over all tokens, and the number of tokens."""
        count = batch.stop - batch.start
        if not parts:
            return np.zeros(count), 0.0, 0
        bits = np.concatenate([part.surprisal for part in parts if part.surprisal is not None])
        first = int(self.tokens.edges[batch.start])
        owner = self.tokens.spelled[first : first + len(bits)]
        used = owner >= 0
        words: Float64Array = np.zeros(count)
        np.add.at(words, owner[used] - batch.start, bits[used])
        known = ~np.isnan(bits)
        return words, float(bits[known].sum()), int(known.sum())


def _check_fit(
    model: LanguageModel, windows: Sequence[Window], sizes: Sequence[int], n_special: int, unit: str
) -> None:
    if model.max_tokens is None:
        return
    for window, size in zip(windows, sizes, strict=True):
        if size > model.max_tokens:
            limit = model.max_tokens - n_special
            remedy = f"use the context growing:{limit // 2},{limit},token, or fewer words"
            if unit != "word":
                remedy = f"cut it into {unit}s of at most {limit} tokens"
            raise ValueError(
                f"the window of {unit}s {window.start} to {window.stop - 1} has {size} tokens, but "
                f"{model.name} takes {model.max_tokens} at a time: {remedy}"
            )

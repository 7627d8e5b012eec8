"""The stretch of text that a language model sees for each word: a context that grows and is cut back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt


class Window(NamedTuple):
    """One forward pass: words [start, stop) are read, words [new, stop) get their activations from it.

    Attributes
    ----------
    start, new, stop : int
        Word indices, start <= new < stop.
    """

    start: int
    new: int
    stop: int


@dataclass(frozen=True)
class GrowingContext:
    """A context that grows to `limit` and is then cut back to `reset`.

    Word i of a run is read after the words in front of it, back to the start of its window. The first window
    starts at the first word. When a window is full, the next one starts `reset` before the first word that
    did not fit. Every word belongs to one window, so one forward pass for each gives all words: about one
    pass per ``limit - reset`` words. With the default the context holds 256 to 511 words, except at the start
    of a run, where it grows from nothing. (Antonello, Vaidya & Huth 2023, arXiv:2305.11863, whose code counts
    words.)

    Parameters
    ----------
    reset : int >= 0
        Context kept when the window is full. 0: windows that share nothing.
    limit : int > reset
        Size of a full window, the new words included.
    unit : "word" or "token"
        What `reset` and `limit` count. Special tokens are not counted.
    bos : bool
        Put the begin token of the tokeniser in front of every window, if it has one. Language models park
        very large values in the hidden state of the first position ("attention sink"); without a begin token
        that is the first word of the run, whose activation is then an outlier. Masked models always get the
        special tokens of their tokeniser.

    Raises
    ------
    ValueError
        If ``0 <= reset < limit`` does not hold or `unit` is unknown.

    Examples
    --------
    >>> GrowingContext(reset=2, limit=4).windows(np.ones(7, dtype=int))
    [Window(start=0, new=0, stop=4), Window(start=2, new=4, stop=6), Window(start=4, new=6, stop=7)]
    """

    reset: int = 256
    limit: int = 512
    unit: Literal["word", "token"] = "word"
    bos: bool = True

    def __post_init__(self) -> None:
        if self.unit not in ("word", "token"):
            raise ValueError(f"unit={self.unit!r} is unknown: use 'word' or 'token'")
        if not 0 <= self.reset < self.limit:
            raise ValueError(f"reset={self.reset} and limit={self.limit}: 0 <= reset < limit must hold")

    def windows(self, tokens_per_word: npt.ArrayLike) -> list[Window]:
        """Cut a run into windows.

        Parameters
        ----------
        tokens_per_word : (n_words,) integers
            Number of tokens of each word; only its length matters when `unit` is "word".

        Returns
        -------
        list of Window
            In order; ``new`` of each is ``stop`` of the one before it.

        Raises
        ------
        ValueError
            If a single word has more tokens than `limit`.
        """
        sizes = np.asarray(tokens_per_word, dtype=np.int64)
        if self.unit == "word":
            sizes = np.ones_like(sizes)
        edges = np.concatenate([[0], np.cumsum(sizes)])
        windows: list[Window] = []
        new = 0
        while new < len(sizes):
            if sizes[new] > self.limit:
                raise ValueError(
                    f"word {new} has {sizes[new]} tokens, more than limit={self.limit}: raise the limit"
                )
            # The context must fit, and at least the first new word must still fit after it.
            least = max(edges[new] - self.reset, edges[new + 1] - self.limit)
            start = int(np.searchsorted(edges, least, side="left")) if new else 0
            stop = int(np.searchsorted(edges, edges[start] + self.limit, side="right")) - 1
            windows.append(Window(start, new, stop))
            new = stop
        return windows

    def provenance(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return {"reset": self.reset, "limit": self.limit, "unit": self.unit, "bos": self.bos}

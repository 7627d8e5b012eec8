"""The stretch of text that a language model sees for each word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Unit = Literal["word", "token"]


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


class _SizeKnown:
    """A context whose windows do not depend on the model."""

    def fitted(self, max_tokens: int | None, n_special: int) -> Self:
        """Return this context.

        Parameters
        ----------
        max_tokens : int or None
            Most tokens that the model takes at a time.
        n_special : int
            Special tokens put around every window.
        """
        return self


@dataclass(frozen=True)
class GrowingContext(_SizeKnown):
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
    unit: Unit = "word"
    bos: bool = True

    def __post_init__(self) -> None:
        _check_unit(self.unit)
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
        return _cut(tokens_per_word, self.reset, self.limit, self.unit, f"limit={self.limit}")

    def provenance(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        sizes = {"reset": self.reset, "limit": self.limit, "unit": self.unit}
        return {"kind": "growing", **sizes, "bos": self.bos}


@dataclass(frozen=True)
class StridedContext:
    """A full window that advances by `stride`; only the words that are new to it are taken from it.

    This is a `GrowingContext` that is cut back to ``window - stride`` whenever it is full, so that every word
    but those of the first window is read after at least that much context. A pass is needed for every
    `stride` tokens: with 1024 tokens and a stride of 64, sixteen times the work of windows that share
    nothing. (Bonnasse-Gahot & Pallier 2024, arXiv:2405.17992: windows as long as the model takes, advancing
    by 64 tokens.)

    Parameters
    ----------
    window : int, optional
        Size of the window, the new words included and special tokens not. None: as many tokens as the model
        takes, less its special tokens (`unit` must then be "token").
    stride : int, 1 to `window`
        By how much the window advances.
    unit : "word" or "token"
        What `window` and `stride` count.
    bos : bool
        As in `GrowingContext`.

    Raises
    ------
    ValueError
        If ``1 <= stride <= window`` does not hold, `unit` is unknown, or `window` is None with words.

    Examples
    --------
    >>> StridedContext(window=4, stride=1, unit="word").windows(np.ones(6, dtype=int))
    [Window(start=0, new=0, stop=4), Window(start=1, new=4, stop=5), Window(start=2, new=5, stop=6)]
    """

    window: int | None = None
    stride: int = 64
    unit: Unit = "token"
    bos: bool = True

    def __post_init__(self) -> None:
        _check_unit(self.unit)
        if self.window is None and self.unit == "word":
            raise ValueError("window=None counts tokens: give the window in words, or unit='token'")
        if self.stride < 1 or (self.window is not None and self.stride > self.window):
            raise ValueError(
                f"window={self.window} and stride={self.stride}: 1 <= stride <= window must hold"
            )

    def fitted(self, max_tokens: int | None, n_special: int) -> StridedContext:
        """Return this context with a window of known size.

        Parameters
        ----------
        max_tokens : int or None
            Most tokens that the model takes at a time; None if it has no limit.
        n_special : int
            Special tokens put around every window.

        Raises
        ------
        ValueError
            If the window is as long as the model takes and the model has no limit, or one below `stride`.
        """
        if self.window is not None:
            return self
        if max_tokens is None:
            raise ValueError(
                "window=None means as many tokens as the model takes, but this model has no limit: give the "
                "size, such as StridedContext(window=2048), or use WholeRun()"
            )
        return replace(self, window=max_tokens - n_special)

    def windows(self, tokens_per_word: npt.ArrayLike) -> list[Window]:
        """Cut a run into windows; see `GrowingContext.windows`.

        Parameters
        ----------
        tokens_per_word : (n_words,) integers

        Raises
        ------
        ValueError
            If a single word has more tokens than `window`, or the window has no size yet (see `fitted`).
        """
        if self.window is None:
            raise ValueError("window=None has no size yet: call fitted(max_tokens, n_special) first")
        reset = self.window - self.stride
        return _cut(tokens_per_word, reset, self.window, self.unit, f"window={self.window}")

    def provenance(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        sizes = {"window": self.window, "stride": self.stride, "unit": self.unit}
        return {"kind": "strided", **sizes, "bos": self.bos}


@dataclass(frozen=True)
class FixedContext(_SizeKnown):
    """Every word is read after the `n_words` in front of it, in a window of its own.

    Fewer words at the start of a run. One short window for each word, which ends with it: the context in
    which even a model that sees both sides sees nothing after the word, but for the punctuation behind it.
    (Tang, LeBel, Jain & Huth 2023, Nature Neuroscience 26: five words.)

    Parameters
    ----------
    n_words : int >= 0
        Words of context. 0: every word alone.
    bos : bool
        As in `GrowingContext`.

    Raises
    ------
    ValueError
        If `n_words` is negative.

    Examples
    --------
    >>> FixedContext(n_words=2).windows([1, 1, 1, 1])[2:]
    [Window(start=0, new=2, stop=3), Window(start=1, new=3, stop=4)]
    """

    n_words: int = 5
    bos: bool = True

    def __post_init__(self) -> None:
        if self.n_words < 0:
            raise ValueError(f"n_words={self.n_words}: give the number of words of context, at least 0")

    def windows(self, tokens_per_word: npt.ArrayLike) -> list[Window]:
        """Return one window for each word; see `GrowingContext.windows`.

        Parameters
        ----------
        tokens_per_word : (n_words,) integers
            Only their number matters.
        """
        count = len(np.asarray(tokens_per_word))
        return [Window(max(0, word - self.n_words), word, word + 1) for word in range(count)]

    def provenance(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return {"kind": "fixed", "n_words": self.n_words, "bos": self.bos}


@dataclass(frozen=True)
class WholeRun(_SizeKnown):
    """The whole run in one window: every word is read after all words in front of it.

    For models without a limit (Mamba and other state-space models), or with one that the run does not reach.

    Parameters
    ----------
    bos : bool
        As in `GrowingContext`.

    Examples
    --------
    >>> WholeRun().windows([1, 2, 1])
    [Window(start=0, new=0, stop=3)]
    """

    bos: bool = True

    def windows(self, tokens_per_word: npt.ArrayLike) -> list[Window]:
        """Return the one window, or none for a run without words; see `GrowingContext.windows`.

        Parameters
        ----------
        tokens_per_word : (n_words,) integers
            Only their number matters.
        """
        count = len(np.asarray(tokens_per_word))
        return [Window(0, 0, count)] if count else []

    def provenance(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return {"kind": "whole run", "bos": self.bos}


Context = GrowingContext | StridedContext | FixedContext | WholeRun


def parse_context(text: str) -> Context:
    """Return the context that a short text names, as command lines and study files give it.

    ===============================  ==========================================================
    ``growing``                      ``GrowingContext()``
    ``growing:256,512``              reset and limit, in words
    ``growing:256,512,token``        the same in tokens
    ``strided``, ``strided:64``      a window as long as the model takes, which advances by 64
    ``strided:64,1024``              a window of 1024 tokens
    ``strided:50,200,word``          the same in words
    ``fixed:5``                      five words of context
    ``whole``                        ``WholeRun()``
    ===============================  ==========================================================

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        If the text is none of these, or its numbers do not fit together.

    Examples
    --------
    >>> parse_context("growing:256,512,token")
    GrowingContext(reset=256, limit=512, unit='token', bos=True)
    """
    kind, _, rest = text.partition(":")
    values: list[Any] = [int(part) if part.strip().isdigit() else part.strip() for part in rest.split(",")]
    match [kind, *(values if rest else [])]:
        case ["growing"]:
            return GrowingContext()
        case ["growing", int(reset), int(limit)]:
            return GrowingContext(reset, limit)
        case ["growing", int(reset), int(limit), "word" | "token" as unit]:
            return GrowingContext(reset, limit, unit)
        case ["strided"]:
            return StridedContext()
        case ["strided", int(stride)]:
            return StridedContext(stride=stride)
        case ["strided", int(stride), int(window)]:
            return StridedContext(window, stride)
        case ["strided", int(stride), int(window), "word" | "token" as unit]:
            return StridedContext(window, stride, unit)
        case ["fixed", int(n_words)]:
            return FixedContext(n_words)
        case ["whole"]:
            return WholeRun()
    raise ValueError(
        f"context {text!r} is unknown: use growing:RESET,LIMIT[,token], strided[:STRIDE[,WINDOW[,word]]], "
        "fixed:WORDS or whole"
    )


def _check_unit(unit: str) -> None:
    if unit not in ("word", "token"):
        raise ValueError(f"unit={unit!r} is unknown: use 'word' or 'token'")


def _cut(tokens_per_word: npt.ArrayLike, reset: int, limit: int, unit: Unit, name: str) -> list[Window]:
    sizes = np.asarray(tokens_per_word, dtype=np.int64)
    if unit == "word":
        sizes = np.ones_like(sizes)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    windows: list[Window] = []
    new = 0
    while new < len(sizes):
        if sizes[new] > limit:
            raise ValueError(
                f"word {new} has {sizes[new]} tokens, more than {name}, with the text in front of it that is "
                "in none of the words: make it larger"
            )
        # The context must fit, and at least the first new word must still fit after it.
        least = max(edges[new] - reset, edges[new + 1] - limit)
        start = int(np.searchsorted(edges, least, side="left")) if new else 0
        stop = int(np.searchsorted(edges, edges[start] + limit, side="right")) - 1
        windows.append(Window(start, new, stop))
        new = stop
    return windows

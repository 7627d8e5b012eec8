"""Which tokens of the running text belong to which word.

The running text of a run is tokenised once with character offsets; a token belongs to a word when their
character spans overlap. Tokenising words one by one would give other ids, because most tokenisers mark the
blank in front of a word. With byte-level tokenisers one character may belong to several tokens (an emoji to
three), so that "the last token which overlaps the word" is the safe choice.
"""

from __future__ import annotations

import itertools
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Unicode counts these as punctuation, but they are read aloud.
_SPOKEN = frozenset("%‰‱#@&")
# Marks of the direction of writing, and of byte order.
_MARKS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True, eq=False)
class TokenisedWords:
    """The tokens of a run and the words they belong to.

    The *core* of a word is what is left of it without leading and trailing punctuation (`core_spans`).

    Attributes
    ----------
    ids : (n_tokens,) int64
        Token ids of the running text, without special tokens.
    word : (n_tokens,) int64
        The word each token overlaps or, for punctuation, the word it follows; -1 for a token that holds only
        blanks between words, or text that is none of the words.
    core : (n_tokens,) bool
        Whether the token overlaps the core of that word.
    blank : (n_tokens,) bool
        Whether the token holds only blanks.
    first, last : (n_words,) int64
        First and last token of the core of each word; both -1 for a word without any token.
    stop : (n_words,) int64
        One past the last token of each word and of the punctuation behind it; 0 for a word without any token.
    """

    ids: IntArray
    word: IntArray
    core: BoolArray
    blank: BoolArray
    first: IntArray
    last: IntArray
    stop: IntArray

    @cached_property
    def edges(self) -> IntArray:
        """(n_words + 1,) int64: word i and all before it need the tokens in front of ``edges[i + 1]``."""
        return np.concatenate([[0], np.maximum.accumulate(self.stop)]).astype(np.int64)

    @cached_property
    def spelled(self) -> IntArray:
        """(n_tokens,) int64: the word that each token spells, the blank right in front of it included; -1."""
        words = np.where(self.core, self.word, -1)
        for token in np.flatnonzero(self.blank[:-1])[::-1]:
            words[token] = words[token + 1]
        return words


def word_spans(words: Sequence[str], separator: str = " ") -> tuple[str, IntArray]:
    """Join words to a running text; return it with their (n_words, 2) character spans [start, stop).

    Examples
    --------
    >>> word_spans(["no", "way"])[1].tolist()
    [[0, 2], [3, 6]]
    """
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1] + len(separator))]) if len(words) else lengths
    return separator.join(words), np.stack([starts, starts + lengths], axis=1)


def core_spans(text: str, spans: IntArray) -> IntArray:
    """Cut the punctuation and blanks at both ends of every word.

    Punctuation is what Unicode calls so, but for signs that are read aloud (``%``, ``#``, ``@``, ``&``).
    Symbols (``$``, ``+``, emoji) are no punctuation, and what stands inside a word stays: ``don't``,
    ``well-known``, ``3,000.50``. A word of nothing but punctuation is its own core.

    Parameters
    ----------
    text : str
    spans : (n_words, 2) int64
        Character spans of the words.

    Returns
    -------
    (n_words, 2) int64

    Examples
    --------
    >>> text = "'Well-known,' --"
    >>> [text[a:b] for a, b in core_spans(text, np.array([[0, 13], [14, 16]]))]
    ['Well-known', '--']
    """
    cores = np.array(spans, dtype=np.int64)
    for core in cores:
        start, stop = int(core[0]), int(core[1])
        while start < stop and is_punctuation(text[start]):
            start += 1
        while start < stop and is_punctuation(text[stop - 1]):
            stop -= 1
        if start < stop:
            core[:] = start, stop
    return cores


def is_punctuation(character: str) -> bool:
    """Return whether a character is punctuation in the sense of `core_spans`, or blank.

    Examples
    --------
    >>> [is_punctuation(character) for character in ",— $%é漢"]
    [True, True, True, False, False, False, False]
    """
    if character in _SPOKEN:
        return False
    return unicodedata.category(character)[0] in "PZ" or character in _MARKS or character.isspace()


def region_spans(text: str, spans: IntArray) -> IntArray:
    """Stretch every word over the punctuation behind it, to where the next word starts.

    The stretch ends early at a letter, digit or symbol that belongs to none of the words, and never holds
    the blanks at its end.

    Parameters
    ----------
    text : str
    spans : (n_words, 2) int64
        Character spans of the words, in order, not overlapping.

    Returns
    -------
    (n_words, 2) int64

    Examples
    --------
    >>> text = 'so -- "it'
    >>> [text[a:b] for a, b in region_spans(text, np.array([[0, 2], [7, 9]]))]
    ['so -- "', 'it']
    """
    regions = np.array(spans, dtype=np.int64)
    written = regions[:, 0] < regions[:, 1]
    starts = np.append(np.where(written, regions[:, 0], len(text)), len(text))
    limits = np.minimum.accumulate(starts[::-1])[::-1][1:]
    stops = []
    for region, limit in zip(regions[written], limits[written], strict=True):
        stop = place = int(region[1])
        while place < limit and is_punctuation(text[place]):
            place += 1
            if not text[place - 1].isspace():
                stop = place
        stops.append(stop)
    regions[written, 1] = stops
    return regions


def match_tokens(spans: IntArray, offsets: IntArray) -> tuple[IntArray, BoolArray]:
    """Match tokens with words by overlap of their character spans.

    Parameters
    ----------
    spans : (n_words, 2) int64
        Character spans of the words, in order, not overlapping.
    offsets : (n_tokens, 2) int64
        Character spans of the tokens; several tokens may share a character.

    Returns
    -------
    word : (n_tokens,) int64
        First word that each token overlaps, -1 for none.
    straddling : (n_tokens,) bool
        Whether the token overlaps more than one word.
    """
    start, stop = offsets[:, 0], offsets[:, 1]
    # A word without characters has no token, but would end the search too early.
    places = np.flatnonzero(spans[:, 0] < spans[:, 1])
    begins, ends = spans[places, 0], spans[places, 1]
    candidate = np.searchsorted(ends, start, side="right")
    beyond = np.append(begins, np.iinfo(np.int64).max)
    overlaps = (start < stop) & (beyond[candidate] < stop)
    following = beyond[np.minimum(candidate + 1, len(places))]
    owner = np.append(places, -1)[np.where(overlaps, candidate, len(places))]
    return owner.astype(np.int64), overlaps & (following < stop)


def tokenise_words(
    tokenizer: Any,
    words: Sequence[str],
    separator: str = " ",
    *,
    text: str | None = None,
    spans: IntArray | None = None,
) -> TokenisedWords:
    """Tokenise the running text of a run and assign its tokens to words.

    If a token spans two words (tokenisers that merge across blanks, or words without a blank between them),
    the earlier word would see a part of the next one. The text is then cut in front of the later word and
    its parts are tokenised one by one, so that the tokens of a word never depend on the words after it.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
        A tokeniser that returns character offsets.
    words : sequence of str
        The words of one run, none empty.
    separator : str
        What is put between two words: a blank, or nothing for languages written without blanks.
    text : str, optional
        The running text itself, with all its punctuation; None: `words` joined by `separator`.
    spans : (n_words, 2) int64, optional
        With `text`: where the words are in it (`voxridge.features.transcript.find_words`). Text before the
        first word and after the last is left out, except the punctuation at them.

    Raises
    ------
    ValueError
        If a word is empty, the first word has no token at all, or spans overlap or lie outside the text.

    Warns
    -----
    StimulusWarning
        If some words have no token (characters that the tokeniser drops); they will repeat the word before
        them.
    """
    for index, word in enumerate(words):
        if not word.strip():
            raise ValueError(f"word {index} is empty ({word!r}): leave pauses out")
    if text is None:
        text, spans = word_spans(words, separator)
    else:
        text, spans = _cut_text(text, spans, len(words))
    ids, offsets = _encode_in_parts(tokenizer, text, spans)
    return _assign(ids, offsets, text, spans, words)


def join_runs(parts: Sequence[TokenisedWords]) -> TokenisedWords:
    """Put the tokens of several texts behind one another; words are counted on."""
    tokens = np.cumsum([0, *(len(part.ids) for part in parts)])
    words = np.cumsum([0, *(len(part.first) for part in parts)])
    pairs = list(zip(parts, tokens, words, strict=False))
    return TokenisedWords(
        ids=np.concatenate([part.ids for part in parts]),
        word=np.concatenate([np.where(p.word >= 0, p.word + shift, -1) for p, _, shift in pairs]),
        core=np.concatenate([part.core for part in parts]),
        blank=np.concatenate([part.blank for part in parts]),
        first=np.concatenate([np.where(p.first >= 0, p.first + shift, -1) for p, shift, _ in pairs]),
        last=np.concatenate([np.where(p.last >= 0, p.last + shift, -1) for p, shift, _ in pairs]),
        stop=np.concatenate([np.where(p.stop > 0, p.stop + shift, 0) for p, shift, _ in pairs]),
    )


def _cut_text(text: str, spans: IntArray | None, n_words: int) -> tuple[str, IntArray]:
    places = np.asarray([] if spans is None else spans, dtype=np.int64)
    if places.shape != (n_words, 2):
        raise ValueError(f"spans: text needs one (start, stop) for each of {n_words} words; see find_words")
    borders = np.concatenate([[0], places.ravel(), [len(text)]])
    if (np.diff(borders) < 0).any():
        raise ValueError("spans: the words must follow one another in the text, without overlaps")
    start, stop = int(places[0, 0]), int(region_spans(text, places)[-1, 1])
    while start > 0 and not text[start - 1].isspace() and is_punctuation(text[start - 1]):
        start -= 1
    return text[start:stop], places - start


def _encode_in_parts(tokenizer: Any, text: str, spans: IntArray) -> tuple[IntArray, IntArray]:
    """Return ids and offsets of the text, cut into parts wherever a token would span two words."""
    cuts = {0}
    places = np.append(spans[spans[:, 0] < spans[:, 1], 0], len(text))
    while True:
        borders = [*sorted(cuts), len(text)]
        parts = [_encode(tokenizer, text, a, b) for a, b in itertools.pairwise(borders)]
        ids, offsets = (np.concatenate(values) for values in zip(*parts, strict=True))
        owner, straddling = match_tokens(spans, offsets)
        following = places[np.searchsorted(places, spans[owner[straddling], 0], side="right")]
        later = {_blank_before(text, int(place)) for place in following} - cuts
        if not later:
            return ids, offsets
        cuts |= later


def _blank_before(text: str, place: int) -> int:
    while place > 0 and text[place - 1].isspace():
        place -= 1
    return place


def _encode(tokenizer: Any, text: str, start: int, stop: int) -> tuple[IntArray, IntArray]:
    # verbose=False: the whole run is longer than the model's window on purpose; it is cut into windows later.
    encoding = tokenizer(
        text[start:stop], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ids = np.asarray(encoding["input_ids"], dtype=np.int64)
    return ids, np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(len(ids), 2) + start


def _assign(
    ids: IntArray, offsets: IntArray, text: str, spans: IntArray, words: Sequence[str]
) -> TokenisedWords:
    inside, _ = match_tokens(spans, offsets)
    spoken = np.zeros(len(words), dtype=bool)
    spoken[inside[inside >= 0]] = True
    _check_silent(spoken, words)
    around, _ = match_tokens(region_spans(text, spans), offsets)
    blank = np.array([not text[a:b].strip() for a, b in offsets], dtype=bool)
    owner = np.where((inside >= 0) | blank, inside, around)
    # Punctuation behind a word without a token belongs to none.
    owner = np.where((owner >= 0) & spoken[owner], owner, -1)
    core = (match_tokens(core_spans(text, spans), offsets)[0] == owner) & (owner >= 0)
    with_core = np.zeros(len(words), dtype=bool)
    with_core[owner[core]] = True
    core |= (inside >= 0) & ~with_core[inside]
    first, last = _ends(owner, core, len(words))
    return TokenisedWords(ids, owner, core, blank, first, last, _ends(owner, owner >= 0, len(words))[1] + 1)


def _ends(owner: IntArray, chosen: BoolArray, n_words: int) -> tuple[IntArray, IntArray]:
    """Return the first and last chosen token of every word, -1 for a word without."""
    tokens = np.flatnonzero(chosen)
    first, last = np.full((2, n_words), -1, dtype=np.int64)
    last[owner[tokens]] = tokens
    first[owner[tokens[::-1]]] = tokens[::-1]
    return first, last


def _check_silent(spoken: BoolArray, words: Sequence[str]) -> None:
    silent = np.flatnonzero(~spoken)
    if silent.size == 0:
        return
    i = int(silent[0])
    if i == 0:
        raise ValueError(
            f"word 0 ({words[0]!r}) has no token: this tokeniser drops all its characters; leave it out"
        )
    warnings.warn(
        f"{silent.size} of {len(words)} words have no token, because the tokeniser drops their "
        f"characters; they repeat the word before them. The first is word {i} ({words[i]!r}).",
        StimulusWarning,
        stacklevel=4,
    )

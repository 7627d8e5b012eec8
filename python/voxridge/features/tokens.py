"""Which tokens of the running text belong to which word.

The words of a run are joined to one text, which is tokenised once with character offsets; a token belongs
to a word when their character spans overlap. Tokenising words one by one would give other ids, because most
tokenisers mark the blank in front of a word. With byte-level tokenisers one character may belong to several
tokens (an emoji to three), so that "the last token which overlaps the word" is the safe choice.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenisedWords:
    """The tokens of a run and the words they belong to.

    Attributes
    ----------
    ids : (n_tokens,) int64
        Token ids of the running text, without special tokens.
    word : (n_tokens,) int64
        Index of the word each token overlaps, -1 for a token that holds only blanks between words.
    first, last : (n_words,) int64
        First and last token that overlaps each word; both -1 for a word without any token.
    """

    ids: IntArray
    word: IntArray
    first: IntArray
    last: IntArray

    @property
    def ends(self) -> IntArray:
        """(n_words,) int64: one past the last token needed by word i and all words before it."""
        stops: IntArray = np.maximum.accumulate(self.last + 1)
        return stops


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


def match_tokens(spans: IntArray, offsets: IntArray) -> tuple[IntArray, int]:
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
    n_straddling : int
        Number of tokens that overlap more than one word.
    """
    start, stop = offsets[:, 0], offsets[:, 1]
    candidate = np.searchsorted(spans[:, 1], start, side="right")
    beyond = np.append(spans[:, 0], np.iinfo(np.int64).max)
    overlaps = (start < stop) & (beyond[candidate] < stop)
    following = beyond[np.minimum(candidate + 1, len(spans))]
    n_straddling = int((overlaps & (following < stop)).sum())
    return np.where(overlaps, candidate, -1), n_straddling


def tokenise_words(tokenizer: Any, words: Sequence[str], separator: str = " ") -> TokenisedWords:
    """Tokenise the running text of a run and assign its tokens to words.

    If a token spans two words (tokenisers that merge across blanks, or ``separator=""``), an earlier word
    would see a part of the next one; the text is then tokenised word by word, each with the separator in
    front.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
        A tokeniser that returns character offsets.
    words : sequence of str
        The words of one run, none empty.
    separator : str
        What is put between two words: a blank, or nothing for languages written without blanks.

    Raises
    ------
    ValueError
        If a word is empty, or the first word has no token at all.

    Warns
    -----
    StimulusWarning
        If some words have no token (characters that the tokeniser drops); they will repeat the word before
        them.
    """
    for index, word in enumerate(words):
        if not word.strip():
            raise ValueError(f"word {index} is empty ({word!r}): leave pauses out")
    text, spans = word_spans(words, separator)
    ids, offsets = _encode(tokenizer, text)
    owner, n_straddling = match_tokens(spans, offsets)
    if n_straddling:
        ids, owner = _encode_word_by_word(tokenizer, words, separator)
    return _assign(ids, owner, words)


def _encode(tokenizer: Any, text: str) -> tuple[IntArray, IntArray]:
    # verbose=False: the whole run is longer than the model's window on purpose; it is cut into windows later.
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = np.asarray(encoding["input_ids"], dtype=np.int64)
    return ids, np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(len(ids), 2)


def _encode_word_by_word(tokenizer: Any, words: Sequence[str], separator: str) -> tuple[IntArray, IntArray]:
    all_ids, owners = [], []
    for index, word in enumerate(words):
        lead = separator if index else ""
        ids, offsets = _encode(tokenizer, lead + word)
        all_ids.append(ids)
        owners.append(np.where((offsets[:, 1] > len(lead)) & (offsets[:, 0] < offsets[:, 1]), index, -1))
    return np.concatenate(all_ids), np.concatenate(owners)


def _assign(ids: IntArray, owner: IntArray, words: Sequence[str]) -> TokenisedWords:
    tokens = np.flatnonzero(owner >= 0)
    last = np.full(len(words), -1, dtype=np.int64)
    first = last.copy()
    last[owner[tokens]] = tokens
    first[owner[tokens[::-1]]] = tokens[::-1]
    silent = np.flatnonzero(last < 0)
    if silent.size:
        i = int(silent[0])
        if i == 0:
            raise ValueError(
                f"word 0 ({words[0]!r}) has no token: this tokeniser drops all its characters; leave it out"
            )
        warnings.warn(
            f"{silent.size} of {len(words)} words have no token, because the tokeniser drops their "
            f"characters; they repeat the word before them. The first is word {i} ({words[i]!r}).",
            StimulusWarning,
            stacklevel=3,
        )
    return TokenisedWords(ids, owner, first, last)

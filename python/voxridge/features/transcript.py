"""Where the words of an annotation stand in a running text with punctuation.

Annotations of speech rarely hold punctuation, which language models need. Both are compared by their letters
and digits alone, in pieces: ``don't`` is ``don`` and ``t``, whether the annotation has one word or two.
"""

from __future__ import annotations

import bisect
import difflib
import itertools
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning
from voxridge.features.tokens import IntArray, is_punctuation
from voxridge.features.words import Words

Missing = Literal["error", "skip"]

_SHOWN = 5
_SKIPPED_WITHOUT_WARNING = 0.05
# Scripts written without blanks, whose letters are compared one by one: kana and ideographs.
_SINGLE = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


class _Piece(NamedTuple):
    """Letters and digits without anything between them: their place, and what is compared."""

    start: int
    stop: int
    key: str


def find_words(words: Sequence[str] | Words, text: str, *, missing: Missing = "error") -> IntArray:
    """Find the words of an annotation in a running text.

    Letters and digits are compared, in order, after Unicode NFKC and case folding; punctuation, symbols and
    blanks are not. The text may hold more than the annotation (a title, words that the aligner left out), and
    with ``missing="skip"`` the annotation more than the text. Stretches of three pieces that occur once in
    each are found first, in the longest order that both share; what lies between two of them is compared by
    the longest common parts.

    Parameters
    ----------
    words : sequence of str or Words
        The words in the order of the text; Words lets messages give times.
    text : str
        Running text with punctuation.
    missing : "error" or "skip"
        What to do with words that are not in the text: raise, or warn and give each an empty span behind the
        word in front of it, so that it has no token (a language model then repeats the word before).

    Returns
    -------
    (n_words, 2) int64
        Span [start, stop) of each word in `text`, from its first letter or digit to its last, with symbols
        (``$``, ``%``, ``+``) that stand right beside them.

    Raises
    ------
    ValueError
        If words are not in the text (the message lists the first, with their times and what the text has in
        their place), if fewer than half of them are, whatever `missing` says, or if there are no words.

    Warns
    -----
    StimulusWarning
        If more than 5 % of the words of the text, from the first word that was found to the last, are not in
        the annotation; or words were skipped.

    Examples
    --------
    >>> text = "“Don't,” said Alice; “it's 3,000!”"
    >>> spans = find_words(["do", "n't", "SAID", "alice", "it's", "3000"], text)
    >>> [text[a:b] for a, b in spans]
    ['Do', "n't", 'said', 'Alice', "it's", '3,000']
    """
    if missing not in ("error", "skip"):
        raise ValueError(f"missing={missing!r} is unknown: use 'error' or 'skip'")
    labels = words.text if isinstance(words, Words) else words
    if isinstance(labels, str) or len(labels) == 0:
        raise ValueError("words must be a sequence of at least one word (a text: text.split())")
    cut = [_pieces(word) for word in labels]
    owner = np.repeat(np.arange(len(labels)), [len(pieces) for pieces in cut])
    heard = [piece.key for pieces in cut for piece in pieces]
    read = _pieces(text)
    starts, stops = _align(heard, [piece.key for piece in read], read, text)
    spans = _word_spans(labels, owner, starts, stops, text)
    _check_missing(words, spans, text, missing)
    _warn_skipped(spans, read, text)
    return _filled(spans)


def _pieces(text: str) -> list[_Piece]:
    pieces = (_Piece(start, stop, _key(text[start:stop])) for start, stop in _runs(text))
    return [piece for piece in pieces if piece.key]


def _runs(text: str) -> Iterator[tuple[int, int]]:
    start = None
    for place, character in enumerate(text):
        kind = unicodedata.category(character)[0]
        inside = kind in "LN" or (kind == "M" and start is not None)
        single = inside and any(low <= ord(character) <= high for low, high in _SINGLE)
        if start is not None and (single or not inside):
            yield start, place
            start = None
        if single:
            yield place, place + 1
        elif inside and start is None:
            start = place
    if start is not None:
        yield start, len(text)


def _key(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in folded if unicodedata.category(character)[0] in "LN")


def _align(
    heard: Sequence[str], keys: Sequence[str], read: Sequence[_Piece], text: str
) -> tuple[IntArray, IntArray]:
    """Return where each piece of the annotation starts and stops in the text; -1 for one without partner."""
    starts, stops = np.full((2, len(heard)), -1, dtype=np.int64)
    for a, b, size in _common(heard, keys):
        for shift in range(size):
            starts[a + shift], stops[a + shift] = read[b + shift].start, read[b + shift].stop
    # The same letters, cut in another way: do + n't and don't.
    for gap, beside in _gaps(starts >= 0, starts, read):
        for here, there in _equal_letters(heard, gap, keys, beside):
            places = [place for piece in read[there] for place in _letters(text, piece)]
            borders = np.cumsum([0, *(len(key) for key in heard[here])])
            for i, (low, high) in enumerate(itertools.pairwise(borders), here.start):
                starts[i], stops[i] = places[low][1], places[high - 1][2]
    return starts, stops


def _equal_letters(
    heard: Sequence[str], gap: slice, read: Sequence[str], beside: slice
) -> Iterator[tuple[slice, slice]]:
    """Yield stretches of pieces, in order, that are the same letters one after the other."""
    first, place = gap.start, beside.start
    while first < gap.stop:
        for begin in range(place, beside.stop):
            stop, end = _same_letters(heard[first : gap.stop], read[begin : beside.stop])
            if stop:
                yield slice(first, first + stop), slice(begin, begin + end)
                first, place = first + stop, begin + end
                break
        else:
            first += 1


def _same_letters(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Return how many pieces of each, from the first on, are the shortest stretch of the same letters."""
    i, j, left, right = 0, 0, "", ""
    while True:
        if len(left) <= len(right) and i < len(one):
            left, i = left + one[i], i + 1
        elif len(right) < len(left) and j < len(other):
            right, j = right + other[j], j + 1
        else:
            return 0, 0
        if j and left == right:
            return i, j
        if not (left.startswith(right) or right.startswith(left)):
            return 0, 0


def _letters(text: str, piece: _Piece) -> list[tuple[str, int, int]]:
    """Return every letter of the key of a piece with the span of the characters it came from."""
    letters: list[tuple[str, int, int]] = []
    begin = piece.start
    for place in range(piece.start + 1, piece.stop + 1):
        so_far = _key(text[piece.start : place])
        if piece.key.startswith(so_far) and len(so_far) > len(letters):
            letters += [(letter, begin, place) for letter in so_far[len(letters) :]]
            begin = place
    if len(letters) < len(piece.key):
        letters += [(letter, begin, piece.stop) for letter in piece.key[len(letters) :]]
    return letters


def _gaps(
    found: npt.NDArray[np.bool_], starts: IntArray, read: Sequence[_Piece]
) -> Iterator[tuple[slice, slice]]:
    """Yield the stretches of the annotation without partners, with the stretches of the text beside them."""
    places = [piece.start for piece in read]
    index = 0
    while index < len(found):
        if found[index]:
            index += 1
            continue
        stop = index
        while stop < len(found) and not found[stop]:
            stop += 1
        low = bisect.bisect_right(places, starts[index - 1]) if index else 0
        high = bisect.bisect_left(places, starts[stop]) if stop < len(found) else len(read)
        yield slice(index, stop), slice(low, high)
        index = stop


def _common(heard: Sequence[str], read: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (place, place, size) of equal stretches of two lists, in order."""
    anchors = _anchors(heard, read)
    corners = [(0, 0), *anchors, (len(heard), len(read))]
    for (a, b), (next_a, next_b) in itertools.pairwise(corners):
        here, there = heard[a:next_a], read[b:next_b]
        if here == there:
            yield a, b, len(here)
            continue
        # Every stretch starts with an anchor, whose pieces are equal.
        size = 0
        while size < min(len(here), len(there)) and here[size] == there[size]:
            size += 1
        if size:
            yield a, b, size
        matcher = difflib.SequenceMatcher(None, here[size:], there[size:], autojunk=False)
        for block in matcher.get_matching_blocks():
            if block.size:
                yield a + size + block.a, b + size + block.b, block.size


def _anchors(heard: Sequence[str], read: Sequence[str]) -> list[tuple[int, int]]:
    """Return places of three pieces that occur once in both lists, rising in both.

    Raises
    ------
    ValueError
        If the lists have hardly anything in common.
    """
    mine, theirs = (list(zip(keys, keys[1:], keys[2:], strict=False)) for keys in (heard, read))
    counts = Counter(mine), Counter(theirs)
    shared = sum(1 for three in mine if three in counts[1])
    if shared < len(mine) / 10 and len(mine) > 50:
        raise ValueError(_mismatch(f"only {shared} of {len(mine)} groups of three words are in the text"))
    where = {three: place for place, three in enumerate(theirs) if counts[1][three] == 1}
    pairs = [(a, where[three]) for a, three in enumerate(mine) if counts[0][three] == 1 and three in where]
    return [pairs[i] for i in _longest_rising([b for _, b in pairs])]


def _longest_rising(values: Sequence[int]) -> list[int]:
    """Return the indices of a longest strictly rising subsequence (patience sorting)."""
    tops: list[int] = []
    piles: list[int] = []
    previous = [-1] * len(values)
    for index, value in enumerate(values):
        pile = bisect.bisect_left(tops, value)
        previous[index] = piles[pile - 1] if pile else -1
        if pile == len(tops):
            tops.append(value)
            piles.append(index)
        else:
            tops[pile], piles[pile] = value, index
    chain = []
    index = piles[-1] if piles else -1
    while index >= 0:
        chain.append(index)
        index = previous[index]
    return chain[::-1]


def _word_spans(
    words: Sequence[str], owner: IntArray, starts: IntArray, stops: IntArray, text: str
) -> IntArray:
    """Return the spans of words from those of their pieces; -1 where a piece is missing or they are apart."""
    spans = np.full((len(words), 2), -1, dtype=np.int64)
    for word in range(len(words)):
        pieces = slice(*np.searchsorted(owner, [word, word + 1]))
        if pieces.start == pieces.stop or (starts[pieces] < 0).any():
            continue
        inner = zip(stops[pieces][:-1], starts[pieces][1:], strict=True)
        if not any(_pieces(text[a:b]) for a, b in inner):
            spans[word] = starts[pieces.start], stops[pieces.stop - 1]
    for word in np.flatnonzero(np.bincount(owner, minlength=len(words)) == 0).tolist():
        low, high = _between(spans, word, len(text))
        place = text.find(words[word].strip(), low, high) if words[word].strip() else -1
        if place >= 0:
            spans[word] = place, place + len(words[word].strip())
    for word in np.flatnonzero(spans[:, 0] >= 0).tolist():
        start, stop = spans[word].tolist()
        spans[word] = _with_symbols(text, start, stop, *_between(spans, word, len(text)))
    return spans


def _between(spans: IntArray, word: int, length: int) -> tuple[int, int]:
    """Return where the word found in front of `word` stops and the word found behind it starts."""
    before = next((int(spans[i, 1]) for i in range(word - 1, -1, -1) if spans[i, 1] >= 0), 0)
    after = next((int(spans[i, 0]) for i in range(word + 1, len(spans)) if spans[i, 0] >= 0), length)
    return before, after


def _with_symbols(text: str, start: int, stop: int, low: int, high: int) -> tuple[int, int]:
    def symbol(character: str) -> bool:
        return not is_punctuation(character) and unicodedata.category(character)[0] not in "LN"

    while start > low and symbol(text[start - 1]):
        start -= 1
    while stop < high and symbol(text[stop]):
        stop += 1
    return start, stop


def _check_missing(words: Sequence[str] | Words, spans: IntArray, text: str, missing: str) -> None:
    lost = np.flatnonzero(spans[:, 0] < 0)
    if lost.size == 0:
        return
    what = f"{lost.size} of {len(words)} words are not in the text: {_listing(words, spans, lost, text)}"
    if lost.size > len(words) / 2:
        raise ValueError(_mismatch(what))
    if missing == "error":
        raise ValueError(
            f"{what}. Correct the annotation or the text, or use missing='skip' (a word without a place "
            "repeats the word before it)"
        )
    warnings.warn(f"{what}. They have no place and repeat the word before.", StimulusWarning, stacklevel=3)


def _mismatch(what: str) -> str:
    return f"{what}. This is not the text of these words: check that both belong to the same story and run"


def _listing(words: Sequence[str] | Words, spans: IntArray, lost: IntArray, text: str) -> str:
    lines = []
    for word in lost[:_SHOWN].tolist():
        low, _ = _between(spans, word, len(text))
        place = " ".join([*text[max(0, low - 60) : low].split()[-4:], *text[low : low + 80].split()[:5]])
        if isinstance(words, Words):
            lines.append(f"word {word} ({words.text[word]!r}, {words.onset[word]:g} s), near {place!r}")
        else:
            lines.append(f"word {word} ({words[word]!r}), near {place!r}")
    return "; ".join(lines) + (", ..." if lost.size > _SHOWN else "")


def _warn_skipped(spans: IntArray, read: Sequence[_Piece], text: str) -> None:
    """Warn if many words of the text, from the first word found to the last, are none of the annotation's."""
    found = spans[spans[:, 0] >= 0]
    starts, stops = found[:, 0], found[:, 1]
    inside = [piece for piece in read if starts[0] <= piece.start < stops[-1]]
    if not inside:
        return
    gaps = [text[before.stop : after.start] for before, after in itertools.pairwise(inside)]
    # Pieces without anything between them are letters of a script that has no blanks.
    apart = [gap == "" or any(character.isspace() for character in gap) for gap in gaps]
    number = np.cumsum([0, *apart])
    place = np.searchsorted(stops, [piece.start for piece in inside], side="right")
    taken = set(number[starts[place] < [piece.stop for piece in inside]].tolist())
    total = int(number[-1]) + 1
    skipped = total - len(taken)
    if skipped > _SKIPPED_WITHOUT_WARNING * total:
        first = next(i for i in range(len(inside)) if int(number[i]) not in taken)
        warnings.warn(
            f"{skipped} of {total} words of the text ({skipped / total:.0%}) are not in the annotation; the "
            f"first is near {text[inside[first].start : inside[first].start + 40]!r}. The model reads them "
            "as context",
            StimulusWarning,
            stacklevel=3,
        )


def _filled(spans: IntArray) -> IntArray:
    """Give words without a place an empty span behind the word in front of them."""
    ends = np.maximum.accumulate(np.where(spans[:, 1] >= 0, spans[:, 1], 0))
    return np.where(spans >= 0, spans, ends[:, None])

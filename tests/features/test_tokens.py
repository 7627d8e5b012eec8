from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import StimulusWarning
from voxridge.features.tokens import (
    TokenisedWords,
    core_spans,
    join_runs,
    match_tokens,
    region_spans,
    tokenise_words,
    word_spans,
)

WORDS = ["Alice's", "naïve", "😀", "re-do,", "don't", "it!", "漢字", "🤷🏽‍♀️", "—", "3.14"]
# Contractions, numbers, hyphens, emoji (of one and of several characters), scripts without blanks, written
# from right to left, with combining characters, and words that are punctuation or hold much of it.
TRICKY = [
    *WORDS,
    "I'll",
    "3,000.50",
    "$5",
    "50%",
    "C++",
    "well-known",
    '"So,"',
    "(¿qué?)",
    "'s",
    "...",
    "--",
    "שלום",
    "עולם!",
    "مَرْحَبًا،",
    "e\u0301tude",
    "日本語。",
    "नमस्ते",
    "👨‍👩‍👧!",
    "\u200fאב\u200e",
    "sister",
    "to",
]
TOKENISERS = ["gpt2", "llama", "bert"]
some_words = st.lists(
    st.one_of(
        st.sampled_from(TRICKY),
        st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=5),
    ),
    max_size=8,
).map(lambda words: ["so", *words])
gaps = st.sampled_from([" ", ", ", "  ", "\n", " — ", "! “", '." (', ""])


def _tokenise(tokenizer: Any, words: Sequence[str], **options: Any) -> TokenisedWords:
    with warnings.catch_warnings():
        # Of characters that the tokeniser drops.
        warnings.simplefilter("ignore", StimulusWarning)
        return tokenise_words(tokenizer, words, **options)


@pytest.mark.parametrize("name", TOKENISERS)
def test_every_token_belongs_to_the_word_whose_characters_it_holds(
    name: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name).tokenizer
    found = tokenise_words(tokenizer, WORDS)
    text, spans = word_spans(WORDS)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert found.ids.tolist() == encoding["input_ids"]
    for token, (start, stop) in enumerate(encoding["offset_mapping"]):
        owners = [i for i, (a, b) in enumerate(spans) if start < stop and start < b and a < stop]
        assert owners == ([found.word[token]] if found.word[token] >= 0 else [])
    assert found.edges[-1] == len(found.ids)


def _in(tokens: Sequence[tuple[int, int]], start: int, stop: int) -> list[int]:
    return [i for i, (a, b) in enumerate(tokens) if a < b and a < stop and start < b]


@pytest.mark.parametrize("name", TOKENISERS)
@settings(deadline=None, max_examples=40)
@given(words=some_words, data=st.data())
def test_tokens_of_words_in_any_text_are_those_of_brute_force(
    name: str, words: list[str], data: st.DataObject, request: pytest.FixtureRequest
) -> None:
    """By characters, one by one, for texts whose tokens never span two words."""
    tokenizer = request.getfixturevalue(name).tokenizer
    between = [data.draw(gaps) for _ in words]
    text, spans = "", []
    for word, gap in zip(words, between, strict=True):
        spans.append((len(text), len(text) + len(word)))
        text += word + gap
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    holders = [_in(offsets, a, b) for a, b in spans]
    if not holders[0] or len({t for held in holders for t in held}) < sum(len(held) for held in holders):
        return
    found = _tokenise(tokenizer, words, text=text, spans=np.array(spans))
    assert found.ids.tolist() == encoding["input_ids"][: len(found.ids)]
    for word, (start, stop) in enumerate(spans):
        letters = [
            i
            for i in range(start, stop)
            if text[i] in "%#&@‰‱"
            or (unicodedata.category(text[i])[0] != "P" and text[i] not in "\u200e\u200f")
        ]
        core = _in(offsets, letters[0], letters[-1] + 1) if letters else []
        core = core or holders[word]
        ends = (core[0], core[-1]) if core else (-1, -1)
        assert (found.first[word], found.last[word]) == ends
        assert np.flatnonzero((found.word == word) & found.core).tolist() == core
        if not core:
            continue
        behind = len(text) if word == len(words) - 1 else spans[word + 1][0]
        marks = [i for i in range(stop, behind) if not text[i].isspace()]
        following = {t for other in range(word + 1, len(words)) for t in holders[other]}
        around = [t for i in marks for t in _in(offsets, i, i + 1) if t not in following]
        assert np.flatnonzero(found.word == word).tolist() == sorted({*holders[word], *around})
        assert found.edges[word + 1] == max(*holders[word], *around, 0) + 1


@pytest.mark.parametrize("name", TOKENISERS)
@settings(deadline=None, max_examples=40)
@given(words=some_words, others=some_words, data=st.data())
def test_tokens_never_depend_on_later_words(
    name: str, words: list[str], others: list[str], data: st.DataObject, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name).tokenizer
    # WordPiece looks at all that stands between two blanks.
    separator = data.draw(st.sampled_from([" "] if name == "bert" else ["", " "]))
    keep = data.draw(st.integers(1, len(words)))
    first = _tokenise(tokenizer, words, separator=separator)
    second = _tokenise(tokenizer, [*words[:keep], *others], separator=separator)
    stop = int(first.edges[keep])
    assert stop == second.edges[keep]
    np.testing.assert_array_equal(first.ids[:stop], second.ids[:stop])
    for name_of in ("first", "last", "stop"):
        np.testing.assert_array_equal(getattr(first, name_of)[:keep], getattr(second, name_of)[:keep])


def test_one_character_in_several_tokens(gpt2: Any) -> None:
    found = tokenise_words(gpt2.tokenizer, ["a", "😀", "b"])
    # Four bytes, none of them merged by this tokeniser; the blank in front is a token of its own or merged.
    assert found.last[1] - found.first[1] >= 3
    assert found.last[1] < found.first[2]


@pytest.mark.parametrize(
    ("word", "core"),
    [
        ("don't", "don't"),
        ("'tis", "tis"),
        ("dogs'", "dogs"),
        ("'s", "s"),
        ("well-known,", "well-known"),
        ('"No!"', "No"),
        ("3,000.50.", "3,000.50"),
        ("$5,", "$5"),
        ("(50%)", "50%"),
        ("#1", "#1"),
        ("…wait…", "wait"),
        ("--", "--"),
        ("...", "..."),
        ("😀!", "😀"),
        ("「漢字」", "漢字"),
        ("e\u0301tude,", "e\u0301tude"),
        ("«שלום»", "שלום"),
        (" so ", "so"),
    ],
)
def test_core(word: str, core: str) -> None:
    text = f"ab {word} cd"
    start, stop = core_spans(text, np.array([[3, 3 + len(word)]]))[0]
    assert text[start:stop] == core


def test_region_ends_at_words_that_are_not_counted() -> None:
    text = "so, (it really) was! $5"
    spans = np.array([[0, 2], [5, 7], [16, 19]])
    assert [text[a:b] for a, b in region_spans(text, spans)] == ["so, (", "it", "was!"]
    # A word without a place leaves the punctuation to the word in front of it.
    spans = np.array([[0, 2], [2, 2], [5, 7]])
    assert [text[a:b] for a, b in region_spans(text, spans)] == ["so, (", "", "it"]


def test_spelled_tokens_are_the_core_and_the_blank_in_front(llama: Any) -> None:
    words = ["so", "漢字,", "it"]
    found = tokenise_words(llama.tokenizer, words)
    names = llama.tokenizer.convert_ids_to_tokens(found.ids.tolist())
    assert {"▁", ","} <= set(names)
    for token, name in enumerate(names):
        if name == "▁" and token:
            assert found.word[token] == -1
            assert found.spelled[token] == found.spelled[token + 1] >= 0
        if name == ",":
            assert (found.word[token], found.spelled[token]) == (1, -1)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    tokens=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), max_size=20),
)
def test_match_equals_brute_force(lengths: list[int], tokens: list[tuple[int, int]]) -> None:
    _, spans = word_spans(["x" * n for n in lengths])
    offsets = np.array([(a, a + n) for a, n in tokens], dtype=np.int64).reshape(-1, 2)
    owner, straddling = match_tokens(spans, offsets)
    for token, (start, stop) in enumerate(offsets):
        hits = [i for i, (a, b) in enumerate(spans) if start < stop and a < b and start < b and a < stop]
        assert straddling[token] == (len(hits) > 1)
        assert owner[token] == (hits[0] if hits else -1)


class _Merging:
    """A tokeniser with tokens of two characters, blanks included, so that most of them span two words."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        pairs = [(i, min(i + 2, len(text))) for i in range(0, len(text), 2)]
        return {"input_ids": [hash(text[a:b]) % 1000 for a, b in pairs], "offset_mapping": pairs}


def test_tokens_across_words_are_avoided() -> None:
    words = ["a", "b", "cd", "e"]
    found = tokenise_words(_Merging(), words, separator="")
    assert found.word.tolist() == [0, 1, 2, 3]
    # A later word cannot change what is read for the earlier ones.
    changed = tokenise_words(_Merging(), ["a", "b", "cd", "xyz"], separator="")
    np.testing.assert_array_equal(found.ids[:3], changed.ids[:3])


class _Dropping:
    """A tokeniser that makes one token of each letter and drops everything else."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        kept = [i for i, character in enumerate(text) if character.isalpha()]
        return {"input_ids": [ord(text[i]) for i in kept], "offset_mapping": [(i, i + 1) for i in kept]}


def test_words_without_tokens() -> None:
    with pytest.warns(StimulusWarning, match=r"2 of 4 words have no token.* word 1 \('—'\)"):
        found = tokenise_words(_Dropping(), ["so", "—", "…", "on"])
    assert found.last.tolist() == [1, -1, -1, 3]
    assert found.edges.tolist() == [0, 2, 2, 2, 4]
    with pytest.raises(ValueError, match=r"word 0 .* has no token"):
        tokenise_words(_Dropping(), ["—", "so"])


def test_empty_word(gpt2: Any) -> None:
    with pytest.raises(ValueError, match="word 1 is empty"):
        tokenise_words(gpt2.tokenizer, ["a", " ", "b"])


def test_text_before_and_after_the_words_is_left_out(gpt2: Any) -> None:
    text = "Chapter One. “So it was”! The End"
    spans = np.array([[14, 16], [17, 19], [20, 23]])
    found = tokenise_words(gpt2.tokenizer, ["so", "it", "was"], text=text, spans=spans)
    assert gpt2.tokenizer.decode(found.ids) == "“So it was”!"


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        (None, "text needs one"),
        ([[0, 2]], "text needs one"),
        ([[0, 3], [2, 4]], "must follow one another"),
        ([[0, 2], [3, 9]], "must follow one another"),
    ],
)
def test_bad_spans(gpt2: Any, spans: Any, message: str) -> None:
    places = None if spans is None else np.array(spans)
    with pytest.raises(ValueError, match=message):
        tokenise_words(gpt2.tokenizer, ["so", "it"], text="so it", spans=places)


def test_runs_are_put_behind_one_another() -> None:
    with pytest.warns(StimulusWarning):
        parts = [tokenise_words(_Dropping(), words) for words in (["so", "—"], ["it", "—", "is"])]
    joined = join_runs(parts)
    assert joined.word.tolist() == [0, 0, 2, 2, 4, 4]
    assert joined.first.tolist() == [0, -1, 2, -1, 4]
    assert joined.last.tolist() == [1, -1, 3, -1, 5]
    assert joined.edges.tolist() == [0, 2, 2, 4, 4, 6]

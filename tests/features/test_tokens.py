from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import StimulusWarning
from voxridge.features.tokens import match_tokens, tokenise_words, word_spans

WORDS = ["Alice's", "naïve", "😀", "re-do,", "don't", "it!", "漢字", "🤷🏽‍♀️", "—", "3.14"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
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
    for word in range(len(WORDS)):
        tokens = np.flatnonzero(found.word == word)
        assert (found.first[word], found.last[word]) == (tokens[0], tokens[-1])


def test_one_character_in_several_tokens(gpt2: Any) -> None:
    found = tokenise_words(gpt2.tokenizer, ["a", "😀", "b"])
    # Four bytes, none of them merged by this tokeniser; the blank in front is a token of its own or merged.
    assert found.last[1] - found.first[1] >= 3
    assert found.last[1] < found.first[2]


def test_ends_are_the_borders_of_words(gpt2: Any) -> None:
    found = tokenise_words(gpt2.tokenizer, WORDS)
    np.testing.assert_array_equal(found.ends, found.last + 1)
    assert found.ends[-1] == len(found.ids)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    tokens=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), max_size=20),
)
def test_match_equals_brute_force(lengths: list[int], tokens: list[tuple[int, int]]) -> None:
    _, spans = word_spans(["x" * n for n in lengths])
    offsets = np.array([(a, a + n) for a, n in tokens], dtype=np.int64).reshape(-1, 2)
    owner, n_straddling = match_tokens(spans, offsets)
    straddling = 0
    for token, (start, stop) in enumerate(offsets):
        hits = [i for i, (a, b) in enumerate(spans) if start < stop and start < b and a < stop]
        straddling += len(hits) > 1
        assert owner[token] == (hits[0] if hits else -1)
    assert n_straddling == straddling


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
    assert found.ends.tolist() == [2, 2, 2, 4]
    with pytest.raises(ValueError, match=r"word 0 .* has no token"):
        tokenise_words(_Dropping(), ["—", "so"])


def test_empty_word(gpt2: Any) -> None:
    with pytest.raises(ValueError, match="word 1 is empty"):
        tokenise_words(gpt2.tokenizer, ["a", " ", "b"])

from __future__ import annotations

import time
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import StimulusWarning
from voxridge.features import Words
from voxridge.features.transcript import find_words

TEXT = (
    "“Well!” thought Alice to herself, “after such a fall as this, I shall think nothing of tumbling down "
    "stairs! How brave they'll all think me at home! Why, I wouldn't say anything about it, even if I fell "
    "off the top of the house!” (Which was very likely true.)"
)
SPOKEN = (
    "well thought alice to herself after such a fall as this i shall think nothing of tumbling down stairs "
    "how brave they'll all think me at home why i wouldn't say anything about it even if i fell off the top "
    "of the house which was very likely true"
)
HEARD = SPOKEN.split()
OTHER = "The night train left the harbour town at ten. Anna had a window seat, a paper bag of cherries"


def _letters(text: str) -> str:
    # Some symbols are letters after NFKC, but symbols are not compared.
    spelt = "".join(c for c in text if unicodedata.category(c)[0] in "LMN")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", spelt).casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LN")


def _found(words: list[str], text: str) -> list[str]:
    return [text[a:b] for a, b in find_words(words, text)]


def test_words_are_found_in_order() -> None:
    spans = find_words(HEARD, TEXT)
    assert spans.shape == (len(HEARD), 2)
    assert spans.dtype == np.int64
    assert [TEXT[a:b].lower() for a, b in spans] == HEARD
    assert (spans[1:, 0] >= spans[:-1, 1]).all()


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        (["don't"], "“Don’t!”", ["Don’t"]),
        (["do", "n't", "I", "'ll"], "Don't... I'll", ["Do", "n't", "I", "ll"]),
        (["dont", "wellknown"], "don't well-known", ["don't", "well-known"]),
        (["well", "known", "man"], "a well-known man", ["well", "known", "man"]),
        (["well-known"], "well known", ["well known"]),
        (["3000", "and", "3.14"], "3,000 and 3.14", ["3,000", "and", "3.14"]),
        (["5", "50", "of", "C", "1"], "$5, 50% of C++ (#1)", ["$5", "50%", "of", "C++", "#1"]),
        (["nai\u0308ve", "ﬁn", "STRASSE"], "naïve fin Straße", ["naïve", "fin", "Straße"]),
        (["漢字", "仮名", "です"], "漢字、仮名です。", ["漢字", "仮名", "です"]),
        (["שלום", "עולם"], "\u200fשלום, עולם!", ["שלום", "עולם"]),
        (["مرحبا"], "مَرْحَبًا،", ["مَرْحَبًا"]),
        (["so", "😀", "--", "it"], "So 😀 -- it", ["So", "😀", "--", "it"]),
        (["the", "cat", "the"], "the cat, the", ["the", "cat", "the"]),
    ],
)
def test_spellings(words: list[str], text: str, found: list[str]) -> None:
    assert _found(words, text) == found


SPELT = st.sampled_from(
    ["so", "Alice", "don't", "well-known", "3,000", "naïve", "漢字", "e\u0301", "the", "THE", "I'll", "שלום"]
)


@settings(deadline=None, max_examples=60)
@given(words=st.lists(SPELT, min_size=1, max_size=30), data=st.data())
def test_every_word_is_found_whatever_stands_between(words: list[str], data: st.DataObject) -> None:
    between = st.sampled_from([" ", ", ", "… “", "\n\n", " — ", "! ("])
    text = "".join(word + data.draw(between) for word in words)
    heard = [word.upper() if data.draw(st.booleans()) else word.replace("'", "’") for word in words]
    spans = find_words(heard, text)
    assert [text[a:b] for a, b in spans] == words
    assert (np.diff(spans.ravel()) >= 0).all()


@settings(deadline=None, max_examples=60)
@given(dropped=st.sets(st.integers(0, 400), max_size=15), seed=st.integers(0, 10))
def test_words_that_the_annotation_lacks_are_skipped(dropped: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = [f"w{rng.integers(60)}" for _ in range(400)]
    heard = [word for i, word in enumerate(words) if i not in dropped]
    assert _found(heard, ", ".join(words)) == heard


# Letters that are few, so that they meet by chance, and whatever else Unicode has.
LOOSE = st.lists(
    st.one_of(
        st.text("ab'-", min_size=1, max_size=4),
        st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=3),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(words=LOOSE, others=LOOSE, data=st.data())
def test_what_is_found_has_the_letters_of_the_word(
    words: list[str], others: list[str], data: st.DataObject
) -> None:
    heard = ["so", *words, *others, "it"]
    text = " ".join(data.draw(st.permutations(["so", *words, "it"]))) + data.draw(st.sampled_from(["", "ab"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StimulusWarning)
        try:
            spans = find_words(heard, text, missing="skip")
        except ValueError as error:
            assert "not the text of these words" in str(error)  # noqa: PT017
            return
    assert (np.diff(spans.ravel()) >= 0).all()
    for word, (start, stop) in zip(heard, spans, strict=True):
        assert start == stop or _letters(text[start:stop]) == _letters(word)
    assert find_words([text], text).shape == (1, 2)


def test_much_text_that_nobody_heard() -> None:
    heard = [*HEARD[:11], *HEARD[20:]]
    with pytest.warns(
        StimulusWarning, match=r"9 of 49 words of the text \(18%\).*near 'I shall think nothing"
    ):
        spans = find_words(heard, TEXT)
    assert [TEXT[a:b].lower() for a, b in spans] == heard
    # What stands before the first word and after the last is not counted.
    assert find_words(HEARD, "title " * 50 + TEXT + " end" * 50).shape == (len(HEARD), 2)


def test_words_that_the_text_lacks() -> None:
    words = [*HEARD[:8], "uh", *HEARD[8:]]
    with pytest.raises(
        ValueError,
        match=r"1 of 50 words are not in the text: word 8 \('uh'\), near 'herself, “after such",
    ):
        find_words(words, TEXT)
    timed = Words(words, np.arange(50.0), np.arange(50.0) + 1)
    with pytest.raises(ValueError, match=r"word 8 \('uh', 8 s\), near"):
        find_words(timed, TEXT)
    with pytest.warns(StimulusWarning, match=r"1 of 50 words are not in the text: word 8 \('uh'\)"):
        spans = find_words(words, TEXT, missing="skip")
    np.testing.assert_array_equal(np.delete(spans, 8, axis=0), find_words(HEARD, TEXT))
    assert spans[8].tolist() == [spans[7, 1]] * 2


def test_a_word_in_two_places_is_not_found() -> None:
    with pytest.raises(ValueError, match=r"1 of 3 words are not in the text: word 1 \('well-known'\)"):
        find_words(["a", "well-known", "man"], "a well and known man")
    with pytest.raises(ValueError, match=r"word 1 \('the'\)"):
        find_words(["the", "the", "cat"], "the cat")
    with pytest.raises(ValueError, match=r"word 1 \('--'\)"):
        find_words(["so", "--", "it", "is"], "so it is")


def test_a_word_too_many_beside_one_that_is_cut_in_another_way() -> None:
    words = ["so", "uh", "do", "n't", "well", "3000", "times", "it", "was", "me"]
    text = "So don't, 3,000 times, it was me"
    with pytest.raises(ValueError, match=r"2 of 10 words are not in the text: word 1 \('uh'\).*word 4 "):
        find_words(words, text)
    with pytest.warns(StimulusWarning):
        spans = find_words(words, text, missing="skip")
    found = ["So", "", "do", "n't", "", "3,000", "times", "it", "was", "me"]
    assert [text[a:b] for a, b in spans] == found


def test_another_story() -> None:
    other = OTHER.split()
    with pytest.raises(ValueError, match=r"17 of 19 words are not in the text.*not the text of these words"):
        find_words(other, TEXT)
    with pytest.raises(ValueError, match=r"only 0 of 93 groups of three words.*not the text of these words"):
        find_words(other * 5, TEXT)
    with pytest.raises(ValueError, match="3 of 3 words are not in the text"):
        find_words(["漢", "字", "仮"], TEXT, missing="skip")


@pytest.mark.parametrize("words", [[], "a single text"])
def test_no_words(words: list[str]) -> None:
    with pytest.raises(ValueError, match="sequence of at least one word"):
        find_words(words, TEXT)


def test_unknown_option() -> None:
    with pytest.raises(ValueError, match="missing='ignore' is unknown"):
        find_words(HEARD, TEXT, missing="ignore")  # type: ignore[arg-type]


def test_a_long_book_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    # Words as frequent as in English: one in sixteen is the most frequent one.
    ranks = rng.zipf(1.35, 20_000) % 3000
    words = [f"w{rank}x" for rank in ranks]
    heard = [word for word in words if rng.random() > 0.03]
    start = time.process_time()
    assert _found(heard, ", ".join(words)) == heard
    assert time.process_time() - start < 20

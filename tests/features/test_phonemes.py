from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import Words, read_words, tr_times, word_rate
from voxridge.features.controls import phoneme_rate
from voxridge.features.phonemes import phones_per_word, read_phones

PHONES = [
    (0.0, 0.5, "sp"),
    (0.5, 0.7, "DH"),
    (0.7, 0.9, "AH0"),
    (0.9, 1.2, "R"),
    (1.2, 1.3, "{BR}"),
    (1.3, 1.5, "AE1"),
    (1.5, 2.4, ""),
    (2.4, 3.0, "T"),
]
WORDS = [(0.0, 0.5, "sp"), (0.5, 0.9, "the"), (0.9, 1.5, "rat"), (1.5, 2.4, ""), (2.4, 3.0, "t")]


def _textgrid(file: Path, tiers: dict[str, Any]) -> Path:
    values: list[Any] = ["ooTextFile", "TextGrid", 0, 3]
    text = [f'"{values[0]}"', f'"{values[1]}"', "0", "3", "<exists>", str(len(tiers))]
    for name, intervals in tiers.items():
        text += ['"IntervalTier"', f'"{name}"', "0", "3", str(len(intervals))]
        for start, stop, label in intervals:
            text += [str(start), str(stop), f'"{label}"']
    file.write_text("\n".join(text), encoding="utf-8")
    return file


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return _textgrid(tmp_path / "story.TextGrid", {"phone": PHONES, "word": WORDS})


@pytest.mark.parametrize("name", ["phone", "Phones", "phonemes", "Anna - phones"])
def test_the_tier_is_found(tmp_path: Path, name: str) -> None:
    file = _textgrid(tmp_path / "a.TextGrid", {"word": WORDS, name: PHONES, "notes": []})
    phones = read_phones(file, silences=["sp", "{br}"])
    assert phones.text == ("DH", "AH0", "R", "AE1", "T")
    np.testing.assert_allclose(phones.onset, [0.5, 0.7, 0.9, 1.3, 2.4])
    assert read_phones(file, tier=name).text == ("DH", "AH0", "R", "{BR}", "AE1", "T")
    assert read_phones(file, tier=1).text == read_phones(file).text


def test_per_word_and_per_scan(story: Path) -> None:
    phones, words = read_phones(story, silences=["sp", "{br}"]), read_words(story, tier="word")
    assert phones_per_word(words, phones).ravel().tolist() == [2, 2, 1]
    scans = tr_times(3, 1.0)
    assert phoneme_rate(phones, scans).ravel().tolist() == [3, 1, 1]
    np.testing.assert_array_equal(phoneme_rate(words, scans), word_rate(words, scans))
    assert phoneme_rate(phones.shift(-0.6), scans, outside="keep").sum() == 4


def test_words_and_phones_that_do_not_match() -> None:
    words = Words(("a", "b"), [0.0, 1.0], [1.0, 2.0])
    phones = Words(("p", "q", "r"), [0.1, 2.1, 3.1], [0.2, 2.2, 3.2])
    with pytest.warns(StimulusWarning, match="2 of 3 phones lie in none of the 2 words"):
        assert phones_per_word(words, phones).ravel().tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"3 of 3 phones .*same clock"):
        phones_per_word(words, phones.shift(100))


def test_no_tier_of_phones(tmp_path: Path, story: Path) -> None:
    file = _textgrid(tmp_path / "a.TextGrid", {"word": WORDS, "telephone": PHONES})
    with pytest.raises(ValueError, match=r"no tier of phones.*\['word', 'telephone'\].*forced aligner"):
        read_phones(file)
    file = _textgrid(tmp_path / "b.TextGrid", {"A - phones": PHONES, "B - phones": PHONES})
    with pytest.raises(ValueError, match="several tiers could hold the phones"):
        read_phones(file)
    file = _textgrid(tmp_path / "c.TextGrid", {"phone": WORDS[:1]})
    with pytest.raises(ValueError, match="no phones in tier 'phone'"):
        read_phones(file)
    with pytest.raises(ValueError, match="no interval tier 7"):
        read_phones(story, tier=7)
    with pytest.raises(ValueError, match=r"a tier of a \.TextGrid"):
        read_phones(tmp_path / "words.csv")
    with pytest.raises(FileNotFoundError):
        read_phones(tmp_path / "none.TextGrid")


def test_overlapping_phones_are_cut(tmp_path: Path) -> None:
    file = _textgrid(tmp_path / "a.TextGrid", {"phone": [(0, 1.1, "A"), (1.0, 2, "B")]})
    with pytest.warns(StimulusWarning, match="1 intervals overlap"):
        assert read_phones(file).offset.tolist() == [1.0, 2.0]


@pytest.mark.alice
def test_alice_has_no_phones(alice: Path) -> None:
    with pytest.raises(ValueError, match=r"no tier of phones; its interval tiers are \['word'\]"):
        read_phones(next((alice / "stimulus").glob("*.TextGrid")))

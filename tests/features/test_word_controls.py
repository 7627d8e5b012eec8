from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import StimulusWarning
from voxridge.features import Words, downsample, read_words, tr_times
from voxridge.features.static_embeddings import StaticEmbeddings
from voxridge.features.word_controls import log_frequency, random_embeddings, random_vectors, word_controls

TEXT = ("It's", "the", "Rabbit,", "re-do!", "rabbit", "3rd")


def _words(text: tuple[str, ...] = TEXT, start: float = 0.0) -> Words:
    onset = start + np.arange(len(text)) * 0.5
    return Words(text, onset, onset + 0.4)


@pytest.fixture
def frequencies() -> None:
    pytest.importorskip("wordfreq")


def test_every_control(frequencies: None, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("the 1 2\nrabbit 3 4\nit 5 6\n's 7 8\n")
    glove = StaticEmbeddings.load(tmp_path / "glove.txt")
    words = _words()
    phones = Words(["p"] * 12, np.arange(12) * 0.25 + 0.05, np.arange(12) * 0.25 + 0.15)
    bits = np.array([np.nan, 2.0, 4.0, 6.0, 8.0, 10.0])
    found = word_controls(words, surprisal=bits, glove=glove, phones=phones, seed=3, random_dim=7)
    widths = {name: values.shape[1] for name, values in found.items()}
    assert widths == {
        "word-rate": 1,
        "word-length": 1,
        "log-frequency": 1,
        "position": 1,
        "surprisal": 1,
        "phonemes": 1,
        "glove": 2,
        "random-vectors": 7,
        "random-embeddings": 7,
    }
    for values in found.values():
        assert values.dtype == np.float32
        assert len(values) == len(words)
        assert np.isfinite(values).all()
    assert found["word-rate"].ravel().tolist() == [1] * 6
    assert found["word-length"].ravel().tolist() == [3, 3, 6, 4, 6, 3]
    np.testing.assert_allclose(found["position"].ravel(), np.arange(6) / 5, atol=1e-6)
    assert found["surprisal"].ravel().tolist() == [6, 2, 4, 6, 8, 10]
    assert found["phonemes"].ravel().tolist() == [2] * 6
    assert found["glove"].tolist() == [[6, 7], [1, 2], [3, 4], [0, 0], [3, 4], [0, 0]]
    np.testing.assert_array_equal(found["log-frequency"], log_frequency(words.text))
    np.testing.assert_array_equal(found["random-vectors"], random_vectors(words, seed=3, dim=7))
    np.testing.assert_array_equal(found["random-embeddings"], random_embeddings(words.text, seed=3, dim=7))
    assert np.isnan(bits[0])


def test_what_is_not_given_is_left_out(frequencies: None) -> None:
    found = word_controls(_words())
    assert {"surprisal", "phonemes", "glove"}.isdisjoint(found)
    assert found["random-vectors"].shape == found["random-embeddings"].shape == (6, 300)
    assert word_controls(_words(("one",)))["position"].tolist() == [[0]]


def test_ones_become_the_word_rate(frequencies: None) -> None:
    words = Words(["w"] * 200, np.arange(200) * 0.25 + 0.1, np.arange(200) * 0.25 + 0.3)
    rate = downsample(word_controls(words, random_dim=1)["word-rate"], words.midpoint, tr_times(25, 2.0))
    np.testing.assert_allclose(rate[4:-4], 8.0, rtol=0.02)


@settings(deadline=None, max_examples=30)
@given(others=st.lists(st.text(min_size=1, max_size=8), max_size=10), seed=st.integers(0, 50))
def test_a_type_has_one_vector_whatever_the_other_words(others: list[str], seed: int) -> None:
    alone = random_embeddings(["rabbit"], seed=seed, dim=6)[0]
    among = random_embeddings([*others, "Rabbit!", *others[::-1], "“RABBIT”"], seed=seed, dim=6)
    np.testing.assert_array_equal(among[len(others)], alone)
    np.testing.assert_array_equal(among[-1], alone)
    assert not (random_embeddings(["rabbits"], seed=seed, dim=6) == alone).any()
    assert not (random_embeddings(["rabbit"], seed=seed + 1, dim=6) == alone).any()


def test_random_vectors_are_one_per_token_and_run() -> None:
    words, later = _words(), _words(start=100.0)
    found = random_vectors(words, dim=50)
    np.testing.assert_array_equal(found, random_vectors(_words(), dim=50))
    for other in (random_vectors(words, seed=1, dim=50), random_vectors(later, dim=50)):
        assert not (other == found).any()
    assert not (found[2] == found[4]).any()  # twice the same word
    both = np.concatenate([found, random_embeddings([f"w{i}" for i in range(400)], dim=50)])
    assert abs(both.mean()) < 0.03
    assert both.std() == pytest.approx(1, abs=0.03)


def test_the_vector_of_a_word_does_not_change_between_versions() -> None:
    # From numpy's PCG64, seeded with the SHA-256 of seed and word.
    np.testing.assert_allclose(
        random_embeddings(["Alice"], dim=3)[0], [0.17364018, -0.08314288, -0.5132293], rtol=1e-6
    )


def test_real_frequencies() -> None:
    wordfreq = pytest.importorskip("wordfreq")
    words = ["the", "Rabbit,", "don't", "qqxqzz"]
    found = log_frequency(words).ravel()
    np.testing.assert_allclose(found[:3], [wordfreq.zipf_frequency(w, "en") for w in words[:3]], atol=1e-6)
    assert found[3] == pytest.approx(1.01)
    assert found[0] > 7 > found[1] > 3
    assert log_frequency(["lapin"], "fr")[0, 0] > 3
    with pytest.warns(StimulusWarning, match=r"2 of 3 words are not in wordfreq's list.*'qqx'"):
        log_frequency(["qqx", "the", "zzqqy"])
    with pytest.raises(ValueError, match=r"language='klingon'.*it has .*en"):
        log_frequency(["the"], "klingon")


def test_without_wordfreq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    with pytest.raises(ImportError, match=r"pip install \"voxridge\[lm\]\""):
        log_frequency(["the"])


@pytest.mark.alice
def test_alice(frequencies: None, alice: Path) -> None:
    words = read_words(next((alice / "stimulus").glob("*.TextGrid")))
    found = word_controls(words)
    assert all(np.isfinite(values).all() for values in found.values())
    r = np.corrcoef(found["word-length"].ravel(), found["log-frequency"].ravel())[0, 1]
    assert r < -0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surprisal": [1.0, 2.0]}, r"surprisal has shape \(2,\), but there are 6 words"),
        ({"surprisal": [1, 2, 3, 4, 5, np.inf]}, r"surprisal\[5\] is inf"),
        ({"surprisal": [np.nan] * 6}, "surprisal holds no number"),
        ({"seed": -1}, "seed=-1"),
        ({"random_dim": 0}, "dim=0"),
    ],
)
def test_bad_arguments(frequencies: None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        word_controls(_words(), **options)


def test_no_words() -> None:
    with pytest.raises(ValueError, match="words is empty"):
        word_controls(Words((), [], []))

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features import Words, position, tr_times, word_length, word_rate


@settings(deadline=None, max_examples=40)
@given(onsets=st.lists(st.floats(0, 20), min_size=1, max_size=40), tr=st.floats(0.4, 3.0))
def test_every_word_is_counted_once(onsets: list[float], tr: float) -> None:
    onset = np.sort(onsets)
    words = Words(["w"] * len(onset), onset, onset + 0.1)
    n_trs = int(20 // tr) + 2
    scans = tr_times(n_trs, tr)
    rate = word_rate(words, scans, tr)
    assert rate.shape == (n_trs, 1)
    assert rate.sum() == len(onset)
    edges = np.append(scans - tr / 2, scans[-1] + tr / 2)
    np.testing.assert_array_equal(rate[:, 0], np.histogram(onset, edges)[0])


def test_known_rates_and_lengths() -> None:
    words = Words(["It's", "so", "re-do!", "—"], [0.0, 1.9, 2.0, 6.0], [1, 2, 3, 6])
    scans = tr_times(3, 2.0)
    assert word_rate(words, scans, 2.0).ravel().tolist() == [2, 1, 1]
    assert word_length(words, scans, 2.0).ravel().tolist() == [2.5, 4, 0]
    assert word_length(words[:2], scans).ravel().tolist() == [2.5, 0, 0]


def test_words_outside() -> None:
    words = Words(["a", "b", "c"], [-1.0, 1.0, 9.0], [0, 2, 10])
    with pytest.raises(ValueError, match=r"2 of 3 words lie outside the scan \(0 to 6 s\)"):
        word_rate(words, tr_times(3, 2.0))
    assert word_rate(words, tr_times(3, 2.0), outside="keep").ravel().tolist() == [1, 0, 0]


def test_position() -> None:
    assert position(5).ravel().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert position(1).tolist() == [[0]]
    with pytest.raises(ValueError, match="n_trs=0"):
        position(0)


def test_bad_tr() -> None:
    words = Words(["a"], [0], [1])
    with pytest.raises(ValueError, match="tr=0"):
        word_rate(words, [1.0, 3.0], 0)
    with pytest.raises(ValueError, match="single TR"):
        word_rate(words, [1.0])
    assert word_rate(words, [1.0], 2.0).tolist() == [[1]]

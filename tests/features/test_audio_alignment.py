from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge._warnings import StimulusWarning
from voxridge.features.audio import Audio, read_audio
from voxridge.features.audio_alignment import check_audio, find_lag
from voxridge.features.words import Words, read_words

RATE = 8000
SEGMENT_START = 696.648


def speech_like(seed: int, seconds: float = 30.0) -> tuple[Words, Audio]:
    """Noise where words are, some of them joined, and quiet noise between them."""
    rng = np.random.default_rng(seed)
    onsets, time = [], 0.5
    while time < seconds - 1:
        onsets.append(time)
        time += rng.choice([0.25, 0.25, 0.6, 1.2])
    onset = np.array(onsets)
    words = Words(["a"] * len(onset), onset, onset + 0.25)
    clock = np.arange(round(seconds * RATE)) / RATE
    index = np.searchsorted(onset, clock, side="right") - 1
    spoken = (index >= 0) & (clock < onset[index] + 0.25)
    return words, Audio(rng.normal(size=len(clock)) * np.where(spoken, 0.3, 0.003), RATE)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 99), shift=st.integers(-400, 400), start=st.floats(-1000, 1000))
def test_any_shift_is_recovered(seed: int, shift: int, start: float) -> None:
    words, audio = speech_like(seed)
    lag = find_lag(words.shift(start - shift / 100), audio.shift(start))
    assert lag.is_found
    assert abs(lag.seconds - shift / 100) <= 0.0301
    assert lag.correlation > 0.8


def test_correlation_is_pearson_of_loudness_and_occupancy() -> None:
    words, audio = speech_like(1)
    lag = find_lag(words.shift(-0.7), audio, max_lag=1.0)
    power = np.square(audio.samples, dtype=np.float64).reshape(-1, RATE // 100).mean(axis=1)
    smooth = np.convolve(power, np.ones(5) / 5, mode="same")
    loudness = 10 * np.log10(np.maximum(smooth, smooth.max() * 1e-5))
    times = (np.arange(len(loudness)) + 0.5) / 100
    for shift, found in ((0.0, lag.correlation_at_zero), (lag.seconds, lag.correlation)):
        moved = words.shift(-0.7 + shift)
        spoken = [((time >= moved.onset) & (time < moved.offset)).any() for time in times]
        assert found == pytest.approx(np.corrcoef(loudness, spoken)[0, 1], abs=1e-3)


def test_the_standard_error_is_what_unrelated_speech_shows() -> None:
    audio = speech_like(0)[1]
    lags = [find_lag(speech_like(seed)[0], audio) for seed in range(1, 21)]
    spread = np.std([lag.correlation_at_zero for lag in lags])
    expected = np.mean([lag.standard_error for lag in lags])
    assert 0.5 < spread / expected < 2
    assert not any(lag.is_found for lag in lags)


def test_good_words_pass() -> None:
    words, audio = speech_like(2)
    lag = check_audio(words, audio)
    assert lag is not None
    assert lag.seconds == pytest.approx(0.0, abs=0.03)


def test_audio_shorter_than_the_transcript() -> None:
    words, audio = speech_like(2)
    first = int(np.argmax(words.offset > 20.2))
    with pytest.raises(ValueError, match=rf"lie outside story-1 .* the first is word {first} \('a', "):
        check_audio(words, audio.between(0.0, 20.0), name="story-1")


@pytest.mark.parametrize(("shift", "side"), [(1.3, "after"), (-0.5, "before")])
def test_shifted_words_are_refused_with_the_remedy(shift: float, side: str) -> None:
    words, audio = speech_like(3)
    words = words[2:-4]
    with pytest.raises(ValueError, match=rf"the words lie {abs(shift):.1f}\d s {side} the sound") as caught:
        check_audio(words.shift(shift), audio)
    lag = find_lag(words.shift(shift), audio)
    assert f"words.shift({lag.seconds:.2f})" in str(caught.value)
    check_audio(words.shift(shift).shift(lag.seconds), audio)
    check_audio(words.shift(shift), audio, tolerance=1.5)


def test_the_text_of_another_recording_is_refused() -> None:
    with pytest.raises(ValueError, match=r"do not belong together: .* text of another recording"):
        check_audio(speech_like(4)[0], speech_like(5)[1])


def test_words_without_pauses_cannot_be_checked() -> None:
    audio = speech_like(6)[1]
    onset = np.arange(0, 30, 0.3)
    words = Words(["a"] * len(onset), onset, onset + 0.3)
    with pytest.raises(ValueError, match="no pauses between the words"):
        find_lag(words, audio, max_lag=0.0)
    with pytest.raises(ValueError, match="hardly any words there"):
        find_lag(words.shift(500.0), audio)
    with pytest.warns(StimulusWarning, match="was not checked against the words: no pauses"):
        assert check_audio(words, audio, max_lag=0.0) is None


def test_short_audio_is_let_pass_with_a_warning() -> None:
    words, audio = speech_like(7)
    first = words[: int(np.searchsorted(words.offset, 2.0))]
    with pytest.warns(StimulusWarning, match=r"too short to tell .* \(2\.0 s\)"):
        check_audio(first, audio.between(0.0, 2.0))


@pytest.mark.parametrize("max_lag", [-1.0, float("nan"), float("inf")])
def test_bad_max_lag(max_lag: float) -> None:
    with pytest.raises(ValueError, match="max_lag="):
        find_lag(*speech_like(0, 5.0), max_lag=max_lag)


def test_synthetic_speech(tmp_path: Path) -> None:
    """Spoken words set at known times by a speech synthesiser."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    rng = np.random.default_rng(0)
    pieces, text, onset, offset, time = [], [], [], [], 0.0
    spoken = {}
    for word in ("Alice", "rabbit", "garden", "key", "table", "curious"):
        file = tmp_path / f"{word}.wav"
        subprocess.run(["espeak-ng", "-w", str(file), word], check=True, timeout=20)
        samples = read_audio(file, 22050).samples
        loud = np.flatnonzero(np.abs(samples) > 0.01)
        spoken[word] = samples[loud[0] : loud[-1]]
    for word in rng.choice(list(spoken), 30):
        pause = rng.choice([0.05, 0.1, 0.5, 0.9])
        pieces += [np.zeros(round(22050 * pause), np.float32), spoken[word]]
        text.append(word)
        onset.append(time + pause)
        time += pause + len(spoken[word]) / 22050
        offset.append(time)
    audio = Audio(np.concatenate(pieces), 22050, start=3.0)
    lag = find_lag(Words(text, onset, offset), audio)
    assert lag.is_found
    assert abs(lag.seconds - 3.0) < 0.1


@pytest.fixture(scope="module")
def story(alice: Path) -> tuple[Words, Audio]:
    stimulus = alice / "stimulus"
    words = read_words(stimulus / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid")
    return words, read_audio(stimulus / "segment12_16k.flac", start=SEGMENT_START)


@pytest.mark.alice
def test_the_segment_is_found_in_the_whole_story(story: tuple[Words, Audio]) -> None:
    words, audio = story
    lag = find_lag(words, audio.shift(-SEGMENT_START), max_lag=745.0)
    assert lag.is_found
    assert abs(-lag.seconds - SEGMENT_START) < 0.1
    assert lag.correlation > 0.7


@pytest.mark.alice
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_segment_agrees_with_its_words(story: tuple[Words, Audio], noise: float) -> None:
    words, audio = story
    inside = words[int(np.searchsorted(words.onset, audio.start)) :]
    level = noise * audio.samples.std()
    noisy = audio.samples + np.random.default_rng(0).normal(0, level, len(audio.samples))
    lag = check_audio(inside, Audio(noisy, audio.rate, audio.start))
    assert lag is not None
    assert abs(lag.seconds) < 0.1


@pytest.mark.alice
def test_other_segments_are_refused(story: tuple[Words, Audio]) -> None:
    words, audio = story
    for start in range(25, 625, 50):
        there = (words.onset >= start) & (words.offset <= start + audio.duration)
        first, last = np.flatnonzero(there)[[0, -1]]
        other = words[int(first) : int(last) + 1].shift(SEGMENT_START - start)
        with pytest.raises(ValueError, match="do not belong together"):
            check_audio(other, audio)

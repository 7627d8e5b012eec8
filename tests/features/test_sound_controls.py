from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features.audio import Audio
from voxridge.features.sound_controls import FLOOR, mel_filters, mel_spectrum, sound_controls, sound_envelope


@pytest.fixture(scope="module")
def noise() -> Audio:
    rng = np.random.default_rng(0)
    return Audio(rng.normal(0, 0.1, 32000) * np.linspace(0, 1, 32000), 16000, start=5.0)


def test_envelope_is_a_root_mean_square(noise: Audio) -> None:
    times = np.array([6.5, 5.1, 5.02, 7.0, 5.0 + 1 / 16000])
    expected = []
    for time in times:
        stop = round((time - 5.0) * 16000)
        window = noise.samples[max(0, stop - 1600) : stop].astype(np.float64)
        expected.append(np.sqrt((window**2).mean()))
    found = sound_envelope(noise, times)
    assert (found.shape, found.dtype) == ((5, 1), np.float32)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_envelope_follows_amplitude_modulation() -> None:
    clock = np.arange(32000) / 16000
    slow = 0.5 + 0.4 * np.sin(2 * np.pi * clock)
    audio = Audio(slow * np.sin(2 * np.pi * 500 * clock), 16000)
    times = np.arange(2, 40) * 0.05
    found = sound_envelope(audio, times, window=0.02)[:, 0]
    # Centred on the middle of its window, and a sine's root mean square is 1 / sqrt(2).
    np.testing.assert_allclose(found, np.interp(times - 0.01, clock, slow) / np.sqrt(2), atol=0.01)


@pytest.mark.parametrize(("n_mels", "rate"), [(40, 16000), (64, 16000), (26, 8000), (40, 44100)])
def test_filters_are_those_of_transformers(n_mels: int, rate: int) -> None:
    utils = pytest.importorskip("transformers.audio_utils")
    size = round(0.025 * rate)
    expected = utils.mel_filter_bank(
        size // 2 + 1, n_mels, 0.0, min(8000.0, rate / 2), rate, norm="slaney", mel_scale="slaney"
    )
    # They space the frequencies from 0 to rate / 2, which for an odd size is not where they lie.
    if size % 2 == 0:
        np.testing.assert_allclose(mel_filters(n_mels, size, rate), expected.T, atol=1e-9)
    assert (mel_filters(n_mels, size, rate) >= 0).all()


def test_spectrum_is_that_of_transformers(noise: Audio) -> None:
    utils = pytest.importorskip("transformers.audio_utils")
    power = utils.spectrogram(
        noise.samples.astype(np.float64),
        utils.window_function(400, "hann"),
        frame_length=400,
        hop_length=160,
        power=2.0,
        center=False,
        mel_filters=utils.mel_filter_bank(201, 40, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney"),
    )
    times = noise.start + np.array([0.025, 0.1, 0.1001, 1.0, 1.337, 2.0])
    found = mel_spectrum(noise, times)
    assert (found.shape, found.dtype) == ((6, 40), np.float32)
    for row, time in zip(found, times - noise.start, strict=True):
        stop = round(time * 16000)
        whole = [i for i in range(power.shape[1]) if i * 160 >= stop - 1600 and i * 160 + 400 <= stop]
        np.testing.assert_allclose(row, np.log10(power[:, whole].mean(axis=1)), atol=2e-5)


def test_no_sound_after_a_time_enters(noise: Audio) -> None:
    times = noise.start + np.arange(1, 21) * 0.1
    changed = noise.samples.copy()
    changed[16000:] = np.random.default_rng(1).normal(size=16000)
    before, after = (sound_controls(audio, times) for audio in (noise, Audio(changed, 16000, 5.0)))
    for name in ("envelope", "mel-spectrum"):
        np.testing.assert_array_equal(before[name][:10], after[name][:10])
        assert (before[name][10:] != after[name][10:]).any(axis=1).all()


def test_silence_is_the_floor_even_after_noise() -> None:
    samples = np.zeros(160000)
    samples[:80000] = np.random.default_rng(0).normal(0, 0.5, 80000)
    audio = Audio(samples, 16000)
    assert (sound_envelope(audio, [5.2, 9.0]) == 0).all()
    assert (mel_spectrum(audio, [5.2, 9.0]) == np.float32(np.log10(FLOOR))).all()
    # Before the first whole frame there is nothing either.
    assert (mel_spectrum(audio, [0.02]) == np.float32(np.log10(FLOOR))).all()


@settings(deadline=None)
@given(
    start=st.floats(-100, 100),
    rows=st.lists(st.integers(1, 100), min_size=1, max_size=8),
    window=st.sampled_from([0.03, 0.1, 0.5]),
)
def test_every_time_stands_for_itself(start: float, rows: list[int], window: float) -> None:
    samples = np.random.default_rng(2).normal(0, 0.1, 16000)
    times = np.array(rows) / 100
    at_zero = sound_controls(Audio(samples, 16000), times, window=window)
    shifted = sound_controls(Audio(samples, 16000, start), start + times, window=window)
    for name, values in at_zero.items():
        np.testing.assert_array_equal(values, shifted[name])
        alone = [sound_controls(Audio(samples, 16000), [time], window=window)[name][0] for time in times]
        np.testing.assert_array_equal(values, alone)


@pytest.mark.parametrize(
    ("times", "settings", "message"),
    [
        ([4.9], {}, r"1 of 1 times lie outside the audio \(5 to 7 s\), the first at 4\.9 s"),
        ([6.0, 7.1], {}, "the first at 7.1 s"),
        ([5.0], {}, "outside"),
        ([[6.0]], {}, r"shape \(1, 1\)"),
        ([np.nan], {}, "NaN"),
        ([6.0], {"window": 0.0}, "window=0"),
        ([6.0], {"window": 0.02}, "shorter than one frame of 0.025 s"),
        ([6.0], {"n_mels": 0}, "n_mels=0: at least 1"),
        ([6.0], {"n_mels": 200}, "holds no frequency .*: use fewer"),
    ],
)
def test_bad_input(noise: Audio, times: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sound_controls(noise, times, **settings)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import audio as audio_module
from voxridge.features.audio import Audio, read_audio

soundfile = pytest.importorskip("soundfile")
soxr = pytest.importorskip("soxr")


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 1 / 32000),
        ("wav", "FLOAT", 0.0),
        ("flac", "PCM_24", 1e-6),
        ("ogg", None, 0.05),
        ("mp3", None, 0.05),
    ],
)
def test_formats(tmp_path: Path, suffix: str, subtype: str | None, tolerance: float) -> None:
    file = tmp_path / f"tone.{suffix}"
    samples = tone(16000)
    soundfile.write(file, samples, 16000, subtype=subtype)
    found = read_audio(file, start=3.5)
    assert (found.rate, found.start, found.samples.dtype) == (16000, 3.5, np.float32)
    n = min(len(found.samples), len(samples))
    assert n > 15000
    assert np.abs(found.samples[:n] - samples[:n]).max() <= tolerance


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(16000), tone(16000, hertz=700.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "stereo.wav").samples, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [44100, 48000, 22050])
def test_resampling_keeps_a_tone_where_it_is(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(rate, 2.0), rate, subtype="FLOAT")
    found = read_audio(tmp_path / "tone.wav").samples
    assert abs(len(found) - 32000) <= 1
    # The edges ring; everywhere else a shift by one sample would be 0.09.
    np.testing.assert_allclose(found[800:31000], tone(16000, 2.0)[800:31000], atol=2e-4)


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 44100).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, 44100, subtype="FLOAT")
    whole = read_audio(tmp_path / "noise.wav").samples
    monkeypatch.setattr(audio_module, "_BLOCK", 1000)
    pieces = read_audio(tmp_path / "noise.wav").samples
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    np.testing.assert_allclose(whole, soxr.resample(noise, 44100, 16000, "HQ"), atol=1e-6)


def test_low_rates_are_read_with_a_warning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "phone.wav", tone(8000), 8000)
    with pytest.warns(StimulusWarning, match="recorded at 8000 Hz and read at 16000 Hz"):
        found = read_audio(tmp_path / "phone.wav")
    assert abs(found.duration - 1.0) < 1e-3


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_audio(tmp_path / "absent.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(FileNotFoundError, match="not there"):
        read_audio(tmp_path / "link.wav")
    (tmp_path / "annex.wav").write_text("/annex/objects/MD5E-s123--abc.wav\n")
    with pytest.raises(FileNotFoundError, match="git annex get"):
        read_audio(tmp_path / "annex.wav")
    (tmp_path / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(FileNotFoundError, match="git lfs pull"):
        read_audio(tmp_path / "lfs.wav")


def test_files_that_are_not_audio(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match="is empty"):
        read_audio(tmp_path / "empty.wav")
    (tmp_path / "text.wav").write_text("Alice was beginning to get very tired")
    with pytest.raises(ValueError, match=r"text\.wav: cannot be read as audio"):
        read_audio(tmp_path / "text.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    with pytest.raises(ValueError, match="0 samples"):
        read_audio(tmp_path / "none.wav")
    soundfile.write(tmp_path / "short.wav", tone(16000, 0.02), 16000)
    with pytest.raises(ValueError, match=r"320 samples are 0\.02 s of audio: too short"):
        read_audio(tmp_path / "short.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    with pytest.raises(ValueError, match="silent throughout"):
        read_audio(tmp_path / "silent.wav")


@pytest.mark.parametrize("rate", [16000, 48000])
def test_nan_is_named_by_its_time(tmp_path: Path, rate: int) -> None:
    samples = tone(rate)
    samples[rate // 4] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, rate, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"NaN or infinite, at 0\.25 s"):
        read_audio(tmp_path / "nan.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_that_was_cut_short(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"cut.{suffix}"
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cut short|cannot be read"):
        read_audio(file)


@pytest.mark.parametrize("rate", [0, -1, 16000.5])
def test_bad_rates(tmp_path: Path, rate: float) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    with pytest.raises(ValueError, match="positive whole number"):
        read_audio(tmp_path / "tone.wav", rate)  # type: ignore[arg-type]


def test_audio_copies_and_checks() -> None:
    samples = np.ones(1000)
    audio = Audio(samples, 16000, start=2.0)
    samples[:] = 5
    assert audio.samples[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0] = 3
    with pytest.raises(ValueError, match=r"shape \(2, 1000\): give one channel"):
        Audio(np.ones((2, 1000)), 16000)
    with pytest.raises(ValueError, match=r"2 of 1000 samples are NaN or infinite, the first at 0\.0005 s"):
        Audio(np.where(np.isin(np.arange(1000), (8, 9)), np.inf, 1.0), 16000)
    with pytest.raises(ValueError, match="rate=0"):
        Audio(np.ones(1000), 0)
    with pytest.raises(ValueError, match="start=nan"):
        Audio(np.ones(1000), 16000, float("nan"))


def test_parts_keep_the_clock() -> None:
    audio = Audio(np.arange(1, 16001), 16000, start=10.0)
    part = audio.between(10.25, 10.75)
    assert (part.start, part.stop, part.samples[0]) == (10.25, 10.75, 4001.0)
    assert audio.shift(-4.0).start == 6.0
    assert len({audio.digest(), part.digest(), audio.shift(1.0).digest()}) == 3
    assert Audio(audio.samples, 16000, 10.0).digest() == audio.digest()
    with pytest.raises(ValueError, match=r"9 to 10\.5 s does not lie in the audio \(10 to 11 s\)"):
        audio.between(9.0, 10.5)

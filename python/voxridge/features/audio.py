"""Sound of a stimulus: any file and sampling rate, to mono samples at the rate of the models."""

from __future__ import annotations

import hashlib
import importlib
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning
from voxridge.features.fetched import check_fetched

Float32Array = npt.NDArray[np.float32]

MIN_SAMPLES = 400
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Audio:
    """The sound of one run with its place on the clock of the stimulus.

    Parameters
    ----------
    samples : (n_samples,) float
        Mono; copied to float32 and made read-only.
    rate : int, Hz
        Samples per second.
    start : float, seconds
        Time of the first sample on the clock on which the words have their times.

    Raises
    ------
    ValueError
        If the samples are not one-dimensional, fewer than 400, not finite, or all zero; if `rate` is not a
        positive integer or `start` not finite.

    Examples
    --------
    >>> audio = Audio(np.sin(np.arange(16000)), 16000, start=20.0)
    >>> audio.duration, audio.stop
    (1.0, 21.0)
    """

    samples: Float32Array
    rate: int
    start: float = 0.0

    def __post_init__(self) -> None:
        samples = np.array(self.samples, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"samples has shape {samples.shape}: give one channel, (n_samples,)")
        if int(self.rate) != self.rate or self.rate < 1:
            raise ValueError(f"rate={self.rate}: a positive whole number of samples per second")
        if not math.isfinite(self.start):
            raise ValueError(f"start={self.start}: a finite number of seconds")
        if len(samples) < MIN_SAMPLES:
            raise ValueError(
                f"{len(samples)} samples are {len(samples) / self.rate:g} s of audio: too short for any "
                f"model (at least {MIN_SAMPLES} samples)"
            )
        bad = ~np.isfinite(samples)
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(
                f"{int(bad.sum())} of {len(samples)} samples are NaN or infinite, the first at "
                f"{first / self.rate:g} s"
            )
        if not samples.any():
            raise ValueError(f"all {len(samples)} samples are zero: the audio is silent throughout")
        samples.flags.writeable = False
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "rate", int(self.rate))
        object.__setattr__(self, "start", float(self.start))

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate

    @property
    def stop(self) -> float:
        """Time just after the last sample, seconds on the clock of the stimulus."""
        return self.start + self.duration

    def shift(self, seconds: float) -> Audio:
        """Return the same sound starting `seconds` later (negative: earlier).

        Raises
        ------
        ValueError
            If `seconds` is not finite.
        """
        return Audio(self.samples, self.rate, self.start + seconds)

    def between(self, start: float, stop: float) -> Audio:
        """Return the sound from `start` to `stop`, seconds on the clock of the stimulus.

        Raises
        ------
        ValueError
            If that stretch does not lie in the audio or is too short.
        """
        first, last = (round((time - self.start) * self.rate) for time in (start, stop))
        if not 0 <= first < last <= len(self.samples):
            raise ValueError(
                f"{start:g} to {stop:g} s does not lie in the audio ({self.start:g} to {self.stop:g} s)"
            )
        return Audio(self.samples[first:last], self.rate, self.start + first / self.rate)

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of samples, rate and start: two equal digests mean the same stimulus."""
        sha = hashlib.sha256(self.samples.astype("<f4", copy=False).tobytes())
        sha.update(f"{self.rate} {self.start!r}".encode())
        return sha.hexdigest()


def read_audio(path: str | Path, rate: int = 16000, *, start: float = 0.0) -> Audio:
    """Read WAV, FLAC, MP3 or OGG (what libsndfile knows) as mono samples at `rate`.

    Channels are averaged. Another sampling rate is converted by soxr, quality HQ, in blocks: the file is
    never held at its own rate as a whole.

    Parameters
    ----------
    path : str or Path
        The sound file.
    rate : int, Hz
        Sampling rate wanted; speech models take 16000.
    start : float, seconds
        Time of the first sample on the clock of the stimulus.

    Returns
    -------
    Audio
        float32 samples, full scale is 1.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist, or is the pointer of git-annex or Git LFS to a file that was not fetched.
    ValueError
        If it is not audio, is cut short, or holds no, too few, silent or NaN samples.
    ImportError
        Without soundfile and soxr: ``pip install "voxridge[audio]"``.

    Warns
    -----
    StimulusWarning
        If the file has a lower sampling rate than asked for: the high frequencies that models expect are not
        in it.

    Examples
    --------
    >>> audio = read_audio("story.wav")                                              # doctest: +SKIP
    >>> audio.samples.dtype, audio.rate                                              # doctest: +SKIP
    (dtype('float32'), 16000)
    """
    soundfile, soxr = _packages()
    file = Path(path)
    check_fetched(file)
    if file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    try:
        with soundfile.SoundFile(file) as sound:
            _check_rates(file, sound.samplerate, rate)
            expected = -(-_promised_frames(sound) * rate // sound.samplerate)
            parts = list(_blocks(sound, soxr, rate, file))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{file}: cannot be read as audio (WAV, FLAC, MP3, OGG): {error}") from error
    samples = np.concatenate([np.zeros(0, np.float32), *parts])
    # A file that was cut off still promises its full length in its header.
    if len(samples) < expected - rate // 10:
        raise ValueError(
            f"{file}: the file promises {expected / rate:.2f} s, but only {len(samples) / rate:.2f} s could "
            "be read: it is cut short"
        )
    try:
        return Audio(samples, rate, start)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _packages() -> tuple[Any, Any]:
    try:
        return importlib.import_module("soundfile"), importlib.import_module("soxr")
    except ImportError as error:
        raise ImportError('reading audio needs soundfile and soxr: pip install "voxridge[audio]"') from error


def _check_rates(file: Path, there: int, wanted: int) -> None:
    if int(wanted) != wanted or wanted < 1:
        raise ValueError(f"rate={wanted}: a positive whole number of samples per second")
    if there < wanted:
        warnings.warn(
            f"{file}: recorded at {there} Hz and read at {wanted} Hz: nothing above {there // 2} Hz is in it",
            StimulusWarning,
            stacklevel=3,
        )


def _promised_frames(sound: Any) -> int:
    """Return the length in the header; of a WAV file that was cut, libsndfile reports what is left."""
    frames = int(sound.frames)
    stated = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if stated is None:
        return frames
    there, left = int(stated[1]), int(stated[2])
    # What was written to a pipe states no length, which is 0 or the largest number.
    return frames if there >= 2**31 - 1 or left < 1 else max(frames, frames * there // left)


def _blocks(sound: Any, soxr: Any, rate: int, file: Path) -> Iterator[Float32Array]:
    """Yield mono samples at `rate`, a block of the file at a time."""
    same = sound.samplerate == rate
    stream = None if same else soxr.ResampleStream(sound.samplerate, rate, 1, dtype="float32", quality="HQ")
    position = 0
    while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
        # The resampler would spread a NaN over its neighbours, and its place in the file would be lost.
        if not np.isfinite(block).all():
            first = position + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise ValueError(f"{file}: a sample is NaN or infinite, at {first / sound.samplerate:g} s")
        position += len(block)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        yield mono if stream is None else stream.resample_chunk(np.ascontiguousarray(mono))
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

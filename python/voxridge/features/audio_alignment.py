"""Do the words and the sound belong together? The lag between them, from loudness alone."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import correlate

from voxridge._warnings import StimulusWarning
from voxridge.features.audio import Audio
from voxridge.features.words import Words

FloatArray = npt.NDArray[np.float64]

STEP = 0.01
# Loudness is averaged over this much, and what lies further below the loudest moment counts as silence.
_SMOOTHING, _RANGE_DB = 0.05, 50.0
# Noise reaches 4 standard errors somewhere among many thousand lags.
_STANDARD_ERRORS = 4.5
_LEAST_PAUSES = 0.02


@dataclass(frozen=True)
class AudioLag:
    """How far words and sound are apart.

    Parameters
    ----------
    seconds : float
        What must be added to the times of the words to bring them onto the sound (``Words.shift``); a
        multiple of 0.01 s.
    correlation : float
        Between loudness and words at that lag.
    standard_error : float
        Of the correlation of two unrelated series that vary as slowly as these (Bartlett's formula).
    correlation_at_zero : float
        With the times as they are.
    """

    seconds: float
    correlation: float
    standard_error: float
    correlation_at_zero: float

    @property
    def is_found(self) -> bool:
        """Whether the correlation is 4.5 standard errors or more: chance does not reach that."""
        return self.correlation >= _STANDARD_ERRORS * self.standard_error

    @property
    def is_decidable(self) -> bool:
        """Whether the stretch is long enough for words and sound that do belong together to be found.

        Good recordings reach a correlation of 0.6 to 0.8.
        """
        return _STANDARD_ERRORS * self.standard_error < 0.7


def find_lag(words: Words, audio: Audio, max_lag: float = 5.0) -> AudioLag:
    """Find the lag between a transcript and a recording.

    Loudness (decibels in steps of 10 ms) is correlated with the words' own time course, 1 from the onset to
    the offset of each word and 0 in the pauses, over the whole audio, at every lag from ``-max_lag`` to
    ``max_lag`` in steps of 10 ms. Words outside the audio take part where a lag brings them into it, so that
    a segment can be found in the transcript of the whole story.

    Parameters
    ----------
    words : Words
        Transcript; pauses of a second or less suffice, but there must be some.
    audio : Audio
        Sound, with its start on the clock of the words.
    max_lag : float, seconds
        Largest lag looked at, either way.

    Returns
    -------
    AudioLag
        The lag of the highest correlation. Look at ``is_found`` before using it.

    Raises
    ------
    ValueError
        If `max_lag` is negative or not finite, or the words leave no pauses to go by: less than 2 % of the
        time.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> onset = np.cumsum(rng.uniform(0.3, 1.2, 60))
    >>> words = Words(["a"] * 60, onset, onset + 0.25)
    >>> clock = np.arange(0, 40, 1 / 16000)
    >>> spoken = ((clock[:, None] >= onset) & (clock[:, None] < onset + 0.25)).any(axis=1)
    >>> audio = Audio(spoken * rng.normal(size=len(clock)), 16000, start=-1.5)
    >>> lag = find_lag(words, audio)
    >>> lag.seconds, lag.is_found
    (-1.5, True)
    """
    if not (math.isfinite(max_lag) and max_lag >= 0):
        raise ValueError(f"max_lag={max_lag}: a number of seconds, at least 0")
    loudness = _loudness(audio)
    reach = round(max_lag / STEP)
    steps = np.arange(-reach, len(loudness) + reach, dtype=np.float64)
    times: FloatArray = audio.start + STEP * (steps + 0.5)
    spoken = _occupancy(words, times)
    if not _LEAST_PAUSES < spoken.mean() < 1 - _LEAST_PAUSES:
        what = "no pauses between the words" if spoken.mean() > 0.5 else "hardly any words there"
        raise ValueError(
            f"{what} from {times[0]:.2f} to {times[-1]:.2f} s ({spoken.mean():.1%} of the time is spoken): "
            "nothing to compare the sound with"
        )
    found = _correlations(loudness, spoken)
    best = int(np.argmax(found))
    # Entry 0 holds the words at their latest: they were read max_lag before the audio.
    return AudioLag(
        seconds=round((reach - best) * STEP, 2),
        correlation=float(found[best]),
        standard_error=_standard_error(loudness, spoken[best : best + len(loudness)]),
        correlation_at_zero=float(found[reach]),
    )


def check_audio(
    words: Words, audio: Audio, *, tolerance: float = 0.2, max_lag: float = 5.0, name: str = "the audio"
) -> AudioLag | None:
    """Raise ValueError if the words do not lie in the audio, are shifted, or are those of another recording.

    Parameters
    ----------
    words : Words
        Transcript of this audio.
    audio : Audio
        Sound, with its start on the clock of the words.
    tolerance : float, seconds
        Lag that is let pass; also how far a word may reach beyond the audio.
    max_lag : float, seconds
        See :func:`find_lag`.
    name : str
        What the audio is called in messages.

    Returns
    -------
    AudioLag or None
        None if the words leave no pauses, so that nothing could be measured.

    Raises
    ------
    ValueError
        If a word lies outside the audio (the message names the first), the lag is above `tolerance`, or
        words and sound are not correlated at any lag.

    Warns
    -----
    StimulusWarning
        If the words leave no pauses, or the audio is too short to tell.

    Examples
    --------
    >>> check_audio(read_words("story.TextGrid"), read_audio("story.wav"))           # doctest: +SKIP
    """
    words.check_within(audio.start - tolerance, audio.stop + tolerance, what=name)
    try:
        lag = find_lag(words, audio, max_lag)
    except ValueError as error:
        warnings.warn(f"{name} was not checked against the words: {error}", StimulusWarning, stacklevel=2)
        return None
    if not lag.is_decidable:
        warnings.warn(
            f"{name} is too short to tell whether the words are its own ({audio.duration:.1f} s)",
            StimulusWarning,
            stacklevel=2,
        )
        return lag
    if not lag.is_found:
        raise ValueError(
            f"{name} and the words do not belong together: their correlation is {lag.correlation:.2f} at "
            f"best (within {max_lag:g} s either way), which unrelated speech reaches too; needed is "
            f"{_STANDARD_ERRORS * lag.standard_error:.2f}. Is it the text of another recording, or is the "
            "start further off?"
        )
    if abs(lag.seconds) > tolerance:
        raise ValueError(
            f"the words lie {abs(lag.seconds):.2f} s {'before' if lag.seconds > 0 else 'after'} the sound of "
            f"{name} (correlation {lag.correlation:.2f}, {lag.correlation_at_zero:.2f} as they are): use "
            f"words.shift({lag.seconds:.2f}) or audio.shift({-lag.seconds:.2f})"
        )
    return lag


def _loudness(audio: Audio) -> FloatArray:
    """Decibels in every step of 10 ms, smoothed, cut off below."""
    edges = np.rint(np.arange(int(audio.duration / STEP) + 1) * STEP * audio.rate).astype(np.int64)
    power = np.add.reduceat(np.square(audio.samples, dtype=np.float64), edges[:-1]) / np.diff(edges).mean()
    width = round(_SMOOTHING / STEP)
    smooth = np.convolve(power, np.ones(width) / width, mode="same")
    decibels = 10 * np.log10(np.maximum(smooth, smooth.max() * 10 ** (-_RANGE_DB / 10)))
    return np.asarray(decibels, dtype=np.float64)


def _occupancy(words: Words, times: FloatArray) -> FloatArray:
    """1 where a word is spoken, 0 elsewhere."""
    ends = np.maximum.accumulate(words.offset)
    index = np.searchsorted(words.onset, times, side="right") - 1
    spoken: FloatArray = ((index >= 0) & (times < ends[np.maximum(index, 0)])).astype(np.float64)
    return spoken


def _correlations(x: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's r of x with every stretch of y of its length; 0 where the stretch is constant."""
    n = len(x)
    centred = x - x.mean()
    products = correlate(y, centred, mode="valid", method="fft")
    running = np.concatenate([[0.0], np.cumsum(y)])
    # y holds zeros and ones, which are their own squares.
    mean = (running[n:] - running[:-n]) / n
    scale = np.sqrt(n * mean * (1 - mean)) * np.linalg.norm(centred)
    found: FloatArray = np.where(scale > 1e-9 * n, products / np.maximum(scale, 1e-300), 0.0)
    return found


def _standard_error(x: FloatArray, y: FloatArray) -> float:
    """Bartlett's: sqrt(sum over k of r_xx(k) r_yy(k) / n), for two unrelated series."""
    product = _autocorrelation(x) * _autocorrelation(y)
    return float(np.sqrt(max(product[0] + 2 * product[1:].sum(), product[0]) / len(x)))


def _autocorrelation(x: FloatArray) -> FloatArray:
    centred = x - x.mean()
    full = correlate(centred, centred, mode="full", method="fft")[len(x) - 1 :]
    return np.asarray(full / max(full[0], 1e-300), dtype=np.float64)

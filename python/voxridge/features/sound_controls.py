"""What the sound alone explains: envelope and mel spectrum, beside the features of an audio model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxridge.features.audio import Audio

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Power below this counts as silence: full scale is 1, so this is -100 dB.
FLOOR = 1e-10
_FRAME, _HOP = 0.025, 0.01


def sound_envelope(audio: Audio, times: npt.ArrayLike, *, window: float = 0.1) -> Float32Array:
    """Return the broadband amplitude: the root mean square of the sound just before each time.

    ``sqrt(mean(x[t - window .. t] ** 2))``: causal, no sample after `t` enters. At the start of the audio the
    window is shorter.

    Parameters
    ----------
    audio : Audio
        The sound.
    times : (n_times,) float, seconds
        On the clock of the stimulus, in any order, after the start of the audio and not after its end.
    window : float, seconds
        Length of the average; for one row every 0.1 s, 0.1 s uses every sample once.

    Returns
    -------
    (n_times, 1) float32
        In units of full scale.

    Raises
    ------
    ValueError
        If a time lies outside the audio, or `window` is below one sample.

    Examples
    --------
    >>> loud = Audio(np.r_[np.zeros(8000), np.ones(8000)], 16000)
    >>> sound_envelope(loud, [0.5, 0.55, 1.0]).ravel().round(3)
    array([0.   , 0.707, 1.   ], dtype=float32)
    """
    first, stop = _spans(audio, times, window)
    power = np.square(audio.samples, dtype=np.float64)[:, None]
    return np.sqrt(_means(power, first, stop)).astype(np.float32)


def mel_spectrum(
    audio: Audio, times: npt.ArrayLike, *, n_mels: int = 40, window: float = 0.1
) -> Float32Array:
    """Return the log mel spectrum of the sound just before each time.

    Power spectra of Hann windows of 25 ms, one every 10 ms counted from the start of the audio, are summed by
    triangular filters (Slaney's mel scale, each of unit area), averaged over the frames that lie wholly in
    ``(t - window, t]``, and returned as ``log10(max(power, 1e-10))``. Causal: no sample after `t` enters. A
    time with no whole frame before it, in the first 25 ms, counts as silent.

    Parameters
    ----------
    audio : Audio
        The sound.
    times : (n_times,) float, seconds
        On the clock of the stimulus, in any order, after the start of the audio and not after its end.
    n_mels : int
        Number of filters, from 0 Hz to half of the sampling rate (at most 8000 Hz).
    window : float, seconds
        Length of the average, at least 25 ms.

    Returns
    -------
    (n_times, n_mels) float32

    Raises
    ------
    ValueError
        If a time lies outside the audio, `window` is shorter than a frame, or `n_mels` is so large that a
        filter holds no frequency.

    Examples
    --------
    >>> tone = Audio(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000), 16000)
    >>> found = mel_spectrum(tone, [0.5, 1.0])
    >>> found.shape, int(found[1].argmax())
    ((2, 40), 13)
    """
    size, hop = round(_FRAME * audio.rate), round(_HOP * audio.rate)
    if window < _FRAME:
        raise ValueError(f"window={window:g}: shorter than one frame of {_FRAME:g} s")
    filters = mel_filters(n_mels, size, audio.rate)
    first, stop = _spans(audio, times, window)
    # Frame i holds the samples i * hop to i * hop + size.
    begin = -(-first // hop)
    end = np.maximum((stop - size) // hop + 1, begin)
    mean = _means(_mel_power(audio, filters, size, hop), begin, end)
    return np.log10(np.maximum(mean, FLOOR)).astype(np.float32)


def sound_controls(
    audio: Audio, times: npt.ArrayLike, *, n_mels: int = 40, window: float = 0.1
) -> dict[str, Float32Array]:
    """Return the controls of an audio model: ``"envelope"`` and ``"mel-spectrum"``.

    Parameters
    ----------
    audio : Audio
        The sound.
    times : (n_times,) float, seconds
        On the clock of the stimulus: the times of the rows of the model's features.
    n_mels : int
        Number of mel filters.
    window : float, seconds
        See :func:`sound_envelope` and :func:`mel_spectrum`.

    Returns
    -------
    dict of str to (n_times, width) float32

    Raises
    ------
    ValueError
        As the two functions.

    Examples
    --------
    >>> found = sound_controls(Audio(np.ones(16000), 16000), [0.5, 1.0])
    >>> {name: values.shape for name, values in found.items()}
    {'envelope': (2, 1), 'mel-spectrum': (2, 40)}
    """
    return {
        "envelope": sound_envelope(audio, times, window=window),
        "mel-spectrum": mel_spectrum(audio, times, n_mels=n_mels, window=window),
    }


def mel_filters(n_mels: int, size: int, rate: int) -> FloatArray:
    """Return triangular filters of unit area, evenly spaced on Slaney's mel scale: (n_mels, size // 2 + 1).

    The scale is linear up to 1000 Hz (15 mel) and logarithmic above: 27 mel for a factor of 6.4.

    Parameters
    ----------
    n_mels : int >= 1
        Number of filters.
    size : int
        Samples of a frame.
    rate : int, Hz
        Samples per second.

    Raises
    ------
    ValueError
        If a filter is narrower than the frequencies are apart.
    """
    if n_mels < 1:
        raise ValueError(f"n_mels={n_mels}: at least 1")
    top = min(8000.0, rate / 2)
    edges = _from_mel(np.linspace(0.0, _to_mel(top), n_mels + 2))
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    filters: FloatArray = np.maximum(0.0, np.minimum(rising, falling)) * 2 / (high - low)
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        raise ValueError(
            f"n_mels={n_mels}: filter {empty[0]} holds no frequency (they are {rate / size:g} Hz apart): use "
            "fewer"
        )
    return filters


def _to_mel(hertz: float) -> float:
    return float(hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4))


def _from_mel(mel: FloatArray) -> FloatArray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _mel_power(audio: Audio, filters: FloatArray, size: int, hop: int, block: int = 4096) -> FloatArray:
    """Power in each filter of every whole frame, some frames at a time."""
    count = max(0, (len(audio.samples) - size) // hop + 1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    found = np.empty((count, len(filters)))
    frames = np.lib.stride_tricks.sliding_window_view(audio.samples, size)[::hop] if count else None
    for start in range(0, count, block):
        assert frames is not None
        spectrum = np.fft.rfft(frames[start : start + block] * hann, axis=1)
        found[start : start + block] = (spectrum.real**2 + spectrum.imag**2) @ filters.T
    return found


def _means(rows: FloatArray, first: IntArray, stop: IntArray) -> FloatArray:
    """Mean of ``rows[first:stop]`` for each pair, zero where that is empty.

    Each is summed by itself: differences of one running sum would carry the rounding of the loud parts of a
    long story into its silent ones.
    """
    padded = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
    sums = np.add.reduceat(padded, np.stack([first, stop], axis=1).ravel(), axis=0)[::2]
    count = (stop - first)[:, None]
    found: FloatArray = np.where(count > 0, sums / np.maximum(count, 1), 0.0)
    return found


def _spans(audio: Audio, times: npt.ArrayLike, window: float) -> tuple[IntArray, IntArray]:
    """Return first sample and the one after the last of the windows that end at `times`."""
    at = np.asarray(times, dtype=np.float64)
    if at.ndim != 1:
        raise ValueError(f"times has shape {at.shape}: give (n_times,)")
    if not window * audio.rate >= 1:
        raise ValueError(f"window={window:g} s: below one sample at {audio.rate} Hz")
    if not np.isfinite(at).all():
        raise ValueError("times holds NaN or infinity")
    stop = np.rint((at - audio.start) * audio.rate).astype(np.int64)
    outside = (stop < 1) | (stop > len(audio.samples))
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} of {len(at)} times lie outside the audio ({audio.start:g} to "
            f"{audio.stop:g} s), the first at {at[outside][0]:g} s"
        )
    return np.maximum(stop - round(window * audio.rate), 0), stop

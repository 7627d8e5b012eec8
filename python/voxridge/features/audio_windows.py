"""Sliding windows over sound that see the past only: whole numbers of samples, no drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge.features.audio import MIN_SAMPLES

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AudioWindows:
    """Windows over the samples of one run.

    Parameters
    ----------
    start, stop : (n_windows,) int64
        First sample of each window and the one after its last.
    rate : int, Hz
        Samples per second.
    """

    start: IntArray
    stop: IntArray
    rate: int

    def __len__(self) -> int:
        return len(self.stop)

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """(n_windows,) float64, seconds from the first sample: the end of each window."""
        return self.stop / self.rate


def audio_windows(
    n_samples: int,
    rate: int = 16000,
    *,
    context: float = 16.0,
    chunk: float = 0.1,
    stride: float | None = None,
    min_samples: int = MIN_SAMPLES,
) -> AudioWindows:
    """Return the windows of Antonello, Vaidya & Huth (2023): 16.1 s long, one every 0.1 s.

    Window k = 1, 2, ... ends at the sample nearest to ``k * stride * rate`` and starts ``context + chunk``
    seconds before that, but not before the audio: the first windows are shorter. What is left behind the last
    whole stride has no window. All in exact arithmetic: 0.1 s means one tenth, not the nearest float.

    Parameters
    ----------
    n_samples : int
        Length of the audio.
    rate : int, Hz
        Samples per second.
    context, chunk : float, seconds
        The window is as long as both together.
    stride : float, seconds
        From one window to the next; None: `chunk`, so that every sample is the newest of one window.
    min_samples : int
        Shorter windows are left out: models need 400 samples for one output frame.

    Returns
    -------
    AudioWindows

    Raises
    ------
    ValueError
        If a length is negative or not finite, the stride is below one sample, or no window fits.

    Examples
    --------
    >>> windows = audio_windows(16000 * 20)
    >>> len(windows), windows.times[:2].tolist(), windows.start[159:163].tolist()
    (200, [0.1, 0.2], [0, 0, 1600, 3200])
    """
    step = _exact(chunk if stride is None else stride, "stride") * rate
    length = (_exact(context, "context") + _exact(chunk, "chunk")) * rate
    if step < 1:
        raise ValueError(f"stride={stride if stride is not None else chunk}: below one sample at {rate} Hz")
    size = math.floor(length + Fraction(1, 2))
    count = math.floor((n_samples + Fraction(1, 2)) / step)
    ends = [math.floor(k * step + Fraction(1, 2)) for k in range(1, count + 1)]
    stop = np.array([end for end in ends if end <= n_samples], dtype=np.int64)
    start = np.maximum(stop - size, 0)
    long_enough = stop - start >= min_samples
    if not long_enough.any():
        raise ValueError(
            f"no window of at least {min_samples} samples fits: n_samples={n_samples} at {rate} Hz, "
            f"context={context:g}, chunk={chunk:g} s"
        )
    return AudioWindows(start[long_enough], stop[long_enough], rate)


def _exact(seconds: float, name: str) -> Fraction:
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name}={seconds}: a number of seconds, at least 0")
    # The shortest decimal that means this float: 0.1 becomes 1/10.
    return Fraction(repr(float(seconds)))


def last_frame(
    n_samples: int,
    kernels: Sequence[int],
    strides: Sequence[int],
    paddings: Sequence[int] | None = None,
    total: int | None = None,
) -> int:
    """Return the index of the last output frame of a stack of convolutions that is touched by real input.

    Output j of one layer sees its inputs ``j * stride - padding`` to ``j * stride - padding + kernel - 1``,
    so the last one that sees input i is ``(i + padding) // stride``, or the last that exists if that is
    earlier.

    Parameters
    ----------
    n_samples : int >= 1
        Length of the real input.
    kernels, strides, paddings : sequences of int
        Of each layer; no paddings: 0.
    total : int
        Length of the whole input, with what was appended to it; None: `n_samples`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the input is too short for one output frame, or `total` is below `n_samples`.

    Examples
    --------
    >>> last_frame(257600, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))      # HuBERT, 16.1 s
    803
    """
    length = n_samples if total is None else total
    if not 1 <= n_samples <= length:
        raise ValueError(f"n_samples={n_samples} of total={length}: at least 1 and at most the total")
    index = n_samples - 1
    pads = (0,) * len(kernels) if paddings is None else paddings
    for kernel, stride, padding in zip(kernels, strides, pads, strict=True):
        length = (length + 2 * padding - kernel) // stride + 1
        if length < 1:
            raise ValueError(f"{n_samples} samples are too short for one output frame of this model")
        index = min((index + padding) // stride, length - 1)
    return index


def shortest_input(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many samples one output frame of a stack of convolutions without padding sees.

    Parameters
    ----------
    kernels, strides : sequences of int
        Of each layer.

    Returns
    -------
    int

    Examples
    --------
    >>> shortest_input((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    400
    """
    size = 1
    for kernel, stride in reversed(list(zip(kernels, strides, strict=True))):
        size = (size - 1) * stride + kernel
    return size


def mel_frames(n_samples: int, hop: int) -> int:
    """Return how many mel frames start inside `n_samples`, as a feature extractor's mask counts them."""
    return -(-n_samples // hop)


def conv_stack(modules: Sequence[Any]) -> tuple[list[int], list[int], list[int]]:
    """Return kernels, strides and paddings of one-dimensional convolutions of torch.

    Parameters
    ----------
    modules : sequence of torch.nn.Conv1d

    Returns
    -------
    tuple of three lists of int
    """
    return (
        [int(module.kernel_size[0]) for module in modules],
        [int(module.stride[0]) for module in modules],
        [int(module.padding[0]) for module in modules],
    )

"""Activations of an audio model for all runs of an experiment, taken up again where they stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from voxridge.features.audio import Audio, read_audio
from voxridge.features.audio_model import AudioModel
from voxridge.features.audio_windows import AudioWindows, audio_windows
from voxridge.features.extract_controls import extract_sound_controls
from voxridge.features.word_features import Layers, resolve_layers
from voxridge.streams.run_writer import RowBlock, write_runs
from voxridge.streams.store_base import layer_name
from voxridge.streams.stores import FeatureStore

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


def extract_audio_features(
    model: AudioModel,
    stimuli: Mapping[str, str | Path | Audio],
    path: str | Path,
    *,
    layers: Layers = "all",
    context: float = 16.0,
    chunk: float = 0.1,
    stride: float | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    batch: int | None = None,
    controls: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Read every run with an audio model and write its activations to a feature store.

    One row every `stride` seconds: the last frame of the window of ``context + chunk`` seconds that ends
    there, so that no sound after its time enters a row (Antonello, Vaidya & Huth 2023,
    doi:10.48550/arXiv.2305.11863). Called again with the same arguments after an interruption at any moment,
    it goes on where it was, and the file then holds exactly what an uninterrupted call would have written.

    Whisper encodes 30 s for every window: about 3 windows a second for the tiny and 1 for the base encoder on
    one core, so a story of 20 minutes (12,000 windows) takes one or three hours there. Blocks above the
    highest layer are not computed.

    Parameters
    ----------
    model : AudioModel
    stimuli : mapping of run name to path or Audio
        Sound files (`read_audio`; the clock starts with the file), or `Audio` with a start of its own. Files
        are read when their turn comes, one at a time.
    path : str or Path
        The HDF5 file, or a folder that gets one file per run. Layers are called ``layer-00``, ``layer-01``,
        ...; times are the ends of the windows, seconds on the clock of the stimulus.
    layers : "all" or sequence of int
        Negative numbers count from the last.
    context, chunk, stride : float, seconds
        See `audio_windows`; `stride` None: `chunk`.
    dtype : "float16" or "float32"
        What is written. float16 ends at 65504; larger activations raise.
    batch : int, optional
        Windows in one pass; None: ``model.windows_per_pass``. Decides memory, and the numbers by rounding
        only.
    controls : bool
        Write envelope and mel spectrum at the same times beside the features (`extract_sound_controls`,
        `voxridge.streams.SoundStore`).
    overwrite : bool
        Replace what is there.
    progress : bool
        Show windows done and time left on standard error.

    Returns
    -------
    FeatureStore
        With all runs; its ``provenance`` holds model, window, layers, dtype, batch, the digest of every
        stimulus and the versions of the packages.

    Raises
    ------
    ValueError
        If the file was made with other settings, another model or other stimuli (the message lists all
        differences), no run is given, a window is longer than the model takes, a sound is too short or at
        another rate than the model's, or activations exceed the range of `dtype`.
    FileNotFoundError
        If a sound file is not there, or only the pointer of git-annex or Git LFS.
    MemoryError
        If memory ends half-way; what was finished is kept.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> model = AudioModel.load("openai/whisper-tiny")                                # doctest: +SKIP
    >>> store = extract_audio_features(model, {"story": "story.wav"}, "whisper.h5")   # doctest: +SKIP
    >>> store.source("layer-04").shape                                                # doctest: +SKIP
    (9000, 384)
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype={dtype!r} is unknown: use 'float16' or 'float32'")
    size = model.windows_per_pass if batch is None else batch
    if size < 1:
        raise ValueError(f"batch={batch}: at least 1 window in one pass")
    if not stimuli:
        raise ValueError("stimuli holds no run: give {run name: sound file or Audio}")
    settings = {"context": context, "chunk": chunk, "stride": chunk if stride is None else stride}
    chosen = resolve_layers(model, layers)  # type: ignore[arg-type]
    _check_length(model, context + chunk)
    # Every sound is read before the first is computed: a bad one must not be found after a day.
    digests = {run: _windowed(run, sound, model, settings)[0].digest() for run, sound in stimuli.items()}

    def feature_reader(run: str) -> Callable[[], AudioReader]:
        return lambda: AudioReader(
            model, *_windowed(run, stimuli[run], model, settings), chosen, np.dtype(dtype), size
        )

    common = {"window": settings, "times": "end of each window, seconds", "stimulus_sha256": digests}
    store = write_runs(
        path,
        {run: feature_reader(run) for run in stimuli},
        {**_provenance(model, chosen, dtype, size), **common},
        overwrite=overwrite,
        progress=progress,
        unit="window",
        label=model.name,
    )
    if controls:
        extract_sound_controls(stimuli, path, stride=settings["stride"], overwrite=overwrite)
    return store


@dataclass(frozen=True)
class AudioReader:
    """One run of an audio model, computed window by window (`voxridge.streams.run_writer.RunReader`).

    The windows that share a pass depend on the run alone, so that it can be taken up at any row.

    Parameters
    ----------
    model : AudioModel
    audio : Audio
    windows : AudioWindows
    layers : list of int
    dtype : numpy dtype
        Of the rows.
    batch : int
        Windows in one pass.
    """

    model: AudioModel
    audio: Audio
    windows: AudioWindows
    layers: list[int]
    dtype: np.dtype[Any]
    batch: int

    words = None

    @property
    def n_rows(self) -> int:
        """Number of windows."""
        return len(self.windows)

    @property
    def widths(self) -> dict[str, int]:
        """Layer name to width."""
        return {layer_name(layer): self.model.widths[layer] for layer in self.layers}

    @property
    def times(self) -> FloatArray:
        """End of each window, seconds on the clock of the stimulus."""
        return self.audio.start + self.windows.times

    def blocks(self, first_row: int = 0, before: Mapping[str, Array] | None = None) -> Iterator[RowBlock]:
        """Yield one block for each pass, from `first_row` on; `before` is not needed.

        Raises
        ------
        ValueError
            If an activation is beyond the range of the dtype.
        MemoryError
            If memory ends.
        """
        for begin in range(first_row - first_row % self.batch, self.n_rows, self.batch):
            end = min(begin + self.batch, self.n_rows)
            found = self._read(begin, end)
            start = max(begin, first_row)
            layers = {
                layer_name(layer): self._cast(np.stack([row[layer] for row in found[start - begin :]]), layer)
                for layer in self.layers
            }
            yield RowBlock(start, end, layers)

    def _read(self, begin: int, end: int) -> list[dict[int, npt.NDArray[np.float32]]]:
        import torch

        spans = zip(self.windows.start[begin:end], self.windows.stop[begin:end], strict=True)
        sounds = [self.audio.samples[first:stop] for first, stop in spans]
        try:
            return self.model.read(sounds, self.layers)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise MemoryError(
                f"out of memory with {end - begin} windows in one pass of {self.model.name}: give a smaller "
                "batch (with overwrite=True: it changes the rounding), or the model dtype='bfloat16' "
                f"({error})"
            ) from error

    def _cast(self, states: npt.NDArray[np.float32], layer: int) -> Array:
        largest = np.abs(states).max()
        if largest > np.finfo(self.dtype).max:
            raise ValueError(
                f"layer {layer} of {self.model.name} reaches {largest:g}, beyond {self.dtype} (65504): use "
                "dtype='float32'"
            )
        return states.astype(self.dtype)


def _windowed(
    run: str, sound: str | Path | Audio, model: AudioModel, settings: Mapping[str, float]
) -> tuple[Audio, AudioWindows]:
    """Return the sound of a run and its windows."""
    try:
        audio = sound if isinstance(sound, Audio) else read_audio(sound, model.sampling_rate)
        if audio.rate != model.sampling_rate:
            raise ValueError(
                f"the audio has {audio.rate} Hz, but the model takes {model.sampling_rate}: use "
                f"read_audio(path, {model.sampling_rate})"
            )
        return audio, audio_windows(len(audio.samples), audio.rate, min_samples=model.min_samples, **settings)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"run {run!r}: {error}") from error


def _check_length(model: AudioModel, seconds: float) -> None:
    if not math.isfinite(seconds):
        raise ValueError(f"context + chunk is {seconds:g} s: give a finite number of seconds")
    samples = round(seconds * model.sampling_rate)
    if model.max_samples is not None and samples > model.max_samples:
        raise ValueError(
            f"context + chunk is {seconds:g} s, but {model.name} takes at most "
            f"{model.max_samples / model.sampling_rate:g} s"
        )


def _provenance(model: AudioModel, layers: list[int], dtype: str, batch: int) -> dict[str, Any]:
    return {
        "kind": "audio model activations",
        "model": model.provenance(),
        "frame": "the last output frame that the window touches",
        "layers": layers,
        "layer_note": "0 is the input of the transformer, k the output of block k; the last is what the "
        "library returns as last hidden state (Whisper and large models: after the final layer norm)",
        "dtype": dtype,
        "batch": batch,
    }

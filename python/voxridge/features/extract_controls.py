"""Controls of every run, in the file of a model's activations: what any claim about the model must beat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge.features.audio import Audio, read_audio
from voxridge.features.audio_windows import audio_windows
from voxridge.features.sound_controls import sound_controls
from voxridge.features.static_embeddings import StaticEmbeddings
from voxridge.features.word_controls import word_controls
from voxridge.features.words import Words
from voxridge.streams.folder_store import means_folder
from voxridge.streams.run_writer import RowBlock, write_runs
from voxridge.streams.stores import ControlStore, FeatureStore, SoundStore

Array = npt.NDArray[Any]


def extract_word_controls(
    stimuli: Mapping[str, Words],
    path: str | Path,
    *,
    phones: Mapping[str, Words] | None = None,
    glove: StaticEmbeddings | None = None,
    language: str = "en",
    seed: int = 0,
    random_dim: int = 300,
    overwrite: bool = False,
) -> ControlStore:
    """Write the controls of every word of every run beside the activations of a model.

    Word rate, length, log frequency, position, surprisal, phones, static embeddings, random vectors and
    random embeddings: `voxridge.features.word_controls`. The surprisal is that of the model, where the store
    at `path` holds it.

    Parameters
    ----------
    stimuli : mapping of run name to Words
    path : str or Path
        A store of features (file or folder), or one that is to be made; the controls go to its group
        ``controls``.
    phones : mapping of run name to Words, optional
        Of every run, from `voxridge.features.read_phones`.
    glove : StaticEmbeddings, optional
    language, seed, random_dim
        See `voxridge.features.word_controls`.
    overwrite : bool
        Replace controls that are there.

    Returns
    -------
    ControlStore

    Raises
    ------
    ValueError
        If no run is given, `phones` lacks a run, the controls there were made in another way, or as in
        `word_controls`.
    ImportError
        If the package wordfreq is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> stimuli = {"story-1": read_words("story-1.TextGrid")}                         # doctest: +SKIP
    >>> extract_word_controls(stimuli, "activations.h5").layers                      # doctest: +SKIP
    ['log-frequency', 'position', 'random-embeddings', 'random-vectors', 'word-length', 'word-rate']
    """
    if phones is not None and (lacking := [run for run in stimuli if run not in phones]):
        raise ValueError(f"phones has no entry for {len(lacking)} runs, the first of them {lacking[0]!r}")
    bits = _surprisal(path, stimuli)

    def reader(run: str) -> Callable[[], ArrayReader]:
        def make() -> ArrayReader:
            found = word_controls(
                stimuli[run],
                surprisal=bits.get(run),
                language=language,
                seed=seed,
                random_dim=random_dim,
                glove=glove,
                phones=None if phones is None else phones[run],
            )
            return ArrayReader(found, stimuli[run].midpoint, stimuli[run].text)

        return make

    provenance = {
        "kind": "word controls",
        "language": language,
        "seed": seed,
        "random_dim": random_dim,
        "surprisal": bool(bits),
        "phones": phones is not None,
        "static_embeddings": None if glove is None else glove.provenance(),
        "times": "middle of each word, seconds",
        "stimulus_sha256": {
            run: _digest(words, bits.get(run), None if phones is None else phones[run])
            for run, words in stimuli.items()
        },
    }
    store = write_runs(
        path,
        {run: reader(run) for run in stimuli},
        provenance,
        kind=ControlStore,
        overwrite=overwrite,
        progress=False,
    )
    assert isinstance(store, ControlStore)
    return store


def extract_sound_controls(
    stimuli: Mapping[str, str | Path | Audio],
    path: str | Path,
    *,
    stride: float = 0.1,
    overwrite: bool = False,
) -> SoundStore:
    """Write envelope and mel spectrum of every run's sound beside the activations of a model.

    One row every `stride` seconds, each of the sound in front of it: `voxridge.features.sound_controls`.

    Parameters
    ----------
    stimuli : mapping of run name to path or Audio
        Files are read at 16 kHz, when their turn comes; their clock starts with the file.
    path : str or Path
        A store of features (file or folder), or one that is to be made; the controls go to its group
        ``sound``.
    stride : float, seconds
    overwrite : bool
        Replace sound controls that are there.

    Returns
    -------
    SoundStore

    Raises
    ------
    ValueError
        If no run is given, a sound is shorter than `stride`, or the controls there were made in another way.
    FileNotFoundError
        If a sound file is not there, or only the pointer of git-annex or Git LFS.
    ImportError
        If soundfile or soxr is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> extract_sound_controls({"story-1": "story-1.wav"}, "activations.h5").layers  # doctest: +SKIP
    ['envelope', 'mel-spectrum']
    """

    def load(run: str) -> Audio:
        sound = stimuli[run]
        return sound if isinstance(sound, Audio) else read_audio(sound)

    def reader(run: str) -> Callable[[], ArrayReader]:
        def make() -> ArrayReader:
            audio = load(run)
            windows = audio_windows(len(audio.samples), audio.rate, context=0.0, chunk=stride, min_samples=1)
            times = audio.start + windows.times
            return ArrayReader(dict(sound_controls(audio, times)), times)

        return make

    provenance = {
        "kind": "sound controls",
        "stride": stride,
        "times": "end of what each row was computed from, seconds",
        "stimulus_sha256": {run: load(run).digest() for run in stimuli},
    }
    readers = {run: reader(run) for run in stimuli}
    store = write_runs(path, readers, provenance, kind=SoundStore, overwrite=overwrite, progress=False)
    assert isinstance(store, SoundStore)
    return store


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """A run whose rows are in memory already, for `voxridge.streams.write_runs`.

    Attributes
    ----------
    layers : dict of str to (n_rows, width) array
        All of one type.
    times : (n_rows,) float64, seconds
    words : tuple of n_rows str, or None
    """

    layers: dict[str, npt.NDArray[Any]]
    times: npt.NDArray[np.float64]
    words: tuple[str, ...] | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the run."""
        return len(self.times)

    @property
    def widths(self) -> dict[str, int]:
        """Columns of every layer."""
        return {name: values.shape[1] for name, values in self.layers.items()}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of all layers."""
        return next(iter(self.layers.values())).dtype

    def blocks(self, first_row: int, before: Mapping[str, Array] | None) -> Iterator[RowBlock]:
        """Yield all rows at once."""
        if first_row < self.n_rows:
            rows = {name: values[first_row:] for name, values in self.layers.items()}
            yield RowBlock(first_row, self.n_rows, rows)


def _surprisal(path: str | Path, stimuli: Mapping[str, Words]) -> dict[str, Array]:
    """Bits of every word of the runs that the store of features has; {} unless it has them for all runs.

    Nor has it any for a run in which no word had something before it.
    """
    if not Path(path).exists() or (means_folder(path) and not any(Path(path).glob("*.h5"))):
        return {}
    store = FeatureStore.open(path)
    there = [run for run in stimuli if run in store.runs]
    columns = {run: store.surprisal(run) for run in there}
    found = {run: bits for run, bits in columns.items() if bits is not None and not np.isnan(bits).all()}
    return found if len(found) == len(stimuli) else {}


def _digest(words: Words, bits: Array | None, phones: Words | None) -> str:
    parts = [words.digest().encode()]
    if bits is not None:
        parts.append(bits.astype("<f8").tobytes())
    if phones is not None:
        parts.append(phones.digest().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()

"""From a study's files to arrays at the TRs: word rate, layers, responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.features import (
    Alignment,
    AudioModel,
    StaticEmbeddings,
    Words,
    extract_audio_features,
    extract_features,
    extract_sound_controls,
    extract_word_controls,
    parse_context,
    word_rate,
)
from voxridge.features.models import is_audio_model, load_language_model
from voxridge.study.config import AlignmentConfig, ControlsConfig, ModelConfig, StudyConfig
from voxridge.study.provenance import array_digest
from voxridge.study.recordings import Recording, read_recording, was_recorded
from voxridge.study.rois import read_rois

if TYPE_CHECKING:
    from voxridge.features import LanguageModel
    from voxridge.responses import Geometry
    from voxridge.streams import FeatureStore, RunSource

Array = NDArray[Any]


@dataclass(frozen=True)
class Stimulus:
    """One run: its words, the middle of each response row on the same clock in seconds, and what a model may
    read in place of the words: sound, running text."""

    name: str
    words: Words
    times: NDArray[np.float64]
    audio: Path | None = None
    text: str | None = None

    def rate(self, tr: float) -> Array:
        """Words that start in each TR, (n_rows, 1) float32; words outside the scan are left out."""
        return word_rate(self.words, self.times, tr, outside="keep").astype(np.float32)


def load_model(config: ModelConfig) -> LanguageModel | AudioModel:
    """Load the model of a study."""
    options: dict[str, Any] = {
        "revision": config.revision,
        "device": config.device,
        "dtype": config.arithmetic,
        "untrained": config.untrained,
        "seed": config.seed,
    }
    if is_audio_model(config.name, revision=config.revision, gguf_file=config.gguf_file):
        return AudioModel.load(config.name, **options)
    options["quantization"] = "8bit" if config.eight_bit else None
    return load_language_model(config.name, gguf_file=config.gguf_file, **options)


def extract_study(
    model: LanguageModel | AudioModel,
    stimuli: Sequence[Stimulus],
    path: Path,
    config: ModelConfig,
    controls: ControlsConfig = ControlsConfig(),  # noqa: B008 (frozen: the shared default cannot change)
    *,
    progress: bool = True,
) -> FeatureStore:
    """Activations of every row of every run and the controls beside them, in ``path`` (resumes where it
    stopped)."""
    layers: Any = "all" if config.layers == "all" else list(config.layers)
    common: dict[str, Any] = {"layers": layers, "dtype": config.dtype, "progress": progress}
    sounds = {stimulus.name: stimulus.audio for stimulus in stimuli if stimulus.audio is not None}
    words = {stimulus.name: stimulus.words for stimulus in stimuli}
    if isinstance(model, AudioModel):
        if silent := [stimulus.name for stimulus in stimuli if stimulus.audio is None]:
            raise ValueError(f"{model.name} reads sound: give runs.audio of run {silent[0]!r}")
        store = extract_audio_features(
            model, sounds, path, context=config.seconds, chunk=config.stride, controls=False, **common
        )
    else:
        texts = {stimulus.name: stimulus.text for stimulus in stimuli if stimulus.text is not None}
        store = extract_features(
            model,
            words,
            path,
            context=parse_context(config.context),
            pooling=config.pooling,
            text=texts or None,
            **common,
        )
    glove = None if controls.glove is None else StaticEmbeddings.load(controls.glove)
    extract_word_controls(words, path, glove=glove, language=controls.language, seed=controls.seed)
    if sounds:
        extract_sound_controls(sounds, path, stride=config.stride)
    return store


def layer_at_trs(
    store: FeatureStore,
    layer: str,
    stimuli: Sequence[Stimulus],
    alignment: Alignment,
    *,
    order: NDArray[np.intp] | None = None,
) -> tuple[Array, ...]:
    """One layer (or control) of every run brought to the TRs, float32 (n_rows, width) each.

    ``order`` rearranges the words' vectors of each run while their times stay: a null that keeps how many
    words there are and when, and loses which.
    """
    rows = []
    for stimulus in stimuli:
        values = store.read(stimulus.name, layer)
        if order is not None:
            values = values[order]
        when = _moments(store, stimulus)
        rows.append(alignment.to_trs(values, when, stimulus.times).astype(np.float32, copy=False))
    return tuple(rows)


def _moments(store: FeatureStore, stimulus: Stimulus) -> Words | NDArray[np.float64]:
    """The words, or onset and offset of each frame of sound."""
    if store.words(stimulus.name) is not None:
        return stimulus.words
    ends = np.asarray(store.times(stimulus.name), dtype=np.float64)
    step = float(np.median(np.diff(ends))) if len(ends) > 1 else 0.0
    return np.stack([ends - step, ends], axis=1)


def make_alignment(tr: float, config: AlignmentConfig = AlignmentConfig()) -> Alignment:  # noqa: B008 (frozen)
    """How a study brings words or frames to its rows; what lies outside the scan is used as far as it
    reaches."""
    return Alignment(tr, config.method, lobes=config.lobes, cutoff_mult=config.cutoff_mult, outside="keep")


def read_stimuli(config: StudyConfig) -> list[Stimulus]:
    """Words, sound and text of every run, without the times of any rows."""
    from voxridge.features import read_words
    from voxridge.features.textgrid import decode, read_bytes

    stimuli = []
    for run in config.runs:
        words = read_words(run.words, tier=config.responses.tier)
        text = None if run.text is None else decode(read_bytes(run.text), run.text)
        stimuli.append(Stimulus(run.name, words, np.empty(0), run.audio, text))
    return stimuli


@dataclass(frozen=True)
class Subject:
    """What was recorded of one subject.

    ``stimuli``: the runs that were heard, with the times of the rows; ``responses``: (n_rows, n_targets)
    each, of the usable targets; ``names`` of these; ``left_out``: names of the others; ``usable``: which
    columns of the files; ``geometry`` of all columns; ``repeats``: single presentations by run; ``rois``:
    masks over the usable targets; ``digest``: of the responses.
    """

    name: str
    stimuli: list[Stimulus]
    responses: list[Array]
    names: list[str]
    left_out: list[str]
    usable: NDArray[np.bool_]
    geometry: Geometry | None
    repeats: dict[str, tuple[RunSource, ...]]
    rois: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    digest: str = ""


def read_subject(config: StudyConfig, stimuli: Sequence[Stimulus], name: str) -> Subject:
    """Responses of a subject to every run, rows trimmed on both sides alike.

    Raises
    ------
    ValueError
        When runs differ in their columns, names do not match the columns, or nothing is left after trimming;
        when a response store lacks a run of the study; when no run is there.
    """
    settings = config.responses
    heard, recordings = [], {}
    for run, stimulus in zip(config.runs, stimuli, strict=True):
        if settings.missing == "skip" and not was_recorded(run, name):
            continue
        recording = _trimmed(run.name, read_recording(run, settings, name), settings.trim)
        recordings[run.name] = recording
        heard.append(replace(stimulus, times=recording.times))
    if not recordings:
        raise ValueError(f"subjects: {name!r} has responses to none of the {len(config.runs)} runs")
    raw = {run: recording.data for run, recording in recordings.items()}
    check_responses(raw, settings.names)
    usable = usable_targets(raw)
    geometry = next(iter(recordings.values())).geometry
    columns = _column_names(settings.names, geometry, len(usable))
    rois = read_rois(config.rois, name, columns, geometry)
    responses = [data[:, usable] for data in raw.values()]
    return Subject(
        name,
        heard,
        responses,
        [column for column, good in zip(columns, usable, strict=True) if good],
        [column for column, good in zip(columns, usable, strict=True) if not good],
        usable,
        geometry,
        {run: recording.repeats for run, recording in recordings.items() if recording.repeats},
        {title: inside[usable] for title, inside in rois.items() if inside[usable].any()},
        array_digest(*responses),
    )


def _column_names(given: Sequence[str], geometry: Geometry | None, width: int) -> list[str]:
    """Names of all columns: as the study says, or the file, or numbers."""
    known = given or (() if geometry is None else geometry.names)
    return [str(name) for name in known] or [f"target-{i}" for i in range(width)]


def _trimmed(run: str, recording: Recording, trim: tuple[int, int]) -> Recording:
    start, stop = trim
    rows = len(recording.data)
    if rows - stop - start < 10:
        raise ValueError(
            f"run {run!r} has {rows} rows and responses.trim takes {start} + {stop} of them: "
            "fewer than 10 are left"
        )
    kept = slice(start, rows - stop)
    return replace(recording, data=recording.data[kept], times=recording.times[kept])


def check_responses(runs: Mapping[str, Array], names: Sequence[str]) -> None:
    """Same columns in every run, and one name per column when names are given."""
    widths = {name: data.shape[1] for name, data in runs.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"responses differ in their columns: {widths}; every run needs the same targets")
    width = next(iter(widths.values()))
    if names and len(names) != width:
        raise ValueError(
            f"responses.names has {len(names)} names for {width} columns: give one name per column"
        )


def usable_targets(runs: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Which columns are finite everywhere and vary in every run: only these are fitted and scored.

    Raises
    ------
    ValueError
        When no column is usable.
    """
    usable = np.ones(next(iter(runs.values())).shape[1], dtype=bool)
    for data in runs.values():
        with np.errstate(invalid="ignore"):
            usable &= np.isfinite(data).all(axis=0) & (data.max(axis=0) > data.min(axis=0))
    if not usable.any():
        raise ValueError(
            "responses: no column is usable; each is constant (all zero, perhaps) or not finite in some run"
        )
    return usable

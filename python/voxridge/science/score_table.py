"""Tables of models and scores as people have them: one row a score, or one row a model."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxridge.science._lines import TRAINING_UNITS, Float64, named_value
from voxridge.science.model_table import find_facts, parse_count

_ALIASES = {
    "model": ("model", "model_name", "name"),
    "family": ("family", "model_family"),
    "subject": ("subject", "sub", "participant", "participant_id", "subject_id"),
    "roi": ("roi", "region", "area", "parcel"),
    "hemisphere": ("hemisphere", "hemi", "side"),
    "parameters": ("parameters", "params", "n_params", "n_parameters", "num_parameters"),
    "perplexity": ("perplexity", "ppl", "wikitext2_ppl"),
    "hellaswag": ("hellaswag",),
    "benchmark": ("benchmark",),
    "stories": ("stories", "n_stories"),
    "hours": ("hours", "n_hours"),
    "layers": ("layers", "n_layers"),
    "hidden": ("hidden", "hidden_size", "width", "d_model"),
}
_Rows = Sequence[tuple[int, list[str]]]  # line number and cells
_KEYS = ("model", "subject", "roi", "hemisphere")
_SCORES = ("score", "r", "r2", "correlation", "mean_r", "value")
_FACTS = ("parameters", "perplexity", "hellaswag", "layers", "hidden")
# sub-01, S3, EN057, UTS01, but neither BA44 nor V1
_SUBJECT = re.compile(r"(sub|subj|subject|participant)[-_: ]?\w+|[sp]_?[0-9]+|(?!BA)[A-Z]{0,4}0[0-9]+", re.I)
_SIDES = {"l": "left", "lh": "left", "left": "left", "r": "right", "rh": "right", "right": "right"}
_ENDING = re.compile(r"(.+?)[-_ .](left|right|lh|rh|l|r)", re.IGNORECASE)
_BEGINNING = re.compile(r"(left|right|lh|rh|l|r)[-_ .](.+)", re.IGNORECASE)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of models, in subjects and regions.

    Attributes
    ----------
    models, subjects, rois : tuple of str
        In the order of the table; a single empty name where the table has none.
    families : tuple of str (n_models,), or None
    predictors : dict of str to ndarray (n_models,)
        From columns, or by the model's name; NaN where neither knows.
    scores : ndarray (n_subjects, n_models, n_rois)
        NaN where the table has none.
    score : str
        Name of the score's column, or "score" for a wide table.
    """

    models: tuple[str, ...]
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    families: tuple[str, ...] | None
    predictors: dict[str, Float64]
    scores: Float64
    score: str

    def predictor(self, name: str) -> Float64:
        """Values (n_models,) of the predictor of this name.

        Raises
        ------
        ValueError
            When some model has none: the message names the models and the column to add.
        """
        values = self.predictors.get(_canonical(name))
        if values is None:
            known = ", ".join(sorted(self.predictors)) or "none"
            raise ValueError(f"there is no predictor {name!r} (there are: {known}); add a column {name}")
        lacking = [model for model, value in zip(self.models, values, strict=True) if not np.isfinite(value)]
        if lacking:
            raise ValueError(
                f"{name} is not known of {', '.join(lacking)}: fill the column {name} for these models, or "
                "leave their rows out"
            )
        return values

    def sides(self) -> dict[str, tuple[int, int]]:
        """Regions that come as left and right: name to the positions of both in ``rois``."""
        found: dict[str, dict[str, int]] = {}
        for i, roi in enumerate(self.rois):
            name, side = _side(roi)
            if side:
                found.setdefault(name, {})[side] = i
        return {name: (pair["left"], pair["right"]) for name, pair in found.items() if len(pair) == 2}


def read_score_table(path: str | Path, *, score: str | None = None, columns: str = "auto") -> ScoreTable:
    """Read a table of models and scores; comma, semicolon or tab separated, with a header.

    The column ``model`` must be there. **Long**: a column of scores (``score``, ``r``, ``r2``, ...; or named
    by ``score``), with columns ``subject``, ``roi`` and ``hemisphere`` if there are several. **Wide**: no
    such column; every other column of numbers holds the scores of one region, or of one subject where all
    their names look like subjects (``sub-01``, ``EN057``, ``S3``). Optional columns describe the models:
    ``family``, ``parameters`` ("1.3B" is understood), ``perplexity``, ``hellaswag``, ``benchmark``,
    ``layers``, ``hidden``, ``stories``, ``hours``; in a long table any other column of numbers that is the
    same in all rows of a model. Parameters, perplexity, HellaSwag, layers and width of models that
    :func:`~voxridge.science.model_table.model_facts` knows need not be given. Where a model has rows for
    several numbers of ``stories`` or ``hours``, each of these is an entry of its own. Decimal commas ("0,21")
    are understood.

    Parameters
    ----------
    path : path
    score : str, optional
        The column that holds scores; any other column of numbers is then a predictor.
    columns : "auto", "roi" or "subject"
        What the columns of a wide table are.

    Returns
    -------
    ScoreTable

    Raises
    ------
    ValueError
        For a table without models or scores, a cell that is no number (or may be two, as "1,300"), a model
        given twice, or facts of a model that contradict each other: the message names column and line.

    Examples
    --------
    >>> from pathlib import Path
    >>> rows = ["model,STS,IFG", "gpt2,0.30,0.20", "gpt2-xl,0.34,0.22"]
    >>> _ = Path("scores.csv").write_text("\\n".join(rows))
    >>> table = read_score_table("scores.csv")
    >>> table.rois, table.predictor("parameters").tolist()
    (('STS', 'IFG'), [124439808.0, 1557600000.0])
    """
    if columns not in ("auto", "roi", "subject"):
        raise ValueError(f'columns={columns!r}: give "auto", "roi" or "subject"')
    header, rows = _read(Path(path))
    roles = _roles(header, score, Path(path))
    rows = _apart(header, rows, roles, Path(path))
    cells, name = _cells(header, rows, roles, score, columns, Path(path))
    models = tuple(dict.fromkeys(cell[0] for cell in cells))
    subjects = tuple(dict.fromkeys(cell[1] for cell in cells))
    rois = tuple(dict.fromkeys(cell[2] for cell in cells))
    scores = np.full((len(subjects), len(models), len(rois)), np.nan)
    seen: dict[tuple[str, str, str], int] = {}
    for model, subject, roi, value, line in cells:
        key = model, subject, roi
        if key in seen:
            what = " ".join(part for part in key if part)
            raise ValueError(f"{path}, lines {seen[key]} and {line}: {what} is there twice")
        seen[key] = line
        scores[subjects.index(subject), models.index(model), rois.index(roi)] = value
    families, predictors = _describe(models, header, rows, roles, score, Path(path))
    return ScoreTable(models, subjects, rois, families, predictors, scores, name)


def _read(path: Path) -> tuple[list[str], _Rows]:
    """The header, and (line number, cells) of every row that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: save it as CSV in UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    lines = [(line, row) for line, row in lines if any(row)]
    if len(lines) < 2:
        raise ValueError(f"{path} has no rows below its header")
    # What pandas calls a column of row numbers.
    header = ["" if re.fullmatch(r"Unnamed: [0-9]+", name) else name for name in lines[0][1]]
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: {len(row)} cells, the header has {len(header)}")
    return header, lines[1:]


def known_name(name: str) -> str:
    """What a predictor is called here: "perplexity" for "ppl"; names that are not known stay as they are."""
    role = _canonical(name)
    return role if role in _ALIASES else name


def _canonical(name: str) -> str:
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    return next((role for role, names in _ALIASES.items() if key in names), key)


def _roles(header: Sequence[str], score: str | None, path: Path) -> dict[str, int]:
    """Position of every known column, by its canonical name."""
    roles: dict[str, int] = {}
    for i, name in enumerate(header):
        role = _canonical(name)
        if name == score or role not in _ALIASES:
            continue
        if role in roles:
            raise ValueError(f"{path}: columns {header[roles[role]]!r} and {name!r} are both the {role}")
        roles[role] = i
    if "model" not in roles:
        raise ValueError(f"{path} has no column model; its columns are {', '.join(header)}")
    return roles


def _apart(header: Sequence[str], rows: _Rows, roles: dict[str, int], path: Path) -> _Rows:
    """Rows in which one model with several training sets is one entry for each of them."""
    key = roles["model"]
    for unit in TRAINING_UNITS:
        if unit not in roles:
            continue
        at = roles[unit]
        sets: dict[str, set[str]] = {}
        for _, row in rows:
            sets.setdefault(row[key], set()).add(row[at])
        if max(map(len, sets.values())) < 2:
            continue
        named = []
        for line, row in rows:
            size = named_value(_number(row[at], path, line, header[at]), unit)
            named.append(
                (line, [*row[:key], size if len(sets) == 1 else f"{row[key]}, {size}", *row[key + 1 :]])
            )
        rows = named
    return rows


def _number(cell: str, path: Path, line: int, column: str) -> float:
    if cell.lower() in ("", "nan", "na", "n/a", "-"):
        return float("nan")
    try:
        return parse_count(cell)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}, column {column}: {error}") from None


def _score_column(header: Sequence[str], score: str | None, path: Path) -> int | None:
    """Position of the column of scores; None for a wide table."""
    if score is not None:
        if score not in header:
            raise ValueError(f"{path} has no column {score!r}; its columns are {', '.join(header)}")
        return list(header).index(score)
    lowered = [name.lower() for name in header]
    # "R" beside "L" is the right hemisphere.
    known = [name for name in _SCORES if name in lowered and not (name == "r" and "l" in lowered)]
    if known and lowered.count(known[0]) > 1:
        raise ValueError(
            f"{path}: {lowered.count(known[0])} columns are named {known[0]}: give their names apart"
        )
    return lowered.index(known[0]) if known else None


def _cells(
    header: Sequence[str],
    rows: _Rows,
    roles: dict[str, int],
    score: str | None,
    columns: str,
    path: Path,
) -> tuple[list[tuple[str, str, str, float, int]], str]:
    """(model, subject, region, score, line) of every score, and what the scores are called."""
    at = _score_column(header, score, path)
    wide = [] if at is not None else _wide_columns(header, rows, roles, path)
    kind = columns
    if kind == "auto":
        subjects = "subject" not in roles and all(_SUBJECT.fullmatch(header[i]) for i in wide)
        kind = "subject" if subjects else "roi"
    cells = []
    for line, row in rows:
        model = row[roles["model"]]
        if not model:
            raise ValueError(f"{path}, line {line}: column {header[roles['model']]} is empty")
        subject = row[roles["subject"]] if "subject" in roles else ""
        roi = row[roles["roi"]] if "roi" in roles else ""
        if "hemisphere" in roles:
            roi = f"{roi} {_hemisphere(row[roles['hemisphere']], path, line)}".strip()
        if at is not None:
            cells.append((model, subject, roi, _number(row[at], path, line, header[at]), line))
        for i in wide:
            value = _number(row[i], path, line, header[i])
            names = (header[i], roi) if kind == "subject" else (subject, f"{header[i]} {roi}".strip())
            cells.append((model, *names, value, line))
    return cells, header[at] if at is not None else "score"


def _hemisphere(cell: str, path: Path, line: int) -> str:
    if cell.lower() not in _SIDES:
        raise ValueError(f"{path}, line {line}, column hemisphere: {cell!r}; write left or right")
    return _SIDES[cell.lower()]


def _wide_columns(header: Sequence[str], rows: _Rows, roles: dict[str, int], path: Path) -> list[int]:
    """Every column of numbers that has no other meaning."""
    wide = [i for i in range(len(header)) if i not in roles.values() and header[i]]
    if not wide:
        raise ValueError(
            f"{path} has no column of scores: name one {_SCORES[0]}, or give its name (--score), or add a "
            "column for each region"
        )
    for i in wide:
        for line, row in rows:
            _number(row[i], path, line, header[i])
    return wide


def _describe(
    models: Sequence[str],
    header: Sequence[str],
    rows: _Rows,
    roles: dict[str, int],
    score: str | None,
    path: Path,
) -> tuple[tuple[str, ...] | None, dict[str, Float64]]:
    """Families and predictors of the models, from columns and by name."""
    at = _score_column(header, score, path)
    told = ("family", *(name for name in _ALIASES if name in roles))
    places = {name: i for name, i in roles.items() if name not in _KEYS}
    if at is not None:
        others = (i for i, name in enumerate(header) if i not in {*roles.values(), at} and name)
        places |= {_canonical(header[i]): i for i in others}
    facts = [find_facts(model) for model in models]
    predictors = {name: np.array([_fact(fact, name) for fact in facts]) for name in _FACTS}
    families = [fact.family if fact else "" for fact in facts]
    for name, i in places.items():
        try:
            cells = _one_each(models, rows, roles["model"], i, path, header[i])
            if name == "family":
                families = [cell or family for (_, cell), family in zip(cells, families, strict=True)]
                continue
            values = [_number(cell, path, line, header[i]) for line, cell in cells]
        except ValueError:
            if name in told:
                raise
            continue  # a column about something else than the models
        known = predictors.get(name, np.full(len(models), np.nan))
        predictors[name] = np.where(np.isfinite(values), values, known)
    kept = {name: values for name, values in predictors.items() if np.isfinite(values).any()}
    return (tuple(families) if all(families) else None), kept


def _fact(fact: Any, name: str) -> float:
    return float(getattr(fact, name)) if fact is not None else float("nan")


def _one_each(
    models: Sequence[str], rows: _Rows, key: int, i: int, path: Path, column: str
) -> list[tuple[int, str]]:
    """Line and cell of each model in column i, which must be the same in all its rows that have one."""
    found: dict[str, tuple[int, str]] = {}
    for line, row in rows:
        first, before = found.get(row[key], (line, ""))
        if row[i] and before and row[i] != before:
            raise ValueError(
                f"{path}, line {line}, column {column}: {row[key]} has {row[i]} here and {before} on line "
                f"{first}"
            )
        if row[key] not in found or not before:
            found[row[key]] = line, row[i]
    return [found[model] for model in models]


def _side(roi: str) -> tuple[str, str]:
    """Name and side of a region such as "aSTS_L", "left aSTS" or "lh.aSTS"; an empty side for others."""
    if roi.lower() in _SIDES:
        return "whole", _SIDES[roi.lower()]
    if match := _ENDING.fullmatch(roi):
        return match[1], _SIDES[match[2].lower()]
    if match := _BEGINNING.fullmatch(roi):
        return match[2], _SIDES[match[1].lower()]
    return roi, ""

"""Two studies of the same responses: which model predicts them better, subject by subject."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.html import flatten
from voxridge.science.subjects import SubjectTest, subject_test
from voxridge.study.outcome_file import FORMAT

Float64 = NDArray[np.float64]
_MUST_AGREE = ("responses", "runs")
_SAYS_NOTHING = [("responses", "missing")]  # the folds of each subject tell which runs were there
_ALSO_SHOWN = ("fit", "alignment", "analysis")


@dataclass(frozen=True)
class ComparedSubject:
    """Two models of one subject.

    Attributes
    ----------
    names : list of str (n_targets,)
        Targets.
    folds : list of str (n_folds,)
        Left-out parts.
    first, second : ndarray (n_folds, n_targets)
        Held-out correlation of the layers chosen in each fold.
    """

    names: list[str]
    folds: list[str]
    first: Float64
    second: Float64

    @property
    def difference(self) -> Float64:
        """Second minus first, mean over folds, (n_targets,)."""
        return np.asarray((self.second - self.first).mean(axis=0))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same responses.

    Attributes
    ----------
    titles : (str, str)
        Study and model of both.
    subjects : mapping of name to ComparedSubject
    test : SubjectTest, or None
        Of the mean difference, second minus first, over subjects; None for a single one.
    settings : list of str
        What was set differently.
    notes : list of str
        What the test warned of.
    """

    titles: tuple[str, str]
    subjects: dict[str, ComparedSubject]
    test: SubjectTest | None
    settings: list[str]
    notes: list[str] = field(default_factory=list)


def compare_studies(
    first: str | Path, second: str | Path, *, models: tuple[str, str] | None = None, seed: int = 0
) -> Comparison:
    """Compare a model of one study with a model of another, or two of the same.

    Parameters
    ----------
    first, second : path
        Folders of ``voxridge study``, or their results.h5.
    models : two labels, optional
        Needed where a study has several models.
    seed : int
        Of the sign flips over subjects.

    Returns
    -------
    Comparison

    Raises
    ------
    FileNotFoundError
        No results there.
    ValueError
        Not the results of a study; no subject in common; other targets, folds or responses; an unknown model.

    Examples
    --------
    >>> found = compare_studies("opt-125m", "opt-30b")  # doctest: +SKIP
    >>> found.test.mean, found.test.p_flips  # doctest: +SKIP
    (array(0.021), array(0.031))
    """
    one, two = _open(first), _open(second)
    labels = models or (_only(one, "first"), _only(two, "second"))
    _same(one, two)
    common = [name for name in one.subjects if name in two.subjects]
    if not common:
        raise ValueError(
            f"no subject in common: {one.path} has {', '.join(one.subjects)}, {two.path} has "
            f"{', '.join(two.subjects)}"
        )
    subjects = {name: _subject(one, two, name, labels) for name in common}
    test, notes = None, []
    if len(subjects) > 1:
        differences = np.array([np.nanmean(subject.difference) for subject in subjects.values()])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            test = subject_test(differences, seed=seed)
        notes = [str(warning.message) for warning in caught]
    titles = (f"{one.title}: {labels[0]}", f"{two.title}: {labels[1]}")
    return Comparison(
        titles, subjects, test, _differences(one.provenance, two.provenance, _ALSO_SHOWN), notes
    )


@dataclass(frozen=True)
class _Results:
    path: Path
    title: str
    provenance: dict[str, Any]
    subjects: dict[str, list[str]]


def _open(path: str | Path) -> _Results:
    import h5py

    place = Path(path)
    place = place / "results.h5" if place.is_dir() else place
    if not place.is_file():
        raise FileNotFoundError(f"no results at {place}: give the folder that voxridge study wrote")
    try:
        with h5py.File(place) as file:
            if file.attrs.get("format") != FORMAT:
                raise ValueError(f"{place} is not the results.h5 of voxridge study (format {FORMAT!r})")
            subjects = {name: list(group["models"]) for name, group in file["subjects"].items()}
            return _Results(place, str(file.attrs["title"]), json.loads(file.attrs["provenance"]), subjects)
    except OSError as error:
        raise ValueError(f"{place} cannot be read as HDF5: {error}") from error
    except KeyError as error:
        raise ValueError(f"{place} is not whole: {error}; run voxridge study again") from error


def _only(results: _Results, which: str) -> str:
    labels = next(iter(results.subjects.values()))
    if len(labels) > 1:
        raise ValueError(
            f"models: the {which} study has {', '.join(labels)}; say which to compare, as two labels"
        )
    return labels[0]


def _same(one: _Results, two: _Results) -> None:
    """Refuse responses that were cut, filtered or recorded differently."""
    lines = _differences(one.provenance, two.provenance, _MUST_AGREE)
    if lines:
        raise ValueError(
            f"{one.path} and {two.path} are of responses prepared differently, so a difference of scores "
            "would say nothing of the models: " + "; ".join(lines)
        )


def _subject(one: _Results, two: _Results, name: str, labels: tuple[str, str]) -> ComparedSubject:
    found = [_scores(results, name, label) for results, label in zip((one, two), labels, strict=True)]
    for what, position in (("targets", 0), ("folds", 1)):
        if found[0][position] != found[1][position]:
            counts = [len(each[position]) for each in found]
            raise ValueError(
                f"subject {name!r}: the {what} differ ({counts[0]} in {one.path}, {counts[1]} in "
                f"{two.path}); compare studies of the same targets and left-out parts"
            )
    digests = [results.provenance["responses sha256"].get(name) for results in (one, two)]
    if digests[0] != digests[1]:
        raise ValueError(f"subject {name!r}: the responses of the two studies are not the same data")
    return ComparedSubject(found[0][0], found[0][1], found[0][2], found[1][2])


def _scores(results: _Results, subject: str, label: str) -> tuple[list[str], list[str], Float64]:
    import h5py

    if label not in results.subjects[subject]:
        known = ", ".join(results.subjects[subject])
        raise ValueError(f"models: {results.path} has no model {label!r}; it has {known}")
    with h5py.File(results.path) as file:
        group = file[f"subjects/{subject}/models/{label}"]
        names, folds = ([str(x) for x in group[key].asstr()[:]] for key in ("targets/name", "folds"))
        return names, folds, group["chosen_scores"][:]


def _differences(one: Mapping[str, Any], two: Mapping[str, Any], tables: tuple[str, ...]) -> list[str]:
    """``fit.delays: 1, 2 against 1, 2, 3`` for every setting that is not the same."""
    lines = []
    for table in tables:
        first, second = (dict(flatten(provenance.get(table, {}))) for provenance in (one, two))
        for key in dict.fromkeys([*first, *second]):
            if first.get(key) != second.get(key) and (table, key) not in _SAYS_NOTHING:
                lines.append(f"{table}.{key}: {first.get(key)} against {second.get(key)}")
    return lines

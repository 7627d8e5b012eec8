"""``voxridge study``: one study file in, a folder with results, tables, figures, maps and a report out."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from voxridge.report.study_page import write_study
from voxridge.streams.stores import ControlStore
from voxridge.study.analyses import analyse_pair, normalise, repeat_ceilings
from voxridge.study.combine import combine, count_predictions
from voxridge.study.config import StudyConfig
from voxridge.study.extraction import Load, ModelFeatures, extract_models
from voxridge.study.inputs import Subject, load_model, make_alignment, read_stimuli, read_subject
from voxridge.study.nested import ModelScores
from voxridge.study.outcome import Study, SubjectOutcome, model_sizes
from voxridge.study.pairs import SubjectFits, SubjectWork, count_fits
from voxridge.study.progress import FitProgress
from voxridge.study.provenance import command_line, file_digest, machine, now, versions
from voxridge.study.recipes import Recipes
from voxridge.study.recordings import was_recorded
from voxridge.study.results import StudyResult
from voxridge.study.training import count_sizes, training_sizes
from voxridge.study.trends import SharedResponses, study_trends

Array = NDArray[Any]


@dataclasses.dataclass
class StudyOutcome:
    """The page and the numbers behind it.

    Attributes
    ----------
    report : Path
    study : voxridge.study.outcome.Study
        Results and analyses of every subject and model.
    """

    report: Path
    study: Study

    @property
    def result(self) -> StudyResult:
        """Of the first subject and model."""
        return self.study.first.first


def run_study(
    config: StudyConfig, out: Path, *, load: Load = load_model, progress: bool = True
) -> StudyOutcome:
    """Run a study into the folder ``out``; called again after an interruption it goes on where it stopped,
    and with more subjects, models or layers it fits only what is new.

    Parameters
    ----------
    config : StudyConfig
        From :func:`voxridge.study.load_config`.
    out : Path
        Made if needed: ``results.h5``, ``tables``, ``figures``, ``maps``, ``report.html``, and ``work`` with
        the activations and finished fits.
    load : callable
        Makes a model of its table in the study file.
    progress : bool
        Show progress and time left on standard error.

    Returns
    -------
    StudyOutcome

    Raises
    ------
    ValueError
        For inputs that do not fit together; the message names the run and the remedy.

    Examples
    --------
    >>> from pathlib import Path
    >>> outcome = run_study(load_config("study.toml"), Path("results"))  # doctest: +SKIP
    >>> outcome.study.table  # mean held-out r, (n_subjects, n_models)  # doctest: +SKIP
    """
    work = out / "work"
    stimuli = read_stimuli(config)
    first = read_subject(config, stimuli, config.subjects[0])
    features = extract_models(config, stimuli, work / "features", load, progress=progress)
    study = Study(config, model_sizes(features), {}, _provenance(config, features))
    prepared = SharedResponses()
    with FitProgress(_count(config, first, features), shown=progress) as bar:
        for name in config.subjects:
            subject = first if name == first.name else read_subject(config, stimuli, name)
            job = SubjectWork(config, subject, features, work / "fits" / name, bar)
            fits = job.fit()
            with _noting(study.notes, name if len(config.subjects) > 1 else ""):
                study.subjects[name] = _outcome(job, fits, study.provenance)
            study.provenance["responses sha256"][name] = subject.digest
            prepared.keep(study, name, fits.prepared)
    with _noting(study.notes, ""):
        study_trends(study, prepared.of_all)
        study.notes += prepared.notes
    return StudyOutcome(write_study(out, study), study)


@contextmanager
def _noting(notes: list[str], whose: str) -> Iterator[None]:
    """What is warned of goes into the report, a line for each class."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    kinds: dict[str, list[str]] = {}
    for warning in caught:
        kinds.setdefault(warning.category.__name__, []).append(str(warning.message))
    prefix = f"{whose}: " if whose else ""
    for kind, texts in kinds.items():
        several = f", {len(texts)} times; the first" if len(texts) > 1 else ""
        notes.append(f"{prefix}{kind}{several}: {texts[0]}")


def _count(config: StudyConfig, subject: Subject, features: Sequence[ModelFeatures]) -> int:
    """Fits of the whole study."""
    recipes = Recipes(config, features[0].store, subject.stimuli)
    total = 0
    for name in config.subjects:
        heard = [run for run in config.runs if was_recorded(run, name)]
        n_parts = len(heard) if config.fit.folds == "leave-one-run-out" else config.fit.folds
        total += count_fits(config, features, n_parts, len(recipes.controls()))
        total += count_predictions(features, n_parts)
        total += count_sizes(config.analysis.training_sizes, len(features), n_parts)
    return total


def _outcome(job: SubjectWork, fits: SubjectFits, provenance: dict[str, Any]) -> SubjectOutcome:
    config, subject = job.config, job.subject
    combined = combine(job, fits)
    ceilings = repeat_ceilings(config, fits)
    results, analyses = {}, {}
    for model in job.features:
        result = _result(config, fits, model.title, provenance)
        analyses[model.title] = analyse_pair(config, fits, combined, model.title, result)
        analyses[model.title].normalised = normalise(config, fits, result, ceilings)
        results[model.title] = result
    return SubjectOutcome(
        subject.name,
        results,
        analyses,
        subject.left_out,
        subject.usable,
        subject.geometry,
        combined.stack,
        ceilings,
        subject.rois,
        training_sizes(job, fits),
    )


def _result(config: StudyConfig, fits: SubjectFits, title: str, provenance: dict[str, Any]) -> StudyResult:
    controls: list[ModelScores] = fits.controls
    joint = [fits.joint[title].both] if title in fits.joint else []
    return StudyResult(
        config.title,
        controls[0],
        fits.layers[title],
        {"name": fits.subject.names},
        config.fit.alphas,
        [part.name for part in fits.plan.parts],
        provenance,
        beside=[*controls[1:], *joint],
    )


def _provenance(config: StudyConfig, features: Sequence[ModelFeatures]) -> dict[str, Any]:
    return {
        "made": now(),
        "command": command_line(),
        "subjects": list(config.subjects),
        "responses sha256": {},
        "runs": {
            run.name: {
                "words": run.words.name,
                "words sha256": file_digest(run.words),
                "responses": run.responses.name,
                "first row (s)": "half a TR, and rows cut before" if run.first_row is None else run.first_row,
            }
            for run in config.runs
        },
        "responses": _responses(config),
        "space": config.responses.space,
        "rois": {"file": _name(config.rois.file), **config.rois.names, **config.rois.targets},
        "fit": {**dataclasses.asdict(config.fit), "gap": config.fit.gap_rows},
        "analysis": dataclasses.asdict(config.analysis),
        "models": {model.title: dataclasses.asdict(model.config) for model in features},
        "alignment": make_alignment(config.responses.tr, config.alignment).provenance(),
        "features": {model.title: model.store.provenance for model in features},
        "controls": ControlStore.open(features[0].store.path).provenance,
        "versions": versions(),
        "machine": machine(),
    }


def _responses(config: StudyConfig) -> dict[str, Any]:
    """What decides the numbers: studies of other such settings are not compared."""
    settings = dataclasses.asdict(config.responses)
    del settings["space"]
    return {**settings, "mask": _name(config.responses.mask)}


def _name(path: Path | None) -> str | None:
    return None if path is None else path.name

"""What a study file may say beyond the types of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxridge.features.context import parse_context

if TYPE_CHECKING:
    from voxridge.study.config import FitConfig, ModelConfig, StudyConfig

SUBJECT = "{subject}"
_LONGEST = 100
NAMES = f"text of 1 to {_LONGEST} letters without '/', which becomes part of the names of files"


def check_config(config: StudyConfig) -> None:
    _check_runs(config)
    _check_somebody_there(config)
    for model in config.models:
        _check_model(model)
    titles = [model.title for model in config.models]
    _require(len(titles) > 0, "models", "nothing", "one [[models]] table per model, or none for the default")
    _require(len(set(titles)) == len(titles), "models.label", titles, "a different label for every model")
    _check_file_names(config)
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
    _check_sizes(config)
    _check_space(responses.space)
    _check_rois(config)
    for key, file in (("responses.mask", responses.mask), ("controls.glove", config.controls.glove)):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"{key}: no file at {file}")


def _check_runs(config: StudyConfig) -> None:
    subjects, names = config.subjects, [run.name for run in config.runs]
    _require(len(config.runs) > 0, "runs", "nothing", "one [[runs]] table per run")
    _require(len(set(names)) == len(names), "runs.name", names, "a different name for every run")
    _require(all(map(_is_name, names)), "runs.name", names, NAMES)
    _require(len(subjects) > 0, "subjects", [], "at least one name, or leave it out")
    _require(len(set(subjects)) == len(subjects), "subjects", list(subjects), "each name once")
    _require(all(map(_is_name, subjects)), "subjects", list(subjects), NAMES)
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
        for subject in subjects if config.responses.missing == "error" else ():
            if not run.responses_of(subject).is_file():
                whose = f", subject {subject!r}" if len(subjects) > 1 else ""
                raise FileNotFoundError(
                    f"runs.responses of run {run.name!r}{whose}: no file at {run.responses_of(subject)} "
                    "(responses.missing = 'skip' fits the runs that are there)"
                )


def _check_somebody_there(config: StudyConfig) -> None:
    """Now, and not after the fits of those before."""
    for subject in config.subjects:
        files = [run.responses_of(subject) for run in config.runs]
        if not any(file.is_file() for file in files):
            raise FileNotFoundError(
                f"subjects: {subject!r} has responses to none of the {len(files)} runs; no file at {files[0]}"
            )


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and "/" not in text and text not in (".", "..")


def _check_file_names(config: StudyConfig) -> None:
    """Maps are named by letters and digits alone: two names that differ in others would be one file."""
    from voxridge.report.maps import letters

    named = {
        "models.label": [model.title for model in config.models],
        "subjects": list(config.subjects),
        "runs.name": [run.name for run in config.runs],
    }
    for key, names in named.items():
        taken = {"stack": "the stack", "scaling": "slopes"} if key == "models.label" else {}
        for name in names:
            try:
                plain = letters(name)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
            if plain in taken:
                raise ValueError(
                    f"{key}: files of {name!r} would have the names of those of {taken[plain]!r}; "
                    "give another name, that differs in letters or digits"
                )
            taken[plain] = name


def _check_sizes(config: StudyConfig) -> None:
    sizes, fit = config.analysis.training_sizes, config.fit
    if not sizes:
        return
    key = "analysis.training_sizes"
    _require(
        list(sizes) == sorted(set(sizes)) and sizes[0] > 0, key, list(sizes), "numbers of runs that grow"
    )
    _require(len(sizes) > 1, key, list(sizes), "two sizes or more")
    whole = fit.folds == "leave-one-run-out"
    _require(whole, key, list(sizes), 'none with chunks of one run; fit.folds = "leave-one-run-out"')
    most = len(config.runs) - 1
    _require(sizes[-1] <= most, key, list(sizes), f"at most {most}, as one of {most + 1} runs is left out")


def _check_space(space: str) -> None:
    known = space in ("", "individual", "fsaverage5", "fsaverage6", "fsaverage") or space.startswith("MNI")
    _require(known, "responses.space", space, "MNI..., fsaverage5, fsaverage6, fsaverage or individual")


def _check_rois(config: StudyConfig) -> None:
    for name, targets in config.rois.targets.items():
        _require(len(targets) > 0, f"rois.{name}", [], "at least one name of a target")
        _require(len(set(targets)) == len(targets), f"rois.{name}", list(targets), "each target once")
    for subject in config.subjects:
        file = config.rois.file_of(subject)
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"rois.file: no file at {file}")


def _check_model(model: ModelConfig) -> None:
    try:
        parse_context(model.context)
    except ValueError as error:
        raise ValueError(f"models.context: {error}") from error
    _require(_is_name(model.title), "models.label", model.title, NAMES)
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

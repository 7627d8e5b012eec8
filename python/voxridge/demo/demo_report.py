"""The demo's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.science import Science
from voxridge.demo.science_report import method_items, study_sections, summary_section
from voxridge.demo.simulate import REGIONS, Simulation, region_masks
from voxridge.demo.story import Story
from voxridge.demo.truth import Recovery
from voxridge.report.brain import SurfaceMap, surface_figure
from voxridge.report.figures import sides_figure, truth_figure
from voxridge.report.html import Report
from voxridge.report.pages import (
    alpha_section,
    finish,
    folders,
    layer_section,
    models_section,
    run_card,
    warnings_section,
)
from voxridge.report.style import save
from voxridge.responses.cortex import Cortex
from voxridge.study.results import StudyResult, write_table


def write_report(
    out: Path,
    result: StudyResult,
    cortex: Cortex,
    simulation: Simulation,
    recovery: Recovery,
    science: Science,
    story: Story,
    true_layer: int,
) -> Path:
    """Figures, tables, results and ``report.html`` in ``out``; the path of the page."""
    figures, tables = folders(out)
    report = Report(result.title, "voxridge demo · simulated brain")
    _opening(report, result, simulation, recovery, story, true_layer)
    summary_section(report, science, figures, tables)
    _maps(report, result, cortex, simulation, recovery, figures)
    _areas(report, result, cortex, simulation, figures, tables)
    groups = area_groups(simulation)
    layer_section(
        report,
        result,
        groups,
        figures,
        true_layer=true_layer,
        caption="Mean over every fourth vertex of each kind of area, known as the brain is simulated.",
    )
    strong = simulation.known_r >= 0.4
    strengths = {
        "vertices with a reachable r of 0.4 or more": strong,
        "vertices with a weaker signal": simulation.signal_mask & ~strong,
        "vertices without signal": ~simulation.signal_mask,
    }
    alpha_section(report, result, strengths, figures)
    report.text(
        "Where there is little or no signal all penalties predict almost equally badly, so the choice "
        "there is arbitrary and often falls on an edge."
    )
    study_sections(report, science, figures)
    models_section(report, result, groups, tables)
    _method(report, simulation, science, true_layer)
    warnings_section(report, result.warnings)
    run_card(report, result.provenance)
    return finish(result, report, out)


def area_groups(simulation: Simulation) -> dict[str, NDArray[np.bool_]]:
    """Language areas and auditory areas, without their overlap in the former."""
    return {
        "language areas": simulation.language_mask & ~simulation.auditory_mask,
        "auditory areas": simulation.auditory_mask,
    }


def _opening(
    report: Report,
    result: StudyResult,
    simulation: Simulation,
    recovery: Recovery,
    story: Story,
    true_layer: int,
) -> None:
    report.note(
        "The brain on this page is simulated. Nobody was scanned: responses on the fsaverage5 surface "
        "were computed from the story and a language model, plus noise, so that the right answer is "
        "known. The story, the language model's activations and every step of the analysis are real.",
    )
    report.text(
        f"“{story.title}”, {sum(c.n_words for c in story.chapters):,} words in {len(story.chapters)} "
        f"chapters, was read by the language model; each of its {len(result.layers)} layers then had to "
        f"predict the response of {len(simulation.known_r):,} points of cortex to a chapter that the fit "
        "had not seen.",
        lead=True,
    )
    report.note(recovery.sentence())
    chosen = result.chosen_layers
    near = max(abs(layer - true_layer) for layer in chosen)
    report.cards(
        [
            (
                f"{recovery.map_correlation:.2f}",
                "true map against recovered map",
                "correlation over all vertices",
            ),
            (
                f"{recovery.sensitivity:.0%}",
                "of findable vertices detected",
                "false discovery rate set to 5 %",
            ),
            (
                f"{recovery.false_positives:.2%}",
                "false positives",
                f"{recovery.false_discoveries:.1%} of all detections",
            ),
            (f"{recovery.lean_recovered:+.2f}", "left lean of language", f"truth {recovery.lean_truth:+.2f}"),
            (f"{recovery.reached:.0%}", "of the reachable r reached", "mean over vertices with signal"),
            (_span(chosen), "layer chosen in inner folds", f"truth {true_layer}; at most {near} away"),
        ]
    )


def _span(layers: list[int]) -> str:
    return str(layers[0]) if min(layers) == max(layers) else f"{min(layers)}–{max(layers)}"


def _maps(
    report: Report,
    result: StudyResult,
    cortex: Cortex,
    simulation: Simulation,
    recovery: Recovery,
    folder: Path,
) -> None:
    recovered = result.chosen.mean(axis=0)
    detected = np.where(recovery.detection.detected, recovered, np.nan)
    maps = [
        SurfaceMap("Truth: best reachable correlation", simulation.known_r),
        SurfaceMap("Recovered: held-out correlation of the chosen layer", recovered),
        SurfaceMap("Recovered and detected (false discovery rate 5 %)", detected),
        SurfaceMap(
            f"Control: held-out correlation of {result.control.name} alone", result.control.mean_scores
        ),
    ]
    figure = surface_figure(cortex, maps, threshold=0.15)
    report.heading("Truth and recovery on the cortex")
    report.figure(
        save(figure, folder / "maps.png"),
        "Inflated fsaverage5 surface, one colour scale for all rows; values below 0.15 are not coloured. "
        "Small specks in the second and fourth row are chance, most of which the test in the third row "
        "removes. The word rate explains the auditory areas only; the language model explains the "
        "language areas, and the auditory ones too, since its activations also carry how many words "
        "there are.",
        alt="Surface maps of true and recovered correlation",
    )
    groups = area_groups(simulation)
    groups = {**groups, "no signal": ~simulation.signal_mask}
    report.figure(
        save(truth_figure(simulation.known_r, recovered, groups), folder / "truth.png"),
        "No model can be above the dashed line except by luck. The distance to it is what a finite story "
        "and noise cost.",
        alt="Recovered against best reachable correlation",
        narrow=True,
    )


def _areas(
    report: Report, result: StudyResult, cortex: Cortex, simulation: Simulation, figures: Path, tables: Path
) -> None:
    recovered, control = result.chosen.mean(axis=0), result.control.mean_scores
    masks = region_masks(cortex, simulation.settings)
    rows: list[list[Any]] = []
    values = np.empty((len(REGIONS), 2, 2))
    for position, region in enumerate(REGIONS):
        for side, name in enumerate(("left", "right")):
            members = masks[region.name] & cortex.side_mask(name)
            numbers = [float(np.nanmean(m[members])) for m in (simulation.known_r, recovered, control)]
            values[position, side] = numbers[:2]
            rows.append([region.name, name, region.drive, int(members.sum()), *numbers])
    header = [
        "area",
        "side",
        "driven by",
        "vertices",
        "best reachable r",
        "recovered r",
        f"r {result.control.name}",
    ]
    write_table(tables / "areas.csv", header, rows)
    report.heading("Areas and sides")
    names = [region.name for region in REGIONS]
    report.figure(
        save(sides_figure(names, values[..., 0], values[..., 1]), figures / "sides.png"),
        "Mean over the vertices of each area. The language areas were made to lean left and the auditory "
        "ones not. Weak signals are recovered less completely than strong ones, so the recovered lean is "
        "too large.",
        alt="Best reachable and recovered correlation by area and side",
    )
    report.table(header, rows)


def _method(report: Report, simulation: Simulation, science: Science, true_layer: int) -> None:
    settings = simulation.settings
    report.heading("How it was made")
    report.items(
        [
            "Stimulus: an original story written for this package. Word times come from a speech-rate "
            "model (no voice was recorded), about 2.6 words a second; one chapter is one run, TR "
            f"{settings.tr:g} s.",
            "Activations: the state of every layer at the last token of every word, growing context with "
            "reset, brought to the TRs by Lanczos interpolation.",
            f"Truth: language areas answer to {settings.components} principal components of layer "
            f"{true_layer} with smooth random weights and a haemodynamic response that varies over the "
            "cortex, freed of the word rate; auditory areas answer to the word rate; other vertices to "
            "nothing.",
            f"Noise: AR(1) with coefficient {settings.noise_ar:g}, slightly smooth over the surface, "
            "plus slow drifts. The best reachable correlation of a vertex is sqrt(S / (S + N)) with the "
            "variances S and N of its own signal and noise after the high-pass.",
            f"Fits: ridge over delays of {DELAY_TEXT}; one chapter left out, penalty per vertex and "
            "layer chosen by an inner cross-validation over the other chapters; responses and features "
            f"high-passed at {settings.high_pass:g} s within each chapter.",
            "Detection: the same fits repeated on responses shifted in time within each chapter give the "
            "null scores, pooled over vertices; Benjamini-Hochberg at 5 %.",
            *method_items(science),
        ]
    )


DELAY_TEXT = "1 to 5 TR"

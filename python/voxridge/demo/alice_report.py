"""The page of the Alice study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.alice_findings import findings, spread
from voxridge.demo.alice_models import ALL_CONTROLS, JOINT
from voxridge.demo.alice_science import AliceScience
from voxridge.demo.alice_sections import (
    beside_section,
    ceilings_section,
    controls_section,
    folds_section,
    layer_choice_section,
    sides_section,
)
from voxridge.report.figures import alignment_figure, bars_figure, folds_figure
from voxridge.report.html import Report
from voxridge.report.layers import Curve
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
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.results import StudyResult, write_table

Float64 = NDArray[np.float64]
_CHOSEN = "word rate + language model"


@dataclass
class AliceOutcome:
    """The page and the headline numbers; arrays over listeners are (n_listeners, n_regions)."""

    report: Path
    result: StudyResult
    rejected: dict[str, str]
    group_rate: float
    group_chosen: float
    group_shuffled: float
    listeners_rate: Float64
    listeners_chosen: Float64
    science: AliceScience


@dataclass(frozen=True)
class Checks:
    """What the result is held against; scores are (n_folds, n_targets).

    ``shuffled``: the same models with the word vectors in a random order; ``high_pass``: word rate with
    other drift filters, by cutoff; ``alignment``: the chosen layer moved in time, by rows.
    """

    shuffled: StudyResult
    high_pass: Mapping[float, Float64]
    alignment: Mapping[int, Float64]


def write_report(
    out: Path,
    result: StudyResult,
    checks: Checks,
    science: AliceScience,
    rejected: Mapping[str, str],
    listeners: Sequence[str],
) -> AliceOutcome:
    """Figures, tables, results and ``report.html`` in ``out``."""
    figures, tables = folders(out)
    shuffled = checks.shuffled
    group = np.array([name not in listeners for name in result.targets["listener"]])
    regions = science.shape.regions
    shape = (len(listeners), len(regions))
    rate, chosen = result.control.mean_scores, result.chosen.mean(axis=0)
    outcome = AliceOutcome(
        out / "report.html",
        result,
        dict(rejected),
        float(rate[group].mean()),
        float(chosen[group].mean()),
        float(shuffled.chosen[:, group].mean()),
        rate[~group].reshape(shape),
        chosen[~group].reshape(shape),
        science,
    )
    report = Report(f"{result.title}: {len(listeners)} listeners, six regions", "voxridge demo · real fMRI")
    _opening(report, outcome, listeners)
    controls_section(report, science, tables)
    beside_section(report, science, figures, tables)
    ceilings_section(report, science, figures, tables)
    _regions(report, outcome, rate[group], chosen[group], regions, figures)
    null = Curve("group mean, words shuffled", shuffled.layer_means(group))
    layer_section(
        report,
        result,
        {"group mean": group, "single listeners": ~group},
        figures,
        more=[null],
        caption="Word rate beside ten principal components of each layer, mean over regions. Green: the same "
        "with the layer's word vectors in a random order: how many words there are and when is kept, which "
        "words is lost.",
    )
    layer_choice_section(report, science, result, shuffled, figures)
    sides_section(report, science, tables)
    folds_section(report, science, tables)
    _folds(report, result, shuffled, group, figures)
    alpha_section(report, result, {"group mean": group, "single listeners": ~group}, figures)
    _listeners(report, outcome, listeners, regions, tables)
    _alignment(report, checks.alignment, result, group, figures)
    _sensitivity(report, checks.high_pass, group, tables)
    models_section(report, result, {"group mean": group, "single listeners": ~group}, tables)
    _method(report, result)
    notes = [f"Listener {name} was left out: {reason}." for name, reason in rejected.items()]
    warnings_section(report, [*notes, *science.notes, *result.warnings])
    run_card(report, result.provenance)
    outcome.report = finish(result, report, out)
    return outcome


def _opening(report: Report, outcome: AliceOutcome, listeners: Sequence[str]) -> None:
    science, beside = outcome.science, outcome.science.beside
    shape, gain, omega = science.shape, science.beside.mean, science.beside.omega.mean
    controls, joint = (float(shape.group(beside.scores[n].scores).mean()) for n in (ALL_CONTROLS, JOINT))
    report.text(
        f"{len(listeners)} people listened to twelve minutes of Alice in Wonderland in the scanner. How much "
        "of their brain activity in held-out stretches of the story do the rate of words and other simple "
        "controls predict, and does a language model add anything to all of them together?",
        lead=True,
    )
    report.cards(
        [
            (f"{outcome.group_rate:.3f}", "word rate alone", "group mean, mean r over regions"),
            (f"{controls:.3f}", "all controls", "group mean, mean r over regions"),
            (f"{joint:.3f}", "language model beside all controls", "group mean; layer chosen in inner folds"),
            (
                f"{float(beside.group_unique.mean()):+.3f}",
                "unique R2, group mean",
                "beside all controls, mean over regions",
            ),
            (
                f"{float(gain.mean):+.3f}",
                "unique R2, single listeners",
                f"95 % over listeners: {spread(gain.low, gain.high)}",
            ),
            (
                f"{float(omega.mean):.0f} %",
                "of the model's R2 is the controls'",
                f"Omega, 95 % over listeners: {float(omega.low):.0f} to {float(omega.high):.0f} %",
            ),
        ]
    )
    report.heading("What the data give")
    report.items(findings(science))
    for name, reason in outcome.rejected.items():
        report.note(f"Listener {name} was rejected: {reason}.", warning=True)


def _regions(
    report: Report,
    outcome: AliceOutcome,
    rate: Float64,
    chosen: Float64,
    regions: Sequence[str],
    folder: Path,
) -> None:
    series = {"word rate": outcome.listeners_rate, _CHOSEN: outcome.listeners_chosen}
    figure = bars_figure(
        regions,
        series,
        title="Regions",
        repeats="listener",
        marks={"word rate": rate, _CHOSEN: chosen},
        marks_label="group mean",
    )
    report.heading("Region by region")
    report.figure(
        save(figure, folder / "regions.png"),
        "LATL and RATL: left and right anterior temporal lobe; LPTL: left posterior temporal; LIPL: left "
        "inferior parietal; LPreM: left premotor; LIFG: left inferior frontal. Averaging the listeners "
        "removes noise that is their own, so the group mean is predicted far better than a single person.",
        alt="Held-out correlation by region",
    )


def _folds(
    report: Report, result: StudyResult, shuffled: StudyResult, group: NDArray[np.bool_], folder: Path
) -> None:
    series = {
        "word rate": result.control.scores[:, group].mean(axis=1),
        _CHOSEN: result.chosen[:, group].mean(axis=1),
        "words shuffled": shuffled.chosen[:, group].mean(axis=1),
    }
    figure = folds_figure(result.folds, series, title="Group mean, one chunk of the story left out at a time")
    report.heading("Chunk by chunk")
    report.figure(
        save(figure, folder / "chunks.png"),
        "Each chunk lasts about 145 seconds. The layer of the language model was chosen for each "
        "left-out chunk on the other four.",
        alt="Held-out correlation of each chunk",
    )


def _listeners(
    report: Report, outcome: AliceOutcome, listeners: Sequence[str], regions: Sequence[str], folder: Path
) -> None:
    header = ["listener", "word rate", _CHOSEN, "gain", *(f"{_CHOSEN}: {roi}" for roi in regions)]
    rows: list[list[Any]] = []
    for name, rate, chosen in zip(listeners, outcome.listeners_rate, outcome.listeners_chosen, strict=True):
        rows.append(
            [
                name,
                float(rate.mean()),
                float(chosen.mean()),
                float((chosen - rate).mean()),
                *map(float, chosen),
            ]
        )
    write_table(folder / "listeners.csv", header, rows)
    report.heading("Listener by listener")
    for label, values in (
        ("Word rate", outcome.listeners_rate),
        ("With the language model", outcome.listeners_chosen),
    ):
        report.text(
            f"{label}: mean r {interval_text(mean_interval(values.mean(axis=1)))}, 95 % over listeners."
        )
    report.table([*header[:4], *regions], rows, tall=True)


def _method(report: Report, result: StudyResult) -> None:
    report.heading("How it was made")
    report.items(
        [
            "Row i of a time course is stimulus time 20 + 2i seconds. Word rate counts the words that "
            "start in each TR; layers of the language model are brought to the TRs by Lanczos "
            "interpolation; delays 1 to 4 TR reach back over chunk borders into the story that was "
            "really heard.",
            "Five contiguous chunks are left out one at a time, with a gap of "
            f"{result.provenance['gap (rows)']} TRs on either side.",
            "Slow drift: within each chunk the cosines slower than 150 s are projected out of the "
            "responses and of the delayed features, and each listener is z-scored. No number computed in "
            "one chunk enters another.",
            "Sound power is the regressor that was published with the data, with its haemodynamic response, "
            "and is moved one TR ahead so that the delays begin with it. Head motion is in no model.",
            "Beside controls: banded ridge with a penalty each for word rate, word controls, sound power and "
            f"layer, {result.provenance['draws of penalties for several bands']} draws of their proportions "
            "and three rounds of refinement, on the training chunks only. The draws are random: another seed "
            "moves the last digit.",
            f"Principal components ({result.provenance['components of a layer']} per layer), "
            "scaling, penalties (one per target) and the layer are learned on training chunks only; the "
            "layer is the one that does best for the group mean in the inner folds. The number of "
            "components and the period of the high-pass were settled while this protocol was written, "
            "with these data in view; the tables show what other periods give.",
        ]
    )


def _sensitivity(
    report: Report, scores: Mapping[float, Float64], group: NDArray[np.bool_], folder: Path
) -> None:
    """How much the result of word rate alone hangs on the high-pass."""
    header = ["high-pass within each chunk", "word rate, group mean", "word rate, single listeners"]
    rows = [
        [
            f"{cutoff:g} s" if cutoff > 0 else "none, only the mean",
            float(values[:, group].mean()),
            float(values[:, ~group].mean()),
        ]
        for cutoff, values in sorted(scores.items())
    ]
    write_table(folder / "high_pass.csv", header, rows)
    report.heading("Does the drift filter decide the result?")
    report.text("Word rate alone with other high-passes; the first of them leaves the drift in.")
    report.table(header, rows)


def _alignment(
    report: Report,
    scores: Mapping[int, Float64],
    result: StudyResult,
    group: NDArray[np.bool_],
    folder: Path,
) -> None:
    """The score as the layer is moved in time: high only where story and brain are aligned, unless there
    is a leak."""
    shifts = sorted(scores)
    curves = {
        "group mean": np.array([scores[shift][:, group].mean() for shift in shifts]),
        "single listeners": np.array([scores[shift][:, ~group].mean() for shift in shifts]),
    }
    control = {
        "group mean": float(result.control.scores[:, group].mean()),
        "single listeners": float(result.control.scores[:, ~group].mean()),
    }
    seconds = [float(shift * result.provenance["TR (s)"]) for shift in shifts]
    report.heading("Is it the words, or a leak?")
    report.figure(
        save(alignment_figure(seconds, curves, control), folder / "alignment.png"),
        "The most often chosen layer, moved in time against the responses before everything is fitted "
        "anew, while the word rate stays in place (dashed: word rate alone). A protocol that leaked "
        "would keep its score; here it falls to or below that of the word rate within a few seconds.",
        alt="Held-out correlation against the shift of the language model's features",
    )

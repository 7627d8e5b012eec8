"""The sections of the demo's page on the simulated study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.findings import Finding
from voxridge.demo.listeners import AUDITORY, LANGUAGE
from voxridge.demo.science import Science
from voxridge.demo.science_figures import recovery_figure, trends_figure
from voxridge.report.brain import SurfaceMap, lateralisation_figure, surface_figure
from voxridge.report.html import Report
from voxridge.report.scaling import scaling_figure
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.science.scaling import fit_scaling
from voxridge.study.results import write_table

Float64 = NDArray[np.float64]
FEWEST = 0.85
COLUMNS = ("quantity", "where", "truth", "found", "95 % interval", "inside")


def summary_section(report: Report, science: Science, figures: Path, tables: Path) -> None:
    """What was put in, what was found, and whether the one is in the interval of the other."""
    rows = science.findings.rows
    report.heading(f"Three models, {_count(science)} listeners: is the truth recovered?")
    report.text(_introduction(science))
    report.note(science.findings.sentence(), warning=science.findings.inside < FEWEST * len(rows))
    report.figure(
        save(recovery_figure(rows), figures / "recovery.png"),
        "Diamonds: computed from the simulation before any response was drawn. Dots and lines: mean over "
        "listeners and its 95 % interval. One interval in twenty is expected to miss; all rows come from the "
        "same listeners, so misses come together. Seeds were not chosen: bench/demo_coverage.py repeats the "
        "study with others and counts.",
        alt="Truth and interval of every quantity",
    )
    header = ["unit", "quantity", "where", "truth", "found", "low", "high", "inside", "sentence"]
    write_table(tables / "recovery.csv", header, [_table_row(row) for row in rows])
    report.table(COLUMNS, [_shown(row) for row in rows], tall=True)


def study_sections(report: Report, science: Science, figures: Path) -> None:
    """Scaling, lateralisation, ceilings, combined models and false positives, one section each."""
    _scaling(report, science, figures)
    _ceilings(report, science, figures)
    _combined(report, science, figures)
    _detection(report, science, figures)


def method_items(science: Science) -> list[str]:
    """How the simulated study was made, for the list of the page."""
    session, settings = science.session, science.session.settings
    reaches = "; ".join(f"{model.name} {model.deep:g} and {model.shallow:g}" for model in session.models)
    low, high = settings.strength
    return [
        f"Simulated study: {settings.chapters} chapters of {settings.rows} rows heard once and one heard "
        f"{settings.repeats} times. Its sources (four of language, and the word rate) are Gaussian series "
        "with the autocorrelation of the story's own: components of the layer above, and its word rate.",
        "Simulated models: each source, mixed with noise of the same autocorrelation, so that the best "
        "prediction correlates with it by a known amount; with deep and shallow sources of language: "
        f"{reaches}; with the word rate {session.models[0].rate:g}. Left language areas answer mostly to "
        "deep sources, right ones to shallow sources: so the left lean grows with the models.",
        f"Listeners: {settings.own:.0%} of the variance of their weights is their own, and the strengths of "
        f"their language and of their word-rate responses are drawn between {low:g} and {high:g} of the "
        "design. All areas answer a little to the other drive as well.",
        "Truth of the study: score, R², weight or ceiling of the best predictor, from the covariances of the "
        "sources and the expected noise, less the variance that a fit to so many rows is expected to add, "
        "averaged over the strengths a listener may have.",
        f"Fits of the study: delays {' and '.join(str(d) for d in settings.delays)} TR, one chapter left "
        "out, penalties by an inner cross-validation; the repeated chapter is predicted from all others.",
    ]


def _introduction(science: Science) -> str:
    session, audience = science.session, science.audience
    return (
        f"A second simulation puts {_count(science)} listeners and three models of growing quality on a "
        f"surface of {audience.cortex.n_vertices:,} vertices. How well each model can do at each vertex is "
        "known, and with it the slope of scores over models, the left lean and its growth, the ceilings, the "
        "weights of a stack and what each of two models explains alone. The analysis is that of a study and "
        f"knows nothing of this; one chapter was heard {session.settings.repeats} times. Below the table the "
        "one listener comes first, then these."
    )


def _count(science: Science) -> str:
    words = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
    n = len(science.audience.listeners)
    return words.get(n, str(n))


def _shown(row: Finding) -> list[Any]:
    return [
        row.topic,
        row.name,
        row.truth,
        row.found,
        f"{row.low:.3f} to {row.high:.3f}",
        "yes" if row.inside else "no",
    ]


def _table_row(row: Finding) -> list[Any]:
    return [
        row.unit,
        row.topic,
        row.name,
        row.truth,
        row.found,
        row.low,
        row.high,
        "yes" if row.inside else "no",
        row.sentence(),
    ]


def _scaling(report: Report, science: Science, figures: Path) -> None:
    found, models = science.findings, science.session.models
    parameters = [model.parameters for model in models]
    report.heading("Scaling, and the left lean that grows with it")
    scaling = found.scaling[LANGUAGE]
    report.figure(
        save(
            scaling_figure(
                scaling.fit,
                title="Language areas: score against nominal size",
                lines=(scaling.slopes, scaling.intercepts),
                lines_name="listener",
            ),
            figures / "scaling.png",
        ),
        "As a study draws it, without the truth. Classical errors of a line through three points say little; "
        "the interval over listeners is in the table above.",
        alt="Score of the simulated models against their nominal size",
    )
    by_listener = {
        "Language areas": (_scores(science, LANGUAGE), found.true_scores[LANGUAGE]),
        "Auditory areas": (_scores(science, AUDITORY), found.true_scores[AUDITORY]),
        "Left minus right": (found.lean.by_repeat[..., 1], found.true_lean.difference[:, 1]),
    }
    report.figure(
        save(
            trends_figure(
                models,
                by_listener,
                labels=["held-out correlation r", "held-out correlation r", "difference in r"],
            ),
            figures / "trends.png",
        ),
        "Larger models know more of what drives language areas, on the left above all; what they know of the "
        "word rate, which drives auditory areas, stays the same. Left minus right is over homologous pairs "
        "of vertices.",
        alt="Scores and left lean by model, found and true",
    )
    mean = mean_interval([one.scores[: len(models)] for one in science.listeners]).mean
    maps = [
        SurfaceMap(title, np.asarray(fit_scaling(parameters, scores).slope))
        for title, scores in (
            ("Truth: gain in r per decade of parameters", science.expected.scores[: len(models)]),
            ("Found: mean over listeners", mean),
        )
    ]
    report.figure(
        save(_surfaces(science, maps, 0.025, "gain in r per decade"), figures / "slopes.png"),
        "Slope of the held-out correlation at every vertex; less than 0.025 is not coloured.",
        alt="Surface maps of true and found slopes",
    )
    leans = {
        title: np.asarray(fit_scaling(parameters, lean.pair_difference).slope)
        for title, lean in (("Truth: how the left lean grows", found.true_lean), ("Found", found.lean))
    }
    figure = lateralisation_figure(
        science.audience.cortex,
        found.pairs,
        leans,
        threshold=0.025,
        label="left minus right, gain in r per decade",
    )
    report.figure(
        save(figure, figures / "lean.png"),
        "Slope of left minus right at every pair of homologous vertices, on the left hemisphere.",
        alt="Maps of the true and found growth of the left lean",
    )


def _scores(science: Science, area: str) -> Float64:
    members = science.audience.areas()[area]
    n_models = len(science.session.models)
    return np.stack([one.scores[:n_models, members].mean(axis=-1) for one in science.listeners])


def _ceilings(report: Report, science: Science, figures: Path) -> None:
    expected = science.expected
    found = mean_interval([one.ceiling for one in science.listeners]).mean
    undefined = np.mean([np.isnan(one.ceiling[science.audience.studied]) for one in science.listeners])
    report.heading("Ceilings")
    repeated = [
        SurfaceMap("Truth: best correlation with the mean of all presentations", expected.ceiling),
        SurfaceMap("Found: CCmax from the repeats, mean over listeners", found),
    ]
    report.figure(
        save(_surfaces(science, repeated, 0.3, "correlation r"), figures / "ceilings.png"),
        "How well anything could predict the mean over presentations. Less than 0.3 is not coloured. At "
        f"{undefined:.0%} of vertices, listeners taken together, repeats agree no better than chance: the "
        "ceiling is undefined there and nothing is divided by it.",
        alt="Surface maps of true and found ceilings",
    )
    shared = [
        SurfaceMap("Truth: one listener with the mean of the others", expected.isc),
        SurfaceMap("Found: mean over listeners", science.findings.isc.mean(axis=0)),
    ]
    report.figure(
        save(_surfaces(science, shared, 0.1, "correlation r"), figures / "isc.png"),
        "Lower than the ceiling from repeats: it is about one presentation, and the listeners' weights "
        "differ. Less than 0.1 is not coloured.",
        alt="Surface maps of the true and found correlation between listeners",
    )


def _combined(report: Report, science: Science, figures: Path) -> None:
    expected = science.expected
    shown = science.findings.detected.mean(axis=0) >= 0.5
    found = mean_interval([one.weight for one in science.listeners]).mean
    maps = [
        SurfaceMap("Truth: weight of the large model, the rest goes to the word rate", expected.weight),
        SurfaceMap(
            "Found: mean over listeners, where half of them or more are predicted",
            np.where(shown, found, np.nan),
        ),
    ]
    report.heading("Combining models")
    report.figure(
        save(_surfaces(science, maps, 0.0, "weight", maximum=1.0), figures / "weights.png"),
        "Convex weights per vertex, learned from left-out chapters and used on the repeated one. Dark: the "
        "word rate, which drives auditory areas; bright: the large model, which knows what drives language "
        "areas.",
        alt="Surface maps of true and found stacking weights",
    )


def _detection(report: Report, science: Science, figures: Path) -> None:
    found, audience, model = science.findings, science.audience, science.session.models[-1]
    large = len(science.session.models) - 1
    maps = [
        SurfaceMap(one.name.replace("-", " "), scores.repeated[large], significant=detected)
        for one, scores, detected in zip(audience.listeners, science.listeners, found.detected, strict=True)
    ]
    figure = surface_figure(
        audience.cortex,
        maps,
        threshold=0.1,
        label=f"correlation r, {model.name} model",
        views=("lateral",),
        columns=2,
        not_significant="hide",
    )
    hits = [one[audience.signal].mean() for one in found.detected]
    report.heading("Listener by listener, and what a permutation test calls significant")
    report.figure(
        save(figure, figures / "detected.png"),
        "Score in the repeated chapter, where it is significant: the prediction is shifted around in time, "
        f"Benjamini-Hochberg at 5 % over vertices. {np.mean(hits):.0%} of the vertices with any signal are "
        "found in a listener on average, the faint edges of areas among them.",
        alt="Surface maps of detected vertices, listener by listener",
    )


def _surfaces(
    science: Science, maps: list[SurfaceMap], threshold: float, label: str, maximum: float | None = None
) -> Any:
    return surface_figure(science.audience.cortex, maps, threshold=threshold, maximum=maximum, label=label)

"""Sections of the Alice page on controls, the model beside them, ceilings, layers, sides and folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.alice_figures import Ends, Panel, regions_figure
from voxridge.demo.alice_findings import above_chance, p_text, spread
from voxridge.demo.alice_models import ALL_CONTROLS, ALONE, BESIDE_RATE, JOINT, RATE
from voxridge.demo.alice_science import AliceScience
from voxridge.report.html import Report
from voxridge.report.layers import Curve, layer_figure
from voxridge.report.pages import interval_text
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.results import StudyResult, write_table

Float64 = NDArray[np.float64]
_SHOWN = (RATE, ALL_CONTROLS, ALONE, BESIDE_RATE, JOINT)


def controls_section(report: Report, science: AliceScience, tables: Path) -> None:
    """What is reached without a language model."""
    shape = science.shape
    rows: list[list[Any]] = []
    for model in science.controls:
        single = mean_interval(shape.listeners(model.scores).mean(axis=1))
        row: list[Any] = [model.name, float(shape.group(model.scores).mean()), interval_text(single)]
        test = science.over_rate.get(model.name)
        if test is None:
            rows.append([*row, "", ""])
        else:
            change = f"{float(test.mean):+.3f} ({spread(test.low, test.high)})"
            rows.append([*row, change, p_text(float(test.p_family)).removeprefix("p = ").removeprefix("p ")])
    header = ["control", "group mean", "listeners (95 %)", "minus word rate (95 %)", "p"]
    write_table(tables / "controls.csv", header, rows)
    report.heading("Controls first")
    report.text(
        "What is reached without the activations of a language model. Word controls: length, log frequency, "
        "position, and surprisal. Random vectors and embeddings are drawn once for each word and reduced to "
        "as many principal components as a layer. Autocorrelation alone knows which rows are neighbours."
    )
    report.table(header, rows)
    report.text(
        "Correlation r, mean over regions; intervals and p-values are over listeners, p by sign flips with "
        "all controls allowed for, two-sided."
    )


def beside_section(report: Report, science: AliceScience, figures: Path, tables: Path) -> None:
    """Unique R2, Omega and tests."""
    shape, beside = science.shape, science.beside
    report.heading("The language model beside all controls")
    report.text(
        "Word rate, word controls, sound power where it is there, and the layer chosen in each fold, each "
        "with a penalty of its own (banded ridge). Penalties of this section are chosen by R2, since R2 is "
        "what is compared; unique R2 is the R2 of everything minus that of all controls."
    )
    rows = _model_rows(science)
    header = ["model", "r group", "R2 group", "r listeners (95 %)", "R2 listeners (95 %)", "above chance"]
    report.table(header, rows)
    write_table(tables / "beside_controls.csv", header, rows)
    panels = [Panel("", {"single listeners, 95 % over listeners": _ends(beside.regions)})]
    figure = regions_figure(
        shape.regions, panels, label="unique R2", title="What the language model adds to all controls"
    )
    report.figure(
        save(figure, figures / "unique.png"),
        "Held-out R2 beside all controls minus that of all controls, mean over "
        f"{shape.n_listeners} listeners.",
        alt="Unique R2 by region",
    )
    report.table(_UNIQUE, _unique_rows(science))
    write_table(tables / "unique.csv", [*_UNIQUE[:-1], "p group, all regions"], _unique_rows(science))
    omega = beside.omega.mean
    ends = spread(omega.low, omega.high, signed=False, digits=1)
    report.text(
        f"Omega, the share of the language model's own R2 that the controls account for (Feghhi and others, "
        f"2024): {float(omega.mean):.1f} % over listeners ({ends}), {beside.group_omega:.1f} % on the group "
        f"mean. {_omega_note(science)}"
    )
    report.text(
        "Above chance: the number of regions in which the prediction of the group mean beats blocks "
        "permuted within the chunks (one-sided at 0.05, largest over regions, the null widened for folds "
        "that share training data). p over listeners: sign flips of their differences, two-sided, and the "
        f"largest t over all regions. p of the group mean's gain: signs of {beside.gain.n_blocks} blocks of "
        "the story flipped, two-sided, largest over regions; the flips know nothing of shared training data: "
        "trust small p less."
    )


_UNIQUE = [
    "unique R2",
    "listeners",
    "low",
    "high",
    "t",
    "p",
    "p, all regions",
    "group mean",
    "p, all regions ",
]


def _unique_rows(science: AliceScience) -> list[list[Any]]:
    beside, test, mean = science.beside, science.beside.regions, science.beside.mean
    rows = [
        [
            region,
            *(float(each[i]) for each in (test.mean, test.low, test.high, test.t, test.p_flips)),
            float(test.p_family[i]),
            float(beside.group_unique[i]),
            float(beside.gain.p_family[i]),
        ]
        for i, region in enumerate(science.shape.regions)
    ]
    overall = [float(each) for each in (mean.mean, mean.low, mean.high, mean.t, mean.p_flips)]
    return [*rows, ["mean of regions", *overall, "", float(beside.group_unique.mean()), ""]]


def _model_rows(science: AliceScience) -> list[list[Any]]:
    shape, beside = science.shape, science.beside
    rows = []
    for name in _SHOWN:
        scores = beside.scores[name]
        single = [mean_interval(shape.listeners(each).mean(axis=1)) for each in (scores.scores, scores.r2)]
        group = [float(shape.group(each).mean()) for each in (scores.scores, scores.r2)]
        found = len(above_chance(beside.tests[name], shape.regions))
        rows.append(
            [
                name.removeprefix("language "),
                *group,
                *map(interval_text, single),
                f"{found} of {shape.n_regions}",
            ]
        )
    return rows


def _omega_note(science: AliceScience) -> str:
    undefined = int(np.isnan(science.beside.omega.values).sum())
    if undefined == 0:
        return "100 % would mean that it adds nothing."
    return (
        f"100 % would mean that it adds nothing; {undefined} listener(s) are left out, as the language model "
        "alone has no R2 above 0 on them."
    )


def ceilings_section(report: Report, science: AliceScience, figures: Path, tables: Path) -> None:
    """What can be reached at all, and how much of it is."""
    shape, found, beside = science.shape, science.ceilings, science.beside
    shown = (RATE, ALL_CONTROLS, JOINT)
    single = {name: mean_interval(shape.listeners(beside.scores[name].scores)) for name in shown}
    panels = [
        Panel(
            "group mean, 95 % over blocks of the story",
            {name: _interval_ends(beside.group_r[name]) for name in shown},
            _ceiling_ends(found.group),
        ),
        Panel(
            "single listeners, 95 % over listeners",
            {name: (each.mean, each.low, each.high) for name, each in single.items()},
            _ceiling_ends(found.listener),
        ),
    ]
    figure = regions_figure(
        shape.regions, panels, label="held-out correlation r", title="Scores and their ceilings"
    )
    kinds = (
        ("single listeners", found.listener, found.normalised),
        ("group mean", found.group, found.group_normalised),
    )
    rows = [
        [
            kind,
            region,
            float(ceiling.values[i]),
            spread(*(end[i] for end in _ceiling_ends(ceiling)[1:]), signed=False),
            *(float(ratios[name].values[i]) for name in shown),
        ]
        for kind, ceiling, ratios in kinds
        for i, region in enumerate(shape.regions)
    ]
    ratios_of = ["word rate / it", "all controls / it", "all and model / it"]
    header = ["responses", "region", "ceiling", "95 %", *ratios_of]
    write_table(tables / "ceilings.csv", header, rows)
    report.heading("Ceilings")
    report.figure(
        save(figure, figures / "ceilings.png"),
        f"Grey: what could be reached. Single listeners: correlation of each with the mean of the other "
        f"{shape.n_listeners - 1}. Group mean: the correlation of halves of the listeners brought to all of "
        "them (Spearman and Brown), and its root. Intervals of ceilings: a jackknife over listeners. The two "
        "panels have axes of their own.",
        alt="Scores and ceilings by region",
    )
    report.table(header, rows)
    report.text(
        "Ceilings and scores are of the same five chunks, prepared alike, each chunk scored alone and the "
        "scores averaged. The ceiling of a listener is what the mean of the others says of him or her: a "
        "perfect model of what listeners share would go a little above it."
    )


def layer_choice_section(
    report: Report, science: AliceScience, result: StudyResult, shuffled: StudyResult, figures: Path
) -> None:
    """Layers over listeners; the peak, and what picking on the test would add."""
    shape, layers = science.shape, science.layers
    null = np.stack([shape.listeners(layer.scores).mean(axis=1) for layer in shuffled.layers])
    rate = shape.listeners(result.control.scores).mean(axis=1)
    curves = [Curve("single listeners", layers.curve, rate), Curve("words shuffled", null)]
    numbers = [int(model.layer or 0) for model in result.layers]
    figure = layer_figure(numbers, curves, control=RATE, repeats="listeners", chosen=result.chosen_layers)
    peak, most = layers.peak, layers.optimism
    last = max(max(numbers), 1)
    report.heading("Layers over listeners")
    report.figure(
        save(figure, figures / "layers_listeners.png"),
        "The same curve for single listeners, mean over regions, with the interval over listeners. Strip: "
        "where each curve is highest, with its interval. Listeners share the story, and with it whatever one "
        "layer fits in it by chance: of another story the curve may look otherwise.",
        alt="Held-out correlation by layer, over listeners",
    )
    edge = " The highest layer is at an end of the curve." if bool(peak.at_edge) else ""
    report.text(
        f"The curve is highest at {float(peak.depth):.2f} of the model's depth (layer "
        f"{float(peak.depth) * last:.1f} of {last}; 95 % over listeners "
        f"{spread(peak.low, peak.high, signed=False, digits=2)}).{edge} Its centre of mass is at "
        f"{float(peak.centre):.2f} ({spread(peak.centre_low, peak.centre_high, signed=False, digits=2)})."
    )
    report.note(
        f"Had each region's layer been picked on the chunks that are scored, the group mean's r would read "
        f"{float(np.nanmean(most.values)):.3f}; chosen on the other chunks it is "
        f"{float(np.nanmean(most.honest)):.3f}. The difference, {float(np.nanmean(most.optimism)):+.3f}, is "
        f"optimism; {most.n_layers} equally good layers would give "
        f"{float(np.nanmean(most.inflation)):+.3f}."
    )


def sides_section(report: Report, science: AliceScience, tables: Path) -> None:
    """Left against right, over listeners."""
    sides, ceiling = science.sides, science.ceilings.listener.values
    left, right = sides.places[0]
    rows: list[list[Any]] = []
    for name, found in sides.results.items():
        difference, test = found.difference_interval, sides.tests[name]
        rows.append(
            [
                name,
                float(np.nanmean(found.left[:, 0])),
                float(np.nanmean(found.right[:, 0])),
                float(difference.estimate[0]),
                float(difference.low[0]),
                float(difference.high[0]),
                float(test.p_flips),
            ]
        )
    header = ["model", "left r", "right r", "L - R", "low", "high", "p"]
    write_table(tables / "sides.csv", header, rows)
    report.heading("Left and right")
    report.text(
        f"{', '.join(sides.pairs)}: no other region of this data set has a homologue on the other side. A "
        "difference here is one between two spheres of 6 mm, in signal and noise as much as in language: "
        f"what listeners share, the ceiling, is {float(ceiling[left]):.2f} on the left and "
        f"{float(ceiling[right]):.2f} on the right."
    )
    report.table(header, rows)
    report.text("Single listeners; 95 % intervals and p (sign flips, two-sided) over listeners.")


def folds_section(report: Report, science: AliceScience, tables: Path) -> None:
    """The same models with folds that leak, and with a longer gap."""
    kinds = list(next(iter(science.folds.values())))
    header = ["model", *(f"{kind}: group mean (listeners)" for kind in kinds)]
    rows = [
        [name, *(f"{group:.3f} ({single:.3f})" for group, single in found.values())]
        for name, found in science.folds.items()
    ]
    write_table(tables / "folds.csv", header, rows)
    report.heading("What the folds are for")
    report.text(
        "The last column is what not to do: single rows shuffled into folds, so that the rows scored lie two "
        "seconds from rows trained on. Features that know nothing but which rows are neighbours then score, "
        "and what any model's score is made of can no longer be told. Between the two gaps beside contiguous "
        "chunks, whatever rests on autocorrelation shrinks."
    )
    report.table(["model", *kinds[:-1], f"{kinds[-1]} (never do this)"], rows)
    report.text("Mean r over regions of the group mean; in brackets, of single listeners.")


def _ends(test: Any) -> Ends:
    return test.mean, test.low, test.high


def _interval_ends(interval: Any) -> Ends:
    return interval.estimate, interval.low, interval.high


def _ceiling_ends(ceiling: Any) -> Ends:
    """The ceiling and its interval, which those of subjects always have."""
    return ceiling.values, ceiling.low, ceiling.high

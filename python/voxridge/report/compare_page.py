"""The page of a comparison of two studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxridge.report.html import Report
from voxridge.report.pages import folders, interval_text, run_card
from voxridge.report.study_figures import pairs_figure
from voxridge.report.style import save
from voxridge.science.intervals import mean_interval
from voxridge.study.comparison import Comparison
from voxridge.study.provenance import command_line, now, versions
from voxridge.study.results import write_table

HEADER = ["subject", "targets", "r first", "r second", "difference", "low", "high", "% better in second"]


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Tables, a figure and ``report.html`` in ``out``; the path of the page."""
    figures, tables = folders(out)
    rows = comparison_rows(comparison)
    write_table(tables / "subjects.csv", HEADER, rows)
    for name, subject in comparison.subjects.items():
        means = [subject.first.mean(axis=0), subject.second.mean(axis=0), subject.difference]
        columns = [[name, *map(float, values)] for name, *values in zip(subject.names, *means, strict=True)]
        write_table(tables / f"targets_{name}.csv", ["name", "r first", "r second", "difference"], columns)
    report = Report("Two models on the same responses", "voxridge compare")
    first, second = comparison.titles
    report.text(f"First: {first}. Second: {second}. Differences are second minus first.", lead=True)
    report.note(sentence(comparison))
    for note in comparison.notes:
        report.note(note, warning=True)
    report.figure(
        save(pairs_figure(comparison), figures / "compare.png"),
        "Held-out correlation of the layers chosen in each fold, one dot per target. Above the dashed line "
        "the second model predicts better.",
        alt="Scores of the second model against the first",
    )
    report.heading("Subjects")
    report.table(HEADER, rows)
    report.text(
        "The interval of a subject is over the outer folds, which share training data: it describes, and is "
        "no test. Targets are not independent, so their number proves nothing."
    )
    report.heading("What was set differently")
    if comparison.settings:
        report.items(comparison.settings)
    else:
        report.text("Nothing but the models.")
    run_card(report, {"made": now(), "command": command_line(), "versions": versions()})
    return report.write(out / "report.html", f"Made by voxridge {versions()['voxridge']} on {now()}.")


def comparison_rows(comparison: Comparison) -> list[list[Any]]:
    """One row per subject, as in `HEADER`."""
    rows = []
    for name, subject in comparison.subjects.items():
        gain = mean_interval(np.nanmean(subject.second - subject.first, axis=1))
        better = float(100 * np.mean(subject.difference > 0))
        means = [float(np.nanmean(subject.first)), float(np.nanmean(subject.second))]
        ends = [float(gain.mean), float(gain.low), float(gain.high)]
        rows.append([name, len(subject.names), *means, *ends, better])
    return rows


def sentence(comparison: Comparison) -> str:
    """The finding in words, claiming no more than the number of subjects allows."""
    test = comparison.test
    if test is None:
        subject = next(iter(comparison.subjects.values()))
        gain = mean_interval(np.nanmean(subject.second - subject.first, axis=1))
        return (
            f"One subject: the mean difference is {interval_text(gain)} over the outer folds. It says "
            "nothing about other people."
        )
    return (
        f"{len(comparison.subjects)} subjects: the mean difference is {float(test.mean):+.4f} "
        f"({float(test.low):+.4f} to {float(test.high):+.4f}), p = {float(test.p_flips):.3g} by sign flips "
        f"(the smallest that so many subjects can give is {float(test.smallest_p):.3g})."
    )

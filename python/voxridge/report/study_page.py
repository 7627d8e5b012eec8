"""The page of a study: what was found first, then how it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxridge.report.html import Report
from voxridge.report.pages import folders, penalties, run_card, warnings_section
from voxridge.report.study_layers import layers_section, training_section
from voxridge.report.study_limits import ceiling_section, stacking_section
from voxridge.report.study_maps import maps_section
from voxridge.report.study_rois import rois_section
from voxridge.report.study_science import scaling_section, sides_section
from voxridge.report.study_sections import (
    controls_section,
    overview,
    significance_section,
    study_warnings,
    tables_section,
)
from voxridge.report.style import SERIES
from voxridge.study.outcome import Study
from voxridge.study.outcome_file import write_outcome

_SECTIONS = (
    rois_section,
    layers_section,
    training_section,
    scaling_section,
    sides_section,
    stacking_section,
    ceiling_section,
)


def write_study(out: Path, study: Study) -> Path:
    """Figures, tables, maps, results and ``report.html`` in ``out``; the path of the page."""
    figures, tables = folders(out)
    report = Report(study.config.title, "voxridge study")
    overview(report, study, figures)
    controls_section(report, study, figures)
    for section in _SECTIONS:
        section(report, study, figures, tables)
    significance_section(report, study)
    maps_section(report, study, out / "maps", figures)
    penalties(report, study.first.first.alphas, _chosen_alphas(study), figures)
    tables_section(report, study, tables)
    warnings_section(report, study_warnings(study))
    run_card(report, study.provenance)
    write_outcome(study, out / "results.h5")
    versions = study.provenance["versions"]
    footer = f"Made by voxridge {versions['voxridge']} on {study.provenance['made']}."
    return report.write(out / "report.html", footer)


def _chosen_alphas(study: Study) -> dict[str, NDArray[np.float64]]:
    """Penalties of the chosen layers by model, all subjects together."""
    return {
        model: np.concatenate([s.results[model].chosen_alphas.ravel() for s in study.subjects.values()])
        for model in study.some_models(len(SERIES))
    }

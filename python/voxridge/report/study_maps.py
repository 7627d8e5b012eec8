"""Section of a study's page with maps of the brain: what is written as images, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxridge.report.html import Report
from voxridge.report.maps import write_maps
from voxridge.report.style import save
from voxridge.report.surface_maps import Canvas, SurfacePage, surface_space
from voxridge.report.volumes import volume_figure

if TYPE_CHECKING:
    from voxridge.study.outcome import Study, SubjectOutcome

Float64 = NDArray[np.float64]
_MOST_SLICED = 3
_UNITS = {"r": "correlation", "unique R2": "R2", "r with controls": "correlation"}


def maps_section(report: Report, study: Study, folder: Path, figures: Path) -> None:
    """Write every map as an image where it is known where the targets are, and draw the main ones."""
    placed = {
        name: subject
        for name, subject in study.subjects.items()
        if subject.geometry is not None and subject.geometry.kind != "columns"
    }
    if not placed:
        return
    report.heading("Maps")
    written = [path for name, subject in placed.items() for path in _write(study, name, subject, folder)]
    _draw(report, study, placed, figures)
    report.text(
        f"{len(written)} images in the folder maps, one per subject, model and statistic, named like "
        f"{written[0].name}."
    )


def _write(study: Study, name: str, subject: SubjectOutcome, folder: Path) -> list[Path]:
    geometry, space = subject.geometry, study.config.responses.space
    assert geometry is not None
    written: list[Path] = []
    sets = {model: subject_maps(subject, model) for model in subject.results}
    if subject.stack is not None:
        weights = zip(subject.stack.names, subject.stack.weights, strict=True)
        sets["stack"] = {f"weight {model}": values for model, values in weights}
    if subject.slopes is not None:
        sets["scaling"] = {"r per decade of parameters": subject.slopes}
    for model, maps in sets.items():
        whole = {key: subject.columns(np.asarray(values, float)) for key, values in maps.items()}
        options = {"subject": name, "model": model, "space": "" if space == "individual" else space}
        units = {key: unit for key, unit in _UNITS.items() if key in whole}
        written += write_maps(folder, whole, geometry, **options, units=units, overwrite=True)  # type: ignore[arg-type]
    return written


def subject_maps(subject: SubjectOutcome, model: str) -> dict[str, NDArray[np.float64]]:
    """All maps (n_targets,) of a subject and model."""
    result = subject.results[model]
    return {"r": result.chosen.mean(axis=0), **result.maps}


def _draw(report: Report, study: Study, placed: dict[str, SubjectOutcome], figures: Path) -> None:
    space = study.config.responses.space
    flat = {name: subject for name, subject in placed.items() if surface_space(subject.geometry, space)}
    try:
        if flat:
            SurfacePage(report, study, Canvas.of(flat, space), figures).draw()
        else:
            _slices(report, study, placed, figures)
    except ImportError as error:
        report.note(f"No pictures of the brain: {error}", warning=True)
    except ValueError as error:
        report.note(f"The maps could not be drawn: {error}", warning=True)


def _slices(report: Report, study: Study, placed: dict[str, SubjectOutcome], figures: Path) -> None:
    """Axial slices of each subject: in the page for the first few, else in the folder of figures."""
    volumes = {name: s for name, s in placed.items() if s.geometry and s.geometry.kind == "volume"}
    if not volumes:
        report.text("CIFTI and surfaces other than fsaverage are written as images and not drawn here.")
    for number, (name, subject) in enumerate(volumes.items()):
        for kind, path, caption in _sliced(study, name, subject, figures):
            if number < _MOST_SLICED:
                report.figure(path, caption, alt=f"Slices through the brain of {name}: {kind}")
    if volumes and study.config.responses.space == "":
        report.text(
            'Where the volumes lie is not said: responses.space = "MNI152NLin2009cAsym", say, draws them on '
            "the cortical surface, and the mean over subjects."
        )


def _sliced(
    study: Study, name: str, subject: SubjectOutcome, figures: Path
) -> Iterator[tuple[str, Path, str]]:
    """Scores where they are above chance, and what the model adds to the controls."""
    maps, where = subject_maps(subject, study.best), f"{study.best}, {name}, in the voxels of the recording."
    scores, how = maps["r"], "Mean held-out correlation over the folds"
    if "detected" in maps and maps["detected"].any():
        scores = np.where(maps["detected"] > 0, scores, np.nan)
        how += f" where it is above chance (FDR {study.config.analysis.rate:g})"
    kinds = {"r": (scores, "correlation r", "sequential", how)}
    if "unique R2" in maps:
        caption = "What the model adds to all controls; below 0 it predicts worse"
        kinds["unique"] = (maps["unique R2"], "unique R2 over all controls", "diverging", caption)
    assert subject.geometry is not None
    for kind, (values, label, palette, caption) in kinds.items():
        figure = volume_figure(
            subject.geometry,
            subject.columns(np.asarray(values, dtype=np.float64)),
            title=f"{name}, {study.best}: {label}",
            label=label,
            palette=palette,  # type: ignore[arg-type]
        )
        yield kind, save(figure, figures / f"map-{kind}-{name}.png"), f"{caption}. {where}"

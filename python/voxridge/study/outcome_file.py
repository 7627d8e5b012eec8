"""A study in HDF5: every score of every subject and model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from voxridge.streams.atomic import atomic_path
from voxridge.study.outcome import Study, SubjectOutcome
from voxridge.study.results import write_result

FORMAT = "voxridge study 2"


def write_outcome(study: Study, path: Path) -> None:
    """Write ``/subjects/<subject>/<model>/`` as `write_result` does, with stacks and ceilings beside."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["title"] = study.config.title
        file.attrs["provenance"] = json.dumps(study.provenance, default=str)
        file.attrs["models"] = json.dumps([dataclasses.asdict(size) for size in study.sizes])
        for name, subject in study.subjects.items():
            _write_subject(subject, file.create_group(f"subjects/{name}"))
        if study.isc is not None:
            file["isc"] = study.isc.values


def _write_subject(subject: SubjectOutcome, group: Any) -> None:
    group["usable"] = subject.usable
    models = group.create_group("models")
    first = None
    for title, result in subject.results.items():
        own = models.create_group(title)
        write_result(result, own, first)
        first = own if first is None else first
    if subject.stack is not None:
        for name in ("fold_weights", "fold_scores", "fold_best_scores"):
            group[f"stack/{name}"] = getattr(subject.stack, name)
        group["stack"].attrs["models"] = json.dumps(subject.stack.names)
    for name, inside in subject.rois.items():
        group[f"rois/{name}"] = inside
    for title, found in subject.training.items():
        own = group.create_group(f"training/{title}")
        own["sizes"], own["samples"], own["scores"] = found.sizes, found.samples, found.scores
    if subject.slopes is not None:
        group["slopes"] = subject.slopes
    for run, ceiling in subject.ceilings.items():
        ceiling.write_to(group.create_group(f"ceilings/{run}"))

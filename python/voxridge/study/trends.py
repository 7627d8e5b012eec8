"""What a study makes of several models and subjects together: scaling laws, lateralisation, ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.responses import Geometry
from voxridge.responses.cortex import load_cortex
from voxridge.science.hemispheres import Hemispheres, find_hemispheres, hemispheres_from_names
from voxridge.science.intersubject import IntersubjectCorrelation, leave_one_out_isc
from voxridge.science.lateral_models import LateralisationByModel, lateralisation_by_model
from voxridge.science.saturation import plateau_test
from voxridge.science.scaling import fit_scaling
from voxridge.science.scaling_subjects import subject_scaling
from voxridge.study.outcome import ModelSize, Study, SubjectOutcome, Trend

Array = NDArray[Any]
Float64 = NDArray[np.float64]
PREDICTORS = ("parameters", "perplexity", "benchmark")
FEWEST_MODELS = 3
FEWEST_SUBJECTS = 3
_UNSAID_SPACE = (
    "left and right were paired as in MNI space, where voxels mirror each other at x = 0; in the space of an "
    'individual scan that is wrong. Say responses.space = "MNI152", or "individual" to leave it out.'
)


def score_trends(study: Study) -> dict[str, Trend]:
    """Mean score against each property that is known of at least three models."""
    trends = {}
    for predictor in PREDICTORS:
        known = [i for i, size in enumerate(study.sizes) if getattr(size, predictor) is not None]
        values = {getattr(study.sizes[i], predictor) for i in known}
        if len(values) >= FEWEST_MODELS:
            sizes = [study.sizes[i] for i in known]
            trends[predictor] = trend(sizes, study.table[:, known], predictor, list(study.subjects))
    return trends


def trend(sizes: Sequence[ModelSize], scores: Float64, predictor: str, subjects: Sequence[str]) -> Trend:
    """The fit of scores (n_subjects, n_models) against a property of the models."""
    x = np.array([getattr(size, predictor) for size in sizes], dtype=np.float64)
    families = [size.family for size in sizes]
    known: dict[str, Any] = {"predictor": predictor, "names": [size.title for size in sizes]}
    if all(families) and 1 < len(set(families)) < len(families):
        known["families"] = families
    several = None if len(subjects) < 2 else subject_scaling(x, scores, subjects=list(subjects), **known)
    fit = fit_scaling(x, scores[0], **known) if several is None else several.fit
    plateau = None
    if len(sizes) > FEWEST_MODELS + 1 and predictor == "parameters":
        plateau = plateau_test(x, scores.mean(axis=0), predictor=predictor)
    return Trend(fit, several, plateau)


class SharedResponses:
    """Responses of all subjects, held for the correlation between them: as long as they have the same targets
    and take less than ``limit`` bytes."""

    def __init__(self, limit: int = 4 << 30) -> None:
        self.of_all: dict[str, Sequence[Array]] = {}
        self.notes: list[str] = []
        self._limit, self._wanted = limit, True

    def keep(self, study: Study, name: str, parts: Sequence[Array]) -> None:
        """Take in a subject's parts, or let go of all."""
        if not self._wanted or not study.shared_space:
            self._wanted = False
            self.of_all.clear()
            return
        self.of_all[name] = parts
        held = sum(part.nbytes for own in self.of_all.values() for part in own)
        if held > self._limit:
            self._wanted = False
            self.of_all.clear()
            self.notes.append(
                f"The correlation between subjects was left out: their responses take more than "
                f"{self._limit / 2**30:.0f} GiB. voxridge.science.leave_one_out_isc takes response stores."
            )


def study_trends(study: Study, prepared: Mapping[str, Sequence[Array]]) -> None:
    """Fill in what needs all subjects and models; ``prepared``: responses of each part by subject."""
    study.trends = score_trends(study)
    study.isc = intersubject(study, prepared)
    study.sides = sides(study)
    sized = [size.parameters for size in study.sizes]
    if None in sized or len(set(sized)) < FEWEST_MODELS:
        return
    for roi in study.rois:
        scores = study.roi_table(roi)
        if np.isfinite(scores).all(axis=1).any():
            study.roi_trends[roi] = _trend(study, scores, list(study.subjects))
    _side_trends(study)
    parameters = np.array(sized, dtype=np.float64)
    for subject in study.subjects.values():
        scores = np.stack([result.chosen.mean(axis=0) for result in subject.results.values()])
        subject.slopes = fit_scaling(parameters, scores, predictor="parameters").slope


def _trend(study: Study, scores: Float64, subjects: Sequence[str]) -> Trend:
    """On the number of parameters, of the subjects without a gap."""
    whole = np.asarray(np.isfinite(scores).all(axis=1))
    kept = [name for name, good in zip(subjects, whole, strict=True) if good]
    return trend(study.sizes, scores[whole], "parameters", kept)


def _side_trends(study: Study) -> None:
    tables = list(study.sides.values())
    for region in dict.fromkeys(name for table in tables for name in table.regions):
        having = {name: table for name, table in study.sides.items() if region in table.regions}
        differences = np.stack([t.difference[:, t.regions.index(region)] for t in having.values()])
        if np.isfinite(differences).all(axis=1).any():
            study.side_trends[region] = _trend(study, differences, list(having))


def intersubject(study: Study, prepared: Mapping[str, Sequence[Array]]) -> IntersubjectCorrelation | None:
    """Correlation of each subject with the mean of the others, where three or more share their targets."""
    lengths = {tuple(len(part) for part in parts) for parts in prepared.values()}
    if len(prepared) < FEWEST_SUBJECTS or not study.shared_space or len(lengths) > 1:
        return None
    (runs,) = lengths
    subjects = [np.concatenate(parts) for parts in prepared.values()]
    return leave_one_out_isc(subjects, list(runs), combine="mean of runs")


def sides(study: Study) -> dict[str, LateralisationByModel]:
    """Left minus right of every subject's homologous targets, where it is known which these are."""
    tables = {}
    space = study.config.responses.space
    for name, subject in study.subjects.items():
        hemispheres = subject_hemispheres(subject, space)
        if hemispheres is None:
            continue
        scores = {model: subject.columns(result.chosen) for model, result in subject.results.items()}
        if not space and subject.geometry is not None and subject.geometry.kind == "volume":
            study.notes.append(f"{name}: {_UNSAID_SPACE}")
        # A region and its mirror image: pairs with either member inside.
        tables[name] = lateralisation_by_model(
            scores, hemispheres, over="folds", rois=_paired(subject, hemispheres), mask_rule="either"
        )
    return tables


def _paired(subject: SubjectOutcome, hemispheres: Hemispheres) -> dict[str, NDArray[np.bool_]]:
    """Regions over all columns, of those with homologous targets."""
    rois = {}
    for name, inside in subject.rois.items():
        whole = subject.columns(inside.astype(np.float64)) == 1
        if hemispheres.symmetric(whole, "either").any():
            rois[name] = whole
    return rois


def subject_hemispheres(subject: SubjectOutcome, space: str) -> Hemispheres | None:
    """Homologous targets by where they are or what they are called; None where neither tells."""
    geometry = subject.geometry
    try:
        if geometry is not None and geometry.kind != "columns":
            found = find_hemispheres(geometry, surfaces=_surfaces(geometry), space=space)
        else:
            names = np.full(len(subject.usable), "", dtype=object)
            names[subject.usable] = subject.first.targets["name"]
            found = hemispheres_from_names([str(name) for name in names])
    except ValueError:
        return None
    return found if found.n_pairs > 0 else None


def _surfaces(geometry: Geometry) -> Any:
    """Coordinates of the vertices of a surface that comes with nilearn: fsaverage5."""
    if geometry.kind != "surface":
        return None
    cortex = load_cortex()
    if geometry.shape != (cortex.left.n_vertices, cortex.right.n_vertices):
        return None
    return cortex.left.pial, cortex.right.pial

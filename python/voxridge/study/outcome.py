"""What a study found: the results of every subject and model, and what is made of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.study.analyses import PairAnalysis
from voxridge.study.config import StudyConfig
from voxridge.study.results import StudyResult

if TYPE_CHECKING:
    from voxridge.responses import Geometry
    from voxridge.science.ceilings import Ceiling
    from voxridge.science.intersubject import IntersubjectCorrelation
    from voxridge.science.lateral_models import LateralisationByModel
    from voxridge.science.saturation import PlateauTest
    from voxridge.science.scaling import ScalingFit
    from voxridge.science.scaling_subjects import SubjectScaling
    from voxridge.science.stacking import StackedResult
    from voxridge.study.extraction import ModelFeatures
    from voxridge.study.training import TrainingSizes

Float64 = NDArray[np.float64]
Values = Callable[[StudyResult], NDArray[Any]]


@dataclass(frozen=True)
class ModelSize:
    """What scaling laws need to know of a model; None where it is not known."""

    title: str
    family: str | None = None
    parameters: float | None = None
    perplexity: float | None = None
    benchmark: float | None = None


@dataclass
class SubjectOutcome:
    """Of one subject: results and analyses by model, the stack of all models, ceilings by run, regions as
    masks over the targets, scores by the number of training runs, slopes of each target's score per decade of
    parameters."""

    name: str
    results: dict[str, StudyResult]
    analyses: dict[str, PairAnalysis]
    left_out: list[str]
    usable: NDArray[np.bool_]
    geometry: Geometry | None
    stack: StackedResult | None = None
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    rois: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    training: dict[str, TrainingSizes] = field(default_factory=dict)
    slopes: Float64 | None = None

    @property
    def first(self) -> StudyResult:
        """Of the first model: the controls are the same in all."""
        return next(iter(self.results.values()))

    def mean(self, values: NDArray[Any], roi: str = "") -> Float64:
        """Mean (...,) of values (..., n_targets) over all targets, or a region: NaN where there is none."""
        if not roi:
            return np.asarray(np.nanmean(values, axis=-1), dtype=np.float64)
        if roi not in self.rois:
            return np.full(values.shape[:-1], np.nan)
        return np.asarray(np.nanmean(values[..., self.rois[roi]], axis=-1), dtype=np.float64)

    def columns(self, values: NDArray[Any]) -> Float64:
        """Values (..., n_targets) of the usable targets over all columns of the files, NaN elsewhere."""
        whole = np.full((*values.shape[:-1], len(self.usable)), np.nan)
        whole[..., self.usable] = values
        return whole


@dataclass
class Trend:
    """Score against a property of the models: the fit over models, over subjects where there are several, and
    whether it flattens."""

    fit: ScalingFit
    subjects: SubjectScaling | None
    plateau: PlateauTest | None

    @property
    def lines(self) -> tuple[Float64, Float64] | None:
        """Slope and intercept of each subject."""
        return None if self.subjects is None else (self.subjects.slopes, self.subjects.intercepts)


@dataclass
class Study:
    """Everything the tables, figures and the report are made from.

    ``trends``: by predictor; ``roi_trends``: of each region, on the number of parameters; ``sides``: by
    subject; ``side_trends``: of left minus right, by region.
    """

    config: StudyConfig
    sizes: list[ModelSize]
    subjects: dict[str, SubjectOutcome]
    provenance: dict[str, Any]
    trends: dict[str, Trend] = field(default_factory=dict)
    sides: dict[str, LateralisationByModel] = field(default_factory=dict)
    side_trends: dict[str, Trend] = field(default_factory=dict)
    roi_trends: dict[str, Trend] = field(default_factory=dict)
    isc: IntersubjectCorrelation | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> list[str]:
        return [size.title for size in self.sizes]

    @property
    def first(self) -> SubjectOutcome:
        return next(iter(self.subjects.values()))

    @property
    def rois(self) -> list[str]:
        """Regions that at least one subject has."""
        return list(dict.fromkeys(name for subject in self.subjects.values() for name in subject.rois))

    @property
    def rois_asked(self) -> list[str]:
        """Regions that a subject has, and those that the study names."""
        return list(dict.fromkeys([*self.config.rois.targets, *self.config.rois.names.values(), *self.rois]))

    def some_models(self, most: int) -> list[str]:
        """The models to draw where only so many can be told apart: the first, the last, some between."""
        names = self.models
        places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
        return [names[i] for i in places]

    @property
    def best(self) -> str:
        """The model with the highest mean score."""
        return max(self.models, key=lambda model: float(np.nanmean(self.scores(model))))

    @property
    def repeats(self) -> str:
        """What intervals run over: subjects, or the outer folds of a single one."""
        return "subjects" if len(self.subjects) > 1 else "outer folds"

    @property
    def shared_space(self) -> bool:
        """Whether all subjects have the same targets, in the same places where these are known."""
        names = [outcome.first.targets["name"] for outcome in self.subjects.values()]
        places = [outcome.geometry for outcome in self.subjects.values()]
        return all(own == names[0] for own in names) and all(_same(own, places[0]) for own in places)

    def over_repeats(self, model: str, values: Values, roi: str = "") -> Float64:
        """``values(result)`` (n_folds, n_targets) averaged over targets, or a region's, to one number per
        subject, or per fold of a single subject."""
        found = [subject.mean(values(subject.results[model]), roi) for subject in self.subjects.values()]
        return found[0] if len(found) == 1 else np.array([own.mean() for own in found])

    def scores(self, model: str, roi: str = "") -> Float64:
        """Mean over targets of the chosen layers' score, (n_subjects,)."""
        subjects = self.subjects.values()
        return np.array([subject.mean(subject.results[model].chosen, roi).mean() for subject in subjects])

    @property
    def table(self) -> Float64:
        """Mean scores, (n_subjects, n_models)."""
        return self.roi_table()

    def roi_table(self, roi: str = "") -> Float64:
        """Mean scores in a region, (n_subjects, n_models)."""
        return np.stack([self.scores(model, roi) for model in self.models], axis=1)


def _same(one: Geometry | None, other: Geometry | None) -> bool:
    """Whether two subjects' columns are in the same places."""
    if one is None or other is None:
        return one is other
    same_mask = (one.mask is None and other.mask is None) or np.array_equal(one.mask, other.mask)  # type: ignore[arg-type]
    return (one.kind, one.shape, one.n_columns) == (other.kind, other.shape, other.n_columns) and same_mask


def model_sizes(features: Sequence[ModelFeatures]) -> list[ModelSize]:
    """What is known of each model: as the study says, or the published table, or counted when it was read."""
    from voxridge.science.model_table import model_facts

    sizes = []
    for model in features:
        config = model.config
        try:
            facts: Any = model_facts(config.name)
        except ValueError:
            facts = None
        counted = _counted(model.store.provenance)
        sizes.append(
            ModelSize(
                model.title,
                config.family or getattr(facts, "family", None),
                config.parameters or getattr(facts, "parameters", None) or counted,
                config.perplexity or getattr(facts, "perplexity", None),
                config.benchmark or getattr(facts, "hellaswag", None),
            )
        )
    return sizes


def _counted(provenance: dict[str, Any]) -> float | None:
    """Parameters counted when the activations were extracted."""
    found = provenance.get("model", {})
    count = found.get("n_parameters") if isinstance(found, dict) else None
    return None if count is None else float(count)

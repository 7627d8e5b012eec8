"""Maps of a study on the surface of fsaverage5: means over subjects, and each of them in small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.report.brain import SurfaceMap, lateralisation_figure, surface_figure
from voxridge.report.html import Report
from voxridge.report.projection import surface_values
from voxridge.report.style import save
from voxridge.responses.cortex import Cortex, load_cortex

if TYPE_CHECKING:
    from voxridge.responses import Geometry
    from voxridge.study.outcome import Study, SubjectOutcome

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Take = Callable[["SubjectOutcome"], NDArray[Any] | None]
_FSAVERAGE5 = (10242, 10242)
_ENOUGH_SUBJECTS = 6
_NEAR_ZERO = 0.05
_MOST = {"subjects": 12, "weights": 4, "sides": 3, "outlines": 6}


def surface_space(geometry: Geometry | None, space: str) -> str:
    """The space for `surface_values`; empty where the columns cannot be drawn on fsaverage5."""
    if geometry is None:
        return ""
    if geometry.kind == "volume":
        return space if space.startswith("MNI") else ""
    if geometry.kind == "surface" and geometry.hemispheres == ("L", "R"):
        known = "fsaverage5" if geometry.shape == _FSAVERAGE5 else ""
        return space if space.startswith("fsaverage") else known
    return ""


@dataclass(frozen=True)
class Canvas:
    """The subjects that can be drawn on one surface."""

    cortex: Cortex
    subjects: dict[str, SubjectOutcome]
    space: str

    @classmethod
    def of(cls, subjects: dict[str, SubjectOutcome], space: str) -> Canvas:
        """On fsaverage5."""
        return cls(load_cortex(), subjects, space)

    def each(self, take: Take) -> Float64:
        """(n_subjects, n_vertices) of the subjects that have the map; ``take`` gives (n_targets,) or None."""
        found = []
        for subject in self.subjects.values():
            values = take(subject)
            if values is not None and subject.geometry is not None:
                whole = subject.columns(np.asarray(values, dtype=np.float64))
                space = surface_space(subject.geometry, self.space)
                found.append(surface_values(subject.geometry, whole, space=space, cortex=self.cortex))
        return np.array(found).reshape(len(found), self.cortex.n_vertices)

    def mean(self, take: Take) -> Float64:
        """Mean (n_vertices,) over the subjects that have a value there."""
        return over_known(self.each(take))


def over_known(values: Float64) -> Float64:
    """Mean over the first axis of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


@dataclass(frozen=True)
class SurfacePage:
    """The figures of one study, at most eight."""

    report: Report
    study: Study
    canvas: Canvas
    figures: Path

    def draw(self) -> None:
        """All maps there are."""
        self._scores()
        self._subjects()
        self._normalised()
        self._unique()
        self._layers()
        self._weights()
        self._sides()
        self._slopes()

    @property
    def _whose(self) -> str:
        names = list(self.canvas.subjects)
        return names[0] if len(names) == 1 else f"Mean of {len(names)} subjects"

    def _show(self, name: str, figure: Any, caption: str) -> None:
        path = save(figure, self.figures / f"map-{name}.png")
        self.report.figure(path, caption, alt=f"Cortical surface: {caption.partition('.')[0]}")

    def _scores(self) -> None:
        each = self.canvas.each(partial(_score, self.study.best))
        values = over_known(each)
        if not np.isfinite(values).any():
            self.report.text("No target lies on the cortical surface; there is nothing to draw.")
            return
        significant, how = self._significant(each)
        drawn = SurfaceMap(
            f"{self._whose}: {self.study.best}", values, significant, outlines=self._outlines()
        )
        figure = surface_figure(
            self.canvas.cortex,
            [drawn],
            threshold=_threshold(values),
            label="held-out correlation r",
            views=("lateral", "medial", "flat"),
        )
        self._show("r", figure, f"Held-out correlation of the layers chosen in the folds.{how}")

    def _significant(self, each: Float64) -> tuple[Bools | None, str]:
        """Of a single subject its own test; of many, over subjects; a few are not tested."""
        rate = self.study.config.analysis.rate
        if len(each) == 1:
            found = self.canvas.each(partial(_map_of, self.study.best, "detected"))
            if not len(found):
                return None, ""
            return found[0] >= 0.5, f" Faded where it is not above chance (FDR {rate:g})."
        if len(each) < _ENOUGH_SUBJECTS:
            return None, f" {len(each)} subjects are too few to test each vertex over them."
        detected = _tested(each, rate)
        return detected, f" Faded where the mean over subjects is not above 0 (t test, FDR {rate:g})."

    def _outlines(self) -> dict[str, Bools]:
        """Borders of the first regions of interest."""
        outlines = {}
        for roi in self.study.rois[: _MOST["outlines"]]:
            inside = self.canvas.mean(partial(_roi, roi))
            if (inside >= 0.5).any():
                outlines[roi] = inside >= 0.5
        return outlines

    def _subjects(self) -> None:
        """Small multiples in the page, a figure of each subject beside it."""
        names = list(self.canvas.subjects)
        if len(names) < 2:
            return
        each = self.canvas.each(partial(_score, self.study.best))
        label = "held-out correlation r"
        maps = [SurfaceMap(name, values) for name, values in zip(names, each, strict=True)]
        shown = maps[: _MOST["subjects"]]
        top = float(np.nanpercentile(each, 99.8))
        options: dict[str, Any] = {"label": label, "maximum": top if top > 0 else None}
        options["threshold"] = _threshold(each)
        figure = surface_figure(self.canvas.cortex, shown, views=("lateral",), columns=2, **options)
        more = f" The first {len(shown)} of {len(maps)}." if len(maps) > len(shown) else ""
        self._show("subjects", figure, f"Each subject: {self.study.best}.{more} All have the same colours.")
        folder = self.figures / "subjects"
        folder.mkdir(exist_ok=True)
        for one in maps:
            save(surface_figure(self.canvas.cortex, [one], **options), folder / f"map-r-{one.title}.png")

    def _normalised(self) -> None:
        runs = list(dict.fromkeys(run for s in self.canvas.subjects.values() for run in s.ceilings))
        if not runs:
            return
        own = partial(_map_of, self.study.best)
        scores = [self.canvas.each(partial(own, f"normalised r {run}")) for run in runs]
        values = over_known(np.concatenate(scores))
        low = over_known(np.concatenate([self.canvas.each(partial(_ceiling_low, run)) for run in runs]))
        uncertain = np.isfinite(values) & ~(low > 0)
        drawn = SurfaceMap(f"{self._whose}: {self.study.best}", values, below_ceiling=uncertain)
        figure = surface_figure(self.canvas.cortex, [drawn], maximum=1.0, label="r / ceiling (CCmax)")
        caption = f"Scores divided by their ceilings, of {', '.join(runs)}. Hatched: the interval of the "
        self._show("normalised", figure, caption + "ceiling reaches 0.")

    def _unique(self) -> None:
        each = self.canvas.each(partial(_map_of, self.study.best, "unique R2"))
        if len(each):
            drawn = SurfaceMap(f"{self._whose}: {self.study.best}", over_known(each))
            figure = surface_figure(
                self.canvas.cortex, [drawn], palette="diverging", label="unique R2 over all controls"
            )
            self._show("unique", figure, "What the model adds to all controls; below 0 it predicts worse.")

    def _layers(self) -> None:
        numbers = np.array(
            [float(layer.layer or 0) for layer in self.study.first.results[self.study.best].layers]
        )
        depths = numbers / max(numbers.max(), 1.0)

        def take(subject: SubjectOutcome) -> NDArray[Any] | None:
            position = _map_of(self.study.best, "preferred layer", subject)
            if position is None:
                return None
            known = np.isfinite(position)
            return np.where(known, depths[np.where(known, position, 0).astype(int)], np.nan)

        values = self.canvas.mean(take) if len(numbers) > 1 else np.array([np.nan])
        if not np.isfinite(values).any():
            return
        drawn = SurfaceMap(f"{self._whose}: {self.study.best}", values)
        label = "depth of the best layer (0: embedding, 1: last layer used)"
        figure = surface_figure(self.canvas.cortex, [drawn], palette="ordinal", maximum=1.0, label=label)
        self._show("layers", figure, "Preferred layer. Grey: layers differ by no more than the folds do.")

    def _weights(self) -> None:
        stacks = [s.stack for s in self.canvas.subjects.values() if s.stack is not None]
        if not stacks:
            return
        names = stacks[0].names
        means = np.mean([np.nanmean(stack.weights, axis=1) for stack in stacks], axis=0)
        chosen = sorted(np.argsort(-means)[: _MOST["weights"]].tolist())
        maps = [SurfaceMap(names[i], self.canvas.mean(partial(_weight, i))) for i in chosen]
        options: dict[str, Any] = {"columns": _columns(maps), "views": ("lateral",)}
        figure = surface_figure(self.canvas.cortex, maps, maximum=1.0, label="weight in the stack", **options)
        more = "" if len(chosen) == len(names) else f" The {len(chosen)} models with the largest weights."
        self._show("weights", figure, f"Weights of the stacked models, {self._whose.lower()}.{more}")

    def _sides(self) -> None:
        from voxridge.science.hemispheres import hemispheres_from_surfaces

        cortex = self.canvas.cortex
        pairs = hemispheres_from_surfaces(cortex.left.pial, cortex.right.pial)
        models = self.study.some_models(_MOST["sides"])
        maps: dict[str, Float64] = {}
        for model in models:
            values = self.canvas.mean(partial(_score, model))
            maps[model] = values[pairs.left] - values[pairs.right]
        if not all(np.isfinite(values).any() for values in maps.values()):
            return
        figure = lateralisation_figure(cortex, pairs, maps, columns=_columns(models))
        caption = f"Left minus right at homologous vertices, drawn on the left, {self._whose.lower()}."
        self._show("sides", figure, caption)

    def _slopes(self) -> None:
        each = self.canvas.each(lambda subject: subject.slopes)
        if not len(each):
            return
        drawn = SurfaceMap(f"{self._whose}, {len(self.study.models)} models", over_known(each))
        label = "slope: r per decade of parameters"
        figure = surface_figure(self.canvas.cortex, [drawn], palette="diverging", label=label)
        self._show("slopes", figure, "Scaling at each vertex: what ten times the parameters add to r.")


def _threshold(scores: Float64) -> float:
    """Scores near 0 are left grey, unless there is little else."""
    return _NEAR_ZERO if np.nanpercentile(scores, 99.8) > 4 * _NEAR_ZERO else 0.0


def _tested(each: Float64, rate: float) -> Bools:
    """Where the mean over subjects is above 0."""
    from voxridge.science.multiple import fdr
    from voxridge.science.subjects import subject_test

    return np.asarray(
        fdr(subject_test(each, alternative="greater", n_permutations=19).p_values, rate).detected
    )


def _map_of(model: str, name: str, subject: SubjectOutcome) -> NDArray[Any] | None:
    return subject.results[model].maps.get(name)


def _score(model: str, subject: SubjectOutcome) -> NDArray[Any]:
    return np.asarray(subject.results[model].chosen.mean(axis=0))


def _roi(name: str, subject: SubjectOutcome) -> NDArray[Any] | None:
    return subject.rois.get(name)


def _ceiling_low(run: str, subject: SubjectOutcome) -> NDArray[Any] | None:
    return subject.ceilings[run].low if run in subject.ceilings else None


def _weight(position: int, subject: SubjectOutcome) -> NDArray[Any] | None:
    return None if subject.stack is None else subject.stack.weights[position]


def _columns(maps: Sequence[Any]) -> int:
    return 1 if len(maps) == 1 else 2

"""All fits that a table of models and scores allows, in one go."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxridge._warnings import CollinearityWarning, SmallSampleWarning
from voxridge.science._lines import Float64, is_downward, named_value
from voxridge.science.multiple import fdr
from voxridge.science.partial import PartialEffects, partial_effects
from voxridge.science.saturation import PlateauTest, plateau_test, slope_above
from voxridge.science.scaling import ScalingFit, fit_scaling
from voxridge.science.scaling_families import Influence, leave_one_out, wild_interval
from voxridge.science.scaling_subjects import SubjectScaling, subject_scaling
from voxridge.science.score_table import ScoreTable, known_name
from voxridge.science.slopes import SlopeInterval

_METHODS = ("classical", "families", "within families", "wild", "subjects")


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    x: str = "parameters"
    log: bool | None = None
    per_roi: bool = False
    baseline: str | float = "smallest"
    above: float | None = None
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """One series of scores: the mean over regions, one region, or left minus right of one."""

    name: str
    fit: ScalingFit
    intervals: dict[str, SlopeInterval]
    difference: bool  # left minus right: no percentages
    subjects: SubjectScaling | None = None
    plateau: PlateauTest | None = None
    influence: tuple[Influence, ...] = ()
    upper: ScalingFit | None = None


@dataclass(frozen=True)
class Analysis:
    """Everything that the command prints, draws and writes."""

    options: Options
    whole: Part
    rois: tuple[Part, ...]
    sides: tuple[Part, ...]
    partial: PartialEffects | None
    messages: tuple[str, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.whole, *self.rois, *self.sides)


def analyse(table: ScoreTable, options: Options) -> Analysis:
    """Fit everything; warnings become messages."""
    options = replace(options, x=known_name(options.x))  # by which less is known to be better
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SmallSampleWarning)
        warnings.simplefilter("always", CollinearityWarning)
        whole, rois, sides, partial = _analyse(table, options)
    texts = [str(entry.message) for entry in caught if issubclass(entry.category, UserWarning)]
    if whole.fit.points != "models":
        texts.append(
            "Training sets that hold each other are not independent: intervals over them are too narrow."
        )
    elif table.families is None:
        texts.append(
            "No families: intervals take the models as independent, which models of one family are not. "
            "Add a column family."
        )
    left_out = [
        name for name, score in zip(whole.fit.names, whole.fit.scores, strict=True) if not np.isfinite(score)
    ]
    if left_out:
        texts.append(f"Left out, for a score of theirs is missing: {', '.join(left_out)}{_lacking(table)}.")
    return Analysis(options, whole, rois, sides, partial, tuple(dict.fromkeys(texts)))


def _lacking(table: ScoreTable) -> str:
    """Regions and subjects that miss scores of some models, where there are several."""
    known = np.isfinite(table.scores)
    found = []
    for what, names, have in (
        ("regions", table.rois, np.atleast_1d(known.all(axis=(0, 1)))),
        ("subjects", table.subjects, np.atleast_1d(known.all(axis=(1, 2)))),
    ):
        if len(names) > 1 and not have.all():
            found.append(
                f"{what} {', '.join(name for name, all_ in zip(names, have, strict=True) if not all_)}"
            )
    return f" (in {'; '.join(found)})" if found else ""


_Fits = tuple[Part, tuple[Part, ...], tuple[Part, ...], PartialEffects | None]


def _analyse(table: ScoreTable, options: Options) -> _Fits:
    x = table.predictor(options.x)
    pairs = table.sides()
    name = "mean of all regions" if len(table.rois) > 1 else table.rois[0] or "all"
    whole = _part(name, table, x, table.scores.mean(axis=2), options, difference=False)
    regions = range(len(table.rois)) if options.per_roi and len(table.rois) > 1 else []
    rois = tuple(
        _part(table.rois[i], table, x, table.scores[:, :, i], options, difference=False) for i in regions
    )
    sides = tuple(
        _part(
            f"{roi}: left − right",
            table,
            x,
            table.scores[:, :, left] - table.scores[:, :, right],
            options,
            difference=True,
        )
        for roi, (left, right) in pairs.items()
    )
    return whole, rois, sides, _partial(table, whole, options)


def _part(
    name: str, table: ScoreTable, x: Float64, scores: Float64, options: Options, *, difference: bool
) -> Part:
    """scores (n_subjects, n_models)."""
    shared: dict[str, Any] = {
        "predictor": options.x,
        "log": options.log,
        "families": table.families,
        "names": table.models,
        "level": options.level,
    }
    _check_enough(name, scores, table)
    several = len(table.subjects) > 1
    subjects = subject_scaling(x, scores, subjects=table.subjects, **shared) if several else None
    fit = subjects.fit if subjects else fit_scaling(x, scores[0], **shared)
    intervals = dict(fit.intervals)
    influence = [leave_one_out(fit)]
    if "families" in intervals:
        intervals["wild"] = wild_interval(fit, seed=options.seed)
        influence.append(leave_one_out(fit, what="families"))
    if subjects:
        intervals["subjects"] = subjects.interval
    plateau = None
    if not difference:
        plateau = plateau_test(
            x,
            fit.scores,
            predictor=options.x,
            log=options.log,
            families=table.families,
            above=options.above,
            seed=options.seed,
        )
    upper = None
    if options.above is not None:
        upper = slope_above(x, fit.scores, options.above, **shared)
    return Part(name, fit, intervals, difference, subjects, plateau, tuple(influence), upper)


def _check_enough(name: str, scores: Float64, table: ScoreTable) -> None:
    complete = int(np.isfinite(scores).all(axis=0).sum())
    if complete < 3:
        raise ValueError(
            f"{name}: {complete} model(s) have a score in all subjects and regions; at least 3 are needed"
            + (f"; scores are missing{missing}: leave these out" if (missing := _lacking(table)) else "")
        )


def _partial(table: ScoreTable, whole: Part, options: Options) -> PartialEffects | None:
    """Size, width and depth together, where all three are known and models are enough."""
    columns = [table.predictors.get(name) for name in ("parameters", "hidden", "layers")]
    if any(column is None or not np.isfinite(column).all() for column in columns) or len(table.models) < 8:
        return None
    known = np.isfinite(whole.fit.scores)
    size, width, depth = (np.asarray(column)[known] for column in columns)
    if known.sum() < 8 or np.linalg.matrix_rank(np.column_stack([np.log(size), width, depth, size**0])) < 4:
        return None
    return partial_effects(whole.fit.scores[known], np.log(size), width, depth, level=options.level)


# --- tables


def fit_rows(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    """One row for each series: every number of its fit."""
    columns: list[dict[str, Any]] = []
    for part in analysis.parts:
        columns.append(_fit_row(part, analysis.options))
    _add_corrected(columns, analysis)
    header = list(dict.fromkeys(name for row in columns for name in row))
    return header, [[row.get(name, "") for name in header] for row in columns]


def _fit_row(part: Part, options: Options) -> dict[str, Any]:
    fit = part.fit
    row: dict[str, Any] = {
        "series": part.name,
        "x": fit.predictor,
        "scale": "log10" if fit.log else "linear",
        "models": int(fit.n_models),
        "families": "" if fit.families is None else len(set(fit.families)),
        "subjects": "" if part.subjects is None else len(part.subjects.subjects),
        "slope": float(fit.slope),
        "slope per unit of ln": float(fit.slope_ln) if fit.log else "",
        "intercept": float(fit.intercept),
        "r": float(fit.r),
        "p": float(fit.p),
        "R2": float(fit.r2),
        "AIC": float(fit.aic),
        "residual sd": float(fit.residual_sd),
    }
    for method in _METHODS:
        if method in part.intervals:
            ends = part.intervals[method]
            values = zip(
                ("slope", "low", "high", "p"), (ends.slope, ends.low, ends.high, ends.p), strict=True
            )
            row |= {f"{method}: {name}": float(value) for name, value in values}
    if not part.difference:
        gain = fit.gain(options.baseline)
        row |= {"gain % per decade": float(gain.per_decade), "gain % per doubling": float(gain.per_doubling)}
        row |= {} if fit.log else {"gain % per unit": float(gain.per_unit)}
        row |= {"gain low": float(gain.low), "gain high": float(gain.high), "gain of": gain.baseline}
    if part.plateau is not None:
        row |= {"plateau": part.plateau.verdict, "plateau p": part.plateau.p}
        row |= {f"weight {name}": shape.weight for name, shape in part.plateau.shapes.items()}
    if part.upper is not None:
        ends = part.upper.interval
        row |= {"models beyond": int(part.upper.n_models), "slope beyond": float(ends.slope)}
        row |= {"slope beyond low": float(ends.low), "slope beyond high": float(ends.high)}
        row["slope beyond p"] = float(ends.p)
    return row


def _add_corrected(rows: list[dict[str, Any]], analysis: Analysis) -> None:
    """Benjamini-Hochberg over the regions, and over the differences."""
    first = 1
    for parts in (analysis.rois, analysis.sides):
        if len(parts) > 1:
            found = fdr([float(part.fit.interval.p) for part in parts])
            for row, q in zip(rows[first : first + len(parts)], found.q_values, strict=True):
                row["p corrected over series"] = float(q)
        first += len(parts)


def model_rows(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    """One row for each model of the first series: where it is and how far from the line."""
    fit = analysis.whole.fit
    low, high = fit.band(fit.x, kind="prediction")
    header = [
        "model",
        "family",
        fit.predictor,
        "score",
        "fitted",
        "residual",
        "prediction low",
        "prediction high",
    ]
    columns = (fit.x, fit.scores, fit.fitted, fit.residuals, low, high)
    families = fit.families or ("",) * len(fit.x)
    numbers = np.column_stack(columns).tolist()
    return header, [[name, kin, *row] for name, kin, row in zip(fit.names, families, numbers, strict=True)]


def subject_rows(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    """Slope and r of every subject in every series."""
    rows = []
    for part in analysis.parts:
        if part.subjects is not None:
            found = part.subjects
            lines = zip(found.subjects, found.slopes, found.intercepts, found.r, strict=True)
            rows += [[part.name, name, *(float(value) for value in line)] for name, *line in lines]
    return ["series", "subject", "slope", "intercept", "r"], rows


# --- words


def sentences(part: Part, options: Options) -> list[str]:
    """What may be said of a series, a sentence each."""
    intervals = [f"{_capital(method)}: {ends.sentence()}." for method, ends in part.intervals.items()]
    plateau = [] if part.plateau is None else [f"Plateau: {part.plateau.sentence}"]
    return [*line_sentences(part), *intervals, *more_sentences(part, options), *plateau]


def line_sentences(part: Part) -> list[str]:
    """The line itself."""
    fit = part.fit
    kind = "logarithm to base 10" if fit.log else "value"
    step = "per decade" if fit.log else f"per unit of {fit.predictor}"
    natural = f" ({fit.slope_ln:.4g} per unit of the natural logarithm)" if fit.log else ""
    return [
        f"{_capital(part.name)}: score against the {kind} of {fit.predictor}, {int(fit.n_models)} "
        f"{fit.points}: r = {fit.r:.3f}, R2 = {fit.r2:.3f}, p = {fit.p:.2g}, AIC = {fit.aic:.1f}.",
        f"Slope {fit.slope:.4g} {step}{natural}.",
    ]


def more_sentences(part: Part, options: Options) -> list[str]:
    """Gain, single models and families, and the larger models alone."""
    found = [] if part.difference else [f"Gain: {part.fit.gain(options.baseline).sentence()}."]
    found += [entry.sentence() for entry in part.influence]
    if part.upper is not None and options.above is not None:
        side = "below" if is_downward(options.x) else "above"
        found.append(
            f"Only {side} {named_value(options.above, options.x)} ({int(part.upper.n_models)} models): "
            f"r = {part.upper.r:.2f}, p = {part.upper.p:.2g}; slope {part.upper.interval.sentence()}."
        )
    return found


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

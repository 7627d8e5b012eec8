"""The simulated study's results beside the truth: one row for each quantity, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.demo.expected import Expected
from voxridge.demo.listeners import AUDITORY, LANGUAGE, SILENT, Audience, scan
from voxridge.demo.listening import ListenerScores, filtered
from voxridge.demo.session import Session
from voxridge.science.hemispheres import Hemispheres, hemispheres_from_surfaces
from voxridge.science.intersubject import leave_one_out_isc
from voxridge.science.lateral_models import LateralisationByModel, lateralisation_by_model
from voxridge.science.multiple import fdr
from voxridge.science.scaling import fit_scaling
from voxridge.science.scaling_subjects import SubjectScaling, subject_scaling
from voxridge.science.subject_products import jackknife_interval
from voxridge.science.subjects import subject_test
from voxridge.science.variance import unique_variance

Float64 = NDArray[np.float64]
RATE_LEVEL, LEVEL = 0.05, 0.95
WHOLE = "whole map"
SLOPES = "Gain in r per decade of parameters"
SIDES = "Left minus right (r)"
CEILINGS = "Ceilings and scores divided by them (r)"
WEIGHTS = "Stacking weights, large model against word rate"
GAINS = "What both explain together, and what only one of them"
ERRORS = "False positives of the permutation test, as shares"


@dataclass(frozen=True)
class Finding:
    """A quantity with its truth; ``low`` and ``high`` bound 95 % over listeners.

    ``topic``: what it is; ``name``: where on the cortex; ``unit``: heading of the rows that share an axis.
    """

    unit: str
    topic: str
    name: str
    truth: float
    found: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds the truth."""
        return bool(self.low <= self.truth <= self.high)

    def sentence(self) -> str:
        """All of it in words."""
        holds = "holds" if self.inside else "does not hold"
        what = self.topic[0].upper() + self.topic[1:]
        return (
            f"{what} ({self.name}): found {self.found:.3f}, and the interval over listeners, {self.low:.3f} "
            f"to {self.high:.3f}, {holds} the truth, {self.truth:.3f}."
        )


@dataclass(frozen=True)
class Findings:
    """All rows, and what the figures are made from.

    ``scaling``: by area, over listeners, and ``true_scores`` (n_models,) beside it; ``lean``: left - right by
    model and listener over ``pairs`` of vertices, beside the truth; ``isc``, ``detected``: (n_listeners,
    n_vertices).
    """

    rows: tuple[Finding, ...]
    scaling: dict[str, SubjectScaling]
    true_scores: dict[str, Float64]
    lean: LateralisationByModel
    true_lean: LateralisationByModel
    pairs: Hemispheres
    isc: Float64
    detected: NDArray[np.bool_]

    @property
    def inside(self) -> int:
        """Rows whose interval holds the truth."""
        return sum(row.inside for row in self.rows)

    def sentence(self) -> str:
        """The line of the report that says how well the truth was recovered."""
        n = len(self.rows)
        missed = [f"{row.topic}, {row.name}" for row in self.rows if not row.inside]
        text = f"{self.inside} of {n} intervals over listeners hold the simulated truth"
        return text + ("." if not missed else f"; outside: {'; '.join(missed)}.")


def find(
    audience: Audience, session: Session, expected: Expected, listeners: Sequence[ListenerScores]
) -> Findings:
    """Set what was found in the listeners against what was put in."""
    areas = audience.areas()
    models = session.models
    scores = np.stack([one.scores[: len(models)] for one in listeners])
    scaling, true_scores, rows = {}, {}, []
    for name, members in {**areas, WHOLE: audience.studied}.items():
        scaling[name] = _over_models(session, scores[..., members].mean(axis=-1))
        true_scores[name] = expected.scores[: len(models), members].mean(axis=-1)
        rows.append(_slope("gain per decade", name, true_scores[name], scaling[name]))
    pairs = hemispheres_from_surfaces(audience.cortex.left.pial, audience.cortex.right.pial)
    lean = _lean(audience, session, np.moveaxis(scores, 1, 0), pairs)
    true_lean = _lean(audience, session, expected.scores[: len(models), None], pairs)
    leans = true_lean.difference[:, 1]
    trend = _over_models(session, lean.by_repeat[..., 1])
    rows.append(_slope("gain of left - right per decade", LANGUAGE, leans, trend))
    for position, model in enumerate(models):
        values = lean.by_repeat[:, position, 1]
        rows.append(_row(SIDES, f"left - right, {model.name} model", LANGUAGE, leans[position], values))
    isc = _isc(audience, session)
    rows += _ceilings(audience, session, expected, listeners, isc)
    rows += _combinations(audience, session, expected, listeners)
    detected = np.stack([fdr(one.p_values, RATE_LEVEL).detected for one in listeners])
    rows += _false_positives(audience, listeners, detected)
    return Findings(tuple(rows), scaling, true_scores, lean, true_lean, pairs, isc[0], detected)


def _row(unit: str, topic: str, name: str, truth: float, values: ArrayLike) -> Finding:
    """A row from one value per listener."""
    test = subject_test(values)
    return Finding(unit, topic, name, float(truth), float(test.mean), float(test.low), float(test.high))


def _over_models(session: Session, scores: Float64) -> SubjectScaling:
    """Lines of (n_listeners, n_models) against the nominal parameters."""
    names = [model.name for model in session.models]
    return subject_scaling([model.parameters for model in session.models], scores, names=names)


def _slope(topic: str, name: str, truth: Float64, scaling: SubjectScaling) -> Finding:
    interval = scaling.interval
    true_slope = float(fit_scaling(scaling.fit.x, truth).slope)
    found, low, high = (float(value) for value in (interval.slope, interval.low, interval.high))
    return Finding(SLOPES, topic, name, true_slope, found, low, high)


def _lean(audience: Audience, session: Session, scores: Float64, pairs: Hemispheres) -> LateralisationByModel:
    """Left - right over homologous pairs of the language areas; scores (n_models, n_repeats, n_vertices)."""
    by_model = {model.name: values for model, values in zip(session.models, scores, strict=True)}
    return lateralisation_by_model(
        by_model,
        pairs,
        over="subjects" if scores.shape[1] > 1 else None,
        mask=audience.studied,
        rois={LANGUAGE: audience.areas()[LANGUAGE]},
    )


def _isc(audience: Audience, session: Session) -> tuple[Float64, Float64]:
    """Every listener's correlation with the mean of the others, and its mean over listeners with each of them
    taken out altogether, both (n_listeners, n_vertices), in the first presentation of the last chapter."""
    chapter = session.settings.chapters
    heard = [filtered(scan(one, audience, session, chapter), session) for one in audience.listeners]
    by_listener, without = np.full((2, len(heard), len(audience.studied)), np.nan)
    by_listener[:, audience.studied] = leave_one_out_isc(heard).by_subject
    for out in range(len(heard)):
        others = [run for number, run in enumerate(heard) if number != out]
        without[out, audience.studied] = leave_one_out_isc(others).values
    return by_listener, without


def _shared(topic: str, name: str, truth: float, values: Float64, without: Float64) -> Finding:
    """A row about what listeners share: their values hang together, so the interval is a jackknife."""
    mean = values.mean()
    low, high = jackknife_interval(np.array([mean]), without[None], LEVEL)
    return Finding(CEILINGS, topic, name, float(truth), float(mean), float(low[0]), float(high[0]))


def _ceilings(
    audience: Audience,
    session: Session,
    expected: Expected,
    listeners: Sequence[ListenerScores],
    isc: tuple[Float64, Float64],
) -> list[Finding]:
    areas, left = audience.areas(), audience.cortex.side_mask("left")
    places = {
        f"{LANGUAGE}, left": areas[LANGUAGE] & left,
        f"{LANGUAGE}, right": areas[LANGUAGE] & ~left,
        AUDITORY: areas[AUDITORY],
    }
    repeats = f"CCmax from {session.settings.repeats} repeats"
    rows = []
    for name, members in places.items():
        values = [np.nanmean(one.ceiling[members]) for one in listeners]
        rows.append(_row(CEILINGS, repeats, name, expected.ceiling[members].mean(), values))
    for name, members in places.items():
        between, without = (maps[:, members].mean(axis=1) for maps in isc)
        truth = expected.isc[members].mean()
        rows.append(_shared("correlation with other listeners", name, truth, between, without))
    members = areas[LANGUAGE]
    for position, model in enumerate(session.models):
        values = [np.nanmean(one.normalised[position, members]) for one in listeners]
        truth = expected.normalised[position, members].mean()
        rows.append(_row(CEILINGS, f"normalised score, {model.name} model", LANGUAGE, truth, values))
    return rows


def _combinations(
    audience: Audience, session: Session, expected: Expected, listeners: Sequence[ListenerScores]
) -> list[Finding]:
    """Stacking, and the partition of variance, between the last model and the word rate."""
    areas = {name: members for name, members in audience.areas().items() if name != SILENT}
    large, rate, joint = len(session.models) - 1, len(session.models), len(session.models) + 1
    name = session.models[-1].name

    def compare(unit: str, topic: str, of: Callable[[ListenerScores | Expected], Float64]) -> list[Finding]:
        truth = of(expected)
        values = np.stack([of(one) for one in listeners])
        return [
            _row(unit, topic, area, truth[members].mean(), np.nanmean(values[:, members], axis=1))
            for area, members in areas.items()
        ]

    def unique(model: int) -> Callable[[ListenerScores | Expected], Float64]:
        return lambda maps: np.asarray(unique_variance(maps.r2[joint], maps.r2[model]))

    rows = compare(WEIGHTS, f"stacking weight, {name} model", lambda maps: maps.weight)
    rows += compare(GAINS, "gain of the stack (r)", lambda maps: maps.stacked - maps.best)
    rows += compare(GAINS, f"R² only the {name} model explains", unique(rate))
    return rows + compare(GAINS, "R² only the word rate explains", unique(large))


def _false_positives(
    audience: Audience, listeners: Sequence[ListenerScores], detected: NDArray[np.bool_]
) -> list[Finding]:
    silent = audience.areas()[SILENT]
    share = float(silent.sum() / audience.studied.sum())
    uncorrected = [(one.p_values[silent] <= RATE_LEVEL).mean() for one in listeners]
    wrong = [found[silent].sum() / max(found.sum(), 1) for found in detected]
    return [
        _row(ERRORS, "share with p ≤ 0.05", SILENT, RATE_LEVEL, uncorrected),
        # Benjamini and Hochberg's procedure errs by its rate times the share of vertices without signal.
        _row(ERRORS, "false detections at q = 0.05", WHOLE, RATE_LEVEL * share, wrong),
    ]

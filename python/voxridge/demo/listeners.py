"""Simulated listeners on a coarse cortex: what drives each vertex of each of them, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.session import DEEP, N_SOURCES, RATE, ScienceSettings, Session
from voxridge.demo.simulate import designed_maps, noise_rows
from voxridge.responses.cortex import Cortex, Hemisphere
from voxridge.study.prepare import drift_basis

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
DEEP_SHARE = {"left": 0.9, "right": 0.1}
OTHER = 0.45
"""What language areas answer to the word rate, and auditory areas to language, as a share of their own."""
CORE, SILENT_STEP = 0.3, 3
LANGUAGE, AUDITORY, SILENT = "language areas", "auditory areas", "no signal"


@dataclass(frozen=True)
class Listener:
    """One listener; ``language`` and ``rate`` are loadings (n_sources, 2, n_vertices) of responses of unit
    power, ``strengths`` the factors on the designed correlations of the two."""

    name: str
    language: Float64
    rate: Float64
    strengths: tuple[float, float]
    seed: tuple[int, int]


@dataclass(frozen=True)
class Audience:
    """The listeners and what they share.

    ``designed``: (2, n_vertices) reachable correlation with one chapter heard once, of language and of word
    rate alone, for a strength of 1; ``noise``: variance of a vertex's noise after the high-pass.
    """

    cortex: Cortex
    listeners: tuple[Listener, ...]
    designed: Float64
    noise: float
    settings: ScienceSettings

    def amplitudes(self, language: float, rate: float) -> Float64:
        """Standard deviation (2, n_vertices) of the two responses of a listener of the given strengths."""
        reachable = self.designed * np.array([[language], [rate]])
        return np.asarray(np.sqrt(self.noise / (1.0 - reachable**2)) * reachable)

    @property
    def signal(self) -> NDArray[np.bool_]:
        """Vertices that answer to anything, (n_vertices,)."""
        return np.asarray((self.designed > 0).any(axis=0))

    @property
    def studied(self) -> NDArray[np.bool_]:
        """Vertices that are fitted: all with signal, and a sample of the others, which save time."""
        return np.asarray(self.signal | (np.arange(len(self.signal)) % SILENT_STEP == 0))

    def areas(self) -> dict[str, NDArray[np.bool_]]:
        """The cores of each kind of area, by what drives them most, and the vertices without signal; where
        areas of both kinds overlap, a vertex is in neither."""
        language, rate = self.designed
        core = np.maximum(language, rate) >= CORE
        return {
            LANGUAGE: core & (rate <= OTHER * language * 1.001),
            AUDITORY: core & (language <= OTHER * rate * 1.001),
            SILENT: self.studied & ~self.signal,
        }


def make_audience(cortex: Cortex, session: Session) -> Audience:
    """Draw the listeners, on the cortex as it is given."""
    settings = session.settings
    language, rate = designed_maps(cortex, settings.base)
    designed = np.stack([np.maximum(language, OTHER * rate), np.maximum(rate, OTHER * language)])
    rng = np.random.default_rng((settings.seed, 0))
    late = np.concatenate(
        [0.5 + 0.5 * np.tanh(side.smooth_fields(1, 30.0, rng))[:, 0] for side in cortex.sides]
    )
    shared = _fields(cortex, rng)
    gram = np.mean([session.gram(chapter)[0, :, :, 0] for chapter in range(settings.chapters)], axis=0)
    drawn = np.random.default_rng((settings.seed, 1)).uniform(*settings.strength, (settings.listeners, 2))
    listeners = []
    for number, strengths in enumerate(drawn, start=1):
        seed = (settings.seed, 1 + number)
        own = _fields(cortex, np.random.default_rng(seed))
        weights = np.sqrt(1.0 - settings.own) * shared + np.sqrt(settings.own) * own
        loadings = np.stack([weights * (1.0 - late), weights * late], axis=1)
        listeners.append(
            Listener(
                f"listener-{number}",
                _language(loadings, gram, cortex),
                _unit_power(_only(loadings, slice(RATE, None)), gram),
                (float(strengths[0]), float(strengths[1])),
                seed,
            )
        )
    noise = noise_power(settings)
    return Audience(cortex, tuple(listeners), designed, noise, settings)


def _fields(cortex: Cortex, rng: np.random.Generator) -> Float64:
    """Smooth random weights (n_sources, n_vertices); those of the word rate are one."""
    fields = np.concatenate([side.smooth_fields(N_SOURCES, 15.0, rng) for side in cortex.sides]).T
    fields[RATE] = 1.0
    return np.asarray(fields)


def _language(loadings: Float64, gram: Float64, cortex: Cortex) -> Float64:
    """Deep and shallow sources in the proportions of each side, together of unit power."""
    share = np.where(cortex.side_mask("left"), DEEP_SHARE["left"], DEEP_SHARE["right"])
    deep = _unit_power(_only(loadings, slice(0, DEEP)), gram)
    shallow = _unit_power(_only(loadings, slice(DEEP, RATE)), gram)
    return _unit_power(np.sqrt(share) * deep + np.sqrt(1.0 - share) * shallow, gram)


def _only(loadings: Float64, sources: slice) -> Float64:
    kept = np.zeros_like(loadings)
    kept[sources] = loadings[sources]
    return kept


def _unit_power(loadings: Float64, gram: Float64) -> Float64:
    power = np.einsum("kav,kalb,lbv->v", loadings, gram, loadings, optimize=True)
    return np.asarray(loadings / np.sqrt(power))


def noise_power(settings: ScienceSettings) -> float:
    """Expected variance of a vertex's noise, AR(1) with drifts, after the high-pass."""
    base, rows = settings.base, settings.rows
    basis = drift_basis(rows, base.tr, base.high_pass)
    covariance = base.noise_ar ** np.abs(np.subtract.outer(np.arange(rows), np.arange(rows)))
    slow = base.drift * np.cos(np.pi * np.linspace(0.0, 1.0, rows)[:, None] * np.arange(1, 3))
    covariance += slow @ slow.T
    return float(
        (np.trace(covariance) - np.einsum("ti,ts,si->", basis, covariance, basis, optimize=True)) / rows
    )


def scan(listener: Listener, audience: Audience, session: Session, chapter: int, time: int = 0) -> Float32:
    """One presentation of one chapter to a listener, (n_rows, n_studied); the last chapter has several."""
    rng = np.random.default_rng((*listener.seed, chapter, time))
    response = signal(listener, audience, session, chapter)
    noise = noise_rows(audience.cortex, [len(response)], audience.settings.base, rng)
    return np.asarray(response + noise[:, audience.studied], dtype=np.float32)


def signal(listener: Listener, audience: Audience, session: Session, chapter: int) -> Float64:
    """A listener's responses to one chapter without noise, (n_rows, n_studied)."""
    language, rate = audience.amplitudes(*listener.strengths)
    loadings = (language * listener.language + rate * listener.rate)[..., audience.studied]
    loadings = loadings.reshape(2 * N_SOURCES, -1)
    rows = session.responses[chapter][:, 0]
    return np.asarray(rows.reshape(len(rows), -1) @ loadings)


def coarse(cortex: Cortex) -> Cortex:
    """The next coarser icosahedral surface, whose vertices are the first of the finer one; any other surface
    as it is."""
    return Cortex(*(_coarse_side(side) for side in cortex.sides))


def _coarse_side(side: Hemisphere) -> Hemisphere:
    from scipy.spatial import ConvexHull

    kept = (side.n_vertices - 2) // 4 + 2
    level = np.log2(max(side.n_vertices - 2, 1) / 10) / 2
    if level != round(level) or level < 2:
        return side
    sphere = side.sphere[:kept]
    unit = sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    faces = _outward(ConvexHull(unit).simplices.astype(np.int64), unit)
    return Hemisphere(side.side, side.pial[:kept], side.inflated[:kept], sphere, faces, side.sulcal[:kept])


def _outward(faces: NDArray[Any], points: Float64) -> NDArray[np.int64]:
    """Faces with their corners ordered so that the normals point away from the centre."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    inside = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    return np.where(inside[:, None], faces[:, ::-1], faces)

"""A simulated cortex whose right answer is known.

Language areas answer to one layer of a language model, more strongly on the left; auditory areas answer to
the word rate, equally on both sides; everything else is noise. The noise of each vertex is autocorrelated
in time, drifts, and is a little smooth in space. As signal and noise are made apart, the best correlation
that any model could reach is known for every vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.responses.cortex import Cortex
from voxridge.study.prepare import delayed, high_pass

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """A round area: centre (left hemisphere, mm; mirrored on the right), radius on the sphere, reachable
    r."""

    name: str
    drive: str
    centre: tuple[float, float, float]
    radius: float
    left: float
    right: float


REGIONS = (
    Region("posterior temporal", "language", (-55.0, -44.0, 5.0), 38.0, 0.74, 0.46),
    Region("middle temporal", "language", (-58.0, -25.0, -6.0), 24.0, 0.70, 0.42),
    Region("anterior temporal", "language", (-55.0, -4.0, -18.0), 30.0, 0.66, 0.40),
    Region("inferior frontal", "language", (-51.0, 20.0, 12.0), 38.0, 0.70, 0.36),
    Region("angular gyrus", "language", (-46.0, -62.0, 27.0), 32.0, 0.64, 0.36),
    Region("dorsomedial frontal", "language", (-7.0, 48.0, 34.0), 28.0, 0.52, 0.30),
    Region("auditory cortex", "word rate", (-50.0, -20.0, 7.0), 24.0, 0.66, 0.66),
)


@dataclass(frozen=True)
class SimulationSettings:
    """Numbers of the simulation; times in seconds."""

    tr: float = 1.5
    components: int = 8
    hrf_peaks: tuple[float, float] = (4.2, 5.6)
    noise_ar: float = 0.4
    noise_smoothing: int = 2
    drift: float = 0.9
    high_pass: float = 90.0
    seed: int = 2026


@dataclass(frozen=True)
class Simulation:
    """Simulated responses and the truth about them.

    ``runs``: one (n_rows, n_vertices) float32 array per run. Maps are (n_vertices,): ``known_r`` is the best
    reachable correlation after the high-pass, ``language`` and ``auditory`` the designed strengths (0 to
    1), 0 outside the areas.
    """

    runs: list[Float32]
    known_r: Float64
    language: Float64
    auditory: Float64
    language_mask: NDArray[np.bool_]
    auditory_mask: NDArray[np.bool_]
    settings: SimulationSettings

    @property
    def signal_mask(self) -> NDArray[np.bool_]:
        return self.language_mask | self.auditory_mask


def region_strengths(
    cortex: Cortex, settings: SimulationSettings, regions: Sequence[Region] = REGIONS
) -> dict[str, Float64]:
    """Designed reachable correlation of each region over the whole cortex, (n_vertices,).

    Inside a region the strength has a plateau and falls to exactly 0 at the radius as a squared cosine.
    """
    rng = np.random.default_rng(settings.seed)
    # Distances are stretched by a smooth field, so that areas have natural outlines instead of being discs.
    stretch = [np.exp(0.28 * side.smooth_fields(1, 14.0, rng)[:, 0]) for side in cortex.sides]
    strengths = {}
    for region in regions:
        values = []
        for hemisphere, field in zip(cortex.sides, stretch, strict=True):
            x, y, z = region.centre
            left = hemisphere.side == "left"
            distance = hemisphere.distance_from((x if left else -x, y, z)) * field
            bump = np.cos(np.pi / 2 * np.minimum(distance / region.radius, 1.0)) ** 2
            bump = np.where(distance < region.radius, np.minimum(1.0, 2.0 * bump), 0.0)
            values.append((region.left if left else region.right) * bump)
        strengths[region.name] = np.concatenate(values)
    return strengths


def region_masks(cortex: Cortex, settings: SimulationSettings) -> dict[str, NDArray[np.bool_]]:
    """Vertices of each region."""
    return {name: strength > 0 for name, strength in region_strengths(cortex, settings).items()}


def designed_maps(cortex: Cortex, settings: SimulationSettings) -> tuple[Float64, Float64]:
    """Designed reachable correlation of the language drive and of the word-rate drive, each (n_vertices,)."""
    maps = {"language": np.zeros(cortex.n_vertices), "word rate": np.zeros(cortex.n_vertices)}
    strengths = region_strengths(cortex, settings)
    for region in REGIONS:
        maps[region.drive] = np.maximum(maps[region.drive], strengths[region.name])
    return maps["language"], maps["word rate"]


def hrf_weights(tr: float, peak: float, delays: Sequence[int]) -> Float64:
    """Weights of a gamma-shaped response at the given delays, unit sum; ``peak`` in seconds."""
    times = np.asarray(delays, dtype=np.float64) * tr
    weights = (times / peak) ** 6 * np.exp(6 * (1 - times / peak))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def simulate(
    cortex: Cortex,
    layer: Sequence[NDArray[Any]],
    word_rate: Sequence[NDArray[Any]],
    delays: Sequence[int],
    settings: SimulationSettings,
) -> Simulation:
    """Simulate one response per vertex and run.

    Parameters
    ----------
    cortex : Cortex
    layer : list of numpy.ndarray of shape (n_rows, width), one per run
        Activations of the layer that drives the language areas, at the TRs.
    word_rate : list of numpy.ndarray of shape (n_rows, 1), one per run
    delays : sequence of int
        Delays, in rows, over which the haemodynamic response acts; so the truth lies within the fitted model.
    settings : SimulationSettings

    Returns
    -------
    Simulation
    """
    rng = np.random.default_rng(settings.seed + 1)
    lengths = [len(rows) for rows in layer]
    scores = driving_components(layer, word_rate, settings.components)
    language, auditory = designed_maps(cortex, settings)
    late = np.concatenate([_between_0_and_1(side.smooth_fields(1, 30.0, rng))[:, 0] for side in cortex.sides])
    weights = np.concatenate([side.smooth_fields(settings.components, 15.0, rng) for side in cortex.sides]).T
    signal = np.zeros((sum(lengths), cortex.n_vertices), dtype=np.float64)
    for strength, sources, mixing in (
        (language, scores, weights),
        (auditory, [_standardised(np.concatenate(word_rate))], np.ones((1, cortex.n_vertices))),
    ):
        rows = np.concatenate(sources) if len(sources) > 1 else sources[0]
        active = np.flatnonzero(strength)
        response = _haemodynamic(rows, lengths, mixing[:, active], late[active], delays, settings)
        amplitude = strength[active] / np.sqrt(1.0 - strength[active] ** 2)
        signal[:, active] += _standardised(response) * amplitude
    noise = noise_rows(cortex, lengths, settings, rng)
    runs, signal_power, noise_power = [], np.zeros(cortex.n_vertices), np.zeros(cortex.n_vertices)
    for start, length in zip(np.cumsum([0, *lengths[:-1]]), lengths, strict=True):
        span = slice(int(start), int(start) + length)
        runs.append(np.asarray(signal[span] + noise[span], dtype=np.float32))
        # What the filter leaves of each decides what can be reached after it.
        signal_power += (high_pass(signal[span], settings.tr, settings.high_pass) ** 2).sum(axis=0)
        noise_power += (high_pass(noise[span], settings.tr, settings.high_pass) ** 2).sum(axis=0)
    known = np.sqrt(signal_power / (signal_power + noise_power))
    return Simulation(runs, known, language, auditory, language > 0, auditory > 0, settings)


def driving_components(
    layer: Sequence[NDArray[Any]], word_rate: Sequence[NDArray[Any]], n_components: int
) -> list[Float64]:
    """Leading principal components of the layer, freed of the word rate so that the two drives differ."""
    rows = _standardised(np.concatenate(layer))
    rate = _standardised(np.concatenate(word_rate))
    rows -= rate @ (rate.T @ rows) / (rate.T @ rate)
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    scores = left[:, :n_components] * (singular[:n_components] / singular[0])
    edges = np.cumsum([len(run) for run in layer])[:-1]
    return list(np.split(scores, edges))


def _haemodynamic(
    rows: Float64,
    lengths: Sequence[int],
    mixing: Float64,
    late: Float64,
    delays: Sequence[int],
    settings: SimulationSettings,
) -> Float64:
    """Delayed sums of the drives: each vertex mixes an early and a late response shape, per run."""
    early_weights, late_weights = (hrf_weights(settings.tr, peak, delays) for peak in settings.hrf_peaks)
    parts = []
    for run in np.split(rows, np.cumsum(lengths)[:-1]):
        columns = delayed(run, delays).reshape(len(run), len(delays), run.shape[1])
        early = np.einsum("tdk,d->tk", columns, early_weights) @ mixing
        slow = np.einsum("tdk,d->tk", columns, late_weights) @ mixing
        parts.append(early * (1.0 - late) + slow * late)
    return np.concatenate(parts)


def noise_rows(
    cortex: Cortex, lengths: Sequence[int], settings: SimulationSettings, rng: np.random.Generator
) -> Float64:
    """Unit-variance AR(1) noise, smoothed over neighbours, plus slow drifts that differ between runs."""
    sides = []
    for hemisphere in cortex.sides:
        smoother = hemisphere.smoother()
        runs = []
        for length in lengths:
            noise = rng.standard_normal((hemisphere.n_vertices, length))
            for _ in range(settings.noise_smoothing):
                noise = smoother @ noise
            noise /= noise.std(axis=1, keepdims=True)
            runs.append(_autoregressive(noise.T, settings.noise_ar))
            time = np.linspace(0.0, 1.0, length)[:, None]
            slow = np.cos(np.pi * time * np.arange(1, 3)) * settings.drift
            runs[-1] += slow @ hemisphere.smooth_fields(2, 25.0, rng).T
        sides.append(np.concatenate(runs))
    return np.concatenate(sides, axis=1)


def _autoregressive(innovations: Float64, coefficient: float) -> Float64:
    """Stationary AR(1) with unit variance along the first axis."""
    out = np.empty_like(innovations)
    out[0] = innovations[0]
    gain = np.sqrt(1.0 - coefficient**2)
    for row in range(1, len(out)):
        out[row] = coefficient * out[row - 1] + gain * innovations[row]
    return out


def _standardised(rows: NDArray[Any]) -> Float64:
    values = np.asarray(rows, dtype=np.float64)
    values = values - values.mean(axis=0)
    return np.asarray(values / values.std(axis=0))


def _between_0_and_1(field: Float64) -> Float64:
    return np.asarray(0.5 * (1.0 + np.tanh(field)))

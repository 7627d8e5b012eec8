"""What the simulated listeners hear, and three simulated models of growing quality that hear it too.

The sources that drive the cortex are Gaussian series with the autocorrelation of the story's own: of the
leading components of a language model's layer, and of the word rate. A simulated model sees each source
through noise of the same autocorrelation, so the best that can be predicted from it is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.simulate import SimulationSettings, driving_components, hrf_weights
from voxridge.study.prepare import delayed, high_pass

Float64 = NDArray[np.float64]
DEEP, SHALLOW = 2, 2
N_SOURCES = DEEP + SHALLOW + 1
RATE = N_SOURCES - 1
_LONGEST_LAG = 40


@dataclass(frozen=True)
class SimulatedModel:
    """A model that knows each source up to a stated correlation.

    ``parameters`` is nominal. ``deep``, ``shallow`` and ``rate`` are the correlations of the best prediction
    from the model's features with the sources of each kind.
    """

    name: str
    parameters: float
    deep: float
    shallow: float
    rate: float = 0.6

    @property
    def reach(self) -> Float64:
        """The correlation for each source, (n_sources,)."""
        return np.array([self.deep] * DEEP + [self.shallow] * SHALLOW + [self.rate])


MODELS = (
    SimulatedModel("small", 1e8, 0.45, 0.75),
    SimulatedModel("medium", 1e9, 0.70, 0.85),
    SimulatedModel("large", 1e10, 0.95, 0.95),
)


@dataclass(frozen=True)
class ScienceSettings:
    """Numbers of the simulated study; rows are TRs of ``base.tr`` seconds.

    ``strength``: the range from which each listener's strength of language and of word-rate responses is
    drawn, as a factor on the designed correlations. ``own``: share of the variance of the language weights
    that is a listener's own.
    """

    base: SimulationSettings = field(default_factory=SimulationSettings)
    listeners: int = 6
    chapters: int = 5
    rows: int = 800
    repeats: int = 6
    irrelevant: int = 1
    delays: tuple[int, ...] = (3, 4)
    strength: tuple[float, float] = (0.65, 1.05)
    own: float = 0.25
    seed: int = 2027


@dataclass(frozen=True)
class Session:
    """Features and noise-free sources, one entry per chapter; the last chapter is the one heard repeatedly.

    ``features``: model -> runs (n_rows, n_features); ``rate``: runs (n_rows, 1); ``responses``: runs
    (n_rows, n_views, n_sources, 2), high-passed: every source as it is (view 0) and as each model sees it,
    through an early and a late haemodynamic response.
    """

    models: tuple[SimulatedModel, ...]
    features: dict[str, tuple[Float64, ...]]
    rate: tuple[Float64, ...]
    responses: tuple[Float64, ...]
    settings: ScienceSettings

    @property
    def names(self) -> list[str]:
        """Names of the chapters."""
        return [f"chapter-{number + 1}" for number in range(len(self.rate))]

    @property
    def lengths(self) -> list[int]:
        """Rows of each chapter."""
        return [len(run) for run in self.rate]

    def gram(self, chapter: int) -> Float64:
        """Mean products of the responses in one chapter,
        (n_views, n_sources, 2, n_views, n_sources, 2)."""
        rows = self.responses[chapter]
        flat = rows.reshape(len(rows), -1)
        return np.asarray((flat.T @ flat / len(rows)).reshape(*rows.shape[1:], *rows.shape[1:]))


def make_session(
    layer: Sequence[NDArray[Any]],
    word_rate: Sequence[NDArray[Any]],
    settings: ScienceSettings,
    models: Sequence[SimulatedModel] = MODELS,
) -> Session:
    """Draw the sources and the models' features.

    Parameters
    ----------
    layer : list of numpy.ndarray of shape (n_rows, width)
        Activations of the language model at the TRs of the story.
    word_rate : list of numpy.ndarray of shape (n_rows, 1)
    settings : ScienceSettings
    models : sequence of SimulatedModel
    """
    rng = np.random.default_rng(settings.seed)
    components = np.concatenate(driving_components(layer, word_rate, DEEP + SHALLOW))
    spectra = [spectrum(column) for column in (*components.T, np.concatenate(word_rate)[:, 0])]
    features: dict[str, list[Float64]] = {model.name: [] for model in models}
    rate, responses = [], []
    for _ in range(settings.chapters + 1):
        sources = draw(spectra, settings.rows, rng)
        views = [sources]
        for model in models:
            noise = draw(spectra, settings.rows, rng)
            views.append(model.reach * sources + np.sqrt(1.0 - model.reach**2) * noise)
            other = draw(spectra[:1] * settings.irrelevant, settings.rows, rng)
            features[model.name].append(np.concatenate([views[-1], other], axis=1))
        rate.append(sources[:, RATE:])
        responses.append(np.stack([haemodynamic_pair(view, settings) for view in views], axis=1))
    kept = {name: tuple(runs) for name, runs in features.items()}
    return Session(tuple(models), kept, tuple(rate), tuple(responses), settings)


def spectrum(series: Float64) -> Float64:
    """Autocorrelation of a series at lags 0 to 40, tapered by Parzen's window so that its transform is never
    negative."""
    values = np.asarray(series, dtype=np.float64) - series.mean()
    n_lags = min(_LONGEST_LAG, len(values) - 1)
    products = np.array([values[: len(values) - lag] @ values[lag:] for lag in range(n_lags + 1)])
    return np.asarray(products / products[0] * parzen(np.arange(n_lags + 1) / (n_lags + 1)))


def parzen(share: Float64) -> Float64:
    """Parzen's lag window at ``share`` of its length, 0 to 1."""
    return np.where(share <= 0.5, 1.0 - 6.0 * share**2 * (1.0 - share), 2.0 * (1.0 - share) ** 3)


def draw(autocorrelations: Sequence[Float64], n_rows: int, rng: np.random.Generator) -> Float64:
    """Independent Gaussian series (n_rows, n_series) of unit variance with the given autocorrelations."""
    # On a circle more than twice as long the part that is cut out does not see its own end.
    length = 1 << int(np.ceil(np.log2(2 * n_rows + 2 * _LONGEST_LAG)))
    columns = []
    for values in autocorrelations:
        circle = np.zeros(length)
        circle[: len(values)] = values
        circle[-len(values) + 1 :] += values[:0:-1]
        power = np.maximum(np.fft.rfft(circle).real, 0.0)
        white = np.fft.rfft(rng.standard_normal(length))
        columns.append(np.fft.irfft(white * np.sqrt(power), length)[:n_rows])
    return np.stack(columns, axis=1)


def haemodynamic_pair(sources: Float64, settings: ScienceSettings) -> Float64:
    """One chapter's sources through the early and the late response, high-passed,
    (n_rows, n_sources, 2)."""
    base, delays = settings.base, settings.delays
    columns = delayed(sources, delays).reshape(len(sources), len(delays), -1)
    shapes = [np.einsum("tdk,d->tk", columns, hrf_weights(base.tr, peak, delays)) for peak in base.hrf_peaks]
    filtered = [high_pass(shape, base.tr, base.high_pass) for shape in shapes]
    return np.stack(filtered, axis=2)

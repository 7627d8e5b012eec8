"""The demo's simulated study: its truth against plain least squares on many draws, its table, its pages."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.demo import listening
from voxridge.demo.expected import expect, model_names
from voxridge.demo.findings import find
from voxridge.demo.listeners import (
    AUDITORY,
    LANGUAGE,
    SILENT,
    Audience,
    coarse,
    make_audience,
    noise_power,
    scan,
    signal,
)
from voxridge.demo.listening import score_listeners
from voxridge.demo.session import DEEP, MODELS, RATE, ScienceSettings, draw, make_session, spectrum
from voxridge.demo.simulate import noise_rows
from voxridge.responses.cortex import Cortex, Hemisphere
from voxridge.study.prepare import high_pass, zscore

TINY = ScienceSettings(listeners=2, chapters=3, rows=120, repeats=3)


def smooth(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    noise = rng.standard_normal((rows + 20, columns))
    for row in range(1, len(noise)):
        noise[row] += 0.6 * noise[row - 1]
    return noise[20:]


def study(cortex: Cortex, settings: ScienceSettings) -> tuple[Any, Audience]:
    rng = np.random.default_rng(0)
    layer = [smooth(rng, 90, 12) for _ in range(4)]
    rate = [3.0 + smooth(rng, 90, 1) for _ in range(4)]
    session = make_session(layer, rate, settings)
    return session, make_audience(cortex, session)


def test_drawn_series_have_the_autocorrelation_of_their_source() -> None:
    rng = np.random.default_rng(0)
    source = smooth(rng, 20_000, 1)[:, 0]
    autocorrelation = spectrum(source)
    np.testing.assert_allclose(autocorrelation[:4], 0.6 ** np.arange(4), atol=0.03)
    series = draw([autocorrelation] * 40, 1000, rng)
    assert series.var() == pytest.approx(1.0, abs=0.05)
    found = np.mean([np.corrcoef(column[1:], column[:-1])[0, 1] for column in series.T])
    assert found == pytest.approx(0.6, abs=0.03)


def test_a_model_knows_each_source_as_well_as_stated(small_cortex: Cortex) -> None:
    session, _ = study(small_cortex, dataclasses.replace(TINY, listeners=0, rows=3000))
    for number, model in enumerate(session.models, start=1):
        for source, reach in enumerate(model.reach):
            truth, seen = (
                np.concatenate([run[:, view, source, 0] for run in session.responses]) for view in (0, number)
            )
            assert np.corrcoef(truth, seen)[0, 1] == pytest.approx(reach, abs=0.05)
    assert [model.name for model in session.models] == [model.name for model in MODELS]


def test_noise_power_is_that_of_the_noise(small_cortex: Cortex) -> None:
    settings, rng = dataclasses.replace(TINY, rows=150), np.random.default_rng(1)
    base = settings.base
    drawn = [high_pass(noise_rows(small_cortex, [150], base, rng), base.tr, base.high_pass) for _ in range(6)]
    assert np.mean([run.var() for run in drawn]) == pytest.approx(noise_power(settings), rel=0.02)


def test_signals_have_the_designed_strength(small_cortex: Cortex) -> None:
    session, audience = study(small_cortex, TINY)
    listener = audience.listeners[0]
    language, rate = audience.amplitudes(1.0, 1.0)
    silent = ~audience.signal
    assert not language[silent].any()
    assert not rate[silent].any()
    heard = np.stack([signal(listener, audience, session, chapter) for chapter in range(TINY.chapters)])
    a, b = audience.amplitudes(*listener.strengths)[:, audience.studied]
    power = np.square(heard).mean(axis=(0, 1))
    # Language and word rate are nearly unrelated in what is heard.
    np.testing.assert_allclose(power, a**2 + b**2, rtol=0.35)
    left = small_cortex.side_mask("left")
    deep = np.square(listener.language[:DEEP]).sum(axis=(0, 1))
    shallow = np.square(listener.language[DEEP:RATE]).sum(axis=(0, 1))
    assert np.median(deep[left] / shallow[left]) > 3
    assert np.median(deep[~left] / shallow[~left]) < 1 / 3


@dataclasses.dataclass
class LeastSquares:
    """What plain numpy finds, without any of the package's fits, in the vertices that are studied."""

    scores: np.ndarray
    weight: np.ndarray
    ceiling: np.ndarray


def least_squares(session: Any, audience: Audience, seed: int) -> LeastSquares:
    """Ordinary least squares on delayed features, each chapter left out in turn, in one listener with new
    noise."""
    settings, base = session.settings, session.settings.base
    rng = np.random.default_rng(seed)
    listener = audience.listeners[seed % len(audience.listeners)]

    def heard(chapter: int) -> np.ndarray:
        clean = signal(listener, audience, session, chapter)
        noise = noise_rows(audience.cortex, [len(clean)], base, rng)[:, audience.studied]
        return zscore(high_pass(clean + noise, base.tr, base.high_pass))

    def design(runs: Any, chapter: int) -> np.ndarray:
        rows = high_pass(runs[chapter], base.tr, base.high_pass)
        late = [np.vstack([np.zeros((d, rows.shape[1])), rows[:-d]]) for d in settings.delays]
        return np.hstack(late)

    once = [heard(chapter) for chapter in range(settings.chapters)]
    scores, predictions = [], []
    for runs in [*session.features.values(), session.rate]:
        predicted = []
        for out in range(settings.chapters):
            train = [chapter for chapter in range(settings.chapters) if chapter != out]
            x = np.vstack([design(runs, chapter) for chapter in train])
            weights = np.linalg.lstsq(x, np.vstack([once[chapter] for chapter in train]), rcond=None)[0]
            predicted.append(design(runs, out) @ weights)
        predictions.append(np.vstack(predicted))
        scores.append(
            np.mean(
                [(zscore(p) * zscore(y)).mean(axis=0) for p, y in zip(predicted, once, strict=True)], axis=0
            )
        )
    measured = np.vstack(once)
    # Shrunk as a good penalty would.
    kept = [np.maximum((measured * p).sum(axis=0) / np.square(p).sum(axis=0), 0) for p in predictions]
    large, rate = (k * p for k, p in zip(kept[2:], predictions[2:], strict=True))
    grid = np.linspace(0, 1, 41)
    errors = [np.square(measured - w * large - (1 - w) * rate).mean(axis=0) for w in grid]
    clean = signal(listener, audience, session, settings.chapters)
    mean = np.mean(
        [clean + noise_rows(audience.cortex, [len(clean)], base, rng)[:, audience.studied] for _ in range(3)],
        axis=0,
    )
    ceiling = (zscore(clean + 1e-30) * zscore(high_pass(mean, base.tr, base.high_pass))).mean(axis=0)
    return LeastSquares(np.stack(scores), grid[np.argmin(errors, axis=0)], ceiling)


def test_the_truth_is_what_least_squares_finds_on_average(small_cortex: Cortex) -> None:
    settings = dataclasses.replace(TINY, rows=400, strength=(0.9, 0.9), seed=3)
    session, audience = study(small_cortex, settings)
    expected = expect(audience, session)
    found = [least_squares(session, audience, seed) for seed in range(8)]
    for name in (LANGUAGE, AUDITORY):
        members = audience.areas()[name]
        inside = members[audience.studied]
        scores = np.mean([one.scores[:, inside].mean(axis=1) for one in found], axis=0)
        np.testing.assert_allclose(scores, expected.scores[:4, members].mean(axis=1), atol=0.025)
        ceiling = np.mean([one.ceiling[inside].mean() for one in found])
        assert ceiling == pytest.approx(expected.ceiling[members].mean(), abs=0.025)
        weight = np.mean([one.weight[inside].mean() for one in found])
        assert weight == pytest.approx(expected.weight[members].mean(), abs=0.04)
    silent = audience.areas()[SILENT]
    np.testing.assert_array_equal(expected.scores[:, silent], 0)


def test_what_listeners_share_is_as_expected(small_cortex: Cortex) -> None:
    settings = dataclasses.replace(TINY, listeners=4, rows=400, strength=(0.9, 0.9))
    session, audience = study(small_cortex, settings)
    base, last = settings.base, settings.chapters
    values = []
    for time in range(6):
        heard = [scan(one, audience, session, last, time).astype(float) for one in audience.listeners]
        heard = [zscore(high_pass(run, base.tr, base.high_pass)) for run in heard]
        for one in range(4):
            others = np.mean([run for number, run in enumerate(heard) if number != one], axis=0)
            values.append((heard[one] * zscore(others)).mean(axis=0))
    members = audience.areas()[LANGUAGE]
    found = np.mean(values, axis=0)[members[audience.studied]].mean()
    assert found == pytest.approx(expect(audience, session).isc[members].mean(), abs=0.02)


@pytest.mark.parametrize("seed", [ScienceSettings().seed, 1])
def test_the_truth_is_recovered(small_cortex: Cortex, seed: int, tmp_path: Path) -> None:
    settings = ScienceSettings(rows=400, repeats=5, seed=seed)
    session, audience = study(small_cortex, settings)
    expected = expect(audience, session)
    listeners = score_listeners(audience, session, tmp_path, {}, progress=False)
    findings = find(audience, session, expected, listeners)
    rows = {(row.topic, row.name): row for row in findings.rows}
    # 95 % of 27 intervals that all come from the same six listeners.
    assert findings.inside >= 23, findings.sentence()
    for row in findings.rows:
        assert abs(row.found - row.truth) < 2.5 * (row.high - row.low), row
    assert rows["gain per decade", LANGUAGE].low > 0.03
    assert rows["gain per decade", SILENT].truth == 0
    assert rows["gain of left - right per decade", LANGUAGE].low > 0.02
    assert rows["stacking weight, large model", LANGUAGE].low > 0.7
    assert rows["stacking weight, large model", AUDITORY].high < 0.5
    truth = [rows[f"normalised score, {model.name} model", LANGUAGE].truth for model in MODELS]
    assert truth[0] < truth[1] < truth[2] < 1
    assert findings.sentence().startswith(f"{findings.inside} of {len(rows)} intervals")


def test_finished_listeners_are_not_scored_again(
    small_cortex: Cortex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, audience = study(small_cortex, TINY)
    first = score_listeners(audience, session, tmp_path, {"story": 1}, progress=False)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    files[1].write_bytes(b"cut short")
    scored = []
    original = listening.score_listener

    def counted(listener: Any, *arguments: Any, **options: Any) -> Any:
        scored.append(listener.name)
        return original(listener, *arguments, **options)

    monkeypatch.setattr(listening, "score_listener", counted)
    again = score_listeners(audience, session, tmp_path, {"story": 1}, progress=False)
    assert scored == ["listener-2"]
    for one, same in zip(first, again, strict=True):
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(same, field.name))
    score_listeners(audience, session, tmp_path, {"story": 2}, progress=False)
    assert scored == ["listener-2", "listener-1", "listener-2"]


def test_scores_are_missing_only_where_nothing_was_fitted(small_cortex: Cortex, tmp_path: Path) -> None:
    session, audience = study(small_cortex, dataclasses.replace(TINY, listeners=1))
    (found,) = score_listeners(audience, session, tmp_path, {}, progress=False)
    assert found.scores.shape == (len(model_names(session)), small_cortex.n_vertices)
    np.testing.assert_array_equal(np.isfinite(found.scores[0]), audience.studied)
    assert audience.studied[audience.signal].all()
    assert not audience.studied.all()
    assert np.nanmin(found.p_values) > 0


def test_coarser_surface() -> None:
    def points(n: int) -> np.ndarray:
        index = np.arange(n) + 0.5
        polar, around = np.arccos(1 - 2 * index / n), np.pi * (1 + 5**0.5) * index
        return np.column_stack(
            [np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)]
        )

    sphere = 100 * np.vstack([points(42), points(120)])
    side = Hemisphere("left", sphere, sphere, sphere, np.zeros((0, 3), dtype=np.int64), sphere[:, 0])
    smaller = coarse(Cortex(side, side)).left
    assert smaller.n_vertices == 42
    np.testing.assert_array_equal(smaller.pial, sphere[:42])
    assert smaller.faces.shape == (80, 3)  # 2 n - 4, as on any closed surface
    a, b, c = (smaller.sphere[smaller.faces[:, corner]] for corner in range(3))
    assert np.all(np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0)
    other = dataclasses.replace(side, pial=sphere[:100], sphere=sphere[:100])
    assert coarse(Cortex(other, other)).left is other


@pytest.mark.slow
def test_the_page_says_what_the_tables_say(tmp_path: Path, tiny_model: Any, small_cortex: Cortex) -> None:
    from voxridge.demo.run import run_demo

    out = tmp_path / "demo"
    settings = ScienceSettings(chapters=3, rows=160, repeats=3)
    outcome = run_demo(out, model=tiny_model, cortex=small_cortex, study=settings, progress=False)
    page = outcome.report.read_text(encoding="utf-8")
    findings = outcome.science.findings
    assert findings.sentence() in page
    assert "Three models, six listeners" in page
    assert "one chapter was heard 3 times" in page
    with (out / "tables" / "recovery.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(findings.rows)
    for row, finding in zip(rows, findings.rows, strict=True):
        assert float(row["truth"]) == pytest.approx(finding.truth, rel=1e-4, abs=1e-8)
        assert (row["inside"] == "yes") == finding.inside == (finding.low <= finding.truth <= finding.high)
        assert f"{finding.low:.3f} to {finding.high:.3f}" in page
        assert f"found {finding.found:.3f}" in row["sentence"]
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {
        "recovery.png",
        "scaling.png",
        "trends.png",
        "slopes.png",
        "lean.png",
        "ceilings.png",
        "isc.png",
    } <= drawn

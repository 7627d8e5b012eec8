"""The demo: story, word times, simulation, and the whole run with a tiny model on a small cortex."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.demo.run import story_stimuli
from voxridge.demo.simulate import REGIONS, SimulationSettings, hrf_weights, region_masks, simulate
from voxridge.demo.story import Chapter, load_story, parse_story, read_aloud, run_length, syllables
from voxridge.demo.truth import compare, lean
from voxridge.responses.cortex import Cortex
from voxridge.study.prepare import high_pass


def test_the_story_is_as_long_as_promised() -> None:
    story = load_story()
    counts = [chapter.n_words for chapter in story.chapters]
    assert 5 <= len(counts) <= 6
    assert 1400 <= sum(counts) <= 1650
    assert max(counts) < 1.2 * min(counts)


@pytest.mark.parametrize(("text", "message"), [("no title", "begin with"), ("# Title\ntext", "no chapter")])
def test_story_that_is_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_story(text)


def test_word_times() -> None:
    words = read_aloud(load_story().chapters[0])
    again = read_aloud(load_story().chapters[0])
    np.testing.assert_array_equal(words.onset, again.onset)
    assert np.all(words.onset[1:] >= words.offset[:-1] - 1e-9)
    pace = len(words) / (words.offset[-1] - words.onset[0])
    assert pace == pytest.approx(2.6)
    assert 70 <= run_length(words, 1.5) <= 120
    short = read_aloud(Chapter("x", ("A dam, unavoidable disagreements. End",)))
    length = short.offset - short.onset
    assert length[3] > length[0]
    gaps = short.onset[1:] - short.offset[:-1]
    assert gaps[3] > gaps[1] > gaps[0]
    with pytest.raises(ValueError, match="pace=0"):
        read_aloud(load_story().chapters[0], pace=0)


def test_syllables() -> None:
    assert [syllables(w) for w in ("a", "the", "table", "river,", "measured")] == [1, 1, 2, 2, 3]


def simulation(cortex: Cortex) -> Any:
    settings = SimulationSettings(components=4)
    rng = np.random.default_rng(0)
    lengths = (90, 80, 100)
    layer = [rng.standard_normal((n, 10)) for n in lengths]
    rate = [rng.poisson(3, (n, 1)).astype(float) for n in lengths]
    return simulate(cortex, layer, rate, (1, 2, 3), settings)


def test_simulation_is_deterministic_and_its_truth_is_honest(small_cortex: Cortex) -> None:
    sim, again = simulation(small_cortex), simulation(small_cortex)
    for run, same in zip(sim.runs, again.runs, strict=True):
        np.testing.assert_array_equal(run, same)
    assert sim.known_r.shape == (800,)
    assert sim.runs[0].dtype == np.float32
    np.testing.assert_array_equal(sim.known_r[~sim.signal_mask], 0)
    # Another draw of the noise around the same signal: its mean over draws is the signal, and no
    # prediction is better.
    draws = [simulation(small_cortex), *[redraw(small_cortex, seed) for seed in range(1, 25)]]
    filtered = [np.concatenate([high_pass(r.astype(float), 1.5, 90.0) for r in d.runs]) for d in draws]
    signal = np.mean(filtered[1:], axis=0)
    strong = sim.known_r > 0.5
    reached = [np.corrcoef(signal[:, v], filtered[0][:, v])[0, 1] for v in np.flatnonzero(strong)]
    np.testing.assert_allclose(np.mean(reached), sim.known_r[strong].mean(), atol=0.05)


def redraw(cortex: Cortex, seed: int) -> Any:
    """The simulation with other noise but the same signal."""
    from voxridge.demo import simulate as module

    with pytest.MonkeyPatch.context() as patch:
        original = module.noise_rows
        patch.setattr(module, "noise_rows", lambda c, n, s, _: original(c, n, s, np.random.default_rng(seed)))
        return simulation(cortex)


def test_noise_is_autocorrelated_and_areas_lean_left(small_cortex: Cortex) -> None:
    sim = simulation(small_cortex)
    quiet = np.concatenate([high_pass(run, 1.5, 90.0)[:, ~sim.signal_mask] for run in sim.runs])
    lagged = np.mean([np.corrcoef(column[1:], column[:-1])[0, 1] for column in quiet.T[:100]])
    assert 0.2 < lagged < 0.5
    assert lean(small_cortex, sim.known_r, sim.language_mask) > 0.1
    masks = region_masks(small_cortex, sim.settings)
    assert set(masks) == {region.name for region in REGIONS}


def test_hrf_weights_peak_where_asked() -> None:
    weights = hrf_weights(1.5, 4.5, (1, 2, 3, 4, 5))
    assert weights.argmax() == 2
    assert weights.sum() == pytest.approx(1)


def test_recovery_of_a_perfect_map(small_cortex: Cortex) -> None:
    sim = simulation(small_cortex)
    null = 0.05 * np.random.default_rng(0).standard_normal((4, 800))
    recovery = compare(small_cortex, sim, sim.known_r, null)
    assert recovery.map_correlation == pytest.approx(1)
    assert recovery.sensitivity == 1
    assert recovery.false_positives == 0
    assert recovery.lean_recovered == pytest.approx(recovery.lean_truth)
    assert "flagged wrongly" in recovery.sentence()


@pytest.mark.slow
def test_the_whole_demo_with_a_tiny_model(tmp_path: Path, tiny_model: Any, small_cortex: Cortex) -> None:
    from voxridge.demo.run import run_demo

    outcome = run_demo(tmp_path / "demo", model=tiny_model, cortex=small_cortex, progress=False)
    page = outcome.report.read_text(encoding="utf-8")
    assert "The brain on this page is simulated" in page
    assert outcome.recovery.sentence().replace("&", "&amp;") in page
    assert "http" not in page.replace("http-equiv", "")
    assert outcome.recovery.map_correlation > 0.3
    assert outcome.result.control.mean_scores[outcome.simulation.auditory_mask].mean() > 0.15
    made = {
        p.relative_to(tmp_path / "demo").as_posix() for p in (tmp_path / "demo").rglob("*") if p.is_file()
    }
    assert {"results.h5", "report.html", "tables/models.csv", "figures/maps.png"} <= made
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_demo_stimuli_have_rows_for_every_word() -> None:
    for stimulus in story_stimuli(load_story(), 1.5):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert stimulus.rate(1.5).sum() == len(stimulus.words)

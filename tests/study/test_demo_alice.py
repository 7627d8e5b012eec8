"""The Alice study: on a made-up folder with a tiny model, and on the real data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.demo.alice import ROIS, group_and_listeners, load_alice, run_alice, unusable
from voxridge.study.fold_plan import plan_folds


def test_the_empty_listener_is_rejected_with_a_reason(fake_alice: Path) -> None:
    data = load_alice(fake_alice)
    assert list(data.listeners) == ["s01", "s02", "s03"]
    assert data.rejected == {"s04": "every value is zero: there is no recording in this file"}
    assert data.n_rows == 150


def test_unusable() -> None:
    good = np.random.default_rng(0).standard_normal((20, 6))
    assert unusable(good) is None
    bad = good.copy()
    bad[3, 1] = np.nan
    assert unusable(bad) == "value in row 3 of RATL is not finite"
    bad = good.copy()
    bad[:, 5] = 2
    assert unusable(bad) == "constant in LIFG"


def test_missing_and_odd_files(fake_alice: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere, which is not there"):
        load_alice(tmp_path / "nowhere")
    np.savetxt(fake_alice / "roi_6mm" / "s02-timecourses.txt", np.ones((150, 5)))
    with pytest.raises(ValueError, match="has 5 columns; expected 6"):
        load_alice(fake_alice)
    (fake_alice / "roi_6mm" / "s02-timecourses.txt").unlink()
    np.savetxt(fake_alice / "roi_6mm" / "s03-timecourses.txt", np.random.default_rng(0).random((140, 6)))
    with pytest.raises(ValueError, match="differ in their number of rows"):
        load_alice(fake_alice)
    shutil.rmtree(fake_alice / "roi_6mm")
    with pytest.raises(FileNotFoundError, match="roi_6mm"):
        load_alice(fake_alice)


def test_the_chunks_are_prepared_apart(fake_alice: Path) -> None:
    data = load_alice(fake_alice)
    plan = plan_folds(["alice"], [150], chunks=5, gap=4)
    before = group_and_listeners(data, plan)
    assert before[0].shape == (30, 6 * 4)
    data.listeners["s02"][:30] *= 7.0
    data.listeners["s02"][:30, 0] += np.arange(30)
    after = group_and_listeners(data, plan)
    for chunk in range(1, 5):
        np.testing.assert_array_equal(after[chunk], before[chunk])


@pytest.mark.slow
def test_made_up_alice_end_to_end(fake_alice: Path, tmp_path: Path, tiny_model: Any) -> None:
    outcome = run_alice(fake_alice, tmp_path / "out", model=tiny_model, progress=False)
    assert outcome.group_rate > 0.3
    assert outcome.listeners_rate.shape == (3, len(ROIS))
    page = outcome.report.read_text(encoding="utf-8")
    assert "Listener s04 was rejected: every value is zero" in page
    assert (tmp_path / "out" / "tables" / "listeners.csv").is_file()


@pytest.mark.alice
def test_real_alice_is_read(alice: Path) -> None:
    data = load_alice(alice)
    assert len(data.listeners) == 27
    assert data.rejected == {"s33": "every value is zero: there is no recording in this file"}
    assert data.n_rows == 362
    assert len(data.words) == 2127


@pytest.mark.alice
def test_real_alice_word_rate(alice: Path) -> None:
    """Word rate alone on the group mean, delays 1 to 4 TR, five contiguous chunks: near 0.44."""
    from voxridge.demo import alice as module
    from voxridge.study.inputs import Stimulus
    from voxridge.study.nested import Block, FitSettings, Model, score_model

    data = load_alice(alice)
    plan = plan_folds(["alice"], [data.n_rows], chunks=5, gap=4)
    stimulus = Stimulus("alice", data.words, module.FIRST_ROW + module.TR * np.arange(data.n_rows))
    settings = FitSettings(np.array([10.0]), module.DELAYS, module.TR, module.HIGH_PASS)
    model = Model("word rate", (Block((stimulus.rate(module.TR),)),))
    scores = score_model(model, group_and_listeners(data, plan), plan, settings).scores
    assert scores[:, :6].mean() == pytest.approx(0.44, abs=0.02)


@pytest.mark.alice
@pytest.mark.lm
@pytest.mark.slow
def test_real_alice_end_to_end(alice: Path, tmp_path: Path) -> None:
    outcome = run_alice(alice, tmp_path / "out", progress=False)
    assert outcome.group_rate == pytest.approx(0.44, abs=0.02)
    assert outcome.listeners_rate.mean() == pytest.approx(0.148, abs=0.02)
    # The null keeps the timing and loses the words: it must not get what the words get.
    assert abs(outcome.group_shuffled - outcome.group_rate) < 0.06
    assert outcome.group_chosen > outcome.group_rate
    assert (outcome.listeners_chosen - outcome.listeners_rate).mean() > 0
    assert list(outcome.rejected) == ["s33"]
    assert outcome.report.stat().st_size > 100_000

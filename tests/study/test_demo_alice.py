"""The Alice study: on a made-up folder with a tiny model, and on the real data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.demo import alice as module
from voxridge.demo.alice import ROIS, group_and_listeners, load_alice, run_alice, unusable
from voxridge.demo.alice_findings import (
    findings,
    listeners_sentence,
    p_text,
    regions_sentence,
    spread,
    verdict,
)
from voxridge.demo.alice_models import (
    ALL_CONTROLS,
    ALONE,
    BESIDE_RATE,
    JOINT,
    RATE,
    SOUND,
    TIME_ALONE,
    Fitter,
    Predicted,
    shuffled_fold_scores,
)
from voxridge.demo.alice_science import Shape, beside_results, ceilings
from voxridge.features import oasm
from voxridge.science.scores import r2_score
from voxridge.study.fold_plan import plan_folds
from voxridge.study.nested import Block, FitSettings, Model, ModelScores, prepare_responses, score_model
from voxridge.study.progress import FitProgress


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


def test_sound_power_is_read_where_it_is(fake_alice: Path) -> None:
    assert load_alice(fake_alice).sound is None
    power = write_sound(fake_alice)
    np.testing.assert_allclose(load_alice(fake_alice).sound, power)
    np.savetxt(fake_alice / "nuisance" / "s02-sndpwr.txt", np.zeros(149))
    with pytest.raises(ValueError, match=r"s02-sndpwr.txt has shape \(149,\): expected 150"):
        load_alice(fake_alice)


def write_sound(folder: Path) -> Any:
    """Sound power of all listeners; that of the one who was not recorded is not to be read."""
    power = np.random.default_rng(1).random(150)
    (folder / "nuisance").mkdir()
    for name, own in (("s01", power - 0.1), ("s02", power), ("s03", power + 0.1), ("s04", np.full(150, 9.0))):
        np.savetxt(folder / "nuisance" / f"{name}-sndpwr.txt", own)
    return power


@pytest.mark.slow
def test_made_up_alice_end_to_end(
    fake_alice: Path, tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's listeners follow the word rate alone, so nothing may be gained beside it."""
    monkeypatch.setattr(module, "ITERATIONS", 3)
    write_sound(fake_alice)
    out = tmp_path / "out"
    outcome = run_alice(fake_alice, out, model=tiny_model, progress=False)
    assert outcome.group_rate > 0.3
    assert outcome.listeners_rate.shape == (3, len(ROIS))
    page = outcome.report.read_text(encoding="utf-8")
    assert "Listener s04 was rejected: every value is zero" in page
    places = [page.index(f">{name}") for name in ("What the data", "Controls first", "Ceil", "Layer by")]
    assert places == sorted(places)
    names = [model.name for model in outcome.science.controls]
    assert names[0] == "word rate"
    assert names[-1] == TIME_ALONE
    assert f"{RATE} + {SOUND}" in names
    for table in ("listeners", "controls", "beside_controls", "unique", "ceilings", "sides", "folds"):
        assert (out / "tables" / f"{table}.csv").is_file()
    assert float(outcome.science.beside.over_rate.low) < 0
    assert "disappears" in findings(outcome.science)[4] or "turns into a loss" in findings(outcome.science)[4]


def test_fits_and_predictions_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    plan = plan_folds(["story"], [150], chunks=3, gap=4)
    features = rng.standard_normal((150, 3)).astype(np.float32)
    rows = [rng.standard_normal((50, 8)) for _ in plan.parts]
    settings = FitSettings(np.logspace(-1, 5, 4), (1, 2), 2.0, scoring="r2")
    with FitProgress(3, shown=False) as bar:
        fitter = Fitter(rows, plan, settings, tmp_path / "kept", {"features": "made up"}, 6, bar)

        def found() -> Predicted:
            return fitter.predicted("a model", lambda _: Model("m", (Block((features,)),)), np.zeros(3, int))

        first = found()
        assert first.prediction.shape == (150, 6)
        r2 = r2_score(rows[1][:, :6], first.prediction[50:100])
        np.testing.assert_allclose(r2, first.scores.r2[1, :6])
        (kept,) = (tmp_path / "kept").glob("prediction-*.npy")
        kept.unlink()  # scores without predictions: these are made anew
        np.testing.assert_array_equal(found().prediction, first.prediction)
        monkeypatch.setattr("voxridge.demo.alice_models.fit_fold", None)
        np.testing.assert_array_equal(found().prediction, first.prediction)


SHAPE = Shape(27, ROIS)


def made_up_fits(gain: float, seed: int = 0) -> tuple[dict[str, Predicted], Any]:
    """Fits of five chunks of 40 rows: all controls get an R2 of 0.05 on every listener, and everything
    together ``gain`` more, give or take 0.02 from listener to listener."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((200, 6 * 28))
    listeners = np.concatenate([np.zeros(6), np.repeat(rng.normal(0.0, 0.02, 27), 6)])
    level = {RATE: 0.06, ALL_CONTROLS: 0.05, ALONE: 0.1, BESIDE_RATE: 0.06 + gain, JOINT: 0.05 + gain}
    fits = {}
    for name, r2 in level.items():
        own = r2 + listeners if name in (BESIDE_RATE, JOINT) else np.full(6 * 28, r2)
        prediction = truth[:, :6] + (3 - 20 * gain) * rng.standard_normal((200, 6))
        fits[name] = Predicted(model_scores(name, own), prediction)
    return fits, truth


def model_scores(name: str, r2: Any) -> ModelScores:
    """The same scores in each of five folds."""
    rows = np.tile(r2, (5, 1))
    return ModelScores(name, None, np.sqrt(np.maximum(rows, 0.0)), rows, rows, rows, rows.mean(axis=1))


@pytest.mark.parametrize(
    ("gain", "word"), [(0.05, "remains"), (0.0, "disappears"), (-0.05, "turns into a loss")]
)
def test_a_gain_is_told_as_the_data_give_it(gain: float, word: str) -> None:
    fits, truth = made_up_fits(gain)
    beside = beside_results(fits, SHAPE, truth[:, :6], [40] * 5)
    np.testing.assert_allclose(beside.group_unique, gain, atol=1e-12)
    sentence = listeners_sentence(beside)
    assert f"gain of the language model {word} beside all controls" in sentence
    assert (float(beside.mean.low) > 0) == (word == "remains")
    regions = regions_sentence(beside, ROIS)
    if gain > 0:
        assert "holds in LATL (p < 0.001)" in regions
        assert "in the other" not in regions
    else:
        assert regions.startswith("In none of the six regions")


def test_words_for_numbers() -> None:
    assert [p_text(p) for p in (0.0001, 0.0123)] == ["p < 0.001", "p = 0.012"]
    assert spread(-0.0041, 0.0123) == "-0.004 to +0.012"
    assert spread(0.5, 0.9, signed=False, digits=1) == "0.5 to 0.9"
    assert [verdict(*ends) for ends in ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1))] == [
        "remains",
        "disappears",
        "turns into a loss",
    ]


def slow_noise(n_rows: int, n_targets: int, rng: np.random.Generator) -> Any:
    """Noise of which a row's neighbour says 0.9 of it, and nothing of which the stimulus knows."""
    rows = rng.standard_normal((n_rows, n_targets))
    for i in range(1, n_rows):
        rows[i] = 0.9 * rows[i - 1] + np.sqrt(1 - 0.9**2) * rows[i]
    return rows


def test_shuffled_folds_score_autocorrelation() -> None:
    plan = plan_folds(["noise"], [300], chunks=5, gap=4)
    responses = prepare_responses([slow_noise(300, 20, np.random.default_rng(0))], plan, tr=2.0, cutoff=150.0)
    settings = FitSettings(np.logspace(-1, 5, 13), (1, 2, 3, 4), 2.0, 150.0)
    time = Block(tuple(oasm([300], 2.0)), scaling="common")
    shuffled = shuffled_fold_scores([time], responses, plan, settings).scores.mean()
    contiguous = score_model(Model(TIME_ALONE, (time,)), responses, plan, settings).scores.mean()
    assert shuffled > 0.6
    assert contiguous < 0.5 * shuffled


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
    from voxridge.study.inputs import Stimulus

    data = load_alice(alice)
    plan = plan_folds(["alice"], [data.n_rows], chunks=5, gap=4)
    stimulus = Stimulus("alice", data.words, module.FIRST_ROW + module.TR * np.arange(data.n_rows))
    settings = FitSettings(np.array([10.0]), module.DELAYS, module.TR, module.HIGH_PASS)
    model = Model("word rate", (Block((stimulus.rate(module.TR),)),))
    scores = score_model(model, group_and_listeners(data, plan), plan, settings).scores
    assert scores[:, :6].mean() == pytest.approx(0.44, abs=0.02)


@pytest.mark.alice
def test_real_alice_sound_and_ceilings(alice: Path) -> None:
    """The correlation of a listener with the others, by region: 0.21 to 0.41 on whole time courses."""
    data = load_alice(alice)
    plan = plan_folds(["alice"], [data.n_rows], chunks=5, gap=4)
    assert data.sound is not None
    assert data.sound.shape == (362,)
    rows = group_and_listeners(data, plan)
    fits = {"r": Predicted(model_scores("r", np.full(6 * 28, 0.01)), np.empty(0))}
    found = ceilings(fits, Shape(27, ROIS), np.concatenate(rows), plan)
    assert found.listener.values.min() > 0.15
    assert found.listener.values.max() < 0.45
    assert ROIS[int(found.listener.values.argmax())] == "LPTL"
    assert (found.group.values > found.listener.values + 0.3).all()
    np.testing.assert_allclose(found.normalised["r"].values, 0.1 / found.listener.values)


@pytest.mark.alice
def test_real_alice_folds(alice: Path) -> None:
    """Time alone: nearly everything in shuffled folds, little in contiguous chunks, less with a long gap."""
    data = load_alice(alice)
    plan, far = (plan_folds(["alice"], [data.n_rows], chunks=5, gap=gap) for gap in (4, 15))
    rows = [part[:, :6] for part in group_and_listeners(data, plan)]
    settings = FitSettings(module.ALPHAS, module.DELAYS, module.TR, module.HIGH_PASS)
    time = Block(tuple(oasm([data.n_rows], 2.0)), scaling="common")
    model = Model(TIME_ALONE, (time,))
    near = score_model(model, rows, plan, settings).scores.mean()
    assert score_model(model, rows, far, settings).scores.mean() < near < 0.3
    assert shuffled_fold_scores([time], rows, plan, settings).scores.mean() > 0.7


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
    science = outcome.science
    beside, shape = science.beside, science.shape
    r2 = {name: shape.listeners(scores.r2).mean() for name, scores in beside.scores.items()}
    # Controls that add nothing cost something, and the page says so.
    assert r2[ALL_CONTROLS] < r2[RATE] < r2[JOINT] < r2[ALONE]
    sentences = findings(science)
    assert (float(beside.mean.low) > 0) == ("remains beside all controls" in sentences[3])
    assert "predict a listener less well than the word rate alone" in sentences[4]
    assert "not measurably more than the word rate alone" in sentences[4]
    assert sentences[5].startswith("In none of the six regions")
    assert beside.regions.p_family.min() > 0.05
    assert (beside.group_unique > 0.05).all()
    assert 5 < float(beside.omega.mean.mean) < 70
    assert 40 < beside.group_omega < 65
    # No score is above what listeners share.
    assert all((each.values < 1).all() for each in science.ceilings.group_normalised.values())
    assert float(science.layers.peak.low) > 0.4
    assert not bool(science.layers.peak.at_edge)
    assert np.nanmean(science.layers.optimism.optimism) > 0
    assert science.sides.pairs == ("LATL and RATL",)
    assert outcome.report.stat().st_size > 100_000

"""A whole study from files: results, tables, report, resuming after an interruption."""

from __future__ import annotations

import csv
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge._warnings import ResponseWarning
from voxridge.demo.story import load_story, read_aloud
from voxridge.features import tr_times, word_rate
from voxridge.responses import build_response_store
from voxridge.study import engine
from voxridge.study import run as run_module
from voxridge.study.config import ResponsesConfig, RunConfig, load_config
from voxridge.study.inputs import Subject, read_stimuli, read_subject, usable_targets
from voxridge.study.pairs import require_words, study_plan
from voxridge.study.prepare import delayed
from voxridge.study.recordings import read_recording
from voxridge.study.run import run_study

STUDY = """
title = "Made up"
[[models]]
layers = [0, 2]
[responses]
tr = 1.5
high_pass = 100
names = ["rate", "noise", "flat", "broken"]
[fit]
alpha_low = 10
alpha_count = 5
components = 4
beside_word_rate = true
[analysis]
iterations = 2
permutations = 50
[rois]
driven = ["rate"]
silent = ["flat"]
"""

NAMES = [
    "word rate",
    "word rate + word controls",
    "word rate + random vectors",
    "word rate + random embeddings",
    "word rate + layer 0",
    "word rate + layer 2",
]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three runs with a target driven by the word rate, a noise target, a constant and a NaN target."""
    rng = np.random.default_rng(0)
    text = STUDY
    for number, chapter in enumerate(load_story().chapters[:3], start=1):
        words = read_aloud(chapter)
        with (tmp_path / f"w{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["word", "onset", "offset"])
            writer.writerows(zip(words.text, words.onset, words.offset, strict=True))
        rate = word_rate(words, tr_times(90, 1.5), 1.5, outside="keep")
        data = rng.standard_normal((90, 4))
        data[:, 0] += 2 * delayed(rate, (3,))[:, 0]
        data[:, 2] = 4.0
        data[5, 3] = np.nan
        np.save(tmp_path / f"r{number}.npy", data.astype(np.float32))
        text += f'[[runs]]\nname = "run-{number}"\nwords = "w{number}.csv"\nresponses = "r{number}.npy"\n'
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Subject:
    config = load_config(path)
    return read_subject(config, read_stimuli(config), "subject")


def run(path: Path, out: Path, model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run_study(load_config(path), out, load=lambda _: model, progress=False)


@pytest.mark.slow
def test_study_end_to_end(study: Path, tmp_path: Path, tiny_model: Any) -> None:
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    outcome = run(study, tmp_path / "out", tiny_model)
    result = outcome.result
    assert result.targets["name"] == ["rate", "noise"]
    joint = "word rate + word controls + smollm2"
    assert [m.name for m in result.models] == [*NAMES[:4], joint, *NAMES[4:]]
    assert result.control.mean_scores[0] > 0.6
    assert abs(result.control.mean_scores[1]) < 0.3
    with h5py.File(tmp_path / "out" / "results.h5") as file:
        fits = file["subjects/subject/models/smollm2/models"]
        np.testing.assert_allclose(fits["word rate/scores"][:], result.control.scores, rtol=1e-6)
        assert file.attrs["title"] == "Made up"
    with (tmp_path / "out" / "tables" / "targets.csv").open(newline="") as table:
        rows = list(csv.reader(table))
    assert rows[0][:3] == ["name", "r word rate", "r chosen layer"]
    assert [row[0] for row in rows[1:]] == ["rate", "noise"]
    page = outcome.report.read_text(encoding="utf-8")
    assert "2 target(s) are constant or not finite and were left out: flat, broken" in page
    # Regions are lines of the layer curve; one without a usable target is told of.
    assert list(outcome.study.first.rois) == ["driven"]
    assert "no target that can be used lies in silent" in page
    with (tmp_path / "out" / "tables" / "rois.csv").open(newline="") as table:
        regions = {(row["what"], row["region"]): row for row in csv.DictReader(table)}
    rate = regions["word rate", "driven"]
    assert float(rate["r"]) == pytest.approx(result.control.mean_scores[0], rel=1e-5)
    assert float(rate["low"]) < float(rate["r"]) < float(rate["high"])
    assert ("layer beside all controls", "driven") in regions
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


@pytest.mark.slow
def test_interrupted_study_goes_on(
    study: Path, tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write_text(study.read_text().replace("[analysis]", '[analysis]\njoint = "ridge"'))
    written: list[Path] = []
    monkeypatch.setattr(run_module, "write_study", lambda out, _: written.append(out) or out)
    fitted: list[str] = []
    original = engine.score_model

    def counting(model: Any, *arguments: Any, **keywords: Any) -> Any:
        if len(fitted) == 5:
            raise KeyboardInterrupt
        fitted.append(model.name)
        return original(model, *arguments, **keywords)

    monkeypatch.setattr(engine, "score_model", counting)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "out", tiny_model)
    assert not written
    assert fitted == NAMES[:5]
    fitted.clear()
    outcome = run(study, tmp_path / "out", tiny_model)
    assert fitted == NAMES[5:]
    monkeypatch.setattr(engine, "score_model", original)
    whole = run(study, tmp_path / "whole", tiny_model)
    for resumed, fresh in zip(outcome.result.models, whole.result.models, strict=True):
        np.testing.assert_array_equal(resumed.scores, fresh.scores)
    # Other settings are other fits: nothing kept may be used.
    monkeypatch.setattr(
        engine, "score_model", lambda m, *a, **k: fitted.append(m.name) or original(m, *a, **k)
    )
    fitted.clear()
    study.write_text(study.read_text().replace("alpha_count = 5", "alpha_count = 6"))
    run(study, tmp_path / "out", tiny_model)
    assert fitted == NAMES
    for damaged in (tmp_path / "out" / "work" / "fits").rglob("*.npz"):
        damaged.write_bytes(b"not a zip file" if "layer" in damaged.name else b"")
    fitted.clear()
    run(study, tmp_path / "out", tiny_model)
    assert fitted == NAMES


def test_inputs_that_do_not_fit(study: Path) -> None:
    np.save(study.parent / "r2.npy", np.ones((90, 3)))
    with pytest.raises(ValueError, match="differ in their columns"):
        read(study)
    for number in (1, 2, 3):
        np.save(study.parent / f"r{number}.npy", np.ones((90, 3)))
    with pytest.raises(ValueError, match="4 names for 3 columns"):
        read(study)
    study.write_text(study.read_text().replace("high_pass = 100", "trim = [45, 40]"))
    with pytest.raises(ValueError, match=r"'run-1' has 90 rows and responses.trim takes 45 \+ 40"):
        read(study)


def in_a_store(
    study: Path, *, tr: float = 1.5, trim: tuple[int, int] = (0, 0), runs: int = 3
) -> dict[str, np.ndarray]:
    """The study's responses in one store, in another order than the study's; what they are by run."""
    given = {f"run-{n}": study.parent / f"r{n}.npy" for n in (3, 1, 2) if n <= runs}
    build_response_store(given, study.parent / "sub-01.h5", tr=tr, trim=trim, progress=False)
    text = study.read_text()
    for number in (1, 2, 3):
        text = text.replace(f"r{number}.npy", "sub-01.h5")
    study.write_text(text)
    return {run: np.load(path) for run, path in given.items()}


def test_a_store_of_all_runs_gives_each_its_own(study: Path) -> None:
    expected = in_a_store(study)
    found = read(study)
    assert found.left_out == ["flat", "broken"]
    for stimulus, data in zip(found.stimuli, found.responses, strict=True):
        np.testing.assert_array_equal(data, expected[stimulus.name][:, found.usable])
        assert stimulus.times[0] == 0.75
    study.write_text(study.read_text().replace('"run-2"', '"wheel"'))
    with pytest.raises(ValueError, match=r"no run 'wheel'; it has run-3, run-1, run-2: name the run"):
        read(study)


def test_a_run_that_a_store_lacks_is_skipped(study: Path) -> None:
    in_a_store(study, runs=2)
    with pytest.raises(ValueError, match="has no run 'run-3'; it has"):
        read(study)
    study.write_text(study.read_text().replace("[responses]", '[responses]\nmissing = "skip"'))
    assert [stimulus.name for stimulus in read(study).stimuli] == ["run-1", "run-2"]


def test_a_part_without_words_is_refused(study: Path) -> None:
    config = load_config(study)
    subject = read(study)
    require_words(study_plan(config, subject), subject, config)
    rows = np.vstack([subject.responses[0], subject.responses[0][:60]])  # a minute and a half of silence
    times = tr_times(len(rows), 1.5)
    stimulus = replace(subject.stimuli[0], times=times)
    silent = replace(subject, stimuli=[stimulus], responses=[rows])
    cut = replace(config, fit=replace(config.fit, folds=3))
    with pytest.raises(ValueError, match=r"subject: there is no word in run 'run-1', rows 100 to 149.*trim"):
        require_words(study_plan(cut, silent), silent, cut)


def test_rows_that_a_store_has_lost_move_the_clock(study: Path) -> None:
    expected = in_a_store(study, trim=(10, 5))
    found = read(study)
    np.testing.assert_array_equal(found.responses[0], expected["run-1"][10:-5][:, found.usable])
    np.testing.assert_allclose(found.stimuli[0].times, (np.arange(10, 85) + 0.5) * 1.5)


def test_another_tr_in_the_file_is_said(study: Path) -> None:
    in_a_store(study, tr=2.0)
    with pytest.warns(ResponseWarning, match=r"responses.tr is 1.5 s, but .*sub-01.h5 says 2 s"):
        read(study)


def test_nothing_usable() -> None:
    with pytest.raises(ValueError, match="no column is usable"):
        usable_targets({"a": np.zeros((9, 2))})


def test_responses_from_text_and_hdf5(tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((6, 2))
    np.savetxt(tmp_path / "a.txt", data)
    np.savetxt(tmp_path / "a.csv", data, delimiter=",")
    with h5py.File(tmp_path / "a.hf5", "w") as file:
        file["data"] = data
    settings = ResponsesConfig(2.0)
    for name in ("a.txt", "a.csv", "a.hf5"):
        run = RunConfig("a", tmp_path / "a.TextGrid", tmp_path / name)
        found = read_recording(run, settings)
        np.testing.assert_allclose(found.data, data)
        np.testing.assert_allclose(found.times, [1, 3, 5, 7, 9, 11])
    (tmp_path / "b.txt").write_text("1 2\nx y\n")
    with pytest.raises(ValueError, match="not a table of numbers"):
        read_recording(RunConfig("b", tmp_path / "a.TextGrid", tmp_path / "b.txt"), settings)


@pytest.fixture
def hearing(tmp_path: Path) -> Path:
    """A tiny wav2vec2 with random weights, saved as a checkpoint is."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_kernel=(400, 4),
        conv_stride=(320, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(tmp_path / "tiny-wav2vec2")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "tiny-wav2vec2")
    return tmp_path / "tiny-wav2vec2"


@pytest.mark.slow
def test_an_audio_model_in_chunks_of_one_run(tmp_path: Path, hearing: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "s.wav", rng.normal(scale=0.1, size=16000 * 75).astype(np.float32), 16000)
    times = np.cumsum(rng.uniform(0.3, 1.2, 85))
    rows = [f"word,{t},{t + 0.25}" for t in times]
    (tmp_path / "s.csv").write_text("\n".join(["word,onset,offset", *rows]) + "\n")
    np.save(tmp_path / "s.npy", rng.standard_normal((75, 2)))
    path = tmp_path / "study.toml"
    path.write_text(
        f"""
title = "Heard"
[[models]]
name = "{hearing}"
layers = [2]
seconds = 1.0
stride = 0.5
[alignment]
method = "glover"
[responses]
tr = 1.0
[fit]
folds = 3
delays = [0]
alpha_count = 4
[analysis]
joint = "ridge"
permutations = 50
[[runs]]
name = "story"
words = "s.csv"
audio = "s.wav"
responses = "s.npy"
"""
    )
    outcome = run_study(load_config(path), tmp_path / "out", progress=False)
    names = [model.name for model in outcome.result.models]
    controls = ["word controls", "random vectors", "random embeddings", "sound"]
    expected = [
        "word rate",
        *(f"word rate + {name}" for name in controls),
        "word rate + word controls + sound",
        "autocorrelation alone",
        "word rate + word controls + sound + tiny-wav2vec2",
        "layer 2",
    ]
    assert names == expected
    assert outcome.result.provenance["alignment"]["method"] == "glover"
    assert outcome.report.exists()


def test_an_audio_model_wants_sound(study: Path, tmp_path: Path, hearing: Path) -> None:
    text = study.read_text().replace("[[models]]", f'[[models]]\nname = "{hearing}"')
    study.write_text(text)
    with pytest.raises(ValueError, match=r"tiny-wav2vec2 reads sound: give runs\.audio of run 'run-1'"):
        run_study(load_config(study), tmp_path / "out", progress=False)


@pytest.mark.slow
def test_unique_variance_is_of_penalties_chosen_by_r2(study: Path, tmp_path: Path, tiny_model: Any) -> None:
    outcome = run(study, tmp_path / "out", tiny_model)
    analysis = outcome.study.first.analyses["smollm2"]
    # A penalty that the correlation chose may predict noise with any amplitude, and its R2 be far below 0.
    assert analysis.beside.scores.r2.mean() > -0.1
    assert analysis.beside.unique.shape == analysis.beside.scores.r2.shape
    assert abs(analysis.beside.unique.mean(axis=0)[1]) < 0.1

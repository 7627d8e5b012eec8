"""``voxridge extract``: stories from a folder to activations and controls, with one command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.cli import main
from voxridge.features import FixedContext, Words, extract_words
from voxridge.streams.partial import PartialRun, RowBlock
from voxridge.streams.stores import ControlStore, FeatureStore, SoundStore

pytest.importorskip("wordfreq")

TEXT = ["the", "river", "was", "wide", "and", "slow", "nobody", "knew", "how", "deep", "it", "ran"]


def write_words(path: Path, n_words: int = 12, step: float = 0.5, pause: float = 0.15) -> Words:
    """A table of words, each followed by a pause."""
    words = [TEXT[i % len(TEXT)] for i in range(n_words)]
    onset = step * np.arange(n_words)
    rows = [f"{w},{t:.2f},{t + step - pause:.2f}" for w, t in zip(words, onset, strict=True)]
    path.write_text("\n".join(["word,onset,offset", *rows]) + "\n", encoding="utf-8")
    return Words(words, onset, onset + step - pause)


def write_sound(path: Path, words: Words, seconds: float, shift: float = 0.0) -> None:
    """Noise while words are spoken, silence between them."""
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    clock = np.arange(int(seconds * 16000)) / 16000 - shift
    word = np.searchsorted(words.onset, clock, side="right") - 1
    spoken = (word >= 0) & (clock < words.offset[np.maximum(word, 0)])
    noise = np.random.default_rng(0).normal(scale=0.1, size=len(clock))
    soundfile.write(path, (spoken * noise + 1e-4 * noise).astype(np.float32), 16000)


def uneven(path: Path, n_words: int = 60) -> Words:
    """Words at irregular times: even ones would fit a recording at many lags."""
    rng = np.random.default_rng(1)
    onset = np.cumsum(rng.uniform(0.3, 1.2, n_words)).round(2)
    words = Words([TEXT[i % 5] for i in range(n_words)], onset, onset + 0.25)
    rows = [f"{w},{a:.2f},{b:.2f}" for w, a, b in zip(words.text, words.onset, words.offset, strict=True)]
    path.write_text("\n".join(["word,onset,offset", *rows]) + "\n", encoding="utf-8")
    return words


def contents(path: Path) -> dict[str, Any]:
    """Every dataset and attribute below the three groups."""
    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        found.update({f"{name}@{key}": str(value) for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tolist()

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def test_a_folder_of_95_stories_is_one_command_with_one_bar(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stories"
    folder.mkdir()
    for number in range(1, 96):
        write_words(folder / f"story-{number}.csv", 3 + number % 5)
    out = tmp_path / "activations.h5"
    command = ["extract", str(folder), "-o", str(out), "--model", str(tiny_folder), "--layers", "0,-1"]
    assert main(command) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    store = FeatureStore.open(out)
    assert store.runs == [f"story-{number}" for number in range(1, 96)]
    assert ControlStore.open(out).runs == store.runs
    assert "verdict" in printed.out
    assert "95 run(s), 2 layer(s)" in printed.out
    bars = [line for line in printed.err.replace("\r", "\n").split("\n") if "word/s" in line]
    assert bars
    assert all(line.startswith("tiny:") for line in bars)
    assert f"{sum(3 + n % 5 for n in range(1, 96))}/" in bars[-1]


def test_options_reach_the_extraction(
    tmp_path: Path, tiny_folder: Path, tiny_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_words(tmp_path / "a.csv")
    out = tmp_path / "a.h5"
    command = ["extract", str(tmp_path / "a.csv"), "-o", str(out), "--model", str(tiny_folder), "--quiet"]
    options = ["--context", "fixed:2", "--pooling", "mean", "--store-dtype", "float32", "--layers", "1"]
    assert main([*command, *options, "--seed", "3"]) == 0, capsys.readouterr().err
    assert "verdict" not in capsys.readouterr().out
    expected = extract_words(
        tiny_model, words, layers=[1], context=FixedContext(2), pooling="mean", progress=False
    )
    store = FeatureStore.open(out)
    np.testing.assert_array_equal(store.read("a", "layer-01"), expected[1])
    assert store.provenance["context"]["kind"] == "fixed"
    assert ControlStore.open(out).provenance["seed"] == 3
    assert main([*command, *options, "--context", "fixed:3"]) == 1
    assert "context.n_words was 2, now 3" in capsys.readouterr().err
    assert main([*command, *options, "--context", "fixed:3", "--overwrite"]) == 0
    assert FeatureStore.open(out).provenance["context"]["n_words"] == 3


def test_untrained_weights_and_running_text(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_words(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text(", ".join(words.text) + ".", encoding="utf-8")
    command = ["extract", str(tmp_path), "--model", str(tiny_folder), "--quiet", "--layers", "-1"]
    for name, options in {
        "plain": [],
        "untrained": ["--untrained", "--seed", "1"],
        "text": ["--running-text"],
    }.items():
        assert main([*command, "-o", str(tmp_path / f"{name}.h5"), *options]) == 0, capsys.readouterr().err
    plain, untrained, text = (FeatureStore.open(tmp_path / f"{n}.h5") for n in ("plain", "untrained", "text"))
    assert untrained.provenance["model"]["untrained"] is True
    assert text.provenance["text"] == "running text"
    states = [store.read("a", store.layers[0]) for store in (plain, untrained, text)]
    assert not np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


def test_plan_alone_writes_nothing(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_words(tmp_path / "a.csv")
    command = ["extract", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.h5"), "--model", str(tiny_folder)]
    assert main([*command, "--plan", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("parameters", "peak", "store", "verdict"))
    assert not (tmp_path / "a.h5").exists()


def test_running_text_that_is_no_text_is_named(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_words(tmp_path / "a.csv")
    command = ["extract", str(tmp_path), "-o", str(tmp_path / "a.h5"), "--model", str(tiny_folder), "--quiet"]
    text = tmp_path / "a.txt"
    text.write_text("/annex/objects/MD5E-s123--abc.txt\n")
    assert main([*command, "--running-text"]) == 1
    assert "a.txt: a git-annex pointer" in capsys.readouterr().err
    text.write_bytes(" ".join(TEXT).encode() + b" caf\xe9")
    with pytest.warns(StimulusWarning, match=r"a\.txt: not valid UTF-8"):
        assert main([*command, "--running-text"]) == 0


def test_other_controls_do_not_cost_the_activations(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_words(tmp_path / "a.csv")
    command = ["extract", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.h5"), "--quiet"]
    with_model = [*command, "--model", str(tiny_folder), "--layers", "1"]
    assert main(with_model) == 0
    assert main([*with_model, "--seed", "3"]) == 1
    error = capsys.readouterr().err
    assert "seed was 0, now 3" in error
    assert "--model none --overwrite replaces the controls alone" in error
    assert main([*command, "--model", "none", "--overwrite", "--seed", "3"]) == 0
    assert main([*with_model, "--seed", "3"]) == 0
    assert FeatureStore.open(tmp_path / "a.h5").layers == ["layer-01"]
    assert "surprisal" in ControlStore.open(tmp_path / "a.h5").layers


def test_what_was_kept_is_said(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = PartialRun.append

    def append_and_fail(partial: PartialRun, block: RowBlock) -> None:
        append(partial, block)
        raise OSError("no space left")

    write_words(tmp_path / "a.csv")
    monkeypatch.setattr(PartialRun, "append", append_and_fail)
    command = ["extract", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.h5"), "--quiet"]
    assert main([*command, "--model", str(tiny_folder)]) == 1
    assert "12 of 12 rows of run 'a' are kept in" in capsys.readouterr().err


def test_sound_beside_the_words_gives_its_controls(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = uneven(tmp_path / "a.csv")
    write_sound(tmp_path / "a.wav", words, 50.0)
    out = tmp_path / "a.h5"
    command = ["extract", str(tmp_path), "-o", str(out), "--model", str(tiny_folder), "--quiet"]
    assert main(command) == 0, capsys.readouterr().err
    sound = SoundStore.open(out)
    assert sound.layers == ["envelope", "mel-spectrum"]
    np.testing.assert_allclose(sound.times("a"), 0.1 * np.arange(1, 501))
    assert FeatureStore.open(out).read("a", "layer-00").shape == (60, 16)


def test_words_of_another_recording_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = uneven(tmp_path / "a.csv")
    command = ["extract", str(tmp_path), "-o", str(tmp_path / "a.h5"), "--model", "none"]
    write_sound(tmp_path / "a.wav", words, 20.0)
    assert main(command) == 1
    assert "words lie outside" in capsys.readouterr().err
    write_sound(tmp_path / "a.wav", words, 50.0, shift=1.0)
    assert main(command) == 1
    assert "words lie 1.00 s before the sound of" in capsys.readouterr().err
    assert not (tmp_path / "a.h5").exists()


def test_controls_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_words(tmp_path / "a.csv")
    command = ["extract", str(tmp_path / "a.csv"), "-o", f"{tmp_path}/out/", "--model", "none"]
    assert main(command) == 0
    assert "1 run(s), 6 control(s) of the words" in capsys.readouterr().out
    assert main([*command, "--seed", "5"]) == 1
    assert "seed was 0, now 5" in capsys.readouterr().err
    assert main([*command, "--seed", "5", "--overwrite"]) == 0
    assert ControlStore.open(tmp_path / "out").provenance["seed"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "first"], "--layers is 'first'"),
        (["--layers", "7"], "layers 0 to 2; got 7"),
        (["--context", "wide"], "context 'wide' is unknown"),
        (["--max-memory", "20GiB"], "--max-memory is '20GiB'"),
        (["--model", "./no-such-model"], "the model folder does not exist"),
        (["--running-text"], "have no file of text"),
        (["--glove", "missing.txt"], "missing.txt"),
        (["--seconds", "8"], "--seconds is for audio models"),
        (["--model", "none", "--plan"], "--plan is for language models"),
        (["--model", "none", "--context", "whole"], "--context is for language models"),
        (["--language", "xx"], "wordfreq has no list for it"),
        (["--phones", "auto"], "phones are read from a tier of a .TextGrid"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    write_words(tmp_path / "a.csv")
    command = ["extract", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.h5"), "--model", str(tiny_folder)]
    assert main([*command, "--quiet", *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("voxridge: ")
    assert "Traceback" not in error
    assert not (tmp_path / "a.h5").exists()


def test_a_stimulus_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_words(tmp_path / "a.csv")
    before = (tmp_path / "a.csv").read_bytes()
    command = ["extract", str(tmp_path), "-o", str(tmp_path / "a.csv"), "--model", "none", "--overwrite"]
    assert main(command) == 1
    assert "which is one of the stimuli" in capsys.readouterr().err
    assert (tmp_path / "a.csv").read_bytes() == before


def test_an_empty_story_and_one_without_words_are_named(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.csv").write_text("word,onset,offset\n")
    command = ["extract", "-o", str(tmp_path / "a.h5"), "--model", str(tiny_folder)]
    assert main([*command, str(tmp_path / "empty.csv")]) == 1
    assert "no words in it" in capsys.readouterr().err
    (tmp_path / "only.txt").write_text("No times here.")
    assert main([*command, str(tmp_path / "only.txt")]) == 1
    assert "1 of 1 stories have no file of words, which this model reads: only" in capsys.readouterr().err
    assert main([*command[:3], "--model", "none", str(tmp_path / "only.txt")]) == 1
    assert "nothing to compute controls from" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_file(tmp_path: Path, tiny_folder: Path) -> None:
    for number in range(3):
        write_words(tmp_path / f"story-{number}.csv", 80)
    base = [sys.executable, "-m", "voxridge.cli", "extract", *map(str, sorted(tmp_path.glob("*.csv")))]
    base += ["--model", str(tiny_folder), "--context", "fixed:3", "--quiet"]
    subprocess.run([*base, "-o", str(tmp_path / "whole.h5")], check=True, capture_output=True)
    cut = tmp_path / "cut.h5"
    process = subprocess.Popen([*base, "-o", str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not cut.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*base, "-o", str(cut)], check=True, capture_output=True)
    assert contents(cut) == contents(tmp_path / "whole.h5")
    assert list(tmp_path.glob("*.partial")) == []

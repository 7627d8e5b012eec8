from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import (
    GrowingContext,
    LanguageModel,
    Words,
    extract_features,
    extract_words,
)
from voxridge.features.context import StridedContext
from voxridge.features.word_features import perplexity, word_surprisal
from voxridge.streams import FeatureStore

SMALL = GrowingContext(reset=4, limit=8)


def _words(text: str) -> Words:
    times = np.arange(len(text.split())) * 0.4
    return Words(text.split(), times, times + 0.3)


STIMULI = {
    "one": _words("Alice was beginning to get very tired of sitting by her sister on the bank"),
    "two": _words("once or twice she had peeped into the book"),
    "three": _words("what is the use of a book"),
}


def _extract(model: Any, path: Path, stimuli: Any = STIMULI, **options: Any) -> FeatureStore:
    return extract_features(model, stimuli, path, **{"context": SMALL, "progress": False, **options})


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_store_holds_what_extract_words_returns(gpt2: Any, tmp_path: Path, dtype: Any) -> None:
    store = _extract(gpt2, tmp_path / "a.h5", dtype=dtype, layers=[0, 3])
    assert store.runs == ["one", "two", "three"]
    assert store.layers == ["layer-00", "layer-03"]
    for run, words in STIMULI.items():
        expected = extract_words(gpt2, words, context=SMALL, progress=False)
        for layer in (0, 3):
            found = store.read(run, f"layer-{layer:02d}")
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected[layer].astype(dtype))
        np.testing.assert_array_equal(store.times(run), words.midpoint)
        assert store.words(run) == list(words.text)
    assert store.source("layer-03").runs == (15, 9, 7)


def test_provenance(gpt2: Any, tmp_path: Path) -> None:
    provenance = FeatureStore.open(_extract(gpt2, tmp_path / "a.h5").path).provenance
    assert provenance["model"]["model"] == "tiny-gpt2"
    assert provenance["model"]["tokenizer_class"]
    assert provenance["model"]["packages"]["transformers"]
    assert provenance["context"] == {
        "kind": "growing",
        "reset": 4,
        "limit": 8,
        "unit": "word",
        "bos": True,
        "tokens_before": [gpt2.tokenizer.bos_token_id],
        "tokens_after": [],
    }
    assert provenance["layers"] == [0, 1, 2, 3]
    assert provenance["dtype"] == "float16"
    assert provenance["stimulus_sha256"]["two"] == STIMULI["two"].digest()


@pytest.fixture(scope="module")
def slow(gpt2_folder: Path) -> Any:
    """Reads one window at a time, in pieces."""
    return LanguageModel.load(gpt2_folder, tokens_per_pass=16)


def _same(one: FeatureStore, other: FeatureStore) -> None:
    assert one.path.read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("the device is lost")])
@pytest.mark.parametrize("at", [1, 4])
def test_resume_reads_only_what_is_missing(
    slow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException
) -> None:
    path = tmp_path / "a.h5"
    original = type(slow).read
    read: list[int] = []

    def interrupted(self: Any, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        if len(read) == at:
            read.append(0)
            raise error
        read.append(len(sequences))
        return original(self, sequences, *args, **kwargs)

    monkeypatch.setattr(type(slow), "read", interrupted)
    with pytest.raises(type(error)) as caught:
        _extract(slow, path)
    assert caught.value is error
    n_read = sum(read)
    resumed = _extract(slow, path)
    assert resumed.runs == ["one", "two", "three"]
    n_windows = sum(len(SMALL.windows(np.ones(len(words)))) for words in STIMULI.values())
    assert 0 < n_read < sum(read) == n_windows
    _same(resumed, _extract(slow, tmp_path / "b.h5"))
    n_calls = len(read)
    _extract(slow, path)
    assert len(read) == n_calls
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5"]


# Forked from one process that has loaded the model, so that many deaths take seconds.
WORKER = """
import os, random, signal, sys, traceback
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_extract import SMALL, STIMULI, _extract
from voxridge.features import LanguageModel
import torch

torch.set_num_threads(1)
model = LanguageModel.load(sys.argv[2], tokens_per_pass=16)

def child(path, last_read=None, delay=0.0):
    "Whether a process that does the work came to its end; one that dies does so some time after a read."
    pid = os.fork()
    if pid == 0:
        code, reads, plain = 1, iter(range(1000)), type(model).read
        def read(*arguments, **options):
            if next(reads) == last_read:
                signal.setitimer(signal.ITIMER_REAL, delay)  # the signal ends the process where it is
            return plain(*arguments, **options)
        try:
            type(model).read = read
            _extract(model, path)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return not os.WIFSIGNALED(status)

whole = Path(sys.argv[3]) / "whole.h5"
assert child(whole)
deaths, chance = 0, random.Random(1)
for trial in range(4):
    path = Path(sys.argv[3]) / f"x{trial}.h5"
    for _ in range(3):
        deaths += not child(path, chance.randrange(3), chance.uniform(1e-5, 0.02))
    assert child(path)
    assert path.read_bytes() == whole.read_bytes()
print(deaths)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_again_and_again_the_file_is_that_of_one_call(gpt2_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(gpt2_folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 4
    assert not list(tmp_path.glob("*.partial"))


def test_surprisal_and_perplexity_come_with_the_activations(gpt2: Any, bert: Any, tmp_path: Path) -> None:
    store = _extract(gpt2, tmp_path / "a.h5")
    for run, words in STIMULI.items():
        expected = word_surprisal(gpt2, words, context=SMALL)
        np.testing.assert_array_equal(store.surprisal(run), expected)
        assert store.perplexity(run) == perplexity(gpt2, words, context=SMALL)
    assert store.layers == [f"layer-{i:02d}" for i in range(4)]
    without = _extract(gpt2, tmp_path / "b.h5", surprisal=False)
    assert without.surprisal("one") is None
    assert without.perplexity("one") is None
    np.testing.assert_array_equal(without.read("one", "layer-03"), store.read("one", "layer-03"))
    with pytest.raises(ValueError, match="surprisal was true, now false"):
        _extract(gpt2, tmp_path / "a.h5", surprisal=False)
    assert _extract(bert, tmp_path / "c.h5").surprisal("one") is None
    with pytest.raises(ValueError, match=r"run 'one': surprisal: tiny-bert gives no probability"):
        _extract(bert, tmp_path / "d.h5", surprisal=True)


def test_the_size_of_the_windows_of_the_model_is_recorded(gpt2: Any, tmp_path: Path) -> None:
    store = _extract(gpt2, tmp_path / "a.h5", context=StridedContext(stride=8))
    assert store.provenance["context"]["window"] == gpt2.max_tokens - 1


def test_running_text(gpt2: Any, tmp_path: Path) -> None:
    words = {"one": _words("Alice was tired she said")}
    text = {"one": "Alice was tired, she said."}
    store = _extract(gpt2, tmp_path / "a.h5", words, text=text)
    expected = extract_words(gpt2, words["one"], context=SMALL, progress=False, text=text["one"])
    np.testing.assert_array_equal(store.read("one", "layer-03"), expected[3].astype("f2"))
    plain = _extract(gpt2, tmp_path / "b.h5", words)
    assert (plain.read("one", "layer-03")[3] != store.read("one", "layer-03")[3]).any()
    other = {"one": "Alice was tired; she said."}
    with pytest.raises(ValueError, match=r"continued: stimulus_sha256.one was \S+, now \S+ Give"):
        _extract(gpt2, tmp_path / "a.h5", words, text=other)
    with pytest.raises(ValueError, match=r"text has the runs \['two'\], but stimuli has \['one'\]"):
        _extract(gpt2, tmp_path / "c.h5", words, text={"two": "no"})
    spoken = {"one": _words("Alice was uh tired she said")}
    with pytest.raises(ValueError, match=r"run 'one': 1 of 6 words are not in the text: word 2 \('uh'"):
        _extract(gpt2, tmp_path / "d.h5", spoken, text=text)
    with pytest.warns(StimulusWarning):
        skipped = _extract(gpt2, tmp_path / "e.h5", spoken, text=text, missing="skip")
    rows = skipped.read("one", "layer-03")
    np.testing.assert_array_equal(rows[2], rows[1])
    np.testing.assert_array_equal(np.delete(rows, 2, axis=0), store.read("one", "layer-03"))


def test_a_run_that_cannot_be_read_is_found_before_any_is(
    gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2, "read", lambda *_args, **_options: pytest.fail("a run was read"))
    text = {name: " ".join(words.text) for name, words in STIMULI.items()} | {"three": "of another story"}
    with pytest.raises(ValueError, match=r"run 'three': .*words are not in the text"):
        _extract(gpt2, tmp_path / "a.h5", text=text)
    stimuli = {"one": STIMULI["one"], "long": _words("word " * 200)}
    with pytest.raises(ValueError, match=r"run 'long': the window of words .* takes 128 at a time"):
        _extract(gpt2, tmp_path / "a.h5", stimuli, context=GrowingContext(100, 150))
    assert not list(tmp_path.iterdir())


def test_names_that_no_store_could_give_back(gpt2: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run '\.one' .*hidden file"):
        _extract(gpt2, f"{tmp_path}/folder/", {".one": STIMULI["one"]})
    with pytest.raises(ValueError, match=r"run 'one': word 1 \('a\\x00b'\) holds a zero"):
        _extract(gpt2, tmp_path / "a.h5", {"one": Words(["so", "a\0b"], [0.0, 0.5], [0.4, 0.9])})


def test_one_file_per_run(gpt2: Any, tmp_path: Path) -> None:
    whole = _extract(gpt2, tmp_path / "whole.h5")
    folder = tmp_path / "parts"
    for run in ("two", "one"):  # the jobs of a cluster, each with its story
        _extract(gpt2, f"{folder}/", {run: STIMULI[run]})
    store = _extract(gpt2, folder)
    assert sorted(p.name for p in folder.iterdir()) == ["one.h5", "three.h5", "two.h5"]
    assert store.provenance == whole.provenance
    for run in STIMULI:
        np.testing.assert_array_equal(store.read(run, "layer-02"), whole.read(run, "layer-02"))
    with pytest.raises(
        ValueError, match=r"one\.h5 was made in another way .*pooling was \"last\", now \"mean\""
    ):
        _extract(gpt2, folder, {"two": STIMULI["two"]}, pooling="mean")


def test_further_stories_are_added_to_a_file(tmp_path: Path, gpt2: Any) -> None:
    first, *others = STIMULI
    store = _extract(gpt2, tmp_path / "a.h5", {first: STIMULI[first]})
    kept = store.read(first, "layer-01")
    more = _extract(gpt2, tmp_path / "a.h5", {run: STIMULI[run] for run in others})
    assert more.runs == list(STIMULI)
    digests = {run: words.digest() for run, words in STIMULI.items()}
    assert more.provenance["stimulus_sha256"] == digests
    whole = _extract(gpt2, tmp_path / "b.h5")
    for run in STIMULI:
        np.testing.assert_array_equal(more.read(run, "layer-01"), whole.read(run, "layer-01"))
    np.testing.assert_array_equal(kept, more.read(first, "layer-01"))
    assert more.provenance == whole.provenance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": GrowingContext(reset=3, limit=8)}, r"context.reset was 4, now 3"),
        ({"pooling": "mean"}, r'pooling was "last", now "mean"'),
        ({"dtype": "float32"}, r'dtype was "float16", now "float32"'),
        ({"layers": [1]}, r"layers was \[0, 1, 2, 3\], now \[1\]"),
        ({"stimuli": {**STIMULI, "two": STIMULI["two"].shift(1.0)}}, r"stimulus_sha256.two was"),
    ],
)
def test_resume_refuses_what_differs(
    gpt2: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.h5"
    _extract(gpt2, path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"cannot be continued: .*{message}"):
        _extract(gpt2, path, **options)
    assert path.read_bytes() == content


def test_resume_refuses_another_model_of_the_same_name(gpt2: Any, gpt2_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    _extract(gpt2, path)
    untrained = LanguageModel.load(gpt2_folder, untrained=True, seed=5)
    with pytest.raises(ValueError, match=r"model.untrained was false, now true.*model.weights_sha256"):
        _extract(untrained, path)
    assert _extract(untrained, path, overwrite=True).provenance["model"]["untrained"] is True


def test_float16_overflow(gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = type(gpt2).read

    def large(*args: Any, **kwargs: Any) -> Any:
        parts = original(*args, **kwargs)
        return [part._replace(states={k: 1e5 * v for k, v in part.states.items()}) for part in parts]

    monkeypatch.setattr(type(gpt2), "read", large)
    with pytest.raises(
        ValueError, match=r"run 'one': layer 0 .* more than float16 can hold .*dtype='float32'"
    ):
        _extract(gpt2, tmp_path / "a.h5")
    assert np.isfinite(_extract(gpt2, tmp_path / "b.h5", dtype="float32").read("one", "layer-03")).all()


def test_progress_shows_time_left_and_what_was_done(
    gpt2: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract_features(gpt2, STIMULI, tmp_path / "a.h5", context=SMALL)
    error = capsys.readouterr().err
    assert "31/31" in error
    assert "<00:00" in error


def test_bad_input(gpt2: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        _extract(gpt2, tmp_path / "a.h5", stimuli={})
    with pytest.raises(TypeError, match=r"stimuli\['one'\] must be Words.*got list"):
        _extract(gpt2, tmp_path / "a.h5", stimuli={"one": ["a"]})
    with pytest.raises(ValueError, match=r"stimuli\['one'\] holds no words"):
        _extract(gpt2, tmp_path / "a.h5", stimuli={"one": STIMULI["one"][:0]})
    with pytest.raises(ValueError, match="dtype='float64'"):
        _extract(gpt2, tmp_path / "a.h5", dtype="float64")
    assert list(tmp_path.iterdir()) == []

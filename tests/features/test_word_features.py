from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import GrowingContext, Words, extract_words
from voxridge.features.context import FixedContext, StridedContext, WholeRun
from voxridge.features.language_model import WindowStates
from voxridge.features.pooling import Pooling
from voxridge.features.tokens import tokenise_words
from voxridge.features.window_reader import WordBlock
from voxridge.features.word_features import perplexity, read_blocks, word_surprisal

STORY = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to "
    "do: once "
    "or twice she had peeped into the book her sister was reading, but it had no pictures"
)
TEXT = STORY.split()
SMALL = GrowingContext(reset=4, limit=8)
CONTEXTS = [
    SMALL,
    GrowingContext(reset=10, limit=40, unit="token"),
    StridedContext(window=30, stride=9),
    FixedContext(n_words=2),
    WholeRun(),
]
CAUSAL = (
    "gpt2 opt opt-projected llama llama-tied pythia qwen2 qwen3 gemma gemma2 gemma3 stablelm mistral mamba "
    "mamba2 falcon-mamba"
)


def _extract(model: Any, words: list[str], **options: Any) -> dict[int, np.ndarray]:
    return extract_words(model, words, progress=False, **options)


def _by_hand(model: Any, words: list[str], word: int, start: int, pooling: str) -> np.ndarray:
    """One forward pass over words start..word alone, the slow way that the windows must equal."""
    tokenizer = model.tokenizer
    prefix = " ".join(words[:start])
    text = " ".join(words[: word + 1])
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(text) - len(words[word]), len(text)
    if pooling != "mean+punctuation":
        end -= len(words[word]) - len(words[word].rstrip(",.:?!"))
    tokens = [
        (token, span)
        for token, span in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
        if span[1] > len(prefix)
    ]
    ids = [tokenizer.bos_token_id, *(token for token, _ in tokens)]
    mine = [1 + i for i, (_, (a, b)) in enumerate(tokens) if a < end and b > begin]
    states = model.hidden_states(ids, [2])[2]
    return states[mine[-1]] if pooling == "last" else states[mine].mean(axis=0)


@pytest.mark.parametrize("pooling", ["last", "mean", "mean+punctuation"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_windows_equal_one_pass_for_each_word(
    name: str, pooling: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    for context in CONTEXTS:
        found = _extract(model, TEXT, layers=[2], context=context, pooling=pooling)[2]
        sizes = np.diff(tokenise_words(model.tokenizer, TEXT).edges)
        starts = [w.start for w in context.windows(sizes) for _ in range(w.new, w.stop)]
        expected = [_by_hand(model, TEXT, word, start, pooling) for word, start in enumerate(starts)]
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def _with_budget(model: Any, tokens_per_pass: int) -> Any:
    changed = copy.copy(model)
    changed.tokens_per_pass = tokens_per_pass
    return changed


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 100, 10_000])
def test_windows_are_read_once_in_full_batches(
    gpt2: Any, monkeypatch: pytest.MonkeyPatch, tokens_per_pass: int
) -> None:
    calls: list[list[int]] = []
    original = type(gpt2).read

    def counting(self: Any, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append([len(ids) for ids in sequences])
        return original(self, sequences, *args, **kwargs)

    monkeypatch.setattr(type(gpt2), "read", counting)
    found = _extract(_with_budget(gpt2, tokens_per_pass), TEXT, context=SMALL)
    windows = SMALL.windows([1] * len(TEXT))
    edges = tokenise_words(gpt2.tokenizer, TEXT).edges
    sizes = [1 + edges[window.stop] - edges[window.start] for window in windows]
    assert [size for batch in calls for size in batch] == sizes
    first = 0
    for batch in calls:
        assert len(batch) == 1 or len(batch) * max(batch) <= tokens_per_pass
        following = sizes[first : first + len(batch) + 1]
        assert len(following) == len(batch) or len(following) * max(following) > tokens_per_pass
        first += len(batch)
    expected = _extract(gpt2, TEXT, context=SMALL)
    for layer in expected:
        np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("name", CAUSAL.split())
def test_past_only_in_every_context(name: str, tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model(name)
    assert model.past_only
    change = 13
    words = [*TEXT[:change], *_other_words_of_as_many_tokens(model, TEXT)[change:]]
    for tokens_per_pass, context in ((model.tokens_per_pass, CONTEXTS[2]), (60, SMALL), (30, WholeRun())):
        cut = _with_budget(model, tokens_per_pass)
        before = _extract(cut, TEXT, context=context, pooling="mean+punctuation")
        after = _extract(cut, words, context=context, pooling="mean+punctuation")
        for layer in range(model.n_layers):
            np.testing.assert_array_equal(after[layer][:change], before[layer][:change])
            assert not np.array_equal(after[layer][change:], before[layer][change:])


def test_past_only_when_the_number_of_tokens_changes(gpt2: Any) -> None:
    before = _extract(gpt2, TEXT)
    after = _extract(gpt2, [*TEXT[:20], "conversations?"])
    for layer in range(gpt2.n_layers):
        np.testing.assert_allclose(after[layer][:20], before[layer][:20], rtol=1e-4, atol=1e-4)


def _blocks(model: Any, words: list[str], **options: Any) -> list[WordBlock]:
    chosen = {"layers": range(model.n_layers), "context": SMALL, "pooling": "mean", "surprisal": True}
    return list(read_blocks(model, words, **{**chosen, "dtype": np.dtype("float32"), **options}))


def test_going_on_from_any_block_is_bit_identical(gpt2: Any) -> None:
    model = _with_budget(gpt2, 60)
    for context in CONTEXTS:
        whole = _blocks(model, TEXT, context=context)
        assert [block.start for block in whole] == [0, *(block.stop for block in whole[:-1])]
        assert whole[-1].stop == len(TEXT)
        for place, block in enumerate(whole):
            rest = _blocks(model, TEXT, context=context, first_word=block.start)
            for again, first in zip(rest, whole[place:], strict=True):
                assert (again.start, again.stop, again.bits) == (first.start, first.stop, first.bits)
                np.testing.assert_array_equal(again.surprisal, first.surprisal)
                for layer in range(model.n_layers):
                    np.testing.assert_array_equal(again.states[layer], first.states[layer])
        assert _blocks(model, TEXT, context=context, first_word=len(TEXT)) == []
    with pytest.raises(ValueError, match=r"first_word=3 is not the start of a block; blocks start at \[0"):
        _blocks(model, TEXT, first_word=3)


def test_surprisal_and_perplexity_are_those_of_transformers(
    gpt2: Any, llama: Any, gpt2_folder: Path, llama_folder: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    for model, folder in ((gpt2, gpt2_folder), (llama, llama_folder)):
        network = AutoModelForCausalLM.from_pretrained(folder).eval()
        text = " ".join(TEXT)
        encoding = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor([[model.tokenizer.bos_token_id, *encoding["input_ids"]]])
        with torch.inference_mode():
            result = network(ids, labels=ids)
            logs = torch.log_softmax(result.logits[0, :-1].double(), dim=-1)
        bits = -logs.gather(1, ids[0, 1:, None])[:, 0].numpy() / np.log(2)
        expected, place = [], 0
        for word in TEXT:
            start = text.index(word, place)
            place = start + len(word.rstrip(",:"))
            # The blank in front belongs to the word, whether it is a token of its own or not.
            mine = [a < place and b > max(start - 1, 0) for a, b in encoding["offset_mapping"]]
            expected.append(bits[mine].sum())
        found = word_surprisal(model, TEXT, context=WholeRun())
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert perplexity(model, TEXT, context=WholeRun()) == pytest.approx(float(result.loss.exp()), 1e-5)


def test_a_token_with_nothing_before_it_has_no_surprisal(gpt2: Any, bert: Any) -> None:
    found = word_surprisal(gpt2, TEXT, context=GrowingContext(bos=False))
    np.testing.assert_array_equal(np.isnan(found), np.arange(len(TEXT)) == 0)
    assert np.isfinite(perplexity(gpt2, TEXT, context=GrowingContext(bos=False)))
    with pytest.raises(ValueError, match="no token has anything before it"):
        perplexity(gpt2, ["a"], context=GrowingContext(bos=False))
    with pytest.raises(ValueError, match="tiny-bert gives no probability of the next token"):
        word_surprisal(bert, TEXT[:5])


PUNCTUATED = "“So,” thought Alice — “it's 3,000 miles!”  And then... (she fell) on."
HEARD = ["so", "thought", "alice", "it's", "3000", "miles", "and", "then", "she", "fell", "on"]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_running_text_with_punctuation(name: str, request: pytest.FixtureRequest) -> None:
    """Against the tokeniser's own map of characters to tokens, over the whole text in one pass."""
    model = request.getfixturevalue(name)
    encoding = model.tokenizer(PUNCTUATED, add_special_tokens=False, return_offsets_mapping=True)
    states = model.hidden_states([model.tokenizer.bos_token_id, *encoding["input_ids"]], [2])[2][1:]
    spans, place = [], 0
    for word in ["So", "thought", "Alice", "it's", "3,000", "miles", "And", "then", "she", "fell", "on"]:
        place = PUNCTUATED.index(word, place)
        spans.append((place, place + len(word)))
    options = {"text": PUNCTUATED, "context": WholeRun(), "layers": [2]}
    last, mean, marks = (
        _extract(model, HEARD, pooling=pooling, **options)[2] for pooling in get_args(Pooling)
    )
    blank = [not PUNCTUATED[a:b].strip() for a, b in encoding["offset_mapping"]]
    for i, (start, stop) in enumerate(spans):
        following = spans[i + 1][0] if i + 1 < len(spans) else len(PUNCTUATED)
        held = [encoding.char_to_token(place) for place in range(start, stop)]
        end = max(t for t, (a, _) in enumerate(encoding["offset_mapping"]) if a < stop)
        core = range(min(held), end + 1)
        np.testing.assert_allclose(last[i], states[end], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(mean[i], states[core].mean(axis=0), rtol=1e-4, atol=1e-4)
        # From the token of this word's first letter to that of the next word's.
        beyond = encoding.char_to_token(following) if following < len(PUNCTUATED) else len(states)
        mine = [token for token in range(min(held), beyond) if not blank[token]]
        np.testing.assert_allclose(marks[i], states[mine].mean(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_past_only_in_running_text(gpt2: Any, pooling: str) -> None:
    other = PUNCTUATED.replace("3,000", "7,000")
    words = ["7000" if word == "3000" else word for word in HEARD]
    sizes = [len(gpt2.tokenizer(text)["input_ids"]) for text in (PUNCTUATED, other)]
    assert sizes[0] == sizes[1]
    before = _extract(gpt2, HEARD, text=PUNCTUATED, pooling=pooling, context=SMALL)
    after = _extract(gpt2, words, text=other, pooling=pooling, context=SMALL)
    for layer in range(gpt2.n_layers):
        np.testing.assert_array_equal(after[layer][:4], before[layer][:4])
        # The last token of the number is the same one.
        assert layer == 0 or not np.array_equal(after[layer][4:], before[layer][4:])


def test_a_word_that_the_text_lacks(gpt2: Any) -> None:
    times = np.arange(12.0)
    words = Words([*HEARD[:4], "uh", *HEARD[4:]], times, times + 0.5)
    with pytest.raises(ValueError, match=r"word 4 \('uh', 4 s\)"):
        _extract(gpt2, words, text=PUNCTUATED)
    with pytest.warns(StimulusWarning, match=r"word 4 \('uh', 4 s\)|1 of 12 words have no token"):
        found = _extract(gpt2, words, text=PUNCTUATED, missing="skip")[2]
    expected = _extract(gpt2, HEARD, text=PUNCTUATED)[2]
    np.testing.assert_array_equal(np.delete(found, 4, axis=0), expected)
    np.testing.assert_array_equal(found[4], found[3])


def test_a_masked_model_sees_later_words(bert: Any) -> None:
    whole = _extract(bert, TEXT[:12])
    other = _extract(bert, [*TEXT[:11], "bank"])
    assert not np.allclose(whole[2][:5], other[2][:5])
    np.testing.assert_array_equal(whole[0][:11], other[0][:11])


def test_a_masked_model_sees_the_past_only_in_windows_that_end_with_the_word(bert: Any) -> None:
    context = FixedContext(n_words=4)
    before = _extract(bert, TEXT, context=context)
    after = _extract(bert, [*TEXT[:13], *_other_words_of_as_many_tokens(bert, TEXT)[13:]], context=context)
    for layer in range(bert.n_layers):
        np.testing.assert_array_equal(after[layer][:13], before[layer][:13])
        assert not np.array_equal(after[layer][13:], before[layer][13:])


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
            # Going on in front of a word without a token needs the row before it.
            small = _with_budget(model, 1)
            with pytest.warns(StimulusWarning):
                blocks = _blocks(small, words, context=FixedContext(1), surprisal=False)
            for i in (1, 3, 4):
                with (
                    pytest.warns(StimulusWarning),
                    pytest.raises(ValueError, match=f"before: word {i} has"),
                ):
                    _blocks(small, words, context=FixedContext(1), surprisal=False, first_word=i)
                rows = {layer: values[-1] for layer, values in blocks[i - 1].states.items()}
                with pytest.warns(StimulusWarning):
                    rest = _blocks(small, words, context=FixedContext(1), first_word=i, before=rows)
                for again, first in zip(rest, blocks[i:], strict=True):
                    for layer in range(model.n_layers):
                        np.testing.assert_array_equal(again.states[layer], first.states[layer])
                assert rest[0].surprisal.tolist() == [0.0]


def test_window_longer_than_the_model(bert: Any) -> None:
    with pytest.raises(ValueError, match=r"takes 64 at a time: use the context growing:31,62,token"):
        _extract(bert, TEXT * 3)
    with pytest.raises(ValueError, match=r"the window of words 0 to 116 has 128 tokens, but tiny-bert"):
        _extract(bert, TEXT * 3, context=WholeRun())
    found = _extract(bert, TEXT * 3, context=GrowingContext(reset=31, limit=62, unit="token"))
    assert found[2].shape == (len(TEXT) * 3, 16)
    # As long as the model takes, without its two special tokens.
    full = _extract(bert, TEXT * 3, context=StridedContext(stride=20))
    given = _extract(bert, TEXT * 3, context=StridedContext(window=62, stride=20))
    np.testing.assert_array_equal(full[2], given[2])


def test_strides_of_a_model_without_a_limit(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match=r"this model has no limit: give the size"):
        _extract(tiny_model("mamba"), TEXT, context=StridedContext())


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
    original = type(gpt2).read

    def spoiled(value: float) -> Any:
        def read(self: Any, *args: Any, **kwargs: Any) -> list[WindowStates]:
            found = original(self, *args, **kwargs)
            for window in found:
                window.states[2] = np.full_like(window.states[2], value)
            return found

        return read

    monkeypatch.setattr(type(gpt2), "read", spoiled(np.nan))
    with pytest.raises(ValueError, match=r"layer 2 of tiny-gpt2 has NaN or infinity at word 0 \('Alice'\)"):
        _extract(gpt2, TEXT)
    monkeypatch.setattr(type(gpt2), "read", spoiled(1e5))
    with pytest.raises(ValueError, match=r"layer 2 .* reaches 100000 at word 0 .*more than float16 can hold"):
        _blocks(gpt2, TEXT, dtype=np.dtype("float16"))
    monkeypatch.setattr(type(gpt2), "read", spoiled(0.0))
    for words in (TEXT, TEXT[:3]):
        with pytest.raises(ValueError, match="layer 2 of tiny-gpt2 is all zeros"):
            _extract(gpt2, words)

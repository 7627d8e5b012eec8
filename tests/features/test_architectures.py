"""Every architecture: its states and probabilities are those that transformers gives without padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Models = Callable[[str], Any]

CAUSAL = {
    "gpt2": (4, (16, 16, 16, 16), 128),
    "opt": (3, (24, 24, 24), 128),
    "opt-projected": (3, (24, 24, 12), 128),
    "llama": (3, (24, 24, 24), 256),
    "llama-tied": (3, (24, 24, 24), 256),
    "pythia": (3, (24, 24, 24), 256),
    "qwen2": (3, (24, 24, 24), 256),
    "qwen3": (3, (24, 24, 24), 256),
    "gemma": (3, (24, 24, 24), 256),
    "gemma2": (3, (24, 24, 24), 256),
    "gemma3": (3, (24, 24, 24), 256),
    "stablelm": (3, (24, 24, 24), 256),
    "mistral": (3, (24, 24, 24), 256),
    "mamba": (3, (24, 24, 24), None),
    "mamba2": (3, (24, 24, 24), None),
    "falcon-mamba": (3, (24, 24, 24), None),
    "bloom": (3, (24, 24, 24), None),
    "granite": (3, (24, 24, 24), 256),
    "mixtral": (3, (24, 24, 24), 256),
    "rwkv": (3, (24, 24, 24), 128),
}
BOTH_SIDES = {
    "bert": (3, (16, 16, 16), 64),
    # Positions are counted from the padding token, 0 here, plus one.
    "roberta": (3, (24, 24, 24), 65),
    "albert": (3, (24, 24, 24), 64),
    "distilbert": (3, (24, 24, 24), 64),
    "xlnet": (3, (24, 24, 24), None),
    "t5": (3, (24, 24, 24), None),
    "t5-encoder": (3, (24, 24, 24), None),
    "mt5": (3, (24, 24, 24), None),
    "bart": (3, (24, 24, 24), 64),
    "marian": (3, (24, 24, 24), 64),
    "deberta": (3, (24, 24, 24), 64),
    "fnet": (3, (24, 24, 24), 64),
}
ALL = [*CAUSAL, *BOTH_SIDES]
STATE_SPACE = ("mamba", "mamba2", "falcon-mamba", "rwkv")


def tokens(model: Any, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, len(model.tokenizer) - 1, n)


def run_transformers(name: str, folder: Path, ids: np.ndarray) -> Any:
    """One sequence without padding through the class that a user of transformers would take."""
    import torch
    import transformers

    kind = "AutoModelForCausalLM" if name in CAUSAL else "AutoModel"
    kind = {"t5": "T5EncoderModel", "t5-encoder": "T5EncoderModel", "mt5": "MT5EncoderModel"}.get(name, kind)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    model = model.get_encoder() if name in ("bart", "marian") else model
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(ids)[None], output_hidden_states=True), model


def assert_near(found: np.ndarray, expected: np.ndarray, slack: float = 5e-6) -> None:
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=slack * max(1, np.nanmax(np.abs(expected), initial=1))
    )


@pytest.mark.parametrize("name", ALL)
def test_what_is_measured(name: str, tiny_model: Models) -> None:
    model = tiny_model(name)
    n_layers, widths, max_tokens = {**CAUSAL, **BOTH_SIDES}[name]
    assert (model.n_layers, model.widths, model.max_tokens) == (n_layers, widths, max_tokens)
    assert model.past_only == model.can_score == (name in CAUSAL)


@pytest.mark.parametrize("name", ALL)
def test_states_are_those_of_transformers(name: str, tiny_model: Models, tiny_folder: Models) -> None:
    model = tiny_model(name)
    ids = tokens(model, 23)
    expected, network = run_transformers(name, tiny_folder(name), ids)
    found = model.hidden_states(ids, range(model.n_layers))
    states = [state[0].numpy() for state in expected.hidden_states]
    if name in STATE_SPACE:
        # transformers leaves the embedding out and gives the last block before and after its normalisation.
        states = [network.get_input_embeddings().weight.detach().numpy()[ids], *states[:-2], states[-1]]
    assert len(states) == model.n_layers
    for layer in range(model.n_layers):
        assert_near(found[layer], states[layer])
    alone = model.hidden_states(ids, [1], rows=slice(4, 9))
    assert list(alone) == [1]
    assert_near(alone[1], found[1][4:9])


def test_positions_that_no_checkpoint_holds_are_the_computed_ones(tiny_model: Models) -> None:
    table = tiny_model("marian")._network.body.embed_positions.weight.detach().numpy()
    angles = np.arange(64)[:, None] / 10000 ** (2 * np.arange(12) / 24)
    np.testing.assert_allclose(table, np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_padded_batch_is_each_sequence_alone(name: str, tiny_model: Models) -> None:
    model = tiny_model(name)
    sequences = [tokens(model, n, seed=n) for n in (7, 19, 1, 12)]
    rows = [slice(2, 7), slice(None), slice(0, 1), slice(-3, None)]
    layers = range(model.n_layers)
    batch = model.read(sequences, layers, rows, surprisal=model.can_score)
    for ids, span, found in zip(sequences, rows, batch, strict=True):
        alone = model.read([ids], layers, [span], surprisal=model.can_score)[0]
        for layer in layers:
            assert found.states[layer].dtype == np.float32
            assert_near(found.states[layer], alone.states[layer])
        if model.can_score:
            assert_near(found.surprisal, alone.surprisal, 2e-5)
        else:
            assert found.surprisal is None


@pytest.mark.parametrize("name", CAUSAL)
def test_later_tokens_change_nothing_before_them(name: str, tiny_model: Models) -> None:
    model = tiny_model(name)
    ids = tokens(model, 20)
    changed = ids.copy()
    changed[12:] = tokens(model, 8, seed=1)
    found = model.read([ids, tokens(model, 9)], range(model.n_layers), [slice(None)] * 2, surprisal=True)[0]
    other = model.read([changed, tokens(model, 9)], range(model.n_layers), [slice(None)] * 2, surprisal=True)[
        0
    ]
    for layer in range(model.n_layers):
        np.testing.assert_array_equal(found.states[layer][:12], other.states[layer][:12])
        assert (found.states[layer][12:] != other.states[layer][12:]).any()
    np.testing.assert_array_equal(found.surprisal[:12], other.surprisal[:12])


@pytest.mark.parametrize("name", CAUSAL)
def test_surprisal_is_that_of_the_models_own_logits(
    name: str, tiny_model: Models, tiny_folder: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxridge.features import forward

    model = tiny_model(name)
    ids = tokens(model, 23)
    logits = run_transformers(name, tiny_folder(name), ids)[0].logits[0].double().numpy()
    # Textbook softmax in float64; row i of the logits is about token i + 1.
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = odds / odds.sum(axis=1, keepdims=True)
    expected = -np.log2(p[np.arange(22), ids[1:]])
    found = model.read([ids], [0], [slice(None)], surprisal=True)[0].surprisal
    assert found.dtype == np.float64
    assert np.isnan(found[0])
    assert_near(found[1:], expected, 2e-5)
    # In pieces of five tokens, and of some rows only.
    monkeypatch.setattr(forward, "LOGITS_PER_PIECE", 5 * logits.shape[1])
    some = model.read([ids], [0], [slice(3, 17)], surprisal=True)[0].surprisal
    assert_near(some, expected[2:16], 2e-5)


def test_soft_capping_and_tied_heads_are_in_these_tests(tiny_model: Models) -> None:
    assert tiny_model("gemma2")._network.body.config.final_logit_softcapping == 2.0
    assert tiny_model("llama-tied")._network.body.config.tie_word_embeddings
    assert not tiny_model("llama")._network.body.config.tie_word_embeddings


@pytest.mark.parametrize("name", CAUSAL)
def test_long_sequences_in_pieces_are_a_single_pass(
    name: str, tiny_model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(name)
    sequences = [tokens(model, 61), tokens(model, 11), tokens(model, 40, seed=1)]
    rows = [slice(13, 59), slice(None), slice(0, 33)]
    layers = range(model.n_layers)
    whole = model.read(sequences, layers, rows, surprisal=True)
    monkeypatch.setattr(model, "tokens_per_pass", 16)
    pieces = model.read(sequences, layers, rows, surprisal=True)
    again = model.read(sequences, layers, rows, surprisal=True)
    for one, other, third in zip(whole, pieces, again, strict=True):
        for layer in layers:
            assert_near(other.states[layer], one.states[layer], 2e-5)
            np.testing.assert_array_equal(other.states[layer], third.states[layer])
        assert_near(other.surprisal, one.surprisal, 5e-5)
    # What these do starts from nothing in every call, so that only one pass is right.
    assert model._network.can_cut == (name not in ("mamba", "falcon-mamba", "rwkv"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batch_is_its_sequences_alone(data: st.DataObject, gpt2: Any) -> None:
    """Whatever the lengths, the rows, the layers and the size of a pass."""
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    sequences = [tokens(gpt2, size, seed=i) for i, size in enumerate(sizes)]
    edges = [sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in sizes]
    rows = [slice(*edge) for edge in edges]
    layers = data.draw(st.lists(st.integers(0, 3), unique=True, max_size=4))
    kept, gpt2.tokens_per_pass = gpt2.tokens_per_pass, data.draw(st.integers(1, 60))
    try:
        found = gpt2.read(sequences, layers, rows, surprisal=True)
    finally:
        gpt2.tokens_per_pass = kept
    for ids, span, part in zip(sequences, rows, found, strict=True):
        alone = gpt2.read([ids], range(4), [slice(None)], surprisal=True)[0]
        assert list(part.states) == layers
        for layer in layers:
            assert_near(part.states[layer], alone.states[layer][span], 2e-5)
        assert_near(part.surprisal, alone.surprisal[span], 5e-5)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_pieces_keep_a_pass_small(name: str, tiny_model: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    sizes: list[int] = []
    body = model._network.body
    hook = body.register_forward_hook(lambda _m, _a, output: sizes.append(output.last_hidden_state.shape[1]))
    monkeypatch.setattr(model, "tokens_per_pass", 16)
    model.read([tokens(model, 40)], [1], [slice(None)])
    sizes.clear()
    model.read([tokens(model, 40)], [1], [slice(None)])
    hook.remove()
    assert sizes == ([16, 16, 8] if name == "llama" else [40])


def test_the_head_runs_only_for_surprisal(llama: Any) -> None:
    calls: list[int] = []
    head = llama._network._full.lm_head
    hook = head.register_forward_hook(lambda _m, _a, output: calls.append(output.shape[1]))
    ids = tokens(llama, 9)
    llama.read([ids], [2], [slice(None)])
    assert calls == []
    llama.read([ids], [2], [slice(6, 9)], surprisal=True)
    hook.remove()
    assert calls == [3]


@pytest.mark.parametrize("name", ["gpt2", "opt", "bert", "t5", "mamba"])
def test_untrained_networks_do_not_drop_out(name: str, tiny_folder: Models, tiny_model: Models) -> None:
    from voxridge.features import LanguageModel

    model = LanguageModel.load(tiny_folder(name), untrained=True, seed=3)
    assert not model._network.body.training
    ids = tokens(model, 15)
    last = model.n_layers - 1
    first = model.hidden_states(ids, [last])[last]
    np.testing.assert_array_equal(first, model.hidden_states(ids, [last])[last])
    assert (first != tiny_model(name).hidden_states(ids, [last])[last]).any()
    config = model._network.body.config
    if name != "mamba":
        assert (
            max(
                getattr(config, key, 0)
                for key in ("resid_pdrop", "dropout", "dropout_rate", "hidden_dropout_prob")
            )
            > 0
        )

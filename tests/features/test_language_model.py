from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import LanguageModel
from voxridge.features.model_loading import find_folder


def test_shape_and_kind_are_measured(gpt2: Any, llama: Any, bert: Any) -> None:
    assert (gpt2.n_layers, gpt2.width, gpt2.past_only, gpt2.max_tokens) == (4, 16, True, 128)
    assert (llama.n_layers, llama.width, llama.past_only, llama.max_tokens) == (3, 24, True, 256)
    assert (bert.n_layers, bert.width, bert.past_only, bert.max_tokens) == (3, 16, False, 64)
    assert gpt2.name == "tiny-gpt2"


def test_special_tokens(gpt2: Any, llama: Any, bert: Any) -> None:
    assert gpt2.special_tokens() == ([gpt2.tokenizer.bos_token_id], [])
    assert llama.special_tokens() == ([1], [])
    assert gpt2.special_tokens(bos=False) == llama.special_tokens(bos=False) == ([], [])
    assert bert.special_tokens() == bert.special_tokens(bos=False) == ([2], [3])


def test_hidden_states_are_those_of_transformers(gpt2_folder: Path, gpt2: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ids = np.array([5, 9, 20, 31, 7])
    with torch.inference_mode():
        network = AutoModelForCausalLM.from_pretrained(gpt2_folder).eval()
        expected = network(torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states
    found = gpt2.hidden_states(ids, range(4))
    for layer in range(4):
        np.testing.assert_array_equal(found[layer], expected[layer][0].numpy())
    some = gpt2.hidden_states(ids, [0, 2], rows=slice(1, 3))
    assert sorted(some) == [0, 2]
    np.testing.assert_array_equal(some[2], found[2][1:3])


def test_hidden_states_refuse_bad_sequences(gpt2: Any) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        gpt2.hidden_states([], [0])
    with pytest.raises(ValueError, match="129 tokens, but tiny-gpt2 takes at most 128"):
        gpt2.hidden_states([3] * 129, [0])
    with pytest.raises(
        ValueError, match=r"token id 9999 is outside the vocabulary .* do not belong together"
    ):
        gpt2.hidden_states([3, 9999], [0])


def test_a_model_called_causal_that_is_not_is_found_out(bert_folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    model = LanguageModel(
        AutoModel.from_pretrained(bert_folder, add_pooling_layer=False).eval(),
        AutoTokenizer.from_pretrained(bert_folder),
        name="BertLMHeadModel without is_decoder",
    )
    assert not model.past_only


def test_bfloat16_arithmetic(gpt2_folder: Path, gpt2: Any) -> None:
    half = LanguageModel.load(gpt2_folder, dtype="bfloat16")
    assert half.past_only
    assert half.provenance()["arithmetic"] == "bfloat16"
    exact = gpt2.hidden_states([4, 5, 6], [2])[2]
    found = half.hidden_states([4, 5, 6], [2])[2]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())


def test_untrained_depends_on_the_seed_alone(gpt2_folder: Path, gpt2: Any) -> None:
    import torch

    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = LanguageModel.load(gpt2_folder, untrained=True, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = LanguageModel.load(gpt2_folder, untrained=True, seed=1)
    other = LanguageModel.load(gpt2_folder, untrained=True, seed=2)
    digests = [model.provenance()["weights_sha256"] for model in (gpt2, one, again, other)]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3
    # Dropout must be off: two passes agree.
    np.testing.assert_array_equal(one.hidden_states([4, 5], [3])[3], one.hidden_states([4, 5], [3])[3])
    assert one.provenance()["untrained"] is True
    assert one.provenance()["seed"] == 1


def test_provenance_is_json_and_complete(llama: Any) -> None:
    provenance = json.loads(json.dumps(llama.provenance()))
    assert provenance["model"] == "tiny-llama"
    assert provenance["model_class"] == "LlamaModel"
    assert provenance["device"] == "cpu"
    assert {"torch", "transformers", "numpy"} <= set(provenance["packages"])
    assert provenance["n_parameters"] > 1000


@pytest.mark.parametrize("path", ["./absent", "/absent/model", "~/absent-model", "a/b/c", Path("absent")])
def test_missing_folder(path: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match="the model folder does not exist"):
        LanguageModel.load(path)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither a config.json nor a GGUF file"):
        LanguageModel.load(tmp_path)
    (tmp_path / "small.gguf").touch()
    with pytest.raises(FileNotFoundError, match=r"give gguf_file=one of \['small.gguf'\]"):
        LanguageModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gguf_file='large.gguf' is not in .*small.gguf"):
        LanguageModel.load(tmp_path, gguf_file="large.gguf")
    with pytest.raises(FileNotFoundError, match=r"is a file: give its folder, and gguf_file='small.gguf'"):
        LanguageModel.load(tmp_path / "small.gguf")


def test_hub_names_are_not_taken_for_folders() -> None:
    assert find_folder("gpt2", None) is None
    assert find_folder("owner/model", None) is None


def test_checkpoint_that_lacks_weights(gpt2_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "cut"
    shutil.copytree(gpt2_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights .*c_fc"):
        LanguageModel.load(folder)


def test_bad_dtype_and_device(gpt2_folder: Path) -> None:
    with pytest.raises(ValueError, match="dtype='float64' is unknown"):
        LanguageModel.load(gpt2_folder, dtype="float64")
    with pytest.raises(ValueError, match=r"float16.*slower"):
        LanguageModel.load(gpt2_folder, dtype="float16")
    with pytest.raises(ValueError, match="device='gpu' is not a device of torch"):
        LanguageModel.load(gpt2_folder, device="gpu")


def test_cuda_without_cuda(gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no CUDA device"):
        LanguageModel.load(gpt2_folder, device="cuda")


def test_read_refuses_what_does_not_fit_together(gpt2: Any, gpt2_folder: Path) -> None:
    ids = np.array([5, 9, 20])
    with pytest.raises(ValueError, match="one slice for each sequence; got 1 for 2 sequences"):
        gpt2.read([ids, ids], [0], [slice(None)])
    with pytest.raises(ValueError, match=r"has the step 2; give slices of neighbouring positions"):
        gpt2.read([ids], [0], [slice(0, 3, 2)])
    with pytest.raises(ValueError, match="tokens_per_pass=0: at least one token must fit"):
        LanguageModel.load(gpt2_folder, tokens_per_pass=0)
    assert gpt2.read([], [0], []) == []
    nothing = gpt2.read([ids], [0, 3], [slice(2, 2)], surprisal=True)[0]
    assert (nothing.states[3].shape, nothing.surprisal.shape) == ((0, 16), (0,))
    kept = ids.copy()
    gpt2.read([ids], [1], [slice(None)], surprisal=True)
    np.testing.assert_array_equal(ids, kept)


def test_a_masked_model_gives_no_surprisal(bert: Any) -> None:
    assert not bert.can_score
    with pytest.raises(ValueError, match=r"surprisal: tiny-bert gives no probability .*causal model"):
        bert.read([np.array([5, 9])], [0], [slice(None)], surprisal=True)


def test_tokens_per_pass_is_the_callers(gpt2_folder: Path) -> None:
    model = LanguageModel.load(gpt2_folder, tokens_per_pass=100)
    assert model.tokens_per_pass == model.provenance()["tokens_per_pass"] == 100

"""Models larger than memory, 8-bit weights, and what is said when memory ends."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import LanguageModel
from voxridge.features.placement import Placement, naming_memory

Folders = Callable[[str], Path]


def assert_same_model(found: LanguageModel, expected: LanguageModel) -> None:
    layers = range(expected.n_layers)
    ids = [np.arange(5, 45), np.arange(60, 72)]
    for one, other in zip(
        found.read(ids, layers, [slice(None)] * 2, surprisal=True),
        expected.read(ids, layers, [slice(None)] * 2, surprisal=True),
        strict=True,
    ):
        for layer in layers:
            np.testing.assert_array_equal(one.states[layer], other.states[layer])
        np.testing.assert_array_equal(one.surprisal, other.surprisal)


@pytest.mark.parametrize("name", ["gpt2", "opt-projected", "llama", "llama-tied", "gemma2", "mamba"])
def test_weights_left_on_disk(
    name: str, tiny_folder: Folders, tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    model = LanguageModel.load(
        tiny_folder(name), device="auto", max_memory={"cpu": 1000}, offload_folder=tmp_path
    )
    network = model._network.body
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert_same_model(model, tiny_model(name))
    provenance, expected = model.provenance(), tiny_model(name).provenance()
    assert provenance["device"] == "cpu"
    # The same weights have the same digest wherever they lie, so that an extraction can go on elsewhere.
    assert provenance["weights_sha256"] == expected["weights_sha256"]
    assert provenance["n_parameters"] == expected["n_parameters"]


def test_weights_partly_on_disk(
    tiny_folder: Folders, tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    size = 4 * tiny_model("llama").provenance()["n_parameters"]
    model = LanguageModel.load(
        tiny_folder("llama"), device="auto", max_memory={"cpu": size}, offload_folder=tmp_path
    )
    assert {parameter.device.type for parameter in model._network.body.parameters()} == {"meta", "cpu"}
    assert_same_model(model, tiny_model("llama"))


def test_auto_with_room_for_all(tiny_folder: Folders, tiny_model: Callable[[str], Any]) -> None:
    model = LanguageModel.load(tiny_folder("llama"), device="auto", max_memory={"cpu": "1GiB"})
    assert {parameter.device.type for parameter in model._network.body.parameters()} == {"cpu"}
    assert_same_model(model, tiny_model("llama"))


def test_bfloat16_on_disk(tiny_folder: Folders, tmp_path: Path) -> None:
    held = LanguageModel.load(tiny_folder("llama"), dtype="bfloat16")
    model = LanguageModel.load(
        tiny_folder("llama"),
        device="auto",
        dtype="bfloat16",
        max_memory={"cpu": 1000},
        offload_folder=tmp_path,
    )
    assert_same_model(model, held)


def test_an_old_checkpoint_is_offloaded_to_the_folder(
    tiny_folder: Folders, tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    source = tiny_folder("llama")
    old, folder = tmp_path / "tiny-llama", tmp_path / "offload"
    shutil.copytree(source, old)
    torch.save(load_file(source / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    before = {path: path.stat().st_size for path in old.iterdir()}
    model = LanguageModel.load(old, device="auto", max_memory={"cpu": 1000}, offload_folder=folder)
    assert_same_model(model, tiny_model("llama"))
    assert any(folder.iterdir())
    assert {path: path.stat().st_size for path in old.iterdir()} == before
    with pytest.raises(ValueError, match="offload_folder"):
        LanguageModel.load(old, device="auto", max_memory={"cpu": 1000})


MEASURE = """
import json, sys
import numpy as np, torch, transformers
from voxridge.features import LanguageModel
torch.set_num_threads(1)
def peak():     # not ru_maxrss, which a process takes over from the one that started it
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
tiny = LanguageModel.load(sys.argv[2])      # what every model needs: code, buffers
tiny.hidden_states(np.arange(5, 69), [1])
before = peak()
options = json.loads(sys.argv[3])
model = LanguageModel.load(sys.argv[1], **options)
states = model.hidden_states(np.arange(5, 69), [model.n_layers - 1])
weights = sum(4 * p.numel() for p in model._network.body.parameters())
value = float(np.abs(states[model.n_layers - 1]).sum(dtype=np.float64))
print(json.dumps({"grown": peak() - before, "weights": weights, "value": value}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_the_weights(tiny_folder: Folders, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=420,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=10,
        num_attention_heads=8,
    )
    large = tmp_path / "large"
    LlamaForCausalLM(config).save_pretrained(large, max_shard_size="20MB")
    AutoTokenizer.from_pretrained(tiny_folder("llama")).save_pretrained(large)

    def measure(**options: Any) -> dict[str, float]:
        command = [sys.executable, "-c", MEASURE, str(large), str(tiny_folder("llama")), json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    folder = str(tmp_path / "offload")
    held = measure()
    offloaded = measure(device="auto", max_memory={"cpu": "10MB"}, offload_folder=folder)
    assert held["weights"] == offloaded["weights"] > 120e6
    assert held["grown"] > 0.9 * held["weights"]
    assert offloaded["grown"] < 0.3 * offloaded["weights"]
    assert held["value"] == offloaded["value"]


def test_8bit_is_near_float32(tiny_folder: Folders, tiny_model: Callable[[str], Any]) -> None:
    pytest.importorskip("bitsandbytes", reason="8-bit weights need: pip install bitsandbytes")
    exact = tiny_model("llama")
    model = LanguageModel.load(tiny_folder("llama"), quantization="8bit")
    assert {str(p.dtype) for p in model._network.body.layers.parameters()} >= {"torch.int8"}
    assert model.past_only
    assert model.can_score
    provenance = model.provenance()
    assert provenance["quantization"] == "8bit"
    assert provenance["n_parameters"] == exact.provenance()["n_parameters"]
    ids = [np.arange(5, 45), np.arange(60, 72)]
    layers = range(3)
    for one, other in zip(
        model.read(ids, layers, [slice(None)] * 2, surprisal=True),
        exact.read(ids, layers, [slice(None)] * 2, surprisal=True),
        strict=True,
    ):
        for layer in layers:
            error = np.linalg.norm(one.states[layer] - other.states[layer])
            # Two roundings to 1/127 of the largest value of a row in each product.
            assert error <= 0.1 * np.linalg.norm(other.states[layer])
        assert np.nanmax(np.abs(one.surprisal - other.surprisal)) < 0.5


def test_8bit_without_the_package(tiny_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else real(name)
    )
    with pytest.raises(ImportError, match=r"quantization='8bit' needs the package bitsandbytes: pip install"):
        LanguageModel.load(tiny_folder("llama"), quantization="8bit")


def test_settings_that_do_not_go_together(tiny_folder: Folders, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"quantization='4bit' is unknown"):
        Placement(quantization="4bit")
    with pytest.raises(ValueError, match=r"use them with device='auto', not 'cpu'"):
        Placement(max_memory={"cpu": "1GiB"})
    with pytest.raises(ValueError, match=r"use them with device='auto', not 'cpu'"):
        Placement(offload_folder=tmp_path)
    with pytest.raises(ValueError, match=r"untrained=True does not go with device='auto'"):
        LanguageModel.load(tiny_folder("llama"), device="auto", untrained=True)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 9 GB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_remedies(error: Exception) -> None:
    with (
        pytest.raises(
            MemoryError, match=r"while reading 9 tokens: .*tokens_per_pass, dtype='bfloat16'.*auto"
        ),
        naming_memory("reading 9 tokens"),
    ):
        raise error
    with pytest.raises(RuntimeError, match="something else"), naming_memory("reading"):
        raise RuntimeError("something else")


def test_out_of_memory_of_a_gpu(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    calls: list[int] = []

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    before = llama.read([np.arange(5, 9)], [1], [slice(None)])
    with monkeypatch.context() as patch:
        patch.setattr(llama._network.body, "forward", refuse)
        with pytest.raises(MemoryError, match=r"reading 8 tokens with tiny-llama: give a smaller tokens_per"):
            llama.read([np.arange(5, 9), np.arange(7, 11)], [1], [slice(None)] * 2)
    # The batch is not made smaller behind the caller's back: that would change the rounding.
    assert len(calls) == 1
    after = llama.read([np.arange(5, 9)], [1], [slice(None)])
    np.testing.assert_array_equal(before[0].states[1], after[0].states[1])


def test_a_real_allocation_that_fails(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    hook = llama._network.body.register_forward_pre_hook(lambda _m, _a: torch.empty(2**60) and None)
    try:
        with pytest.raises(MemoryError, match="out of memory while reading 4 tokens with tiny-llama"):
            llama.hidden_states(np.arange(5, 9), [1])
    finally:
        hook.remove()


def test_memory_that_ends_half_way_leaves_what_was_read(
    tiny_model: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from voxridge.features import GrowingContext, Words, extract_features

    model = tiny_model("llama")
    monkeypatch.setattr(model, "tokens_per_pass", 60)
    words = ["Alice", "was", "beginning", "to", "get", "very", "tired"] * 20
    onset = 0.3 * np.arange(len(words))
    stimuli = {"story": Words(words, onset, onset + 0.2)}
    options: dict[str, Any] = {"context": GrowingContext(reset=5, limit=12), "progress": False}
    whole = extract_features(model, stimuli, tmp_path / "whole.h5", **options)

    passes: list[int] = []
    left = [4]

    def count(_module: Any, _arguments: Any) -> None:
        passes.append(1)
        if len(passes) > left[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = model._network.body.register_forward_pre_hook(count)
    try:
        with pytest.raises(MemoryError, match="tokens_per_pass"):
            extract_features(model, stimuli, tmp_path / "cut.h5", **options)
        first = len(passes)
        passes.clear()
        left[0] = 1000
        store = extract_features(model, stimuli, tmp_path / "cut.h5", **options)
        second = len(passes)
        passes.clear()
        extract_features(model, stimuli, tmp_path / "again.h5", **options)
    finally:
        hook.remove()
    # The pass that failed is done again, and nothing else is.
    assert first + second == len(passes) + 1
    for layer in ("layer-00", "layer-02"):
        np.testing.assert_array_equal(store.read("story", layer), whole.read("story", layer))


def test_what_is_measured_at_loading_takes_one_pass(
    tiny_folder: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every pass of a model on disk reads all its weights."""
    import functools

    from transformers import LlamaModel

    passes: list[int] = []
    run = LlamaModel.forward

    @functools.wraps(run)
    def forward(*arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return run(*arguments, **options)

    monkeypatch.setattr(LlamaModel, "forward", forward)
    model = LanguageModel.load(
        tiny_folder("llama"), device="auto", max_memory={"cpu": 1000}, offload_folder=tmp_path
    )
    assert (len(passes), model.past_only, model.can_score) == (1, True, True)
    assert model.tokens_per_pass == 8192
    assert LanguageModel.load(tiny_folder("llama")).tokens_per_pass == 2048

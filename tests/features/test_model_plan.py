"""What an extraction is said to take, against published sizes, counted operations and a measured run."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import find_packaged_smollm2
from voxridge.features.context import FixedContext, GrowingContext, WholeRun
from voxridge.features.model_plan import _flops, _Reading, plan_extraction

Folders = Callable[[str], Path]


def save_config(folder: Path, kind: str, **settings: Any) -> Path:
    """Write a configuration alone: there are no weights that could be read."""
    import transformers

    getattr(transformers, f"{kind}Config")(**settings).save_pretrained(folder)
    return folder


# Numbers of parameters that the authors of these models publish.
PUBLISHED = {
    "gpt2": (124_439_808, "GPT2", {}),
    "opt-350m": (
        331_196_416,
        "OPT",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "ffn_dim": 4096,
            "num_attention_heads": 16,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
    ),
    "opt-30b": (
        29_974_540_288,
        "OPT",
        {
            "hidden_size": 7168,
            "num_hidden_layers": 48,
            "ffn_dim": 28672,
            "num_attention_heads": 56,
            "word_embed_proj_dim": 7168,
        },
    ),
    "llama-2-7b": (6_738_415_616, "Llama", {"num_key_value_heads": 32}),
    "mistral-7b": (7_241_732_096, "Mistral", {}),
    "gemma-2b": (
        2_506_172_416,
        "Gemma",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 18,
            "intermediate_size": 16384,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
        },
    ),
    "mamba-130m": (
        129_135_360,
        "Mamba",
        {"num_hidden_layers": 24, "intermediate_size": 1536, "vocab_size": 50280},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_that_are_published(name: str, tmp_path: Path) -> None:
    count, kind, settings = PUBLISHED[name]
    plan = plan_extraction(save_config(tmp_path / name, kind, **settings), n_words=1500, dtype="bfloat16")
    assert plan.n_parameters == count
    assert plan.weight_bytes == 2 * count
    assert plan.name == name
    assert f"{count:,} in bfloat16" in str(plan)
    if name == "opt-350m":
        assert plan.widths == (1024,) * 24 + (512,)


def test_30b_on_a_small_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxridge.features import model_plan

    folder = save_config(tmp_path / "opt-30b", *PUBLISHED["opt-30b"][1:2], **PUBLISHED["opt-30b"][2])
    monkeypatch.setattr(model_plan, "available_memory", lambda: 32 * 2**30)
    held = plan_extraction(folder, n_words=[1500] * 3, dtype="bfloat16")
    assert held.peak_bytes > held.weight_bytes > held.available_bytes
    assert held.verdict.startswith("more than the free memory of the host: use dtype=")
    spread = plan_extraction(folder, n_words=[1500] * 3, dtype="bfloat16", device="auto")
    assert "GiB of the weights stay on disk and are read in every pass" in spread.verdict
    assert spread.peak_bytes == spread.host_bytes == spread.available_bytes < spread.weight_bytes
    # Each pass reads the weights again, so more of the text goes into one.
    assert spread.n_passes < held.n_passes / 2
    eight = plan_extraction(folder, n_words=1500, dtype="bfloat16", quantization="8bit")
    assert 0.5 * held.weight_bytes < eight.weight_bytes < 0.52 * held.weight_bytes
    assert eight.verdict == "more than the free memory of the host: " + eight.verdict.split(": ", 1)[1] or (
        eight.verdict == "fits"
    )
    monkeypatch.setattr(model_plan, "available_memory", lambda: 512 * 2**30)
    assert plan_extraction(folder, n_words=1500, dtype="bfloat16").verdict == "fits"


@pytest.mark.parametrize(
    "name", ["gpt2", "opt-projected", "llama", "mamba", "bert", "t5", "bart", "gemma2", "mixtral"]
)
def test_the_plan_is_that_of_the_loaded_model(
    name: str, tiny_folder: Folders, tiny_model: Callable[[str], Any]
) -> None:
    model = tiny_model(name)
    plan = plan_extraction(tiny_folder(name), n_words=100, context=FixedContext(3), layers=[0, -1])
    assert plan.widths == (model.widths[0], model.widths[-1])
    assert plan.tokens_per_pass == model.tokens_per_pass
    assert plan.n_parameters == sum(p.numel() for p in model._network._full.parameters())
    assert plan.name == model.name
    assert plan.store_bytes == 2 * 100 * sum(plan.widths)
    assert plan.verdict == "fits"


@pytest.mark.parametrize("name", ["gpt2", "llama", "pythia", "opt-projected", "bert"])
def test_operations_are_those_that_torch_counts(name: str, tiny_model: Callable[[str], Any]) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny_model(name)
    sizes = (60, 33)
    # Fused attention is not counted; as separate products it is.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for size in sizes:
            model.read([np.arange(5, 5 + size)], [1], [slice(None)], surprisal=False)
    reading = _Reading(sum(sizes), sum(size**2 for size in sizes), 2, 2, 60, 50)
    found = _flops(model._network._full, reading, False)
    # Not counted by both: normalisations, and tables of positions.
    assert found == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_windows_and_passes(tiny_folder: Folders) -> None:
    def plan(context: Any, **options: Any) -> Any:
        return plan_extraction(tiny_folder("llama"), context=context, **options)

    assert (plan(WholeRun(), n_words=[100, 200]).n_windows, plan(WholeRun(), n_words=100).n_passes) == (2, 1)
    assert plan(WholeRun(), n_words=1000, tokens_per_pass=100).n_passes == 14
    fixed = plan(FixedContext(4), n_words=1000, tokens_per_pass=80)
    assert fixed.n_windows == 1000
    # Five words with a begin token are 7 or 8 tokens: ten windows or more in a pass of 80.
    assert 90 <= fixed.n_passes <= 100
    assert 7000 < fixed.n_tokens < 8100
    growing = plan(GrowingContext(reset=256, limit=512), n_words=1500)
    assert growing.n_windows == 5
    more = plan(GrowingContext(reset=256, limit=512), n_words=1500, surprisal=True, store_dtype="float32")
    assert more.logits_bytes > growing.logits_bytes == 0
    assert more.peak_bytes > growing.peak_bytes
    assert more.flops > growing.flops
    assert more.store_bytes == 2 * growing.store_bytes


def test_windows_that_the_model_cannot_take_do_not_fit(tiny_folder: Folders) -> None:
    plan = plan_extraction(tiny_folder("gpt2"), n_words=300, context=WholeRun())
    assert plan.verdict.startswith("windows of about 406 tokens, but the model takes 128 at a time")
    assert plan_extraction(tiny_folder("mamba"), n_words=300, context=WholeRun()).verdict == "fits"


def test_the_table_names_everything(tiny_folder: Folders) -> None:
    table = str(plan_extraction(tiny_folder("llama"), n_words=1500, surprisal=True))
    names = [line.split()[0] for line in table.splitlines()]
    assert names == [
        "tiny-llama",
        "parameters",
        "layers",
        "words",
        "passes",
        "states",
        "logits",
        "peak",
        "free",
        "store",
        "verdict",
    ]
    assert len(dataclasses.fields(plan_extraction(tiny_folder("llama"), n_words=1))) == 21


def test_arguments_that_cannot_be(tiny_folder: Folders, tmp_path: Path) -> None:
    folder = tiny_folder("llama")
    for count in (0, [], [5, 0]):
        with pytest.raises(ValueError, match="number of words of each run, at least one"):
            plan_extraction(folder, n_words=count)
    with pytest.raises(ValueError, match="layers 0 to 2; got 3"):
        plan_extraction(folder, n_words=5, layers=[3])
    with pytest.raises(ValueError, match="layers='most'"):
        plan_extraction(folder, n_words=5, layers="most")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="store_dtype='int8' is unknown"):
        plan_extraction(folder, n_words=5, store_dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="hf download owner/absent"):
        plan_extraction("owner/absent", n_words=5)


MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from voxridge.features import LanguageModel
from voxridge.features.context import GrowingContext
from voxridge.features.word_features import read_blocks
path, words = Path(sys.argv[1]), ("one more word of a story that goes on and on " * 60).split()[:600]
model = LanguageModel.load(path.parent, gguf_file=path.name)
options = dict(layers=list(range(model.n_layers)), context=GrowingContext(), pooling="last")
for block in read_blocks(model, words, dtype=np.dtype("float16"), surprisal=True, **options):
    pass
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps(1024 * int(line.split()[1])))
"""


@pytest.mark.lm
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_real_extraction() -> None:
    try:
        path = find_packaged_smollm2()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    plan = plan_extraction(path.parent, gguf_file=path.name, n_words=600, surprisal=True)
    assert plan.n_parameters == 134_515_008
    command = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured <= plan.peak_bytes <= 2 * measured

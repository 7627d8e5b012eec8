"""Tiny language models with random weights, built offline and saved as real checkpoints are."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CORPUS = [
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to "
    "do.",
    "Once or twice she had peeped into the book her sister was reading, but it had no pictures in it.",
    "What is the use of a book, thought Alice, without pictures or conversations? Don't you think so?",
] * 4


def _byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _metaspace() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def _wordpiece() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


class Tiny(NamedTuple):
    """An architecture: its configuration class, the class that is saved, its tokeniser, its settings."""

    config: str
    saved_as: str
    tokenizer: str
    settings: dict[str, Any]


CAUSAL, MASKED = "AutoModelForCausalLM", "AutoModelForMaskedLM"
_SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
_DECODER = {**_SIZES, "intermediate_size": 48, "max_position_embeddings": 256}
_GROUPED = {**_DECODER, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "num_key_value_heads": 1, "head_dim": 8}
_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_OPT = {**_SIZES, "ffn_dim": 48, "max_position_embeddings": 128}
_STATE_SPACE = {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}
_T5 = {"d_model": 24, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
_SEQ2SEQ = {
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "init_std": 0.3,
}

TINY = {
    "gpt2": Tiny(
        "GPT2",
        CAUSAL,
        "byte",
        {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 128, "initializer_range": 0.3},
    ),
    "opt": Tiny("OPT", CAUSAL, "byte", {**_OPT, "word_embed_proj_dim": 24}),
    # As OPT-350m: embeddings of half the width, normalised after each block.
    "opt-projected": Tiny(
        "OPT", CAUSAL, "byte", {**_OPT, "word_embed_proj_dim": 12, "do_layer_norm_before": False}
    ),
    "llama": Tiny("Llama", CAUSAL, "metaspace", _GROUPED),
    "llama-tied": Tiny("Llama", CAUSAL, "byte", {**_GROUPED, "tie_word_embeddings": True}),
    "pythia": Tiny("GPTNeoX", CAUSAL, "byte", _DECODER),
    "qwen2": Tiny("Qwen2", CAUSAL, "byte", _GROUPED),
    "qwen3": Tiny("Qwen3", CAUSAL, "byte", {**_GROUPED, "head_dim": 8}),
    "gemma": Tiny("Gemma", CAUSAL, "metaspace", _GEMMA),
    "gemma2": Tiny("Gemma2", CAUSAL, "metaspace", {**_GEMMA, **_WINDOWS, "final_logit_softcapping": 2.0}),
    "gemma3": Tiny("Gemma3Text", CAUSAL, "metaspace", {**_GEMMA, **_WINDOWS}),
    "stablelm": Tiny("StableLm", CAUSAL, "byte", _GROUPED),
    "mistral": Tiny("Mistral", CAUSAL, "metaspace", {**_GROUPED, "sliding_window": 8}),
    "mamba": Tiny("Mamba", CAUSAL, "byte", _STATE_SPACE),
    "mamba2": Tiny(
        "Mamba2",
        CAUSAL,
        "byte",
        {**_STATE_SPACE, "num_heads": 6, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    ),
    "falcon-mamba": Tiny("FalconMamba", CAUSAL, "byte", _STATE_SPACE),
    "bert": Tiny(
        "Bert",
        MASKED,
        "wordpiece",
        {
            **_SIZES,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
        },
    ),
    "roberta": Tiny("Roberta", MASKED, "roberta", {**_DECODER, "max_position_embeddings": 66}),
    "albert": Tiny("Albert", MASKED, "wordpiece", {**_DECODER, "embedding_size": 12}),
    "distilbert": Tiny(
        "DistilBert",
        MASKED,
        "wordpiece",
        {"dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "initializer_range": 0.3},
    ),
    # Listed as causal, but sees both sides.
    "xlnet": Tiny(
        "XLNet",
        CAUSAL,
        "xlnet",
        {"d_model": 24, "n_layer": 2, "n_head": 4, "d_inner": 48, "d_head": 6, "initializer_range": 0.3},
    ),
    "t5": Tiny("T5", "AutoModelForSeq2SeqLM", "t5", _T5),
    "t5-encoder": Tiny("T5", "T5EncoderModel", "t5", _T5),
    "mt5": Tiny("MT5", "AutoModelForSeq2SeqLM", "t5", _T5),
    "bart": Tiny("Bart", "AutoModelForSeq2SeqLM", "roberta", _SEQ2SEQ),
    # Its positions are computed and not saved.
    "marian": Tiny("Marian", "AutoModelForSeq2SeqLM", "t5", {**_SEQ2SEQ, "decoder_start_token_id": 0}),
    "bloom": Tiny("Bloom", CAUSAL, "byte", {"hidden_size": 24, "n_layer": 2, "n_head": 4}),
    "granite": Tiny("Granite", CAUSAL, "byte", {**_GROUPED, "logits_scaling": 3.0}),
    "mixtral": Tiny("Mixtral", CAUSAL, "metaspace", {**_GROUPED, "num_local_experts": 4}),
    "rwkv": Tiny("Rwkv", CAUSAL, "byte", {"hidden_size": 24, "num_hidden_layers": 2, "context_length": 128}),
    "deberta": Tiny("DebertaV2", MASKED, "wordpiece", _DECODER),
    # Mixes all tokens without a mask, so that padding would change the text.
    "fnet": Tiny(
        "FNet", MASKED, "wordpiece", {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}
    ),
}


def _tokenizer(kind: str) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    def around(single: str, **special: int) -> Any:
        return processors.TemplateProcessing(single=single, special_tokens=list(special.items()))

    if kind == "wordpiece":
        names = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]", "unk": "[UNK]"}
        core = _wordpiece()
    elif kind == "byte":
        names, core = {"bos": "<|endoftext|>", "eos": "<|endoftext|>"}, _byte_level()
    else:
        names, core = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}, _metaspace()
        if kind == "roberta":
            core.post_processor = around("<s> $A </s>", **{"<s>": 1, "</s>": 2})
        elif kind == "t5":
            core.post_processor = around("$A </s>", **{"</s>": 2})
        elif kind == "xlnet":
            core.post_processor = around("$A </s> <s>", **{"</s>": 2, "<s>": 1})
    limit = {"model_max_length": 64} if kind == "wordpiece" else {}
    names = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names, **limit)


def _save(name: str, folder: Path) -> Path:
    import torch
    import transformers

    kind = TINY[name]
    tokenizer = _tokenizer(kind.tokenizer)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    special["pad_token_id"] = tokenizer.pad_token_id or 0
    settings = {"vocab_size": len(tokenizer), **special, **kind.settings}
    config = getattr(transformers, f"{kind.config}Config")(**settings)
    saved = getattr(transformers, kind.saved_as)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(name.encode()))
        model = saved.from_config(config) if kind.saved_as.startswith("Auto") else saved(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return ``tiny_folder(name)``: the folder of a tiny checkpoint of the architectures in TINY."""
    return cache(lambda name: _save(name, tmp_path_factory.mktemp("models") / f"tiny-{name}"))


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return ``tiny_model(name)``: the loaded model, shared by all tests."""
    from voxridge.features import LanguageModel

    return cache(lambda name: LanguageModel.load(tiny_folder(name)))


@pytest.fixture(scope="session")
def gpt2_folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("gpt2")


@pytest.fixture(scope="session")
def llama_folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("llama")


@pytest.fixture(scope="session")
def bert_folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("bert")


@pytest.fixture(scope="session")
def gpt2(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("gpt2")


@pytest.fixture(scope="session")
def llama(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("llama")


@pytest.fixture(scope="session")
def bert(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("bert")

"""Loading a Hugging Face model and its tokeniser: by name, from a folder or from a GGUF file."""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxridge.features.load_errors import named_problems
from voxridge.features.placement import Placement


@dataclass(frozen=True)
class LoadedModel:
    """What was loaded: the model, with the head its checkpoint has, on its device, in evaluation mode."""

    network: Any
    tokenizer: Any
    name: str
    revision: str | None


def load(
    name_or_path: str | Path,
    gguf_file: str | None,
    revision: str | None,
    placement: Placement,
    seed: int | None,
) -> LoadedModel:
    """Load a model; with a `seed`, its architecture with random weights. See ``LanguageModel.load``."""
    import transformers

    _check_together(placement, gguf_file, seed)
    folder = find_folder(name_or_path, gguf_file)
    target = str(name_or_path if folder is None else folder)
    commit = revision
    with named_problems(str(name_or_path), revision, on_hub=folder is None):
        if folder is None:
            commit = find_commit(target, revision, gguf_file or "config.json")
        where: dict[str, Any] = {"revision": commit, "gguf_file": gguf_file}
        where = {key: value for key, value in where.items() if value is not None}
        config = transformers.AutoConfig.from_pretrained(target, **where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(target, use_fast=True, **where)
        _check_tokenizer(tokenizer, name_or_path)
        kind = choose_class(transformers, config)
        if seed is None:
            model = _load_weights(kind, target, config, placement, where)
        else:
            model = _draw_weights(kind, config, placement, seed)
    network = only_encoder(model, name_or_path).eval().requires_grad_(False)
    return LoadedModel(network, tokenizer, name_model(name_or_path, gguf_file), commit)


def name_model(name_or_path: str | Path, gguf_file: str | None) -> str:
    """Return the name for reports: that on the hub, of the GGUF file, or of the folder."""
    if gguf_file is not None:
        return Path(gguf_file).stem
    folder = Path(name_or_path).expanduser()
    return folder.resolve().name if folder.is_dir() else str(name_or_path)


def find_commit(name: str, revision: str | None, file: str) -> str | None:
    """Return the commit that a branch or tag of a model on the hub stands for now.

    Configuration, tokeniser and weights are then read from this one commit, and it is what the provenance
    records. Without a cache of the hub's own layout, `revision` is returned.
    """
    from transformers.utils import cached_file

    path = cached_file(name, file, revision=revision)
    found = re.search(r"/snapshots/([0-9a-f]{40})/", Path(path).as_posix()) if path else None
    return found.group(1) if found else revision


def _check_together(placement: Placement, gguf_file: str | None, seed: int | None) -> None:
    special = placement.spread or placement.quantization is not None
    if special and (gguf_file is not None or seed is not None):
        what = "gguf_file" if gguf_file is not None else "untrained=True"
        raise ValueError(
            f"{what} does not go with device='auto' or quantization='8bit': use device='cpu' or 'cuda', and "
            "dtype='bfloat16' to halve the weights"
        )


def find_folder(name_or_path: str | Path, gguf_file: str | None) -> Path | None:
    """Return the local folder that is meant, or None for the name of a model on the hub.

    Raises
    ------
    FileNotFoundError
        If a path is meant and the folder, its configuration or the GGUF file is not there.
    """
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        if folder.is_file():
            raise FileNotFoundError(
                f"name_or_path={str(name_or_path)!r} is a file: give its folder, and "
                f"gguf_file={folder.name!r} if it is GGUF"
            )
        if isinstance(name_or_path, Path) or _looks_like_path(name_or_path):
            raise FileNotFoundError(f"name_or_path={str(name_or_path)!r}: the model folder does not exist")
        return None
    found = sorted(item.name for item in folder.glob("*.gguf"))
    if gguf_file is not None:
        if not (folder / gguf_file).is_file():
            raise FileNotFoundError(f"gguf_file={gguf_file!r} is not in {folder}; GGUF files there: {found}")
    elif not (folder / "config.json").is_file():
        hint = f"give gguf_file=one of {found}" if found else "it holds neither a config.json nor a GGUF file"
        raise FileNotFoundError(
            f"name_or_path={str(name_or_path)!r}: no model in this folder as it stands: {hint}"
        )
    return folder


def _looks_like_path(name: str) -> bool:
    # Names on the hub are "model" or "owner/model".
    return name.startswith((".", "~", os.sep)) or name.count("/") > 1 or "\\" in name or name.endswith("/")


def _check_tokenizer(tokenizer: Any, name_or_path: str | Path) -> None:
    if not tokenizer.is_fast:
        raise ValueError(
            f"{name_or_path}: its tokeniser {type(tokenizer).__name__} gives no character offsets: convert "
            "it to a fast tokeniser (tokenizer.json)"
        )


def choose_class(transformers: Any, config: Any) -> Any:
    """Return the auto class that fits the checkpoint: bare, masked, causal, or an encoder alone."""
    names = config.architectures or []
    encoders = transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
    if type(config) in encoders and encoders[type(config)].__name__.endswith("EncoderModel"):
        return transformers.AutoModelForTextEncoding
    if config.is_encoder_decoder:
        return transformers.AutoModel
    if any(name.endswith("Model") and not name.endswith("LMHeadModel") for name in names):
        return transformers.AutoModel
    if any("MaskedLM" in name or "PreTraining" in name for name in names):
        return transformers.AutoModelForMaskedLM
    if not names and type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        return transformers.AutoModelForMaskedLM
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


def only_encoder(model: Any, name_or_path: str | Path) -> Any:
    """Return the encoder of an encoder-decoder, which reads text in one go; any other model as it is."""
    if model.config.is_encoder_decoder and hasattr(model, "get_encoder"):
        model = model.get_encoder()
    if "input_ids" not in inspect.signature(model.base_model.forward).parameters:
        raise ValueError(f"{name_or_path}: a {type(model).__name__} takes no tokens: it reads no text")
    return model


def _draw_weights(kind: Any, config: Any, placement: Placement, seed: int) -> Any:
    import torch

    # The state of the caller's generator is kept; the weights depend on the seed alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.from_config(config)
    return model.to(getattr(torch, placement.dtype)).to(placement.device)


def _load_weights(kind: Any, target: str, config: Any, placement: Placement, where: dict[str, Any]) -> Any:
    # The configuration is passed on, because reading it from a GGUF file again takes seconds.
    model, info = kind.from_pretrained(
        target, config=config, output_loading_info=True, **placement.arguments(), **where
    )
    learned = {name: _is_learned(model.base_model, name) for name, _ in model.base_model.named_parameters()}
    absent = {name: name.removeprefix(f"{model.base_model_prefix}.") for name in info["missing_keys"]}
    # transformers fills what the checkpoint lacks with random numbers; outside the head that must not pass.
    missing = sorted(name for name, own in absent.items() if learned.get(own) and "pooler" not in name)
    if missing:
        raise ValueError(
            f"{target}: the checkpoint lacks {len(missing)} weights of a {type(model).__name__}, such as "
            f"{missing[:3]}: they would be random numbers (untrained=True asks for that)"
        )
    if any(own not in learned for own in absent.values()):
        model = model.base_model
    if not placement.spread and placement.quantization is None:
        model = model.to(placement.device)
    return model


def _is_learned(body: Any, name: str) -> bool:
    """Whether a checkpoint must have a weight; positions that are computed need not be there."""
    return "Sinusoidal" not in type(body.get_submodule(name.rpartition(".")[0])).__name__

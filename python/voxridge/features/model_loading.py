"""Loading a Hugging Face model and its tokeniser: by name, from a folder or from a GGUF file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16", "float16")


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
    device: str,
    dtype: str,
    seed: int | None,
) -> LoadedModel:
    """Load a model; with a `seed`, its architecture with random weights. See ``LanguageModel.load``."""
    import torch
    import transformers

    _check_device(torch, device, dtype)
    folder = find_folder(name_or_path, gguf_file)
    where: dict[str, Any] = {"revision": revision, "gguf_file": gguf_file}
    where = {key: value for key, value in where.items() if value is not None}
    target = str(name_or_path if folder is None else folder)
    try:
        config = transformers.AutoConfig.from_pretrained(target, **where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(target, use_fast=True, **where)
        _check_kind(config, tokenizer, name_or_path)
        kind = _choose_class(transformers, config)
        if seed is None:
            model = _load_weights(transformers, kind, target, config, getattr(torch, dtype), where)
        else:
            # The state of the caller's generator is kept; the weights depend on the seed alone.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = kind.from_config(config).to(getattr(torch, dtype))
    except OSError as error:
        problem = _NOT_FOUND if folder is None else "the folder cannot be loaded"
        raise FileNotFoundError(f"name_or_path={str(name_or_path)!r}: {problem}: {error}") from error
    name = str(name_or_path)
    if folder is not None:
        name = Path(gguf_file).stem if gguf_file else folder.name
    network = model.to(device).eval().requires_grad_(False)
    return LoadedModel(network, tokenizer, name, getattr(config, "_commit_hash", None) or revision)


_NOT_FOUND = (
    "not a local folder, and the Hugging Face hub has no such model, or it cannot be reached (for a folder, "
    "give its path; for a private model, log in)"
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


def _check_device(torch: Any, device: str, dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown: use one of {DTYPES}")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a device of torch: use 'cpu', 'cuda', 'cuda:1', ..."
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r}, but torch sees no CUDA device: use device='cpu' or install torch with CUDA"
        )
    if kind == "cpu" and dtype == "float16":
        # 1 GFLOP/s against 89 in float32 and 227 in bfloat16 for a 1024 x 1024 product (2-core Zen 4).
        raise ValueError(
            "dtype='float16' is about a hundred times slower than float32 on a CPU: use 'float32' or "
            "'bfloat16'"
        )


def _check_kind(config: Any, tokenizer: Any, name_or_path: str | Path) -> None:
    if config.is_encoder_decoder:
        raise ValueError(
            f"{name_or_path}: an encoder-decoder ({config.model_type}); use a causal or a masked model"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"{name_or_path}: its tokeniser {type(tokenizer).__name__} gives no character offsets: convert "
            "it to a fast tokeniser (tokenizer.json)"
        )


def _choose_class(transformers: Any, config: Any) -> Any:
    """Return the auto class that fits the checkpoint: bare, masked or causal."""
    names = config.architectures or []
    if any(name.endswith("Model") and not name.endswith("LMHeadModel") for name in names):
        return transformers.AutoModel
    if any("MaskedLM" in name or "PreTraining" in name for name in names):
        return transformers.AutoModelForMaskedLM
    if not names and type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        return transformers.AutoModelForMaskedLM
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


def _load_weights(
    transformers: Any, kind: Any, target: str, config: Any, dtype: Any, where: dict[str, Any]
) -> Any:
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    key = "dtype" if version >= (4, 56) else "torch_dtype"
    # The configuration is passed on, because reading it from a GGUF file again takes seconds.
    model, info = kind.from_pretrained(
        target, config=config, output_loading_info=True, **{key: dtype}, **where
    )
    body = {f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_parameters()}
    body |= {name for name, _ in model.base_model.named_parameters()}
    # transformers fills what the checkpoint lacks with random numbers; outside the head that must not pass.
    missing = sorted(name for name in info["missing_keys"] if name in body and "pooler" not in name)
    if missing:
        raise ValueError(
            f"{target}: the checkpoint lacks {len(missing)} weights of a {type(model).__name__}, such as "
            f"{missing[:3]}: they would be random numbers (untrained=True asks for that)"
        )
    return model

"""What identifies a model: classes, digests of tokeniser and weights, versions of packages."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Any

from voxridge.features.forward import Network
from voxridge.features.placement import stored_values

_PACKAGES = (
    "voxridge",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "bitsandbytes",
    "numpy",
    "h5py",
    "gguf",
)


def describe_network(network: Network, tokenizer: Any) -> dict[str, Any]:
    """Return what tells this model from others, in values that JSON can hold."""
    body = network.body
    rules = tokenizer.backend_tokenizer.to_str().encode()
    return {
        "model_class": type(body).__name__,
        "model_type": body.config.model_type,
        "tokenizer_class": type(tokenizer).__name__,
        "tokenizer_sha256": hashlib.sha256(rules).hexdigest(),
        "n_parameters": sum(parameter.numel() for parameter in body.parameters()),
        "weights_sha256": digest_weights(body),
        "quantization": "8bit" if network.in_8bit else None,
        "arithmetic": str(body.dtype).removeprefix("torch."),
        "device": network.device_type,
    }


def digest_weights(body: Any) -> str:
    """Return the digest of up to 64 evenly spaced values of every parameter, wherever they lie."""
    sha = hashlib.sha256()
    for name, parameter in body.named_parameters():
        owner, _, last = name.rpartition(".")
        values = stored_values(body.get_submodule(owner), last).reshape(-1)
        sampled = values[:: max(1, values.numel() // 64)][:64].float().cpu().numpy()
        sha.update(f"{name}{tuple(parameter.shape)}".encode() + sampled.astype("<f4").tobytes())
    return sha.hexdigest()


def package_versions(*more: str) -> dict[str, str]:
    """Return the versions of the packages that activations may depend on, where they are installed."""
    found = {}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

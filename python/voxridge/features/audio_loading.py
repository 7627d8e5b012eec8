"""Loading an audio encoder and its feature extractor: by name or from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxridge.features.load_errors import named_problems
from voxridge.features.model_loading import find_folder
from voxridge.features.placement import Placement


@dataclass(frozen=True)
class LoadedAudio:
    """What was loaded: the encoder on its device and in evaluation mode, and its feature extractor."""

    network: Any
    extractor: Any
    name: str
    revision: str | None


def load(
    name_or_path: str | Path, revision: str | None, device: str, dtype: str, seed: int | None
) -> LoadedAudio:
    """Load a model; with a `seed`, its architecture with random weights. See ``AudioModel.load``."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            'audio models need torch and transformers: pip install "voxridge[lm,audio]"'
        ) from error
    if device == "auto":
        raise ValueError("device='auto' is for language models: give 'cpu', 'cuda', 'cuda:1', ...")
    placement = Placement(device, dtype)
    folder = find_folder(name_or_path, None)
    target = str(name_or_path if folder is None else folder)
    with named_problems(str(name_or_path), revision, on_hub=folder is None), _quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(target, revision=revision)
        extractor = _extractor(transformers, target, revision, config)
        kind = _choose_class(transformers, config, target)
        if seed is None:
            model = _load_weights(kind, target, config, placement, revision)
        else:
            model = _draw_weights(kind, config, placement, seed)
    network = encoder_of(model).to(device).eval().requires_grad_(False)
    name = str(name_or_path) if folder is None else folder.name
    return LoadedAudio(network, extractor, name, getattr(config, "_commit_hash", None) or revision)


def encoder_of(model: Any) -> Any:
    """Return the part whose layers are read: Whisper's encoder, any other model without its head."""
    if model.config.model_type != "whisper":
        return model.base_model
    while not hasattr(model, "conv1"):
        model = getattr(model, "encoder", None) or model.model
    return model


def _extractor(transformers: Any, target: str, revision: str | None, config: Any) -> Any:
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(target, revision=revision)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{target}: no feature extractor (preprocessor_config.json) could be loaded for this "
            f"{config.model_type}: is it an audio model? ({str(error).splitlines()[0]})"
        ) from error
    wanted = "input_features" if config.model_type == "whisper" else "input_values"
    if getattr(extractor, "model_input_names", [None])[0] != wanted or not hasattr(
        extractor, "sampling_rate"
    ):
        raise ValueError(
            f"{target}: a {config.model_type} with a {type(extractor).__name__} does not take a waveform: "
            "use HuBERT, WavLM, wav2vec2, Whisper or another model with input_values"
        )
    return extractor


def _choose_class(transformers: Any, config: Any, target: str) -> Any:
    if config.model_type == "whisper":
        # The one class of every version that holds the encoder alone: the decoder is not even read.
        return transformers.WhisperForAudioClassification
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{target}: an encoder-decoder ({config.model_type}); of these only Whisper is read")
    try:
        return transformers.MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{target}: transformers has no encoder of its own for {config.model_type}"
        ) from error


def _draw_weights(kind: Any, config: Any, placement: Placement, seed: int) -> Any:
    import torch

    # The state of the caller's generator is kept; the weights depend on the seed alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).to(getattr(torch, placement.dtype))


def _load_weights(kind: Any, target: str, config: Any, placement: Placement, revision: str | None) -> Any:
    model, info = kind.from_pretrained(
        target, config=config, revision=revision, output_loading_info=True, **placement.arguments()
    )
    # Random numbers stand for what the checkpoint lacks. The heads are not read, and the vector that masks
    # frames in training is not used.
    heads = ("classifier.", "projector.", "masked_spec_embed", "lm_head.")
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(heads))
    if missing:
        raise ValueError(
            f"{target}: the checkpoint lacks {len(missing)} weights of a {type(model).__name__}, such as "
            f"{missing[:3]}: they would be random numbers (untrained=True asks for that)"
        )
    return model


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Hold back the report on weights that were left out: leaving out the decoder is what is wanted."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)

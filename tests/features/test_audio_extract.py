from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxridge.features.audio import Audio
from voxridge.features.audio_extract import AudioReader, extract_audio_features
from voxridge.features.audio_model import AudioModel
from voxridge.features.audio_windows import audio_windows
from voxridge.features.sound_controls import sound_controls
from voxridge.streams.stores import FeatureStore, SoundStore

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.3,
}
KINDS = ["Hubert", "WavLM", "Wav2Vec2", "Whisper"]


@pytest.fixture(scope="module")
def models() -> dict[str, AudioModel]:
    torch.manual_seed(0)
    made = {}
    for kind in KINDS[:3]:
        network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**SMALL))
        made[kind] = AudioModel(
            network.eval(), transformers.Wav2Vec2FeatureExtractor(do_normalize=kind == "Wav2Vec2"), name=kind
        )
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, init_std=0.3
    )
    whisper = transformers.WhisperForAudioClassification(config).eval()
    made["Whisper"] = AudioModel(whisper, transformers.WhisperFeatureExtractor(), name="Whisper")
    return made


@pytest.fixture(scope="module")
def sound() -> Audio:
    return Audio(np.random.default_rng(0).normal(0, 0.1, 17000), 16000, start=20.0)


SHORT: dict[str, Any] = {"context": 0.3, "chunk": 0.1}


@pytest.mark.parametrize("kind", KINDS)
def test_store_holds_one_row_for_every_window(
    kind: str, models: dict[str, AudioModel], sound: Audio, tmp_path: Path
) -> None:
    model = models[kind]
    runs = {"alice": sound, "queen": sound.between(20.2, 20.9)}
    store = extract_audio_features(model, runs, tmp_path / "f.h5", progress=False, batch=3, **SHORT)
    assert isinstance(store, FeatureStore)
    assert (store.runs, store.layers) == (["alice", "queen"], ["layer-00", "layer-01", "layer-02"])
    for run, audio in runs.items():
        times = store.times(run)
        assert times is not None
        n = 10 if run == "alice" else 7
        np.testing.assert_allclose(times, audio.start + np.arange(1, n + 1) / 10)
        for i, time in enumerate(times):
            stop = round((time - audio.start) * 16000)
            alone = model.read([audio.samples[max(0, stop - 6400) : stop]], range(3))[0]
            for layer in range(3):
                found = store.read(run, f"layer-{layer:02d}")[i]
                assert found.dtype == np.float16
                scale = np.abs(alone[layer]).max()
                np.testing.assert_allclose(found, alone[layer], atol=2e-3 * scale)
    controls = SoundStore.open(tmp_path / "f.h5")
    expected = sound_controls(sound, store.times("alice"))
    assert controls.layers == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(controls.read("alice", name), values)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_see_the_past_only(
    kind: str, models: dict[str, AudioModel], sound: Audio, tmp_path: Path
) -> None:
    """Whatever follows a time may change: the rows up to it are the same to the bit."""
    changed = sound.samples.copy()
    changed[8000:] = np.random.default_rng(1).normal(0, 0.5, 9000)
    found = [
        extract_audio_features(
            models[kind], {"a": audio}, tmp_path / f"{i}.h5", dtype="float32", progress=False, **SHORT
        )
        for i, audio in enumerate((sound, Audio(changed, 16000, 20.0)))
    ]
    times = found[0].times("a")
    assert times is not None
    past = times <= 20.5 + 1e-9
    assert past.sum() == 5
    for layer in found[0].layers:
        before, after = (store.read("a", layer) for store in found)
        np.testing.assert_array_equal(before[past], after[past])
        assert (before[~past] != after[~past]).any(axis=1).all()
    for name in ("envelope", "mel-spectrum"):
        before, after = (SoundStore.open(tmp_path / f"{i}.h5").read("a", name) for i in range(2))
        np.testing.assert_array_equal(before[past], after[past])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 9), batch=st.integers(1, 5), kind=st.sampled_from(KINDS[:3]))
def test_a_run_can_be_taken_up_at_any_row(
    first: int, batch: int, kind: str, models: dict[str, AudioModel], sound: Audio
) -> None:
    reader = AudioReader(
        models[kind],
        sound,
        audio_windows(len(sound.samples), 16000, **SHORT),
        [0, 2],
        np.dtype("float32"),
        batch,
    )
    whole = {name: np.concatenate([b.layers[name] for b in reader.blocks()]) for name in reader.widths}
    blocks = list(reader.blocks(first, {"layer-00": np.zeros(16)}))
    assert (blocks[0].start, blocks[-1].stop) == (first, reader.n_rows)
    for name, rows in whole.items():
        np.testing.assert_array_equal(np.concatenate([b.layers[name] for b in blocks]), rows[first:])


def test_resumes_after_an_interruption(
    models: dict[str, AudioModel], sound: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"alice": sound, "queen": sound.shift(5.0)}
    model = models["Hubert"]

    def extract(path: Path) -> FeatureStore:
        return extract_audio_features(model, runs, path, progress=False, batch=2, **SHORT)

    whole = extract(tmp_path / "whole.h5")
    read, calls = AudioModel.read, []

    def fails(self: AudioModel, windows: Any, layers: Any) -> Any:
        calls.append(len(windows))
        if len(calls) in (3, 7):
            raise KeyboardInterrupt
        return read(self, windows, layers)

    monkeypatch.setattr(AudioModel, "read", fails)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "parts.h5")
    parts = extract(tmp_path / "parts.h5")
    # 10 passes in all, and the two that were interrupted.
    assert len(calls) == 12
    for run in runs:
        for layer in whole.layers:
            np.testing.assert_array_equal(whole.read(run, layer), parts.read(run, layer))
    extract(tmp_path / "parts.h5")
    assert len(calls) == 12


def test_chosen_layers_and_stride(models: dict[str, AudioModel], sound: Audio, tmp_path: Path) -> None:
    store = extract_audio_features(
        models["WavLM"],
        {"a": sound},
        tmp_path / "f.h5",
        layers=[-1],
        stride=0.25,
        progress=False,
        controls=False,
        **SHORT,
    )
    assert store.layers == ["layer-02"]
    times = store.times("a")
    assert times is not None
    np.testing.assert_allclose(times, [20.25, 20.5, 20.75, 21.0])
    assert SoundStore.open(tmp_path / "f.h5").runs == []


def test_files_are_read_and_their_digest_kept(
    models: dict[str, AudioModel], sound: Audio, tmp_path: Path
) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", sound.samples, 16000, subtype="FLOAT")
    path = tmp_path / "features"
    path.mkdir()
    store = extract_audio_features(
        models["Hubert"], {"a": tmp_path / "a.wav"}, path, progress=False, context=0.1
    )
    assert (path / "a.h5").is_file()
    assert store.times("a") is not None
    provenance = json.loads(json.dumps(store.provenance))
    assert provenance["stimulus_sha256"] == {"a": sound.shift(-20.0).digest()}
    assert provenance["window"] == {"context": 0.1, "chunk": 0.1, "stride": 0.1}
    assert provenance["model"]["model"] == "Hubert"
    assert provenance["layers"] == [0, 1, 2]


def test_other_settings_are_refused(models: dict[str, AudioModel], sound: Audio, tmp_path: Path) -> None:
    def extract(model: str, audio: Audio, **given: Any) -> FeatureStore:
        arguments: dict[str, Any] = {**SHORT, "progress": False, "controls": False, **given}
        return extract_audio_features(models[model], {"a": audio}, tmp_path / "f.h5", **arguments)

    extract("Hubert", sound)
    extract("Hubert", sound)
    with pytest.raises(ValueError, match=r"model\.model was \"Hubert\", now \"WavLM\""):
        extract("WavLM", sound)
    with pytest.raises(ValueError, match=r"window\.context was 0\.3, now 0\.4"):
        extract("Hubert", sound, context=0.4)
    with pytest.raises(ValueError, match="stimulus_sha256"):
        extract("Hubert", sound.shift(1.0))
    assert extract("WavLM", sound, overwrite=True).provenance["model"]["model"] == "WavLM"


def test_bad_arguments(models: dict[str, AudioModel], sound: Audio, tmp_path: Path) -> None:
    def extract(model: str, stimuli: Any, **given: Any) -> FeatureStore:
        return extract_audio_features(models[model], stimuli, tmp_path / "f.h5", progress=False, **given)

    with pytest.raises(ValueError, match="stimuli holds no run"):
        extract("Hubert", {})
    with pytest.raises(ValueError, match="dtype='int8' is unknown"):
        extract("Hubert", {"a": sound}, dtype="int8")
    with pytest.raises(ValueError, match="batch=0"):
        extract("Hubert", {"a": sound}, batch=0)
    with pytest.raises(ValueError, match="Hubert has the layers 0 to 2; got 3"):
        extract("Hubert", {"a": sound}, layers=[3])
    with pytest.raises(ValueError, match=r"30\.1 s, but Whisper takes at most 30 s"):
        extract("Whisper", {"a": sound}, context=30.0)
    for seconds in (np.nan, np.inf):
        with pytest.raises(ValueError, match="give a finite number of seconds"):
            extract("Hubert", {"a": sound}, context=seconds)
    with pytest.raises(ValueError, match=r"Hubert has the layers 0 to 2; got 1\.5"):
        extract("Hubert", {"a": sound}, layers=[1.5])
    with pytest.raises(ValueError, match=r"run 'a': the audio has 8000 Hz, but the model takes 16000"):
        extract("Hubert", {"a": Audio(np.ones(8000), 8000)})
    with pytest.raises(ValueError, match="run 'a': no window of at least 400 samples fits"):
        extract("Hubert", {"a": Audio(np.ones(1000), 16000)})
    with pytest.raises(FileNotFoundError, match=r"run 'b': .*absent\.wav: no such file"):
        extract("Hubert", {"a": sound, "b": tmp_path / "absent.wav"})
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"run 'b': .*text\.wav: cannot be read as audio"):
        extract("Hubert", {"b": tmp_path / "text.wav"})


def test_memory_that_ends_is_named(
    models: dict[str, AudioModel], sound: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AudioModel, "read", fails)
    with pytest.raises(MemoryError, match="4 windows in one pass of Hubert: give a smaller batch"):
        extract_audio_features(models["Hubert"], {"a": sound}, tmp_path / "f.h5", progress=False, **SHORT)


def test_activations_beyond_float16(
    models: dict[str, AudioModel], sound: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = AudioModel.read
    monkeypatch.setattr(
        AudioModel,
        "read",
        lambda self, windows, layers: [
            {k: np.float32(1e5) * v for k, v in row.items()} for row in read(self, windows, layers)
        ],
    )
    with pytest.raises(ValueError, match=r"layer 0 of Hubert reaches .* beyond float16 .*dtype='float32'"):
        extract_audio_features(models["Hubert"], {"a": sound}, tmp_path / "f.h5", progress=False, **SHORT)


def test_a_folder_may_hold_stories_without_sound(
    models: dict[str, AudioModel], sound: Audio, tmp_path: Path
) -> None:
    from voxridge.features.extract_controls import extract_word_controls
    from voxridge.features.words import Words

    folder = f"{tmp_path}/features/"
    words = Words(["a", "b"], [20.1, 20.5], [20.3, 20.9])
    extract_word_controls({"read": words, "heard": words}, folder)
    store = extract_audio_features(models["Hubert"], {"heard": sound}, folder, progress=False, **SHORT)
    assert store.runs == ["heard"]
    assert SoundStore.open(folder).runs == ["heard"]
    assert SoundStore.open(folder).provenance["stimulus_sha256"] == {"heard": sound.digest()}

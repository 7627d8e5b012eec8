"""What is said when a model cannot be had: each error names the model and the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxridge.features import LanguageModel


class Refused:
    """The answer of the hub that its errors carry."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    status_code = 403
    request = None
    text = ""


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let every download end with `error`, inside transformers' own handling of it."""
    from transformers.utils import hub

    def download(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "snapshot_download", download)


def answer(kind: str) -> Exception:
    from huggingface_hub import errors

    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return getattr(errors, kind)("the hub cannot be reached")
    return getattr(errors, kind)("refused", response=Refused())


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        (
            "GatedRepoError",
            PermissionError,
            r"'owner/model' is gated.*accept the licence at https://\S+/owner/model and log in with `hf auth",
        ),
        ("RepositoryNotFoundError", FileNotFoundError, r"the Hugging Face hub has no such model.*spelling"),
        ("RevisionNotFoundError", FileNotFoundError, r"the hub knows no revision='step3000'"),
        ("LocalEntryNotFoundError", FileNotFoundError, r"cannot be reached .*`hf download owner/model`"),
        ("OfflineModeIsEnabled", FileNotFoundError, r"HF_HUB_OFFLINE is set.*`hf download owner/model`"),
    ],
)
def test_what_the_hub_answers(
    kind: str, expected: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, answer(kind))
    with pytest.raises(expected, match=message) as caught:
        LanguageModel.load("owner/model", revision="step3000")
    assert type(caught.value) is expected


def test_offline_without_any_simulation() -> None:
    with pytest.raises(FileNotFoundError, match=r"'owner/no-such-model'.*`hf download owner/no-such-model`"):
        LanguageModel.load("owner/no-such-model")


def test_the_revision_is_passed_on_and_its_commit_recorded(
    tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that is a folder laid out as the cache of the hub's own library: two revisions of one model."""
    from huggingface_hub import constants
    from transformers.utils import hub

    repository = tmp_path / "models--owner--tiny"
    commits = {"main": "a" * 40, "step1000": "b" * 40}
    for (branch, commit), name in zip(commits.items(), ("llama", "gpt2"), strict=True):
        shutil.copytree(tiny_folder(name), repository / "snapshots" / commit)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for branch, kind in (("main", "llama"), ("step1000", "gpt2"), ("b" * 40, "gpt2")):
        model = LanguageModel.load("owner/tiny", revision=branch)
        provenance = model.provenance()
        assert (provenance["model"], provenance["model_type"]) == ("owner/tiny", kind)
        assert provenance["revision"] == commits.get(branch, branch)
    # Without a revision, the commit of the main branch is recorded.
    assert LanguageModel.load("owner/tiny").provenance()["revision"] == "a" * 40


@pytest.mark.parametrize("kept", [100, 3000])
def test_weights_cut_short(kept: int, tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(tiny_folder("llama"), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"cut'?: a file of weights is damaged, cut short"):
        LanguageModel.load(folder)


def test_old_weights_cut_short(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(tiny_folder("llama"), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + b"\0" * 500)
    with pytest.raises(ValueError, match=r"a file of weights is damaged, cut short"):
        LanguageModel.load(folder)


def test_weights_of_another_size(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_folder("llama"), folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 48', '"intermediate_size": 40'))
    with pytest.raises(ValueError, match=r"does not fit config.json: fetch the checkpoint again"):
        LanguageModel.load(folder)


def test_folder_without_weights(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(tiny_folder("llama"), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"the folder cannot be loaded: .*model.safetensors"):
        LanguageModel.load(folder)


def test_configuration_that_is_not_json(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder("llama"), folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(FileNotFoundError, match=r"the folder cannot be loaded: .*not a valid JSON"):
        LanguageModel.load(folder)


def test_tokenizer_of_another_model(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Ids beyond the vocabulary are refused where they are first seen."""
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_folder("bert"), folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    for path in tiny_folder("llama").glob("tokenizer*"):
        shutil.copy(path, folder)
    model = LanguageModel.load(folder)
    ids = model.tokenizer("Alice was beginning to get very tired")["input_ids"]
    with pytest.raises(ValueError, match=r"outside the vocabulary .*tokeniser do not belong together"):
        model.hidden_states(ids, [0])


def test_a_head_that_the_checkpoint_lacks_gives_no_probabilities(
    tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "headless"
    shutil.copytree(tiny_folder("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = LanguageModel.load(folder)
    assert model.past_only
    assert not model.can_score
    with pytest.raises(ValueError, match=r"surprisal: headless gives no probability of the next token"):
        model.read([[5, 6]], [0], [slice(None)], surprisal=True)


def test_a_model_that_reads_no_text(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer, WhisperConfig, WhisperModel

    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    more = {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 8}
    special = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}
    config = WhisperConfig(
        vocab_size=330, suppress_tokens=None, begin_suppress_tokens=None, **sizes, **more, **special
    )
    WhisperModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder("gpt2")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"a WhisperEncoder takes no tokens: it reads no text"):
        LanguageModel.load(tmp_path)

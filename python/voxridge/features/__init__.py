"""From a story to features: words, language models, alignment, downsampling and control features.

The public names are loaded on first use, so that importing this package pulls in neither torch nor
transformers (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxridge.features.context import GrowingContext, Window
    from voxridge.features.controls import position, word_length, word_rate
    from voxridge.features.design import (
        PrincipalComponents,
        Standardizer,
        check_tr_counts,
        trim,
        zscore_runs,
    )
    from voxridge.features.extract import extract_features
    from voxridge.features.lanczos import downsample, lanczos_matrix, tr_times
    from voxridge.features.language_model import LanguageModel
    from voxridge.features.smollm2 import find_packaged_smollm2
    from voxridge.features.word_features import extract_words
    from voxridge.features.words import Words, read_words

_HOME = {
    "GrowingContext": "context",
    "LanguageModel": "language_model",
    "PrincipalComponents": "design",
    "Standardizer": "design",
    "Window": "context",
    "Words": "words",
    "check_tr_counts": "design",
    "downsample": "lanczos",
    "extract_features": "extract",
    "extract_words": "word_features",
    "find_packaged_smollm2": "smollm2",
    "lanczos_matrix": "lanczos",
    "position": "controls",
    "read_words": "words",
    "tr_times": "lanczos",
    "trim": "design",
    "word_length": "controls",
    "word_rate": "controls",
    "zscore_runs": "design",
}

__all__ = [
    "GrowingContext",
    "LanguageModel",
    "PrincipalComponents",
    "Standardizer",
    "Window",
    "Words",
    "check_tr_counts",
    "downsample",
    "extract_features",
    "extract_words",
    "find_packaged_smollm2",
    "lanczos_matrix",
    "position",
    "read_words",
    "tr_times",
    "trim",
    "word_length",
    "word_rate",
    "zscore_runs",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

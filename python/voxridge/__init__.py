"""voxridge: ridge encoding models at brain scale.

The public names are loaded on first use, so that ``import voxridge`` stays light (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from voxridge.encoding import EncodingRidge
    from voxridge.linear_model import Ridge, RidgeCV
    from voxridge.many import fit_many, plan_many
    from voxridge.nested import nested_scores

_HOME = {
    "EncodingRidge": "voxridge.encoding",
    "Ridge": "voxridge.linear_model",
    "RidgeCV": "voxridge.linear_model",
    "fit_many": "voxridge.many",
    "nested_scores": "voxridge.nested",
    "plan_many": "voxridge.many",
}

__all__ = ["EncodingRidge", "Ridge", "RidgeCV", "__version__", "fit_many", "nested_scores", "plan_many"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'voxridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""voxridge: ridge encoding models at brain scale.

The public names are loaded on first use, so that ``import voxridge`` stays light (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from voxridge.encoding import EncodingRidge
    from voxridge.linear_model import Ridge, RidgeCV
    from voxridge.many import fit_many, plan_many
    from voxridge.nested import nested_scores

_HOME = {
    "EncodingRidge": "encoding",
    "Ridge": "linear_model",
    "RidgeCV": "linear_model",
    "fit_many": "many",
    "nested_scores": "nested",
    "plan_many": "many",
}

__all__ = ["EncodingRidge", "Ridge", "RidgeCV", "__version__", "fit_many", "nested_scores", "plan_many"]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

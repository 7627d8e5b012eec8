"""voxridge: ridge encoding models at brain scale.

The public names are loaded on first use, so that ``import voxridge`` stays light (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from voxridge.banded import BandedRidgeCV
    from voxridge.encoding import EncodingRidge
    from voxridge.linear_model import Ridge, RidgeCV
    from voxridge.many import fit_many, plan_many
    from voxridge.nested import nested_scores
    from voxridge.stacking import nested_stack, stacking_folds

_HOME = {
    "BandedRidgeCV": "banded",
    "EncodingRidge": "encoding",
    "Ridge": "linear_model",
    "RidgeCV": "linear_model",
    "fit_many": "many",
    "nested_scores": "nested",
    "nested_stack": "stacking",
    "plan_many": "many",
    "stacking_folds": "stacking",
}

__all__ = [
    "BandedRidgeCV",
    "EncodingRidge",
    "Ridge",
    "RidgeCV",
    "__version__",
    "fit_many",
    "nested_scores",
    "nested_stack",
    "plan_many",
    "stacking_folds",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

"""nibabel and nilearn, loaded when the first image is read: importing them takes a second."""

from __future__ import annotations

import importlib
from typing import Any

_REMEDY = 'install them with: pip install "voxridge[brain]"'


def need_nibabel() -> Any:
    """The module nibabel.

    Raises
    ------
    ImportError
        It is not installed; the message says how.
    """
    return _need("nibabel", "reading brain images needs nibabel")


def need_nilearn(module: str) -> Any:
    """A module of nilearn, such as "signal".

    Raises
    ------
    ImportError
        It is not installed; the message says how.
    """
    return _need(f"nilearn.{module}", "masks, confounds and filters need nilearn")


def _need(module: str, why: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{why}: {_REMEDY} ({error})") from error

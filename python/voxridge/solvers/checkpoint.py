"""What a long fit has found so far, in a folder that a kill at any moment leaves readable.

One small file per pass and tile, written under another name, forced to the disk and then renamed: a file that
carries its name is whole. ``fit.json`` says which fit it is of.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.streams.atomic import atomic_path

Floating = NDArray[Any]

_IDENTITY = "fit.json"


class Checkpoint:
    """Records of tiles in ``folder``; None keeps nothing.

    Parameters
    ----------
    folder : path or None
        Made where it does not exist (its parent must).
    identity : dict
        All that the records depend on, as JSON can hold it.

    Raises
    ------
    ValueError
        If the folder holds the records of another fit; the message names what differs.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(exist_ok=True)
        place = self.folder / _IDENTITY
        identity = json.loads(json.dumps(identity))
        if place.exists():
            self._check(json.loads(place.read_text()), identity)
            return
        if any(
            not entry.name.startswith(".") for entry in self.folder.iterdir()
        ):  # a killed start leaves such
            raise ValueError(
                f"checkpoint={str(self.folder)!r} holds files but no {_IDENTITY}; "
                "give an empty or a new folder"
            )
        with atomic_path(place) as temporary:
            Path(temporary).write_text(json.dumps(identity, indent=1))

    @property
    def active(self) -> bool:
        return self.folder is not None

    def save(self, number: int, begin: int, record: dict[str, Floating]) -> None:
        """Keep what pass ``number`` found for the tile that starts at target ``begin``."""
        assert self.folder is not None
        with atomic_path(self._place(number, begin)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **record)  # type: ignore[arg-type]

    def load(self, number: int, begin: int) -> dict[str, Floating] | None:
        """What was kept, or None."""
        if self.folder is None or not self._place(number, begin).exists():
            return None
        try:
            with np.load(self._place(number, begin)) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self._place(number, begin)} is damaged ({error}); delete it, and its tile is computed anew"
            ) from error

    def _place(self, number: int, begin: int) -> Path:
        assert self.folder is not None
        return self.folder / f"pass-{number:04d}-target-{begin:08d}.npz"

    def _check(self, kept: dict[str, Any], identity: dict[str, Any]) -> None:
        names = sorted(set(kept) | set(identity))
        different = [name for name in names if kept.get(name) != identity.get(name)]
        if different:
            raise ValueError(
                f"checkpoint={str(self.folder)!r} is of another fit: {', '.join(different)} differ; "
                "delete the folder, or give another"
            )

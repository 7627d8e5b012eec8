"""What a long fit has found so far, in a folder that a kill at any moment leaves readable.

One small file per pass and tile, written under another name, forced to the disk and then renamed: a file that
carries its name is whole. ``fit.json`` says which fit it is of, and the plan that it follows: a resumed fit
keeps to that plan, however much memory is free by then, or its bits would differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge.streams.atomic import atomic_path

Floating = NDArray[Any]

_FIT = "fit.json"


class Checkpoint:
    """Records of tiles in ``folder``; None keeps nothing.

    Parameters
    ----------
    folder : path or None
        Made where it does not exist (its parent must).
    identity : dict
        All that the records depend on beside the plan, as JSON can hold it.

    Attributes
    ----------
    plans : list of dict or None
        What :meth:`start` was given, in this run or in an earlier one.

    Raises
    ------
    ValueError
        If the folder holds the records of another fit (the message names what differs), other files, or a
        damaged fit.json.
    FileNotFoundError
        If the parent of the folder does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.plans: list[dict[str, Any]] | None = None
        self._identity = json.loads(json.dumps(identity))
        if self.folder is None:
            return
        if not self.folder.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint={str(folder)!r}: the folder {self.folder.parent} does not exist; create it"
            )
        self.folder.mkdir(exist_ok=True)
        kept = read_fit(self.folder)
        if kept is not None:
            self._check(kept["identity"])
            self.plans = kept["plans"]
        elif any(not entry.name.startswith(".") for entry in self.folder.iterdir()):  # a kill leaves such
            raise ValueError(
                f"checkpoint={str(self.folder)!r} holds files but no {_FIT}; give an empty or a new folder"
            )

    @property
    def active(self) -> bool:
        return self.folder is not None

    @property
    def token(self) -> str:
        """What outputs beside the records depend on: the fit and its plans."""
        text = json.dumps([self._identity, self.plans], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def start(self, plans: list[dict[str, Any]]) -> None:
        """Note the plans that records follow; those of other plans go first."""
        plans = json.loads(json.dumps(plans))
        if self.folder is None or plans == self.plans:
            return
        self.forget()
        with atomic_path(self.folder / _FIT) as temporary:
            Path(temporary).write_text(json.dumps({"identity": self._identity, "plans": plans}, indent=1))
        self.plans = plans

    def save(self, number: int, begin: int, record: dict[str, Floating]) -> None:
        """Keep what pass ``number`` found for the tile that starts at target ``begin``."""
        place = self._place(number, begin)
        with atomic_path(place) as temporary, open(temporary, "wb") as file:
            np.savez(file, **record)  # type: ignore[arg-type]

    def load(self, number: int, begin: int) -> dict[str, Floating] | None:
        """What was kept, or None."""
        if self.folder is None or not self._place(number, begin).exists():
            return None
        return _read_record(self._place(number, begin))

    def forget(self, ending: str = "") -> None:
        """Remove the records that hold something whose name has this ending."""
        if self.folder is None:
            return
        for place in sorted(self.folder.glob("pass-*.npz")):
            if not ending or any(name.endswith(ending) for name in _read_record(place)):
                place.unlink()

    def _place(self, number: int, begin: int) -> Path:
        assert self.folder is not None
        return self.folder / f"pass-{number:04d}-target-{begin:08d}.npz"

    def _check(self, kept: dict[str, Any]) -> None:
        names = sorted(set(kept) | set(self._identity))
        different = [name for name in names if kept.get(name) != self._identity.get(name)]
        if different:
            raise ValueError(
                f"checkpoint={str(self.folder)!r} is of another fit: {', '.join(different)} differ; "
                "delete the folder, or give another"
            )


def read_fit(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The ``identity`` and ``plans`` of the fit that a folder is of; None where none was begun.

    Raises
    ------
    ValueError
        If they cannot be read.
    """
    place = Path(folder) / _FIT
    try:
        kept: dict[str, Any] = json.loads(place.read_text())
        if not (isinstance(kept["identity"], dict) and isinstance(kept["plans"], list)):
            raise TypeError("no identity and plans")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place} is damaged ({error}); delete the folder to begin anew") from error
    return kept


def _read_record(place: Path) -> dict[str, Floating]:
    try:
        with place.open("rb") as file, np.load(file) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{place} is damaged ({error}); delete it, and its tile is computed anew") from error

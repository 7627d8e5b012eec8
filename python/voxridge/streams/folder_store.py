"""A store as a folder: one HDF5 file per run, so that many processes can write at the same time.

A file system has no safe way for two machines to write one HDF5 file. The jobs of a cluster therefore each
write ``<folder>/<run>.h5``, a whole store of its own; read together, they are one store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxridge._natural import natural_key
from voxridge.streams.files import H5_SUFFIXES
from voxridge.streams.provenance import PER_RUN, differences, digests, of_shared_runs


def means_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a folder: it is one, or it ends with a slash."""
    return os.fspath(path).endswith(("/", os.sep)) or Path(path).is_dir()


def run_file(folder: Path, run: str) -> Path:
    """Where a run lies in a folder."""
    return folder / f"{run}.h5"


def visible_files(folder: Path) -> list[Path]:
    """The HDF5 files of a folder in natural order; hidden ones, which are being made, are left out."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in H5_SUFFIXES)
    shown = (path for path in found if not path.name.startswith("."))
    return sorted(shown, key=lambda path: (natural_key(path.stem), path.name))


def store_files(folder: Path) -> list[Path]:
    """The files of a store that is a folder.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    found = visible_files(folder)
    if not found:
        raise FileNotFoundError(f"{folder} holds no HDF5 file; a store in a folder has one file per run")
    return found


def merged_provenance(parts: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """One account for all files: equal everywhere, but for the digests of the stimuli, which are joined.

    Raises
    ------
    ValueError
        Two files were made in different ways; the message lists all differences.
    """
    (first, *rest) = parts
    merged = parts[first]
    for path in rest:
        if found := list(differences(*of_shared_runs(merged, parts[path]))):
            raise ValueError(
                f"{first.name} and {path.name} in {first.parent} were made in different ways and are not one "
                f"store: {'; '.join(found)} (was: {first.name}, now: {path.name}). Move one of them away"
            )
        if joined := {**digests(merged), **digests(parts[path])}:
            merged = {**merged, PER_RUN: joined}
    return merged


def check_layers(parts: Sequence[tuple[Path, str, Mapping[str, tuple[int, str]]]]) -> None:
    """Check that every run has the layers of the first, as wide, and in another file of the same type.

    Parameters
    ----------
    parts : sequence of (file, run, {layer: (width, dtype)})

    Raises
    ------
    ValueError
        A run lacks a layer, or has it in another form; the message lists all differences.
    """
    for path, run, layers in parts[1:]:
        first_path, first_run, first = parts[0]
        apart = path != first_path
        if found := list(differences(_described(first, apart), _described(layers, apart))):
            where = f"{path}" if path == first_path else f"{path} and {first_path}"
            raise ValueError(
                f"{where}: run {run!r} does not have the layers of run {first_run!r}: {'; '.join(found)} "
                f"(was: {first_run!r}, now: {run!r}). The file is damaged, or was not made as one store"
            )


def _described(layers: Mapping[str, tuple[int, str]], with_type: bool) -> dict[str, str]:
    ends = {name: f" of {kind}" if with_type else "" for name, (_, kind) in layers.items()}
    return {name: f"{width} columns{ends[name]}" for name, (width, _) in layers.items()}

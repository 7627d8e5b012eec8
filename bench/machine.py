"""What the numbers were measured on. Nothing in it names a host, a user or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
_PACKAGES = (
    "voxridge",
    "numpy",
    "scipy",
    "scikit-learn",
    "himalaya",
    "torch",
    "scipy-openblas32",
    "scipy-openblas64",
)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VOXRIDGE_NUM_THREADS")


def describe(**settings: Any) -> dict[str, Any]:
    """Processor, memory, versions, BLAS with its threads, git commit, and the ``settings`` of the run."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": _cpu_model(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cores": os.cpu_count(),
        "memory_gib": round(total_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES if _version(name)},
        "blas": blas_libraries(),
        "thread_variables": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "settings": settings,
    }


def total_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def blas_libraries() -> list[dict[str, Any]]:
    """The BLAS and OpenMP libraries of numpy, scipy and (where loaded) torch, with their thread counts."""
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_info

    kept = ("internal_api", "prefix", "version", "architecture", "threading_layer", "num_threads")
    return [{key: library.get(key) for key in kept} for library in threadpool_info()]


def solver_version() -> str | None:
    """The last commit of what is measured (not of documents or benchmarks), with a + where it was changed."""
    parts = ("csrc", "python", "CMakeLists.txt")
    commit = _git("log", "-1", "--format=%h", "--", *parts)
    return commit and commit + "+" * bool(_git("status", "--porcelain", "--untracked-files=no", "--", *parts))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        print("machine: this is no git checkout; the commit is not recorded", file=sys.stderr)
        return None
    return done.stdout.strip()

"""What ``voxridge info`` prints: versions, the extension's build, BLAS, threads, machine and devices."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from voxridge._threads import n_threads

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "h5py",
    "threadpoolctl",
    "torch",
    "transformers",
    "nibabel",
    "nilearn",
    "matplotlib",
    "himalaya",
)
# OPENBLAS_CORETYPE naming a processor without AVX-512 doubles the time of products where there is AVX-512.
_VARIABLES = (
    "VOXRIDGE_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
_INSTRUCTIONS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "sve")
_CUDA_DRIVERS = {"linux": ("libcuda.so.1",), "win32": ("nvcuda.dll",)}

Facts = dict[str, Any]


def collect() -> Facts:
    """All facts, as JSON can hold them.

    No optional package is imported: their versions are read from what pip recorded.

    Returns
    -------
    dict
        versions, build (of the extension), blas (the libraries in this process), threads, machine, memory
        (bytes), environment (the variables that matter and are set) and devices.

    Raises
    ------
    ValueError
        If a variable that sets the number of threads holds something else than a positive integer.

    Examples
    --------
    >>> facts = collect()
    >>> sorted(facts)
    ['blas', 'build', 'devices', 'environment', 'machine', 'memory', 'threads', 'versions']
    """
    from voxridge import _cpu

    libraries = blas()
    return {
        "versions": versions(_PACKAGES),
        "build": dict(_cpu.build_info()),
        "blas": libraries,
        "threads": threads(libraries),
        "machine": machine(),
        "memory": memory(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "devices": devices(_cpu.build_info()["instruction_set"]),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, voxridge and those of the packages that are installed, without importing them."""
    import voxridge

    found = {"python": platform.python_version(), "voxridge": voxridge.__version__}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def blas() -> list[Facts]:
    """The BLAS libraries in this process as threadpoolctl sees them, and who calls which."""
    from threadpoolctl import threadpool_info

    # scipy's library only shows once scipy.linalg is loaded.
    importlib.import_module("scipy.linalg")
    found = [entry for entry in threadpool_info() if entry["user_api"] == "blas"]
    keys = ("user_api", "internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [
        {"file": Path(entry["filepath"]).name, "called by": _callers(entry["filepath"], len(found))}
        | {key: entry[key] for key in keys if entry.get(key) is not None}
        for entry in found
    ]


def _callers(path: str, n_libraries: int) -> str:
    """Wheels carry their libraries in a folder named after the package; elsewhere one serves everybody."""
    folders = Path(path).parts
    if {"scipy.libs", "scipy"} & set(folders):
        return "voxridge, scipy"
    if {"numpy.libs", "numpy"} & set(folders):
        return "numpy"
    return "voxridge, scipy, numpy" if n_libraries == 1 else "not known"


def threads(libraries: Iterable[Facts]) -> Facts:
    """How many threads our own loops and the BLAS of our products use."""
    ours = [entry["num_threads"] for entry in libraries if "voxridge" in entry["called by"]]
    return {
        "kernels": n_threads(),
        "blas": ours[0] if ours else "not known: threadpoolctl sees no library of scipy's",
    }


def machine() -> Facts:
    """System, processor, and how many processors there are and may be used."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip() or "not known",
        "processor": next(_cpuinfo("model name"), platform.processor()) or "not known",
        "processors": os.cpu_count(),
        "usable": _usable_processors(),
        "physical cores": _physical_cores(),
    }


def _usable_processors() -> int | None:
    """Those in the affinity mask, which a scheduler or taskset may have narrowed."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _physical_cores() -> int | None:
    """Cores of the whole machine, two threads of one counted once; None where the system does not say."""
    return len(set(zip(_cpuinfo("physical id"), _cpuinfo("core id"), strict=False))) or None


def memory() -> Facts:
    """Memory in bytes: all, free, and what a fit may use where the user sets no limit."""
    from voxridge.solvers.memory import available_memory, default_limit

    total = None
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts: Facts = {"total": total, "available": available_memory(), "default limit": default_limit()}
    if not Path("/proc/meminfo").exists():
        facts["note"] = (
            "the system does not say what is available: a small machine is assumed; set memory_limit"
        )
    return facts


def devices(instruction_set: str) -> list[Facts]:
    """The processor, and what is known of CUDA: whether this build has it, and what GPUs it can use."""
    flags = set(next(_cpuinfo("flags"), next(_cpuinfo("Features"), "")).split())
    has = " ".join(name for name in _INSTRUCTIONS if name in flags)
    cpu = {"device": "cpu", "status": "used", "runs": instruction_set, "has": has or "not known"}
    return [cpu, *_cuda_devices()]


def _cuda_devices() -> list[Facts]:
    """One entry for each device that fits can run on, or one that says why there is none."""
    from voxridge._dispatch import load_cuda

    driver = _cuda_driver()
    if importlib.util.find_spec("voxridge._cuda") is None:
        status = "not built: every fit runs on the processor"
        return [{"device": "cuda", "status": status, "driver": driver}]
    try:
        ops = load_cuda()
        missing = ops.missing()
    except ImportError as error:
        missing = str(error)
    if missing:
        return [{"device": "cuda", "status": f"built, not usable: {missing}", "driver": driver}]
    built = ops.build_info()
    return [
        {
            "device": f"cuda:{number}",
            "status": "used where it is asked for or expected to be faster",
            "name": facts["name"],
            "compute capability": f"{facts['major']}.{facts['minor']}",
            "memory": facts["total_bytes"],
            "built for": built["architectures"],
            "driver": driver,
        }
        for number, facts in enumerate(ops.devices())
    ]


def _cuda_driver() -> str:
    """The driver's own answer; CUDA is not initialised beyond that, and no package is asked."""
    for name in _CUDA_DRIVERS.get(sys.platform, ()):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        version, count = ctypes.c_int(), ctypes.c_int()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return "found, but it reaches no GPU"
        driver.cuDriverGetVersion(ctypes.byref(version))
        return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}, {count.value} GPU(s)"
    return "not found"


def _cpuinfo(field: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                yield value.strip()


def as_text(facts: Facts) -> str:
    """The facts as indented lines."""
    from voxridge.solvers.memory import in_words

    lines: list[str] = []
    for title, values in facts.items():
        lines.append(title if values else f"{title}: none of the variables that matter is set")
        for name, value in values.items() if isinstance(values, dict) else enumerate(values, 1):
            if title == "memory" and isinstance(value, int):
                value = in_words(value)
            elif isinstance(value, dict):
                value = "; ".join(f"{key}: {entry}" for key, entry in value.items())
            lines.append(f"  {name}: {'not known' if value is None else value}")
    return "\n".join(lines)

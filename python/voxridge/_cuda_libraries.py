"""Imports ``voxridge._cuda``, whose libraries (cuBLAS, cuSOLVER, the CUDA runtime) are in NVIDIA's wheels."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

_MODULE = "voxridge._cuda"
_BUILD = (
    "it is compiled on Linux where nvcc 13 is installed: pip install 'voxridge[cuda]', then pip install"
    " --force-reinstall --no-deps --no-binary voxridge -C cmake.define.VOXRIDGE_CUDA=ON voxridge"
)
_LIBRARIES = "pip install 'voxridge[cuda]' puts NVIDIA's libraries into the folder nvidia beside the package"


def load() -> ModuleType:
    """``voxridge._cuda``. ImportError says what is missing: the module, or which library.

    The loader of the system looks for the libraries among those that the process has loaded already (torch's,
    say), in LD_LIBRARY_PATH, in the wheels beside the package and in its own folders. Where it finds none,
    cuda-pathfinder looks further, if it is installed.
    """
    try:
        return importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        raise ImportError(f"this build of voxridge has no CUDA module; {_BUILD}", name=_MODULE) from None
    except ImportError as error:
        if (library := _lacking(error)) is None:
            raise ImportError(f"voxridge's CUDA module cannot be loaded: {error}", name=_MODULE) from error
        return _load_by_pathfinder(library, error)


def _load_by_pathfinder(library: str, before: ImportError) -> ModuleType:
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:
        message = (
            f"voxridge's CUDA module lacks {library}, and cuda-pathfinder is not installed to look for it"
        )
        raise ImportError(f"{message}; {_LIBRARIES}", name=_MODULE) from before
    try:
        for name in ("cudart", "cublas", "cusolver"):
            pathfinder.load_nvidia_dynamic_lib(name)
        return importlib.import_module(_MODULE)
    except (ImportError, RuntimeError) as error:  # pathfinder's errors are RuntimeErrors
        message = f"voxridge's CUDA module lacks {_lacking(error) or library}"
        raise ImportError(f"{message}; {_LIBRARIES} ({error})", name=_MODULE) from error


def _lacking(error: Exception) -> str | None:
    """The shared library that the system's loader did not find."""
    found = re.search(r"([^\s/:]+\.so[.\d]*): cannot open shared object file", str(error))
    return found.group(1) if found else None

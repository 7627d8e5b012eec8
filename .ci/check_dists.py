"""Size and contents of an sdist and a wheel:  python .ci/check_dists.py SDIST WHEEL"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

LIMIT = 5_000_000  # bytes
WHEEL_HAS = ("voxridge/py.typed", "voxridge/_cpu.pyi", "voxridge/__init__.py", "voxridge/data/")
WHEEL_HAS_NOT = ("tests/", "csrc/", "bench/", "docs/", "/__pycache__/", ".cpp", ".hpp", ".o", ".a")
SDIST_HAS = (
    "pyproject.toml",
    "CMakeLists.txt",
    "README.md",
    "LICENSE",
    "csrc/cpu/blas.cpp",
    "csrc/core/matrix.hpp",
    "csrc/cuda/runtime.cu",
    "cmake/cuda.cmake",
    "python/voxridge/_cpu.pyi",
    "tests/conftest.py",
)
SDIST_HAS_NOT = (".ci/", ".github/", "bench/results/", "build/", "examples/output/", "/__pycache__/", ".so")


def faults(path: Path, names: list[str], has: tuple[str, ...], has_not: tuple[str, ...]) -> list[str]:
    """What is wrong with one distribution; an entry that ends in / is a folder, one that starts with . an
    ending."""
    found = [f"{path.name} has {path.stat().st_size:,} bytes"] if path.stat().st_size > LIMIT else []
    found += [f"{path.name} lacks {entry}" for entry in has if not any(n.startswith(entry) for n in names)]
    for entry in has_not:
        folder = entry.endswith("/")
        bad = [
            n
            for n in names
            if (n.startswith(entry) or "/" + entry.strip("/") + "/" in n if folder else n.endswith(entry))
        ]
        found += [f"{path.name} holds {name}" for name in bad[:3]]
    return found


def main() -> int:
    sdist, wheel = map(Path, sys.argv[1:])
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    found = faults(sdist, in_sdist, SDIST_HAS, SDIST_HAS_NOT) + faults(
        wheel, in_wheel, WHEEL_HAS, WHEEL_HAS_NOT
    )
    if sum(name.startswith("voxridge/_cpu.") and not name.endswith(".pyi") for name in in_wheel) != 1:
        found.append(f"{wheel.name} must hold one compiled module")
    if any(name.startswith("voxridge/_cuda.") and not name.endswith(".pyi") for name in in_wheel):
        found.append(f"{wheel.name} holds a CUDA module, which is linked to the machine that built it")
    for path, names in ((sdist, in_sdist), (wheel, in_wheel)):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {len(names)} files")
    print("\n".join(found), file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

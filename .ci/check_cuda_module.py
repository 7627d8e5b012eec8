"""What a compiled CUDA module links, holds and says:  python .ci/check_cuda_module.py MODULE MAJOR

MAJOR is that of CUDA. The module's folder is in PYTHONPATH, its libraries are in LD_LIBRARY_PATH.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

FATBIN = struct.pack("<I", 0xBA55ED50)
PTX, SASS = 1, 2
WANTED = {(SASS, 80), (SASS, 90), (SASS, 120), (PTX, 90), (PTX, 120)}


def dynamic_faults(module: Path, major: str) -> list[str]:
    text = subprocess.run(["readelf", "-d", module], check=True, capture_output=True, text=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    paths = re.findall(r"\(RUNPATH\).*\[(.*)\]", text)
    print("NEEDED", *needed, "RUNPATH", *paths)
    found = []
    for library in ("libcublas", "libcusolver", "libcudart"):
        if sum(name.startswith(f"{library}.so.") for name in needed) != 1:
            found.append(f"{library} is not among the libraries it needs: {needed}")
    if any(name.startswith("libcuda.so") for name in needed):
        found.append("it needs libcuda, which only machines with a driver have")
    if paths != [f"$ORIGIN/../nvidia/cu{major}/lib"]:
        found.append(f"RUNPATH is {paths}")
    return found


def architectures(module: Path) -> list[set[tuple[int, int]]]:
    """(kind, architecture) of the device code of every source, by the headers that nvcc writes."""
    data, at, all_found = module.read_bytes(), -1, []
    while (at := data.find(FATBIN, at + 1)) >= 0:
        version, header, size = struct.unpack_from("<HHQ", data, at + 4)
        part, end = at + header, at + header + size
        if version != 1 or end > len(data):
            continue  # the same four bytes by chance
        found = set()
        while part < end:
            kind, _, head, length = struct.unpack_from("<HHIQ", data, part)
            found.add((kind, struct.unpack_from("<I", data, part + 28)[0]))
            part += head + length
        all_found.append(found)
    return all_found


def speech_faults() -> list[str]:
    import _cuda  # type: ignore[import-not-found]

    print(_cuda.build_info())
    missing = _cuda.missing()
    if not missing:
        print(f"THERE IS A GPU ({_cuda.devices()}): what the module says without one was not checked")
        _cuda.Queue(0).synchronize()
        return []
    print("missing:", missing)
    found = [] if "driver" in missing else [f"missing() says {missing!r}, nothing of a driver"]
    try:
        _cuda.Queue(0)
    except _cuda.Failure as error:
        return found if missing in str(error) else [*found, f"Queue(0) says {error}"]
    return [*found, "Queue(0) did not fail"]


def main() -> int:
    module, major = Path(sys.argv[1]), sys.argv[2]
    found = dynamic_faults(module, major)
    sources = architectures(module)
    print(f"{module.name}: {module.stat().st_size / 1e6:.1f} MB, device code of {len(sources)} sources")
    if not sources or any(source != WANTED for source in sources):
        found.append(f"device code is for {sources}, not for {sorted(WANTED)}")
    found += speech_faults()
    print("\n".join(found), file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

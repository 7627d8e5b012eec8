"""What a compiled CUDA module links, holds and says:  python .ci/check_cuda_module.py MODULE MAJOR

MAJOR is that of CUDA. The module's folder is in PYTHONPATH, its libraries are in LD_LIBRARY_PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

FATBIN = struct.pack("<I", 0xBA55ED50)
PTX, SASS = 1, 2
# A driver in name only: its version, what cuInit returns, and the functions that the CUDA runtime asks for.
DRIVER = r"""
#include <stdint.h>
#include <string.h>
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuInit(unsigned flags) { return INIT; }
static int fail(void) { return 999; }
int cuGetProcAddress_v2(const char* name, void** out, int version, uint64_t flags, int* status) {
    if (status) *status = 0;
    *out = !strcmp(name, "cuInit") ? (void*)cuInit
           : !strcmp(name, "cuDriverGetVersion") ? (void*)cuDriverGetVersion
           : !strcmp(name, "cuGetProcAddress") ? (void*)cuGetProcAddress_v2
                                               : (void*)fail;
    return 0;
}
"""
NO_DEVICE, MISMATCH = 100, 803
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


def driver_faults(major: str) -> list[str]:
    """What missing() says under drivers that cannot be used."""
    compiler, found = shutil.which("cc"), []
    if compiler is None:
        print("NO C COMPILER: what the module says under a driver that cannot be used was not checked")
        return []
    this = int(major) * 1000
    for version, init, visible, text in (
        (12040, 0, None, "the NVIDIA driver is too old: it knows CUDA 12.4"),
        (this, NO_DEVICE, None, "the NVIDIA driver finds no CUDA device"),
        (this, NO_DEVICE, "-1", "CUDA_VISIBLE_DEVICES is '-1'"),
        (this, MISMATCH, None, "cudaErrorSystemDriverMismatch"),
    ):
        env = dict(os.environ)
        env.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            env["CUDA_VISIBLE_DEVICES"] = visible
        with tempfile.TemporaryDirectory() as folder:
            build = [compiler, "-shared", "-fPIC", f"-DVERSION={version}", f"-DINIT={init}", "-x", "c", "-"]
            subprocess.run([*build, "-o", f"{folder}/libcuda.so.1"], input=DRIVER, text=True, check=True)
            env["LD_LIBRARY_PATH"] = f"{folder}:{env['LD_LIBRARY_PATH']}"
            say = "import _cuda; print(_cuda.missing())"
            done = subprocess.run([sys.executable, "-c", say], env=env, capture_output=True, text=True)
        print(f"driver {version}, cuInit {init}, visible {visible}:", done.stdout.strip())
        if text not in done.stdout:
            found.append(f"not {text!r} but {done.stdout!r} {done.stderr}")
    return found


def main() -> int:
    module, major = Path(sys.argv[1]), sys.argv[2]
    found = dynamic_faults(module, major)
    sources = architectures(module)
    print(f"{module.name}: {module.stat().st_size / 1e6:.1f} MB, device code of {len(sources)} sources")
    if not sources or any(source != WANTED for source in sources):
        found.append(f"device code is for {sources}, not for {sorted(WANTED)}")
    found += speech_faults() + driver_faults(major)
    print("\n".join(found), file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

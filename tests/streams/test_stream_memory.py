"""Reading in chunks does not load the file; importing the package stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

# The most memory that was resident at any time, of this program alone: getrusage also counts the parent's.
PEAK = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
"""

SCAN = """
import sys
import numpy
from voxridge.streams import ResponseStore, as_source, check_finite, scan_targets
before = peak()
source = as_source(sys.argv[1], name="responses")
scan = scan_targets(source)
check_finite(source)
source.read(slice(100, 200), slice(10, 20))
if len(sys.argv) > 2:
    ResponseStore.create(sys.argv[2]).write_run("all", source)
print(source.shape[0], int(scan.valid.sum()), peak() - before)
"""


TILES = """
import sys
import h5py, numpy
from voxridge.streams import as_source
path, mode = sys.argv[1:]
if mode == "path":
    data = path
elif path.endswith(".h5"):
    data = h5py.File(path)["data"]
else:
    data = numpy.load(path, mmap_mode=mode)
source = as_source(data, name="features")
n_rows, n_columns = source.shape
source.read(slice(0, 1), slice(0, 1))
before = peak()
total = 0.0
for begin in range(0, n_columns, 250):
    total += source.read(columns=slice(begin, begin + 250)).sum()
for begin in range(0, n_rows, 500):
    total += source.read(slice(begin, begin + 500)).sum()
print(n_rows, int(total), peak() - before)
"""

WRITES = """
import sys
import numpy
from voxridge.streams import as_sink
path, kind = sys.argv[1:]
shape = (10_000, 5000)
out = path if kind == "file" else numpy.lib.format.open_memmap(path, "w+", "f4", shape)
before = peak()
sink = as_sink(out, *shape, "f4")
block = numpy.ones((shape[0], 250))
for begin in range(0, shape[1], 250):
    sink.write(begin, begin + 250, block)
total = sum(int(sink.read(begin, begin + 250)[::2500].sum()) for begin in range(0, shape[1], 250))
sink.finish()
print(total, peak() - before)
"""


def run(code: str, *arguments: str) -> list[int]:
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not say how much memory was resident")
    command = [sys.executable, "-c", PEAK + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["path", "r"])
def test_tiles_of_a_large_npy_file(mode: str, order: str, tmp_path: Path) -> None:
    path, shape = tmp_path / "big.npy", (10_000, 10_000)
    header = {"descr": "<f4", "fortran_order": order == "F", "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 400_000_000)  # a hole: no disk is used
    rows, total, grown = run(TILES, str(path), mode)
    assert (rows, total) == (10_000, 0)
    assert grown * 1024 < 60e6, f"memory grew by {grown / 1024:.0f} MiB"


@pytest.mark.parametrize("mode", ["path", "r"])
def test_tiles_of_a_large_hdf5_file(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "big.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (10_000, 10_000), "f4")  # never written: a hole in the file or none
        file["data"][9_999, 9_999] = 1
    rows, total, grown = run(TILES, str(path), mode)
    assert (rows, total) == (10_000, 2)
    assert grown * 1024 < 60e6, f"memory grew by {grown / 1024:.0f} MiB"


@pytest.mark.parametrize("kind", ["file", "memmap"])
def test_a_large_output(kind: str, tmp_path: Path) -> None:
    total, grown = run(WRITES, str(tmp_path / "big.npy"), kind)
    (tmp_path / "big.npy").unlink()
    assert total == 4 * 5000
    assert grown * 1024 < 75e6, f"memory grew by {grown / 1024:.0f} MiB"


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "float16"])
def test_a_large_file_is_read_in_chunks(layout: str, tmp_path: Path) -> None:
    path, n_rows = tmp_path / "big.h5", 20_000
    dtype, n_columns = ("f2", 8000) if layout == "float16" else ("f4", 4000)
    block = np.random.default_rng(0).normal(size=(1000, n_columns)).astype(dtype)
    with h5py.File(path, "w") as file:
        chunks = (500, 400) if layout == "chunked" else None
        data = file.create_dataset("data", shape=(n_rows, n_columns), dtype=dtype, chunks=chunks)
        for start in range(0, n_rows, 1000):
            data[start : start + 1000] = block
    copy = [str(tmp_path / "copy.h5")] if layout == "float16" else []
    rows, valid, grown = run(SCAN, str(path), *copy)
    assert (rows, valid) == (n_rows, n_columns)
    assert path.stat().st_size > 300e6
    assert grown * 1024 < 120e6, f"memory grew by {grown / 1024:.0f} MiB"


def test_import_is_light() -> None:
    code = "import sys, voxridge.streams; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.split())
    assert {"numpy", "h5py"} <= loaded
    assert not loaded & {"scipy", "sklearn", "torch", "nilearn", "matplotlib", "dask", "pandas"}

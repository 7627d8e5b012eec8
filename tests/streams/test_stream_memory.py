"""Reading in chunks does not load the file; importing the package stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

SCAN = """
import resource, sys
import numpy
from voxridge.streams import ResponseStore, as_source, check_finite, scan_targets
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = as_source(sys.argv[1], name="responses")
scan = scan_targets(source)
check_finite(source)
source.read(slice(100, 200), slice(10, 20))
if len(sys.argv) > 2:
    ResponseStore.create(sys.argv[2]).write_run("all", source)
print(source.shape[0], int(scan.valid.sum()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "float16"])
def test_a_large_file_is_read_in_chunks(layout: str, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path, n_rows = tmp_path / "big.h5", 20_000
    dtype, n_columns = ("f2", 8000) if layout == "float16" else ("f4", 4000)
    block = np.random.default_rng(0).normal(size=(1000, n_columns)).astype(dtype)
    with h5py.File(path, "w") as file:
        chunks = (500, 400) if layout == "chunked" else None
        data = file.create_dataset("data", shape=(n_rows, n_columns), dtype=dtype, chunks=chunks)
        for start in range(0, n_rows, 1000):
            data[start : start + 1000] = block
    copy = [str(tmp_path / "copy.h5")] if layout == "float16" else []
    command = [sys.executable, "-c", SCAN, str(path), *copy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows, valid, grown = map(int, done.stdout.split())
    assert (rows, valid) == (n_rows, n_columns)
    assert path.stat().st_size > 300e6
    assert grown * 1024 < 120e6, f"memory grew by {grown / 1024:.0f} MiB"


def test_import_is_light() -> None:
    code = "import sys, voxridge.streams; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.split())
    assert {"numpy", "h5py"} <= loaded
    assert not loaded & {"scipy", "sklearn", "torch", "nilearn", "matplotlib", "dask", "pandas"}

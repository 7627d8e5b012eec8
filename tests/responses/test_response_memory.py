"""A 210 MB image goes into a store with a few tens of MB beside what the libraries take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nilearn")

# Beyond the imports: rows in chunks of 8 MiB, twice, a volume of 0.5 MiB, and the stored mask.
BOUND = 48 << 20

SCRIPT = """
import gzip, pathlib, sys
import nibabel, numpy
from voxridge.responses import Cleaning, build_response_store

name, clean = pathlib.Path(sys.argv[1]), sys.argv[2] == "clean"
shape = (64, 64, 32, int(sys.argv[3]))
header = nibabel.Nifti1Header()
header.set_data_shape(shape)
header.set_data_dtype("float32")
header.set_zooms((3, 3, 3, 2))
header.set_xyzt_units("mm", "sec")
header["magic"], header["vox_offset"] = b"n+1", 352
base = (numpy.arange(numpy.prod(shape[:3])) % 11).astype("float32").reshape(shape[:3])
opened = gzip.open(name, "wb", 1) if name.suffix == ".gz" else open(name, "wb")
with opened as file:
    file.write(header.binaryblock.ljust(352, bytes(1)))
    for row in range(shape[3]):
        file.write((base * (row * row % 401)).tobytes(order="F"))

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10

def build(image, store, inside):
    how = Cleaning(strategy=()) if clean else None
    return build_response_store({"a": image}, store, mask=inside, clean=how, tr=2.0, progress=False)

# Once on a small image, so that everything is imported.
small = name.with_name("small.nii")
data = numpy.random.default_rng(0).standard_normal((2, 2, 2, 80)).astype("float32")
nibabel.save(nibabel.Nifti1Image(data, numpy.eye(4)), small)
build(small, name.with_name("small.h5"), numpy.ones((2, 2, 2), bool))
open("/proc/self/clear_refs", "w").write("5")
before = peak()
store = build(name, name.with_name("big.h5"), numpy.ones(shape[:3], bool))
grown = peak() - before
if not clean:
    last = store.source().read(slice(shape[3] - 1, shape[3]))
    assert numpy.array_equal(last[0], (base * ((shape[3] - 1) ** 2 % 401)).ravel())
print(grown, store.source().shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
@pytest.mark.parametrize(
    ("name", "how", "rows", "bound"),
    [
        ("big.nii", "plain", 400, BOUND),
        ("big.nii.gz", "plain", 400, BOUND),
        # With cleaning one run (here 105 MB) is in memory, and its columns in blocks of 16 MiB, some times.
        ("big.nii", "clean", 200, (105 << 20) + 3 * BOUND),
    ],
)
def test_peak_memory(tmp_path: Path, name: str, how: str, rows: int, bound: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / name), how, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown, shape = done.stdout.strip().split(" ", 1)
    assert shape == f"({rows}, 131072)"
    assert int(grown) < bound, f"{int(grown) >> 20} MiB"
    print(f"{name} {how}: {int(grown) >> 20} MiB beyond the imports")

"""A system without POSIX file locks (Windows): what needs them says so, everything else works."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge.streams import FileSink, locks
from voxridge.streams.journal import append_h5, recover

IN_MEMORY = """
import sys
sys.modules["fcntl"] = None
import numpy as np
from voxridge import EncodingRidge, RidgeCV
from voxridge.streams import locks
assert locks.fcntl is None
rng = np.random.default_rng(0)
x, y = rng.standard_normal((60, 4)), rng.standard_normal((60, 3))
assert RidgeCV(alphas=[1.0, 10.0]).fit(x, y).coef_.shape == (3, 4)
np.save("x.npy", x)
model = EncodingRidge(alphas=[1.0, 10.0], delays=(1, 2), cv=3, progress=False)
model.fit("x.npy", y, runs=[20, 20, 20])
model.save("fit.h5")
assert np.array_equal(EncodingRidge.load("fit.h5").predict(x, runs=[60]), model.predict(x, runs=[60]))
"""


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)


@pytest.mark.usefixtures("without_locks")
def test_a_file_written_in_pieces_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"weights\.h5 cannot be written in pieces.*use WSL") as refused:
        FileSink(tmp_path / "weights.h5", (3, 4), np.float32)
    assert refused.value.errno == errno.ENOTSUP
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_locks")
def test_a_store_is_not_added_to_but_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(3)
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot be written in pieces"), append_h5(path):
        pytest.fail("the addition went on")
    assert path.read_bytes() == before
    assert recover(path) is False
    assert os.listdir(tmp_path) == ["store.h5"]


def test_fits_in_memory_and_files_read_or_saved_whole_need_no_locks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_MEMORY], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["fit.h5", "x.npy"]

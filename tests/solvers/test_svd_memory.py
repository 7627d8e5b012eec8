"""A decomposition of much more than fits stays below its memory limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

PROGRAM = """
import json, sys
import numpy as np
from voxridge.solvers.memory import peak_memory, resident_memory
from voxridge.solvers.svd import chunked_svd
from voxridge.streams import as_source

path, options = sys.argv[1], json.loads(sys.argv[2])
source = as_source(path, name="features")
chunked_svd(np.random.default_rng(0).standard_normal((200, 100)), n_components=2)  # loads and warms LAPACK
limit = resident_memory() + options.pop("room")
svd = chunked_svd(source, (0, 1), center=True, memory_limit=limit, **options)
print(json.dumps([peak_memory(), limit, svd.n_passes, svd.error_bound, svd.s.tolist()]))
"""

N_LONG, N_SHORT = 600_000, 48


@pytest.fixture(scope="module", params=["tall", "wide"])
def features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """110 MiB of float32, a delayed design of 440 MiB in float64."""
    path = tmp_path_factory.mktemp("svd") / f"{request.param}.h5"
    rng, tall = np.random.default_rng(0), request.param == "tall"
    shape = (N_LONG, N_SHORT) if tall else (N_SHORT, N_LONG)
    scales = np.logspace(0, -7, N_SHORT, dtype=np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=shape, dtype=np.float32)
        for begin in range(0, N_LONG, 50_000):
            block = rng.standard_normal((50_000, N_SHORT), dtype=np.float32) * scales + scales[::-1]
            data[(slice(begin, begin + 50_000),) if tall else (slice(None), slice(begin, begin + 50_000))] = (
                block if tall else block.T
            )
    return path


def reference(path: Path) -> tuple[float, float]:
    """The largest singular value and the Frobenius norm of the centred design, chunk by chunk."""
    with h5py.File(path) as file:
        data = file["data"]
        n, p = data.shape
        x = np.zeros((n, 2 * p), dtype=np.float32)
        x[:, :p] = data[:]
        x[1:, p:] = x[:-1, :p]
    gram, mean = 0.0, x.mean(axis=0, dtype=np.float64)
    step = 50_000
    if n > p:
        for begin in range(0, n, step):
            block = x[begin : begin + step] - mean
            gram = gram + block.T @ block
    else:
        for begin in range(0, 2 * p, step):
            block = x[:, begin : begin + step] - mean[begin : begin + step]
            gram = gram + block @ block.T
    return float(np.sqrt(np.linalg.eigvalsh(gram)[-1])), float(np.sqrt(np.trace(gram)))


@pytest.mark.parametrize("what", ["all", "leading"])
def test_peak_memory_stays_below_the_limit(features: Path, what: str) -> None:
    tall = features.stem == "tall"
    options: dict[str, Any] = {"room": 40 * 2**20, "compute_u": not tall, "compute_vt": tall}
    if what == "leading":
        options |= {"n_components": 1, "n_iter": 1}
    command = [sys.executable, "-c", PROGRAM, str(features), json.dumps(options)]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # two are slow where the cores are shared
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=one_thread)
    assert done.returncode == 0, done.stderr
    peak, limit, n_passes, error_bound, s = json.loads(done.stdout)
    assert peak <= limit, f"{(peak - limit) / 2**20:.0f} MiB above the limit"
    largest, frobenius = reference(features)
    if what == "all":
        assert n_passes == 2
        assert s[0] == pytest.approx(largest, rel=1e-10)
        assert np.linalg.norm(s) == pytest.approx(frobenius, rel=1e-10)
    else:
        assert s[0] <= largest * (1 + 1e-10)
        assert largest - s[0] <= error_bound

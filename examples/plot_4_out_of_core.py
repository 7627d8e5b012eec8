"""
Files larger than the memory allowed
====================================

Features and responses stay in HDF5 files, and ``memory_limit`` says what the whole process may hold. The
plan cuts the work so that it keeps to that, and the weights go to a file, too. The files are small here,
so that the page is built quickly; the same calls take files of any size.
"""

# %%
# Two files, written a run at a time
# ----------------------------------
# 12,000 samples x 500 features and 4000 voxels, 206 MiB together.

import tempfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np

from voxridge import EncodingRidge
from voxridge.solvers.memory import resident_memory

folder = Path(tempfile.mkdtemp())
runs = [1000] * 12
rng = np.random.default_rng(3)
weights = rng.standard_normal((500, 4000), dtype=np.float32)
with h5py.File(folder / "features.h5", "w") as x_file, h5py.File(folder / "responses.h5", "w") as y_file:
    x_data = x_file.create_dataset("data", (12_000, 500), dtype="f4")
    y_data = y_file.create_dataset("data", (12_000, 4000), dtype="f4")
    for begin in range(0, 12_000, 1000):
        x = rng.standard_normal((1000, 500), dtype=np.float32)
        x_data[begin : begin + 1000] = x
        noise = rng.standard_normal((1000, 4000), dtype=np.float32)
        y_data[begin : begin + 1000] = np.roll(x, 1, axis=0) @ weights + 30 * noise
del weights, x, noise
sizes = [(folder / name).stat().st_size / 2**20 for name in ("features.h5", "responses.h5")]
print(f"features {sizes[0]:.0f} MiB, responses {sizes[1]:.0f} MiB")

# %%
# The plan before the fit
# -----------------------
# The limit is for the whole process, with Python and all it has loaded: here 300 MiB above what it holds
# already.

limit = resident_memory() + 300 * 2**20
model = EncodingRidge(
    alphas=np.logspace(2, 6, 9),
    scoring="r2",
    delays=(1,),
    cv=4,
    memory_limit=limit,
    weights=folder / "weights.h5",
    progress=False,
)
files = folder / "features.h5", folder / "responses.h5"
plan = model.plan(*files, runs=runs)
print(plan)

# %%
# What a limit costs
# ------------------
# A lower limit means smaller tiles or another route, so more time. One that is too low for any tiling is
# an error which says what would do.

held = resident_memory()
extra = np.array([150, 220, 250, 300, 400, 600, 1000, 2000])
plans = []
for megabytes in extra:
    model.set_params(memory_limit=held + int(megabytes) * 2**20)
    try:
        plans.append(model.plan(*files, runs=runs))
    except MemoryError as error:
        plans.append(None)
        print(error)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
kept = [(m, p) for m, p in zip(extra, plans, strict=True) if p is not None]
x = [m for m, _ in kept]
left.plot(
    x,
    [(p.worst_bytes - p.resident_bytes) / 2**20 for _, p in kept],
    "o-",
    color="#0072B2",
    label="plan, at worst",
)
left.plot(extra, extra, "--", color="#D55E00", label="limit")
left.set(
    xscale="log",
    yscale="log",
    xlabel="limit above what is held (MiB)",
    ylabel="memory that the fit adds (MiB)",
)
left.legend(frameon=False)
left.set_yticks([200, 400, 1000, 2000], ["200", "400", "1000", "2000"])
left.minorticks_off()
right.plot(x, [p.n_targets_batch for _, p in kept], "o-", color="#0072B2")
right.set(xscale="log", xlabel="limit above what is held (MiB)", ylabel="targets in a tile")
for axes in (left, right):
    axes.set_xticks([200, 300, 400, 600, 1000, 2000], ["200", "300", "400", "600", "1000", "2000"])
    axes.minorticks_off()

# %%
# The fit
# -------
# ``predict`` and ``save_coef`` write tile by tile, too.

model.set_params(memory_limit=limit).fit(*files, runs=runs)
print(f"mean cross-validated R² {model.best_cv_scores_.mean():.2f}")
model.predict(files[0], runs=runs, out=folder / "predictions.h5")
with h5py.File(folder / "weights.h5") as file:
    print("weights.h5:", file["data"].shape, file["data"].attrs["kind"])
with h5py.File(folder / "predictions.h5") as file:
    print("predictions.h5:", file["data"].shape)

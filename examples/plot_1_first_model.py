"""
A first encoding model
======================

Four runs, 64 features and 500 voxels, of which the first 300 respond to the features with a delay and
the others are noise. :class:`~voxridge.EncodingRidge` delays the features inside each run, chooses a
penalty for every voxel by leaving one run out, and fits. A run that was never seen then shows how much
of the response the features predict.
"""

# %%
# Simulated data
# --------------
# One array of features and one of responses for each run, rows are samples (TRs).

import warnings

import matplotlib.pyplot as plt
import numpy as np

from voxridge import EncodingRidge

rng = np.random.default_rng(0)
n_voxels, n_driven = 500, 300
delays = (1, 2, 3, 4)
kernel = np.array([0.3, 1.0, 0.7, 0.2])  # the response to a feature 1, 2, 3 and 4 samples later
weights = rng.standard_normal((64, n_voxels)) * (np.arange(n_voxels) < n_driven)
features, responses = [], []
for _ in range(4):
    x = rng.standard_normal((250, 64), dtype=np.float32)
    delayed = sum(k * np.pad(x, ((d, 0), (0, 0)))[: len(x)] for k, d in zip(kernel, delays, strict=True))
    noise = 12 * rng.standard_normal((250, n_voxels))
    features.append(x)
    responses.append((delayed @ weights + noise).astype(np.float32))

# %%
# Fit on three runs, judge on the fourth
# --------------------------------------
# ``print(model.plan_)`` says which route was taken, and why. The warning is printed here because it
# belongs to the lesson: voxels without signal have no best penalty and end anywhere on the grid, its
# edges included. Had voxels **with** signal chosen an edge, the grid would have to be wider.

model = EncodingRidge(alphas=np.logspace(1, 5, 17), delays=delays, progress=False)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(features[:3], responses[:3])
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")
scores = model.score(features[3:], responses[3:])
driven, silent = scores[:n_driven], scores[n_driven:]
print(f"held-out correlation: {driven.mean():.2f} driven, {silent.mean():.2f} not driven")
print(model.plan_.route)

# %%
# What came out
# -------------
# Left: correlations in the run that was left out. Right: the penalties that voxels chose. Voxels without
# signal choose anything, since no penalty predicts noise.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
bins = np.linspace(-0.3, 1.0, 40)
left.hist(driven, bins, color="#0072B2", label="driven by the features")
left.hist(silent, bins, color="#D55E00", alpha=0.8, label="noise only")
left.set(xlabel="correlation in the held-out run (r)", ylabel="voxels")
left.legend(frameon=False)
grid = np.append(model.alphas_, 10**5.25) / 10**0.125
for begin, end, colour, hatch in ((0, n_driven, "#0072B2", ""), (n_driven, n_voxels, "#D55E00", "//")):
    right.hist(model.alpha_[begin:end], grid, color=colour, alpha=0.8, hatch=hatch, edgecolor="white")
right.set(xscale="log", xlabel="chosen penalty alpha", ylabel="voxels")

# %%
# The weights of a driven voxel, summed over features with their true signs, give back the shape of the
# kernel. They are smaller than it, as a penalty wants them to be.

coef = model.coef_[:n_driven].reshape(n_driven, len(delays), 64)
truth = weights[:, :n_driven].T
recovered = np.einsum("vdf,vf->vd", coef, truth) / (truth**2).sum(axis=1, keepdims=True)
figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
axes.errorbar(
    delays, recovered.mean(axis=0), recovered.std(axis=0), color="#0072B2", marker="o", label="fitted"
)
axes.plot(delays, kernel, color="#D55E00", linestyle="--", marker="s", label="true")
axes.set(xlabel="delay (samples)", ylabel="weight along the true direction", xticks=delays)
axes.set_ylim(0, 1.25)
axes.legend(frameon=False, title="mean and standard deviation over voxels", loc="upper right", ncols=2)

"""
Bootstraps as in HuthLab's code
===============================

:func:`~voxridge.solvers.bootstrap_ridge` takes the arguments of HuthLab's ``bootstrap_ridge`` and
returns the same five things. Chunks of neighbouring samples are held out several times, and each voxel
takes the penalty with the best mean score. As in that code, ``a`` is **squared**: the penalty is a².
"""

# %%
# Features with delays as columns
# -------------------------------
# This function expects z-scored columns, with the delays among them already.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from voxridge.solvers import bootstrap_ridge, squared_alphas

rng = np.random.default_rng(6)
n_train, n_test, n_voxels = 700, 200, 400
raw = rng.standard_normal((n_train + n_test, 100))
delayed = np.hstack([np.pad(raw, ((delay, 0), (0, 0)))[: len(raw)] for delay in (1, 2, 3, 4)])
strength = np.linspace(0.2, 1, n_voxels)
responses = strength * (delayed @ rng.standard_normal((400, n_voxels))) + 20 * rng.standard_normal(
    (len(raw), n_voxels)
)


def zscore(a):
    return (a - a.mean(axis=0)) / a.std(axis=0)


Rstim, Pstim = zscore(delayed[:n_train]), zscore(delayed[n_train:])
Rresp, Presp = zscore(responses[:n_train]), zscore(responses[n_train:])

# %%
# Fifteen bootstraps
# ------------------
# The warning counts voxels at the edges of the grid. Here they are voxels with little signal, for which
# many penalties do about equally well: the curves below are flat at both ends.

alphas = np.logspace(-1, 4, 21)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wt, corrs, valphas, allRcorrs, valinds = bootstrap_ridge(
        Rstim, Rresp, Pstim, Presp, alphas, nboots=15, chunklen=20, nchunks=7, seed=0, progress=False
    )
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")
print(
    "wt", wt.shape, "corrs", corrs.shape, "allRcorrs", allRcorrs.shape, "held out each time", len(valinds[0])
)
print("penalty of the first a, as scikit-learn counts it:", squared_alphas(alphas)[0])

# %%
# Scores
# ------
# Left: mean correlation over bootstraps as a function of a, for voxels with little, some and much
# signal; bands hold the middle two thirds of the bootstraps. Right: correlations of the held-out data.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
groups = ((0, 80, "#D55E00", "--"), (160, 240, "#E69F00", "-."), (320, 400, "#0072B2", "-"))
for begin, end, colour, line in groups:
    curve = allRcorrs[:, begin:end].mean(axis=1)  # (alphas, bootstraps)
    low, high = np.quantile(curve, [1 / 6, 5 / 6], axis=1)
    label = f"{strength[begin]:.1f} to {strength[end - 1]:.1f}"
    left.semilogx(alphas, curve.mean(axis=1), color=colour, linestyle=line, label=label)
    left.fill_between(alphas, low, high, color=colour, alpha=0.25, linewidth=0)
left.set(xlabel="a (the penalty is a²)", ylabel="held-out correlation (r)")
figure.legend(loc="outside upper left", ncols=3, frameon=False, title="signal strength (left)")
right.plot(strength, corrs, ".", color="#0072B2")
right.set(xlabel="signal strength", ylabel="correlation in the test data (r)")

"""
Features so alike that a Gram matrix loses them
===============================================

Products of features with themselves square the condition number: what is a millionth of the largest
singular value is a 10¹²-th of the largest eigenvalue of the Gram matrix, and below 10⁻⁸ it drowns in
rounding. :func:`~voxridge.solvers.chunked_svd` works on the features themselves, a chunk of rows at a
time, and keeps relative accuracy.
"""

# %%
# A design with known singular values
# -----------------------------------
# 2000 x 60, singular values evenly spaced in logarithms from 1 to 10⁻¹².

import warnings

import matplotlib.pyplot as plt
import numpy as np

from voxridge import EncodingRidge
from voxridge._warnings import FallbackWarning
from voxridge.solvers import chunked_svd

rng = np.random.default_rng(5)
true = np.logspace(0, -12, 60)
u = np.linalg.qr(rng.standard_normal((2000, 60)))[0]
v = np.linalg.qr(rng.standard_normal((60, 60)))[0]
features = (u * true) @ v.T

svd = chunked_svd(features, rows_per_chunk=250)
gram = np.sqrt(np.maximum(np.linalg.eigvalsh(features.T @ features)[::-1], 0))
print(f"passes over the features: {svd.n_passes}; rank {svd.rank}")

# %%
# Singular values from both
# -------------------------
# Roots of the eigenvalues of the Gram matrix stop following near 10⁻⁸, the root of float64 rounding.
# Forming ``features`` rounds as well, by about 10⁻¹⁶: that is why even an exact method is off by some
# parts in 10⁶ at the small end.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
index = np.arange(1, 61)
left.semilogy(index, true, color="#1d2733", linewidth=1, label="true")
left.semilogy(index, svd.s, "o", color="#0072B2", markersize=4, label="chunked_svd")
shown = gram > 0
left.semilogy(index[shown], gram[shown], "x", color="#D55E00", markersize=5, label="from the Gram matrix")
left.set(xlabel="number", ylabel="singular value")
left.legend(frameon=False)
right.semilogy(index, np.abs(svd.s / true - 1), "o", color="#0072B2", markersize=4)
right.semilogy(index, np.abs(gram / true - 1), "x", color="#D55E00", markersize=5)
right.axhline(1, color="#5b6875", linewidth=1, linestyle=":")
right.set(xlabel="number", ylabel="relative error")

# %%
# What a fit does about it
# ------------------------
# No setting is needed: a route that works on Gram matrices notices that its factors cannot be trusted
# with these penalties, and the SVD stands in. The warning says so.

responses = features @ (v * 1e6) @ rng.standard_normal((60, 20)) + 1e-4 * rng.standard_normal((2000, 20))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = EncodingRidge(
        alphas=np.logspace(-26, -12, 15), delays=(0,), cv=5, scoring="r2", progress=False
    ).fit(features, responses)
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")
assert any(issubclass(warning.category, FallbackWarning) for warning in caught)
print(model.plan_.route, f"{model.best_cv_scores_.mean():.3f}")

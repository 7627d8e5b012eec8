"""
Generalised cross-validation where noise is slow
================================================

``cv="gcv"`` needs no folds: its score is a closed form, and the cheapest of all. It counts every sample
as news, though. In fMRI the noise of neighbouring samples is alike, and then GCV (like leave-one-out)
takes noise for signal and chooses penalties that are too small. Leaving whole runs out does not.
"""

# %%
# The same model under white and under slow noise
# -----------------------------------------------

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import lfilter

from voxridge import EncodingRidge, Ridge

rng = np.random.default_rng(4)
n_runs, length, n_voxels = 6, 150, 200
alphas = np.logspace(-2, 7, 28)
true_weights = rng.standard_normal((50, n_voxels))


def slow(shape, memory):
    """Noise of variance 1 whose neighbours correlate by ``memory``."""
    noise = lfilter(
        [np.sqrt(1 - memory**2)], [1, -memory], rng.standard_normal((shape[0] + 200, shape[1])), axis=0
    )
    return noise[200:]


def data(memory, runs):
    x = [slow((length, 50), memory) for _ in range(runs)]
    y = [a @ true_weights + 8 * slow((length, n_voxels), memory) for a in x]
    return x, y


# %%
# GCV scores R², so the folds do here as well. New runs say what each penalty is truly worth.

curves = {}
for noise, memory in (("white noise", 0.0), ("slow noise (neighbours correlate by 0.9)", 0.9)):
    x, y = data(memory, n_runs)
    x_new, y_new = data(memory, 20)
    found = {}
    for cv in ("gcv", "leave-one-out", "leave-one-run-out"):
        model = EncodingRidge(
            alphas, delays=(0,), cv=cv, scoring="r2", alpha_per_target=False, progress=False
        )
        model.fit(x, y)
        found[cv] = model.cv_scores_.mean(axis=1)
        print(f"{noise[:5]} {cv:18s} alpha {model.alpha_[0]:10.3g}")
    worth = []
    for alpha in alphas:
        fixed = Ridge(alpha).fit(np.vstack(x), np.vstack(y))
        worth.append(fixed.score(np.vstack(x_new), np.vstack(y_new)))  # the mean of R² over voxels
    curves[noise] = found | {"new runs": np.array(worth)}

# %%
# Where the curves part
# ---------------------
# Markers are the penalties that each curve would choose. White noise: all agree. Slow noise: GCV and
# leave-one-out promise scores that new runs do not give.

styles = {
    "gcv": ("#E69F00", "-"),
    "leave-one-out": ("#1d2733", ":"),
    "leave-one-run-out": ("#0072B2", "-"),
    "new runs": ("#D55E00", "--"),
}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True, layout="constrained")
for place, (noise, found) in zip(axes, curves.items(), strict=True):
    for name, scores in found.items():
        colour, line = styles[name]
        width = 4 if name == "gcv" else 2  # it lies under leave-one-out, whose closed form it nearly is
        place.semilogx(alphas, scores, color=colour, linestyle=line, linewidth=width, label=name)
        place.plot(alphas[scores.argmax()], scores.max(), "o", color=colour)
    place.set(xlabel="penalty alpha", title=noise, ylim=(-0.5, 1.0))
axes[0].set_ylabel("R², mean over voxels")
axes[0].legend(frameon=False)

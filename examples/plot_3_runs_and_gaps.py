"""
Many runs left out, and gaps where a run is cut
===============================================

Leaving one of 40 runs out at a time costs hardly more than 5 folds: the leave-out routes get every
held-out residual from **one** factorisation. Where there is a single run, folds must cut it, and
neighbouring samples share what a delayed or slow response remembers. Then training samples near a scored
one have to be left out, which is what ``gap`` does.
"""

# %%
# Leave one of 40 runs out
# ------------------------

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from sklearn.model_selection import KFold

from voxridge import EncodingRidge
from voxridge.solvers import make_folds

rng = np.random.default_rng(2)
runs = [50] * 40
x = rng.standard_normal((2000, 400), dtype=np.float32)
y = (x @ rng.standard_normal((400, 300)) + 50 * rng.standard_normal((2000, 300))).astype(np.float32)
settings = {"alphas": np.logspace(1, 6, 11), "delays": (0,), "scoring": "r2", "progress": False}
for cv in (5, "leave-one-run-out"):
    model = EncodingRidge(cv=cv, **settings).fit(x, y, runs=runs)
    print(f"cv={cv!r}: {len(model.folds_)} folds, {model.plan_.route}, {model.plan_.flops:.3g} flops")

# %%
# Eight times as many folds take the flops above: another route became the better one.
#
# The rows of every fold
# ----------------------
# With one run and delays up to 4, ``make_folds`` leaves 4 samples on either side of the scored block out
# of the training.

folds = make_folds(5, [60], longest_delay=4)
rows = np.zeros((5, 60), dtype=int)
for number, fold in enumerate(folds):
    rows[number, fold.train], rows[number, fold.validation] = 1, 2

figure, axes = plt.subplots(figsize=(8.5, 2.8), layout="constrained")
colours = ListedColormap(["white", "#56B4E9", "#D55E00"])
axes.pcolormesh(
    rows, cmap=colours, norm=BoundaryNorm([-0.5, 0.5, 1.5, 2.5], 3), edgecolors="#dfe4e8", linewidth=0.5
)
axes.set(xlabel="sample (TR)", ylabel="fold", yticks=np.arange(5) + 0.5, yticklabels=range(1, 6))
axes.invert_yaxis()
for colour, label in (("#56B4E9", "trained on"), ("white", "purged"), ("#D55E00", "scored")):
    axes.scatter([], [], marker="s", s=80, color=colour, edgecolor="#5b6875", label=label)
figure.legend(loc="outside upper center", ncols=3, frameon=False)

# %%
# Why the gap
# -----------
# Features and responses are slow noise here and have **nothing** to do with each other, so every score
# should be about 0. Shuffled folds give each scored sample its neighbours in time to learn from; blocks
# do so at their ends only, and a gap of 20 samples not at all. ``gap="auto"`` knows the delays of the
# model but not how slow the noise is.

n = 400
slow = np.exp(
    -0.5 * (np.arange(-20, 21) / 5.0) ** 2
)  # neighbours up to about 10 samples away resemble each other


def slow_noise(columns):
    raw = rng.standard_normal((n + 40, columns))
    return np.stack([np.convolve(column, slow, "valid") for column in raw.T], axis=1)


features, responses = slow_noise(60), slow_noise(200)
strategies = {
    "5 shuffled folds": (KFold(5, shuffle=True, random_state=0), 0),
    "20 blocks, gap 0": (20, 0),
    "20 blocks, gap 5": (20, 5),
    "20 blocks, gap 20": (20, 20),
}
scores = []
for cv, gap in strategies.values():
    model = EncodingRidge(alphas=[10.0], delays=(0,), cv=cv, gap=gap, progress=False)
    scores.append(model.fit(features, responses).best_cv_scores_)
    print(f"{scores[-1].mean():.2f}", end=" ")

figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
look = {"medianprops": {"color": "#0072B2", "linewidth": 2}}  # boxes: quartiles; whiskers: 5 and 95 %
axes.boxplot(
    scores, orientation="horizontal", tick_labels=list(strategies), whis=(5, 95), showfliers=False, **look
)
axes.axvline(0, color="#D55E00", linestyle="--", label="the truth")
axes.invert_yaxis()
axes.set(xlabel="cross-validated correlation of unrelated noise (r), 200 targets")
axes.legend(frameon=False)

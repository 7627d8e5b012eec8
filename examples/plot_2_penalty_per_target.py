"""
RidgeCV with a penalty for every target
=======================================

:class:`~voxridge.RidgeCV` takes the place of scikit-learn's. scikit-learn gives each target its own
penalty under leave-one-out only; here any ``cv`` does. The example has 200 targets whose noise grows
from one to the next, so that no single penalty suits them all.
"""

# %%
# Targets that need different penalties
# -------------------------------------

import matplotlib.pyplot as plt
import numpy as np
import sklearn.linear_model
from sklearn.metrics import r2_score

from voxridge import RidgeCV

rng = np.random.default_rng(1)
X = rng.standard_normal((600, 150))
noise = np.logspace(-0.5, 2, 200)  # standard deviation of the noise of every target
Y = X @ rng.standard_normal((150, 200)) + noise * rng.standard_normal((600, 200))
alphas = np.logspace(-2, 5, 22)
X_train, X_test, Y_train, Y_test = X[:300], X[300:], Y[:300], Y[300:]

# %%
# One argument more
# -----------------

one = RidgeCV(alphas, cv=5).fit(X_train, Y_train)
own = RidgeCV(alphas, cv=5, alpha_per_target=True).fit(X_train, Y_train)
print("one penalty for all:", one.alpha_)
print("a penalty each, from", own.alpha_.min(), "to", own.alpha_.max())

# %%
# scikit-learn chooses the same single penalty:

theirs = sklearn.linear_model.RidgeCV(alphas, cv=5).fit(X_train, Y_train)
print("scikit-learn's:", theirs.alpha_)
assert np.isclose(theirs.alpha_, one.alpha_)

# %%
# What the penalties are worth
# ----------------------------
# The penalty that is best for squared error goes up with the variance of the noise. New data show what
# one penalty for all costs: the noisy targets want more of it, the others less.

gain = {
    name: r2_score(Y_test, model.predict(X_test), multioutput="raw_values")
    for name, model in (("own", own), ("one", one))
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.loglog(noise, own.alpha_, ".", color="#0072B2", label="a penalty each")
left.axhline(one.alpha_, color="#D55E00", linestyle="--", label="one for all")
left.set(xlabel="noise (standard deviation)", ylabel="chosen penalty alpha")
left.legend(frameon=False)
right.semilogx(noise, gain["own"] - gain["one"], ".", color="#0072B2")
right.axhline(0, color="#5b6875", linewidth=1)
right.set(xlabel="noise (standard deviation)", ylabel="R² gained on new data")

"""What a user may write, for `mypy --strict` against the installed package. Never run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxridge import EncodingRidge, Ridge, RidgeCV, __version__
from voxridge.solvers import make_folds, solve_ridge
from voxridge.streams import as_source


def fits(x: NDArray[np.float32], y: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    assert __version__.count(".") == 2
    ridge = Ridge(alpha=2.0).fit(x, y)
    chosen = RidgeCV(alphas=np.logspace(0, 3, 4), cv=5).fit(x, y)
    model = EncodingRidge(alphas=np.logspace(0, 8, 20), delays=(1, 2, 3, 4), cv="leave-one-run-out")
    model.fit([x, x], [y, y])
    model.save(path)
    again: EncodingRidge = EncodingRidge.load(path)
    scores = again.score([x], [y], per_target=True)
    folds = make_folds(5, [len(x)])
    weights = solve_ridge(x[folds[0].train], y[folds[0].train], 1.0).coef
    return np.asarray(ridge.predict(x) + chosen.predict(x) + scores + weights, dtype=np.float32)


def reads(path: Path) -> tuple[int, ...]:
    return as_source(str(path), name="features").shape

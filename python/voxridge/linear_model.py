"""``Ridge`` and ``RidgeCV``: scikit-learn's estimators on voxridge's solvers.

Parameters, attributes, shapes and defaults are scikit-learn's. What is added: one alpha per target with any
``cv``, ``groups`` in ``RidgeCV.fit``, ``scoring="correlation"``, ``cv_scores_`` and ``score_per_target``.
"""

from voxridge._linear_ridge import Ridge
from voxridge._linear_ridge_cv import RidgeCV

__all__ = ["Ridge", "RidgeCV"]

for _estimator in (Ridge, RidgeCV):  # pickles and reprs name the public module
    _estimator.__module__ = __name__

"""Studies: stimuli, models and responses in; nested scores, tables, figures, maps and a report out.

The public names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

if TYPE_CHECKING:
    from voxridge.study.comparison import ComparedSubject, Comparison, compare_studies
    from voxridge.study.config import StudyConfig, load_config
    from voxridge.study.fold_plan import FoldPlan, plan_folds
    from voxridge.study.nested import Block, FitSettings, Model, ModelScores, score_model
    from voxridge.study.run import StudyOutcome, run_study

_HOME = {
    "Block": "nested",
    "ComparedSubject": "comparison",
    "Comparison": "comparison",
    "FitSettings": "nested",
    "FoldPlan": "fold_plan",
    "Model": "nested",
    "ModelScores": "nested",
    "StudyConfig": "config",
    "StudyOutcome": "run",
    "compare_studies": "comparison",
    "load_config": "config",
    "plan_folds": "fold_plan",
    "run_study": "run",
    "score_model": "nested",
}

__all__ = [
    "Block",
    "ComparedSubject",
    "Comparison",
    "FitSettings",
    "FoldPlan",
    "Model",
    "ModelScores",
    "StudyConfig",
    "StudyOutcome",
    "compare_studies",
    "load_config",
    "plan_folds",
    "run_study",
    "score_model",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

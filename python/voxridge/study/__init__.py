"""Studies: stimulus, language model and responses in; nested scores, tables, figures and a report out."""

from __future__ import annotations

from voxridge.study.config import StudyConfig, load_config
from voxridge.study.fold_plan import FoldPlan, plan_folds
from voxridge.study.nested import Block, FitSettings, Model, ModelScores, score_model

__all__ = [
    "Block",
    "FitSettings",
    "FoldPlan",
    "Model",
    "ModelScores",
    "StudyConfig",
    "load_config",
    "plan_folds",
    "score_model",
]

"""Scores and statistics of encoding models; nothing here imports more than numpy."""

from __future__ import annotations

from voxridge.science.scores import correlation_score, r2_score

__all__ = ["correlation_score", "r2_score"]

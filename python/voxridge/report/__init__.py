"""Figures, brain maps and the self-contained report of a study."""

from __future__ import annotations

"""``voxridge demo``: a story, a language model and a simulated cortex with a known answer; or the real
Alice data."""

from __future__ import annotations

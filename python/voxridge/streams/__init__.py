"""Features and responses from memory and from disk, and the files that voxridge keeps them in."""

from __future__ import annotations

from voxridge.streams.atomic import atomic_path
from voxridge.streams.checks import TargetScan, check_finite, locate_row, row_chunks, scan_targets
from voxridge.streams.layouts import h5_dataset, repeats, story_files, tutorial_test, tutorial_train
from voxridge.streams.sources import RunSource, Source, as_source, match_runs
from voxridge.streams.stores import FeatureStore, ResponseStore

__all__ = [
    "FeatureStore",
    "ResponseStore",
    "RunSource",
    "Source",
    "TargetScan",
    "as_source",
    "atomic_path",
    "check_finite",
    "h5_dataset",
    "locate_row",
    "match_runs",
    "repeats",
    "row_chunks",
    "scan_targets",
    "story_files",
    "tutorial_test",
    "tutorial_train",
]

"""Features and responses from memory and from disk, and the files that voxridge keeps them in."""

from __future__ import annotations

from voxridge.streams.atomic import atomic_path
from voxridge.streams.checks import TargetScan, check_finite, locate_row, row_chunks, scan_targets
from voxridge.streams.exchange import (
    export_huth_features,
    export_huth_responses,
    export_tutorial_features,
    export_tutorial_responses,
    import_huth_features,
    import_tutorial_features,
)
from voxridge.streams.file_sink import FileSink
from voxridge.streams.fingerprint import check_unchanged, difference, fingerprint, fingerprint_text
from voxridge.streams.layouts import h5_dataset, repeats, story_files, tutorial_test, tutorial_train
from voxridge.streams.read_ahead import ReadAhead, read_ahead
from voxridge.streams.run_writer import RowBlock, RunReader, write_runs
from voxridge.streams.sink_base import Sink
from voxridge.streams.sinks import ArraySink, DatasetSink, as_sink
from voxridge.streams.sources import RunSource, Source, as_source, match_runs
from voxridge.streams.stores import ControlStore, FeatureStore, ResponseStore, SoundStore

__all__ = [
    "ArraySink",
    "ControlStore",
    "DatasetSink",
    "FeatureStore",
    "FileSink",
    "ReadAhead",
    "ResponseStore",
    "RowBlock",
    "RunReader",
    "RunSource",
    "Sink",
    "SoundStore",
    "Source",
    "TargetScan",
    "as_sink",
    "as_source",
    "atomic_path",
    "check_finite",
    "check_unchanged",
    "difference",
    "export_huth_features",
    "export_huth_responses",
    "export_tutorial_features",
    "export_tutorial_responses",
    "fingerprint",
    "fingerprint_text",
    "h5_dataset",
    "import_huth_features",
    "import_tutorial_features",
    "locate_row",
    "match_runs",
    "read_ahead",
    "repeats",
    "row_chunks",
    "scan_targets",
    "story_files",
    "tutorial_test",
    "tutorial_train",
    "write_runs",
]

"""The command ``voxridge convert``: stores from and to the files of HuthLab's code and of the tutorials."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxridge.streams import FeatureStore, ResponseStore

_EPILOG = """\
  voxridge convert --from huth features_cnk0.1_ctx16.0/whisper-base/ whisper.h5
  voxridge convert --from tutorial wordnet.hdf wordnet.h5
  voxridge convert --to huth opt.h5 opt-features/
  voxridge convert --to tutorial opt.h5 opt-9.hdf --layer layer-09 --test-runs wheretheressmoke

huth: <layer>/<story>.npz and <story>_times.npz, or <story>.hf5 with dataset data; tutorial: one .hdf with
X_train, X_test (Y_train, Y_test) and run_onsets. Responses in these forms need no import: they are read as
they are.
"""


def add_convert(commands: Any) -> None:
    """Add the subcommand to the parser."""
    convert = commands.add_parser(
        "convert",
        help="stores from and to the files of HuthLab's code and the voxelwise tutorials",
        description="Bring features into a store, or features and responses of a store into other files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument("source", type=Path, help="what is read")
    convert.add_argument("target", type=Path, help="what is written")
    way = convert.add_mutually_exclusive_group(required=True)
    way.add_argument("--from", dest="origin", choices=("huth", "tutorial"), help="import into a store")
    way.add_argument("--to", choices=("huth", "tutorial"), help="export from a store")
    convert.add_argument("--layer", help="to tutorial: the layer to write (default: the only one)")
    convert.add_argument("--test-runs", default="", help="to tutorial: runs of the test set, such as a,b")
    convert.add_argument("--no-times", action="store_true", help="from huth: rows are TRs and have no times")
    convert.add_argument("--overwrite", action="store_true", help="replace what is there")
    convert.add_argument("--quiet", action="store_true", help="no progress bar")
    convert.set_defaults(run=_run, resumes=True)


def _run(options: argparse.Namespace) -> int:
    _check_options(options)
    if options.origin is not None:
        store = _import(options)
        print(f"{len(store.runs)} run(s), {len(store.layers)} layer(s): {options.target}")
    else:
        _export(options)
        print(f"Written: {options.target}")
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """An option that would do nothing is a mistake of the command."""
    for name, given in (("--layer", options.layer), ("--test-runs", options.test_runs)):
        if given and options.to != "tutorial":
            raise ValueError(f"{name} is for --to tutorial")
    if options.no_times and options.origin != "huth":
        raise ValueError("--no-times is for --from huth")


def _import(options: argparse.Namespace) -> FeatureStore:
    from voxridge.streams import import_huth_features, import_tutorial_features

    common: dict[str, Any] = {"overwrite": options.overwrite, "progress": not options.quiet}
    if options.origin == "huth":
        return import_huth_features(options.source, options.target, times=not options.no_times, **common)
    return import_tutorial_features(options.source, options.target, **common)


def _export(options: argparse.Namespace) -> None:
    from voxridge.streams import (
        FeatureStore,
        export_huth_features,
        export_huth_responses,
        export_tutorial_features,
        export_tutorial_responses,
    )

    store = _open(options.source)
    test_runs = [run for run in options.test_runs.split(",") if run]
    if missing := [run for run in test_runs if run not in store.runs]:
        have = ", ".join(store.runs)
        raise ValueError(f"--test-runs has {', '.join(missing)}; {store.path} has {have}")
    if options.layer and not isinstance(store, FeatureStore):
        raise ValueError(f"--layer is for features, and {store.path} holds responses")
    if options.to == "huth":
        if isinstance(store, FeatureStore):
            export_huth_features(store, options.target, overwrite=options.overwrite)
        else:
            export_huth_responses(store, options.target, overwrite=options.overwrite)
    elif isinstance(store, FeatureStore):
        layer = _layer(store, options.layer)
        export_tutorial_features(
            store, layer, options.target, test_runs=test_runs, overwrite=options.overwrite
        )
    else:
        export_tutorial_responses(store, options.target, test_runs=test_runs, overwrite=options.overwrite)


def _open(path: Path) -> FeatureStore | ResponseStore:
    """The store in a file or folder, whichever kind it is."""
    from voxridge.streams import FeatureStore, ResponseStore

    try:
        return FeatureStore.open(path)
    except ValueError as no_features:
        try:
            return ResponseStore.open(path)
        except ValueError:
            raise no_features from None


def _layer(store: FeatureStore, layer: str | None) -> str:
    if layer is None and len(store.layers) == 1:
        return store.layers[0]
    if layer not in store.layers:
        raise ValueError(f"--layer is {layer}; {store.path} has {', '.join(store.layers)}: choose one")
    return layer

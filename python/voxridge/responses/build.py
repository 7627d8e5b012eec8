"""From files of responses to one response store, run by run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from voxridge._info import versions
from voxridge.responses.cleaning import Cleaning
from voxridge.responses.fmriprep import FmriprepRun, common_mask
from voxridge.responses.geometry import Geometry
from voxridge.responses.presentations import Prepared, Presentation, Recipe, files_of, is_h5, report
from voxridge.responses.store import CountedPieces, MeanPieces, Ranges, keep_geometry
from voxridge.streams.store_base import check_name
from voxridge.streams.stores import ResponseStore

_PACKAGES = ("numpy", "h5py", "nibabel", "nilearn")
Sources = Mapping[str, "Presentation | list[Presentation]"]


def build_response_store(
    sources: Sources,
    path: str | os.PathLike[str],
    *,
    mask: Any = None,
    tr: float | None = None,
    clean: Cleaning | None = None,
    trim: tuple[int, int] = (0, 0),
    confounds: Mapping[str, Any] | None = None,
    units: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> ResponseStore:
    """Bring the responses of one subject into a response store.

    Every run is written as a whole or not at all: after a kill or Ctrl-C the same call goes on with the next
    run. Each run carries its files (name, size, SHA-256), the versions of the packages, how many columns are
    constant or not finite (``n_constant``, ``n_nonfinite``: they are kept), and how many rows fMRIPrep marked
    (``n_non_steady``, ``n_bad_rows``); ``store.attributes(run)`` has them. The place of the columns in the
    brain is ``store.geometry``.

    Of a repeated stimulus, every presentation is kept, for noise ceilings (``store.repeats(run)``), beside
    the mean of them, which is the run (NaN where one of them is). An HDF5 file with ``individual_repeats`` is
    such a run by itself; its ``data`` is taken as the mean, unless it is to be cleaned.

    Memory, beside what the format needs (`read_responses`): 16 MiB; with ``clean`` one run, in the type of
    the file; of repeated runs their sum, in float64.

    Parameters
    ----------
    sources : mapping of run name to a presentation, or to the list of its presentations
        A presentation is a path, the two hemispheres of a surface as a tuple, or a run of `find_fmriprep`.
    path : path
        The HDF5 file to make or to continue.
    mask : optional
        See `read_responses`. With "compute", and for fMRIPrep without a mask, one mask is made for all runs:
        the voxels that nilearn finds in more than half of them, or those in all of fMRIPrep's masks.
    tr : float, optional
        Seconds between two rows. Default: what the files say.
    clean : Cleaning, optional
        What is taken out. Default: nothing.
    trim : (int, int)
        Rows cut at the start and the end of each run (after the filter, before z-scoring).
    confounds : mapping of run name to array (n_TR, n_confounds) or table, or to a list of them, optional
        Regressed out by ``clean``, beside those of fMRIPrep.
    units : str
        Noted in the store.
    overwrite : bool
        Replace the file if it exists.
    progress : bool
        Show what was done and the time left on standard error.

    Returns
    -------
    ResponseStore
        With all runs.

    Raises
    ------
    FileNotFoundError
        A file is missing, or only a link into a git-annex that was not fetched.
    ValueError
        The file was made with other settings, from other files or of other voxels (the message says what
        differs); a run lies in another space than the first, or has another width; presentations differ in
        their rows; every value of a run is zero; no repetition time is known; as in `read_responses`.
    OSError
        The disk is full; the runs before are kept.

    Examples
    --------
    >>> import numpy
    >>> numpy.savetxt("listener-1.txt", numpy.random.default_rng(0).standard_normal((30, 6)))
    >>> store = build_response_store({"alice": "listener-1.txt"}, "listener-1.h5", tr=2.0, progress=False)
    >>> store.runs, store.source().shape, store.tr("alice"), store.geometry.kind
    (['alice'], (30, 6), 2.0, 'columns')
    """
    items = _check_sources(sources, confounds, clean)
    recipe = Recipe(_one_mask(items, mask), tr, clean, trim)
    extra = confounds or {}
    geometry = _check_runs(items, recipe, extra)
    store = ResponseStore.begin(Path(path), _provenance(recipe, units), overwrite)
    keep_geometry(store.path, geometry)
    todo = [run for run in items if not _is_done(store, run, items[run])]
    total = sum(len(presentations) for presentations in items.values())
    done = total - sum(len(items[run]) for run in todo)
    with tqdm(total=total, initial=done, desc=Path(path).stem, unit="scan", disable=not progress) as bar:
        for run in todo:
            bar.set_postfix_str(run)
            _write_run(store, run, items[run], recipe, extra.get(run), units)
            bar.update(len(items[run]))
    return store


def _check_sources(
    sources: Sources, confounds: Mapping[str, Any] | None, clean: Cleaning | None
) -> dict[str, list[Presentation]]:
    if not sources:
        raise ValueError("sources holds no run: give {run name: file}")
    found: dict[str, list[Presentation]] = {}
    for run, given in sources.items():
        check_name(run, "run")
        found[run] = list(given) if isinstance(given, list) else [given]
        if not found[run]:
            raise ValueError(f"run {run!r} has an empty list of presentations")
        for item in found[run]:
            files_of(item)
    for run in confounds or {}:
        if run not in found:
            raise ValueError(
                f"confounds has the run {run!r}, which sources has not; sources has {list(found)}"
            )
    if confounds and clean is None:
        raise ValueError(
            "confounds are given, but clean is None: give clean=Cleaning(...), or leave them out"
        )
    return found


def _one_mask(items: Mapping[str, list[Presentation]], mask: Any) -> Any:
    """A mask for all runs where each would make its own."""
    everything = [item for presentations in items.values() for item in presentations]
    if isinstance(mask, str) and mask == "compute":
        from voxridge.responses.volumes import compute_mask

        return compute_mask([files_of(item)[0] for item in everything])
    runs = [item for item in everything if isinstance(item, FmriprepRun)]
    return common_mask(runs) if mask is None and runs else mask


def _prepared(
    run: str, presentations: Sequence[Presentation], recipe: Recipe, confounds: Any
) -> tuple[Prepared | None, list[Prepared]]:
    """The run itself where its file has it, and its presentations where it has several."""
    each = confounds if isinstance(confounds, list) else [confounds] * len(presentations)
    if len(each) != len(presentations):
        raise ValueError(f"run {run!r} has {len(presentations)} presentations, but {len(each)} confounds")
    if len(presentations) > 1:
        return None, [recipe.prepare(run, item, c) for item, c in zip(presentations, each, strict=True)]
    (item,) = presentations
    repeats = list(recipe.stored_repeats(run, files_of(item)[0], each[0])) if is_h5(item) else []
    return (None if repeats and recipe.clean else recipe.prepare(run, item, each[0])), repeats


def _check_runs(
    items: Mapping[str, list[Presentation]], recipe: Recipe, confounds: Mapping[str, Any]
) -> Geometry:
    """The geometry of all runs; what can be known from headers is checked before anything is written."""
    first: tuple[str, Geometry] | None = None
    for run, presentations in items.items():
        whole, repeats = _prepared(run, presentations, recipe, confounds.get(run))
        parts = [*([] if whole is None else [whole]), *repeats]
        shapes = {str(part.files[0]): part.source.shape for part in parts}
        if len({part.source.shape for part in parts}) > 1:
            raise ValueError(f"the presentations of run {run!r} differ in shape: {shapes}; repeats need one")
        first = first or (run, parts[0].source.geometry)
        report(run, parts[0], recipe)
        for part in parts:
            if apart := first[1].difference(part.source.geometry):
                raise ValueError(
                    f"run {run!r} ({part.files[0]}) does not lie where run {first[0]!r} does: {apart}; bring "
                    "all runs of a subject to one space and mask"
                )
    assert first is not None
    return first[1]


def _provenance(recipe: Recipe, units: str) -> dict[str, Any]:
    return {
        "kind": "responses",
        "tr": None if recipe.tr is None else float(recipe.tr),
        "trim": [int(n) for n in recipe.trim],
        "clean": None if recipe.clean is None else recipe.clean.provenance(),
        "units": units,
    }


def _is_done(store: ResponseStore, run: str, presentations: Sequence[Presentation]) -> bool:
    """Whether a run is stored; raises if it came from other files than those given now."""
    if not store.complete(run):
        return False
    old = json.loads(store.attributes(run).get("files", "[]"))
    files = [file for item in presentations for file in files_of(item)]
    for there, file in zip(old, files, strict=False):
        state = file.stat()
        same = there["bytes"] == state.st_size and there["mtime_ns"] == state.st_mtime_ns
        if not same and there["sha256"] != _digest(file):
            raise ValueError(
                f"run {run!r} of {store.path} came from other contents of {there['name']}: {file}"
            )
    if len(old) != len(files):
        raise ValueError(
            f"run {run!r} of {store.path} was made from {len(old)} files, now there are {len(files)}"
        )
    return True


def _write_run(
    store: ResponseStore,
    run: str,
    presentations: Sequence[Presentation],
    recipe: Recipe,
    confounds: Any,
    units: str,
) -> None:
    whole, repeats = _prepared(run, presentations, recipe, confounds)
    parts = repeats or [whole] if whole is not None else repeats
    files = [file for item in presentations for file in files_of(item)]
    attributes: dict[str, Any] = {"units": units, "n_repeats": len(repeats)}
    if (tr := parts[0].source.tr) is not None:
        attributes["tr"] = float(tr)
    attributes["n_non_steady"] = max(part.n_non_steady for part in parts)
    attributes["n_bad_rows"] = max(part.n_bad for part in parts)
    attributes["files"] = json.dumps([_state(file) for file in files])
    attributes["versions"] = json.dumps(versions(_PACKAGES))
    matrices = _matrices(whole, repeats)
    images = [files_of(item)[0] for item in presentations]
    store._write(run, matrices, lambda: attributes | _counts(matrices, run, images))


def _matrices(whole: Prepared | None, repeats: Sequence[Prepared]) -> dict[str, Any]:
    """What is written, in this order: the presentations, then the run, which may be their mean."""
    if whole is not None:
        kept = {f"repeats/{index}": CountedPieces(part.source) for index, part in enumerate(repeats)}
        return {**kept, "data": CountedPieces(whole.source)}
    total = np.zeros(repeats[0].source.shape)
    found: dict[str, Any] = {
        f"repeats/{index}": CountedPieces(part.source, total) for index, part in enumerate(repeats)
    }
    found["data"] = MeanPieces(total, len(repeats), repeats[0].source.dtype)
    return found


def _counts(matrices: Mapping[str, Any], run: str, files: Sequence[Path]) -> dict[str, int]:
    """How many columns are unusable; raises a ValueError if all of a presentation is."""
    for name, matrix in matrices.items():
        ranges: Ranges = matrix.ranges
        if ranges.problem:
            number = name.removeprefix("repeats/")
            which = f"presentation {number} of run" if number.isdigit() else "run"
            file = files[int(number) if number.isdigit() and len(files) > 1 else 0]
            raise ValueError(f"{which} {run!r} ({file}): {ranges.problem}; leave it out")
    ranges = matrices["data"].ranges
    return {
        "n_nonfinite": int(np.count_nonzero(ranges.nonfinite)),
        "n_constant": int(np.count_nonzero(ranges.constant)),
    }


def _state(file: Path) -> dict[str, Any]:
    state = file.stat()
    return {"name": file.name, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": _digest(file)}


def _digest(file: Path) -> str:
    from voxridge.study.provenance import file_digest

    return file_digest(file)

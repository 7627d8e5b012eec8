"""From an EncodingRidge's parameters and sources to what the solver takes."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from voxridge._dispatch import CudaDevice, find_device
from voxridge._warnings import (
    AlphaEdgeWarning,
    MaskedTargetsWarning,
    RankDeficientWarning,
    SmallFoldWarning,
)
from voxridge.solvers.checkpoint import read_fit
from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.fits import RidgeCVResult
from voxridge.solvers.folds import Fold, make_folds
from voxridge.solvers.memory import available_memory, default_limit, parse_memory, resident_memory
from voxridge.solvers.settings import Settings, Storage, check_settings
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.solvers.tiles import Targets
from voxridge.streams import Source, TargetScan, as_source, check_unchanged, fingerprint, match_runs
from voxridge.streams.device_source import DeviceSource

if TYPE_CHECKING:
    from voxridge.encoding import EncodingRidge

_EDGE_SHARE = 0.01  # of the targets: more at an edge of the grid, and the grid is too short
_WHOLE_SHARE = 0.25  # of the memory that is left: features in files that take less are read whole
_FEWEST_SCORED = 10  # samples of a fold: with fewer, a correlation is mostly chance


@dataclass(frozen=True)
class Job:
    """What one or several fits to the same responses need."""

    designs: list[Design]
    targets: Targets
    settings: Settings
    storage: Storage


def paired_sources(features: Any, responses: Any, runs: Sequence[int] | None) -> tuple[Source, Source]:
    """Features and responses as sources with the same runs; where one side knows the runs, the other takes
    them over."""
    x = as_source(features, name="features", runs=runs)
    y = as_source(responses, name="responses", runs=runs)
    if runs is None and len(x.runs) != len(y.runs) and x.shape[0] == y.shape[0]:
        if len(y.runs) == 1:
            y = as_source(responses, name="responses", runs=x.runs, run_names=x.run_names)
        elif len(x.runs) == 1:
            x = as_source(features, name="features", runs=y.runs, run_names=y.run_names)
    match_runs(x, y)
    return x, y


def make_job(
    model: EncodingRidge,
    sources: Sequence[Source],
    y: Source,
    *,
    scan: TargetScan | None = None,
    sample_weight: Any = None,
    read: bool = True,
) -> Job:
    """Check the parameters and put the pieces together. ``scan`` None: the responses were not looked at,
    which will do for a plan. ``read`` False leaves features where they are."""
    held = device_of_inputs(model.device, [*sources, y])
    cuda = find_device(model.device) if held is None else held
    kept = None if model.checkpoint is None else read_fit(model.checkpoint)
    limit = parse_memory(model.memory_limit)
    if limit is None:  # what was begun may use the last byte
        limit = default_limit() if kept is None else resident_memory() + available_memory()
    dtype = np.result_type(y.dtype, *(x.dtype for x in sources))
    whole = {} if kept is None else dict(enumerate(kept["identity"].get("features_in_memory", ())))
    designs = [
        held_design(x, model.delays, dtype)
        if isinstance(x, DeviceSource) and held is not None
        else _design(x, model.delays, dtype, limit, read, whole.get(i))
        for i, x in enumerate(sources)
    ]
    folds = _folds(model, y, max(abs(delay) for delay in designs[0].delays))
    targets = _targets(y, scan)
    gcv, alone = model.cv == "gcv", isinstance(model.cv, str) and model.cv == "leave-one-out"
    settings = check_settings(
        y.shape[0],
        targets,
        np.logspace(0, 8, 20) if model.alphas is None else model.alphas,
        folds,
        scoring=cast(Any, model.scoring),
        fit_intercept=model.fit_intercept,
        alpha_per_target=model.alpha_per_target,
        sample_weight=sample_weight,
        evaluation="gcv" if gcv else "pooled" if alone else "folds",
        solver=model.solver,
        memory_limit=limit,
        n_targets_batch=None,
        cuda=cuda,
        device_required=held is not None or model.device not in ("auto", "cpu"),
        precision=model.precision,
    )
    return Job(designs, targets, settings, _storage(model, sources, y))


def device_of_inputs(asked: str, sources: Sequence[Source]) -> CudaDevice | None:
    """The CUDA device that sources lie on, which is then the one to work on; None where none does, or the
    processor is asked for.

    Parameters
    ----------
    asked : "auto", "cpu", "cuda" or "cuda:1"
        "auto" and "cuda" stand for the device of the sources.

    Raises
    ------
    ValueError
        Two sources are on different devices, or one on another device than ``asked``; both are named.
    """
    held = [source for source in sources if isinstance(source, DeviceSource)]
    if not held or asked == "cpu":
        return None
    first = held[0]
    for other in held[1:]:
        if other.cuda.number != first.cuda.number:
            raise ValueError(
                f"{first.name} is on {first.cuda.name} and {other.name} on {other.cuda.name}; "
                "put both on one device"
            )
    if asked not in ("auto", "cuda", first.cuda.name):
        with contextlib.suppress(RuntimeError):
            find_device(asked)  # if the name is not known, that is what is wrong
        raise ValueError(
            f'device={asked!r}, but {first.name} is on {first.cuda.name}; move one, or use device="auto"'
        )
    return first.cuda


def held_design(x: DeviceSource, delays: Sequence[int], dtype: Any) -> DelayedDesign:
    """The design of features that lie on a device."""
    from voxridge.solvers.cuda.held_design import HeldDesign

    return HeldDesign(x, delays, x.runs, dtype)


def _folds(model: EncodingRidge, y: Source, longest_delay: int) -> list[Fold]:
    if isinstance(model.cv, str) and model.cv in ("gcv", "leave-one-out"):
        gap = (
            0 if model.gap == "auto" else model.gap
        )  # every sample has neighbours; the user may say how many
        folds = make_folds("leave-one-out", y.runs, gap=0 if model.cv == "gcv" else gap)
        return folds
    folds = make_folds(model.cv, y.runs, gap=model.gap, longest_delay=longest_delay)
    fewest = min(fold.validation.size for fold in folds)
    if fewest < _FEWEST_SCORED:
        small = sum(fold.validation.size < _FEWEST_SCORED for fold in folds)
        warnings.warn(
            f"{small} of {len(folds)} folds score fewer than {_FEWEST_SCORED} samples "
            f"(the fewest: {fewest}); their scores are mostly chance; use fewer or longer folds",
            SmallFoldWarning,
            stacklevel=4,
        )
    return folds


def worth_reading_whole(n_bytes: int, limit: int, held: int) -> bool:
    """Whether features in files are read whole by a process that holds ``held`` bytes already."""
    return n_bytes <= _WHOLE_SHARE * max(0, limit - held)


def _design(
    x: Source, delays: Sequence[int], dtype: Any, limit: int, read: bool, whole: bool | None
) -> Design:
    """``whole``: whether the fit that is resumed had the features in memory; None for a new one."""
    if whole is None:
        size = x.shape[0] * x.shape[1] * np.dtype(dtype).itemsize
        whole = worth_reading_whole(size, limit, resident_memory())
    if x.in_memory or (read and whole):
        return DelayedDesign(x.read().astype(dtype, copy=False), delays, x.runs)
    return StreamedDesign(x, delays, x.runs, dtype=dtype, between_passes=_unchanged(x))


def _targets(y: Source, scan: TargetScan | None) -> Targets:
    everyone = np.ones(y.shape[1], dtype=bool)
    return Targets(
        n_samples=y.shape[0],
        n_targets=y.shape[1],
        read=lambda begin, end: y.read(columns=slice(begin, end)),
        mean=np.zeros(y.shape[1]) if scan is None else np.where(scan.valid, scan.mean, 0.0),
        valid=everyone if scan is None else scan.valid,
        in_memory=y.in_memory,
        between_passes=None if y.in_memory else _unchanged(y),
        on_device=y.on_device if isinstance(y, DeviceSource) else None,
    )


def watch(*sources: Source) -> Callable[[], None]:
    """A check that raises where a file of the sources has changed since."""
    checks = [_unchanged(source) for source in sources if not source.in_memory]

    def check() -> None:
        for unchanged in checks:
            unchanged()

    return check


def _unchanged(source: Source) -> Any:
    return functools.partial(check_unchanged, source, fingerprint(source))


def _storage(model: EncodingRidge, sources: Sequence[Source], y: Source) -> Storage:
    identity: dict[str, Any] = {}
    if model.checkpoint is not None:
        identity = {"features": [fingerprint(x) for x in sources], "responses": fingerprint(y)}
    return Storage(model.weights, model.checkpoint, identity)


def warn_of(result: RidgeCVResult, scan: TargetScan, name: str = "") -> None:
    """Everything about a fit that its user should know before believing it."""
    if scan.n_masked:
        warnings.warn(scan.message("responses"), MaskedTargetsWarning, stacklevel=4)
    if result.edge_fraction > _EDGE_SHARE:
        low, high = result.n_edge
        warnings.warn(
            f"{name}{low} targets chose the smallest and {high} the largest penalty of the grid, "
            f"{result.edge_fraction:.1%} of those fitted; the best may lie outside: widen alphas",
            AlphaEdgeWarning,
            stacklevel=4,
        )
    if result.n_dependent:
        warnings.warn(
            f"{name}{result.n_dependent} directions of the delayed features are linearly dependent to "
            "working precision (duplicated or constant columns?); the fit is the one of least norm",
            RankDeficientWarning,
            stacklevel=4,
        )

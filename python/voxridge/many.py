"""Many feature sets against the same responses, which are read once a pass for all of them together."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from voxridge._encoding_job import Job, make_job, paired_sources, warn_of, watch
from voxridge._many_groups import (
    FeatureSet,
    ManyPlan,
    describe,
    keep_groups,
    kept_groups,
    plan_group,
    plan_groups,
)
from voxridge._progress import Progress
from voxridge.encoding import EncodingRidge
from voxridge.solvers.checkpoint import read_fit
from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.fits import RidgeCVResult, fit_designs
from voxridge.solvers.memory import available_memory, resident_memory
from voxridge.solvers.method import Report
from voxridge.solvers.rows import check_delays
from voxridge.solvers.settings import Storage
from voxridge.solvers.weights import DualWeights
from voxridge.streams import Source, TargetScan, check_finite, fingerprint, scan_targets

__all__ = ["ManyPlan", "fit_many", "plan_many"]


def fit_many(
    models: Mapping[str, Any] | Sequence[Any],
    responses: Any,
    runs: Sequence[int] | None = None,
    *,
    model: EncodingRidge | None = None,
    sample_weight: Any = None,
) -> Any:
    """Fit an encoding model with each of several feature sets, all to the same responses.

    Every result equals, bit for bit, what :meth:`EncodingRidge.fit` gives for its features alone by the same
    route: for each feature set m and voxel, ``min_w ||y - b - sum_d X_md w_d||^2 + alpha ||w||^2`` with its
    own alpha. What is saved is reading: the factors of as many sets as fit in memory are held at once, and
    each tile of responses is scored and fitted by all of them while it is there. Sets that do not fit
    together are fitted in groups, a group after the other; :func:`plan_many` says which, and how often the
    responses are read.

    Parameters
    ----------
    models : mapping of name to features, or sequence of features
        Features (n_samples, n_features) in any form that EncodingRidge takes; widths may differ. Those in
        files are read whole only where a group's fit in a quarter of the memory that is left.
    responses : (n_samples, n_targets), likewise
    runs : run lengths, where single matrices are given
    model : EncodingRidge, optional
        Its parameters are used for every fit; it is not fitted itself. With ``weights`` a path, one file is
        written per model: the path must hold ``{name}``, as in ``"weights/{name}.h5"``. A ``checkpoint``
        folder holds one folder per group, and the groups are kept when the fit goes on.
    sample_weight : (n_samples,), optional

    Returns
    -------
    dict of name to fitted EncodingRidge, or a list of them where ``models`` is a sequence

    Raises
    ------
    ValueError, TypeError
        As :meth:`EncodingRidge.fit`; the message names the model. Also: no models, or a path of weights
        without ``{name}``.
    MemoryError
        If one set alone is too much for ``memory_limit``, or all results together are.

    Warns
    -----
    AlphaEdgeWarning, RankDeficientWarning, FallbackWarning
        As EncodingRidge, for each model by name. Where a route cannot be trusted with one set, the others go
        on, and that one is fitted by another route afterwards, with passes of its own.
    MaskedTargetsWarning
        Once.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import EncodingRidge, fit_many
    >>> rng = np.random.default_rng(0)
    >>> clear = rng.standard_normal((120, 30))
    >>> layers = {f"layer-{i}": clear + i * rng.standard_normal((120, 30)) for i in range(3)}
    >>> responses = clear @ rng.standard_normal((30, 8)) + 4 * rng.standard_normal((120, 8))
    >>> template = EncodingRidge(np.logspace(-3, 6, 10), delays=[0], scoring="r2", progress=False)
    >>> fitted = fit_many(layers, responses, runs=[40, 40, 40], model=template)
    >>> max(fitted, key=lambda name: fitted[name].best_cv_scores_.mean())
    'layer-0'
    """
    template = EncodingRidge() if model is None else model
    sets, y = _feature_sets(models, responses, runs, template)
    unchanged = watch(y, *(each.source for each in sets))
    for each in sets:
        check_finite(each.source, name=f"features of model {each.name!r}")
    scan = scan_targets(y)
    scan.require_valid("responses")
    job = _job(template, sets, y, scan=scan, sample_weight=sample_weight)
    with Progress(template.progress) as report:
        results = _Fits(template, sets, y, job, report, unchanged).run()
    fitted = {name: _model(template, scan, job, name, *results[name]) for name in (s.name for s in sets)}
    unmasked = dataclasses.replace(scan, valid=np.ones_like(scan.valid))  # is said once
    for number, each in enumerate(sets):
        warn_of(results[each.name][1], unmasked if number else scan, f"model {each.name!r}: ")
    return fitted if isinstance(models, Mapping) else list(fitted.values())


def plan_many(
    models: Mapping[str, Any] | Sequence[Any],
    responses: Any,
    runs: Sequence[int] | None = None,
    *,
    model: EncodingRidge | None = None,
    sample_weight: Any = None,
) -> ManyPlan:
    """How :func:`fit_many` would group the models, and how often it would read the responses.

    Only sizes are looked at. Errors are those of :func:`fit_many`.

    Parameters
    ----------
    models : mapping of name to features, or sequence of features
        (n_samples, n_features) each.
    responses : (n_samples, n_targets)
    runs : run lengths, where single matrices are given
    model : EncodingRidge, optional
        Its parameters are used for every fit.
    sample_weight : (n_samples,), optional

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge import plan_many
    >>> plan = plan_many([np.zeros((90, 5)), np.zeros((90, 8))], np.zeros((90, 4)), runs=[30, 30, 30])
    >>> len(plan.groups), plan.n_reads
    (1, 2)
    """
    template = EncodingRidge() if model is None else model
    sets, y = _feature_sets(models, responses, runs, template)
    return plan_groups(sets, _job(template, sets, y, sample_weight=sample_weight))


# --- what is given


def _feature_sets(
    models: Mapping[str, Any] | Sequence[Any],
    responses: Any,
    runs: Sequence[int] | None,
    template: EncodingRidge,
) -> tuple[list[FeatureSet], Source]:
    named = _named(models)
    y = responses
    for _ in range(2):  # what one of the models knows of the runs, the second round tells the others
        sources: dict[str, Source] = {}
        for name, features in named.items():
            with _naming(name):
                sources[name], y = paired_sources(features, y, runs)
    sets = []
    for name, source in sources.items():
        with _naming(name):
            delays = check_delays(template.delays, source.runs)
            sets.append(FeatureSet(name, source, np.result_type(y.dtype, source.dtype), delays))
    return sets, y


def _named(models: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(models, Mapping):
        named = {str(name): features for name, features in models.items()}
        if len(named) < len(models):
            raise ValueError(f"models has names that are the same as text: {list(models)}")
    elif isinstance(models, Sequence) and not isinstance(models, str | bytes):
        named = {str(number): features for number, features in enumerate(models)}
    else:
        raise TypeError(f"models is a {type(models).__name__}; give a mapping or a sequence of feature sets")
    if not named:
        raise ValueError("models is empty; give at least one feature set")
    return named


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors about features say of which model they are."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"model {name!r}: {error}") from error


def _job(
    template: EncodingRidge,
    sets: Sequence[FeatureSet],
    y: Source,
    *,
    scan: TargetScan | None = None,
    sample_weight: Any = None,
) -> Job:
    """What all fits have in common; the storage is each group's own."""
    shared = clone(template, safe=False).set_params(checkpoint=None)
    job = make_job(shared, [sets[0].source], y, scan=scan, sample_weight=sample_weight, read=False)
    weights = _weights_of(template, [s.name for s in sets])
    checkpoint = None if template.checkpoint is None else Path(template.checkpoint)
    return dataclasses.replace(job, designs=[], storage=Storage(weights, checkpoint, {}))


def _weights_of(template: EncodingRidge, names: Sequence[str]) -> Any:
    """Where weights go: a word, or one path per model."""
    if template.weights in ("memory", "none"):
        return template.weights
    pattern = os.fspath(template.weights)
    if "{name}" not in pattern:
        raise ValueError(
            f"weights={pattern!r}: fit_many writes one file per model; put {{name}} where the model's name "
            'goes, as in "weights/{name}.h5", or give "memory" or "none"'
        )
    bad = [name for name in names if set(name) & {"/", os.sep, "\0"} or name in ("", ".", "..")]
    if bad:
        raise ValueError(
            f"weights={pattern!r}: the names {bad} cannot be part of a file's name; rename these models"
        )
    return tuple(Path(pattern.replace("{name}", name)) for name in names)


# --- fitting


class _Fits:
    """Group after group, each in passes of its own; one that turns out too large is halved."""

    def __init__(
        self,
        template: EncodingRidge,
        sets: Sequence[FeatureSet],
        y: Source,
        job: Job,
        report: Report,
        unchanged: Callable[[], None],
    ) -> None:
        self.template, self.sets, self.y, self.job, self.report = template, list(sets), y, job, report
        self.unchanged = unchanged
        self.folder = job.storage.checkpoint

    def run(self) -> dict[str, tuple[Design, RidgeCVResult]]:
        """The design and the result of each model, by name."""
        kept = None
        if self.folder is not None:
            self.folder = Path(self.folder)
            self.folder.mkdir(exist_ok=True)
            kept = kept_groups(self.folder, self.sets)
            if (
                kept is not None and self.template.memory_limit is None
            ):  # what was begun may use the last byte
                limit = resident_memory() + available_memory()
                self.job = dataclasses.replace(
                    self.job, settings=dataclasses.replace(self.job.settings, memory_limit=limit)
                )
        todo = (
            [list(group.sets) for group in plan_groups(self.sets, self.job).groups] if kept is None else kept
        )
        done: list[list[FeatureSet]] = []
        found: dict[str, tuple[Design, RidgeCVResult]] = {}
        while todo:
            self._note(done + todo)
            _give_back()
            group = todo.pop(0)
            try:
                found |= self._fit(
                    group, f"{describe(group)}, group {len(done) + 1} of {len(done) + 1 + len(todo)}"
                )
            except MemoryError:
                if len(group) == 1:
                    raise
                half = -(-len(group) // 2)
                todo = [group[:half], group[half:], *todo]
                continue
            done.append(group)
        return found

    def _note(self, groups: list[list[FeatureSet]]) -> None:
        if isinstance(self.folder, Path):
            keep_groups(self.folder, groups)

    def _fit(self, sets: list[FeatureSet], title: str) -> dict[str, tuple[Design, RidgeCVResult]]:
        storage = self._storage(sets)
        begun = None if storage.checkpoint is None else read_fit(storage.checkpoint)
        if begun is None:
            whole = [plan_group(sets, self.job, resident_memory()).whole] * len(sets)
        else:
            whole = begun["identity"]["features_in_memory"]
        designs: list[Design] = [
            _in_memory(s) if read or s.source.in_memory else s.streamed
            for s, read in zip(sets, whole, strict=True)
        ]
        self.unchanged()  # from here on the fit sees to it
        results = fit_designs(
            designs,
            self.job.targets,
            self.job.settings,
            storage,
            lambda step, done: self.report(f"{title}: {step}", done),
            names=[s.name for s in sets],
        )
        found: dict[str, tuple[Design, RidgeCVResult]] = {}
        for s, result in zip(sets, results, strict=True):
            # The designs of this group go, or the features of all groups would end in memory.
            if isinstance(result.weights, DualWeights) and not s.source.in_memory:
                result.weights.train = s.streamed
            found[s.name] = s.streamed, _with_note(result, title)
        return found

    def _storage(self, sets: list[FeatureSet]) -> Storage:
        weights: Any = self.job.storage.weights
        if isinstance(weights, tuple):
            places = {s.name: path for s, path in zip(self.sets, weights, strict=True)}
            weights = tuple(places[s.name] for s in sets)
        if self.folder is None:
            return Storage(weights, None, {})
        position = [s.name for s in self.sets].index(sets[0].name)
        identity = {
            "models": [s.name for s in sets],
            "features": [fingerprint(s.source) for s in sets],
            "responses": fingerprint(self.y),
        }
        return Storage(weights, Path(self.folder) / f"group-{position:04d}-{len(sets)}", identity)


def _give_back() -> None:
    """Return what the last group has freed to the system, or it would count as held: the C library keeps
    matrices of up to 32 MiB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _in_memory(s: FeatureSet) -> DelayedDesign:
    return DelayedDesign(s.source.read().astype(s.dtype, copy=False), s.delays, s.source.runs)


def _with_note(result: RidgeCVResult, title: str) -> RidgeCVResult:
    """The plan says with what it was made."""
    result.plan = dataclasses.replace(result.plan, reason=f"{result.plan.reason}; {title}")
    return result


def _model(
    template: EncodingRidge, scan: TargetScan, job: Job, name: str, design: Design, result: RidgeCVResult
) -> EncodingRidge:
    fitted: EncodingRidge = clone(template, safe=False)
    if isinstance(job.storage.weights, tuple):
        fitted.set_params(weights=os.fspath(template.weights).replace("{name}", name))
    fitted._keep(design, result, scan, job)
    return fitted

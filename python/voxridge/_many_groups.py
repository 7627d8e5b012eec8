"""Which feature sets are fitted in the same passes over the responses, so that all fit in memory at once."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from voxridge._encoding_job import Job, worth_reading_whole
from voxridge.solvers.fits import plan_designs
from voxridge.solvers.memory import in_words, resident_memory
from voxridge.solvers.plan import Plan, time_in_words
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.streams import Source, atomic_path, check_unchanged, fingerprint

_WORTH_READING = 0.95  # finer groups read the responses more often, and must be faster than that
_GROUPS = "models.json"


class Sizes(NamedTuple):
    """A design in memory, as far as a plan looks at it."""

    n_samples: int
    n_columns: int
    dtype: np.dtype[Any]
    delays: tuple[int, ...]


@dataclass(frozen=True)
class FeatureSet:
    """Features with a name, and the precision they are fitted in."""

    name: str
    source: Source
    dtype: np.dtype[Any]
    delays: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return self.source.shape[0] * self.source.shape[1] * self.dtype.itemsize

    @property
    def sizes(self) -> Sizes:
        n, p = self.source.shape
        return Sizes(n, p * len(self.delays), self.dtype, self.delays)

    @functools.cached_property
    def streamed(self) -> StreamedDesign:
        """The design whose features stay where they are."""
        unchanged = None
        if not self.source.in_memory:
            unchanged = functools.partial(check_unchanged, self.source, fingerprint(self.source))
        return StreamedDesign(
            self.source, self.delays, self.source.runs, dtype=self.dtype, between_passes=unchanged
        )

    @property
    def is_copied(self) -> bool:
        """Whether features in memory must be put together or converted before they can be used. Two rows at a
        boundary of runs tell: where the runs are one matrix, they are a view of it."""
        last = self.source.runs[0]
        return bool(
            self.source.dtype != self.dtype or self.source.read(slice(last - 1, last + 1)).flags.writeable
        )


@dataclass(frozen=True)
class Group:
    """Feature sets that share their passes over the responses, each with its plan. ``whole``: those in files
    are read into memory."""

    sets: tuple[FeatureSet, ...]
    plans: tuple[Plan, ...]
    whole: bool

    @property
    def seconds(self) -> float:
        """Expected time of the group. Each plan counts the others as more of its own size."""
        return sum(plan.seconds for plan in self.plans) / len(self.plans)


@dataclass(frozen=True)
class ManyPlan:
    """What :func:`~voxridge.many.fit_many` does: ``groups`` of feature sets, each with passes of its own.

    ``n_reads`` is how often the responses are read from beginning to end, the look for targets that cannot be
    fitted included; ``seconds`` the expected time, ``peak_bytes`` the memory that the process reaches.
    ``print(plan)`` shows it.
    """

    groups: tuple[Group, ...]
    n_reads: int
    seconds: float
    peak_bytes: int

    @property
    def plans(self) -> dict[str, Plan]:
        """The plan of each feature set, by name."""
        return {
            s.name: plan for group in self.groups for s, plan in zip(group.sets, group.plans, strict=True)
        }

    def __str__(self) -> str:
        n_models = sum(len(group.sets) for group in self.groups)
        head = (
            f"{n_models} models in {len(self.groups)} groups; the responses are read {self.n_reads} times; "
            f"{time_in_words(self.seconds)}, {in_words(self.peak_bytes)} of the whole process"
        )
        rows = []
        for group in self.groups:
            routes = ", ".join(sorted({plan.route for plan in group.plans}))
            where = "" if group.whole else ", features read in chunks"
            tile = f"tiles of {group.plans[0].n_targets_batch:,} targets"
            time = time_in_words(group.seconds)
            rows.append(f"  {describe(group.sets)}: {routes}, {tile}{where}, {time}")
        return "\n".join([head, *rows])


def describe(sets: Sequence[FeatureSet]) -> str:
    """The names of a few, or the first and the last of many."""
    names = [repr(s.name) for s in sets]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]} ({len(names)} models)"


def plan_groups(sets: Sequence[FeatureSet], job: Job) -> ManyPlan:
    """All together, in halves, in quarters, ... each alone: the first that fits, and finer ones as long as
    those are expected to be faster. Groups hold one precision.

    Raises
    ------
    MemoryError
        If even one at a time is too much; the message names the model.
    """
    best: ManyPlan | None = None
    size, error = 2 * len(sets), None
    while size > 1:
        size = -(-size // 2)
        try:
            plan = _cut(sets, size, job)
        except MemoryError as too_much:
            error = too_much
            continue
        if best is not None and plan.seconds > _WORTH_READING * best.seconds:
            break
        best = plan
    if best is None:
        assert error is not None
        raise error
    return best


def _cut(sets: Sequence[FeatureSet], size: int, job: Job) -> ManyPlan:
    held = resident_memory()
    groups: list[Group] = []
    peak = 0
    for chunk in chunks(sets, size):
        group = plan_group(chunk, job, held)
        groups.append(group)
        peak = max(peak, max(plan.peak_bytes for plan in group.plans))
        held += sum(_kept(s, plan, job) for s, plan in zip(group.sets, group.plans, strict=True))
    n_reads = 1 + sum(_reads(group, job) for group in groups)
    return ManyPlan(tuple(groups), n_reads, sum(group.seconds for group in groups), peak)


def chunks(sets: Sequence[FeatureSet], size: int) -> list[list[FeatureSet]]:
    """Groups of at most ``size`` and about as large, in order, those of one precision together: a tile of
    responses is in one precision."""
    found = []
    for dtype in sorted({s.dtype for s in sets}, key=lambda dtype: dtype.itemsize):
        alike = [s for s in sets if s.dtype == dtype]
        edges = np.linspace(0, len(alike), -(-len(alike) // size) + 1).astype(int).tolist()
        found += [alike[a:b] for a, b in itertools.pairwise(edges)]
    return found


def plan_group(sets: Sequence[FeatureSet], job: Job, held: int) -> Group:
    """One group, in a process that holds ``held`` bytes before."""
    limit = job.settings.memory_limit
    assert limit is not None
    in_files = sum(s.n_bytes for s in sets if not s.source.in_memory)
    whole = worth_reading_whole(in_files, limit, held)
    held += sum(s.n_bytes for s in sets if s.source.in_memory and s.is_copied) + whole * in_files
    designs = [s.sizes if whole or s.source.in_memory else s.streamed for s in sets]
    try:
        plans = plan_designs(designs, job.targets, job.settings, job.storage, resident=held)
    except MemoryError as error:
        raise MemoryError(
            f"{describe(sets)}: {error}. The results of the models before it count too: "
            'weights="none" or a path keep memory free'
        ) from error
    return Group(tuple(sets), tuple(plans), whole)


def _kept(s: FeatureSet, plan: Plan, job: Job) -> int:
    """What a fitted model holds: scores, weights, and the features that dual weights belong to."""
    n_targets = job.targets.n_targets
    kept = (job.settings.alphas.size + 6) * 8 * n_targets
    if job.storage.kind == "memory":
        rows = s.sizes.n_samples if plan.side == "dual" else s.sizes.n_columns
        kept += rows * n_targets * s.dtype.itemsize
    return kept + (s.n_bytes if plan.side == "dual" and s.source.in_memory else 0)


def _reads(group: Group, job: Job) -> int:
    """Passes over the responses; a penalty shared by targets is followed by one more for every model."""
    settings = job.settings
    passes = [
        -(-len(settings.folds) // plan.folds_per_pass)
        if plan.method == "spectral"
        else -(-settings.alphas.size // plan.alphas_per_pass)
        for plan in group.plans
    ]
    refits = len(group.plans) if settings.groups is not None and job.storage.kind != "none" else 0
    return max(passes) + refits


# --- groups of a fit that goes on from a checkpoint


def kept_groups(folder: Path, sets: Sequence[FeatureSet]) -> list[list[FeatureSet]] | None:
    """The groups that an earlier run began with.

    Raises
    ------
    ValueError
        If the folder is of other models, or holds something else.
    """
    place = folder / _GROUPS
    if not place.exists():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ValueError(
                f"checkpoint={str(folder)!r} holds files but no {_GROUPS}; give an empty or a new folder"
            )
        return None
    try:
        groups: list[list[str]] = json.loads(place.read_text())["groups"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place} is damaged ({error}); delete the folder to begin anew") from error
    by_name = {s.name: s for s in sets}
    if sorted(name for group in groups for name in group) != sorted(by_name):
        raise ValueError(
            f"checkpoint={str(folder)!r} is of other models: {groups}, not {sorted(by_name)}; "
            "delete the folder, or give another"
        )
    return [[by_name[name] for name in group] for group in groups]


def keep_groups(folder: Path, groups: Sequence[Sequence[FeatureSet]]) -> None:
    """Note the groups, for a run that goes on."""
    with atomic_path(folder / _GROUPS) as temporary:
        names = [[s.name for s in group] for group in groups]
        Path(temporary).write_text(json.dumps({"groups": names}, indent=1))

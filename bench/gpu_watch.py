"""What a fit on a device does while it runs: the time of its steps, and the most memory of the device
that is in use."""

from __future__ import annotations

import importlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from bench.gpu_results import Row
from bench.roofline import irreducible

_INTERVAL = 0.05  # seconds between looks at the device's memory
_SHORT = 12.0  # seconds of a fit that is repeated


class Steps:
    """Takes the place of ``voxridge.encoding.Progress``; the time since the last call belongs to the step
    that was begun then.

    What passes before the first call, and after a step that is done, is "checks and plans" or "between
    steps"."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since, self._step = time.perf_counter(), "checks and plans"

    def __call__(self, step: str, done: float) -> None:
        self._add()
        self._step = step if done < 1 else "between steps"

    def _add(self) -> None:
        now = time.perf_counter()
        self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._since
        self._since = now

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: Any) -> None:
        self._add()
        self._step = "results"

    def close(self) -> dict[str, float]:
        """Seconds by step, of all up to now."""
        self._add()
        return {name: round(seconds, 4) for name, seconds in self.seconds.items()}


@contextmanager
def steps_of_fits() -> Iterator[Steps]:
    """The steps of the fit of an EncodingRidge in this block."""
    encoding: Any = importlib.import_module("voxridge.encoding")
    recorder, before = Steps(), encoding.Progress
    encoding.Progress = lambda show: recorder
    try:
        yield recorder
    finally:
        encoding.Progress = before


class Memory:
    """The most bytes of the device in use at once in this block, beyond those in use when it began."""

    def __init__(self, ops: ModuleType, device: int = 0) -> None:
        self._ops, self._device = ops, device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def _free(self) -> int:
        return int(self._ops.devices()[self._device]["free_bytes"])

    def __enter__(self) -> Memory:
        self._before = self._least = self._free
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._least = min(self._least, self._free)
            if self._done.wait(_INTERVAL):
                return

    @property
    def peak(self) -> int:
        return self._before - self._least


def timed_fits(make: Callable[[], Any], ops: ModuleType, *fit: Any, **more: Any) -> tuple[Row, Any]:
    """(row, model): ``make().fit(...)`` under the clock, three times where it is short, one after the
    other.

    "seconds" is the least of "all_seconds"; steps and memory are those of the last."""
    all_seconds: list[float] = []
    model: Any = None
    with warnings.catch_warnings(), Memory(ops) as memory:
        warnings.simplefilter("ignore")  # pure noise chooses penalties at the edge of the grid
        while not all_seconds or (len(all_seconds) < 3 and all_seconds[0] < _SHORT):
            model = None  # what the last one holds is given back first
            model = make()
            with steps_of_fits() as steps:
                begin = time.perf_counter()
                model.fit(*fit, **more)
                all_seconds.append(time.perf_counter() - begin)
                by_step = steps.close()
    plan = model.plan_
    if plan.device == "cpu":
        raise RuntimeError(f"the fit fell back to the processor, by the route {plan.route}")
    row: Row = {
        "seconds": min(all_seconds),
        "all_seconds": [round(seconds, 4) for seconds in all_seconds],
        "steps": by_step,
        "route": plan.route,
        "precision": plan.precision,
        "targets_in_a_tile": plan.n_targets_batch,
        "penalties_in_a_pass": plan.alphas_per_pass,
        "planned_seconds": plan.seconds,
        "planned_steps": {name: round(seconds, 4) for name, _, seconds in plan.summary()},
        "device_bytes": memory.peak,
        "planned_device_bytes": plan.device_bytes,
        "flops_by_kind": irreducible(plan.steps)["kinds"],
    }
    return row, model

"""Progress with time left, one bar a step, on the terminal's error stream."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """A callable ``(step, fraction done)``; steps shorter than a second never show.

    Examples
    --------
    >>> with Progress(show=False) as report:
    ...     report("decomposing folds", 0.5)
    """

    def __init__(self, show: bool) -> None:
        self._show = show
        self._step: str | None = None
        self._bar: Any = None

    def __call__(self, step: str, done: float) -> None:
        if not self._show:
            return
        if step != self._step:
            self._close()
            from tqdm.auto import tqdm

            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} done, {remaining} left"
            self._bar = tqdm(total=1.0, desc=step, delay=1.0, leave=False, bar_format=layout)
            self._step = step
        self._bar.update(max(0.0, min(1.0, done) - self._bar.n))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._step = None, None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

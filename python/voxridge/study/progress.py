"""One display for all fits of a study: how many are done, which one runs, and the time left."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


class FitProgress:
    """A bar on standard error over fits, one fold of one model each.

    What is found kept from an earlier run is taken off the total, or the time left would be far too short.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        from tqdm import tqdm

        self.where = ""
        self._bar: Any = tqdm(total=total, desc="fits", unit="fit", disable=not shown)

    def __enter__(self) -> FitProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, what: str) -> None:
        """Say which model is fitted now."""
        self._bar.set_postfix_str(" · ".join(part for part in (self.where, what) if part))

    def step(self) -> None:
        """A fit is done."""
        self._bar.update()

    def skip(self, fits: int) -> None:
        """So many fits were kept from an earlier run."""
        self._bar.total -= fits
        self._bar.refresh()


def fit_progress(progress: bool | FitProgress, total: int) -> AbstractContextManager[FitProgress]:
    """A display of its own for so many fits, or the one that is shown already."""
    return FitProgress(total, shown=progress) if isinstance(progress, bool) else nullcontext(progress)

"""One progress bar over all runs that are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RunProgress:
    """One bar over all runs; the length of a run that is made when its turn comes is guessed until then."""

    def __init__(self, readers: Mapping[str, Any], label: str, unit: str, shown: bool) -> None:
        from tqdm import tqdm

        self._known = {run: int(r.n_rows) for run, r in readers.items() if hasattr(r, "blocks")}
        self._n_runs = len(readers)
        self._bar = tqdm(total=self._total(), desc=label or None, unit=unit, disable=not shown)

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def begin(self, run: str, n_rows: int) -> None:
        """Say which run is being read."""
        self._know(run, n_rows)
        self._bar.set_postfix_str(run)

    def finished(self, run: str, n_rows: int) -> None:
        """A run that was there before."""
        self._know(run, n_rows)
        self.advance(n_rows, already=True)

    def advance(self, n_rows: int, *, already: bool = False) -> None:
        """Count rows; those of an earlier call say nothing about the speed of this one."""
        if already and not self._bar.disable:
            self._bar.initial += n_rows
        self._bar.update(n_rows)

    def _know(self, run: str, n_rows: int) -> None:
        self._known[run] = n_rows
        self._bar.total = self._total()

    def _total(self) -> int | None:
        if not self._known:
            return None
        return round(sum(self._known.values()) * self._n_runs / len(self._known))

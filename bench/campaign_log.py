"""What a campaign has measured so far, in a folder: a line of JSON for every fit, and what each competitor
found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.tables import Row


class Log:
    """Fits by shape, round and competitor; a line that was cut short by the end of a process is forgotten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        if self._lines.exists():
            for line in self._lines.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if not row["status"].startswith("failed"):
                    self.rows.append(row)
            self._rewrite()

    @property
    def _lines(self) -> Path:
        return self.folder / "fits.jsonl"

    def find(self, shape: str, number: int, competitor: str) -> Row | None:
        place = shape, number, competitor
        for row in self.rows:
            if (row["shape"], row["round"], row["competitor"]) == place:
                return row
        return None

    def seconds(self, shape: str, competitor: str | None) -> float | None:
        """The longest fit at full size that came to an end."""
        times = [
            float(row["seconds"])
            for row in self.rows
            if (row["shape"], row["competitor"], row["status"]) == (shape, competitor, "ok")
            and row["round"] >= 0
        ]
        return max(times, default=None)

    def add(self, row: Row, outcome: Mapping[str, Any]) -> None:
        """Written through to the disk: first what was found, then the line that says so."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if outcome:
            self.save(f"{row['shape']}-{row['competitor']}", outcome)
        self.rows.append(row)
        with self._lines.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def save(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Arrays under a name, in the place of earlier ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.npz"
        np.savez(temporary, **arrays)
        os.replace(temporary, self.folder / f"{name}.npz")

    def load(self, name: str) -> dict[str, Any]:
        """What :meth:`save` kept; empty where there is nothing."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return {}
        with np.load(path) as arrays:
            return dict(arrays)

    def drop(self, unwanted: Callable[[Row], bool]) -> None:
        """Forget the fits for which ``unwanted`` holds."""
        self.rows = [row for row in self.rows if not unwanted(row)]
        if self._lines.exists():
            self._rewrite()

    def _rewrite(self) -> None:
        temporary = self._lines.with_suffix(".new")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(temporary, self._lines)

"""Natural order: numbers inside names count as numbers."""

from __future__ import annotations

import re


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which numbers inside names count as numbers.

    Parameters
    ----------
    name : str
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part)) if place % 2 else (1, part) for place, part in enumerate(parts) if part]

"""How much memory there is, how much this process holds, and amounts of memory in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

_SHARE = 0.8  # of the free memory, where no limit is given
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def parse_memory(limit: Any) -> int | None:
    """Bytes from a number or text such as "8GB" or "512MiB"; None is no limit.

    Raises
    ------
    ValueError
        If the text is not a positive amount of memory.

    Examples
    --------
    >>> parse_memory("2 GiB"), parse_memory(1e9)
    (2147483648, 1000000000)
    """
    if limit is None:
        return None
    text = str(limit).strip().upper().replace(" ", "")
    number = text.rstrip("KMGTIB")
    try:
        amount = float(number) * _UNITS[text[len(number) :]]
    except (KeyError, ValueError):
        raise ValueError(
            f'memory_limit={limit!r} is not an amount of memory; give bytes or text such as "8GB"'
        ) from None
    if not np.isfinite(amount) or amount <= 0:
        raise ValueError(f"memory_limit={limit!r} must be positive")
    return int(amount)


def default_limit() -> int:
    """Bytes that the whole process may reach where the user sets no limit: what it holds now and 80 % of what
    is free."""
    return resident_memory() + int(_SHARE * available_memory())


def available_memory() -> int:
    """Bytes this process may still take: free memory, or what is left of a container's limit where that is
    less."""
    free = _kibibytes("/proc/meminfo", "MemAvailable")
    if free is None:
        return 8 * 2**30  # not Linux: assume a small machine rather than none
    for limit, used in _CGROUPS:
        try:
            free = min(free, max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such controller, or "max": no limit
            continue
    return free


def resident_memory() -> int:
    """Bytes of this process that are in memory now (RSS); where the system does not say, the most that ever
    were."""
    resident = _kibibytes("/proc/self/status", "VmRSS")
    return peak_memory() if resident is None else resident


def peak_memory() -> int:
    """The most bytes of this process that were ever in memory together; 0 where the system does not say."""
    peak = _kibibytes("/proc/self/status", "VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def in_words(n_bytes: float) -> str:
    """``n_bytes`` in MiB, or in GiB from 8 GiB on."""
    return f"{n_bytes / 2**20:,.0f} MiB" if n_bytes < 2**33 else f"{n_bytes / 2**30:,.1f} GiB"


def _kibibytes(path: str, field: str) -> int | None:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None

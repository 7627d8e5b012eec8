"""Resident memory of this process, from Linux's own books."""

from __future__ import annotations

from pathlib import Path

_MIB = 1024.0  # /proc/self/status counts in KiB


def resident_mib() -> float:
    """What is resident now (VmRSS)."""
    return _status("VmRSS")


def peak_mib() -> float:
    """The most that was ever resident since the process began or :func:`reset_peak` (VmHWM)."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Let the peak start again from what is resident now; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / _MIB
    raise RuntimeError(f"/proc/self/status has no {field}; peak memory can be measured on Linux only")

"""The only place that chooses a device."""

from __future__ import annotations

from typing import Literal

Device = Literal["cpu"]


def resolve_device(device: str) -> Device:
    """The device that ``device`` ("auto", "cpu" or "cuda") stands for on this machine.

    Raises
    ------
    ValueError
        If the name is not known.
    RuntimeError
        If ``device="cuda"``: this build holds the CPU ops only.
    """
    if device in ("auto", "cpu"):
        return "cpu"
    if device == "cuda":
        raise RuntimeError(
            'device="cuda": this build of voxridge has no CUDA module (voxridge._cuda); '
            'use device="auto" or "cpu"'
        )
    raise ValueError(f'device={device!r} is not known; use "auto", "cpu" or "cuda"')

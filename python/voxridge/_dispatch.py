"""The only place that chooses a device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True)
class CudaDevice:
    """A device that fits may run on: the ops, its number, and what its driver says of it.

    Attributes
    ----------
    ops : module
        ``voxridge._cuda``.
    number : int
    facts : dict
        An entry of ``ops.devices()``.
    """

    ops: ModuleType
    number: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as "cuda:0"."""
        return f"cuda:{self.number}"


def load_cuda() -> ModuleType:
    """``voxridge._cuda``.

    Raises
    ------
    ImportError
        Saying what is missing: the module, or a library of CUDA.
    """
    from voxridge import _cuda_libraries

    return _cuda_libraries.load()


def find_device(device: str) -> CudaDevice | None:
    """The device that "auto", "cpu", "cuda" or "cuda:1" stands for on this machine; None is the processor.

    Parameters
    ----------
    device : str
        "auto" takes the first CUDA device, if there is one that can be used.

    Raises
    ------
    ValueError
        If the name is not known.
    RuntimeError
        If a CUDA device is asked for that cannot be had; the message says what is missing.
    """
    named = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if named is None and device not in ("auto", "cpu"):
        raise ValueError(f'device={device!r} is not known; use "auto", "cpu", "cuda" or "cuda:1"')
    if device == "cpu":
        return None
    try:
        found = _device(int((named and named[1]) or 0))
    except (RuntimeError, MemoryError) as error:  # no memory is left for so much as a queue
        if named is None:
            return None
        raise RuntimeError(f'device={device!r}: {error}; use device="auto" or "cpu"') from error
    return found


def _device(number: int) -> CudaDevice:
    try:
        ops = load_cuda()
    except ImportError as error:
        raise RuntimeError(str(error)) from error
    missing = ops.missing()
    if missing:
        raise RuntimeError(missing)
    facts = ops.devices()
    if number >= len(facts):
        raise RuntimeError(f"there are {len(facts)} CUDA devices, and they are counted from 0")
    ops.Queue(number)  # what is free on a device is known once it is used
    return CudaDevice(ops, number, ops.devices()[number])


def check_precision(precision: str) -> str:
    """``precision``, if it is known.

    Raises
    ------
    ValueError
        If it is not.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision={precision!r} is not known; use "float32", "tf32" or "bf16"')
    return precision

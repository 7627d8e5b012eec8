"""The spectral route on a device."""

from __future__ import annotations

from typing import Any


class DeviceSpectral:
    """See :class:`~voxridge.solvers.method.Method`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError

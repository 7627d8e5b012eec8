"""The device that the tests of this folder run on, besides the emulator."""

from __future__ import annotations

from types import ModuleType


def test_the_device_is_there(real: ModuleType) -> None:
    """Skips, or fails with --require-cuda, in the place of all tests that a GPU would run."""
    assert real.build_info()["emulated"] == "no"
    assert real.devices()

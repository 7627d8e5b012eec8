"""The CUDA module twice: its sources run on the processor by csrc/emulated/, and the real one on a GPU."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def emulated_file() -> Path | None:
    """The emulated module: the one that is named, else the one in build/emulated."""
    if named := os.environ.get("VOXRIDGE_EMULATED_MODULE"):
        return Path(named)
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    files = [CHECKOUT / "build" / "emulated" / f"_cuda{suffix}" for suffix in suffixes]
    return next((file for file in files if file.is_file()), None)


@cache
def load_emulated() -> ModuleType | None:
    file = emulated_file()
    if file is None:
        return None
    loader = importlib.machinery.ExtensionFileLoader("voxridge._cuda", str(file))
    spec = importlib.util.spec_from_loader("voxridge._cuda", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert module.build_info()["emulated"] == "yes", f"{file} is not the emulated module"
    return module


def emulated(config: pytest.Config) -> ModuleType:
    module = load_emulated()
    if module is None:
        text = "the emulated CUDA module is not built; `make test` builds it in build/emulated"
        if config.getoption("--require-emulator"):
            pytest.fail(text)
        pytest.skip(text)
    return module


def device(config: pytest.Config) -> ModuleType:
    module = load_device()
    if isinstance(module, str):
        if config.getoption("--require-cuda"):
            pytest.fail(module)
        pytest.skip(module)
    return module


@cache
def load_device() -> ModuleType | str:
    """The module, or why there is none that runs."""
    from voxridge._cuda_libraries import load

    try:
        module = load()
    except ImportError as error:
        return f"NO GPU: {error}"
    missing = module.missing()
    return f"NO GPU: {missing}" if missing else module


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of ``cuda`` on the emulator, and on the device where there is one or must be. Elsewhere one
    test skips for all of them: see test_device.py."""
    if "cuda" in metafunc.fixturenames:
        there = metafunc.config.getoption("--require-cuda") or not isinstance(load_device(), str)
        metafunc.parametrize("cuda", ["emulated", "device"] if there else ["emulated"], indirect=True)


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> ModuleType:
    return emulated(request.config) if request.param == "emulated" else device(request.config)


@pytest.fixture
def real(request: pytest.FixtureRequest) -> ModuleType:
    """The module on a GPU."""
    return device(request.config)


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> ModuleType:
    """For tests of the emulator itself."""
    return emulated(request.config)


@pytest.fixture(params=["lazy", "eager"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When the emulator runs what is queued: as late or as early as it may. Either must do."""
    if request.param == "eager":
        monkeypatch.setenv("VOXRIDGE_EMULATED_EAGER", "1")
    else:
        monkeypatch.delenv("VOXRIDGE_EMULATED_EAGER", raising=False)
    return str(request.param)


@pytest.fixture
def queue(cuda: ModuleType) -> Iterator[Any]:
    """A queue of the first device; what failed in it fails the test."""
    made = cuda.Queue()
    yield made
    made.synchronize()


@pytest.fixture
def to_device(cuda: ModuleType, queue: Any) -> Callable[..., Any]:
    """``to_device(x)``: a copy on the device; with ``pad``, in rows that are so much longer."""

    def upload(x: np.ndarray, pad: int = 0) -> Any:
        shape = x.shape if x.ndim == 1 else (x.shape[0], x.shape[1] + pad)
        whole = cuda.empty(shape, x.dtype)
        view = whole if x.ndim == 1 else whole[:, : x.shape[1]]
        cuda.upload(x, view, queue)
        return view

    return upload


@pytest.fixture
def to_host(cuda: ModuleType, queue: Any) -> Callable[[Any], np.ndarray]:
    """``to_host(a)``: a numpy copy of an array of the device."""

    def download(a: Any) -> np.ndarray:
        out = np.empty(a.shape, a.dtype)
        cuda.download(a, out, queue)
        queue.synchronize()
        return out

    return download


@pytest.fixture
def on_cuda(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Fits with ``device="cuda"`` run on this module."""
    monkeypatch.setattr("voxridge._dispatch.load_cuda", lambda: cuda)
    return cuda


class Arrays:
    """Arrays on a device that know what is in them: every one lies inside a larger one, whose margins no op
    may touch."""

    MARGIN = 7

    def __init__(self, cuda: ModuleType, queue: Any) -> None:
        self._cuda, self._queue = cuda, queue
        self._held: list[tuple[Any, Any, np.ndarray]] = []

    def put(self, x: np.ndarray | None, pad: int = 0) -> Any:
        """``x`` on the device, None for None; with ``pad``, in rows with so many elements on either side."""
        if x is None:
            return None
        margins = [(8, 8)] if x.ndim == 1 else [(1, 1), (pad, pad)]
        held = np.pad(x, margins, constant_values=self.MARGIN)
        whole = self._cuda.empty(held.shape, held.dtype)
        self._cuda.upload(held, whole, self._queue)
        inside = tuple(
            slice(before, before + size) for (before, _), size in zip(margins, x.shape, strict=True)
        )
        view = whole[inside if x.ndim == 2 else inside[0]]
        self._held.append((whole, view, held))
        return view

    def get(self, a: Any) -> np.ndarray:
        """A numpy copy."""
        out = np.empty(a.shape, a.dtype)
        self._cuda.download(a, out, self._queue)
        self._queue.synchronize()
        return out

    def call(self, op: Callable[..., Any], *arguments: Any, writes: list[Any], **more: Any) -> Any:
        """Calls ``op`` and requires that it changed nothing but the arrays it ``writes``."""
        result = op(*arguments, **more, queue=self._queue)
        for place, (whole, view, held) in enumerate(self._held):
            found = self.get(whole)
            if any(view is written for written in writes):
                inside = (slice(8, -8),) if found.ndim == 1 else self._inside(found, view)
                held = held.copy()
                held[inside] = found[inside]
                self._held[place] = (whole, view, held)
            np.testing.assert_array_equal(found, held)
        return result

    @staticmethod
    def _inside(found: np.ndarray, view: Any) -> tuple[slice, slice]:
        pad = (found.shape[1] - view.shape[1]) // 2
        return slice(1, -1), slice(pad, pad + view.shape[1])


@pytest.fixture
def arrays(cuda: ModuleType, queue: Any) -> Arrays:
    return Arrays(cuda, queue)

"""What every test may use: data types, memory orders, and the files that not every machine has."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

ALICE = Path(__file__).resolve().parents[2] / "shared" / "data" / "alice"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-cuda", action="store_true", help="fail where a test would skip for want of a GPU"
    )
    parser.addoption(
        "--require-emulator",
        action="store_true",
        help="fail where a test would skip because the emulated CUDA module is not built",
    )
    parser.addoption(
        "--require-data",
        action="store_true",
        help="fail where a test would skip for want of data or model weights",
    )


def pytest_report_header() -> list[str]:
    alice = str(ALICE) if ALICE.is_dir() else "NOT FOUND: the tests on real fMRI are skipped"
    return [f"Alice data: {alice}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    if (
        report.skipped
        and item.config.getoption("--require-data")
        and {"alice", "lm"} & {mark.name for mark in item.iter_markers()}
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and --require-data is given"
    return report


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture(params=["primal", "dual"])
def route(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def alice() -> Path:
    if not ALICE.is_dir():
        pytest.skip("the Alice data are not beside the checkout (../shared/data/alice)")
    return ALICE


@pytest.fixture(autouse=True, scope="module")
def _little_to_look_through() -> None:
    """``gc.collect`` in the code under test looks at what its module made, and not at all that was imported:
    that takes a third of a second, thousands of times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a model hub for anything."""
    if "HF_HUB_OFFLINE" not in os.environ:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

"""Rates of machines: measured once, never absurd, and what steps take at them."""

from __future__ import annotations

import dataclasses
import time

import pytest

from voxridge import _cpu
from voxridge.solvers.rates import MACHINES, Machine, Rates, Step, assumed, h200, many_cores, measured


def test_this_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    for name in ("gemm", "syrk", "cholesky", "eigh", "reduce_scores", "column_moments"):
        monkeypatch.setattr(_cpu, name, never)
    assert measured() is first
    assert measured.cache_info().misses == 1


def test_measuring_takes_less_than_a_second_of_a_processor() -> None:
    measured.cache_clear()
    begin = time.thread_time()
    measured()
    assert time.thread_time() - begin < 1.0


def test_measured_rates_are_those_of_some_computer() -> None:
    rates = measured().rates
    usual = assumed().rates
    for field in dataclasses.fields(Rates):
        value = getattr(rates, field.name)
        assert 0.02 < value / getattr(usual, field.name) < 50, field.name
    assert 1.2 < rates.gemm4 / rates.gemm8 < 4
    assert rates.syrk8 < 2 * rates.gemm8


def test_assumed_rates_go_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "1")
    one = assumed()
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "4")
    four = assumed()
    assert four.rates.gemm8 == 4 * one.rates.gemm8
    assert four.rates.file == one.rates.file
    assert "1 thread)" in str(one)
    assert "4 threads)" in str(four)


RATES = Rates(
    gemm4=4e9, gemm8=2e9, syrk8=2e9, potrf=1e9, potri=1e9, eigh=1e9, filters=1e9, moments=5e9, memory=1e10
)


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (Step("", 4e9, 0, "gemm4"), 1.0),
        (Step("", 4e9, 0, "gemm8"), 2.0),
        (Step("", 4e9, 0, "gemm8", bytes=1e10), 3.0),
        (Step("", 0, 0, "memory", bytes=2e10), 2.0),
        (Step("", 0, 0, "moments", bytes=2e10), 4.0),
        (Step("", 0, 0, "file", bytes=2e9), 2.0),
        (Step("", 0, 0, "pages", bytes=4e9), 1.0),
        (Step("", 1e6, 0, "calls"), 5.0),
        (Step("", 3e9, 0, "filters"), 3.0),
    ],
)
def test_time_is_work_over_rate(step: Step, seconds: float) -> None:
    assert RATES.seconds(step) == pytest.approx(seconds, rel=1e-6)
    assert RATES.timed([step])[0] == step._replace(seconds=RATES.seconds(step))


@pytest.mark.parametrize("kind", ["gemm4", "gemm8", "syrk8", "potrf", "potri", "eigh"])
def test_small_orders_are_slow(kind: str) -> None:
    times = [RATES.seconds(Step("", 1e9, 0, kind, size)) for size in (10, 100, 1000)]
    assert times[0] > times[1] > times[2] > 0.2


def test_eigendecompositions_beyond_the_cache_wait_for_memory() -> None:
    """Per n^3: twice the order has the same products, and more to read from memory."""
    inside, outside = (RATES.seconds(Step("", 9.0 * n**3, 0, "eigh", n)) / n**3 for n in (2000, 4000))
    assert outside > inside - 9 / RATES.eigh * 0.2


def test_other_machines() -> None:
    here = Machine("here", RATES, "made up")
    server, gpu = many_cores(64, here), h200()
    assert server.rates.gemm8 > 10 * RATES.gemm8
    assert gpu.rates.gemm8 == pytest.approx(0.7 * 60e12, rel=0.01)
    assert gpu.rates.file == pytest.approx(35e9)
    assert gpu.eigh_order > server.eigh_order == 32_766
    assert gpu.memory_bytes == 141 * 10**9
    assert set(MACHINES) == {"here", "32-cores", "h200"}
    assert all(MACHINES[name]().name for name in MACHINES)

"""Jobs side by side: their order, who is left over, on how many cores, and what happens to exceptions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from voxridge._threads import left_over, n_threads, one_blas_thread, side_by_side


def blas_threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}


def threads_seen(n_jobs: int, at_once: int) -> list[int]:
    """What :func:`n_threads` says in each of the jobs."""
    return list(side_by_side([n_threads] * n_jobs, at_once))


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> int:
    """The usual number of threads, whatever the machine has."""
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "5")
    return 5


# --- who is left over


@given(n_jobs=st.integers(0, 10_000), at_once=st.integers(2, 300))
def test_few_are_left_over_and_the_others_fill_the_cores(n_jobs: int, at_once: int) -> None:
    rest = left_over(n_jobs, at_once)
    together = n_jobs - rest
    assert together >= 0
    assert 0 <= rest <= at_once**0.5
    if rest:
        assert together % at_once == 0  # nobody waits for the last round
    else:
        assert n_jobs % at_once == 0 or (n_jobs % at_once) ** 2 > at_once


@given(n_jobs=st.integers(0, 1000), at_once=st.integers(-1, 1))
def test_one_at_a_time_leaves_all_over(n_jobs: int, at_once: int) -> None:
    assert left_over(n_jobs, at_once) == n_jobs


@pytest.mark.parametrize(
    ("n_jobs", "at_once", "expected"),
    [(5, 2, 1), (4, 2, 0), (1, 2, 1), (1, 16, 1), (20, 16, 4), (21, 16, 0), (15, 16, 0), (0, 4, 0)],
)
def test_left_over_in_numbers(n_jobs: int, at_once: int, expected: int) -> None:
    assert left_over(n_jobs, at_once) == expected


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n_jobs", [0, 1, 2, 3, 5, 8, 9])
def test_as_many_jobs_run_on_all_cores_as_are_left_over(n_jobs: int, at_once: int, five: int) -> None:
    rest = left_over(n_jobs, at_once)
    assert threads_seen(n_jobs, at_once) == [1] * (n_jobs - rest) + [five] * rest


# --- results


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_results_come_in_the_order_of_the_jobs(at_once: int) -> None:
    """However long each takes."""

    def job(number: int) -> int:
        time.sleep(0.004 if number % 3 == 0 else 0.0)
        return number

    assert list(side_by_side([partial(job, number) for number in range(19)], at_once)) == list(range(19))


def test_as_many_at_once_as_asked_for() -> None:
    """They all wait for each other: with fewer at once, the barrier breaks."""
    barrier = threading.Barrier(3)
    list(side_by_side([partial(barrier.wait, 20)] * 6, 3))
    assert not barrier.broken


def test_no_more_at_once_than_asked_for() -> None:
    running, most, lock = [0], [0], threading.Lock()

    def job() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    list(side_by_side([job] * 12, 2))
    assert most[0] == 2


def test_one_at_a_time_needs_no_other_thread() -> None:
    assert set(side_by_side([threading.get_ident] * 4, 1)) == {threading.get_ident()}


@pytest.mark.parametrize("inner", [1, 2])
def test_a_job_may_run_jobs_of_its_own(inner: int, five: int) -> None:
    """One core stays one core inside, and nobody waits for a lock that the caller holds."""

    def outer() -> list[int]:
        with one_blas_thread():
            return threads_seen(3, inner)

    assert list(side_by_side([outer] * 4, 2)) == [[1, 1, 1]] * 4
    assert n_threads() == five


# --- BLAS


@pytest.mark.skipif(max(blas_threads(), default=1) < 2, reason="BLAS has one thread here, whoever asks")
def test_blas_keeps_to_one_thread_in_a_pool_and_has_all_when_left_over() -> None:
    before = blas_threads()
    pooled = left_over(5, 2)
    found = list(side_by_side([blas_threads] * 5, 2))
    assert pooled == 1
    assert found == [{1}] * 4 + [before]
    assert blas_threads() == before


@pytest.mark.skipif(max(blas_threads(), default=1) < 2, reason="BLAS has one thread here, whoever asks")
@pytest.mark.parametrize("at_once", [1, 2])
def test_whoever_stops_early_gives_blas_its_threads_back(at_once: int) -> None:
    before = blas_threads()
    results = side_by_side([blas_threads] * 6, at_once)
    next(results)
    results.close()
    assert blas_threads() == before


# --- exceptions


class Wrong(Exception):
    pass


def failing(started: list[int], place: int, wait: float = 0.0) -> Callable[[int], int]:
    def job(number: int) -> int:
        started.append(number)
        if number == place:
            raise Wrong(number)
        time.sleep(wait)
        return number

    return job


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_an_exception_reaches_the_caller_behind_what_came_before(place: int, at_once: int) -> None:
    job = failing([], place)
    results = side_by_side([partial(job, number) for number in range(7)], at_once)
    assert [next(results) for _ in range(place)] == list(range(place))
    with pytest.raises(Wrong) as caught:
        next(results)
    assert caught.value.args == (place,)
    assert list(side_by_side([partial(int, 3)] * 4, at_once)) == [3] * 4  # nothing is locked


def test_jobs_behind_a_failure_do_not_start() -> None:
    started: list[int] = []
    job = failing(started, 2)
    with pytest.raises(Wrong):
        list(side_by_side([partial(job, number) for number in range(5)], 1))
    assert started == [0, 1, 2]


def test_jobs_that_wait_in_a_pool_are_cancelled() -> None:
    """Two at a time, 20 ms each, would take half a second more; those that run already may end."""
    started: list[int] = []
    job = failing(started, 0, wait=0.02)
    with pytest.raises(Wrong):
        list(side_by_side([partial(job, number) for number in range(50)], 2))
    assert len(started) < 25
    before = len(started)
    time.sleep(0.06)
    assert len(started) == before


def test_jobs_left_over_do_not_start_behind_a_failure() -> None:
    started: list[int] = []
    job = failing(started, 3)
    with pytest.raises(Wrong):
        list(side_by_side([partial(job, number) for number in range(5)], 2))
    assert left_over(5, 2) == 1
    assert 4 not in started


def test_a_caller_that_stops_cancels_the_rest() -> None:
    started: list[int] = []
    job = failing(started, -1, wait=0.02)
    results = side_by_side([partial(job, number) for number in range(51)], 2)
    assert next(results) == 0
    results.close()
    assert len(started) < 25
    assert 50 not in started


def test_an_exception_of_a_job_leaves_later_threads_as_they_were(five: int) -> None:
    job = failing([], 0)
    with pytest.raises(Wrong):
        list(side_by_side([partial(job, number) for number in range(4)], 2))
    assert n_threads() == five
    assert threads_seen(3, 2) == [1, 1, five]

"""Plans: the fastest route that memory allows, and what they say about it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.solvers.candidates import ROUTES, cost_of, tilings
from voxridge.solvers.folds import Fold
from voxridge.solvers.footprints import footprint
from voxridge.solvers.plan import PANEL, Plan, Problem, make_plan
from voxridge.solvers.rates import Machine, Rates, assumed, h200, many_cores

MIB = 2**20
HELD = 90 * MIB  # what a process holds before it begins


def a_machine() -> Machine:
    """The same on every computer."""
    rates = Rates(
        gemm4=2e11,
        gemm8=1e11,
        syrk8=9e10,
        potrf=9e10,
        potri=9e10,
        eigh=1.5e11,
        filters=4e10,
        moments=1e10,
        memory=4e10,
    )
    return Machine("a machine", rates, "made up")


def folds_of(n: int, count: int, purged: int = 0) -> list[Fold]:
    """Folds of about equal size; only their sizes are real."""
    sizes = [n // count + (i < n % count) for i in range(count)]
    return [Fold(rows(n - size - purged), rows(size)) for size in sizes]


def rows(count: int) -> np.ndarray:
    return np.broadcast_to(np.intp(0), (max(count, 0),))


def problem_of(
    n: int, width: int, v: int, alphas: int = 20, folds: int = 5, itemsize: int = 4, **options: Any
) -> Problem:
    delays = options.pop("delays", (0,))
    options.setdefault("resident_bytes", HELD)
    return Problem(n, width * len(delays), v, alphas, folds_of(n, folds), itemsize, delays=delays, **options)


def plan_of(problem: Problem, **options: Any) -> Plan:
    return make_plan(problem, machine=options.pop("machine", a_machine()), **options)


problems = st.builds(
    problem_of,
    n=st.integers(20, 40_000),
    width=st.integers(1, 9000),
    v=st.integers(1, 100_000),
    alphas=st.integers(1, 100),
    folds=st.integers(2, 20),
    itemsize=st.sampled_from([4, 8]),
    delays=st.sampled_from([(0,), (1, 2, 3, 4), (0, 3)]),
    targets_in_memory=st.booleans(),
    features_in_memory=st.booleans(),
    weights=st.sampled_from(["memory", "file", "none"]),
    alpha_per_target=st.booleans(),
    n_models=st.integers(1, 3),
)


@pytest.mark.parametrize(
    ("problem", "route"),
    [
        (problem_of(9000, 300, 5000), "primal-spectral"),
        (problem_of(1000, 9000, 5000), "dual-spectral"),
        (problem_of(20_000, 3000, 500, alphas=4, folds=95), "primal-leave-out"),
        (problem_of(3000, 9000, 500, folds=95), "dual-leave-out"),
        (problem_of(36_000, 50_000, 5000, alphas=3), "dual-cholesky"),
        (problem_of(90_000, 33_000, 2000, alphas=2, folds=95), "primal-cholesky"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_fastest_route_is_taken(problem: Problem, route: str) -> None:
    plan = plan_of(problem)
    assert plan.route == route
    possible = [other for other in ROUTES if other not in dict(plan.rejected)]
    assert possible in ([route], [route, "svd"])
    for other, why in plan.rejected:
        if why.startswith("slower"):
            rejected = plan_of(problem, solver=other)
            assert rejected.seconds >= plan.seconds
            assert cost_of(rejected.seconds, rejected.worst_bytes) >= cost_of(plan.seconds, plan.worst_bytes)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_can_be_asked_for(route: str) -> None:
    plan = plan_of(problem_of(500, 40, 700), solver=route)
    assert plan.route == route
    assert f"{plan.side}-{plan.method}" in (route, "svd-svd")


@pytest.mark.parametrize(
    ("solver", "routes"),
    [
        ("primal", {"primal-spectral", "primal-leave-out", "primal-cholesky"}),
        ("leave-out", {"primal-leave-out", "dual-leave-out"}),
        ("cholesky", {"primal-cholesky", "dual-cholesky"}),
        ("svd", {"svd"}),
    ],
)
def test_a_word_stands_for_the_routes_it_is_part_of(solver: str, routes: set[str]) -> None:
    plan = plan_of(problem_of(500, 40, 700), solver=solver)
    assert {plan.route, *dict(plan.rejected)} == routes


def test_weighted_samples_and_pooled_scores_are_not_for_spectral_routes() -> None:
    for options in ({"sample_weight": True}, {"pooled": True}):
        problem = problem_of(9000, 300, 5000, **options)
        plan = plan_of(problem)
        assert plan.method != "spectral"
        with pytest.raises(ValueError, match="solver='spectral' does not take sample_weight or pooled"):
            plan_of(problem, solver="spectral")


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(ValueError, match=r"solver='qr' is not known; use one of \"auto\""):
        plan_of(problem_of(50, 4, 7), solver="qr")


def test_eigenvectors_beyond_32_bit_lapack_are_no_candidates() -> None:
    problem = problem_of(32_767, 40_000, 100, alphas=2)
    plan = plan_of(problem)
    assert plan.method == "cholesky"
    assert (
        dict(plan.rejected)["dual-spectral"]
        == "needs eigenvectors of order 32,767; 32-bit LAPACK ends at 32,766"
    )
    with pytest.raises(ValueError, match=r"solver='dual-leave-out' needs eigenvectors of order 32,767"):
        plan_of(problem, solver="dual-leave-out")
    assert plan_of(problem, solver="dual-leave-out", machine=h200()).route == "dual-leave-out"
    assert plan_of(problem_of(32_766, 40_000, 100), solver="dual-leave-out").route == "dual-leave-out"


@settings(deadline=None, max_examples=40)
@given(problem=problems, share=st.floats(0.0, 1.0), more=st.floats(1.0, 4.0))
def test_more_memory_is_never_slower_and_no_plan_breaks_its_limit(
    problem: Problem, share: float, more: float
) -> None:
    free = plan_of(problem)
    limit = HELD + int(share * (free.worst_bytes - HELD)) + 1
    least, route = least_of(problem)
    if limit < least:
        with pytest.raises(MemoryError, match=f"at least {least} bytes"):
            plan_of(problem, memory_limit=least - 1)
        assert plan_of(problem, solver=route, memory_limit=least).worst_bytes == least
        limit = least
    tight = plan_of(problem, memory_limit=limit)
    assert tight.peak_bytes <= tight.worst_bytes <= limit
    roomy = plan_of(problem, memory_limit=int(limit * more))
    assert free.seconds <= roomy.seconds <= tight.seconds


def least_of(problem: Problem) -> tuple[int, str]:
    """What the error says: bytes, and the route that can do with them."""
    with pytest.raises(MemoryError) as caught:
        plan_of(problem, memory_limit=1)
    found = re.search(r"at least (\d+) bytes \(.*\), by the route ([a-z-]+);", str(caught.value))
    assert found is not None
    return int(found.group(1)), found.group(2)


@settings(deadline=None, max_examples=25)
@given(problem=problems)
def test_what_a_plan_says_adds_up(problem: Problem) -> None:
    plan = plan_of(problem)
    assert plan.seconds == pytest.approx(sum(step.seconds for step in plan.steps))
    assert plan.flops == pytest.approx(sum(step.flops for step in plan.steps))
    assert plan.seconds == pytest.approx(sum(seconds for _, _, seconds in plan.summary()))
    assert plan.resident_bytes == HELD
    assert plan.peak_bytes >= HELD + plan.result_bytes
    assert plan.n_targets_batch % PANEL == 0 or plan.n_targets_batch == problem.n_targets
    assert 1 <= plan.folds_per_pass <= len(problem.folds)
    assert 1 <= plan.alphas_per_pass <= problem.n_alphas
    assert 1 <= plan.rows_per_chunk <= problem.n
    assert 1 <= plan.columns_per_chunk <= problem.n_features
    on_disk = not (problem.targets_in_memory and problem.features_in_memory) or problem.weights == "file"
    assert (plan.bytes_read > 0) == on_disk


@settings(deadline=None, max_examples=20)
@given(problem=problems, route=st.sampled_from(ROUTES))
def test_smaller_tiles_need_no_more_memory(problem: Problem, route: str) -> None:
    found = list(tilings(problem, route))
    peaks = {tiling: footprint(problem, route, tiling).worst for tiling in found}
    for tiling in found:
        for field in ("targets", "folds", "alphas"):
            smaller = tiling._replace(**{field: max(1, getattr(tiling, field) // 2)})
            if (
                smaller in peaks and field != "folds"
            ):  # fewer folds in a pass keep the kernel for the next one
                assert peaks[smaller] <= peaks[tiling]


@pytest.mark.parametrize(("asked", "tile"), [(1, 512), (512, 512), (513, 1024), (5000, 1300)])
def test_an_asked_tile_is_whole_panels(asked: int, tile: int) -> None:
    assert plan_of(problem_of(300, 40, 1300), n_targets_batch=asked).n_targets_batch == tile


def test_memory_beside_the_limit_decides_the_route() -> None:
    """One n x n matrix instead of three, and a slower route."""
    problem = problem_of(8000, 12_000, 500, folds=40)
    free = plan_of(problem)
    assert free.route == "dual-leave-out"
    tight = plan_of(problem, memory_limit=free.peak_bytes * 2 // 3)
    assert tight.route == "dual-cholesky"
    assert dict(tight.rejected)["dual-leave-out"].startswith("would need ")


def test_the_least_that_would_do_is_said() -> None:
    with pytest.raises(
        MemoryError, match=r"memory_limit=1000 bytes is too small: .* at least \d+ bytes \(\d+ MiB\)"
    ):
        plan_of(problem_of(500, 40, 700), memory_limit=1000)


def test_the_process_itself_counts() -> None:
    small = problem_of(50, 4, 7, resident_bytes=None)
    plan = make_plan(small)
    assert 20 * MIB < plan.resident_bytes < plan.peak_bytes


def test_a_small_fit_is_not_worth_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> Machine:
        raise AssertionError("measured the machine for a fit of milliseconds")

    monkeypatch.setattr("voxridge.solvers.plan.measured", measured)
    assert make_plan(problem_of(100, 10, 1)).machine == str(assumed())
    with pytest.raises(AssertionError, match="measured the machine"):
        make_plan(problem_of(9000, 3000, 50_000))


def test_a_plan_prints_all_it_knows() -> None:
    problem = problem_of(
        33_000,
        7168,
        95_556,
        folds=95,
        delays=(1, 2, 3, 4),
        features_in_memory=False,
        targets_in_memory=False,
        weights="file",
    )
    plan = plan_of(problem, memory_limit=20 * 10**9)
    text = str(plan)
    assert text.splitlines()[0].split() == ["route", plan.route, *f"({problem})".split()]
    for name in (
        "n_targets_batch",
        "folds_per_pass",
        "alphas_per_pass",
        "rows_per_chunk",
        "columns_per_chunk",
    ):
        assert f" {getattr(plan, name):,}\n" in text, name
    for name in ("flops", "bytes_read"):
        assert f" {getattr(plan, name):.3g}\n" in text, name
    for name in ("resident_bytes", "factor_bytes", "tile_bytes", "result_bytes", "peak_bytes", "worst_bytes"):
        n_bytes = getattr(plan, name)
        shown = f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**33 else f"{n_bytes / 2**20:,.0f} MiB"
        assert f" {shown}" in text, name
    for name, _, _ in plan.summary():
        assert f"  {name} " in text
    for route, why in plan.rejected:
        assert re.search(f"not {route} +{re.escape(why)}", text)
    assert "h on a machine (made up)" in text


def test_plans_survive_json() -> None:
    plan = plan_of(problem_of(500, 40, 700))
    assert Plan(**json.loads(json.dumps(dataclasses.asdict(plan)))) == plan


def test_other_machines() -> None:
    plan = plan_of(problem_of(9000, 3000, 50_000))
    quick, quicker = plan.on(many_cores(32, a_machine())), plan.on(h200())
    assert plan.seconds > quick.seconds > quicker.seconds
    assert quick.route == quicker.route == plan.route
    assert "80 % of 32 cores" in str(quick)
    assert "one H200-class GPU" in str(quicker)
    assert quicker.flops == plan.flops


def test_targets_in_files_want_wider_tiles() -> None:
    """Rows of a tile are pieces of the file's rows."""
    memory = plan_of(problem_of(9000, 500, 60_000))
    disk = plan_of(problem_of(9000, 500, 60_000, targets_in_memory=False))
    assert disk.n_targets_batch > memory.n_targets_batch
    assert disk.bytes_read >= 4 * 9000 * 60_000

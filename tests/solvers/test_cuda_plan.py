"""Plans for CUDA devices, which are described and not there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge import _plan_command
from voxridge._dispatch import CudaDevice
from voxridge.solvers.cuda.costs import START
from voxridge.solvers.cuda.devices import CAPABILITIES, FAKES, capability, fake, fake_device, machine_of
from voxridge.solvers.cuda.footprints import usable_bytes
from voxridge.solvers.cuda.plan import DEVICE_ROUTES, make_device_plan
from voxridge.solvers.folds import make_folds
from voxridge.solvers.plan import Plan, make_plan
from voxridge.solvers.problem import Problem
from voxridge.solvers.rates import h200
from voxridge.solvers.shared_plans import plan_together

HELD = 10**9
RUNS = [33_000 // 95 + (i < 33_000 % 95) for i in range(95)]


def problem_of(n: int, p: int, v: int, cv: Any = 5, alphas: int = 20, **more: Any) -> Problem:
    more = {"resident_bytes": HELD, "itemsize": 4} | more
    return Problem(n, p, v, alphas, tuple(make_folds(cv, more.pop("runs", [n]), gap=0)), **more)


def large(cv: Any, **more: Any) -> Problem:
    """7,168 features of a language model at four delays, 95 runs, all of a brain."""
    defaults: dict[str, Any] = {"weights": "file", "targets_in_memory": False, "targets_itemsize": 4}
    return problem_of(33_000, 28_672, 95_556, cv, runs=RUNS, delays=(1, 2, 3, 4), **defaults | more)


def usable(device: CudaDevice) -> int:
    return usable_bytes(device.facts["total_bytes"], device.facts["free_bytes"])


def with_free(name: str, free: int) -> CudaDevice:
    return dataclasses.replace(fake_device(name), facts=fake(name) | {"free_bytes": free})


# --- devices


def test_rates_are_those_of_the_makers_tables() -> None:
    """Peaks as the makers publish them, in TFLOP/s, within the rounding of clocks: dense, float32 sums."""
    peaks = {
        "h200": (67, 67, 495, 989),
        "a100-80": (19.5, 19.5, 156, 312),
        "rtx4090": (82.6, 1.29, 82.6, 165),
    }
    for name, published in peaks.items():
        facts, table = fake(name), capability(fake(name))
        cycles = facts["multiprocessors"] * facts["clock_hz"] / 1e12
        found = [cycles * each for each in (table.float32, table.float64, table.tf32, table.bf16)]
        assert found == pytest.approx(published, rel=0.1)


def test_a_device_that_is_not_known_is_like_the_nearest_lower_one() -> None:
    def like(major: int, minor: int) -> Any:
        return capability(fake("h200") | {"major": major, "minor": minor})

    assert like(8, 7) == CAPABILITIES[8, 6]
    assert like(9, 9) == CAPABILITIES[9, 0]
    assert like(13, 5) == CAPABILITIES[12, 0]
    assert like(3, 5) == CAPABILITIES[7, 0]


def test_one_rule_for_all_devices() -> None:
    assert h200().rates.gemm8 == machine_of(fake("h200")).rates.gemm8
    assert machine_of(fake("h200")).memory_bytes == 141 * 10**9
    assert fake("h200")["free_bytes"] < 141 * 10**9


@pytest.mark.parametrize("name", FAKES)
def test_rounded_products_are_no_slower(name: str) -> None:
    rates = [
        machine_of(fake(name), precision).rates.rate("gemm2") for precision in ("float32", "tf32", "bf16")
    ]
    assert rates == sorted(rates)
    assert rates[0] == machine_of(fake(name)).rates.gemm4


# --- the problem of the issue


@pytest.mark.parametrize("cv", [5, "leave-one-run-out"])
@pytest.mark.parametrize("name", ["h200", "b200", "a100-80", "a100-40"])
def test_the_large_problem_fits(name: str, cv: Any) -> None:
    device = fake_device(name)
    plan = make_device_plan(large(cv), device)
    assert plan.device == "cuda:0"
    assert plan.method == "cholesky"
    assert plan.n_targets_batch >= 2048
    assert 0.5 * usable(device) < plan.device_bytes <= usable(device)
    # n^2 float64 for the kernel and every penalty of the pass, or p^2 for the Gram.
    side = 33_000 if plan.side == "dual" else 28_672
    assert plan.factor_bytes > 8 * side**2 * (1 + plan.alphas_per_pass)
    assert plan.device_bytes > plan.factor_bytes + plan.tile_bytes
    assert plan.worst_bytes < 16e9  # of the host
    limits = {"h200": 300, "b200": 330, "a100-80": 900, "a100-40": 1300}
    assert plan.seconds < limits[name]
    assert device.facts["name"] in plan.machine


def test_what_smaller_devices_say() -> None:
    few = make_device_plan(large("leave-one-run-out"), fake_device("rtx4090"))
    assert (few.route, few.alphas_per_pass) == ("primal-cholesky", 1)
    assert "would need 22." in dict(few.rejected)["dual-cholesky"]
    message = (
        r"cuda:0 \(NVIDIA GeForce RTX 3070\) has too little memory: 7920000000 bytes \(7,553 MiB\) are "
        r"free, of which 400 MiB stay free for the libraries, and the "
        r"fit needs at least \d+ bytes \(1\d\.\d GiB\)"
        r', by the route primal-cholesky; use device="cpu"'
    )
    with pytest.raises(MemoryError, match=message):
        make_device_plan(large("leave-one-run-out"), fake_device("rtx3070"))
    half = problem_of(16_000, 28_672, 95_556, delays=(1, 2, 3, 4))
    assert make_device_plan(half, fake_device("rtx3070")).route == "dual-cholesky"


def test_the_least_that_would_do_does() -> None:
    device = fake_device("rtx3070")
    with pytest.raises(MemoryError) as error:
        make_device_plan(large(5), device)
    least = int(str(error.value).partition("at least ")[2].partition(" bytes")[0])
    reserve = device.facts["free_bytes"] - usable(device)
    assert make_device_plan(large(5), with_free("rtx3070", least + reserve)).device_bytes == least
    with pytest.raises(MemoryError):
        make_device_plan(large(5), with_free("rtx3070", least + reserve - 1))


# --- choices


sizes = st.builds(
    problem_of,
    n=st.integers(50, 30_000),
    p=st.integers(1, 40_000),
    v=st.integers(1, 100_000),
    cv=st.integers(2, 12),
    alphas=st.integers(1, 30),
    itemsize=st.sampled_from([4, 8]),
    weights=st.sampled_from(["none", "memory", "file"]),
    sample_weight=st.booleans(),
)


@settings(deadline=None, max_examples=25)
@given(problem=sizes, free=st.integers(10**9, 10**11), more=st.floats(1.0, 4.0), precision=st.integers(0, 2))
def test_more_memory_is_never_slower(problem: Problem, free: int, more: float, precision: int) -> None:
    rounded = ("float32", "tf32", "bf16")[precision]
    try:
        plan = make_device_plan(problem, with_free("h200", free), precision=rounded)
    except MemoryError:
        return
    wider = make_device_plan(problem, with_free("h200", int(free * more)), precision=rounded)
    assert wider.seconds <= plan.seconds
    assert 0 < plan.device_bytes <= usable(with_free("h200", free))
    assert plan.seconds == pytest.approx(sum(step.seconds for step in plan.steps))
    assert plan.seconds > START
    assert plan.tile_bytes + plan.factor_bytes < plan.device_bytes
    assert plan.resident_bytes == HELD < plan.peak_bytes <= plan.worst_bytes
    assert 1 <= plan.n_targets_batch <= problem.n_targets
    assert 1 <= plan.alphas_per_pass <= problem.n_alphas
    assert 1 <= plan.folds_per_pass <= len(problem.folds)


def test_a_limit_of_the_host() -> None:
    problem, device = problem_of(9000, 3000, 50_000), fake_device("h200")
    free = make_device_plan(problem, device)
    limit = free.worst_bytes - 10**8
    tight = make_device_plan(problem, device, memory_limit=limit)
    assert tight.worst_bytes <= limit < free.worst_bytes
    assert tight.seconds >= free.seconds
    with pytest.raises(
        MemoryError, match=r"memory_limit=1200000000 bytes is too small.*of the host's memory"
    ):
        make_device_plan(problem, device, memory_limit=1_200_000_000)


def test_features_in_files_come_in_chunks_that_the_host_has_room_for() -> None:
    problem = problem_of(9000, 30_000, 5000, features_in_memory=False, weights="none")
    free = make_device_plan(problem, fake_device("h200"))
    tight = make_device_plan(problem, fake_device("h200"), memory_limit=free.worst_bytes - 10**8)
    assert tight.columns_per_chunk < free.columns_per_chunk
    assert tight.bytes_read == free.bytes_read > 9000 * 30_000 * 4


def test_the_words_for_a_solver() -> None:
    problem, device = problem_of(2000, 500, 5000), fake_device("a100-40")

    def route(solver: str) -> str:
        return make_device_plan(problem, device, solver=solver).route

    assert route("auto") in DEVICE_ROUTES
    assert route("primal").startswith("primal-")
    assert route("dual").startswith("dual-")
    assert route("cholesky").endswith("-cholesky")
    assert route("leave-out") == route("cholesky")
    assert route("spectral").endswith("-spectral")
    assert [route(name) for name in DEVICE_ROUTES] == list(DEVICE_ROUTES)


@pytest.mark.parametrize("solver", ["svd", "primal-leave-out", "dual-leave-out", "qr", None])
def test_solvers_that_no_device_has(solver: Any) -> None:
    message = rf'solver={solver!r} runs on device="cpu" only; on a CUDA device use one of "auto", "dual", '
    with pytest.raises(ValueError, match=message):
        make_device_plan(problem_of(200, 50, 500), fake_device("h200"), solver=solver)


@pytest.mark.parametrize("what", ["sample_weight", "pooled"])
def test_what_only_leave_out_does(what: str) -> None:
    problem = problem_of(20_000, 500, 50_000, 3, alphas=100, **{what: True})
    assert make_device_plan(problem, fake_device("h200")).method == "cholesky"
    with pytest.raises(
        ValueError, match=r"solver='dual-spectral' does not take sample_weight or pooled scores"
    ):
        make_device_plan(problem, fake_device("h200"), solver="dual-spectral")


def test_few_folds_and_many_penalties_are_for_eigenvectors() -> None:
    """A fold's rows of k eigenvectors against products of held-out rows with each other."""
    few = problem_of(20_000, 500, 50_000, 3, alphas=100)
    assert make_device_plan(few, fake_device("h200")).route == "primal-spectral"
    many = problem_of(20_000, 500, 50_000, 300, alphas=5)
    assert make_device_plan(many, fake_device("h200")).route == "primal-cholesky"
    wide = problem_of(2000, 20_000, 50_000, 100, alphas=5)
    assert make_device_plan(wide, fake_device("h200")).route == "dual-cholesky"


def test_precision_changes_time_and_little_memory() -> None:
    device = fake_device("h200")
    plans = {
        precision: make_device_plan(
            large("leave-one-run-out"),
            device,
            solver="dual-cholesky",
            precision=precision,
            n_targets_batch=2048,
        )
        for precision in ("float32", "tf32", "bf16")
    }
    seconds = [plan.seconds for plan in plans.values()]
    assert seconds[0] > seconds[1] > seconds[2]
    assert plans["tf32"].device_bytes == plans["bf16"].device_bytes < 1.1 * plans["float32"].device_bytes
    assert [plan.precision for plan in plans.values()] == list(plans)
    assert "penalties compared in bf16" in str(plans["bf16"])
    exact = problem_of(9000, 3000, 50_000, itemsize=8)
    same = [make_device_plan(exact, device, precision=precision) for precision in ("float32", "bf16")]
    assert same[0].seconds == same[1].seconds


def test_an_asked_for_tile_is_rounded_up() -> None:
    problem = problem_of(2000, 500, 5000)
    assert make_device_plan(problem, fake_device("h200"), n_targets_batch=600).n_targets_batch == 1024
    assert make_device_plan(problem, fake_device("h200"), n_targets_batch=10**6).n_targets_batch == 5000


def test_tiny_problems_are_for_the_processor() -> None:
    tiny = problem_of(300, 20, 100, alphas=10)
    there = make_device_plan(tiny, fake_device("b200"))
    assert there.seconds > START > make_plan(tiny).seconds


def test_targets_are_copied_while_the_device_works() -> None:
    plan = make_device_plan(problem_of(20_000, 2000, 90_000, alphas=10), fake_device("h200"))
    hidden = {step.name for step in plan.steps if step.hidden}
    assert "copying targets" in hidden
    assert "predictions" not in hidden
    step = next(step for step in plan.steps if step.name == "copying targets" and step.kind == "link")
    rate = machine_of(fake("h200")).rates.rate("link")
    assert step.seconds == pytest.approx(0.1 * step.bytes / rate)
    assert step.bytes >= 4 * 20_000 * 90_000


def test_several_designs_share_a_device() -> None:
    problem, device = large(5), fake_device("h200")

    def make(problem: Problem, n_targets_batch: int | None) -> Plan:
        return make_device_plan(problem, device, n_targets_batch=n_targets_batch)

    alone = make(problem, None)
    both = plan_together([problem, problem], make, None)
    assert both[0].n_targets_batch == both[1].n_targets_batch
    assert both[0].alphas_per_pass < alone.alphas_per_pass
    assert max(plan.device_bytes for plan in both) <= usable(device)
    side = 33_000 if both[0].side == "dual" else 28_672
    assert both[0].factor_bytes > 2 * 8 * side**2 * (1 + both[0].alphas_per_pass)


def test_plans_survive_json() -> None:
    plan = make_device_plan(problem_of(2000, 500, 5000), fake_device("a100-80"), precision="bf16")
    assert Plan(**json.loads(json.dumps(dataclasses.asdict(plan)))) == plan


def test_the_work_on_another_machine() -> None:
    plan = make_device_plan(large(5), fake_device("a100-80"))
    assert plan.on(machine_of(fake("h200"))).seconds < plan.seconds


def test_the_command_knows_all_devices() -> None:
    assert _plan_command._DEVICES == FAKES

"""How fast a CUDA device is expected to be, by what its driver says of it; nothing is measured.

Every unit of a device does so many operations in a cycle, which its compute capability says. Not all that
the units could do is reached: ``_SHARE`` and ``_CLOCK`` say how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from voxridge._dispatch import CudaDevice
from voxridge._threads import n_threads
from voxridge.solvers.rates import Machine, Rates

Facts = Mapping[str, Any]

_SHARE = 0.7  # of the arithmetic and of the memory's rate, in large products and long passes
_CLOCK = 0.9  # of the highest clock, under load
_FUSED_SHARE = 0.5  # of the ordinary cores, by products that are summed up where they are made
_FUSED_TENSOR_SHARE = 0.3  # of the tensor cores, which they feed by the instructions of all generations
_EIGH_PER_BYTE = 1.5  # operations of an eigendecomposition for a byte that it waits for
_SLOW_START = 10.0  # a device is full later than a processor
_STAGING = 8e9  # bytes that one thread of a host copies in a second
_PAGES = 4e9  # bytes of new memory that one thread is handed out in a second
_STAGING_CORES = 6  # that copy side by side before the host's memory is the limit
_HOST_INVERSES = 20e9  # operations of one core on matrices of a few hundred rows
_CALLS = 1e5  # launches and small copies in a second


@dataclass(frozen=True, kw_only=True)
class DeviceRates(Rates):
    """What only a device knows, or its host beside it."""

    gemm2: float  # float32 products whose inputs are rounded to a fit's precision
    fused2: float  # products that are summed up where they are made: csrc/cuda/heldout_moments.hpp
    fused4: float
    fused8: float
    link: float  # bytes between the host and the device
    staging: float  # bytes that one thread of the host copies
    inverses: float  # of small matrices, by the host's cores

    @property
    def slow_start(self) -> float:
        return _SLOW_START


class Capability(NamedTuple):
    """Operations of a multiprocessor in a cycle, a multiply-add counted twice: float32; float64 in products
    (tensor cores, where they know it) and elsewhere; tf32 and bf16 with float32 sums. Bytes per second of the
    link to the host."""

    float32: float
    float64: float
    ordinary64: float
    tf32: float
    bf16: float
    link: float


CAPABILITIES: dict[tuple[int, int], Capability] = {
    (7, 0): Capability(128, 64, 64, 128, 128, 12e9),  # V100
    (7, 5): Capability(128, 4, 4, 128, 128, 12e9),  # T4
    (8, 0): Capability(128, 128, 64, 1024, 2048, 25e9),  # A100
    (8, 6): Capability(256, 4, 4, 256, 512, 25e9),  # RTX 30
    (8, 9): Capability(256, 4, 4, 256, 512, 25e9),  # RTX 40
    (9, 0): Capability(256, 256, 128, 2048, 4096, 50e9),  # H100, H200
    (10, 0): Capability(256, 128, 128, 4096, 8192, 50e9),  # B200
    (10, 3): Capability(256, 4, 4, 4096, 8192, 50e9),  # B300
    (12, 0): Capability(256, 4, 4, 256, 512, 50e9),  # RTX 50
}


def capability(facts: Facts) -> Capability:
    """What its compute capability says; of one that is not known, the nearest lower one, or the lowest."""
    mine = int(facts["major"]), int(facts["minor"])
    return CAPABILITIES[max((known for known in CAPABILITIES if known <= mine), default=min(CAPABILITIES))]


def machine_of(facts: Facts, precision: str = "float32") -> Machine:
    """The device with its expected rates, for float32 products whose inputs are rounded to ``precision``.

    Parameters
    ----------
    facts : dict
        An entry of ``voxridge._cuda.devices()``.
    precision : "float32", "tf32" or "bf16"
    """
    per_cycle = capability(facts)
    cycles = int(facts["multiprocessors"]) * float(facts["clock_hz"]) * _CLOCK
    gemm4, gemm8 = (_SHARE * cycles * each for each in (per_cycle.float32, per_cycle.float64))
    rounded = {"float32": per_cycle.float32, "tf32": per_cycle.tf32, "bf16": per_cycle.bf16}[precision]
    fused4 = _FUSED_SHARE * cycles * per_cycle.float32
    memory = _SHARE * memory_rate(facts)
    link = _SHARE * per_cycle.link
    rates = DeviceRates(
        gemm4=gemm4,
        gemm8=gemm8,
        syrk8=gemm8,
        potrf=gemm8 / 2,
        potri=gemm8 / 2,
        eigh=min(gemm8 / 2, _EIGH_PER_BYTE * memory),
        filters=gemm4 / 4,
        moments=memory,
        memory=memory,
        calls=_CALLS,
        gemm2=_SHARE * cycles * rounded,
        fused2=fused4 if precision == "float32" else _FUSED_TENSOR_SHARE * cycles * rounded,
        fused4=fused4,
        fused8=_FUSED_SHARE * cycles * per_cycle.ordinary64,
        link=link,
        staging=_STAGING * min(n_threads(), _STAGING_CORES),
        pages=_PAGES * min(n_threads(), _STAGING_CORES),
        inverses=_HOST_INVERSES * n_threads(),
    )
    source = (
        f"assumed: {_SHARE:.0%} of {_tera(gemm4)} TFLOP/s in float32 and {_tera(gemm8)} in float64, "
        f"{memory_rate(facts) / 1e12:.2g} TB/s, a link of {link / 1e9:.3g} GB/s"
    )
    return Machine(
        str(facts["name"]), rates, source, eigh_order=2**31, memory_bytes=int(facts["total_bytes"])
    )


def _tera(rate: float) -> str:
    return f"{rate / _SHARE / 1e12:.3g}"


def memory_rate(facts: Facts) -> float:
    """Bytes per second: two transfers in a cycle of the memory's clock."""
    return 2 * float(facts["memory_clock_hz"]) * int(facts["memory_bus_bits"]) / 8


def _description(
    name: str, capability: tuple[int, int], units: int, clock: float, gigabytes: float, rate: float, bits: int
) -> dict[str, Any]:
    total = int(gigabytes * 1e9)
    return {
        "name": name,
        "major": capability[0],
        "minor": capability[1],
        "multiprocessors": units,
        "clock_hz": clock,
        "total_bytes": total,
        "free_bytes": int(0.99 * total),
        "memory_clock_hz": rate * 8 / 2 / bits,
        "memory_bus_bits": bits,
    }


_FAKES = {
    "h200": _description("NVIDIA H200", (9, 0), 132, 1.98e9, 141, 4.8e12, 6144),
    "a100-80": _description("NVIDIA A100 80GB", (8, 0), 108, 1.41e9, 80, 2.0e12, 5120),
    "a100-40": _description("NVIDIA A100 40GB", (8, 0), 108, 1.41e9, 40, 1.55e12, 5120),
    "rtx4090": _description("NVIDIA GeForce RTX 4090", (8, 9), 128, 2.52e9, 24, 1.008e12, 384),
    "rtx3070": _description("NVIDIA GeForce RTX 3070", (8, 6), 46, 1.73e9, 8, 0.448e12, 256),
    "b200": _description("NVIDIA B200", (10, 0), 148, 1.965e9, 180, 8.0e12, 8192),
}


def fake(name: str) -> dict[str, Any]:
    """A device as its driver would describe it, for plans where it is not: one of ``FAKES``."""
    return dict(_FAKES[name])


def fake_device(name: str) -> CudaDevice:
    """The same, for plans alone: there is no module that could compute."""
    no_ops: Any = None
    return CudaDevice(no_ops, 0, fake(name))


FAKES = tuple(_FAKES)

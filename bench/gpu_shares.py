"""How much of the measured ceiling (bench/gpu_ceiling.py) the large fits reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.gpu_results import Row

ORDERS = 8192, 16_384  # of the factorisations that are measured; the last is what fits are held against


def shares(found: Mapping[str, Mapping[str, Any]]) -> Row:
    """Of every fit of the parts "runs" and "loo": the time of the flops of its plan at the measured rates
    / its seconds.

    "sustained": all flops at the rate of the float32 product; "priced": each kind at its own. Flops
    without a rate (small inverses, on the host) count nothing."""
    rates = found.get("ceiling", {})
    rows: Row = {}
    if rates.get("finished") is not True:
        return rows
    for part in ("runs", "loo"):
        for name, row in found.get(part, {}).items():
            if isinstance(row, dict) and "flops_by_kind" in row:
                rows[f"{part}: {name}"] = _shares(row, rates)
    return rows


def _shares(row: Mapping[str, Any], rates: Mapping[str, Any]) -> Row:
    precision = row["precision"]
    held = "of a run" if "leave-one-run-out" in str(row.get("cv")) else "of a fold"
    names = {
        "gemm2": f"gemm {precision}",
        "gemm4": "gemm float32",
        "gemm8": "gemm float64",
        "fused2": f"heldout_moments {precision} {held}",
        "fused4": f"heldout_moments float32 {held}",
        "fused8": f"heldout_moments float64 {held}",
        **{
            kind: f"{op} {ORDERS[-1]}"
            for kind, op in (("syrk8", "syrk"), ("potrf", "potrf"), ("potri", "potri"), ("eigh", "syevd"))
        },
    }
    work = {kind: flops for kind, flops in row["flops_by_kind"].items() if kind in names}
    priced = sum(flops / rates[names[kind]]["rate"] for kind, flops in work.items())
    flops = sum(work.values())
    return {
        "flops": flops,
        "not_priced": sorted(set(row["flops_by_kind"]) - set(work)),
        "sustained": flops / row["seconds"] / rates["gemm float32"]["rate"],
        "priced": priced / row["seconds"],
        "seconds_at_ceiling": {kind: flops / rates[names[kind]]["rate"] for kind, flops in work.items()},
    }

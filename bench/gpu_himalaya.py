"""voxridge against himalaya on the same GPU: the shapes of bench/shapes.py that himalaya has room for, in
fresh processes, rounds in alternating order. Round 0 asks both of himalaya's solvers, the later ones the
one that was faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.adapters import get_adapter
from bench.gpu_results import Results, Row
from bench.process import fit_in_fresh_process
from bench.shapes import RACES, Shape
from bench.summary import check_same_data
from bench.tables import agreement, band, verdict

OURS = "voxridge-cuda"
PEERS = ("himalaya-kernel-torch_cuda", "himalaya-ridge-torch_cuda")
ROUNDS = 3
_LIMIT = 240.0  # seconds of one fit

Fit = Callable[[str, Shape], tuple[Row, dict[str, Any]]]


def himalaya(results: Results, scale: float, fit: Fit | None = None, peers: Sequence[str] = PEERS) -> bool:
    """Every round that is missing, then what all of them come to; False where himalaya is not there."""
    fit = fit or (lambda name, shape: fit_in_fresh_process(name, shape, limit_seconds=_LIMIT))
    present = [name for name in peers if get_adapter(name).available()]
    missing = "himalaya is not installed, or torch has no GPU; a folder that has it may be in PYTHONPATH"
    results.put("himalaya", "failures", {} if present else {"himalaya": missing})
    if not present:
        print(f"NOT MEASURED: {missing}", flush=True)
        return False
    for name, full in RACES.items():
        shape = full if scale == 1 else full.scaled(scale)
        asked = _possible(shape, present)
        for number in range(ROUNDS):
            key = f"{name}, round {number}"
            if results.get("himalaya", key) is None:
                fastest = asked if number == 0 else _fastest(results.get("himalaya", f"{name}, round 0"))
                results.put("himalaya", key, _round(fit, shape, [OURS, *fastest], number))
        rounds = [results.get("himalaya", f"{name}, round {number}") for number in range(ROUNDS)]
        row = results.put("himalaya", name, {"sizes": vars(shape), **_summary(rounds)})
        print(f"himalaya: {name}: {row}", flush=True)
    return True


def _possible(shape: Shape, peers: Sequence[str]) -> list[str]:
    """Those that have room for it; of the others it is said why not."""
    asked = []
    for name in peers:
        why = get_adapter(name).refusal(shape)
        if why:
            print(f"LEFT OUT: {name}: {why}", flush=True)
        else:
            asked.append(name)
    return asked


def _round(fit: Fit, shape: Shape, names: list[str], number: int) -> dict[str, Row]:
    """A row for every competitor; the peers' with how far they agree with ours."""
    rows, outcomes = {}, {}
    for name in names if number % 2 == 0 else names[::-1]:
        rows[name], outcomes[name] = fit(name, shape)
        print(f"    {name}: {rows[name]['status']} {rows[name].get('seconds', '')}", flush=True)
    check_same_data(list(rows.values()))
    for name in names[1:]:
        if rows[name]["status"] == rows[OURS]["status"] == "ok":
            rows[name] |= agreement(outcomes[OURS], outcomes[name])
    return rows


def _fastest(rows: dict[str, Row]) -> list[str]:
    done = {name: row["seconds"] for name, row in rows.items() if row["status"] == "ok" and name != OURS}
    return sorted(done, key=lambda name: done[name])[:1]


def _summary(rounds: list[dict[str, Row]]) -> Row:
    """Ratios himalaya / voxridge of the rounds in which both came to an end."""
    fastest = _fastest(rounds[0])
    if not fastest or rounds[0][OURS]["status"] != "ok":
        statuses = {name: row["status"] for name, row in rounds[0].items()}
        return {"verdict": "nothing to compare", "statuses": statuses}
    name = fastest[0]
    pairs = [
        (rows[OURS], rows[name])
        for rows in rounds
        if name in rows and rows[OURS]["status"] == rows[name]["status"] == "ok"
    ]
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]
    least, middle, largest = band(ratios)
    return {
        "peer": name,
        "seconds": min(ours["seconds"] for ours, _ in pairs),
        "peer_seconds": min(theirs["seconds"] for _, theirs in pairs),
        "time_ratio": middle,
        "time_ratio_min": least,
        "time_ratio_max": largest,
        "verdict": verdict(ratios),
        "same_alpha": min(theirs["same_alpha"] for _, theirs in pairs),
        "max_score_difference": max(theirs["max_score_difference"] for _, theirs in pairs),
        "max_score_lost": max(theirs.get("max_score_lost", 0.0) for _, theirs in pairs),
    }

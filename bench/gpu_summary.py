"""What the proof on a GPU came to, held against its targets, as summary.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.shapes import RACES

RUNS_SECONDS, LOO_SECONDS, RATIO = 60.0, 10.0, 10.0
SAME_ALPHA, SCORE = 0.999, 1e-4
_MOST_FAILURES = 20

Found = Mapping[str, Mapping[str, Any]]


def summary(found: Found) -> str:
    """Markdown; a part that was not measured says so."""
    lines = ["# Proof on a GPU", "", *_machine(found)]
    for title, part in (
        ("Build and tests", _programs),
        ("Runs left out: 33,000 x (7,168 x 4) x 95,556", lambda found: _fits(found, "runs", RUNS_SECONDS)),
        ("Against himalaya", _himalaya),
        ("Samples left out: 9,000 x 16,384 x 281,532", lambda found: _fits(found, "loo", LOO_SECONDS)),
        ("Ceiling", _ceiling),
    ):
        lines += ["", f"## {title}", "", *(part(found) or ["NOT MEASURED"])]
    return "\n".join(lines) + "\n"


def line(met: bool, words: str, target: str) -> str:
    return f"- {'MET' if met else 'MISSED'}: {words}; target {target}"


def _machine(found: Found) -> list[str]:
    lines = []
    for part, about in found.get("machine", {}).items():
        device = about["settings"]["device"]
        lines.append(
            f"- {part}: {device['name']}, {about['cpu']}, {about['date']}, commit {about['git_commit']}"
        )
    for part in ("runs", "himalaya", "loo", "ceiling"):
        scale = found.get(part, {}).get("scale", 1)
        if scale != 1:
            lines.append(f"- **{part} was measured at {scale} of the sizes: no measurement**")
        for case, why in found.get(part, {}).get("failures", {}).items():
            lines.append(f"- **FAILED: {part}: {case}: {why}**")
    return lines


def _programs(found: Found) -> list[str]:
    lines = []
    for part in ("build", "tests", "sanitizer"):
        for case, row in found.get(part, {}).items():
            if not isinstance(row, dict):
                continue
            failures = row.get("failures", [])[:_MOST_FAILURES]
            counts = {
                key: row[key]
                for key in ("passed", "failed", "errors", "skipped", "hazards", "warnings")
                if key in row
            }
            clean = (
                row["exit_code"] == 0
                and not row["timed_out"]
                and not counts.get("errors")
                and not counts.get("failed")
            )
            said = (
                ", ".join(f"{number} {name}" for name, number in counts.items())
                or f"exit code {row['exit_code']}"
            )
            ended = " (cut short)" if row["timed_out"] else ""
            lines.append(line(clean, f"{part} {case}: {said} in {row['seconds']:.0f} s{ended}", "no error"))
            lines += [f"  - {failure}" for failure in failures]
    return lines


def _fits(found: Found, part: str, most: float) -> list[str]:
    lines = []
    for name, row in found.get(part, {}).items():
        if not isinstance(row, dict) or "planned_seconds" not in row:
            continue
        memory = f"{row['device_bytes'] / 1e9:.1f} GB of the device"
        memory += f" (planned {row['planned_device_bytes'] / 1e9:.1f})"
        words = (
            f"{name}: {row['seconds']:.2f} s (planned {row['planned_seconds']:.2f}), {row['route']}, {memory}"
        )
        lines.append(line(row["seconds"] < most, words, f"{most:g} s"))
        lines.append("  - " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in row["steps"].items()))
        if "same_alpha" not in row:
            lines.append("  - NOT COMPARED with scores in float64")
            continue
        agrees = row["max_score_difference"] <= SCORE and row["max_score_lost"] <= SCORE
        words = f"best scores within {row['max_score_difference']:.1e} of float64, "
        words += (
            f"all within {row['max_score_difference_of_all_alphas']:.1e} ({row['true_targets']} targets), "
        )
        words += f"the same penalty for {row['same_alpha']:.2%}, "
        words += f"other choices lose at most {row['max_score_lost']:.1e}"
        lines.append("  " + line(agrees, words, f"{SCORE:.0e}"))
    return lines


def _himalaya(found: Found) -> list[str]:
    lines = []
    for name in RACES:
        row = found.get("himalaya", {}).get(name)
        if row is None:
            continue
        if "time_ratio" not in row:
            lines.append(f"- {name}: {row['verdict']}: {row['statuses']}")
            continue
        ratios = f"{row['time_ratio']:.1f} ({row['time_ratio_min']:.1f} to {row['time_ratio_max']:.1f})"
        words = f"{name}: {ratios} times as fast as {row['peer']} "
        words += f"({row['seconds']:.2f} s, {row['peer_seconds']:.2f} s)"
        lines.append(line(row["time_ratio"] >= RATIO, words, f"{RATIO:g}"))
        words = (
            f"the same penalty for {row['same_alpha']:.2%}, scores within {row['max_score_difference']:.1e}"
        )
        agrees = row["same_alpha"] >= SAME_ALPHA and row["max_score_difference"] <= SCORE
        lines.append("  " + line(agrees, words, f"{SAME_ALPHA:.1%}, {SCORE:.0e}"))
    return lines


def _ceiling(found: Found) -> list[str]:
    cases = found.get("ceiling", {})
    lines = []
    for name, row in cases.items():
        if isinstance(row, dict) and "rate" in row:
            lines.append(f"- {name}: {row['rate'] / 1e12:.3g} T{row['unit']}")
    for name, row in found.get("shares", {}).get("of fits", {}).items():
        words = f"{name}: {row['priced']:.1%} of the ceiling, each kind at its own rate"
        lines.append(f"- {words}; {row['sustained']:.1%} of the float32 product's rate over all flops")
    return lines

"""What the proof on a GPU has found so far, in results.json of one folder, which a later call goes on
from; and what pytest and compute-sanitizer said, read from their logs.

`bench/gpu_proof` calls this file by `python -m bench.gpu_results`, before anything is built: it needs
nothing but Python."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_COUNTS = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "deselected")
TIMED_OUT = (124, 137)  # what timeout(1) exits with


class Results:
    """Results by part and case: ``results.get("runs", "5 folds, tf32")``. Every change is on the disk
    when it returns."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.json"
        self.found: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.found = json.loads(self.path.read_text())

    def get(self, part: str, case: str) -> Any:
        """None where there is none yet."""
        return self.found.get(part, {}).get(case)

    def put(self, part: str, case: str, value: Any) -> Any:
        """Keep ``value``, and give it back."""
        self.found.setdefault(part, {})[case] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.found, indent=1) + "\n")
        os.replace(temporary, self.path)
        return value

    def finish(self, part: str) -> None:
        self.put(part, "finished", True)

    def finished(self, name: str) -> bool:
        """``name``: a part, or a part and a case with a point between."""
        part, _, case = name.partition(".")
        if not case:
            return self.get(part, "finished") is True
        row = self.get(part, case)
        return row is not None and bool(row["complete"])


def attempt(results: Results, part: str, case: str, work: Callable[[], Row]) -> Row | None:
    """Keep what ``work`` gives; where it fails, why, and go on: None. The traceback goes to the screen."""
    failures = results.get(part, "failures") or {}
    try:
        row = results.put(part, case, work())
    except Exception as error:
        traceback.print_exc()
        results.put(part, "failures", failures | {case: f"{type(error).__name__}: {str(error)[:500]}"})
        return None
    if failures.pop(case, None):
        results.put(part, "failures", failures)
    return dict(row)


def read_pytest(text: str) -> Row:
    """Numbers of the last summary line, such as "3 failed, 120 passed, 4 skipped in 12.30s"; empty where
    there is none."""
    lines = [line for line in text.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    if not lines:
        return {}
    counts = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", lines[-1])}
    counts["errors"] = counts.get("errors", 0) + counts.pop("error", 0)
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return {name: counts.get(name, 0) for name in _COUNTS} | {"failures": failures[:100]}


def read_sanitizer(text: str) -> Row:
    """Errors that compute-sanitizer counted; empty where it came to no end."""
    counted = re.findall(r"ERROR SUMMARY: (\d+) error", text)
    hazards = re.findall(
        r"RACECHECK SUMMARY: (\d+) hazards? displayed \((\d+) errors?, (\d+) warnings?\)", text
    )
    row: Row = {}
    if counted:
        row["errors"] = sum(map(int, counted))
    if hazards:
        row["hazards"], row["errors"], row["warnings"] = (
            sum(map(int, each)) for each in zip(*hazards, strict=True)
        )
    if row.get("errors"):
        kernels = re.findall(r"=========\s.*?\bat (?:0x\w+ in )?(?:void )?([\w:]+)", text)
        row["kernels"] = sorted(set(kernels))[:50]
    return row


_READERS: dict[str, Callable[[str], Row]] = {
    "tests": read_pytest,
    "sanitizer": read_sanitizer,
    "build": lambda text: {},
}


def keep_log(results: Results, part: str, case: str, text: str, code: int, seconds: float) -> Row:
    """The row of a program that has ended: what its log says, how it ended, and the log's end where it
    says nothing."""
    said, timed_out = _READERS[part](text), code in TIMED_OUT
    ended = not timed_out and (
        code == 0 or bool(said)
    )  # a tool that refuses the device says nothing to count
    row: Row = {"exit_code": code, "seconds": seconds, "timed_out": timed_out, "complete": ended, **said}
    if code and not row.get("failures"):
        row["last_lines"] = text.splitlines()[-15:]
    kept: Row = results.put(part, case, row)
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("has", help="exit 0 where this is known already").add_argument("name")
    keep = actions.add_parser("log", help="keep what a program's log says")
    for name, kind in (("part", str), ("case", str), ("file", Path), ("code", int), ("seconds", float)):
        keep.add_argument(name, type=kind)
    actions.add_parser("finish", help="a part is complete").add_argument("name")
    actions.add_parser("summary", help="write summary.md")
    actions.add_parser("libraries", help="print the folder of CUDA's libraries in NVIDIA's wheels")
    options = parser.parse_args(arguments)
    results = Results(options.folder)
    if options.action == "has":
        return 0 if results.finished(options.name) else 1
    if options.action == "finish":
        results.finish(options.name)
    elif options.action == "log":
        text = options.file.read_text(errors="replace")
        row = keep_log(results, options.part, options.case, text, options.code, options.seconds)
        said = {key: value for key, value in row.items() if key != "last_lines"}
        print(f"{options.part} {options.case}: {json.dumps(said)}")
    elif options.action == "libraries":
        print(":".join(str(folder) for path in sys.path for folder in Path(path).glob("nvidia/cu1*/lib")))
    else:
        from bench.gpu_shares import shares
        from bench.gpu_summary import summary

        results.put("shares", "of fits", shares(results.found))
        (options.folder / "summary.md").write_text(summary(results.found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

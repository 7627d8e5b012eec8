"""All races of issue-sized shapes in one go: `python -m bench.campaign --rounds 3 --minutes 80`.

Round 0 of a shape asks voxridge, all of himalaya's solvers and null, and finds the fastest peer; a peer
that takes longer than the fastest so far is stopped. Later rounds ask voxridge, that peer and null, shape
after shape, every other round in reverse order. Every fit has a fresh process and is written down when it
ends: a campaign that was stopped, however it happened, goes on where it was. Then everything is compared,
held against the targets, written to results/ and drawn. --report does that alone, from what was measured so
far."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.adapters import ADAPTERS, get_adapter
from bench.adapters.himalaya import Himalaya
from bench.adapters.huth import VARIABLE
from bench.campaign_log import Log
from bench.machine import RESULTS, ROOT, solver_version
from bench.process import STOPPED, fit_in_fresh_process
from bench.races import report
from bench.shapes import LEAVE_ONE_OUT, RACES, SHAPES
from bench.summary import REFERENCE, rivals
from bench.tables import Row, cell

Fit = Callable[[str, str, float], tuple[Row, dict[str, object]]]  # competitor, shape, limit -> row, outcome
_SHOWN = ("shape", "round", "competitor", "status", "seconds", "cpu_seconds", "load_1min", "peak_mib")
_OVERHEAD = 15.0  # seconds of starting a process, making data and predicting


class OutOfTime(Exception):
    """The minutes that were given are over, or the next fit would not end in them."""


class Campaign:
    """What is to be measured, in which order, within ``seconds``."""

    def __init__(
        self,
        log: Log,
        fit: Fit,
        seconds: float,
        most_seconds: float,
        prune: float,
        also: Sequence[str] = (),
    ) -> None:
        self.log, self.fit, self.most_seconds, self.prune, self.also = log, fit, most_seconds, prune, also
        self.end = time.monotonic() + seconds

    def scout(self, shape: str) -> None:
        """Round 0: everybody once; only rivals that are missing where the fastest was found before (round
        -1)."""
        number = self._scouting(shape)
        if number == 0:
            self._ask(shape, 0, REFERENCE)
        for name in self._candidates(shape):
            best = self.log.seconds(shape, self.fastest(shape))
            self._ask(shape, number, name, min(self.most_seconds, best or self.most_seconds))
        if number == 0:
            for name in self._possible(shape, self.also):
                self._ask(shape, 0, name)
            self._ask(shape, 0, "null")

    def race(self, shape: str, number: int) -> None:
        """One of the later rounds."""
        names = [REFERENCE, self.fastest(shape), "null"]
        for name in names if number % 2 == 0 else names[::-1]:
            if name is not None:
                self._ask(shape, number, name)

    def fastest(self, shape: str) -> str | None:
        """The peer of the shape with the least time in round 0; None where none came to an end."""
        times = {
            row["competitor"]: row["seconds"]
            for row in self.log.rows
            if row["shape"] == shape and row["round"] <= 0 and row["status"] == "ok"
        }
        peers = [name for name in times if name in rivals(SHAPES[shape])]
        return min(peers, key=lambda name: times[name], default=None)

    def _scouting(self, shape: str) -> int:
        """The round in which the fastest peer is found."""
        return -1 if any(row["shape"] == shape and row["round"] == -1 for row in self.log.rows) else 0

    def _candidates(self, shape: str) -> list[str]:
        """Rivals that would end, those with the least operations first; who has far more is left out."""
        asked = self._possible(shape, rivals(SHAPES[shape]))
        if SHAPES[shape].leaves_one_out:
            return asked
        flops = {name: _himalaya(name).expected_flops(SHAPES[shape]) for name in asked}
        for name in list(asked):
            times = flops[name] / min(flops.values())
            if times > self.prune:
                asked.remove(name)
                self._leave_out(shape, name, f"{times:.1f} times the operations of himalaya's other solver")
        return sorted(asked, key=lambda name: flops[name])

    def _possible(self, shape: str, names: Sequence[str]) -> list[str]:
        """Those that can be asked; of the others it is written down why not."""
        asked = []
        for name in names:
            adapter = get_adapter(name)
            refusal = adapter.refusal(SHAPES[shape]) if adapter.available() else "is not there"
            if refusal:
                self._leave_out(shape, name, refusal)
            else:
                asked.append(name)
        return asked

    def _leave_out(self, shape: str, name: str, why: str) -> None:
        number = self._scouting(shape)
        if self.log.find(shape, number, name) is None:
            self._keep(
                {"shape": shape, "round": number, "competitor": name, "status": f"left out: {why}"}, {}
            )

    def _ask(self, shape: str, number: int, name: str, limit: float | None = None) -> None:
        """One fit, unless it is known already."""
        if self.log.find(shape, number, name) is not None:
            return
        limit = limit or self.most_seconds
        expected = self.log.seconds(shape, name) or min(limit, self.most_seconds / 4)
        if time.monotonic() + expected + _OVERHEAD > self.end:
            raise OutOfTime
        row, outcome = self.fit(name, shape, limit)
        place = {"shape": shape, "round": number, "competitor": name, "solver": solver_version()}
        self._keep(place | row, outcome)

    def _keep(self, row: Row, outcome: dict[str, object]) -> None:
        self.log.add(row, outcome)
        print(*(f"{key} {cell(row[key])}" for key in _SHOWN if key in row), sep="  ", flush=True)


def _himalaya(name: str) -> Himalaya:
    adapter = get_adapter(name)
    assert isinstance(adapter, Himalaya)
    return adapter


def start_again(log: Log) -> None:
    """Keep only what the rivals took in round 0, which counts as a round no more: its voxridge is gone."""
    log.drop(lambda row: row["round"] > 0 or row["competitor"] in (REFERENCE, "null"))
    log.renumber(0, -1)


def measure(campaign: Campaign, shapes: list[str], n_rounds: int) -> bool:
    """Everything that is still missing; False where time ran out first."""
    try:
        for shape in shapes:
            campaign.scout(shape)
        for number in range(1, n_rounds):
            for shape in shapes:
                campaign.race(shape, number)
    except OutOfTime:
        return False
    return True


def parse(arguments: list[str] | None) -> argparse.Namespace:
    known = {**RACES, **LEAVE_ONE_OUT}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default=",".join(known), help="default: all of them")
    parser.add_argument("--rounds", type=int, default=3, help="with round 0")
    parser.add_argument("--minutes", type=float, default=120, help="nothing is begun that would end later")
    parser.add_argument("--most-seconds", type=float, default=600, help="a fit that takes longer is stopped")
    parser.add_argument(
        "--prune", type=float, default=3, help="leave out solvers with so many times the operations"
    )
    parser.add_argument("--also", default="", help="more peers for round 0, such as sklearn")
    parser.add_argument("--huth", help="HuthLab's ridge_utils/ridge.py: makes huth such a peer")
    parser.add_argument("--threads", type=int, help="for everybody (default: each one's own default)")
    parser.add_argument("--fresh", action="store_true", help="keep nothing but who the fastest peers are")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument(
        "--no-truth", action="store_true", help="no scores in float64 to hold everybody against"
    )
    parser.add_argument(
        "--log", type=Path, default=ROOT / "build" / "campaign", help="what is measured goes here"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where tables and the plot go")
    options = parser.parse_args(arguments)
    options.shapes = options.shapes.split(",")
    unknown = [name for name in options.shapes if name not in SHAPES]
    if unknown or options.rounds < 1:
        parser.error(f"--shapes {','.join(unknown)} not known, or --rounds {options.rounds} < 1")
    options.also = [name for name in options.also.split(",") if name]
    if options.huth:
        os.environ[VARIABLE] = os.path.abspath(options.huth)
        options.also.append("huth")
    strange = [name for name in options.also if name not in ADAPTERS]
    if strange:
        parser.error(f"--also {','.join(strange)}: not known; there are {', '.join(ADAPTERS)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    log = Log(options.log)
    if options.fresh:
        start_again(log)
    if not options.report:

        def fit(name: str, shape: str, limit: float) -> tuple[Row, dict[str, object]]:
            return fit_in_fresh_process(name, shape, threads=options.threads, limit_seconds=limit)

        limits = 60 * options.minutes, options.most_seconds, options.prune
        campaign = Campaign(log, fit, *limits, also=options.also)
        if not measure(campaign, options.shapes, options.rounds):
            print("TIME IS UP: the same command goes on from here")
    stopped = sum(row["status"].startswith(STOPPED) for row in log.rows)
    settings = {"rounds": options.rounds, "threads": options.threads, "stopped_fits": stopped}
    return report(log, options.shapes, options.out, settings, with_truth=not options.no_truth)


if __name__ == "__main__":
    sys.exit(main())

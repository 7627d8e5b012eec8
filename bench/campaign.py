"""All races of issue-sized shapes in one go: `python -m bench.campaign --rounds 3 --minutes 80`.

First himalaya's solvers race each other on every shape at half its size (round -1): who takes longer than
the fastest so far is stopped. Then voxridge, the fastest of them (in round 0 whoever came close, too) and
null fit the full shapes, shape after shape, every other round in reverse order. Every fit has a fresh
process and is written down when it ends: a campaign that was stopped, however it happened, goes on where it
was. In the end everything is compared, held against the targets, written to results/ and drawn; --report
does that alone."""

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

Fit = Callable[[str, str, float, float], tuple[Row, dict[str, object]]]  # who, shape, scale, limit in seconds
SCOUTING = -1
_SHOWN = ("shape", "round", "competitor", "status", "seconds", "cpu_seconds", "load_1min", "peak_mib")
_OVERHEAD = 15.0  # seconds of starting a process, making data and predicting
_CLOSE = 1.25  # times what the fastest took at half size: such a peer is asked at full size, too


class OutOfTime(Exception):
    """The minutes that were given are over, or the next fit would not end in them."""


class Campaign:
    """What is to be measured, in which order, within ``seconds``."""

    def __init__(
        self,
        log: Log,
        fit: Fit,
        seconds: float,
        most_seconds: float = 1200,
        scale: float = 0.5,
        also: Sequence[str] = (),
    ) -> None:
        self.log, self.fit, self.most_seconds, self.scale, self.also = log, fit, most_seconds, scale, also
        self.end = time.monotonic() + seconds

    def scout(self, shape: str) -> None:
        """Rivals against each other at a part of the size, those with the least operations first."""
        names = self._possible(shape, rivals(SHAPES[shape]))
        if len(names) < 2:
            return
        for name in sorted(names, key=lambda name: _himalaya(name).expected_flops(SHAPES[shape])):
            best = min(self._times(shape, SCOUTING).values(), default=self.most_seconds)
            self._ask(shape, SCOUTING, name, _CLOSE * best)

    def race(self, shape: str, number: int) -> None:
        """A round at full size."""
        peers = self.peers(shape, number)
        names = [REFERENCE, *peers[:1], "null"]
        for name in names if number % 2 == 0 else names[::-1]:
            self._ask(shape, number, name)
        for name in peers[1:]:
            self._ask(shape, number, name, self._times(shape, 0).get(peers[0]))
        if number == 0:
            for name in self._possible(shape, self.also):
                self._ask(shape, number, name)

    def peers(self, shape: str, number: int) -> list[str]:
        """The rivals that are asked in a round, the fastest so far first: in round 0 all that came close at a
        part of the size, later the one that was fastest in round 0."""
        if number > 0:
            times = self._times(shape, 0)
            return sorted(times, key=lambda name: times[name])[:1]
        times = self._times(shape, SCOUTING)
        if not times:
            return self._possible(shape, rivals(SHAPES[shape]))[:1]
        best = min(times.values())
        return [name for name in sorted(times, key=lambda name: times[name]) if times[name] <= _CLOSE * best]

    def _times(self, shape: str, number: int) -> dict[str, float]:
        """Of the rivals that came to an end in a round."""
        return {
            row["competitor"]: row["seconds"]
            for row in self.log.rows
            if (row["shape"], row["round"], row["status"]) == (shape, number, "ok")
            and row["competitor"] in rivals(SHAPES[shape])
        }

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
        row = {"shape": shape, "round": SCOUTING, "competitor": name, "status": f"left out: {why}"}
        if self.log.find(shape, SCOUTING, name) is None:
            self._keep(row, {})

    def _ask(self, shape: str, number: int, name: str, limit: float | None = None) -> None:
        """One fit, unless it is known already."""
        if self.log.find(shape, number, name) is not None:
            return
        limit = min(self.most_seconds, limit or self.most_seconds)
        if time.monotonic() + min(limit, self._expected(shape, number, name)) + _OVERHEAD > self.end:
            raise OutOfTime
        scale = self.scale if number == SCOUTING else 1.0
        row, outcome = self.fit(name, shape, scale, limit)
        place = {"shape": shape, "round": number, "competitor": name, "solver": solver_version()}
        self._keep(place | {"scale": scale} | row, outcome if number >= 0 else {})

    def _expected(self, shape: str, number: int, name: str) -> float:
        """Seconds of a fit: as it took before, or as it must be from a part of the size."""
        known = self.log.seconds(shape, name)
        if number == SCOUTING or known:
            return known or 0.0
        scouted = self._times(shape, SCOUTING)
        return scouted[name] / self.scale**3 if name in scouted else 0.0

    def _keep(self, row: Row, outcome: dict[str, object]) -> None:
        self.log.add(row, outcome)
        print(*(f"{key} {cell(row[key])}" for key in _SHOWN if key in row), sep="  ", flush=True)


def _himalaya(name: str) -> Himalaya:
    adapter = get_adapter(name)
    assert isinstance(adapter, Himalaya)
    return adapter


def measure(campaign: Campaign, shapes: list[str], n_rounds: int) -> bool:
    """Everything that is still missing; False where time ran out first."""
    try:
        for shape in shapes:
            campaign.scout(shape)
        for number in range(n_rounds):
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
    parser.add_argument("--rounds", type=int, default=3, help="at full size")
    parser.add_argument("--minutes", type=float, default=120, help="nothing is begun that would end later")
    parser.add_argument("--most-seconds", type=float, default=1200, help="a fit that takes longer is stopped")
    parser.add_argument("--scout-scale", type=float, default=0.5, help="of the sizes in round -1")
    parser.add_argument("--also", default="", help="more peers for round 0, such as sklearn")
    parser.add_argument("--huth", help="HuthLab's ridge_utils/ridge.py: makes huth such a peer")
    parser.add_argument("--threads", type=int, help="for everybody (default: each one's own default)")
    parser.add_argument("--fresh", action="store_true", help="drop all rounds but round -1")
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
        log.drop(lambda row: row["round"] != SCOUTING)
    if not options.report:
        others = {row["threads"] for row in log.rows if "threads" in row} - {options.threads}
        if others:
            print(f"--threads {options.threads}: this log was begun with {others}; give another --log")
            return 2

        def fit(name: str, shape: str, scale: float, limit: float) -> tuple[Row, dict[str, object]]:
            sizes = shape if scale == 1 else SHAPES[shape].scaled(scale)
            row, found = fit_in_fresh_process(name, sizes, threads=options.threads, limit_seconds=limit)
            return {"threads": options.threads, **row}, found

        limits = 60 * options.minutes, options.most_seconds, options.scout_scale
        campaign = Campaign(log, fit, *limits, also=options.also)
        if not measure(campaign, options.shapes, options.rounds):
            print("TIME IS UP: the same command goes on from here")
    stopped = sum(row["status"].startswith(STOPPED) for row in log.rows)
    settings = {"rounds": options.rounds, "threads": options.threads, "stopped_fits": stopped}
    return report(log, options.shapes, options.out, settings, with_truth=not options.no_truth)


if __name__ == "__main__":
    sys.exit(main())

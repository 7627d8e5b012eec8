"""Praat TextGrid files: praatio where it can, and a tolerant reader of the same text formats where it cannot.

praatio refuses the chronological text format and intervals that overlap, both of which exist in
published data sets.
"""

from __future__ import annotations

import codecs
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxridge._warnings import StimulusWarning
from voxridge.features.fetched import check_fetched

_CHRONOLOGICAL = "Praat chronological TextGrid text file"
# What Praat reads in its text formats: quoted strings, free-standing numbers and <flags>. Everything else,
# such as the names in the long format, is a comment, as is the rest of a line after "!".
_TOKEN = re.compile(r'"(?P<text>(?:[^"]|"")*)"|!(?P<comment>[^\n]*)|(?P<bare>[^\s"]+)')


@dataclass(frozen=True)
class Interval:
    """One labelled stretch of time, in seconds."""

    start: float
    stop: float
    label: str


@dataclass(frozen=True)
class Tier:
    """One interval tier of a TextGrid."""

    name: str
    intervals: tuple[Interval, ...]


def read_bytes(file: Path) -> bytes:
    """Return the content of a text file.

    Raises
    ------
    FileNotFoundError
        If the file is missing, or is only a git-annex or Git LFS pointer.
    """
    check_fetched(file)
    return file.read_bytes()


def decode(content: bytes, file: Path) -> str:
    """Decode UTF-8 or UTF-16, with or without a mark; anything else as Latin-1, with a warning."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    # Annotation files start with ASCII, so a zero in the first two bytes means UTF-16 without a mark.
    if len(content) >= 2 and 0 in content[:2]:
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        warnings.warn(
            f"{file}: not valid UTF-8 (byte {error.start}); read as Latin-1. Save it as UTF-8 to be sure.",
            StimulusWarning,
            stacklevel=2,
        )
        return content.decode("latin-1")


def read_textgrid(file: Path) -> list[Tier]:
    """Return the interval tiers of a TextGrid in any of Praat's text formats; point tiers are left out.

    Raises
    ------
    FileNotFoundError
        If the file is missing or a pointer.
    ValueError
        If neither praatio nor the tolerant reader understands it; the message says what was expected where.
    """
    text = decode(read_bytes(file), file)
    if not text.lstrip().startswith(f'"{_CHRONOLOGICAL}"'):
        tiers = _read_with_praatio(file)
        if tiers is not None:
            return tiers
    return _TextGridParser(text, file).tiers()


def _read_with_praatio(file: Path) -> list[Tier] | None:
    try:
        from praatio import textgrid as praatio_textgrid
    except ImportError:
        return None
    try:
        grid = praatio_textgrid.openTextgrid(
            str(file), includeEmptyIntervals=True, reportingMode="silence", duplicateNamesMode="rename"
        )
    except Exception:
        # praatio raises its own errors, ValueError, IndexError, UnicodeError, ... for files that the
        # tolerant reader below understands; that reader gives the message if it fails as well.
        return None
    return [
        Tier(tier.name, tuple(Interval(float(e.start), float(e.end), str(e.label)) for e in tier.entries))
        for tier in grid.tiers
        if isinstance(tier, praatio_textgrid.IntervalTier)
    ]


class _TextGridParser:
    """Reads the long, short and chronological formats as one stream of strings, numbers and flags."""

    def __init__(self, text: str, file: Path) -> None:
        self._file = file
        self._values = iter(list(_tokens(text)))

    def tiers(self) -> list[Tier]:
        first = self._string("the file type")
        if first == _CHRONOLOGICAL:
            return self._chronological()
        if not first.startswith("ooTextFile"):
            raise self._error(
                f'the first string is {first!r}; a TextGrid starts with File type = "ooTextFile"'
            )
        kind = self._string("the object class")
        if kind != "TextGrid":
            raise self._error(f"it holds a {kind!r}, not a TextGrid")
        self._number("xmin")
        self._number("xmax")
        if self._next("the flag <exists>") != ("flag", "<exists>"):
            raise self._error("it says that it has no tiers")
        tiers = []
        for _ in range(self._count("the number of tiers")):
            kind, name = self._header()
            read = self._interval if kind == "IntervalTier" else self._point
            items = tuple(read() for _ in range(self._count(f"the size of tier {name!r}")))
            if kind == "IntervalTier":
                tiers.append(Tier(name, items))
        return tiers

    def _chronological(self) -> list[Tier]:
        self._number("xmin")
        self._number("xmax")
        headers = [self._header() for _ in range(self._count("the number of tiers"))]
        items: list[list[Interval]] = [[] for _ in headers]
        for kind, value in self._values:
            index = int(value) - 1 if kind == "number" else -1
            if not 0 <= index < len(headers):
                raise self._error(f"expected a tier number from 1 to {len(headers)}; got {value!r}")
            items[index].append(self._interval() if headers[index][0] == "IntervalTier" else self._point())
        return [
            Tier(name, tuple(found))
            for (kind, name), found in zip(headers, items, strict=True)
            if kind == "IntervalTier"
        ]

    def _header(self) -> tuple[str, str]:
        kind = self._string("the class of a tier")
        if kind not in ("IntervalTier", "TextTier"):
            raise self._error(f"unknown class of tier {kind!r}")
        name = self._string("the name of a tier")
        self._number(f"xmin of tier {name!r}")
        self._number(f"xmax of tier {name!r}")
        return kind, name

    def _interval(self) -> Interval:
        return Interval(self._number("xmin"), self._number("xmax"), self._string("the text of an interval"))

    def _point(self) -> Interval:
        time = self._number("the time of a point")
        return Interval(time, time, self._string("the mark of a point"))

    def _next(self, what: str) -> tuple[str, str]:
        found = next(self._values, None)
        if found is None:
            raise self._error(f"it ends where {what} should come: the file is cut off")
        return found

    def _number(self, what: str) -> float:
        kind, value = self._next(what)
        if kind != "number":
            raise self._error(f"expected {what} (a number); got {value!r}")
        return float(value)

    def _count(self, what: str) -> int:
        value = self._number(what)
        if value < 0 or value != int(value):
            raise self._error(f"{what} is {value:g}")
        return int(value)

    def _string(self, what: str) -> str:
        kind, value = self._next(what)
        if kind != "string":
            raise self._error(f"expected {what} (in quotes); got {value!r}")
        return value

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self._file}: not a TextGrid that can be read: {what}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield "string", match["text"].replace('""', '"')
        elif match["bare"] is not None:
            bare = match["bare"]
            if bare.startswith("<") and bare.endswith(">"):
                yield "flag", bare
            elif re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", bare):
                yield "number", bare


def choose_tier(tiers: Sequence[Tier], wanted: str | int | None, file: Path) -> Tier:
    """Return the tier asked for, or the one that must hold the words.

    Raises
    ------
    ValueError
        If there is no such interval tier, or more than one could be meant; the message lists all of them.
    """
    names = [tier.name for tier in tiers]
    listing = f"its interval tiers are {names}"
    if isinstance(wanted, int):
        if not 0 <= wanted < len(tiers):
            raise ValueError(f"{file}: no interval tier {wanted}; {listing}")
        return tiers[wanted]
    rules: list[Callable[[str], bool]]
    if wanted is not None:
        rules = [
            lambda name: name == wanted,
            lambda name: name.strip().casefold() == wanted.strip().casefold(),
        ]
    elif len(tiers) == 1:
        return tiers[0]
    else:
        # "speaker - words" is how the Montreal Forced Aligner names its tiers.
        rules = [
            lambda name: name.strip().casefold() in ("word", "words"),
            lambda name: name.strip().casefold().endswith((" word", " words")),
        ]
    for rule in rules:
        found = [tier for tier in tiers if rule(tier.name)]
        if len(found) == 1:
            return found[0]
    asked = "say which tier holds the words" if wanted is None else f"no single interval tier {wanted!r}"
    raise ValueError(f"{file}: {asked}: tier=name or index; {listing}")


def clip_overlaps(intervals: Sequence[Interval], file: Path) -> list[Interval]:
    """Sort by start and cut each interval where the next one starts; warn once with the number of cuts.

    Raises
    ------
    ValueError
        If an interval ends before it starts.
    """
    for item in intervals:
        if item.stop < item.start:
            raise ValueError(
                f"{file}: {item.label!r} ends at {item.stop:g} s, before it starts at {item.start:g} s"
            )
    ordered = sorted(intervals, key=lambda item: item.start)
    clipped = [
        Interval(item.start, min(item.stop, after.start), item.label)
        for item, after in itertools.pairwise(ordered)
    ] + ordered[-1:]
    cut = [(old, new) for old, new in zip(ordered, clipped, strict=True) if old.stop > new.stop]
    if cut:
        old, new = cut[0]
        warnings.warn(
            f"{file}: {len(cut)} intervals overlap the next one and were cut; the first is {old.label!r}, "
            f"{old.start:g} to {old.stop:g} s, now to {new.stop:g} s",
            StimulusWarning,
            stacklevel=3,
        )
    return clipped

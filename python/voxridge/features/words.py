"""Words with their times, read from the annotation files of the field."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxridge.features.textgrid import Interval, choose_tier, clip_overlaps, decode, read_bytes, read_textgrid

FloatArray = npt.NDArray[np.float64]

PAUSES = ("", "sp", "sil", "<p>")
_COLUMNS = ("word", "onset", "offset")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, eq=False)
class Words:
    """The words of one run with their times, in the order in which they start.

    Parameters
    ----------
    text : sequence of str, length n_words
        The words; punctuation that belongs to a word stays in it. No word may be empty.
    onset, offset : (n_words,) float64, seconds
        Start and end of each word on the clock of the stimulus; ``offset >= onset``, onsets never falling.
        Both are copied and made read-only.

    Raises
    ------
    ValueError
        If the lengths differ, a time is NaN or infinite, a word ends before it starts, the onsets fall
        somewhere, or a word is empty. The message names the first bad word.

    Examples
    --------
    >>> words = Words(("Alice", "was"), [20.1, 20.6], [20.6, 20.8])
    >>> len(words), float(words.shift(-20.0).onset[0].round(1))
    (2, 0.1)
    """

    text: tuple[str, ...]
    onset: FloatArray
    offset: FloatArray

    def __init__(self, text: Sequence[str], onset: npt.ArrayLike, offset: npt.ArrayLike) -> None:
        if isinstance(text, str):
            raise TypeError(
                "text is a sequence of words, one string each; got a single string: use text.split()"
            )
        times = []
        for name, values in (("onset", onset), ("offset", offset)):
            array = np.array(values, dtype=np.float64)
            if array.shape != (len(text),):
                raise ValueError(
                    f"{name} has shape {array.shape}, but there are {len(text)} words: give one time per word"
                )
            array.flags.writeable = False
            times.append(array)
        object.__setattr__(self, "text", tuple(str(word) for word in text))
        object.__setattr__(self, "onset", times[0])
        object.__setattr__(self, "offset", times[1])
        self._validate()

    def _validate(self) -> None:
        for index, word in enumerate(self.text):
            if not word.strip():
                raise ValueError(f"word {index} is empty ({word!r}): leave pauses out")
        checks = (
            (~np.isfinite(self.onset) | ~np.isfinite(self.offset), "has a time that is not a finite number"),
            (self.offset < self.onset, "ends before it starts"),
            (
                np.diff(self.onset, prepend=-np.inf) < 0,
                "starts before the word in front of it: sort by onset",
            ),
        )
        for bad, what in checks:
            if bad.any():
                i = int(np.argmax(bad))
                raise ValueError(
                    f"word {i} ({self.text[i]!r}, {self.onset[i]:g} to {self.offset[i]:g} s) {what}"
                )

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, rows: slice) -> Words:
        """Return the words of a slice; a single integer is refused, because a word alone has no order."""
        if not isinstance(rows, slice):
            raise TypeError(f"Words takes a slice such as words[10:20]; got {type(rows).__name__}")
        return Words(self.text[rows], self.onset[rows], self.offset[rows])

    @property
    def midpoint(self) -> FloatArray:
        """(n_words,) float64, seconds: the middle of each word, the time used for downsampling."""
        middle: FloatArray = (self.onset + self.offset) / 2
        return middle

    def shift(self, seconds: float) -> Words:
        """Return the same words with `seconds` added to every time (negative: earlier).

        Raises
        ------
        ValueError
            If ``seconds`` is not finite.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"seconds must be a finite number; got {seconds}")
        return Words(self.text, self.onset + seconds, self.offset + seconds)

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the words and their times: two equal digests mean the same stimulus."""
        sha = hashlib.sha256()
        for word in self.text:
            encoded = word.encode("utf-8", "surrogatepass")
            sha.update(len(encoded).to_bytes(8, "little") + encoded)
        sha.update(self.onset.astype("<f8").tobytes())
        sha.update(self.offset.astype("<f8").tobytes())
        return sha.hexdigest()

    def check_within(self, start: float, stop: float, *, what: str = "the audio") -> None:
        """Raise ValueError if a word starts before `start` or ends after `stop` (seconds).

        Parameters
        ----------
        start, stop : float, seconds
            The stretch of time that exists.
        what : str
            Its name in the message, such as ``"the audio"`` or ``"run 3"``.

        Raises
        ------
        ValueError
            If a word lies outside; the message names the first.
        """
        bad = (self.onset < start) | (self.offset > stop)
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"{int(bad.sum())} of {len(self)} words lie outside {what} ({start:g} to {stop:g} s); the "
                f"first is word {i} ({self.text[i]!r}, {self.onset[i]:g} to {self.offset[i]:g} s): check the "
                "unit (seconds), the start of the scan (Words.shift) or leave these words out (words[a:b])"
            )


def read_words(path: str | Path, *, tier: str | int | None = None, pauses: Iterable[str] = PAUSES) -> Words:
    """Read words and their times from a Praat TextGrid or a table.

    Parameters
    ----------
    path : str or Path
        ``.TextGrid`` (long, short and chronological text formats; UTF-8 or UTF-16) or ``.csv`` / ``.tsv``
        with the columns ``word``, ``onset``, ``offset`` (seconds; further columns are ignored).
    tier : str, int or None
        TextGrid only: name or index of the interval tier with the words. None takes the only interval
        tier, or the one called ``word`` or ``words``.
    pauses : iterable of str
        Labels that are not words; compared without case and surrounding blanks.

    Returns
    -------
    Words

    Raises
    ------
    FileNotFoundError
        If `path` does not exist, or is the pointer of git-annex or Git LFS to a file that was not fetched.
    ValueError
        If the format is not known, a column is missing, a time is missing, NaN, infinite or no number, a word
        ends before it starts, the tier does not exist, or no word is left. The message names file and line.

    Warns
    -----
    StimulusWarning
        If words overlap (the earlier one is cut where the next one starts) or the text is not valid UTF-8.

    Examples
    --------
    >>> words = read_words("story.TextGrid", tier="word")      # doctest: +SKIP
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix == ".textgrid":
        chosen = choose_tier(read_textgrid(file), tier, file)
        skip = _normalised(pauses)
        spoken = [item for item in chosen.intervals if item.label.strip().casefold() not in skip]
        rows: list[Interval] = clip_overlaps(spoken, file)
    elif suffix in _DELIMITERS:
        if tier is not None:
            raise ValueError(f"tier={tier!r} is for TextGrid files; {file.name} is a table")
        rows = clip_overlaps(_read_table(file, _DELIMITERS[suffix], _normalised(pauses)), file)
    else:
        raise ValueError(f"{file}: unknown kind of word file {suffix!r}: use .TextGrid, .csv or .tsv")
    if not rows:
        raise ValueError(f"{file}: no words in it (labels taken as pauses: {sorted(_normalised(pauses))})")
    return Words([r.label.strip() for r in rows], [r.start for r in rows], [r.stop for r in rows])


def _normalised(labels: Iterable[str]) -> frozenset[str]:
    # A file never means an empty label as a word, whatever list of pauses is given.
    return frozenset(label.strip().casefold() for label in labels) | {""}


def _read_table(file: Path, delimiter: str, pauses: frozenset[str]) -> list[Interval]:
    text = decode(read_bytes(file), file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"{file}: column {', '.join(missing)} missing; the first line has {header}: name the columns "
            f"{', '.join(_COLUMNS)} and separate them with {'tabs' if delimiter == chr(9) else 'commas'}"
        )
    where = [header.index(name) for name in _COLUMNS]
    rows: list[Interval] = []
    for record in reader:
        if not record:
            continue
        place = f"{file}, line {reader.line_num}"
        if len(record) <= max(where):
            raise ValueError(f"{place}: {len(record)} fields, but the first line has {len(header)}")
        label = record[where[0]]
        if label.strip().casefold() in pauses:
            continue
        start, stop = (_seconds(record[where[i]], _COLUMNS[i], label, place) for i in (1, 2))
        if stop < start:
            raise ValueError(f"{place}: word {label!r} has offset {stop:g} s before its onset {start:g} s")
        if rows and start < rows[-1].start:
            raise ValueError(
                f"{place}: word {label!r} starts at {start:g} s, before the word in front of it "
                f"({rows[-1].start:g} s): sort the table by onset, or split it into runs"
            )
        rows.append(Interval(start, stop, label))
    return rows


def _seconds(field: str, column: str, label: str, place: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{place}: {column} of word {label!r} is {field.strip()!r}, not a number of seconds")
    return value

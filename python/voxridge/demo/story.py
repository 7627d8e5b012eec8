"""The demo's short story, and word times from a simple, deterministic model of a reader's pace.

The story was written for this package. No voice was recorded: each word lasts as long as its syllables and
letters suggest, commas and full stops bring pauses, and the whole is scaled to an audiobook's mean pace.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib import resources

import numpy as np

from voxridge.features import Words

WORDS_PER_SECOND = 2.6
LEAD_IN = 3.0
LEAD_OUT = 9.0
_PAUSES = ((".", 0.62), ("?", 0.66), ("!", 0.66), (":", 0.45), (";", 0.45), (",", 0.24))
_PARAGRAPH_PAUSE = 0.45


@dataclass(frozen=True)
class Chapter:
    """One chapter: its title (not spoken) and its paragraphs."""

    title: str
    paragraphs: tuple[str, ...]

    @property
    def n_words(self) -> int:
        return sum(len(paragraph.split()) for paragraph in self.paragraphs)


@dataclass(frozen=True)
class Story:
    """Title and chapters; one chapter is one run of the simulated scan."""

    title: str
    chapters: tuple[Chapter, ...]


def load_story() -> Story:
    """The packaged story.

    Examples
    --------
    >>> story = load_story()
    >>> len(story.chapters)
    5
    """
    text = resources.files("voxridge").joinpath("data", "story.txt").read_text(encoding="utf-8")
    return parse_story(text)


def parse_story(text: str) -> Story:
    """Read ``# title``, ``## chapter title`` and paragraphs separated by empty lines.

    Raises
    ------
    ValueError
        When there is no title or no chapter.
    """
    heading, _, body = text.strip().partition("\n")
    if not heading.startswith("# "):
        raise ValueError("the story must begin with a line '# TITLE'")
    chapters = []
    for part in re.split(r"^## ", body, flags=re.MULTILINE)[1:]:
        title, _, prose = part.partition("\n")
        paragraphs = tuple(" ".join(p.split()) for p in re.split(r"\n\s*\n", prose) if p.strip())
        chapters.append(Chapter(title.strip(), paragraphs))
    if not chapters:
        raise ValueError("the story has no chapter: mark each with a line '## TITLE'")
    return Story(heading[2:].strip(), tuple(chapters))


def read_aloud(chapter: Chapter, *, pace: float = WORDS_PER_SECOND, lead_in: float = LEAD_IN) -> Words:
    """Words of a chapter with onsets and offsets in seconds.

    A word of ``s`` syllables and ``c`` letters takes ``0.09 + 0.11 s + 0.012 c`` seconds before scaling; a
    pause follows punctuation and paragraphs. All times are then scaled so that words per second of speech
    and pauses together is ``pace``.

    Parameters
    ----------
    chapter : Chapter
    pace : float
        Mean words per second, pauses included.
    lead_in : float
        Silence before the first word, in seconds.
    """
    if pace <= 0:
        raise ValueError(f"pace={pace}: give a positive number of words per second")
    words: list[str] = []
    spoken: list[float] = []
    pauses: list[float] = []
    for paragraph in chapter.paragraphs:
        for word in paragraph.split():
            words.append(word)
            letters = len(re.sub(r"[^A-Za-z]", "", word))
            spoken.append(0.09 + 0.11 * syllables(word) + 0.012 * letters)
            pauses.append(pause_after(word))
        pauses[-1] += _PARAGRAPH_PAUSE
    length = np.array(spoken)
    onset = np.concatenate([[0.0], np.cumsum(length + np.array(pauses))[:-1]])
    total = onset[-1] + length[-1]
    scale = len(words) / pace / total
    return Words(tuple(words), lead_in + onset * scale, lead_in + (onset + length) * scale)


def syllables(word: str) -> int:
    """A count by groups of vowels, a silent final e left out; at least 1.

    Examples
    --------
    >>> [syllables(w) for w in ("dam", "valley", "surveyor", "scale")]
    [1, 2, 3, 1]
    """
    letters = re.sub(r"[^a-z]", "", word.lower())
    groups = len(re.findall(r"[aeiouy]+", letters))
    if letters.endswith("e") and not letters.endswith("le") and groups > 1:
        groups -= 1
    return max(groups, 1)


def pause_after(word: str) -> float:
    """Silence after a word in seconds before scaling, from its last punctuation mark."""
    tail = word.rstrip("\"')")
    return next((pause for mark, pause in _PAUSES if tail.endswith(mark)), 0.0)


def run_length(words: Words, tr: float, *, lead_out: float = LEAD_OUT) -> int:
    """Volumes of TR seconds that cover a run from 0 s until ``lead_out`` seconds after its last word."""
    return math.ceil((float(words.offset[-1]) + lead_out) / tr)

"""The files of each story: words, sound and running text that belong together by their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voxridge._natural import natural_key

_KINDS = {
    "words": (".textgrid", ".csv", ".tsv"),
    "audio": (".wav", ".flac", ".mp3", ".ogg"),
    "text": (".txt",),
}


@dataclass(frozen=True)
class StoryFiles:
    """What is on disk of one story.

    Attributes
    ----------
    name : str
        Stem of its files, and name of the run in stores.
    words : Path or None
        Words and their times: .TextGrid, .csv or .tsv.
    audio : Path or None
        Sound: .wav, .flac, .mp3 or .ogg.
    text : Path or None
        Running text with punctuation: .txt.
    """

    name: str
    words: Path | None = None
    audio: Path | None = None
    text: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Those that are there."""
        return [path for path in (self.words, self.audio, self.text) if path is not None]


def find_stories(paths: Iterable[str | Path]) -> dict[str, StoryFiles]:
    """Gather stories from files and folders; files with the same stem are one story.

    Parameters
    ----------
    paths : iterable of path
        Files are taken as they are; of a folder, the files with a known suffix that lie directly in it. Text
        there without words or sound of its name (LICENSE.txt) is no story.

    Returns
    -------
    dict of str to StoryFiles
        In natural order of the names: ``run-2`` before ``run-10``.

    Raises
    ------
    FileNotFoundError
        A path does not exist, or a folder holds no such file.
    ValueError
        The kind of a file is not known, or a story has two files of one kind.

    Examples
    --------
    >>> from pathlib import Path
    >>> for name in ("run-10.csv", "run-2.csv", "run-2.wav"):
    ...     _ = Path(name).write_text("")
    >>> list(find_stories(["."]))
    ['run-2', 'run-10']
    """
    found: dict[str, dict[str, Path]] = {}
    for path in _files(paths):
        kind = _kind(path)
        if kind is None:
            known = ", ".join(suffix for suffixes in _KINDS.values() for suffix in suffixes)
            raise ValueError(f"{path}: unknown kind of stimulus file {path.suffix!r}: use one of {known}")
        story = found.setdefault(path.stem, {})
        if kind in story and story[kind] != path:
            raise ValueError(
                f"story {path.stem!r} has two files of {kind}, {story[kind]} and {path}: the stem names the "
                "story, so rename or leave out one of them"
            )
        story[kind] = path
    return {name: StoryFiles(name, **found[name]) for name in sorted(found, key=natural_key)}


def _kind(path: Path) -> str | None:
    return next((kind for kind, suffixes in _KINDS.items() if path.suffix.lower() in suffixes), None)


def _files(paths: Iterable[str | Path]) -> Iterable[Path]:
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = [item for item in sorted(path.iterdir()) if _kind(item) and item.name[0] != "."]
            stems = {item.stem for item in inside if _kind(item) != "text"}
            if not stems:
                raise FileNotFoundError(
                    f"{path} holds no stimulus: words (.TextGrid, .csv, .tsv) or sound, a stem a story"
                )
            yield from (item for item in inside if item.stem in stems)
        # A link that leads nowhere is what git-annex leaves of a file not fetched: its reader says so.
        elif path.exists() or path.is_symlink():
            yield path
        else:
            raise FileNotFoundError(f"{path} does not exist")

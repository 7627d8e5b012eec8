"""Files on disk that belong to one story."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxridge._natural import natural_key
from voxridge.features.stories import StoryFiles, find_stories


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def test_files_with_one_stem_are_one_story(tmp_path: Path) -> None:
    make(tmp_path, "b.TextGrid", "b.WAV", "b.txt", "a.csv", "notes.md", ".hidden.csv", "LICENSE.txt")
    assert find_stories([tmp_path]) == {
        "a": StoryFiles("a", words=tmp_path / "a.csv"),
        "b": StoryFiles("b", tmp_path / "b.TextGrid", tmp_path / "b.WAV", tmp_path / "b.txt"),
    }


def test_runs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    make(tmp_path, *(f"run-{number}.tsv" for number in (10, 9, 2, 1)))
    assert list(find_stories([tmp_path])) == ["run-1", "run-2", "run-9", "run-10"]


def test_files_and_folders_may_be_mixed_and_named_twice(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    words, sound = make(tmp_path, "a.csv", "sound/a.flac")
    assert find_stories([words, tmp_path / "sound", sound]) == {"a": StoryFiles("a", words, sound)}


def test_two_files_of_one_kind_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "a.TextGrid")
    with pytest.raises(ValueError, match=r"story 'a' has two files of words, .*a\.TextGrid and .*a\.csv"):
        find_stories([tmp_path])


def test_what_is_no_stimulus_is_refused(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "a.docx")
    with pytest.raises(ValueError, match=r"unknown kind of stimulus file '\.docx': use one of \.textgrid"):
        find_stories([path])
    with pytest.raises(FileNotFoundError, match="holds no stimulus"):
        find_stories([tmp_path])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_stories([tmp_path / "b.csv"])


def test_links_that_lead_nowhere_are_kept_for_their_reader(tmp_path: Path) -> None:
    link = tmp_path / "a.TextGrid"
    link.symlink_to(tmp_path / ".git" / "annex" / "objects" / "x")
    assert find_stories([tmp_path])["a"].words == link


def test_signs_that_only_look_like_numbers() -> None:
    assert sorted(["x1²3", "x²", "x1²10", "x"], key=natural_key) == ["x", "x1²3", "x1²10", "x²"]

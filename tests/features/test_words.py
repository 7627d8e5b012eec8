from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import Words, read_words


def _table(tmp_path: Path, text: str, name: str = "story.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_table(tmp_path: Path) -> None:
    path = _table(
        tmp_path, '\ufefflemma, Word ,ONSET,offset\nso,So,0.5,0.7\n,sp,0.7,0.9\nit,"it, ",0.9,1\n\n'
    )
    words = read_words(path)
    assert words.text == ("So", "it,")
    assert words.onset.tolist() == [0.5, 0.9]
    assert words.offset.tolist() == [0.7, 1.0]
    np.testing.assert_allclose(words.midpoint, [0.6, 0.95])


def test_tabs_and_utf16(tmp_path: Path) -> None:
    path = tmp_path / "story.tsv"
    path.write_bytes("word\tonset\toffset\nnaïve\t0\t1\n".encode("utf-16"))
    assert read_words(path).text == ("naïve",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "word,start,offset\na,0,1\n",
            r"column onset missing; the first line has \['word', 'start', 'offset'\]",
        ),
        ("", "column word, onset, offset missing"),
        ("word;onset;offset\na;0;1\n", "separate them with commas"),
        ("word,onset,offset\na,0,1\nb,2,1.5\n", r"line 3: word 'b' has offset 1.5 s before its onset 2 s"),
        ("word,onset,offset\na,nan,1\n", r"line 2: onset of word 'a' is 'nan'"),
        ("word,onset,offset\na,0,\n", r"line 2: offset of word 'a' is ''"),
        ("word,onset,offset\na,0,inf\n", r"line 2: offset of word 'a' is 'inf'"),
        ("word,onset,offset\na,0,1 s\n", r"line 2: offset of word 'a' is '1 s'"),
        ("word,onset,offset\na,0\n", r"line 2: 2 fields, but the first line has 3"),
        ("word,onset,offset\na,2,3\nb,1,1.5\n", r"line 3: word 'b' starts at 1 s, before .* sort the table"),
        ("word,onset,offset\nsp,0,1\n", r"no words in it"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    path = _table(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_words(path)
    assert str(path) in str(caught.value)


def test_overlaps_in_a_table_are_cut_with_a_warning(tmp_path: Path) -> None:
    path = _table(tmp_path, "word,onset,offset\nso,0,1\nit,0.8,2\nis,2,3\n")
    with pytest.warns(StimulusWarning, match=r"1 intervals overlap.* 'so', 0 to 1 s, now to 0.8 s"):
        words = read_words(path)
    assert words.onset.tolist() == [0.0, 0.8, 2.0]
    assert words.offset.tolist() == [0.8, 2.0, 3.0]


def test_no_words_at_all(tmp_path: Path) -> None:
    for text in ("word,onset,offset\n", "word,onset,offset\nsp,0,1\n,1,2\n"):
        with pytest.raises(ValueError, match="no words in it"):
            read_words(_table(tmp_path, text))
    assert len(Words((), [], [])) == 0


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_words(tmp_path / "absent.csv")
    (tmp_path / "annexed.csv").symlink_to(".git/annex/objects/xx/yy")
    with pytest.raises(FileNotFoundError, match="git-annex"):
        read_words(tmp_path / "annexed.csv")
    pointer = _table(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(FileNotFoundError, match="Git LFS pointer"):
        read_words(pointer)
    unlocked = _table(tmp_path, "/annex/objects/MD5E-s3--0.TextGrid\n", "annexed.TextGrid")
    with pytest.raises(FileNotFoundError, match="git-annex pointer"):
        read_words(unlocked)


def test_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown kind of word file '.docx'"):
        read_words(tmp_path / "story.docx")
    with pytest.raises(ValueError, match="tier='word' is for TextGrid files"):
        read_words(_table(tmp_path, "word,onset,offset\na,0,1\n"), tier="word")


def test_slices_and_shifts() -> None:
    words = Words(["a", "b", "c"], [0, 1, 2], [1, 2, 3])
    assert len(words[1:]) == 2
    assert words[1:].text == ("b", "c")
    assert words.shift(-0.5).onset.tolist() == [-0.5, 0.5, 1.5]
    assert words.onset.tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="takes a slice"):
        words[0]  # type: ignore[index]
    with pytest.raises(ValueError, match="seconds must be a finite number"):
        words.shift(float("nan"))


def test_input_is_copied_and_read_only() -> None:
    onset = np.array([0.0, 1.0])
    words = Words(["a", "b"], onset, onset + 1)
    onset[0] = 7
    assert words.onset[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        words.onset[0] = 1


def test_digest_tells_stimuli_apart() -> None:
    base = Words(["ab", "c"], [0, 1], [1, 2])
    assert base.digest() == Words(("ab", "c"), np.array([0, 1]), np.array([1, 2])).digest()
    others = [
        Words(["a", "bc"], [0, 1], [1, 2]),
        base.shift(1e-9),
        base[:1],
        Words(["ab", "c"], [0, 1], [1, 3]),
    ]
    assert len({base.digest(), *(words.digest() for words in others)}) == 5


@pytest.mark.parametrize(
    ("text", "onset", "offset", "message"),
    [
        (["a", "b"], [0], [1, 2], r"onset has shape \(1,\), but there are 2 words"),
        (["a"], [0], [[1]], r"offset has shape \(1, 1\)"),
        (["a", " "], [0, 1], [1, 2], "word 1 is empty"),
        (["a", "b"], [0, 1], [1, np.nan], "word 1 .* not a finite number"),
        (["a", "b"], [0, 1], [1, 0.5], r"word 1 \('b', 1 to 0.5 s\) ends before it starts"),
        (["a", "b"], [1, 0], [2, 2], "word 1 .* starts before the word in front of it"),
    ],
)
def test_bad_words(text: list[str], onset: list[float], offset: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Words(text, onset, offset)


def test_single_text() -> None:
    with pytest.raises(TypeError, match=r"text.split\(\)"):
        Words("ab", [0, 1], [1, 2])


def test_words_outside_the_audio() -> None:
    words = Words(["a", "b", "c"], [0, 1, 2], [1, 2, 3.5])
    words.check_within(0, 3.5)
    with pytest.raises(
        ValueError, match=r"1 of 3 words lie outside the audio \(0 to 3 s\); the first is word 2 \('c'"
    ):
        words.check_within(0, 3)
    with pytest.raises(ValueError, match=r"1 of 3 words lie outside run 4"):
        words.check_within(0.5, 4, what="run 4")

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import read_words
from voxridge.features.textgrid import Interval, _TextGridParser, read_textgrid

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "phone"
        xmin = 0
        xmax = 2.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2.5
            text = "a"
    item [2]:
        class = "IntervalTier"
        name = "word"
        xmin = 0
        xmax = 2.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "sp"
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "naïve 5"
        intervals [3]:
            xmin = 1.25
            xmax = 2
            text = "say ""no""!"
        intervals [4]:
            xmin = 2
            xmax = 2.5
            text = ""
    item [3]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
"""

SHORT = """File type = "ooTextFile"
"TextGrid"

0
2.5
<exists>
3
"IntervalTier"
"phone"
0
2.5
1
0
2.5
"a"
"IntervalTier"
"word"
0
2.5
4
0
0.5
"sp"
0.5
1.25
"naïve 5"
1.25
2
"say ""no""!"
2
2.5
""
"TextTier"
"bell"
0
2.5
1
1.5
"ding"
"""

CHRONOLOGICAL = """"Praat chronological TextGrid text file"
0 2.5   ! Time domain.
3   ! Number of tiers: 7 is in this "comment.
"IntervalTier" "phone" 0 2.5
"IntervalTier" "word" 0 2.5
"TextTier" "bell" 0 2.5

! Interval 1 on tier 1:
1 0 2.5
"a"
2 0 0.5
"sp"
2 0.5 1.25
"naïve 5"
2 1.25 2
"say ""no""!"
3 1.5
"ding"
2 2 2.5
""
"""
FORMATS = {"long": LONG, "short": SHORT, "chronological": CHRONOLOGICAL}


def _write(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "story.TextGrid"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("praatio", [True, False])
def test_formats(
    tmp_path: Path, name: str, encoding: str, praatio: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not praatio:
        monkeypatch.setitem(sys.modules, "praatio", None)
    words = read_words(_write(tmp_path, FORMATS[name], encoding))
    assert words.text == ("naïve 5", 'say "no"!')
    assert words.onset.tolist() == [0.5, 1.25]
    assert words.offset.tolist() == [1.25, 2.0]


def test_windows_line_ends(tmp_path: Path) -> None:
    assert read_words(_write(tmp_path, LONG.replace("\n", "\r\n"))).text == ("naïve 5", 'say "no"!')


def test_overlaps_are_cut_with_a_warning(tmp_path: Path) -> None:
    path = _write(tmp_path, LONG.replace("xmax = 1.25", "xmax = 1.5"))
    with pytest.warns(
        StimulusWarning, match=r"1 intervals overlap.* 'naïve 5', 0.5 to 1.5 s, now to 1.25 s"
    ) as caught:
        words = read_words(path)
    assert len(caught) == 1
    assert words.offset.tolist() == [1.25, 2.0]


def test_latin_1_is_read_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(StimulusWarning, match="not valid UTF-8"):
        assert read_words(_write(tmp_path, LONG, "latin-1")).text[0] == "naïve 5"


def test_tiers(tmp_path: Path) -> None:
    path = _write(tmp_path, LONG)
    assert read_words(path, tier="phone").text == ("a",)
    assert read_words(path, tier=" Phone").text == ("a",)
    assert read_words(path, tier=0).text == ("a",)
    with pytest.raises(ValueError, match=r"no single interval tier 'bell'.*\['phone', 'word'\]"):
        read_words(path, tier="bell")
    with pytest.raises(ValueError, match=r"no interval tier 2; its interval tiers are \['phone', 'word'\]"):
        read_words(path, tier=2)
    aligned = _write(tmp_path, LONG.replace('"word"', '"Ann - words"'))
    assert len(read_words(aligned)) == 2
    unclear = _write(tmp_path, LONG.replace('"word"', '"transcript"'))
    with pytest.raises(ValueError, match=r"say which tier holds the words.*\['phone', 'transcript'\]"):
        read_words(unclear)


def test_pauses(tmp_path: Path) -> None:
    path = _write(tmp_path, LONG)
    assert len(read_words(path, pauses=())) == 3
    with pytest.raises(ValueError, match="no words in it"):
        read_words(path, pauses=("SP", "Naïve 5 ", 'say "no"!'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it ends where the file type should come"),
        ("just words", "it ends where the file type should come"),
        ('"something else"', "the first string is 'something else'"),
        (LONG.replace('"TextGrid"', '"Pitch"'), "it holds a 'Pitch'"),
        (LONG.replace("<exists>", "<absent>"), "it has no tiers"),
        (LONG[: LONG.index("intervals [3]")], "the file is cut off"),
        (CHRONOLOGICAL[:-40], "expected the text of an interval|the file is cut off"),
        (CHRONOLOGICAL.replace("2 2 2.5", "4 2 2.5"), "expected a tier number from 1 to 3; got '4'"),
        (SHORT.replace('"TextTier"', '"Spectrum"'), "unknown class of tier 'Spectrum'"),
        (SHORT.replace("\n4\n", "\n4.5\n"), "the size of tier 'word' is 4.5"),
        (SHORT.replace('"phone"', "7"), "expected the name of a tier .in quotes.; got '7'"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "praatio", None)
    path = _write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_words(path)
    assert str(path) in str(caught.value)


def test_interval_that_ends_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'naïve 5' ends at 0\.25 s, before it starts at 0\.5 s"):
        read_words(_write(tmp_path, LONG.replace("xmax = 1.25", "xmax = 0.25")))


@pytest.mark.alice
def test_real_textgrid() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "alice" / "stimulus"
    files = sorted(folder.glob("*.TextGrid"))
    if not files:
        pytest.skip(f"the Alice data set is not there: no TextGrid in {folder}")
    words = read_words(files[0])
    assert 2000 < len(words) < 2423
    assert words.text[:4] == ("Alice", "was", "beginning", "to")
    words.check_within(12.0, 743.7)
    assert 0.1 < float(np.median(words.offset - words.onset)) < 0.5
    own, praatio = _TextGridParser(files[0].read_text(), files[0]).tiers(), read_textgrid(files[0])
    assert [tier.name for tier in own] == [tier.name for tier in praatio] == ["word"]
    # praatio strips the labels.
    stripped = [Interval(item.start, item.stop, item.label.strip()) for item in own[0].intervals]
    assert stripped == list(praatio[0].intervals)

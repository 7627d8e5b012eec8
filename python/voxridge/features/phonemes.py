"""The phones of a story, from the tier of a TextGrid that holds them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning
from voxridge.features.textgrid import Tier, choose_tier, clip_overlaps, read_textgrid
from voxridge.features.words import Words

# Pauses, and the marks for breath, laughter, lip smacks, noise and words that could not be made out.
SILENCES = ("", "sp", "sil", "spn", "<p>", "br", "lg", "ls", "ns", "cg")
_TIERS = ("phone", "phones", "phoneme", "phonemes")


def read_phones(
    path: str | Path, *, tier: str | int | None = None, silences: Iterable[str] = SILENCES
) -> Words:
    """Read phones and their times from a Praat TextGrid.

    Phones are never guessed from the spelling: without a tier of them there is an error.

    Parameters
    ----------
    path : str or Path
        ``.TextGrid`` in any of Praat's text formats.
    tier : str, int or None
        Name or index of the interval tier. None: the one called ``phone``, ``phones``, ``phoneme`` or
        ``phonemes``, also behind a speaker's name (``Anna - phones``).
    silences : iterable of str
        Labels that are no phones; compared without case and surrounding blanks.

    Returns
    -------
    Words
        One entry per phone: ``text`` holds the labels.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist, or is the pointer of git-annex or Git LFS to a file that was not fetched.
    ValueError
        If it is no TextGrid, has no such tier, or the tier holds no phone.

    Warns
    -----
    StimulusWarning
        If intervals overlap (the earlier one is cut).

    Examples
    --------
    >>> phones = read_phones("story.TextGrid")                                      # doctest: +SKIP
    """
    file = Path(path)
    if file.suffix.lower() != ".textgrid":
        raise ValueError(f"{file}: phones are read from a tier of a .TextGrid")
    tiers = read_textgrid(file)
    chosen = _phone_tier(tiers, file) if tier is None else choose_tier(tiers, tier, file)
    skip = {label.strip().casefold() for label in silences} | {""}
    spoken = [item for item in chosen.intervals if item.label.strip().casefold() not in skip]
    if not spoken:
        raise ValueError(
            f"{file}: no phones in tier {chosen.name!r} (labels taken as silence: {sorted(skip)})"
        )
    rows = clip_overlaps(spoken, file)
    return Words([r.label.strip() for r in rows], [r.start for r in rows], [r.stop for r in rows])


def phones_per_word(words: Words, phones: Words) -> npt.NDArray[np.float64]:
    """Return the number of phones whose middle lies in each word, (n_words, 1) float64.

    Parameters
    ----------
    words, phones : Words
        On the same clock.

    Raises
    ------
    ValueError
        If none of the phones lies in a word.

    Warns
    -----
    StimulusWarning
        If more than half of the phones lie in no word.

    Examples
    --------
    >>> words = Words(("so", "it"), [0.1, 0.5], [0.4, 0.9])
    >>> phones = Words(("s", "o", "ih", "t"), [0.1, 0.2, 0.5, 0.7], [0.2, 0.4, 0.7, 0.9])
    >>> phones_per_word(words, phones).ravel().tolist()
    [2.0, 2.0]
    """
    middle = np.sort(phones.midpoint)
    first, last = (np.searchsorted(middle, times, side="left") for times in (words.onset, words.offset))
    inside = np.zeros(len(middle), dtype=bool)
    for start, stop in zip(first, last, strict=True):
        inside[start:stop] = True
    outside = int((~inside).sum())
    if outside and 2 * outside > len(middle):
        message = f"{outside} of {len(middle)} phones lie in none of the {len(words)} words"
        remedy = "are words and phones of the same story, on the same clock?"
        if not inside.any():
            raise ValueError(f"{message}: {remedy}")
        warnings.warn(f"{message}: {remedy}", StimulusWarning, stacklevel=2)
    return np.asarray(last - first, dtype=np.float64)[:, None]


def _phone_tier(tiers: Sequence[Tier], file: Path) -> Tier:
    names = [tier.name.strip().casefold() for tier in tiers]
    endings = tuple(f" {name}" for name in _TIERS)
    for found in (
        [tier for tier, name in zip(tiers, names, strict=True) if name in _TIERS],
        [tier for tier, name in zip(tiers, names, strict=True) if name.endswith(endings)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            break
    known = [tier.name for tier in tiers]
    if found:
        raise ValueError(f"{file}: several tiers could hold the phones ({known}): give tier=name or index")
    raise ValueError(
        f"{file}: no tier of phones; its interval tiers are {known}: name the tier (tier=...), make one with "
        "a forced aligner such as the Montreal Forced Aligner, or leave phones out"
    )

"""Control features of every word of a run: what any claim about a language model has to beat.

They stand beside a model's features in the store, one row per word, and go to the scans by the same alignment
(through Lanczos a column of ones becomes the word rate).
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning
from voxridge.features.controls import count_letters
from voxridge.features.phonemes import phones_per_word
from voxridge.features.static_embeddings import StaticEmbeddings
from voxridge.features.words import Words

FloatArray = npt.NDArray[np.float32]


def word_controls(
    words: Words,
    *,
    surprisal: npt.ArrayLike | None = None,
    language: str = "en",
    seed: int = 0,
    random_dim: int = 300,
    glove: StaticEmbeddings | None = None,
    phones: Words | None = None,
) -> dict[str, FloatArray]:
    """Compute all control features of the words of one run.

    ======================  =====  ======================================================================
    name                    width  value of a word
    ======================  =====  ======================================================================
    ``word-rate``           1      1
    ``word-length``         1      its letters and digits
    ``log-frequency``       1      :func:`~voxridge.features.log_frequency`
    ``position``            1      from 0 for the first word of the run to 1 for the last
    ``surprisal``           1      as given; the mean of the run for a word without (NaN)
    ``phonemes``            1      the phones in it
    ``glove``               any    its vector without context; zeros for a word that has none
    ``random-vectors``      300    another one for every word of every run
    ``random-embeddings``   300    the same one wherever the word occurs
    ======================  =====  ======================================================================

    Parameters
    ----------
    words : Words
    surprisal : (n_words,) float, bits, optional
        From a language model. Without it (or `glove`, or `phones`) that feature is left out.
    language : str
        Code of the language for the word frequencies, such as ``"en"``, ``"fr"``, ``"zh"``.
    seed : int >= 0
    random_dim : int >= 1
        Width of the two random features.
    glove : StaticEmbeddings, optional
    phones : Words, optional
        From :func:`~voxridge.features.phonemes.read_phones`.

    Returns
    -------
    dict of str to (n_words, width) float32

    Raises
    ------
    ValueError
        If there is no word, `surprisal` has another length, is infinite or has no number in it, or `seed`,
        `random_dim` or `language` is not allowed.
    ImportError
        If the package wordfreq is not installed.

    Warns
    -----
    StimulusWarning
        If more than half of the words have no frequency, or no vector in `glove`.

    References
    ----------
    Feghhi, Hadidi et al. 2024, arXiv:2406.01538; Bonnasse-Gahot and Pallier 2024, arXiv:2405.17992.

    Examples
    --------
    >>> words = Words(("so", "it's", "so"), [0.1, 0.5, 2.2], [0.4, 0.9, 3.0])
    >>> controls = word_controls(words)                                             # doctest: +SKIP
    >>> controls["word-length"].ravel().tolist()                                    # doctest: +SKIP
    [2.0, 3.0, 2.0]
    """
    n_words = len(words)
    if n_words == 0:
        raise ValueError("words is empty: a run has at least one word")
    features: dict[str, npt.NDArray[np.floating]] = {
        "word-rate": np.ones((n_words, 1)),
        "word-length": count_letters(words.text)[:, None],
        "log-frequency": log_frequency(words.text, language),
        "position": np.linspace(0.0, 1.0, n_words)[:, None],
    }
    if surprisal is not None:
        features["surprisal"] = _surprisal(surprisal, n_words)
    if phones is not None:
        features["phonemes"] = phones_per_word(words, phones)
    if glove is not None:
        features["glove"] = glove.vectors(words.text)
    features["random-vectors"] = random_vectors(words, seed=seed, dim=random_dim)
    features["random-embeddings"] = random_embeddings(words.text, seed=seed, dim=random_dim)
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in features.items()}


def log_frequency(words: Sequence[str], language: str = "en") -> FloatArray:
    """Return the Zipf frequency of words: log10 of how often they occur in a billion, (n_words, 1) float32.

    The numbers come from the package wordfreq, which ignores case and punctuation. A word that its list does
    not hold gets the frequency of the rarest word in it (1.01 in the large lists, such as English).

    Parameters
    ----------
    words : sequence of str, length n_words
    language : str
        Code such as ``"en"``.

    Raises
    ------
    ValueError
        If wordfreq has no list for the language.
    ImportError
        If wordfreq, or what it needs for this language, is not installed.

    Warns
    -----
    StimulusWarning
        If more than half of the words are not in the list; the message counts them.

    Examples
    --------
    >>> log_frequency(["the", "rabbit", "qqxqzz"]).round(2).ravel().tolist()        # doctest: +SKIP
    [7.73, 4.05, 1.01]
    """
    known, rarest = _frequencies(words, language)
    unknown = [word for word in words if known[word] == 0]
    if 2 * len(unknown) > len(words):
        warnings.warn(
            f"{len(unknown)} of {len(words)} words are not in wordfreq's list for language={language!r}; the "
            f"first is {unknown[0]!r}: is it the right language?",
            StimulusWarning,
            stacklevel=2,
        )
    return _column([max(known[word], rarest) for word in words])


def check_language(language: str) -> None:
    """Raise what `log_frequency` would raise for a language without a list, before there are words.

    Parameters
    ----------
    language : str

    Raises
    ------
    ValueError
        If wordfreq has no list for the language.
    ImportError
        If wordfreq, or what it needs for this language, is not installed.
    """
    _frequencies(["a"], language)


def random_vectors(words: Words, *, seed: int = 0, dim: int = 300) -> FloatArray:
    """Return a random vector for every word token, standard normal, (n_words, dim) float32.

    They are drawn from `seed` and the run itself (its words and times): the same run gives the same vectors,
    and two runs share none, so that nothing can be learnt from one for another.

    Parameters
    ----------
    words : Words
    seed : int >= 0
    dim : int >= 1

    Raises
    ------
    ValueError
        If ``seed`` is negative or ``dim`` is below 1.

    Examples
    --------
    >>> random_vectors(Words(("so", "so"), [0.1, 0.5], [0.4, 0.9]), dim=3).shape
    (2, 3)
    """
    return _generator(f"tokens {words.digest()}", seed, dim).standard_normal(
        (len(words), dim), dtype=np.float32
    )


def random_embeddings(words: Sequence[str], *, seed: int = 0, dim: int = 300) -> FloatArray:
    """Return a random vector for every word type, standard normal, (n_words, dim) float32.

    A word's vector is drawn from `seed` and the word alone, whatever other words there are: it is the same in
    every run and story. Words are of one type if they are the same after case folding and without the
    punctuation around them (``Rabbit,`` and ``rabbit``; not ``rabbits``).

    Parameters
    ----------
    words : sequence of str, length n_words
    seed : int >= 0
    dim : int >= 1

    Raises
    ------
    ValueError
        If ``seed`` is negative or ``dim`` is below 1.

    Examples
    --------
    >>> first, second, other = random_embeddings(["Rabbit,", "rabbit", "hole"], dim=3)
    >>> bool((first == second).all()), bool((first == other).any())
    (True, False)
    """
    types = [_type(word) for word in words]
    table = {
        name: _generator(f"type {name}", seed, dim).standard_normal(dim, dtype=np.float32)
        for name in set(types)
    }
    return np.array([table[name] for name in types], dtype=np.float32).reshape(len(types), dim)


def _frequencies(words: Sequence[str], language: str) -> tuple[dict[str, float], float]:
    """Return the Zipf frequency of every word, 0 if it is not in the list, and that of the rarest in it."""
    try:
        import wordfreq
    except ImportError as error:
        raise ImportError('word frequencies need wordfreq: pip install "voxridge[lm]"') from error
    try:
        rarest = 9.0 - (len(wordfreq.get_frequency_list(language)) - 1) / 100
        return {word: wordfreq.zipf_frequency(word, language) for word in set(words)}, rarest
    except (LookupError, ValueError) as error:  # no list, or no language code at all
        codes = ", ".join(sorted(wordfreq.available_languages()))
        raise ValueError(f"language={language!r}: wordfreq has no list for it; it has {codes}") from error
    except ImportError as error:
        raise ImportError(f"language={language!r}: wordfreq needs a further package: {error}") from error


def _type(word: str) -> str:
    folded = word.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return re.sub(r"^\W+|\W+$", "", folded) or folded


def _generator(what: str, seed: int, dim: int) -> np.random.Generator:
    if seed < 0 or seed != int(seed):
        raise ValueError(f"seed={seed}: a whole number, 0 or more")
    if dim < 1:
        raise ValueError(f"dim={dim}: random features have at least one number (random_dim)")
    digest = hashlib.sha256(f"{int(seed)} {what}".encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def _surprisal(values: npt.ArrayLike, n_words: int) -> FloatArray:
    bits = np.asarray(values, dtype=np.float64)
    if bits.shape != (n_words,):
        raise ValueError(
            f"surprisal has shape {bits.shape}, but there are {n_words} words: give one number each"
        )
    if np.isinf(bits).any():
        i = int(np.argmax(np.isinf(bits)))
        raise ValueError(f"surprisal[{i}] is {bits[i]}: the model gave this word no probability at all")
    if np.isnan(bits).all():
        raise ValueError("surprisal holds no number: leave it out")
    # A word with nothing in front of it cannot be scored.
    return _column(np.where(np.isnan(bits), np.nanmean(bits), bits))


def _column(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float32)[:, None]

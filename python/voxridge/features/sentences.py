"""One vector for each sentence: sentence-level data such as that of Pereira et al. 2018."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Hashable, Sequence
from typing import Literal, get_args

import numpy as np

from voxridge._warnings import StimulusWarning
from voxridge.features.context import Window
from voxridge.features.language_model import LanguageModel
from voxridge.features.pooling import FloatArray, Pooling, group_rows
from voxridge.features.tokens import IntArray, TokenisedWords, join_runs, tokenise_words
from voxridge.features.window_reader import Float64Array, WindowReader
from voxridge.features.word_features import Layers, resolve_layers

SentenceContext = Literal["alone", "passage"]
SentencePooling = Literal["last", "mean", "cls"]


def extract_sentences(
    model: LanguageModel,
    sentences: Sequence[str],
    *,
    passages: Sequence[Hashable] | None = None,
    context: SentenceContext = "alone",
    limit: int = 512,
    pooling: SentencePooling = "last",
    layers: Layers = "all",
    progress: bool = True,
) -> dict[int, FloatArray]:
    """Read sentences and return one vector for each, in all chosen layers.

    With ``context="passage"`` a sentence is read after the sentences of its passage in front of it, as many
    whole ones as fit into `limit` tokens together with it; never after later ones. What Schrimpf et al. do
    for recurrent and transformer models is ``context="passage", limit=512, pooling="last"``; for data whose
    sentences were shown one by one, ``context="alone"`` is what the subjects saw. (Schrimpf et al. 2021, PNAS
    118: e2105646118; Pereira et al. 2018, Nature Communications 9: 963.)

    Parameters
    ----------
    model : LanguageModel
    sentences : sequence of str
        With their punctuation, in the order of the text.
    passages : sequence, one for each sentence, optional
        Label of the passage of each sentence; the sentences of a passage follow one another. Needed for
        ``context="passage"``.
    context : "alone" or "passage"
    limit : int
        Most tokens of context and sentence together, special tokens not counted; a longer sentence is read
        alone. Less if the model takes less.
    pooling : "last", "mean" or "cls"
        State of the last token of the last word (the punctuation behind it left out), mean over all tokens of
        the sentence, or, for a model that sees both sides, state of the special token in front.
    layers : "all" or sequence of int
        As in `voxridge.features.extract_words`.
    progress : bool
        Show sentences done and time left on standard error.

    Returns
    -------
    dict of int to (n_sentences, width) float32

    Raises
    ------
    ValueError
        If there are no sentences or an empty one, `passages` has another length, is missing or comes back to
        a passage, an option is unknown, ``"cls"`` is asked of a model without such a token, a sentence has
        more tokens than the model takes, or as in `voxridge.features.extract_words`.

    Examples
    --------
    >>> sentences = ["Beekeeping is old.", "Bees make honey.", "An accordion is a box."]
    >>> options = dict(passages=["bees", "bees", "accordion"], context="passage")
    >>> extract_sentences(model, sentences, **options)[6].shape                        # doctest: +SKIP
    (3, 768)
    """
    from tqdm import tqdm

    if pooling not in get_args(SentencePooling):
        raise ValueError(f"pooling={pooling!r} is unknown: use 'last', 'mean' or 'cls'")
    chosen = resolve_layers(model, layers)
    reader = _reader(model, sentences, passages, context, limit)
    out = {layer: np.empty((len(sentences), model.widths[layer]), dtype=np.float32) for layer in chosen}
    with tqdm(total=len(sentences), desc=model.name, unit="sentence", disable=not progress) as bar:
        if pooling == "cls":
            _read_first_tokens(model, reader, out)
            bar.update(len(sentences))
            return out
        how: Pooling = "last" if pooling == "last" else "mean+punctuation"
        for block in reader.blocks(chosen, how, np.dtype(np.float32)):
            for layer in chosen:
                out[layer][block.start : block.stop] = block.states[layer]
            bar.update(block.stop - block.start)
    return out


def sentence_surprisal(
    model: LanguageModel,
    sentences: Sequence[str],
    *,
    passages: Sequence[Hashable] | None = None,
    context: SentenceContext = "alone",
    limit: int = 512,
) -> Float64Array:
    """Return -log2 p(sentence | what is in front of it), in bits, without the punctuation at its ends.

    Parameters
    ----------
    model : LanguageModel
        One that can give probabilities (``can_score``).
    sentences, passages, context, limit
        As in `extract_sentences`.

    Returns
    -------
    (n_sentences,) float64
        NaN if the first token of a sentence has nothing in front of it (no begin token).

    Raises
    ------
    ValueError
        If the model gives no probabilities, or as in `extract_sentences`.

    Examples
    --------
    >>> sentence_surprisal(LanguageModel.load("gpt2"), ["Bees make honey."]).shape     # doctest: +SKIP
    (1,)
    """
    reader = _reader(model, sentences, passages, context, limit)
    blocks = reader.blocks([], "last", np.dtype(np.float32), surprisal=True)
    return np.concatenate([block.surprisal for block in blocks if block.surprisal is not None])


def _reader(
    model: LanguageModel,
    sentences: Sequence[str],
    passages: Sequence[Hashable] | None,
    context: str,
    limit: int,
) -> WindowReader:
    if isinstance(sentences, str) or len(sentences) == 0:
        raise ValueError("sentences must be a sequence of at least one sentence")
    if limit < 1:
        raise ValueError(f"limit={limit}: give a number of tokens, at least 1")
    passage = _passages(passages, len(sentences), context)
    tokens = _tokenise(model, sentences, passage)
    n_special = sum(len(ids) for ids in model.special_tokens())
    fit = limit if model.max_tokens is None else min(limit, model.max_tokens - n_special)
    windows = _windows(tokens, passage, fit, merge=model.past_only)
    return WindowReader(model, tokens, sentences, windows, unit="sentence")


def _tokenise(model: LanguageModel, sentences: Sequence[str], passage: IntArray) -> TokenisedWords:
    """Tokenise every passage as a text of its own, in which the sentences are what is looked for."""
    empty = next((i for i, sentence in enumerate(sentences) if not sentence.strip()), None)
    if empty is not None:
        raise ValueError(f"sentence {empty} is empty ({sentences[empty]!r}): leave it out")
    edges = np.flatnonzero(np.diff(passage, prepend=-1, append=-1)).tolist()
    parts = []
    for start, stop in itertools.pairwise(edges):
        try:
            with warnings.catch_warnings():
                # A word without tokens repeats the one before it; a sentence must not.
                warnings.simplefilter("ignore", StimulusWarning)
                parts.append(tokenise_words(model.tokenizer, sentences[start:stop]))
            silent = np.flatnonzero(parts[-1].last < 0)
        except ValueError:
            silent = np.zeros(1, dtype=np.int64)
        if silent.size:
            place = start + int(silent[0])
            raise ValueError(
                f"sentence {place} ({sentences[place][:40]!r}) has no token: the tokeniser drops all its "
                "characters; leave it out"
            )
    return join_runs(parts)


def _passages(passages: Sequence[Hashable] | None, n_sentences: int, context: str) -> IntArray:
    """Number the stretches of sentences that are read together."""
    if context not in get_args(SentenceContext):
        raise ValueError(f"context={context!r} is unknown: use 'alone' or 'passage'")
    if passages is not None and len(passages) != n_sentences:
        raise ValueError(
            f"passages has {len(passages)} labels for {n_sentences} sentences: give one for each"
        )
    if context == "alone":
        return np.arange(n_sentences)
    if passages is None:
        raise ValueError("context='passage' needs passages: the label of the passage of each sentence")
    numbers: dict[Hashable, int] = {}
    try:
        return group_rows(np.array([numbers.setdefault(label, len(numbers)) for label in passages]))
    except ValueError as error:
        raise ValueError(f"passages: {error}") from error


def _windows(tokens: TokenisedWords, passage: IntArray, limit: int, *, merge: bool) -> list[Window]:
    """Return one window for each sentence, or one for all sentences that are read from the same start."""
    edges = tokens.edges
    first = np.searchsorted(passage, passage, side="left")
    # The first sentence of the passage from which on everything fits.
    least = np.searchsorted(edges, edges[1:] - limit, side="left")
    starts = np.minimum(np.maximum(first, least), np.arange(len(passage))).tolist()
    windows: list[Window] = []
    for sentence, start in enumerate(starts):
        if merge and windows and windows[-1].start == start:
            windows[-1] = windows[-1]._replace(stop=sentence + 1)
        else:
            windows.append(Window(start, sentence, sentence + 1))
    return windows


def _read_first_tokens(model: LanguageModel, reader: WindowReader, out: dict[int, FloatArray]) -> None:
    before, _ = model.special_tokens()
    if model.past_only or not before:
        raise ValueError(
            f"pooling='cls': {model.name} "
            + ("sees the past only" if model.past_only else "puts no special token in front of a text")
            + "; use 'last' or 'mean'"
        )
    for batch in reader.batches():
        found = model.read(batch.sequences, list(out), [slice(0, 1)] * len(batch.sequences))
        for layer, values in out.items():
            values[batch.start : batch.stop] = np.concatenate([part.states[layer] for part in found])

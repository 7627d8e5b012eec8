"""One vector for each word and layer: the words of a run read in windows by a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from voxridge.features.context import Context, GrowingContext
from voxridge.features.language_model import LanguageModel
from voxridge.features.pooling import FloatArray, Pooling, check_pooling
from voxridge.features.tokens import tokenise_words
from voxridge.features.transcript import Missing, find_words
from voxridge.features.window_reader import Float64Array, WindowReader, WordBlock
from voxridge.features.words import Words

Layers = Literal["all"] | Sequence[int]


def extract_words(
    model: LanguageModel,
    words: Sequence[str] | Words,
    *,
    layers: Layers = "all",
    context: Context = GrowingContext(),  # noqa: B008 (frozen: the shared default cannot change)
    pooling: Pooling = "last",
    text: str | None = None,
    missing: Missing = "error",
    progress: bool = True,
) -> dict[int, FloatArray]:
    """Read a run word by word and return the activations of all chosen layers.

    The running text is tokenised once (`voxridge.features.tokens`); the tokens are read in the windows of
    `context`, several windows in one forward pass, which gives all layers.

    For a model with ``past_only``, the activation of a word depends on this word and the words before it
    alone (with ``pooling="mean+punctuation"`` also on the punctuation up to the next word). With windows
    counted in words the windows are the same whatever the later words are; if those change without changing
    the number of tokens in the window, the activations are bit-identical (another number of tokens may change
    the order of sums inside the matrix products, a matter of rounding).

    Parameters
    ----------
    model : LanguageModel
    words : sequence of str or Words
        The words of one run, in order, with their punctuation.
    layers : "all" or sequence of int
        0 is the embedding, ``n_layers - 1`` (or -1) the last; see LanguageModel for its normalisation.
    context : GrowingContext, StridedContext, FixedContext or WholeRun
        What the model sees for each word.
    pooling : "last", "mean" or "mean+punctuation"
        State of the last token of the word, mean over its tokens (both without the punctuation at its ends),
        or mean over the tokens from its start to the start of the next word; see
        `voxridge.features.pooling.pool_words`.
    text : str, optional
        Running text with punctuation in which the words occur in this order
        (`voxridge.features.transcript.find_words`). None: the words joined with blanks.
    missing : "error" or "skip"
        What to do with words that are not in `text`: raise, or warn and let each repeat the word before it.
    progress : bool
        Show words done and time left on standard error.

    Returns
    -------
    dict of int to (n_words, width) float32

    Raises
    ------
    ValueError
        If a layer does not exist or is named twice, `pooling` is unknown, there are no words or an empty one,
        words are not in `text`, a window has more tokens than the model takes, or a layer comes out with NaN,
        infinity or nothing but zeros.

    Warns
    -----
    StimulusWarning
        If words have no token or are missing from `text` (each repeats the vector of the word before it), or
        much of `text` is in none of the words.

    Examples
    --------
    >>> model = LanguageModel.load("gpt2")                                            # doctest: +SKIP
    >>> extract_words(model, "Alice was beginning".split(), layers=[0, 6])[6].shape   # doctest: +SKIP
    (3, 768)
    """
    from tqdm import tqdm

    chosen = resolve_layers(model, layers)
    dtype = np.dtype(np.float32)
    blocks = read_blocks(
        model,
        words,
        layers=chosen,
        context=context,
        pooling=pooling,
        dtype=dtype,
        text=text,
        missing=missing,
    )
    out = {layer: np.empty((len(words), model.widths[layer]), dtype=dtype) for layer in chosen}
    with tqdm(total=len(words), desc=model.name, unit="word", disable=not progress) as bar:
        for block in blocks:
            for layer in chosen:
                out[layer][block.start : block.stop] = block.states[layer]
            bar.update(block.stop - block.start)
    return out


def word_surprisal(
    model: LanguageModel,
    words: Sequence[str] | Words,
    *,
    context: Context = GrowingContext(),  # noqa: B008
    text: str | None = None,
    missing: Missing = "error",
) -> Float64Array:
    """Return -log2 p(word | words before it in its window), in bits.

    The sum over the tokens of the word without the punctuation at its ends, with a token that holds only the
    blank in front of it.

    Parameters
    ----------
    model : LanguageModel
        One that can give probabilities (``can_score``).
    words, context, text, missing
        As in `extract_words`.

    Returns
    -------
    (n_words,) float64
        NaN for the first word of a window if nothing is in front of it (no begin token); 0 for a word without
        any token.

    Raises
    ------
    ValueError
        If the model gives no probabilities, or as in `extract_words`.

    Examples
    --------
    >>> word_surprisal(LanguageModel.load("gpt2"), ["Once", "upon", "a", "time"]).shape   # doctest: +SKIP
    (4,)
    """
    blocks = _score(model, words, context, text, missing)
    return np.concatenate([block.surprisal for block in blocks if block.surprisal is not None])


def perplexity(
    model: LanguageModel,
    words: Sequence[str] | Words,
    *,
    context: Context = GrowingContext(),  # noqa: B008
    text: str | None = None,
    missing: Missing = "error",
) -> float:
    """Return the perplexity of a run, 2 to the mean number of bits of its tokens.

    All tokens count that have something before them in their window, punctuation included. The value
    depends on the tokeniser: compare it between models of the same one only.

    Parameters
    ----------
    model : LanguageModel
        One that can give probabilities (``can_score``).
    words, context, text, missing
        As in `extract_words`.

    Raises
    ------
    ValueError
        If the model gives no probabilities, no token has anything before it, or as in `extract_words`.

    Examples
    --------
    >>> perplexity(LanguageModel.load("gpt2"), ["Once", "upon", "a", "time"])             # doctest: +SKIP
    41.2
    """
    blocks = list(_score(model, words, context, text, missing))
    n_scored = sum(block.n_scored for block in blocks)
    if n_scored == 0:
        raise ValueError(
            "words: no token has anything before it, so that nothing can be predicted: use a context with "
            "more than one token, or bos=True with a tokeniser that has a begin token"
        )
    return float(2 ** (sum(block.bits for block in blocks) / n_scored))


def _score(
    model: LanguageModel,
    words: Sequence[str] | Words,
    context: Context,
    text: str | None,
    missing: Missing,
) -> Iterator[WordBlock]:
    return read_blocks(
        model,
        words,
        layers=[],
        context=context,
        pooling="last",
        dtype=np.dtype(np.float32),
        text=text,
        missing=missing,
        surprisal=True,
    )


def read_blocks(
    model: LanguageModel,
    words: Sequence[str] | Words,
    *,
    layers: Sequence[int],
    context: Context,
    pooling: Pooling,
    dtype: np.dtype[np.floating],
    text: str | None = None,
    missing: Missing = "error",
    surprisal: bool = False,
    first_word: int = 0,
    before: Mapping[int, FloatArray] | None = None,
) -> Iterator[WordBlock]:
    """Read a run in batches of windows; yield the rows of the words of each batch.

    A batch holds as many windows as fit into ``model.tokens_per_pass`` tokens, padding included, and is one
    forward pass. Batches depend on the run alone, so going on from the start of a block after an interruption
    gives what reading without one gives, bit by bit.

    Parameters
    ----------
    model, words, context, pooling, text, missing
        As in `extract_words`.
    layers : sequence of int
        Numbers from 0 (`resolve_layers`); may be empty.
    dtype : numpy.dtype
        Of the rows; float16 ends at 65504.
    surprisal : bool
        Also return the bits of every word, from the same pass.
    first_word : int
        Where to go on: the ``stop`` of a block.
    before : mapping of int to (width,) floating, optional
        The last row of each layer in front of `first_word`, for words without a token.

    Returns
    -------
    iterator of WordBlock
        The arguments are checked and the text is tokenised before it is returned.

    Raises
    ------
    ValueError
        As in `extract_words`; if values exceed the range of `dtype`, surprisal is asked of a model that gives
        no probabilities, no block starts at `first_word`, or `before` is needed and missing.

    Warns
    -----
    StimulusWarning
        As in `extract_words`.

    Examples
    --------
    >>> options = dict(context=GrowingContext(), pooling="last", dtype=np.dtype("float16"))
    >>> for block in read_blocks(model, words, layers=[6], **options):                    # doctest: +SKIP
    ...     print(block.start, block.stop, block.states[6].shape)
    0 512 (512, 768)
    """
    check_pooling(pooling)
    labels = words.text if isinstance(words, Words) else words
    if isinstance(labels, str) or len(labels) == 0:
        raise ValueError("words must be a sequence of at least one word (a text: text.split())")
    if surprisal and not model.can_score:
        raise ValueError(
            f"surprisal: {model.name} gives no probability of the next token: use a causal model with "
            "its head"
        )
    spans = None if text is None else find_words(words, text, missing=missing)
    tokens = tokenise_words(model.tokenizer, labels, text=text, spans=spans)
    n_special = sum(len(ids) for ids in model.special_tokens(bos=context.bos))
    windows = context.fitted(model.max_tokens, n_special).windows(np.diff(tokens.edges))
    reader = WindowReader(model, tokens, labels, windows, context.bos)
    return reader.blocks(
        layers, pooling, np.dtype(dtype), surprisal=surprisal, first_word=first_word, before=before
    )


def resolve_layers(model: LanguageModel, layers: Layers) -> list[int]:
    """Return the layers as numbers from 0, in rising order; raise ValueError for one that does not exist."""
    if isinstance(layers, str):
        if layers != "all":
            raise ValueError(f"layers={layers!r}: use 'all' or a list of layer numbers")
        return list(range(model.n_layers))
    chosen = []
    for layer in layers:
        if layer != int(layer) or not -model.n_layers <= layer < model.n_layers:
            raise ValueError(f"layers: {model.name} has the layers 0 to {model.n_layers - 1}; got {layer}")
        chosen.append(int(layer) % model.n_layers)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"layers={list(layers)}: name at least one layer, and each only once")
    return sorted(chosen)

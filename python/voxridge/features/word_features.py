"""One vector for each word and layer: the words of a run read in windows by a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from voxridge.features.tokens import TokenisedWords, tokenise_words
from voxridge.features.context import GrowingContext, Window
from voxridge.features.language_model import LanguageModel
from voxridge.features.words import Words

Layers = Literal["all"] | Sequence[int]
Pooling = Literal["last", "mean"]
FloatArray = npt.NDArray[np.floating]


def extract_words(
    model: LanguageModel,
    words: Sequence[str] | Words,
    *,
    layers: Layers = "all",
    context: GrowingContext = GrowingContext(),  # noqa: B008 (frozen: the shared default cannot change)
    pooling: Pooling = "last",
    progress: bool = True,
) -> dict[int, FloatArray]:
    """Read a run word by word and return the activations of all chosen layers.

    The words are joined with blanks and tokenised once (`voxridge.features.tokens`); the tokens are read
    in the windows of `context`, one forward pass each, which gives all layers.

    For a model with ``past_only``, the activation of a word depends on this word and the words before it
    alone. With windows counted in words the windows are the same whatever the later words are; if those
    change without changing the number of tokens in the window, the activations are bit-identical (another
    number of tokens may change the order of sums inside the matrix products, a matter of rounding).

    Parameters
    ----------
    model : LanguageModel
    words : sequence of str or Words
        The words of one run, in order, with their punctuation.
    layers : "all" or sequence of int
        0 is the embedding, ``n_layers - 1`` (or -1) the last; see LanguageModel for its normalisation.
    context : GrowingContext
        What the model sees for each word.
    pooling : "last" or "mean"
        State of the last token that overlaps the word, or the mean over all tokens that do.
    progress : bool
        Show words done and time left on standard error.

    Returns
    -------
    dict of int to (n_words, width) float32

    Raises
    ------
    ValueError
        If a layer does not exist or is named twice, `pooling` is unknown, there are no words or an empty one,
        a window has more tokens than the model takes, or a layer comes out with NaN, infinity or nothing but
        zeros.

    Warns
    -----
    StimulusWarning
        If words have no token; each repeats the vector of the word before it.

    Examples
    --------
    >>> model = LanguageModel.load("gpt2")                                            # doctest: +SKIP
    >>> extract_words(model, "Alice was beginning".split(), layers=[0, 6])[6].shape   # doctest: +SKIP
    (3, 768)
    """
    from tqdm import tqdm

    text = words.text if isinstance(words, Words) else words
    with tqdm(total=len(text), desc=model.name, unit="word", disable=not progress) as bar:
        return read_run(
            model,
            text,
            layers=resolve_layers(model, layers),
            context=context,
            pooling=pooling,
            dtype=np.dtype(np.float32),
            advance=bar.update,
        )


def resolve_layers(model: LanguageModel, layers: Layers) -> list[int]:
    """Return the layers as numbers from 0, in rising order; raise ValueError for one that does not exist."""
    if isinstance(layers, str):
        if layers != "all":
            raise ValueError(f"layers={layers!r}: use 'all' or a list of layer numbers")
        return list(range(model.n_layers))
    chosen = []
    for layer in layers:
        if not -model.n_layers <= layer < model.n_layers:
            raise ValueError(f"layers: {model.name} has the layers 0 to {model.n_layers - 1}; got {layer}")
        chosen.append(int(layer) % model.n_layers)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"layers={list(layers)}: name at least one layer, and each only once")
    return sorted(chosen)


def read_run(
    model: LanguageModel,
    words: Sequence[str],
    *,
    layers: Sequence[int],
    context: GrowingContext,
    pooling: Pooling,
    dtype: np.dtype[np.floating],
    advance: Callable[[int], object],
) -> dict[int, FloatArray]:
    """Return {layer: (n_words, width) array of `dtype`}; each pass calls `advance` with the words done."""
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling={pooling!r} is unknown: use 'last' or 'mean'")
    if isinstance(words, str) or len(words) == 0:
        raise ValueError("words must be a sequence of at least one word (a text: text.split())")
    tokens = tokenise_words(model.tokenizer, words)
    edges = np.concatenate([[0], tokens.ends])
    windows = context.windows(np.diff(edges))
    before, after = model.special_tokens(bos=context.bos)
    _check_fit(model, windows, edges, len(before) + len(after))
    out = {layer: np.empty((len(words), model.widths[layer]), dtype=dtype) for layer in layers}
    for window in windows:
        start, new, stop = (int(edges[word]) for word in window)
        spoken = window.new + np.flatnonzero(tokens.last[window.new : window.stop] >= 0)
        if spoken.size:
            ids = [*before, *tokens.ids[start:stop], *after]
            shift = len(before) - start
            states = model.hidden_states(ids, layers, rows=slice(new + shift, stop + shift))
            for layer in layers:
                block = _pool(states.pop(layer), tokens, spoken, new, pooling)
                out[layer][spoken] = _checked(block, dtype, f"layer {layer} of {model.name}", spoken, words)
        advance(window.stop - window.new)
    if (tokens.last < 0).any():
        source = np.maximum.accumulate(np.where(tokens.last >= 0, np.arange(len(words)), 0))
        out = {layer: values[source] for layer, values in out.items()}
    for layer, values in out.items():
        if not values.any():
            raise ValueError(
                f"layer {layer} of {model.name} is all zeros, which no sound model gives: weights not "
                "loaded, or placed wrongly over several devices"
            )
    return out


def _check_fit(
    model: LanguageModel, windows: Sequence[Window], edges: npt.NDArray[np.int64], n_special: int
) -> None:
    if model.max_tokens is None:
        return
    for window in windows:
        size = int(edges[window.stop] - edges[window.start]) + n_special
        if size > model.max_tokens:
            limit = model.max_tokens - n_special
            raise ValueError(
                f"the window of words {window.start} to {window.stop - 1} has {size} tokens, but "
                f"{model.name} takes {model.max_tokens} at a time: use GrowingContext(reset={limit // 2}, "
                f"limit={limit}, unit='token'), or fewer words"
            )


def _pool(
    states: FloatArray, tokens: TokenisedWords, spoken: npt.NDArray[np.int64], shift: int, pooling: Pooling
) -> FloatArray:
    """Reduce the states of tokens `shift`, `shift` + 1, ... to one row for each of the words `spoken`."""
    if pooling == "last":
        return states[tokens.last[spoken] - shift]
    owner = tokens.word[shift : shift + len(states)]
    used = np.flatnonzero(owner >= 0)
    row = np.searchsorted(spoken, owner[used])
    weights = (1.0 / np.bincount(row)[row]).astype(np.float32)
    average = sparse.csr_array((weights, (row, used)), shape=(len(spoken), len(states)))
    return np.asarray(average @ states)


def _checked(
    block: FloatArray,
    dtype: np.dtype[np.floating],
    place: str,
    spoken: npt.NDArray[np.int64],
    words: Sequence[str],
) -> FloatArray:
    """Return `block` in `dtype`; raise ValueError for the first word with a value that cannot be stored."""
    largest = np.abs(block).max(axis=1)
    bad = ~np.isfinite(largest)
    if bad.any():
        word = int(spoken[np.argmax(bad)])
        raise ValueError(
            f"{place} has NaN or infinity at word {word} ({words[word]!r}): load the model with "
            "dtype='float32' or 'bfloat16', whose range is wider than that of float16"
        )
    top = float(np.finfo(dtype).max)
    if (largest > top).any():
        i = int(np.argmax(largest > top))
        word = int(spoken[i])
        raise ValueError(
            f"{place} reaches {largest[i]:.6g} at word {word} ({words[word]!r}), more than {dtype.name} can "
            f"hold ({top:g}): use dtype='float32'"
        )
    return block.astype(dtype)

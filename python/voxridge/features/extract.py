"""Activations of all runs of an experiment in one HDF5 file, taken up again where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from voxridge.features.context import GrowingContext
from voxridge.features.language_model import LanguageModel
from voxridge.features.word_features import Layers, Pooling, read_run, resolve_layers
from voxridge.features.words import Words
from voxridge.streams import FeatureStore


def extract_features(
    model: LanguageModel,
    stimuli: Mapping[str, Words],
    path: str | Path,
    *,
    layers: Layers = "all",
    context: GrowingContext = GrowingContext(),  # noqa: B008 (frozen: the shared default cannot change)
    pooling: Pooling = "last",
    dtype: Literal["float16", "float32"] = "float16",
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Read every run with a language model and write its activations to a feature store.

    Each run is read on its own (the context starts anew) and written when it is complete. Called again with
    the same arguments after an interruption, the runs that are there are kept and the others added. The file
    then holds exactly what an uninterrupted call would have written, so anything that differs is refused.

    Memory: one run, ``n_words * width * n_layers`` values of `dtype`, and the states of one window.

    Parameters
    ----------
    model : LanguageModel
    stimuli : mapping of run name to Words
        Written in this order.
    path : str or Path
        The HDF5 file (`voxridge.streams.FeatureStore`); layers are called ``layer-00``, ``layer-01``, ...,
        times are the middles of the words in seconds.
    layers, context, pooling
        See `voxridge.features.extract_words`.
    dtype : "float16" or "float32"
        What is written. float16 ends at 65504; larger activations raise.
    overwrite : bool
        Replace the file if it exists, whatever is in it.
    progress : bool
        Show words done and time left on standard error.

    Returns
    -------
    FeatureStore
        With all runs; its ``provenance`` holds the model (name, revision, classes, digest of the weights),
        context, pooling, layers, dtype, the digest of every stimulus and the versions of the packages.

    Raises
    ------
    ValueError
        If the file was made with other settings, another model or other stimuli (the message lists all
        differences), no run is given, activations exceed the range of `dtype`, or as in `extract_words`.
    TypeError
        If a stimulus is not a Words.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> stimuli = {"story-1": read_words("story-1.TextGrid")}                          # doctest: +SKIP
    >>> store = extract_features(model, stimuli, "activations.h5", layers=[6, 9])     # doctest: +SKIP
    >>> store.source("layer-09").shape                                                # doctest: +SKIP
    (1483, 768)
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype={dtype!r} is unknown: use 'float16' or 'float32'")
    _check_stimuli(stimuli)
    chosen = resolve_layers(model, layers)
    provenance = _provenance(model, stimuli, chosen, context, pooling, dtype)
    store = _open_store(Path(path), provenance, overwrite)
    todo = [run for run in stimuli if not store.complete(run)]
    total = sum(len(words) for words in stimuli.values())
    done = total - sum(len(stimuli[run]) for run in todo)
    with tqdm(total=total, initial=done, desc=model.name, unit="word", disable=not progress) as bar:
        for run in todo:
            words = stimuli[run]
            bar.set_postfix_str(run)
            try:
                states = read_run(
                    model,
                    words.text,
                    layers=chosen,
                    context=context,
                    pooling=pooling,
                    dtype=np.dtype(dtype),
                    advance=bar.update,
                )
            except ValueError as error:
                raise ValueError(f"run {run!r}: {error}") from error
            named = {f"layer-{layer:02d}": values for layer, values in states.items()}
            store.write_run(run, named, times=words.midpoint, words=words.text)
    return store


def _check_stimuli(stimuli: Mapping[str, Words]) -> None:
    if not stimuli:
        raise ValueError("stimuli holds no run: give {run name: Words}")
    for run, words in stimuli.items():
        if not isinstance(words, Words):
            raise TypeError(f"stimuli[{run!r}] must be Words (see read_words); got {type(words).__name__}")
        if len(words) == 0:
            raise ValueError(f"stimuli[{run!r}] holds no words")


def _provenance(
    model: LanguageModel,
    stimuli: Mapping[str, Words],
    layers: list[int],
    context: GrowingContext,
    pooling: str,
    dtype: str,
) -> dict[str, Any]:
    before, after = model.special_tokens(bos=context.bos)
    return {
        "kind": "language model activations",
        "model": model.provenance(),
        "context": {**context.provenance(), "tokens_before": before, "tokens_after": after},
        "pooling": pooling,
        "layers": layers,
        "layer_note": "0 is the embedding, k the output of block k; the last is taken after the final "
        "normalisation",
        "dtype": dtype,
        "times": "middle of each word, seconds",
        "stimulus_sha256": {run: words.digest() for run, words in stimuli.items()},
    }


def _open_store(path: Path, provenance: dict[str, Any], overwrite: bool) -> FeatureStore:
    if overwrite or not path.exists():
        return FeatureStore.create(path, provenance, overwrite=overwrite)
    store = FeatureStore.open(path)
    differences = list(_differences(store.provenance, json.loads(json.dumps(provenance))))
    if differences:
        raise ValueError(
            f"{path} was made in another way and cannot be continued: {'; '.join(differences)}. Give another "
            "path, the old settings, or overwrite=True"
        )
    return store


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Yield one line for each leaf that differs between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{place}.{key}" if place else str(key)
            if key not in new:
                yield f"{inner} was {_short(old[key])}, now absent"
            elif key not in old:
                yield f"{inner} was absent, now {_short(new[key])}"
            else:
                yield from _differences(old[key], new[key], inner)
    elif old != new:
        yield f"{place} was {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 70 else f"{text[:60]}..."

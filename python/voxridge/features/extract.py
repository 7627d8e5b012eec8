"""Activations of all runs of an experiment in one store, taken up again where they stopped."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from voxridge._warnings import StimulusWarning
from voxridge.features.context import Context, GrowingContext
from voxridge.features.language_model import LanguageModel
from voxridge.features.pooling import Pooling
from voxridge.features.transcript import Missing
from voxridge.features.window_reader import WordBlock
from voxridge.features.word_features import Layers, read_blocks, resolve_layers
from voxridge.features.words import Words
from voxridge.streams import FeatureStore
from voxridge.streams.run_writer import RowBlock, write_runs
from voxridge.streams.store_base import layer_name


def extract_features(
    model: LanguageModel,
    stimuli: Mapping[str, Words],
    path: str | Path,
    *,
    layers: Layers = "all",
    context: Context = GrowingContext(),  # noqa: B008 (frozen: the shared default cannot change)
    pooling: Pooling = "last",
    dtype: Literal["float16", "float32"] = "float16",
    text: Mapping[str, str] | None = None,
    missing: Missing = "error",
    surprisal: bool | Literal["auto"] = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Read every run with a language model and write its activations to a feature store.

    Each run is read on its own (the context starts anew). What one forward pass gives is kept at once in a
    file beside the store, ``<path>.features.partial``, and a run moves into the store when it is complete.
    Called again with the same arguments after an interruption of any kind, the work goes on after the last
    pass that was kept, and the file then holds exactly what an uninterrupted call would have written.
    Another model, setting or stimulus of a run is therefore refused; further runs are added. Words that are
    not in their text and windows longer than the model takes are found in all runs before the first is read.

    Memory: the states of one forward pass.

    Parameters
    ----------
    model : LanguageModel
    stimuli : mapping of run name to Words
        Written in this order.
    path : str or Path
        The HDF5 file (`voxridge.streams.FeatureStore`); layers are called ``layer-00``, ``layer-01``, ...,
        times are the middles of the words in seconds. Or a folder (it is one, or the text ends with "/"),
        which gets one file per run: several processes can then write different runs at the same time.
    layers, context, pooling
        See `voxridge.features.extract_words`.
    dtype : "float16" or "float32"
        What is written. float16 ends at 65504; larger activations raise.
    text : mapping of run name to str, optional
        Running text with punctuation, in which the words occur in order: what the model reads in place of
        the words joined by blanks.
    missing : "error" or "skip"
        What to do with words that are not in their running text; see `voxridge.features.extract_words`.
    surprisal : bool or "auto"
        Write how unexpected each word was too, in bits (``store.surprisal(run)``), and the perplexity
        of each run (``store.perplexity(run)``), from the same passes. "auto": if the model can
        (``model.can_score``).
    overwrite : bool
        Replace the file if it exists, whatever is in it.
    progress : bool
        Show words done and time left on standard error.

    Returns
    -------
    FeatureStore
        With all runs; its ``provenance`` holds the model (name, revision, classes, digests of weights and
        tokeniser), context, pooling, layers, dtype, the digest of every stimulus and the versions of the
        packages.

    Raises
    ------
    ValueError
        If the file was made with other settings, another model or other stimuli (the message lists all
        differences), no run is given, a text lacks its run or a run its text, surprisal is asked of a model
        that gives no probabilities, activations exceed the range of `dtype`, or as in `extract_words`.
    TypeError
        If a stimulus is not a Words.
    BlockingIOError
        If another program writes this store.
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
    if surprisal not in (True, False, "auto"):
        raise ValueError(f"surprisal={surprisal!r} is unknown: use True, False or 'auto'")
    _check_stimuli(stimuli, text)
    chosen = resolve_layers(model, layers)
    scored = model.can_score if surprisal == "auto" else surprisal
    readers = {
        run: WordRunReader(
            model,
            words,
            layers=chosen,
            context=context,
            pooling=pooling,
            dtype=np.dtype(dtype),
            text=None if text is None else text[run],
            missing=missing,
            surprisal=scored,
        )
        for run, words in stimuli.items()
    }
    # A story that cannot be read must not be found after the hours that those before it take.
    for run, reader in readers.items():
        reader.check(run)
    before, after = model.special_tokens(bos=context.bos)
    fitted = context.fitted(model.max_tokens, len(before) + len(after))
    provenance = {
        "kind": "language model activations",
        "model": model.provenance(),
        "context": {**fitted.provenance(), "tokens_before": before, "tokens_after": after},
        "pooling": pooling,
        "layers": chosen,
        "layer_note": "0 is the embedding, k the output of block k; the last is taken after the final "
        "normalisation",
        "dtype": dtype,
        "text": "words joined by blanks" if text is None else "running text",
        "missing": missing,
        "surprisal": scored,
        "times": "middle of each word, seconds",
        "stimulus_sha256": {run: reader.digest() for run, reader in readers.items()},
    }
    return write_runs(
        path, readers, provenance, overwrite=overwrite, progress=progress, unit="word", label=model.name
    )


@dataclass(frozen=True, eq=False)
class WordRunReader:
    """One run read word by word by a language model, as `voxridge.streams.run_writer` asks for it.

    Parameters
    ----------
    model : LanguageModel
    run_words : Words
    layers : list of int
        Numbers from 0.
    context, pooling, text, missing
        See `voxridge.features.extract_words`.
    dtype : numpy.dtype
        Of the rows.
    surprisal : bool
        Whether the words are scored too.
    """

    model: LanguageModel
    run_words: Words
    layers: list[int]
    context: Context
    pooling: Pooling
    dtype: np.dtype[Any]
    text: str | None = None
    missing: Missing = "error"
    surprisal: bool = False

    @property
    def n_rows(self) -> int:
        """One row per word."""
        return len(self.run_words)

    @property
    def widths(self) -> dict[str, int]:
        """Layer name to its width."""
        return {layer_name(layer): self.model.widths[layer] for layer in self.layers}

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """(n_words,) the middle of each word in seconds."""
        return self.run_words.midpoint

    @property
    def words(self) -> tuple[str, ...]:
        """The words."""
        return self.run_words.text

    def digest(self) -> str:
        """SHA-256 of everything that is read: the words, their times, and the running text."""
        if self.text is None:
            return self.run_words.digest()
        running = self.text.encode("utf-8", "surrogatepass")
        return hashlib.sha256(self.run_words.digest().encode() + running).hexdigest()

    def check(self, run: str) -> None:
        """Tokenise the run and cut it into windows, as `blocks` will do, without a forward pass.

        Parameters
        ----------
        run : str
            Its name, for messages.

        Raises
        ------
        ValueError
            If words are not in the text, a window has more tokens than the model takes, or as `read_blocks`.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StimulusWarning)  # given when the run is read
            try:
                self._word_blocks(0, None)
            except ValueError as error:
                raise ValueError(f"run {run!r}: {error}") from error

    def blocks(self, first_row: int, before: Mapping[str, npt.NDArray[Any]] | None) -> Iterator[RowBlock]:
        """Yield one block for each forward pass; see `voxridge.streams.run_writer.RunReader`."""
        for block in self._word_blocks(first_row, before):
            states = {layer_name(layer): values for layer, values in block.states.items()}
            if block.surprisal is None:
                yield RowBlock(block.start, block.stop, states)
            else:
                totals = {"bits": block.bits, "n_scored": block.n_scored}
                yield RowBlock(block.start, block.stop, states, {"surprisal": block.surprisal}, totals)

    def _word_blocks(
        self, first_row: int, before: Mapping[str, npt.NDArray[Any]] | None
    ) -> Iterator[WordBlock]:
        return read_blocks(
            self.model,
            self.run_words,
            layers=self.layers,
            context=self.context,
            pooling=self.pooling,
            dtype=self.dtype,
            text=self.text,
            missing=self.missing,
            surprisal=self.surprisal,
            first_word=first_row,
            before=None if before is None else {layer: before[layer_name(layer)] for layer in self.layers},
        )


def _check_stimuli(stimuli: Mapping[str, Words], text: Mapping[str, str] | None) -> None:
    if not stimuli:
        raise ValueError("stimuli holds no run: give {run name: Words}")
    for run, words in stimuli.items():
        if not isinstance(words, Words):
            raise TypeError(f"stimuli[{run!r}] must be Words (see read_words); got {type(words).__name__}")
        if len(words) == 0:
            raise ValueError(f"stimuli[{run!r}] holds no words")
    if text is not None and set(text) != set(stimuli):
        raise ValueError(
            f"text has the runs {sorted(text)}, but stimuli has {sorted(stimuli)}: give one text for each run"
        )

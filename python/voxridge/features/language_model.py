"""A language model whose hidden states are read, nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voxridge.features import model_loading
from voxridge.features.forward import Network, most_positions
from voxridge.features.model_record import describe_network, package_versions
from voxridge.features.placement import Placement, naming_memory

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class WindowStates(NamedTuple):
    """What one sequence of tokens gave.

    Attributes
    ----------
    states : dict of int to (n_rows, width) float32
        The layers asked for, in memory of the host.
    surprisal : (n_rows,) float64 or None
        -log2 p(token | tokens before it) in bits; NaN for the first token of the sequence, which has nothing
        before it; None if it was not asked for.
    """

    states: dict[int, FloatArray]
    surprisal: npt.NDArray[np.float64] | None


class LanguageModel:
    """The hidden states of a causal or masked language model of the Hugging Face library.

    Layer 0 is the embedding, layer k the output of block k. The **last** layer is what the library returns as
    last hidden state: in most architectures (GPT-2, LLaMA, ...) after the final normalisation, which the
    layers before it have not passed. State space models (Mamba, RWKV) are numbered in the same way, although
    the library leaves their embedding out. Of an encoder-decoder (T5, BART) the encoder is used.

    Use :meth:`load`; the constructor takes a model that is already in memory.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        Model with its head or without, on its device and in evaluation mode. The head runs only where
        surprisal is asked for.
    tokenizer : transformers.PreTrainedTokenizerFast
        Its tokeniser; must give character offsets.
    name : str
        Name for reports and provenance.
    revision, gguf_file, seed
        For the provenance only; a `seed` says that the weights are random.
    tokens_per_pass : int, optional
        See the attribute; None: as many as fit well on the device.

    Attributes
    ----------
    name : str
    n_layers : int
        Number of blocks plus one.
    widths : tuple of int
        Number of values per token in each layer; the same in all layers of most models (OPT-350M has a last
        layer of half the width).
    width : int
        The largest of them.
    past_only : bool
        True if no token changes the hidden states before it. This is measured when the model is built, not
        taken from its name: masked models (BERT) and some that call themselves causal see the words to come.
    max_tokens : int or None
        Most tokens (special tokens included) that fit into one window; None if the architecture has no limit.
    can_score : bool
        Whether surprisal can be asked for: a causal model with the head that gives the next token.
    tokens_per_pass : int
        How many tokens, padding included, one batch should hold. A longer sequence of a model with
        `past_only` goes through in pieces of this size, with a cache of keys and values.

    Raises
    ------
    ValueError
        If `tokens_per_pass` is below 1.

    Examples
    --------
    >>> model = LanguageModel.load("gpt2")                                            # doctest: +SKIP
    >>> model.n_layers, model.width                                                   # doctest: +SKIP
    (13, 768)
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str | None = None,
        gguf_file: str | None = None,
        seed: int | None = None,
        tokens_per_pass: int | None = None,
    ) -> None:
        self.name = name
        self._network = Network(network, _pad_id(tokenizer))
        self._tokenizer = tokenizer
        self._origin = {
            "revision": revision,
            "gguf_file": gguf_file,
            "untrained": seed is not None,
            "seed": seed,
        }
        self.widths, self.past_only = self._network.widths, self._network.past_only
        self.can_score = self._network.can_score
        self.n_layers = len(self.widths)
        self.width = max(self.widths)
        self.max_tokens = self._find_max_tokens()
        if tokens_per_pass is not None and tokens_per_pass < 1:
            raise ValueError(f"tokens_per_pass={tokens_per_pass}: at least one token must fit")
        self.tokens_per_pass = tokens_per_pass or self._network.default_tokens_per_pass()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        gguf_file: str | None = None,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        max_memory: Mapping[int | str, int | str] | None = None,
        offload_folder: str | Path | None = None,
        quantization: str | None = None,
        tokens_per_pass: int | None = None,
        untrained: bool = False,
        seed: int = 0,
    ) -> LanguageModel:
        """Load a model and its tokeniser.

        Parameters
        ----------
        name_or_path : str or Path
            Local folder (as written by ``save_pretrained``, or with a GGUF file), or the name of a model on
            the Hugging Face hub.
        gguf_file : str, optional
            Name of the GGUF file in that folder; its weights are expanded to `dtype`.
        revision : str, optional
            Branch, tag or commit on the hub.
        device : str
            A device of torch (``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...), or ``"auto"``: weights fill the
            GPUs first, then host memory, then the disk; each block is brought to the device that computes
            when it is its turn.
        dtype : "float32", "bfloat16" or "float16"
            Arithmetic of the model; float16 only on a GPU.
        max_memory : mapping, optional
            For ``device="auto"``: most memory for weights on each device, such as
            ``{0: "20GiB", "cpu": "50GiB"}``; what does not fit stays on disk.
        offload_folder : path, optional
            For ``device="auto"``: where weights are put that stay on disk. A checkpoint of safetensors is
            read where it is, and nothing is written.
        quantization : None or "8bit"
            Weights in 8-bit integers (package bitsandbytes), a quarter of float32. States then differ from
            those of the full weights by a few per cent, and later tokens move earlier ones within this error
            (the columns that stay in 16 bits are chosen from all tokens of a pass).
        tokens_per_pass : int, optional
            Tokens in one batch, padding included; None: by the memory of the device.
        untrained : bool
            Take the architecture and tokeniser alone and draw random weights with `seed`: the control for
            what the architecture does without training.
        seed : int
            Used when `untrained`; the state of torch's generator is left alone.

        Raises
        ------
        FileNotFoundError
            If the folder, its config.json or the GGUF file does not exist, the hub does not know the name or
            revision, or cannot be reached.
        PermissionError
            If the model is gated and this account has no access.
        ValueError
            If the dtype, device or quantization cannot be used, the tokeniser gives no character offsets, or
            the checkpoint is damaged or lacks weights.
        ImportError
            If a package is missing that a setting needs.
        MemoryError
            If the model does not fit.

        Examples
        --------
        >>> path = find_packaged_smollm2()                                            # doctest: +SKIP
        >>> LanguageModel.load(path.parent, gguf_file=path.name).n_layers             # doctest: +SKIP
        31
        """
        used = seed if untrained else None
        placement = Placement(device, dtype, max_memory, offload_folder, quantization)
        loaded = model_loading.load(name_or_path, gguf_file, revision, placement, used)
        return cls(
            loaded.network,
            loaded.tokenizer,
            name=loaded.name,
            revision=loaded.revision,
            gguf_file=gguf_file,
            seed=used,
            tokens_per_pass=tokens_per_pass,
        )

    @property
    def tokenizer(self) -> Any:
        """The tokeniser of the model."""
        return self._tokenizer

    def special_tokens(self, *, bos: bool = True) -> tuple[list[int], list[int]]:
        """Return the ids put before and after every window.

        A model that sees the past only gets a begin token (unless ``bos=False`` or its tokeniser has none)
        and nothing after; any other model gets what its tokeniser puts around a text, such as [CLS] and
        [SEP].
        """
        encoding = self._tokenizer("a", return_special_tokens_mask=True)
        ids = list(encoding["input_ids"])
        text = [i for i, special in enumerate(encoding["special_tokens_mask"]) if not special]
        before, after = (ids[: text[0]], ids[text[-1] + 1 :]) if text else (ids, [])
        if not self.past_only:
            return before, after
        if not bos:
            return [], []
        begin = self._tokenizer.bos_token_id
        return before or ([] if begin is None else [int(begin)]), []

    def read(
        self,
        sequences: Sequence[IntArray],
        layers: Sequence[int],
        rows: Sequence[slice],
        *,
        surprisal: bool = False,
    ) -> list[WindowStates]:
        """Run the model over several sequences of tokens at once.

        The sequences are padded behind their ends to the longest and run in one forward pass. Sequences
        longer than `tokens_per_pass` of a model that sees the past only are run one by one, in pieces with a
        cache of keys and values, if its architecture can do that. A model that sees both sides and takes no
        mask (FNet) reads the sequences one by one.

        Parameters
        ----------
        sequences : sequence of (n_tokens,) integers
            Token ids, special tokens included.
        layers : sequence of int
            Layers to return, 0 to ``n_layers - 1``.
        rows : sequence of slice
            Positions to return of each sequence.
        surprisal : bool
            Also return the bits of each of these tokens; only if `can_score`.

        Returns
        -------
        list of WindowStates
            One for each sequence, in memory of the host, whatever the device of the model.

        Raises
        ------
        ValueError
            If a sequence is empty or longer than `max_tokens`, an id is not in the vocabulary, there is not
            one slice for each sequence, a slice has a step, or surprisal is asked for that the model cannot
            give.
        MemoryError
            If memory ends; what was returned by calls before is untouched.

        Examples
        --------
        >>> window = model.read([np.array([5, 9, 20])], [6], [slice(1, 3)])            # doctest: +SKIP
        >>> window[0].states[6].shape                                                  # doctest: +SKIP
        (2, 768)
        """
        import torch

        checked = [self._checked(ids) for ids in sequences]
        spans = _spans(rows, [ids.size for ids in checked])
        if surprisal and not self.can_score:
            raise ValueError(
                f"surprisal: {self.name} gives no probability of the next token (it must be a causal model, "
                "loaded with its head)"
            )
        long = [i for i, ids in enumerate(checked) if ids.size > self.tokens_per_pass]
        long = long if long and self._network.can_cut else []
        short = [i for i in range(len(checked)) if i not in long]
        found: dict[int, WindowStates] = {}
        doing = f"reading {sum(ids.size for ids in checked)} tokens with {self.name}"
        at_once = [short] if self._network.can_pad and short else [[i] for i in short]
        with naming_memory(doing), torch.inference_mode():
            for group in at_once:
                batch, chosen = [checked[i] for i in group], [spans[i] for i in group]
                done = [self._network.run_batch(batch, layers)]
                taken = self._network.take_rows(done, batch, layers, chosen, surprisal)
                found.update(zip(group, itertools.starmap(WindowStates, taken), strict=True))
            for i in long:
                passes = self._network.run_pieces(checked[i], layers, self.tokens_per_pass)
                taken = self._network.take_rows(passes, [checked[i]], layers, [spans[i]], surprisal)
                found[i] = WindowStates(*taken[0])
        return [found[i] for i in range(len(checked))]

    def hidden_states(
        self, ids: Sequence[int] | IntArray, layers: Sequence[int], rows: slice = slice(None)
    ) -> dict[int, FloatArray]:
        """Run the model once over one sequence of tokens; `read` with one sequence.

        Parameters
        ----------
        ids : (n_tokens,) integers
            Token ids, special tokens included.
        layers : sequence of int
            Layers to return, 0 to ``n_layers - 1``.
        rows : slice
            Positions to return.

        Returns
        -------
        dict of int to (n_rows, width) float32
            In memory of the host, whatever the device of the model.

        Raises
        ------
        ValueError
            If the sequence is empty or longer than `max_tokens`, or an id is not in the vocabulary.
        """
        return self.read([np.asarray(ids)], layers, [rows])[0].states

    def _checked(self, ids: Sequence[int] | IntArray) -> IntArray:
        sequence = np.asarray(ids, dtype=np.int64)
        if sequence.ndim != 1 or sequence.size == 0:
            raise ValueError(f"ids must be one sequence of at least one token; got shape {sequence.shape}")
        if self.max_tokens is not None and sequence.size > self.max_tokens:
            raise ValueError(
                f"{sequence.size} tokens, but {self.name} takes at most {self.max_tokens} at a time"
            )
        vocabulary = self._network.vocabulary
        if sequence.min() < 0 or sequence.max() >= vocabulary:
            raise ValueError(
                f"token id {sequence.max() if sequence.min() >= 0 else sequence.min()} is outside the "
                f"vocabulary of {self.name} ({vocabulary} tokens): model and tokeniser do not belong "
                "together"
            )
        return sequence

    def _find_max_tokens(self) -> int | None:
        positions = most_positions(self._network.body)
        limits = [] if positions is None else [positions]
        if self._tokenizer.model_max_length < 1e9:
            limits.append(int(self._tokenizer.model_max_length))
        return min(limits, default=None)

    def provenance(self) -> dict[str, Any]:
        """Return what is needed to load the same model again, and to notice that another one was loaded.

        ``weights_sha256`` is the digest of up to 64 evenly spaced values of every parameter. All values can
        be written as JSON.
        """
        return {
            "model": self.name,
            **self._origin,
            **describe_network(self._network, self._tokenizer),
            "n_layers": self.n_layers,
            "layer_widths": list(self.widths),
            "past_only": self.past_only,
            "tokens_per_pass": self.tokens_per_pass,
            "packages": package_versions(),
        }


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else 0


def _spans(rows: Sequence[slice], sizes: Sequence[int]) -> list[slice]:
    if len(rows) != len(sizes):
        raise ValueError(f"rows: one slice for each sequence; got {len(rows)} for {len(sizes)} sequences")
    spans = []
    for chosen, size in zip(rows, sizes, strict=True):
        start, stop, step = chosen.indices(size)
        if step != 1:
            raise ValueError(f"rows: {chosen} has the step {step}; give slices of neighbouring positions")
        spans.append(slice(start, max(start, stop)))
    return spans

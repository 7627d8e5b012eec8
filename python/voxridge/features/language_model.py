"""A language model whose hidden states are read, nothing else."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge.features import model_loading

FloatArray = npt.NDArray[np.float32]

_PACKAGES = ("voxridge", "torch", "transformers", "tokenizers", "numpy", "h5py", "gguf")


class LanguageModel:
    """The hidden states of a causal or masked language model of the Hugging Face library.

    Layer 0 is the embedding, layer k the output of block k. The **last** layer is what the library returns as
    last hidden state: in most architectures (GPT-2, LLaMA, ...) after the final normalisation, which the
    layers before it have not passed.

    Use :meth:`load`; the constructor takes a model that is already in memory.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        Model without a head, or with one (which is then left out), on its device and in evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerFast
        Its tokeniser; must give character offsets.
    name : str
        Name for reports and provenance.
    revision, gguf_file, seed
        For the provenance only; a `seed` says that the weights are random.

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
    ) -> None:
        self.name = name
        self._network = network.base_model
        self._tokenizer = tokenizer
        self._origin = {
            "revision": revision,
            "gguf_file": gguf_file,
            "untrained": seed is not None,
            "seed": seed,
        }
        self._vocabulary = int(self._network.get_input_embeddings().weight.shape[0])
        self.widths, self.past_only = self._probe()
        self.n_layers = len(self.widths)
        self.width = max(self.widths)
        self.max_tokens = self._find_max_tokens()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        gguf_file: str | None = None,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
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
            A device of torch: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        dtype : "float32", "bfloat16" or "float16"
            Arithmetic of the model; float16 only on a GPU.
        untrained : bool
            Take the architecture and tokeniser alone and draw random weights with `seed`: the control for
            what the architecture does without training.
        seed : int
            Used when `untrained`; the state of torch's generator is left alone.

        Raises
        ------
        FileNotFoundError
            If the folder, its config.json or the GGUF file does not exist, or the hub does not know the name.
        ValueError
            If the dtype or device cannot be used, the model is an encoder-decoder, its tokeniser gives no
            character offsets, or the checkpoint lacks weights.

        Examples
        --------
        >>> path = find_packaged_smollm2()                                            # doctest: +SKIP
        >>> LanguageModel.load(path.parent, gguf_file=path.name).n_layers             # doctest: +SKIP
        31
        """
        used = seed if untrained else None
        loaded = model_loading.load(name_or_path, gguf_file, revision, device, dtype, used)
        return cls(
            loaded.network,
            loaded.tokenizer,
            name=loaded.name,
            revision=loaded.revision,
            gguf_file=gguf_file,
            seed=used,
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

    def hidden_states(
        self, ids: Sequence[int] | npt.NDArray[np.int64], layers: Sequence[int], rows: slice = slice(None)
    ) -> dict[int, FloatArray]:
        """Run the model once over one sequence of tokens.

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
        import torch

        sequence = np.asarray(ids, dtype=np.int64)
        if sequence.ndim != 1 or sequence.size == 0:
            raise ValueError(f"ids must be one sequence of at least one token; got shape {sequence.shape}")
        if self.max_tokens is not None and sequence.size > self.max_tokens:
            raise ValueError(
                f"{sequence.size} tokens, but {self.name} takes at most {self.max_tokens} at a time"
            )
        if sequence.min() < 0 or sequence.max() >= self._vocabulary:
            raise ValueError(
                f"token id {sequence.max() if sequence.min() >= 0 else sequence.min()} is outside the "
                f"vocabulary of {self.name} ({self._vocabulary} tokens): model and tokeniser do not belong "
                "together"
            )
        with torch.inference_mode():
            states = self._forward(sequence, layers)
            return {layer: states[layer][0, rows].float().cpu().numpy() for layer in layers}

    def _forward(self, sequence: npt.NDArray[np.int64], layers: Sequence[int] | None) -> Any:
        import torch

        ids = torch.from_numpy(sequence.copy())[None].to(self._network.device)
        # transformers from 5.23 on keeps only the layers in the list; older versions take it for True and
        # keep all. Both return a tuple with one place for each layer.
        wanted = True if layers is None else list(layers)
        arguments = {"attention_mask": torch.ones_like(ids), "output_hidden_states": wanted}
        if "use_cache" in inspect.signature(self._network.forward).parameters:
            arguments["use_cache"] = False
        return self._network(input_ids=ids, return_dict=True, **arguments).hidden_states

    def _probe(self) -> tuple[tuple[int, ...], bool]:
        """Measure the width of every layer, and whether a later token changes earlier states."""
        import torch

        first = np.arange(5, 11, dtype=np.int64) % self._vocabulary
        second = first.copy()
        second[-1] = 11 % self._vocabulary
        with torch.inference_mode():
            states, changed = (self._forward(ids, None) for ids in (first, second))
            widths = tuple(int(state.shape[-1]) for state in states)
            difference = (states[-1].float() - changed[-1].float())[0].abs().amax(dim=-1)
        # Not exactly zero, because mixtures of experts group tokens in ways that depend on all of them.
        tolerance = 1e-4 if states[-1].dtype == torch.float32 else 1e-2
        past_only = bool(difference[:-1].max() <= tolerance * difference[-1])
        return widths, past_only

    def _find_max_tokens(self) -> int | None:
        limits = []
        positions = getattr(self._network.config, "max_position_embeddings", None)
        if positions is not None and positions > 0:
            table = getattr(getattr(self._network, "embeddings", None), "position_embeddings", None)
            padding = getattr(table, "padding_idx", None)
            # RoBERTa counts positions from padding_idx + 1.
            limits.append(int(positions) - (0 if padding is None else int(padding) + 1))
        if self._tokenizer.model_max_length < 1e9:
            limits.append(int(self._tokenizer.model_max_length))
        return min(limits, default=None)

    def provenance(self) -> dict[str, Any]:
        """Return what is needed to load the same model again, and to notice that another one was loaded.

        ``weights_sha256`` is the digest of up to 64 evenly spaced values of every parameter. All values can
        be written as JSON.
        """
        network = self._network
        return {
            "model": self.name,
            **self._origin,
            "model_class": type(network).__name__,
            "model_type": network.config.model_type,
            "tokenizer_class": type(self._tokenizer).__name__,
            "tokenizer_sha256": hashlib.sha256(
                self._tokenizer.backend_tokenizer.to_str().encode()
            ).hexdigest(),
            "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
            "weights_sha256": self._weights_digest(),
            "n_layers": self.n_layers,
            "layer_widths": list(self.widths),
            "past_only": self.past_only,
            "arithmetic": str(network.dtype).removeprefix("torch."),
            "device": network.device.type,
            "packages": _versions(),
        }

    def _weights_digest(self) -> str:
        sha = hashlib.sha256()
        for name, parameter in self._network.named_parameters():
            values = parameter.detach().reshape(-1)
            sampled = values[:: max(1, values.numel() // 64)][:64].float().cpu().numpy()
            sha.update(f"{name}{tuple(parameter.shape)}".encode() + sampled.astype("<f4").tobytes())
        return sha.hexdigest()


def _versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

"""One forward pass over a batch of sequences: the states of chosen layers, and the bits of every token."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voxridge.features.placement import device_of, tokens_that_fit

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

# Logits of one piece of a text, in float32: 64 MiB, which is 65 tokens of a vocabulary of 256,000.
LOGITS_PER_PIECE = 2**24


class Pass(NamedTuple):
    """What one forward pass gave: {layer: (batch, n_tokens, width)}, the input of the head, the cache."""

    states: dict[int, Any]
    last: Any
    cache: Any


class Network:
    """A network that is called in one way, whatever its architecture.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        In evaluation mode, with its head or without, or the encoder of an encoder-decoder.
    pad_id : int
        Token put behind the shorter sequences of a batch.

    Attributes
    ----------
    body : torch.nn.Module
        The network without its head.
    widths : tuple of int
        Values per token in each layer.
    past_only : bool
        Measured: no token changes the states before it.
    can_pad : bool
        Whether sequences of different lengths can be run at once.
    can_score : bool
        `past_only`, and there is a head that gives the next token.
    in_8bit : bool
        Whether its weights are 8-bit integers.
    """

    def __init__(self, network: Any, pad_id: int) -> None:
        self.body = network.base_model
        self._full = network
        self._pad_id = pad_id
        self.in_8bit = bool(getattr(network, "is_loaded_in_8bit", False))
        self._accepts = frozenset(inspect.signature(self.body.forward).parameters)
        self.vocabulary = int(self.body.get_input_embeddings().weight.shape[0])
        self._lacks_embedding = False
        self._cuts: bool | None = None
        self.past_only = False
        self.widths, last = self._probe()
        self.can_pad = self.past_only or "attention_mask" in self._accepts
        self.can_score = self.past_only and self._probe_head(last)

    @property
    def device(self) -> Any:
        """Where the token ids go: the device on which the embedding is computed."""
        return device_of(self.body.get_input_embeddings())

    @property
    def device_type(self) -> str:
        """``"cpu"`` or ``"cuda"``."""
        import torch

        return str(torch.device(self.device).type)

    def default_tokens_per_pass(self) -> int:
        """How many tokens, padding included, one pass should hold; see `tokens_that_fit`."""
        return tokens_that_fit(
            sum(self.widths),
            self.body.dtype.itemsize,
            on_gpu=self.device_type != "cpu",
            from_disk=any(parameter.is_meta for parameter in self.body.parameters()),
        )

    def run_batch(self, sequences: Sequence[IntArray], layers: Sequence[int] | None) -> Pass:
        """Run sequences of any lengths at once, padded behind their ends to the longest."""
        import torch

        longest = max(sequence.size for sequence in sequences)
        ids = np.full((len(sequences), longest), self._pad_id, dtype=np.int64)
        for row, sequence in zip(ids, sequences, strict=True):
            row[: sequence.size] = sequence
        # What a network that sees the past only makes of padding behind a text cannot reach the text, and
        # without holes in the mask attention is faster.
        sizes = np.array([longest if self.past_only else sequence.size for sequence in sequences])
        mask = torch.from_numpy((np.arange(longest) < sizes[:, None]).astype(np.int64))
        return self._run(torch.from_numpy(ids), layers, mask)

    def run_pieces(self, sequence: IntArray, layers: Sequence[int] | None, size: int) -> Iterator[Pass]:
        """Run one sequence in pieces of `size` tokens, each with the keys and values of those before it."""
        import torch

        cache = None
        for start in range(0, sequence.size, size):
            ids = torch.from_numpy(sequence[None, start : start + size].copy())
            done = self._run(ids, layers, None, use_cache=True, cache=cache)
            cache = done.cache
            yield done

    @property
    def can_cut(self) -> bool:
        """Whether pieces with a cache give what a single pass gives; measured when it is first asked."""
        if self._cuts is None:
            self._cuts = self.past_only and "use_cache" in self._accepts and self._probe_pieces()
        return self._cuts

    def take_rows(
        self,
        passes: Iterable[Pass],
        sequences: Sequence[IntArray],
        layers: Sequence[int],
        spans: Sequence[slice],
        surprisal: bool,
    ) -> list[tuple[dict[int, Float32Array], Float64Array | None]]:
        """Return states and bits in the rows `spans` of sequences, out of passes that follow one another.

        Each layer of a pass is brought to the host at once, and its other rows are given free.
        """
        counts = [span.stop - span.start for span in spans]
        place = np.repeat(np.arange(len(spans)), counts)
        position = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        tokens = np.concatenate([ids[span] for ids, span in zip(sequences, spans, strict=True)])
        parts: dict[int, list[Float32Array]] = {layer: [] for layer in layers}
        bits = np.full(len(position), np.nan)
        start = 0
        for done in passes:
            stop = start + done.last.shape[1]
            here = (position >= start) & (position < stop)
            for layer in layers:
                rows = done.states.pop(layer)[place[here], position[here] - start]
                parts[layer].append(rows.float().cpu().numpy())
            # The state of a token gives the probability of the next one.
            after = (position > start) & (position <= stop)
            if surprisal and after.any():
                hidden = done.last[place[after], position[after] - 1 - start]
                bits[after] = self.bits(hidden, tokens[after])
            start = stop
        cuts = np.cumsum(counts)[:-1]
        whole = {layer: part[0] if len(part) == 1 else np.concatenate(part) for layer, part in parts.items()}
        split = {layer: np.split(values, cuts) for layer, values in whole.items()}
        return [
            ({layer: split[layer][i] for layer in layers}, scored if surprisal else None)
            for i, scored in enumerate(np.split(bits, cuts))
        ]

    def bits(self, hidden: Any, targets: IntArray) -> Float64Array:
        """Return -log2 p(target) of the tokens that come after the (n, width) states of the last layer."""
        import torch

        out = np.empty(len(targets))
        size = max(1, LOGITS_PER_PIECE // self.vocabulary)
        for start in range(0, len(targets), size):
            piece = slice(start, start + size)
            logits = self._head(hidden[piece])[0].float()
            wanted = torch.from_numpy(targets[piece].copy()).to(logits.device)
            chosen = logits.gather(1, wanted[:, None])[:, 0]
            out[piece] = (logits.logsumexp(dim=1) - chosen).double().cpu().numpy() / np.log(2)
        return out

    def _run(
        self, ids: Any, layers: Sequence[int] | None, mask: Any, *, use_cache: bool = False, cache: Any = None
    ) -> Pass:
        # transformers from 5.23 on keeps only the layers in the list; older versions take it for True and
        # keep all. Both return a tuple with one place for each layer.
        wanted = True if layers is None or self._lacks_embedding else list(layers)
        arguments: dict[str, Any] = {"output_hidden_states": wanted, "return_dict": True}
        device = self.device
        ids = ids.to(device)
        if mask is not None and "attention_mask" in self._accepts:
            arguments["attention_mask"] = mask.to(device)
        if "use_cache" in self._accepts:
            arguments["use_cache"] = use_cache
        name = "cache_params" if "cache_params" in self._accepts else "past_key_values"
        if cache is not None:
            arguments[name] = cache
        output = self.body(input_ids=ids, **arguments)
        states = self._layers(output.hidden_states, ids)
        chosen = range(len(states)) if layers is None else layers
        return Pass({k: states[k] for k in chosen}, output[0], getattr(output, name, None))

    def _layers(self, states: Sequence[Any], ids: Any) -> Sequence[Any]:
        """Put the embedding in front where the network leaves it out (state space models).

        Those list the last block twice, before and after the final normalisation: the first is dropped.
        """
        if not self._lacks_embedding:
            return states
        return [self.body.get_input_embeddings()(ids), *states[:-2], states[-1]]

    def _probe(self) -> tuple[tuple[int, ...], Any]:
        """Measure in one pass whether later tokens matter and whether layer 0 is the embedding.

        Returns the widths of all layers, and states of the last.
        """
        import torch

        first = np.arange(5, 11, dtype=np.int64) % self.vocabulary
        later, earlier = first.copy(), first.copy()
        later[-1] = earlier[0] = 11 % self.vocabulary
        with torch.inference_mode():
            done = self.run_batch([first, later, earlier], None)
            end, front = done.states[len(done.states) - 1].float(), done.states[0].float()
            moved = (end[0] - end[1]).abs().amax(dim=-1)
            spread = (front[0] - front[2]).abs().amax(dim=-1)
        # Not exactly zero, because mixtures of experts group tokens in ways that depend on all of them, and
        # 8-bit products choose the columns that stay in 16 bits from all tokens.
        tolerance = 5e-2 if self.in_8bit else 1e-4 if done.last.dtype == torch.float32 else 1e-2
        self.past_only = bool(moved[:-1].max() <= tolerance * moved[-1])
        self._lacks_embedding = bool(spread[1:].max() > tolerance * spread[0])
        widths = [int(state.shape[-1]) for state in done.states.values()]
        if self._lacks_embedding:
            embedding = int(self.body.get_input_embeddings().weight.shape[1])
            widths = [embedding, *widths[:-2], widths[-1]]
        return tuple(widths), done.last[0]

    def _probe_pieces(self) -> bool:
        import torch

        sequence = np.arange(5, 11, dtype=np.int64) % self.vocabulary
        with torch.inference_mode():
            whole = self.run_batch([sequence], None).last.float()
            pieces = [done.last.float() for done in self.run_pieces(sequence, None, 3)]
            gap = (torch.cat(pieces, dim=1) - whole).abs().max()
            tolerance = 1e-4 if self.body.dtype == torch.float32 else 3e-2
            return bool(gap <= tolerance * whole.abs().max())

    def _probe_head(self, last: Any) -> bool:
        """Check that the head can be run on states alone."""
        import torch

        if self._full is self.body or self._full.get_output_embeddings() is None:
            return False
        with torch.inference_mode():
            logits = self._head(last)
        return logits is not None and tuple(logits.shape[:2]) == (1, len(last))

    def _head(self, hidden: Any) -> Any:
        """Return the (1, n, vocabulary) logits of (n, width) states; None if the head cannot run alone.

        The network itself is called, with its body replaced by one that returns these states: whatever the
        architecture does to logits (scaling, soft capping) is done.
        """
        import torch

        ids = torch.zeros((1, hidden.shape[0]), dtype=torch.int64, device=self.device)
        with _replayed(self.body, hidden[None]) as played:
            arguments = {"use_cache": False} if "use_cache" in self._accepts else {}
            logits = self._full(input_ids=ids, return_dict=True, **arguments).logits
        return logits if played else None


def most_positions(body: Any) -> int | None:
    """Return how many tokens a network has positions for; None if there is no limit."""
    positions = getattr(body.config.get_text_config(), "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    # RoBERTa counts positions from padding_idx + 1.
    return int(positions) - (0 if padding is None else int(padding) + 1)


class _Replay:
    """The output of a body that has been run before: its last states, and None for all else."""

    def __init__(self, hidden: Any) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    def __getitem__(self, key: Any) -> Any:
        return (self.last_hidden_state,)[key]


@contextmanager
def _replayed(body: Any, hidden: Any) -> Iterator[list[bool]]:
    """Let `body` return `hidden` instead of running; the list that is yielded grows with each call."""
    played: list[bool] = []

    def forward(*_args: Any, **_kwargs: Any) -> _Replay:
        played.append(True)
        return _Replay(hidden)

    # OPT's head calls the decoder inside its body.
    modules = [module for module in (body, getattr(body, "decoder", None)) if module is not None]
    kept = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.forward = forward
        yield played
    finally:
        for module, old in zip(modules, kept, strict=True):
            if old is None:
                del module.forward
            else:
                module.forward = old

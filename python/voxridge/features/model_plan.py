"""What an extraction will take, known before weights are read: memory, disk, passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from voxridge.features.context import Context, GrowingContext
from voxridge.features.forward import LOGITS_PER_PIECE, most_positions
from voxridge.features.load_errors import named_problems
from voxridge.features.model_loading import choose_class, find_commit, find_folder, name_model, only_encoder
from voxridge.features.placement import Placement, tokens_that_fit
from voxridge.solvers.memory import available_memory, in_words

# Resident with torch and transformers loaded and one model built; with CUDA its libraries too.
_RUNTIME = {"cpu": 450 * 2**20, "cuda": 3 * 2**30}
# What the allocator and short-lived copies add to the sum of the parts.
_MARGIN = 1.1
# English words in the tokenisers of these models, with their punctuation.
_TOKENS_PER_WORD = 1.35


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction will take. ``str(plan)`` is a table to print.

    Attributes
    ----------
    name : str
    dtype, device, store_dtype : str
        Arithmetic, where it is done, and what is written.
    n_parameters : int
        Of what is loaded: with its head, tied weights counted once, without a decoder that is not used.
    widths : tuple of int
        Values per token of the layers asked for.
    n_words, n_tokens : int
        Words, and the tokens of all windows together: context that is read again is counted again. An
        estimate with 1.35 tokens a word.
    n_windows, n_passes : int
        Windows, and forward passes with as many windows in each as `tokens_per_pass` allows.
    tokens_per_pass : int
    flops : float
        Multiplications and additions of all matrix products, attention to all of a window included.
    weight_bytes : int
        Weights in memory.
    states_bytes : int
        The layers of one pass, and the rows taken from them.
    logits_bytes : int
        Logits of one piece of a pass; 0 without surprisal.
    peak_bytes : int
        Most memory on the device that computes: weights, states, intermediate values, libraries on a CPU,
        and a tenth for what is not foreseen.
    host_bytes : int
        The same for memory of the host.
    store_bytes : int
        What is written.
    available_bytes : int
        Memory of the host that is free now.
    device_bytes : int or None
        Free memory of the GPU, if one is used.
    verdict : str
        Whether it fits, and what to do if not.
    """

    name: str
    dtype: str
    device: str
    store_dtype: str
    n_parameters: int
    widths: tuple[int, ...]
    n_words: int
    n_tokens: int
    n_windows: int
    n_passes: int
    tokens_per_pass: int
    flops: float
    weight_bytes: int
    states_bytes: int
    logits_bytes: int
    peak_bytes: int
    host_bytes: int
    store_bytes: int
    available_bytes: int
    device_bytes: int | None
    verdict: str

    def __str__(self) -> str:
        free = [f"{in_words(self.available_bytes)} of the host"]
        if self.device_bytes is not None:
            free.insert(0, f"{in_words(self.device_bytes)} of the GPU")
        widths = sorted(set(self.widths))
        rows = {
            "parameters": f"{self.n_parameters:,} in {self.dtype}: {in_words(self.weight_bytes)}",
            "layers": f"{len(self.widths)}, {' or '.join(map(str, widths))} values wide",
            "words": f"{self.n_words:,}, about {self.n_tokens:,} tokens with their context",
            "passes": f"about {self.n_passes:,}, {self.n_windows:,} windows, up to {self.tokens_per_pass:,} "
            f"tokens each, {self.flops:.2g} operations",
            "states": f"{in_words(self.states_bytes)} a pass",
            "logits": f"{in_words(self.logits_bytes)} a piece" if self.logits_bytes else "none",
            "peak": f"{in_words(self.peak_bytes)} on {self.device}; {in_words(self.host_bytes)} of the host",
            "free": ", ".join(free),
            "store": f"{in_words(self.store_bytes)} on disk in {self.store_dtype}",
            "verdict": self.verdict,
        }
        return "\n".join([self.name, *(f"  {key:<11} {value}" for key, value in rows.items())])


def plan_extraction(
    name_or_path: str | Path,
    *,
    n_words: int | Sequence[int],
    layers: Literal["all"] | Sequence[int] = "all",
    context: Context = GrowingContext(),  # noqa: B008 (frozen: the shared default cannot change)
    dtype: str = "float32",
    device: str = "cpu",
    store_dtype: Literal["float16", "float32"] = "float16",
    quantization: str | None = None,
    surprisal: bool = False,
    gguf_file: str | None = None,
    revision: str | None = None,
    tokens_per_pass: int | None = None,
) -> ExtractionPlan:
    """Work out what an extraction will take, from the configuration of the model alone.

    No weights are read: the network is built without memory behind it, and run on nothing to find the width
    of each layer.

    Parameters
    ----------
    name_or_path, dtype, device, quantization, gguf_file, revision, tokens_per_pass
        As in `LanguageModel.load`.
    n_words : int or sequence of int
        Words of the run, or of each run.
    layers, context
        As in `extract_words`.
    store_dtype : "float16" or "float32"
        What is written.
    surprisal : bool
        Whether the bits of every word are taken from the same passes.

    Returns
    -------
    ExtractionPlan

    Raises
    ------
    FileNotFoundError, PermissionError
        If the configuration cannot be had; see `LanguageModel.load`.
    ValueError
        If an argument is unknown, a layer does not exist, or `n_words` is not positive.

    Examples
    --------
    >>> print(plan_extraction("facebook/opt-30b", n_words=15000, dtype="bfloat16"))     # doctest: +SKIP
    facebook/opt-30b
      parameters  29,974,540,288 in bfloat16: 55.8 GiB
      ...
    """
    placement = Placement(device, dtype, quantization=quantization)
    runs = [n_words] if isinstance(n_words, int) else list(n_words)
    if not runs or min(runs) < 1:
        raise ValueError(f"n_words={n_words}: give the number of words of each run, at least one")
    if store_dtype not in ("float16", "float32"):
        raise ValueError(f"store_dtype={store_dtype!r} is unknown: use 'float16' or 'float32'")
    network = build_without_memory(name_or_path, gguf_file, revision)
    body = network.base_model
    every = measure_widths(body)
    widths = _chosen(every, layers)
    free, gpu = available_memory(), None if placement.device == "cpu" else _gpu_bytes(device)
    itemsize = 4 if dtype == "float32" else 2
    weights = weight_bytes(network, itemsize, quantization)
    if tokens_per_pass is None:
        from_disk = placement.spread and weights > free + (gpu or 0)
        tokens_per_pass = tokens_that_fit(sum(every), itemsize, on_gpu=gpu is not None, from_disk=from_disk)
    limit = most_positions(body)
    reading = _read(runs, context.fitted(limit, 2), tokens_per_pass)
    states = _states_bytes(widths, reading, tokens_per_pass, itemsize)
    logits = 2 * 4 * max(LOGITS_PER_PIECE, _vocabulary(body)) if surprisal else 0
    # A GGUF file is expanded in pieces beside the weights that are there already.
    loading = weights // 2 if gguf_file is not None else 0
    passing = states + logits + tokens_per_pass * _working_width(body) * itemsize
    computing = weights + max(loading, passing)
    host = _RUNTIME["cpu"] + computing if gpu is None else _RUNTIME["cuda"] + states
    peak = host if gpu is None else computing
    sizes = {"peak_bytes": int(_MARGIN * peak), "host_bytes": int(_MARGIN * host)}
    return ExtractionPlan(
        name=name_model(name_or_path, gguf_file),
        dtype=dtype if quantization is None else quantization,
        device=device,
        store_dtype=store_dtype,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        widths=widths,
        n_words=sum(runs),
        n_tokens=reading.tokens,
        n_windows=reading.windows,
        n_passes=reading.passes,
        tokens_per_pass=tokens_per_pass,
        flops=_flops(network, reading, surprisal),
        weight_bytes=weights,
        states_bytes=states,
        logits_bytes=logits,
        **(_within(sizes, free, gpu) if device == "auto" else sizes),
        store_bytes=sum(runs) * sum(widths) * np.dtype(store_dtype).itemsize,
        available_bytes=free,
        device_bytes=gpu,
        verdict=_too_long(reading, limit) or _judge(weights, sizes, free, gpu, device),
    )


def _states_bytes(widths: Sequence[int], reading: _Reading, tokens_per_pass: int, itemsize: int) -> int:
    """Bytes of the layers of one pass, and of the rows of its words in float32 and in what is written."""
    tokens = max(tokens_per_pass, reading.longest)
    return sum(widths) * (tokens * itemsize + reading.most_words * (4 + 2))


def build_without_memory(name_or_path: str | Path, gguf_file: str | None, revision: str | None) -> Any:
    """Build the network of a configuration on torch's meta device: shapes without values."""
    import torch
    import transformers

    folder = find_folder(name_or_path, gguf_file)
    target = str(name_or_path if folder is None else folder)
    with named_problems(str(name_or_path), revision, on_hub=folder is None):
        if folder is None:
            revision = find_commit(target, revision, gguf_file or "config.json")
        where = {"revision": revision, "gguf_file": gguf_file}
        where = {key: value for key, value in where.items() if value is not None}
        config = transformers.AutoConfig.from_pretrained(target, **where)
        with torch.device("meta"):
            model = choose_class(transformers, config).from_config(config)
    return only_encoder(model, name_or_path).eval()


def measure_widths(body: Any) -> tuple[int, ...]:
    """Return the width of every layer of a network without memory."""
    import torch

    config = body.config.get_text_config()
    # Tokens without values cannot be searched for padding.
    body.config.pad_token_id = None
    ids = torch.zeros((1, 4), dtype=torch.int64, device="meta")
    try:
        with torch.inference_mode():
            states = body(input_ids=ids, output_hidden_states=True, return_dict=True).hidden_states
    except (RuntimeError, TypeError, NotImplementedError):
        # Mixtures of experts and some sparse attention look at values.
        return (int(config.hidden_size),) * (int(config.num_hidden_layers) + 1)
    return tuple(int(state.shape[-1]) for state in states)


def weight_bytes(network: Any, itemsize: int, quantization: str | None) -> int:
    """Return the bytes of all weights; in 8 bits, those of the products inside the blocks take one each."""
    import torch

    total = int(itemsize * sum(parameter.numel() for parameter in network.parameters()))
    if quantization is None:
        return total
    head = network.get_output_embeddings()
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return total - (itemsize - 1) * int(sum(module.weight.numel() for module in linear))


class _Reading(NamedTuple):
    """What is read: tokens of all windows, sums of their squared lengths, the longest, words of one pass."""

    tokens: int
    squares: int
    windows: int
    passes: int
    longest: int
    most_words: int


def _read(runs: Sequence[int], context: Context, tokens_per_pass: int) -> _Reading:
    tokens = squares = count = passes = longest = most_words = 0
    for n_words in runs:
        edges = np.floor(_TOKENS_PER_WORD * np.arange(n_words + 1)).astype(np.int64)
        windows = context.windows(np.diff(edges))
        lengths = [int(edges[window.stop] - edges[window.start]) + 1 for window in windows]
        tokens += sum(lengths)
        squares += sum(length**2 for length in lengths)
        count += len(windows)
        longest = max(longest, *lengths)
        held = widest = words = 0
        for window, length in zip(windows, lengths, strict=True):
            widest = max(widest, length)
            if held == 0 or (held + 1) * widest > tokens_per_pass:
                # Windows longer than a pass go through in pieces.
                passes += max(1, -(-length // tokens_per_pass))
                held, widest, words = 0, length, 0
            held, words = held + 1, words + window.stop - window.new
            most_words = max(most_words, words)
    return _Reading(tokens, squares, count, passes, longest, most_words)


def _chosen(widths: tuple[int, ...], layers: Literal["all"] | Sequence[int]) -> tuple[int, ...]:
    if isinstance(layers, str):
        if layers != "all":
            raise ValueError(f"layers={layers!r}: use 'all' or a list of layer numbers")
        return widths
    for layer in layers:
        if not -len(widths) <= layer < len(widths):
            raise ValueError(f"layers: this model has the layers 0 to {len(widths) - 1}; got {layer}")
    return tuple(widths[layer] for layer in layers)


def _working_width(body: Any) -> int:
    """Values per token that are alive inside a block: its input and output, and the widest layer thrice."""
    import torch

    wide = [m.weight.shape[0] for m in body.modules() if isinstance(m, torch.nn.Linear)]
    wide += [m.nf for m in body.modules() if type(m).__name__ == "Conv1D"]
    return 4 * int(body.get_input_embeddings().weight.shape[1]) + 3 * max(wide, default=0)


def _vocabulary(body: Any) -> int:
    return int(body.get_input_embeddings().weight.shape[0])


def _flops(network: Any, reading: _Reading, surprisal: bool) -> float:
    """Two for each weight of a product and token; attention takes 4 width operations for a pair of tokens."""
    import torch

    body = network.base_model
    tables = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)}
    inside = sum(p.numel() for p in body.parameters() if id(p) not in tables and p.ndim > 1)
    total = float(2 * inside * reading.tokens)
    config = body.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    if heads is not None:
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        total += 4.0 * reading.squares * heads * size * config.num_hidden_layers
    if surprisal and network.get_output_embeddings() is not None:
        total += 2.0 * network.get_output_embeddings().weight.numel() * reading.tokens
    return total


def _gpu_bytes(device: str) -> int | None:
    """Free memory of the GPU that is meant, of all of them for "auto"; None if there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    if device == "auto":
        return sum(int(torch.cuda.mem_get_info(i)[0]) for i in range(torch.cuda.device_count()))
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def _left_on_disk(sizes: dict[str, int], free: int, gpu: int | None) -> int:
    """Bytes for which neither device nor host has room."""
    peak, host = sizes["peak_bytes"], sizes["host_bytes"]
    return max(0, peak + (host if gpu is not None else 0) - free - (gpu or 0))


def _within(sizes: dict[str, int], free: int, gpu: int | None) -> dict[str, int]:
    """The same where what does not fit is left on disk: the device is filled first, then the host."""
    if gpu is None:
        return {name: min(size, free) for name, size in sizes.items()}
    spilled = max(0, sizes["peak_bytes"] - gpu)
    return {
        "peak_bytes": min(sizes["peak_bytes"], gpu),
        "host_bytes": min(sizes["host_bytes"] + spilled, free),
    }


def _too_long(reading: _Reading, limit: int | None) -> str:
    if limit is None or reading.longest <= limit:
        return ""
    return (
        f"windows of about {reading.longest:,} tokens, but the model takes {limit:,} at a time: give a "
        "smaller context"
    )


def _judge(weights: int, sizes: dict[str, int], free: int, gpu: int | None, device: str) -> str:
    peak, host = sizes["peak_bytes"], sizes["host_bytes"]
    if peak <= (free if gpu is None else gpu) and host <= free:
        return "fits"
    if device == "auto":
        left = _left_on_disk(sizes, free, gpu)
        if left >= weights:
            return (
                "does not fit even with all weights on disk: give a smaller tokens_per_pass, or fewer layers"
            )
        if left == 0:
            return "fits on GPU and host together; weights travel to the GPU in every pass"
        return f"about {in_words(left)} of the weights stay on disk and are read in every pass"
    what = "memory of the host" if gpu is None else "memory of the GPU"
    return (
        f"more than the free {what}: use dtype='bfloat16', quantization='8bit', or device='auto' (with "
        "offload_folder), which leaves on disk what does not fit"
    )

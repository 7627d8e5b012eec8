"""An audio encoder whose last frames are read: HuBERT, WavLM, wav2vec2, Whisper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxridge.features import audio_loading
from voxridge.features.audio import MIN_SAMPLES
from voxridge.features.audio_windows import conv_stack, last_frame, mel_frames, shortest_input
from voxridge.features.model_record import digest_weights, package_versions

Float32Array = npt.NDArray[np.float32]


class AudioModel:
    """The hidden states of a speech encoder of the Hugging Face library, at the end of a window of sound.

    Layer 0 is the input of the transformer (after the convolutions, the projection and the position
    embedding), layer k the output of block k. The **last** layer is what the library returns as
    ``last_hidden_state``: in Whisper and in the large wav2vec2-like models after the final layer norm, which
    the layers before it have not passed (its ``hidden_states[-1]`` has in some versions and not in others).

    The row of a window is the last output frame. Whisper pads every window to 30 s, and its row is the last
    frame that any real sample touches, as in Antonello, Vaidya & Huth (2023): for 16.1 s frame 805, which is
    centred on the end of the window. The padding is silence and no future sound.

    Use :meth:`load`; the constructor takes a model that is already in memory.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        On its device and in evaluation mode; of Whisper only the encoder is kept.
    extractor : transformers.SequenceFeatureExtractor
        Its feature extractor; decides normalisation and sampling rate.
    name : str
        Name for reports and provenance.
    revision, seed
        For the provenance only; a `seed` says that the weights are random.

    Attributes
    ----------
    name : str
    n_layers : int
        Number of blocks plus one.
    widths : tuple of int
        Number of values in each layer.
    sampling_rate : int, Hz
        Rate of the sound that the model takes.
    min_samples : int
        Shortest window.
    max_samples : int or None
        Longest window: 30 s for Whisper; None if the architecture has no limit.
    windows_per_pass : int
        How many windows one batch should hold on this device.

    Raises
    ------
    ValueError
        If a layer comes out all zero or not finite.

    Examples
    --------
    >>> model = AudioModel.load("facebook/hubert-base-ls960")                         # doctest: +SKIP
    >>> model.n_layers, model.widths[0], model.sampling_rate                          # doctest: +SKIP
    (13, 768, 16000)
    """

    def __init__(
        self, network: Any, extractor: Any, *, name: str, revision: str | None = None, seed: int | None = None
    ) -> None:
        self.name = name
        self._network = audio_loading.encoder_of(network)
        self._extractor = extractor
        self._origin = {"revision": revision, "untrained": seed is not None, "seed": seed}
        self.sampling_rate = int(extractor.sampling_rate)
        self._whisper = self._network.config.model_type == "whisper"
        self.min_samples, self.max_samples = self._limits()
        self.windows_per_pass = 4 if self._network.device.type == "cpu" else 32
        self._blocks: Any = None
        self.widths = self._probe()
        self.n_layers = len(self.widths)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        untrained: bool = False,
        seed: int = 0,
    ) -> AudioModel:
        """Load a model and its feature extractor.

        Parameters
        ----------
        name_or_path : str or Path
            Local folder (as written by ``save_pretrained`` or `convert_whisper`), or the name of a model on
            the Hugging Face hub.
        revision : str, optional
            Branch, tag or commit on the hub.
        device : str
            A device of torch: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        dtype : "float32", "bfloat16" or "float16"
            Arithmetic of the model; float16 only on a GPU.
        untrained : bool
            Take the architecture alone and draw random weights with `seed`: the control for what the
            architecture does without training.
        seed : int
            Used when `untrained`; the state of torch's generator is left alone.

        Raises
        ------
        FileNotFoundError
            If the folder or its config.json does not exist, or the hub does not know the name.
        ValueError
            If the dtype or device cannot be used, the model takes no waveform, the checkpoint lacks weights,
            or a layer comes out all zero or not finite.
        ImportError
            Without torch and transformers.
        """
        used = seed if untrained else None
        loaded = audio_loading.load(name_or_path, revision, device, dtype, used)
        return cls(loaded.network, loaded.extractor, name=loaded.name, revision=loaded.revision, seed=used)

    @property
    def width(self) -> int:
        """The largest of the widths."""
        return max(self.widths)

    def read(self, windows: Sequence[npt.ArrayLike], layers: Sequence[int]) -> list[dict[int, Float32Array]]:
        """Run the model over windows of sound and return the last frame of each.

        Neighbouring windows of the same length go through in one batch; Whisper takes all lengths in one,
        because it pads them itself. No window is ever padded for the sake of another, so a batch changes
        nothing but rounding.

        Parameters
        ----------
        windows : sequence of (n_samples,) float
            Sound at `sampling_rate`, each from `min_samples` to `max_samples` long.
        layers : sequence of int
            Layers to return, 0 to ``n_layers - 1``. Blocks above the highest are not computed.

        Returns
        -------
        list of dict of int to (width,) float32
            One for each window, in memory of the host.

        Raises
        ------
        ValueError
            If a window is too short or too long or not one-dimensional, or a layer does not exist.
        """
        arrays = [self._checked(window) for window in windows]
        wrong = [layer for layer in layers if not 0 <= layer < self.n_layers]
        if wrong or not len(layers):
            raise ValueError(f"layers={list(layers)}: {self.name} has the layers 0 to {self.n_layers - 1}")
        found: list[dict[int, Float32Array]] = []
        for batch in self._batches(arrays):
            states = self._run(batch, layers)
            found += [{layer: states[layer][i] for layer in layers} for i in range(len(batch))]
        return found

    def _batches(self, arrays: list[Float32Array]) -> Iterator[list[Float32Array]]:
        if self._whisper and arrays:
            yield arrays
        elif arrays:
            for _, group in groupby(arrays, key=len):
                yield list(group)

    def _checked(self, window: npt.ArrayLike) -> Float32Array:
        array = np.asarray(window, dtype=np.float32)
        if array.ndim != 1:
            raise ValueError(f"a window has shape {array.shape}: give one channel, (n_samples,)")
        longest = self.max_samples
        if array.size < self.min_samples or (longest is not None and array.size > longest):
            raise ValueError(
                f"a window of {array.size} samples: {self.name} takes at least {self.min_samples}"
                + ("" if longest is None else f" and at most {longest}")
            )
        return array

    def _limits(self) -> tuple[int, int | None]:
        config = self._network.config
        if self._whisper:
            return MIN_SAMPLES, int(self._extractor.n_samples)
        if getattr(config, "conv_kernel", None) is None:
            return MIN_SAMPLES, None
        return shortest_input(config.conv_kernel, config.conv_stride), None

    def _run(self, batch: list[Float32Array], layers: Sequence[int]) -> dict[int, Float32Array]:
        import torch

        inputs, frames = self._inputs(batch), self._frames(batch)
        with torch.inference_mode():
            if self._blocks is None:
                return self._all_states(inputs, layers, frames)
            return self._states_of_blocks(inputs, layers, frames)

    def _inputs(self, batch: list[Float32Array]) -> Any:
        device = self._network.device
        # Log-mel spectra of a GPU's windows are computed there too; on the host they would take longer than
        # the model.
        extra = {"device": str(device)} if self._whisper and device.type == "cuda" else {}
        features = (
            self._extractor(
                batch, sampling_rate=self.sampling_rate, return_tensors="pt", padding="max_length", **extra
            )
            if self._whisper
            else self._extractor(batch, sampling_rate=self.sampling_rate, return_tensors="pt")
        )
        name = self._extractor.model_input_names[0]
        return features[name].to(device=device, dtype=self._network.dtype)

    def _frames(self, batch: list[Float32Array]) -> Any:
        """Return the row that is read of each window: the last, in Whisper the last that sound touches."""
        import torch

        if not self._whisper:
            return torch.full((len(batch),), -1)
        kernels, strides, paddings = conv_stack((self._network.conv1, self._network.conv2))
        total = int(self._extractor.nb_max_frames)
        hop = int(self._extractor.hop_length)
        found = [last_frame(mel_frames(len(w), hop), kernels, strides, paddings, total) for w in batch]
        return torch.tensor(found)

    def _all_states(self, inputs: Any, layers: Sequence[int] | None, frames: Any) -> dict[int, Float32Array]:
        output = self._network(inputs, output_hidden_states=True, return_dict=True)
        # Versions of transformers differ in whether the last of the large models has passed the final norm.
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        wanted = range(len(states)) if layers is None else layers
        return {layer: _rows(states[layer], frames) for layer in wanted}

    def _states_of_blocks(self, inputs: Any, layers: Sequence[int], frames: Any) -> dict[int, Float32Array]:
        """Run up to the highest layer wanted, and keep nothing but the rows that are read.

        Layer k is the input of block k, the last layer the output of the model. The block below the highest
        layer of Whisper computes that one row alone: no other is read.
        """
        found: dict[int, Float32Array] = {}
        top, last = max(layers), len(self._blocks)

        def on_input(index: int, hidden: Any) -> None:
            if index in layers:
                found[index] = _rows(hidden, frames)
            if index == top:
                raise _EnoughError
            if self._whisper and index == top - 1:
                rows = _whisper_rows(self._blocks[index], hidden, frames)
                final = self._network.layer_norm(rows) if top == last else rows
                found[top] = _to_host(final[:, 0])
                raise _EnoughError

        def hook(index: int) -> Any:
            return lambda _block, args, kwargs: on_input(index, args[0] if args else kwargs["hidden_states"])

        handles = [
            block.register_forward_pre_hook(hook(index), with_kwargs=True)
            for index, block in enumerate(self._blocks[: top + 1])
        ]
        try:
            found[last] = _rows(self._network(inputs, return_dict=True).last_hidden_state, frames)
        except _EnoughError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return {layer: found[layer] for layer in layers}

    def _probe(self) -> tuple[int, ...]:
        """Measure the widths, look for dead layers, and check that reading block by block gives the same."""
        import torch

        noise = np.random.default_rng(0).normal(0, 0.1, max(self.sampling_rate, self.min_samples))
        batch = [noise.astype(np.float32)]
        expected = self._run_all(batch)
        for layer, states in expected.items():
            if not np.isfinite(states).all() or not states.any():
                what = "all zero" if np.isfinite(states).all() else "NaN or infinite"
                raise ValueError(
                    f"layer {layer} of {self.name} is {what} for noise as input: the weights are damaged or "
                    "were not loaded (try another dtype, or download the model again)"
                )
        blocks = getattr(getattr(self._network, "encoder", self._network), "layers", None)
        if blocks is not None and len(blocks) == len(expected) - 1:
            self._blocks = blocks
            tolerance = 1e-3 if self._network.dtype == torch.float32 else 5e-2
            try:
                found = self._run(batch, list(expected))
                same = all(_close(found[layer], expected[layer], tolerance) for layer in expected)
            except (AttributeError, KeyError, TypeError):
                same = False
            if not same:
                self._blocks = None
        return tuple(int(states.shape[1]) for states in expected.values())

    def _run_all(self, batch: list[Float32Array]) -> dict[int, Float32Array]:
        import torch

        with torch.inference_mode():
            return self._all_states(self._inputs(batch), None, self._frames(batch))

    def provenance(self) -> dict[str, Any]:
        """Return what is needed to load the same model again, and to notice that another one was loaded.

        ``weights_sha256`` is the digest of up to 64 evenly spaced values of every parameter. All values can
        be written as JSON.
        """
        network = self._network
        settings = {key: value for key, value in self._extractor.to_dict().items() if key != "mel_filters"}
        return {
            "model": self.name,
            **self._origin,
            "model_class": type(network).__name__,
            "model_type": network.config.model_type,
            "feature_extractor": {key: value for key, value in settings.items() if _is_plain(value)},
            "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
            "weights_sha256": digest_weights(network),
            "n_layers": self.n_layers,
            "layer_widths": list(self.widths),
            "sampling_rate": self.sampling_rate,
            "arithmetic": str(network.dtype).removeprefix("torch."),
            "device": network.device.type,
            "packages": package_versions("soundfile", "soxr"),
        }


class _EnoughError(Exception):
    """All layers wanted are there: the rest of the forward pass is not needed."""


def _rows(hidden: Any, frames: Any) -> Float32Array:
    import torch

    return _to_host(hidden[torch.arange(len(frames)), frames])


def _to_host(rows: Any) -> Float32Array:
    found: Float32Array = rows.float().cpu().numpy()
    return found


def _whisper_rows(block: Any, hidden: Any, frames: Any) -> Any:
    """Return (batch, 1, width): one row of the output of a block, from all rows of its input."""
    import torch

    rows = hidden[torch.arange(len(frames)), frames][:, None]
    everything = block.self_attn_layer_norm(hidden)
    mixed = block.self_attn(hidden_states=block.self_attn_layer_norm(rows), key_value_states=everything)[0]
    rows = rows + mixed
    rows = rows + block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(rows))))
    if rows.dtype == torch.float16:
        limit = torch.finfo(torch.float16).max - 1000
        rows = rows.clamp(-limit, limit)
    return rows


def _close(a: Float32Array, b: Float32Array, tolerance: float) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)

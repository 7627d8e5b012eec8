"""Where a network is held: one device, several, or a disk; in which arithmetic; and when memory ends."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16", "float16")
QUANTIZATIONS = (None, "8bit")


@dataclass(frozen=True)
class Placement:
    """Device and arithmetic of a network.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ..., or ``"auto"``: GPUs first, then memory, then disk.
    dtype : "float32", "bfloat16" or "float16"
    max_memory : mapping, optional
        With ``"auto"`` only: most memory for the weights on each device, such as
        ``{0: "20GiB", "cpu": "50GiB"}``.
    offload_folder : path, optional
        With ``"auto"`` only: where weights go for which there is no memory.
    quantization : None or "8bit"

    Raises
    ------
    ValueError
        If one of them is unknown, cannot be used here, or does not go with another.
    ImportError
        If a package that they need is not installed.
    """

    device: str = "cpu"
    dtype: str = "float32"
    max_memory: Mapping[int | str, int | str] | None = None
    offload_folder: str | Path | None = None
    quantization: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is unknown: use one of {DTYPES}")
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(f"quantization={self.quantization!r} is unknown: use None or '8bit'")
        self._check_device()
        if self.device != "auto" and not (self.max_memory is None and self.offload_folder is None):
            raise ValueError(
                f"max_memory and offload_folder spread a model over devices: use them with device='auto', "
                f"not {self.device!r}"
            )
        if self.device == "auto":
            _require("accelerate", "device='auto'")
        if self.quantization == "8bit":
            _require("bitsandbytes", "quantization='8bit'")
            _require("accelerate", "quantization='8bit'")

    @property
    def spread(self) -> bool:
        """Whether the loader chooses the device of each part."""
        return self.device == "auto"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``from_pretrained`` that place the weights while they are read."""
        import torch
        import transformers

        version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
        found: dict[str, Any] = {"dtype" if version >= (4, 56) else "torch_dtype": getattr(torch, self.dtype)}
        if self.spread:
            found["device_map"] = "auto"
            found["max_memory"] = None if self.max_memory is None else dict(self.max_memory)
            if self.offload_folder is not None:
                found["offload_folder"] = str(self.offload_folder)
        elif self.quantization is not None or (self.device != "cpu" and _installed("accelerate")):
            # Straight to the device, without a copy of the whole network in memory of the host.
            found["device_map"] = {"": self.device}
        if self.quantization == "8bit":
            # It warns at every product of every pass that inputs are cast, which is its method.
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
            found["quantization_config"] = transformers.BitsAndBytesConfig(load_in_8bit=True)
        return found

    def _check_device(self) -> None:
        import torch

        if self.device == "auto":
            on_cpu = not torch.cuda.is_available()
        else:
            try:
                kind = torch.device(self.device).type
            except RuntimeError as error:
                raise ValueError(
                    f"device={self.device!r} is not a device of torch: use 'cpu', 'cuda', 'cuda:1', ..., or "
                    "'auto'"
                ) from error
            on_cpu = kind == "cpu"
            if kind == "cuda" and not torch.cuda.is_available():
                raise ValueError(
                    f"device={self.device!r}, but torch sees no CUDA device: use device='cpu' or install "
                    "torch with CUDA"
                )
        if on_cpu and self.dtype == "float16":
            # 1 GFLOP/s against 89 in float32 and 227 in bfloat16 for a 1024 x 1024 product (2-core Zen 4).
            raise ValueError(
                "dtype='float16' is about a hundred times slower than float32 on a CPU: use 'float32' or "
                "'bfloat16'"
            )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _require(package: str, what: str) -> None:
    if not _installed(package):
        raise ImportError(f'{what} needs the package {package}: pip install "voxridge[lm]" {package}')


def tokens_that_fit(values_per_token: int, itemsize: int, *, on_gpu: bool, from_disk: bool = False) -> int:
    """Return how many tokens one pass should hold: their layers take 1 GiB at most.

    A power of two from 512 to 2,048, which depends on the model and on where it is held alone, so that the
    same extraction is cut in the same way whenever it is done. Four times as much where weights are read
    from disk in every pass, and on a GPU, which also takes up to 16,384 tokens.
    """
    budget, most = (2**32, 16384) if on_gpu else (2**32, 8192) if from_disk else (2**30, 2048)
    fit = budget // (values_per_token * itemsize)
    return int(min(most, max(512, 2 ** (int(fit).bit_length() - 1))))


def device_of(module: Any) -> Any:
    """Return the device on which a module computes; its weights may lie elsewhere until then."""
    hook = getattr(module, "_hf_hook", None)
    for one in getattr(hook, "hooks", [hook]):
        placed = getattr(one, "execution_device", None)
        if placed is not None:
            return placed
    return next(module.parameters()).device


def stored_values(module: Any, name: str) -> Any:
    """Return the parameter `name` of a module; read from disk or host memory where it lies there."""
    parameter = getattr(module, name)
    if parameter.device.type != "meta":
        return parameter.detach()
    return module._hf_hook.weights_map[name]


@contextmanager
def naming_memory(doing: str) -> Iterator[None]:
    """Turn whatever a library raises when memory ends into a MemoryError that says what to do."""
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(doing, error) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise _out_of_memory(doing, error) from error


def _out_of_memory(doing: str, error: BaseException) -> MemoryError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return MemoryError(
        f"out of memory while {doing}: give a smaller tokens_per_pass, dtype='bfloat16', "
        "quantization='8bit', or device='auto' with max_memory and offload_folder. What was finished before "
        f"is kept. ({first})"
    )

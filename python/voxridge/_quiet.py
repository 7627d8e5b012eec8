"""Commands without bars: those with which other packages load weights are held back too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec


@contextmanager
def quiet_loading(quiet: bool) -> Iterator[None]:
    """Hold back the bars with which transformers loads weights, those of GGUF files among them.

    Parameters
    ----------
    quiet : bool
        False: change nothing.
    """
    if not (quiet and find_spec("transformers")):
        yield
        return
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    shown, bar = logging.is_progress_bar_enabled(), getattr(gguf, "tqdm", None)
    logging.disable_progress_bar()
    gguf.tqdm = partial(bar, disable=True) if bar else bar
    try:
        yield
    finally:
        gguf.tqdm = bar
        if shown:
            logging.enable_progress_bar()

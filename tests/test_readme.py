"""The README's examples run as they stand, without a warning, and predict what they are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    features, responses, model = names["features"], names["responses"], names["model"]
    assert model.score(features[3:], responses[3:]).mean() > 0.4

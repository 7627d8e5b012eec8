"""The README's examples run as they stand, without a warning, and predict what they are made of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    features, responses, model, large = (names[key] for key in ("features", "responses", "model", "large"))
    assert model.score(features[3:], responses[3:]).mean() > 0.4
    assert large.best_cv_scores_.mean() > 0.4
    with h5py.File("predictions.h5") as file, h5py.File("weights.h5") as weights:
        np.testing.assert_allclose(file["data"][()].T, large.predict(features), rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(weights["data"][()], large.coef_)
    assert (tmp_path / "begun" / "fit.json").exists()
    commands = re.findall(
        r"^voxridge (?:plan|fit) .*", README.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert len(commands) == 2
    for command in commands:  # on the files that the examples made
        assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/*.md")),
        "bench/README.md",
        "csrc/README.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    place = ROOT / page
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", place.read_text(encoding="utf-8"))
    assert [link for link in links if not (place.parent / link).exists()] == []

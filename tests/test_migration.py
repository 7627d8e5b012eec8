"""The migration page: its blocks run, section by section, and the numbers before and after are the same."""

from __future__ import annotations

import os
import random
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "migration.md"
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), flags=re.M | re.S)
}
HUTH = "VOXRIDGE_BENCH_HUTH"


def run(title: str) -> dict[str, Any]:
    """The blocks of a section in order, in one namespace, as a reader would run them."""
    names: dict[str, Any] = {}
    for block in SECTIONS[title]:
        exec(compile(block, f"{PAGE.name}, {title}", "exec"), names)
    return names


def test_every_section_compares():
    assert list(SECTIONS) == ["From scikit-learn", "From himalaya", "From HuthLab's code"]
    for blocks in SECTIONS.values():
        assert len(re.findall(r"^ *np\.testing\.assert_", "".join(blocks), flags=re.MULTILINE)) >= 5


def test_from_scikit_learn():
    names = run("From scikit-learn")
    assert type(names["ridge"]).__module__ == "voxridge.linear_model"
    assert type(names["ridge_before"]).__module__.startswith("sklearn.")
    assert len(set(names["direct"].alpha_)) > 1  # targets that do differ, or the comparison shows nothing


def test_from_himalaya(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(
        "himalaya", reason="himalaya is missing: its section of docs/migration.md is not checked"
    )
    names = run("From himalaya")
    assert len(set(names["after"].alpha_)) > 1
    assert len(set(names["model"].alpha_)) > 1


def _score(y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    zy, zp = ((a - a.mean(0)) / a.std(0) for a in (y, prediction))
    return np.asarray((zy * zp).mean(0))


def _ridge(stim: np.ndarray, resp: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    u, s, v_t = np.linalg.svd(stim, full_matrices=False)
    return np.asarray(v_t.T @ (s[:, None] / (s[:, None] ** 2 + alpha**2) * (u.T @ resp)))


def _bootstrap_ridge(
    Rstim, Rresp, Pstim, Presp, alphas, nboots, chunklen, nchunks, use_corr, single_alpha
) -> tuple[Any, ...]:
    """HuthLab's procedure in the words of their paper, for correlations and an alpha per target."""
    assert use_corr
    assert not single_alpha
    n = len(Rstim)
    scores, held_out = np.zeros((len(alphas), Rresp.shape[1], nboots)), []
    for boot in range(nboots):
        chunks = [list(range(i, i + chunklen)) for i in range(0, n - n % chunklen, chunklen)]
        random.shuffle(chunks)
        held_out.append([row for chunk in chunks[:nchunks] for row in chunk])
        kept = sorted(set(range(n)) - set(held_out[-1]))
        for i, a in enumerate(alphas):
            prediction = Rstim[held_out[-1]] @ _ridge(Rstim[kept], Rresp[kept], a)
            scores[i, :, boot] = _score(Rresp[held_out[-1]], prediction)
    valphas = np.asarray(alphas)[scores.mean(axis=2).argmax(axis=0)]
    wt = _ridge(Rstim, Rresp, valphas)
    return wt, _score(Presp, Pstim @ wt), valphas, scores, held_out


@pytest.fixture
def huthlab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``ridge_utils.ridge``: the user's copy, where the environment names it, or the formula above."""
    monkeypatch.chdir(tmp_path)  # theirs writes into the working folder
    if HUTH in os.environ:
        monkeypatch.syspath_prepend(Path(os.environ[HUTH]).resolve().parents[1])
        return
    package, module = ModuleType("ridge_utils"), ModuleType("ridge_utils.ridge")
    module.ridge, module.bootstrap_ridge = _ridge, _bootstrap_ridge  # type: ignore[attr-defined]
    package.ridge = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ridge_utils", package)
    monkeypatch.setitem(sys.modules, "ridge_utils.ridge", module)


@pytest.mark.usefixtures("huthlab")
def test_from_huthlab():
    names = run("From HuthLab's code")
    assert len(set(names["valphas"])) > 1
    if HUTH in os.environ:
        assert Path(names["ridge_utils"].ridge.__file__).samefile(os.environ[HUTH])

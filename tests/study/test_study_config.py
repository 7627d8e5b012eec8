"""Study files: defaults, and errors that name the key, what was given and what is allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge.study.config import load_config

GOOD = """
title = "A story"
[responses]
tr = 2
[[runs]]
name = "one"
words = "one.csv"
responses = "one.npy"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "one.csv").touch()
    (folder / "one.npy").touch()
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_paths_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.runs[0].words == tmp_path / "one.csv"
    assert config.responses.tr == 2.0
    assert config.fit.delays == (1, 2, 3, 4)
    assert config.fit.gap_rows == 4
    np.testing.assert_allclose(config.fit.alphas, np.logspace(0, 8, 17))
    assert config.model.layers == "all"


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("[fit]\nfoldz = 3", r"fit\.foldz is not a key .* allowed: delays"),
        (
            "[fit]\nfolds = 'random'",
            r"fit\.folds is 'random'; allowed: 'leave-one-run-out' or a whole number",
        ),
        ("[fit]\nfolds = true", r"fit\.folds is True"),
        ("[fit]\ndelays = []", r"fit\.delays is \[\]; allowed: at least one delay"),
        ("[fit]\ndelays = [1, 1]", r"fit\.delays is \[1, 1\]; allowed: each delay once"),
        ("[fit]\ndelays = [1, 2.5]", r"fit\.delays\[1\] is 2\.5; allowed: a whole number"),
        ("[fit]\nalpha_low = -1", r"fit\.alpha_low is -1\.0; allowed: a positive penalty"),
        ("[fit]\nalpha_low = nan", r"fit\.alpha_low is nan; allowed: a number"),
        ("[fit]\nalpha_high = 0.5", r"fit\.alpha_high is 0\.5; allowed: at least alpha_low"),
        ("[model]\npooling = 'first'", r"model\.pooling is 'first'; allowed: 'last' or 'mean'"),
        ("[model]\nlayers = 3", r"model\.layers is 3; allowed: 'all' or a list"),
        ("[model]\ncontext = 'wide'", r"model\.context: context 'wide' is unknown: use growing:RESET"),
        ("[model]\ncontext = 'growing:9,3'", r"model\.context: reset=9 and limit=3"),
        ("[model]\nstride = 0", r"model\.stride is 0\.0; allowed: a positive number"),
        ("[alignment]\nmethod = 'sinc'", r"alignment\.method is 'sinc'; allowed: 'lanczos' or 'glover'"),
        ("[alignment]\nlobes = 0", r"alignment\.lobes is 0; allowed: 1 or more"),
        ("[controls]\nautocorrelation = 0", r"controls\.autocorrelation is 0\.0"),
        ("[model]\nname = 5", r"model\.name is 5; allowed: text"),
        ("model = 3", r"model is 3; allowed: a table"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, addition: str, message: str) -> None:
    top_level = not addition.startswith("[")
    text = addition + "\n" + GOOD if top_level else GOOD + addition
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, text))


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no study file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="not valid TOML"):
        load_config(write(tmp_path, "title = "))
    with pytest.raises(ValueError, match=r"responses\.tr is missing"):
        load_config(write(tmp_path, GOOD.replace("tr = 2", "")))
    with pytest.raises(ValueError, match=r"runs\.name is \['one', 'one'\]"):
        load_config(
            write(tmp_path, GOOD + '[[runs]]\nname = "one"\nwords = "one.csv"\nresponses = "one.npy"')
        )
    path = write(tmp_path, GOOD)
    (tmp_path / "one.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"runs\.responses of run 'one': no file"):
        load_config(path)

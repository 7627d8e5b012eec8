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
    assert [model.layers for model in config.models] == ["all"]
    assert config.models[0].title == "smollm2"
    assert config.subjects == ("subject",)


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
        ("[[models]]\npooling = 'first'", r"models\[0\]\.pooling is 'first'; allowed: 'last' or 'mean'"),
        ("[[models]]\nlayers = 3", r"models\[0\]\.layers is 3; allowed: 'all' or a list"),
        ("[[models]]\ncontext = 'wide'", r"models\.context: context 'wide' is unknown: use growing:RESET"),
        ("[[models]]\ncontext = 'growing:9,3'", r"models\.context: reset=9 and limit=3"),
        ("[[models]]\nstride = 0", r"models\.stride is 0\.0; allowed: a positive number"),
        ("[alignment]\nmethod = 'sinc'", r"alignment\.method is 'sinc'; allowed: 'lanczos' or 'glover'"),
        ("[alignment]\nlobes = 0", r"alignment\.lobes is 0; allowed: 1 or more"),
        ("[controls]\nautocorrelation = 0", r"controls\.autocorrelation is 0\.0"),
        ("[[models]]\nname = 5", r"models\[0\]\.name is 5; allowed: text"),
        ("[model]\nname = 'gpt2'", r"model is not a key of a study file; allowed: .*models"),
        ("models = 3", r"models is 3; allowed: a list, each entry a table"),
        ("[[models]]\n[[models]]", r"models\.label is \['smollm2', 'smollm2'\]; allowed: a different label"),
        ("[[models]]\nlabel = 'a/b'", r"models\.label is 'a/b'; allowed: text of 1 to 100 .*'/'"),
        ("[[models]]\nlabel = '..'", r"models\.label is '\.\.'; allowed: text of 1 to 100"),
        (f"[[models]]\nlabel = '{'m' * 101}'", r"models\.label is 'mm.*; allowed: text of 1 to 100"),
        (
            "[[models]]\nlabel = '模型'",
            r"models\.label: '模型' has no letter or digit for the name of a file",
        ),
        (
            "[[models]]\nlabel = 'opt 1'\n[[models]]\nlabel = 'opt-1'",
            r"models\.label: files of 'opt-1' would have the names of those of 'opt 1'",
        ),
        ("[[models]]\nlabel = 'stack'", r"files of 'stack' would have the names of those of 'the stack'"),
        ("subjects = ['.']", r"subjects is \['\.'\]; allowed: text of 1 to 100"),
        ("subjects = ['']", r"subjects is \[''\]; allowed: text of 1 to 100"),
        ("[[models]]\nparameters = 0", r"models\.parameters is 0\.0; allowed: a positive number"),
        ("subjects = []", r"subjects is \[\]; allowed: at least one name"),
        ("subjects = ['a', 'a']", r"subjects is \['a', 'a'\]; allowed: each name once"),
        (
            "subjects = ['a', 'b']",
            r"runs\.responses of run 'one' is 'one.npy'; allowed: a path with \{subject\}",
        ),
        ("[analysis]\njoint = 'all'", r"analysis\.joint is 'all'; allowed: 'banded' or 'ridge' or 'off'"),
        ("[analysis]\niterations = 0", r"analysis\.iterations is 0; allowed: 1 or more"),
        ("[analysis]\npermutations = -1", r"analysis\.permutations is -1; allowed: 0 or more"),
        ("[analysis]\nblock = 0", r"analysis\.block is 0; allowed: rows"),
        ("[rois]\nstg = 'a'", r"rois\.stg is 'a'; allowed: a list, each entry text"),
        ("[rois]\nstg = []", r"rois\.stg is \[\]; allowed: at least one name"),
        ("[rois]\nstg = ['a', 'a']", r"rois\.stg is \['a', 'a'\]; allowed: each target once"),
        ("[rois]\nfile = 'one.npy'\nstg = ['a']", r"rois\.stg stands beside file; allowed: file, names"),
        ("[rois]\nfile = 'one.npy'\nnames = {1 = 2}", r"rois\.names\.1 is 2; allowed: text"),
        (
            "[analysis]\ntraining_sizes = [1, 2]",
            r"training_sizes is \[1, 2\]; allowed: at most 0, as one of 1",
        ),
        (
            "[analysis]\ntraining_sizes = [2, 1]",
            r"training_sizes is \[2, 1\]; allowed: numbers of runs that grow",
        ),
        ("[analysis]\ntraining_sizes = [1]", r"training_sizes is \[1\]; allowed: two sizes or more"),
        (
            "[analysis]\ntraining_sizes = [1, 2]\n[fit]\nfolds = 4",
            r"training_sizes is \[1, 2\]; allowed: none with chunks",
        ),
        ("[analysis]\nrate = 1", r"analysis\.rate is 1\.0; allowed: a number between 0 and 1"),
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


def test_spaces_and_regions(tmp_path: Path) -> None:
    good = GOOD.replace("tr = 2", "tr = 2\nspace = 'MNI152NLin2009cAsym'")
    config = load_config(write(tmp_path, good + "[rois]\nstg = ['a', 'b']\nifg = ['c']"))
    assert config.responses.space == "MNI152NLin2009cAsym"
    assert config.rois.targets == {"stg": ("a", "b"), "ifg": ("c",)}
    assert bool(config.rois)
    with pytest.raises(ValueError, match=r"responses\.space is 'Talairach'; allowed: MNI"):
        load_config(write(tmp_path, GOOD.replace("tr = 2", "tr = 2\nspace = 'Talairach'")))
    with pytest.raises(FileNotFoundError, match=r"rois\.file: no file at .*none\.npy"):
        load_config(write(tmp_path, GOOD + "[rois]\nfile = 'none.npy'"))


def test_subjects_take_their_place_in_paths(tmp_path: Path) -> None:
    text = "subjects = ['S1', 'S2']\n" + GOOD.replace("one.npy", "{subject}-one.npy")
    path = write(tmp_path, text)
    (tmp_path / "S1-one.npy").touch()
    with pytest.raises(
        FileNotFoundError, match=r"runs\.responses of run 'one', subject 'S2': no file at .*S2-one"
    ):
        load_config(path)
    (tmp_path / "S2-one.npy").touch()
    run = load_config(path).runs[0]
    assert [run.responses_of(name).name for name in ("S1", "S2")] == ["S1-one.npy", "S2-one.npy"]


def test_a_subject_nobody_recorded_is_told_before_any_fit(tmp_path: Path) -> None:
    text = GOOD.replace("[responses]", 'subjects = ["S1", "S11"]\n[responses]\nmissing = "skip"')
    (tmp_path / "S1.npy").touch()
    path = write(tmp_path, text.replace("one.npy", "{subject}.npy"))
    with pytest.raises(FileNotFoundError, match=r"'S11' has responses to none of the 1 runs.*S11\.npy"):
        load_config(path)

"""The command line: help, errors in one line, exit status."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge.cli import main


@pytest.mark.parametrize("command", ["demo", "study", "extract", "fit", "info"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: voxridge " + command in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["numpy"] == np.__version__
    assert any(entry["user_api"] == "blas" for entry in facts["blas"])
    assert main(["info"]) == 0
    assert "voxridge: 0." in capsys.readouterr().out


def test_errors_are_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"voxridge: no study file at {tmp_path / 'none.toml'}\n"
    assert main(["demo", "--alice", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 1
    assert "the Alice data needs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("voxridge.demo.run.run_demo", interrupted)
    assert main(["demo", "-o", str(tmp_path / "out")]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    paths: dict[str, list[str]] = {"features": [], "responses": []}
    for run in range(3):
        features = rng.standard_normal((40, 3))
        responses = features @ rng.standard_normal((3, 2)) + rng.standard_normal((40, 2))
        np.save(tmp_path / f"features-{run}.npy", features)
        np.save(tmp_path / f"responses-{run}.npy", responses)
        for kind in paths:
            paths[kind].append(str(tmp_path / f"{kind}-{run}.npy"))
    out = tmp_path / "fit.h5"
    command = ["fit", "--features", *paths["features"], "--responses", *paths["responses"], "-o", str(out)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*command, "--delays", "0,1", "--alphas", "1,100,3", "--quiet"]) == 0
    assert "2 target(s)" in capsys.readouterr().out
    assert EncodingRidge.load(out).coef_.shape == (2, 6)
    assert main([*command, "--alphas", "1,x", "--quiet"]) == 1
    assert "--alphas is '1,x'; give numbers" in capsys.readouterr().err
    assert main([*command, "--alphas", "1,2", "--quiet"]) == 1
    assert "give lowest,highest,number" in capsys.readouterr().err
    assert main([*command[:-4], "-o", str(out)]) == 1
    assert "give one of each per run" in capsys.readouterr().err


@pytest.mark.slow
def test_extract(tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.csv").write_text("word,onset,offset\nthe,0,0.2\nriver,0.3,0.6\n")
    out = tmp_path / "activations.h5"
    command = ["extract", str(tmp_path / "one.csv"), "-o", str(out), "--model", str(tiny_folder)]
    status = main([*command, "--layers", "0,2", "--quiet"])
    assert status == 0, capsys.readouterr().err
    with h5py.File(out) as file:
        assert file["features/one/layer-02"].shape == (2, 16)

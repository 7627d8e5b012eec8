"""The command line: help, errors in one line, exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge.cli import main
from voxridge.study.config import ModelConfig
from voxridge.study.inputs import load_model
from voxridge.testing import delayed_matrix


@pytest.mark.parametrize(
    "command", ["demo", "study", "extract", "responses", "convert", "fit", "plan", "info"]
)
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


def test_a_quiet_study_loads_its_model_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny_folder: Path
) -> None:
    def loading(*_: object, **__: object) -> SimpleNamespace:
        load_model(ModelConfig(str(tiny_folder)))
        return SimpleNamespace(report="report.html", study=SimpleNamespace(subjects={}))

    monkeypatch.setattr("voxridge.study.config.load_config", lambda path: path)
    monkeypatch.setattr("voxridge.study.run.run_study", loading)
    assert main(["study", "study.toml", "--quiet"]) == 0
    assert capfd.readouterr() == ("Report: report.html\n", "")
    assert main(["study", "study.toml"]) == 0
    assert "Loading weights" in capfd.readouterr().err


@pytest.fixture
def fit_command(tmp_path: Path) -> list[str]:
    """`voxridge fit` on three runs of 40 samples, 3 features and 2 targets."""
    rng = np.random.default_rng(0)
    paths: dict[str, list[str]] = {"features": [], "responses": []}
    weights = rng.standard_normal((3, 2))
    for run in range(3):
        features = rng.standard_normal((40, 3))
        responses = features @ weights + rng.standard_normal((40, 2))
        np.save(tmp_path / f"features-{run}.npy", features)
        np.save(tmp_path / f"responses-{run}.npy", responses)
        for kind in paths:
            paths[kind].append(str(tmp_path / f"{kind}-{run}.npy"))
    data = ["--features", *paths["features"], "--responses", *paths["responses"]]
    return ["fit", *data, "-o", str(tmp_path / "fit.h5"), "--delays", "0,1", "--alphas", "1,100,3", "--quiet"]


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_fit(tmp_path: Path, fit_command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fit_command) == 0
    assert "2 target(s), mean cross-validated r = 0." in capsys.readouterr().out
    model = EncodingRidge.load(tmp_path / "fit.h5")
    assert model.coef_.shape == (2, 6)
    np.testing.assert_allclose(model.alphas_, [1, 10, 100])
    assert main([*fit_command, "--alphas", "1,x"]) == 1
    assert "--alphas is '1,x'; give numbers" in capsys.readouterr().err
    assert main([*fit_command, "--alphas", "1,2"]) == 1
    assert "give lowest,highest,number" in capsys.readouterr().err
    assert main([*fit_command, "--responses", str(tmp_path / "responses-0.npy")]) == 1
    assert "give one of each per run" in capsys.readouterr().err
    assert main([*fit_command, "--runs", "60,60"]) == 1
    assert "--runs 60,60 is for a single file; with 3 each is a run" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_fit_options_are_those_of_encoding_ridge(
    tmp_path: Path, fit_command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--cv", "gcv", "--scoring", "r2", "--solver", "svd", "--memory-limit", "4GB"]
    assert main([*fit_command, *options, "--weights", str(tmp_path / "weights.h5")]) == 0
    assert "mean cross-validated R2 = 0." in capsys.readouterr().out
    model = EncodingRidge.load(tmp_path / "fit.h5")
    given = {"cv": "gcv", "scoring": "r2", "solver": "svd", "memory_limit": "4GB", "checkpoint": None}
    assert {name: model.get_params()[name] for name in given} == given
    assert model.plan_.route == "svd"
    with h5py.File(tmp_path / "weights.h5") as file:
        np.testing.assert_array_equal(file["data"][()], model.coef_)
    assert main([*fit_command, "--cv", "gcv"]) == 1
    assert "scoring='correlation' must be \"r2\"" in capsys.readouterr().err
    assert main([*fit_command, "--memory-limit", "1MB"]) == 1
    assert "the fit needs at least" in capsys.readouterr().err
    assert main([*fit_command, "--solver", "fastest"]) == 1
    assert "solver='fastest' is not known" in capsys.readouterr().err
    assert main([*fit_command, "--cv", "leave-some-out"]) == 1
    assert "--cv is 'leave-some-out'; give" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_fit_without_weights(tmp_path: Path, fit_command: list[str]) -> None:
    assert main([*fit_command, "--weights", "none", "--folds", "3"]) == 0
    model = EncodingRidge.load(tmp_path / "fit.h5")
    assert np.isfinite(model.best_cv_scores_).all()
    with pytest.raises(ValueError, match="no coefficients"):
        _ = model.coef_


@pytest.mark.parametrize("reference", ["mean", "largest"])
@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_fit_with_penalties_relative_to_the_features(
    tmp_path: Path, fit_command: list[str], reference: str
) -> None:
    assert main([*fit_command, "--relative-to", reference]) == 0
    features = [np.load(tmp_path / f"features-{run}.npy") for run in range(3)]
    design = delayed_matrix(np.concatenate(features), (0, 1), [40] * 3)
    eigenvalues = np.linalg.svd(design - design.mean(axis=0), compute_uv=False) ** 2
    expected = eigenvalues.mean() if reference == "mean" else eigenvalues.max()
    np.testing.assert_allclose(
        EncodingRidge.load(tmp_path / "fit.h5").alphas_, expected * np.array([1, 10, 100]), rtol=1e-5
    )


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_fit_of_one_file_with_runs(tmp_path: Path, fit_command: list[str]) -> None:
    assert main(fit_command) == 0
    expected = EncodingRidge.load(tmp_path / "fit.h5")
    command = ["fit", "-o", str(tmp_path / "one.h5"), "--runs", "40,40,40", *fit_command[-5:]]
    for kind in ("features", "responses"):
        with h5py.File(tmp_path / f"{kind}.h5", "w") as file:
            file["data"] = np.concatenate([np.load(tmp_path / f"{kind}-{run}.npy") for run in range(3)])
        command += [f"--{kind}", str(tmp_path / f"{kind}.h5")]
    assert main(command) == 0
    np.testing.assert_array_equal(EncodingRidge.load(tmp_path / "one.h5").cv_scores_, expected.cv_scores_)


@pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")
def test_an_interrupted_fit_goes_on_from_its_checkpoint(
    tmp_path: Path,
    fit_command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    command = [*fit_command, "--checkpoint", str(tmp_path / "begun")]
    with monkeypatch.context() as patch:
        patch.setattr("voxridge.encoding.EncodingRidge._keep", interrupted)  # all is computed, nothing kept
        assert main(fit_command) == 130
        assert "interrupted; with --checkpoint FOLDER a fit can be gone on with" in capsys.readouterr().err
        assert main(command) == 130
        assert "the same command goes on from there" in capsys.readouterr().err
        assert not (tmp_path / "fit.h5").exists()
    with monkeypatch.context() as patch:
        patch.setattr("voxridge.solvers.spectral_method.SpectralMethod.score", interrupted)  # no tile again
        assert main([*command, "--solver", "spectral"]) == 1
        assert "is of another fit" in capsys.readouterr().err
        assert main(command) == 0
    assert "The checkpoint is no longer needed" in capsys.readouterr().out
    resumed = EncodingRidge.load(tmp_path / "fit.h5")
    assert resumed.plan_.route == "primal-spectral"
    assert main(fit_command) == 0
    fresh = EncodingRidge.load(tmp_path / "fit.h5")
    np.testing.assert_array_equal(resumed.coef_, fresh.coef_)
    np.testing.assert_array_equal(resumed.cv_scores_, fresh.cv_scores_)


SIZES = ["--samples", "600", "--features", "40", "--targets", "900"]


def test_plan_of_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", *SIZES, "--runs", "6", "--alphas", "7", "--delays", "1,2"]
    assert main([*command, "--folds", "3"]) == 0
    text = capsys.readouterr().out
    assert "600 samples x 80 columns x 900 targets, 7 penalties, 3 folds" in text
    assert "expected time" in text
    assert "rates measured" in text
    assert main([*command, "--json", "--solver", "dual-leave-out", "--memory-limit", "16GB"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["route"] == "dual-leave-out"
    assert (facts["side"], facts["method"], facts["memory_limit"]) == ("dual", "leave-out", 16 * 10**9)
    assert "6 folds" in facts["reason"]
    assert facts["peak_bytes"] <= facts["worst_bytes"] <= 16 * 10**9


@pytest.mark.parametrize(("machine", "name"), [("32-cores", "32 cores"), ("h200", "NVIDIA H200")])
def test_plan_for_other_machines(machine: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SIZES, "--cv", "5", "--machine", machine]) == 0
    assert f"on {name} (assumed: " in capsys.readouterr().out


def test_plan_of_files_reads_their_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features, responses = tmp_path / "features.npy", tmp_path / "responses.h5"
    np.save(features, np.zeros((300, 20), np.float32))
    with h5py.File(responses, "w") as file:
        file.create_dataset("data", (300, 5000), "f4")  # no bytes of it are in the file
    command = ["plan", str(features), str(responses), "--runs", "100,120,80", "--json"]
    read = {}
    for kept in ("nothing", "targets", "both", ""):
        assert main([*command, *(["--read", kept] if kept else [])]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert "300 samples x 80 columns x 5,000 targets, 20 penalties, 3 folds" in facts["reason"]
        read[kept] = facts["bytes_read"]
    assert read["nothing"] == 0
    assert read["both"] > read["targets"] == read[""] >= 300 * 5000 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (SIZES[:4], "--targets missing: give two files, or --samples"),
        ([*SIZES, "--targets", "0"], "--targets 0: must be 1 or more"),
        ([*SIZES, "--alphas", "0"], "--alphas is 0; give the number of penalties"),
        ([*SIZES, "--folds", "some"], "--folds is 'some'; give whole numbers"),
        ([*SIZES], "needs at least 2 runs, got 1"),
        ([*SIZES, "--runs", "601"], "--runs 601: give a number of runs from 1 to 600"),
        ([*SIZES, "--runs", "100,200"], "lengths add up to 300, there are 600 samples"),
        ([*SIZES, "--cv", "3", "--solver", "qr"], "solver='qr' is not known"),
        ([*SIZES, "--cv", "3", "--memory-limit", "1MB"], "memory_limit=1000000 bytes is too small"),
        ([*SIZES, "--cv", "3", "--memory-limit", "lots"], "memory_limit='lots' is not an amount of memory"),
        (["one.npy"], "1 file(s): give two, the features and the responses"),
        (["one.npy", "two.npy", "--samples", "5"], "--samples: the files say so"),
    ],
)
def test_plan_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("voxridge: ")
    assert message in error
    assert error.count("\n") == 1

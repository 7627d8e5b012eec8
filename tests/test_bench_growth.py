"""Growth curves and the roofline: the fits they ask for, the numbers they make of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.solvers.rates import Step

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import growth, roofline, tables  # noqa: E402
from bench.campaign_log import Log  # noqa: E402
from bench.shapes import Shape  # noqa: E402


def test_one_size_is_moved_at_a_time() -> None:
    found = growth.shapes(growth.MIDDLE, 0.2)
    assert list(found["n_samples"]) == [100, 200, 300, 600, 1200]
    assert list(found["n_folds"]) == [2, 5, 10, 20, 50]
    for axis, values in found.items():
        for value, shape in values.items():
            assert getattr(shape, axis) == value
            assert (
                sum(
                    getattr(shape, other) != getattr(growth.MIDDLE, other)
                    for other in ("n_alphas", "n_folds")
                )
                <= 1
            )
            assert len(shape.folds()) == shape.n_folds


def _law(name: str, shape: Shape) -> tuple[tables.Row, dict[str, Any]]:
    """voxridge: n^2 v; himalaya: n^3 A, its kernel solver a tenth of that, torch half of numpy."""
    seconds = shape.n_samples**2 * shape.n_targets * 1e-9
    if name != "voxridge":
        seconds = shape.n_samples**3 * shape.n_alphas * 1e-9
        seconds *= (0.1 if "kernel" in name else 1) * (0.5 if "torch" in name else 1)
    found = {
        "alpha": np.ones(3),
        "alphas": np.ones(1),
        "cv_score": np.zeros(3),
        "prediction": np.ones((2, 3)),
    }
    row = {"status": "ok", "seconds": seconds, "peak_mib": 10.0, "increment_mib": 5.0, "coefficients": "dual"}
    return row, found


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # predictions without variance
def test_growth_from_fits_to_exponents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("himalaya")
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    found = growth.shapes(growth.MIDDLE)
    log = Log(tmp_path / "log")
    asked: list[tuple[str, str]] = []

    def fit(name: str, shape: Shape) -> tuple[tables.Row, dict[str, Any]]:
        asked.append((name, growth._label(shape)))
        return _law(name, shape)

    assert growth.measure(log, found, fit, 1, 1e6)
    middle = growth._label(growth.MIDDLE)
    assert {name for name, label in asked if label == middle} == {"voxridge", *growth.HIMALAYA}
    assert not any("numpy" in name for name, label in asked if label != middle)  # torch was faster there
    assert growth.measure(Log(tmp_path / "log"), found, fit, 1, 1e6)
    assert len(asked) == len(set(asked))  # nothing twice

    assert growth.main(["--report", "--log", str(tmp_path / "log"), "--out", str(tmp_path)]) == 0
    rows = tables.read_csv(tmp_path / "growth.csv")
    assert [row["value"] for row in rows if row["axis"] == "n_alphas"] == ["5", "10", "20", "40", "80"]
    written = json.loads((tmp_path / "growth.json").read_text())
    exponents = {line["axis"]: line for line in written["slopes"]}
    assert exponents["n_samples"]["seconds"] == pytest.approx(2)
    assert exponents["n_targets"]["seconds"] == pytest.approx(1)
    assert exponents["n_alphas"]["peer_seconds"] == pytest.approx(1)
    assert exponents["n_folds"]["seconds"] == pytest.approx(0, abs=1e-9)
    assert (tmp_path / "growth.png").stat().st_size > 0


def test_growth_stops_in_time(tmp_path: Path) -> None:
    assert not growth.measure(Log(tmp_path), growth.shapes(growth.MIDDLE), _law, 1, -1)
    assert growth.main(["--report", "--log", str(tmp_path), "--out", str(tmp_path)]) == 1
    with pytest.raises(SystemExit):
        growth.parse(["--axes", "depth"])


def test_irreducible_flops_are_those_of_linear_algebra() -> None:
    steps = [
        Step("scores", 10.0, 0, "gemm4"),
        Step("scores", 3.0, 0, "filters"),
        Step("Gram", 5.0, 0, "syrk8"),
        Step("Gram", 2.0, 0, "gemm8"),
        Step("centring targets", 0, 0, bytes=100.0),
    ]
    work = roofline.irreducible(steps)
    assert work["steps"] == {"scores": 10.0, "Gram": 7.0}
    assert work["kinds"] == {"gemm4": 10.0, "syrk8": 5.0, "gemm8": 2.0}


def test_a_roofline_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--shapes", "tiny-wide", "--order", "128", "--threads", "1", "--out", str(tmp_path)]
    assert roofline.main(options) == 0
    record = json.loads((tmp_path / "roofline.json").read_text())["shapes"][0]
    assert record["irreducible_flops"] == sum(record["flops_by_kind"].values()) > 0
    assert set(record["flops_by_kind"]) <= set(record["rates"])
    expected = record["irreducible_flops"] / record["seconds"] / record["sgemm_rate"]
    assert record["sustained_share"] == pytest.approx(expected)
    assert "target 75%" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        roofline.parse(["--shapes", "sklearn"])


def test_phases_are_functions_of_voxridge() -> None:
    from voxridge.solvers.rates import _least_time

    with roofline.Sampler() as sampler:
        _least_time(lambda: time.sleep(0.1))
        time.sleep(0.1)
    shares = sampler.shares()
    assert shares["rates._least_time"] > 0.4
    assert shares["outside voxridge"] > 0.1


def test_the_kernel_benchmarks_run() -> None:
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "pytest", "bench/test_kernels.py", "-q", "-p", "no:cacheprovider"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "17 passed" in done.stdout

"""The proof on a GPU, proved in the emulator: what it measures, what it compares, and that it goes on
where it was cut short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import gpu, gpu_ceiling, gpu_himalaya, gpu_runs, gpu_small, gpu_watch  # noqa: E402
from bench.adapters import get_adapter  # noqa: E402
from bench.gpu_data import FRIENDS, WHOLE_BRAIN, BrainShape, make_brain  # noqa: E402
from bench.gpu_results import Results, keep_log, read_pytest, read_sanitizer  # noqa: E402
from bench.gpu_shares import shares  # noqa: E402
from bench.gpu_summary import summary  # noqa: E402
from bench.gpu_truth import Truth, compare, sample  # noqa: E402
from bench.problems import delayed, make_problem  # noqa: E402
from bench.shapes import SHAPES, Shape  # noqa: E402
from bench.worker import measure, outcome  # noqa: E402

from voxridge.testing import textbook_scores  # noqa: E402

SMALL = BrainShape(120, 100, 24, n_alphas=4, n_runs=6, delays=(1, 2))
ALONE = BrainShape(60, 80, 30, n_alphas=4, n_runs=3, delays=(0,))
SILENT = "ignore::voxridge._warnings.SmallFoldWarning"


@pytest.fixture
def on_emulator(emulator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Fits with ``device="cuda"`` run in the emulator, on problems of a minute's size at most."""
    monkeypatch.setattr("voxridge._dispatch.load_cuda", lambda: emulator)
    monkeypatch.setattr(gpu_runs, "WHOLE_BRAIN", SMALL)
    monkeypatch.setattr(gpu_runs, "FRIENDS", ALONE)
    monkeypatch.setattr(gpu_runs, "_warm_up", lambda *_: None)
    monkeypatch.setattr(gpu_watch, "_SHORT", 0.0)
    monkeypatch.setattr(gpu_watch, "_INTERVAL", 0.0005)
    monkeypatch.setattr(BrainShape, "scaled", lambda shape, scale: shape)
    return emulator


def _run(part: str, folder: Path, *more: str) -> dict[str, Any]:
    assert gpu.main([part, "--out", str(folder), "--scale", "0.01", *more]) == 0
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


# --- data


def test_data_are_smooth_inside_runs_and_carry_signal(emulator: ModuleType) -> None:
    shape = BrainShape(3000, 30, 40, n_alphas=3, n_runs=3, delays=(1, 2))
    brain = make_brain(emulator, shape)
    assert emulator.is_pinned(brain.y)
    assert brain.x.dtype == brain.y.dtype == np.float32
    x, y = delayed(brain.x, shape.delays, shape.runs).astype(float), brain.y - brain.y.mean(axis=0)
    assert abs(brain.x.var() - 1) < 0.3
    np.testing.assert_allclose(y.var(axis=0), 1, atol=0.25)
    neighbours = (y[1:1000] * y[:999]).mean(axis=0).mean()
    across = (y[1000] * y[999]).mean(), (y[2000] * y[1999]).mean()
    assert 0.4 < neighbours < 0.6
    assert max(map(abs, across)) < 0.45
    explained = 1 - ((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).mean(axis=0) / y.var(axis=0)
    assert explained[::5].max() < 0.06  # pure noise, fitted by 60 columns
    assert explained.max() > 0.3


def test_the_same_data_again(emulator: ModuleType) -> None:
    first, again = make_brain(emulator, SMALL), make_brain(emulator, SMALL)
    np.testing.assert_array_equal(first.y, again.y)
    np.testing.assert_array_equal(first.x, again.x)


@pytest.mark.parametrize("shape", [WHOLE_BRAIN, FRIENDS])
def test_scaled_problems_have_folds_and_long_runs(shape: BrainShape) -> None:
    small = shape.scaled(0.0001)
    assert small.n_runs > 5
    assert min(small.runs) > 3 * max(shape.delays)
    assert shape.scaled(1) == shape


# --- the truth


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_the_truth_is_the_textbook_s(emulator: ModuleType, scoring: str) -> None:
    pytest.importorskip("torch")
    brain, rows = make_brain(emulator, SMALL), np.arange(120)
    sets = [rows[:40], rows[40:60], rows[60:]]
    truth = Truth(brain, np.arange(24))
    (predicted,) = truth.left_out(30.0, [sets])
    x = delayed(brain.x, SMALL.delays, SMALL.runs, np.float64)
    folds = [(np.delete(rows, test), test) for test in sets]
    expected = textbook_scores(x, brain.y.astype(float), np.array([30.0]), folds, scoring)[0]
    np.testing.assert_allclose(truth.scores(predicted, sets, scoring), expected, atol=1e-10)
    for train, test in folds:
        refitted = truth.refitted(30.0, train, test)
        np.testing.assert_allclose(refitted, predicted[test], atol=1e-10)


def test_a_wrong_score_is_seen() -> None:
    truth = np.array([[0.1, 0.5, 0.3], [0.4, 0.2, 0.3001]])
    alphas = np.array([1.0, 10.0])
    best, alpha = np.array([0.4, 0.5, 0.3001]), np.array([10.0, 1.0, 10.0])
    right = compare(truth, alphas, truth.copy(), best, alpha)
    assert (right["same_alpha"], right["max_score_difference"], right["max_score_lost"]) == (1, 0, 0)
    wrong = compare(truth, alphas, truth.copy(), best + np.array([0, 1e-3, 0]), alpha)
    assert wrong["max_score_difference"] == pytest.approx(1e-3)
    moved = truth - np.array([[0, 0, 0], [0, 0.1, 0]])
    other = compare(truth, alphas, moved, best, np.array([10.0, 1.0, 1.0]))
    assert other["same_alpha"] == pytest.approx(2 / 3)
    assert other["max_score_lost"] == pytest.approx(1e-4)
    assert other["max_score_difference_of_all_alphas"] == pytest.approx(0.1)
    assert np.isnan(compare(truth, alphas, truth * np.nan, best, alpha)["max_score_difference_of_all_alphas"])


def test_sampled_targets_are_different_ones() -> None:
    assert sample(95_556).size == 200
    np.testing.assert_array_equal(sample(3), [0, 1, 2])


# --- the parts


def test_runs_are_timed_and_compared(on_emulator: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = _run("runs", tmp_path, "--precision", "float32,tf32")
    rows = {name: row for name, row in found["runs"].items() if "," in name}
    assert set(rows) == {
        f"{cv}, {precision}" for cv in ("5 folds", "leave-one-run-out") for precision in ("float32", "tf32")
    }
    for name, row in rows.items():
        assert row["max_score_difference"] < 5e-6, name
        assert row["max_score_lost"] < 1e-3
        assert row["seconds"] == pytest.approx(sum(row["steps"].values()), rel=0.2)
        assert 0 < row["device_bytes"] <= row["planned_device_bytes"] + 2**20
        assert row["flops_by_kind"]
        assert row["planned_seconds"] == pytest.approx(sum(row["planned_steps"].values()), rel=0.01)
    assert rows["leave-one-run-out, tf32"]["folds"][1] == [20, 40]
    assert len(rows["5 folds, tf32"]["folds"]) == 5
    assert found["runs"]["truth"]["largest_difference_from_refits"] < 1e-8
    assert found["machine"]["runs"]["settings"]["module"]["emulated"] == "yes"
    assert "no measurement" in summary(found)


def test_a_part_goes_on_where_it_was_cut_short(
    on_emulator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    calls: list[str] = []
    fits = gpu_runs.timed_fits

    def cut_short(make: Any, *arguments: Any, **more: Any) -> Any:
        calls.append(make().weights)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fits(make, *arguments, **more)

    monkeypatch.setattr(gpu_runs, "timed_fits", cut_short)
    with pytest.raises(KeyboardInterrupt):
        _run("loo", tmp_path, "--precision", "float32")
    assert not Results(tmp_path).finished("loo")
    found = _run("loo", tmp_path, "--precision", "float32")["loo"]
    assert calls == ["none", "memory", "memory"]
    for name in ("weights none, float32", "weights memory, float32"):
        assert found[name]["max_score_difference"] < 5e-6
    assert found["truth"]["largest_difference_from_refits"] < 1e-8
    _run("loo", tmp_path, "--precision", "float32")
    assert len(calls) == 3
    assert gpu.main(["loo", "--out", str(tmp_path), "--scale", "1"]) == 2  # begun with other sizes


def test_what_fails_or_has_no_time_is_missing(
    on_emulator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked = ["loo", "--out", str(tmp_path), "--precision", "float32"]
    assert gpu.main([*asked, "--seconds", "0"]) == 1
    assert capsys.readouterr().out.count("no time left") == 2

    def fail(*_: Any, **more: Any) -> Any:
        raise RuntimeError("an illegal memory access was encountered")

    with monkeypatch.context() as patched:
        patched.setattr(gpu_runs, "timed_fits", fail)
        assert gpu.main(asked) == 1
    results = Results(tmp_path)
    assert len(results.get("loo", "failures")) == 2
    assert not results.finished("loo")
    assert "FAILED: loo: weights none, float32: RuntimeError: an illegal" in summary(results.found)
    pytest.importorskip("torch")
    assert gpu.main(asked) == 0
    assert Results(tmp_path).get("loo", "failures") == {}


def test_a_planted_wrong_fit_misses_the_target(
    on_emulator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    fits = gpu_runs.timed_fits

    def wrong(*arguments: Any, **more: Any) -> Any:
        row, model = fits(*arguments, **more)
        model.best_cv_scores_ = model.best_cv_scores_ + 1e-3
        return row, model

    monkeypatch.setattr(gpu_runs, "timed_fits", wrong)
    found = _run("loo", tmp_path, "--precision", "float32")
    assert found["loo"]["weights none, float32"]["max_score_difference"] == pytest.approx(1e-3, rel=0.1)
    assert "MISSED: best scores within 1.0e-03" in summary(found)


def test_a_fit_on_the_processor_is_no_measurement(emulator: ModuleType) -> None:
    from voxridge import EncodingRidge

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 4))
    make = lambda: EncodingRidge([1.0, 10.0], delays=(0,), cv=2, device="cpu")  # noqa: E731
    with pytest.raises(RuntimeError, match="fell back to the processor"):
        gpu_watch.timed_fits(make, emulator, x, y)


@pytest.mark.filterwarnings(SILENT)
def test_himalaya_is_raced(on_emulator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = ("himalaya-kernel-numpy", "himalaya-ridge-numpy")
    if not get_adapter(peers[0]).available():
        pytest.skip("himalaya is not there")
    races = {"tiny": Shape(60, 6, 20, n_alphas=3, n_folds=3), "delays": Shape(60, 4, 20, 3, 3, n_delays=2)}
    monkeypatch.setattr(gpu_himalaya, "RACES", races)
    asked = []

    def fit(name: str, shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
        asked.append(name)
        adapter, problem = get_adapter(name), make_problem(shape)
        problem = problem if adapter.takes_delays else problem.materialised()
        row, result = measure(adapter, problem, problem)
        return {"status": "ok", **row}, outcome(problem, result)

    results = Results(tmp_path)
    assert gpu_himalaya.himalaya(results, 1.0, fit, peers)
    for name in races:
        row = results.get("himalaya", name)
        assert row["peer"] in peers
        assert row["same_alpha"] == 1
        assert row["max_score_difference"] < 1e-4
        assert row["time_ratio_min"] <= row["time_ratio"] <= row["time_ratio_max"]
        assert set(results.get("himalaya", f"{name}, round 0")) == {gpu_himalaya.OURS, *peers}
        assert len(results.get("himalaya", f"{name}, round 1")) == 2
    assert asked[0] == asked[4] == asked[5] == gpu_himalaya.OURS  # every other round in reverse
    before = len(asked)
    gpu_himalaya.himalaya(Results(tmp_path), 1.0, fit, peers)
    assert len(asked) == before


def test_without_himalaya_the_part_is_missing(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert not gpu_himalaya.himalaya(results, 1.0, peers=())
    assert "FAILED: himalaya: himalaya: himalaya is not installed" in summary(results.found)


def test_a_peer_without_room_or_end_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_himalaya, "RACES", {"tiny": SHAPES["tiny"]})
    peers = [name for name in ("himalaya-kernel-numpy",) if get_adapter(name).available()]
    if not peers:
        pytest.skip("himalaya is not there")

    def fit(name: str, shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
        ours = {"status": "ok", "seconds": 1.0, "checksum": 1}
        return (ours if name == gpu_himalaya.OURS else {"status": "failed: OutOfMemoryError"}), {}

    results = Results(tmp_path)
    assert gpu_himalaya.himalaya(results, 1.0, fit, peers)
    assert results.get("himalaya", "tiny")["verdict"] == "nothing to compare"
    assert "OutOfMemoryError" in summary({"himalaya": {"himalaya": results.get("himalaya", "tiny")}})


def test_the_ceiling_and_what_fits_reach_of_it(on_emulator: ModuleType, tmp_path: Path) -> None:
    assert gpu.main(["ceiling", "--out", str(tmp_path), "--scale", "0.001"]) == 0
    found = Results(tmp_path).found
    cases = set(gpu_ceiling._cases(1.0))
    assert cases <= set(found["ceiling"])
    assert all(
        found["ceiling"][name]["rate"] > 0 and len(found["ceiling"][name]["seconds"]) == 3 for name in cases
    )
    for name in cases:
        found["ceiling"][name]["rate"] = 1e9
    work = {"gemm2": 4e9, "potrf": 2e9, "inverses": 7e9}
    found["runs"] = {"5 folds, tf32": {"precision": "tf32", "cv": 5, "seconds": 12.0, "flops_by_kind": work}}
    share = shares(found)["runs: 5 folds, tf32"]
    assert share["priced"] == share["sustained"] == pytest.approx(0.5)
    assert share["not_priced"] == ["inverses"]
    found["ceiling"]["finished"] = False
    assert shares(found) == {}


def test_every_op_is_run_for_the_sanitizer(on_emulator: ModuleType, capsys: Any) -> None:
    known = {
        name
        for name in dir(on_emulator)
        if "queue: " in (getattr(on_emulator, name).__doc__ or "") and callable(getattr(on_emulator, name))
    }
    moved = {"upload", "download", "copy", "zero", "from_interface", "from_dlpack"}  # by fits
    assert known - moved <= set(gpu_small.ops_once(on_emulator))
    assert len(known) > 30
    assert gpu_small.main() == 0
    assert capsys.readouterr().out.count("scores differ") == 6


# --- logs


def test_what_pytest_says() -> None:
    text = "FAILED tests/a.py::test_b[1] - assert 1\nERROR tests/c.py::test_d\n"
    row = read_pytest(text + "= 1 failed, 20 passed, 3 skipped, 1 error in 12.34s =\n")
    assert (row["failed"], row["passed"], row["skipped"], row["errors"]) == (1, 20, 3, 1)
    assert row["failures"] == ["tests/a.py::test_b[1]", "tests/c.py::test_d"]
    assert read_pytest("2 passed, 7 deselected in 70.10s (0:01:10)")["deselected"] == 7
    assert read_pytest("Killed") == {}


def test_what_the_sanitizer_says() -> None:
    assert read_sanitizer("========= ERROR SUMMARY: 0 errors\n")["errors"] == 0
    text = "========= Invalid __global__ write of size 4 bytes\n========= "
    text += "    at void voxridge::cuda::scale_kernel<float>(int)+0x1a0 in targets.cu:10\n"
    assert read_sanitizer(text + "========= ERROR SUMMARY: 3 errors") == {
        "errors": 3,
        "kernels": ["voxridge::cuda::scale_kernel"],
    }
    race = "========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)\n"
    assert read_sanitizer(race) | {"kernels": []} == {"hazards": 2, "errors": 1, "warnings": 1, "kernels": []}
    assert read_sanitizer("========= Error: Device not supported\n") == {}


def test_a_program_that_was_stopped_is_asked_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    row = keep_log(results, "tests", "all", "tests ...\n", 124, 570.0)
    assert row["timed_out"]
    assert row["last_lines"] == ["tests ..."]
    assert not results.finished("tests.all")
    refused = "========= Error: Device not supported\n"
    assert not keep_log(results, "sanitizer", "memcheck", refused, 1, 1.0)["complete"]
    assert not results.finished("sanitizer.memcheck")
    keep_log(results, "tests", "all", "1 failed in 2.0s", 1, 2.0)
    assert Results(tmp_path).finished("tests.all")
    assert not Results(tmp_path).finished("tests")
    assert "MISSED: tests all: 0 passed, 1 failed" in summary(results.found)


# --- the script

STUB = """#!/bin/sh
case "$*" in
  "-m bench.gpu_results "*) exec "$REAL" "$@" ;;
  "-c import xdist") exit 1 ;;
esac
echo "$@" >> "$CALLS"
case "$*" in
  *"pip install"*) mkdir -p "$SITE/voxridge" && touch "$SITE/voxridge/_cuda.so" ;;
  *"-k device"*) echo "5 passed, 40 deselected in 1.00s" ;;
  "-m pytest"*) echo "FAILED tests/a.py::b"; echo "1 failed, 9 passed in 2.00s"; exit 1 ;;
  *bench.gpu_small*) echo "ERROR SUMMARY: 0 errors" ;;
  *"bench.gpu "*) [ ! -e "$BROKEN" ] && "$REAL" -m bench.gpu_results "$5" finish "$3" ;;
esac
"""


@pytest.fixture
def proof(tmp_path: Path) -> Any:
    """Calls bench/gpu_proof with stubs; gives its exit code, what Python was asked for, and the results."""
    folder, out, calls = tmp_path / "bin", tmp_path / "out", tmp_path / "calls"
    folder.mkdir()
    for name, text in (("python3", STUB), ("compute-sanitizer", '#!/bin/sh\nshift 4\nexec "$@"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "REAL": sys.executable,
        "CALLS": str(calls),
        "SITE": str(tmp_path / "site"),
        "BROKEN": str(tmp_path / "broken"),
    }
    environment.pop("PYTHON", None)

    def call(*parts: str) -> tuple[int, list[str], dict[str, Any]]:
        calls.write_text("")
        command = [str(ROOT / "bench" / "gpu_proof"), str(out), *parts]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        results = out / "results.json"
        found = json.loads(results.read_text()) if results.exists() else {}
        return done.returncode, calls.read_text().splitlines(), found

    return call


def test_the_script_does_all_parts_once(proof: Any, tmp_path: Path) -> None:
    code, calls, found = proof()
    assert code == 0
    modules = [call.split()[1] for call in calls]
    assert modules == ["pip", "voxridge.cli", *["pytest"] * 2, *["bench.gpu_small"] * 2, *["bench.gpu"] * 4]
    assert "-k device" in calls[2]
    assert "--require-cuda" in calls[3]
    assert "cmake.define.VOXRIDGE_CUDA=ON" in calls[0]
    assert "cmake.define.VOXRIDGE_CUDA_ARCHITECTURES=90-real" in calls[0]
    assert [call.split()[2] for call in calls[-4:]] == ["runs", "himalaya", "loo", "ceiling"]
    assert found["tests"]["device"]["passed"] == 5
    assert found["tests"]["all"]["failures"] == ["tests/a.py::b"]
    assert found["sanitizer"]["memcheck"]["errors"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "log.txt",
        "results.json",
        "summary.md",
    ]
    assert "MISSED: tests all: 9 passed, 1 failed" in (tmp_path / "out" / "summary.md").read_text()
    code, calls, _ = proof()
    assert (code, calls) == (0, [])


def test_the_script_goes_on_after_a_failure(proof: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    code, calls, found = proof("build", "loo", "ceiling")
    assert code == 1
    assert len(calls) == 4
    assert "loo" not in found
    (tmp_path / "broken").unlink()
    code, calls, found = proof("build", "loo")
    assert code == 0
    assert len(calls) == 1
    assert found["loo"]["finished"]


def test_a_fresh_machine_is_built_for_again(proof: Any, tmp_path: Path) -> None:
    proof("build", "loo")
    (tmp_path / "site" / "voxridge" / "_cuda.so").unlink()
    code, calls, _ = proof("build", "loo")
    assert code == 0
    assert len(calls) == 2
    assert "pip install" in calls[0]


def test_the_script_knows_its_parts(proof: Any) -> None:
    assert proof("bulid") == (2, [], {})

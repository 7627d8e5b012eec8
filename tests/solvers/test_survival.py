"""Fits that are killed, interrupted, or whose files change: the same bits in the end, or what is wrong."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge import EncodingRidge
from voxridge._warnings import FallbackWarning, RankDeficientWarning
from voxridge.solvers import fits
from voxridge.solvers.checkpoint import Checkpoint
from voxridge.solvers.design import DelayedDesign
from voxridge.solvers.fits import fit_designs
from voxridge.solvers.folds import make_folds
from voxridge.solvers.ridge_cv import solve_ridge_cv
from voxridge.solvers.settings import Storage, check_settings
from voxridge.solvers.tiles import Targets
from voxridge.testing import relative_error, tolerance

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [30, 40, 30]
N, P, V = sum(RUNS), 6, 600  # two tiles: 512 and 88
ALPHAS = [1.0, 10.0, 100.0]
GROUPS = np.arange(V) % 3
ROUTES = [
    "primal-spectral",
    "dual-spectral",
    "primal-leave-out",
    "dual-leave-out",
    "primal-cholesky",
    "dual-cholesky",
    "svd",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("data"))


def made(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Features and responses that prefer different penalties, float32, in HDF5."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, P)).astype(np.float32)
    noise = np.logspace(-1, 2, V)
    y = x @ rng.standard_normal((P, V)) + noise * rng.standard_normal((N, V))
    for name, array in (("features", x), ("responses", y.astype(np.float32))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"] = array
    return folder / "features.h5", folder / "responses.h5"


def model(**options: Any) -> EncodingRidge:
    return EncodingRidge(**{"alphas": ALPHAS, "delays": (0, 1), "progress": False, **options})


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several passes and tiles, features read in chunks, however small the problem."""
    make_plan = fits.make_plan

    def cut(*arguments: Any, **options: Any) -> Any:
        plan = make_plan(*arguments, **options)
        small = {"n_targets_batch": 512, "folds_per_pass": 2, "rows_per_chunk": 50, "columns_per_chunk": 5}
        return dataclasses.replace(plan, alphas_per_pass=min(2, plan.alphas_per_pass), **small)

    monkeypatch.setattr(fits, "make_plan", cut)
    monkeypatch.setattr("voxridge._encoding_job._WHOLE_SHARE", 0.0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # takes long, and matters to power cuts only


class Died(BaseException):
    """A death that the test process outlives."""


def dying(monkeypatch: pytest.MonkeyPatch, records: int) -> Callable[[], None]:
    """Have the fit die before it keeps so many records; returns what revives it."""
    save, kept = Checkpoint.save, []

    def saving(self: Checkpoint, *arguments: Any) -> None:
        if len(kept) == records:
            raise Died
        kept.append(1)
        save(self, *arguments)

    monkeypatch.setattr(Checkpoint, "save", saving)
    return lambda: monkeypatch.setattr(Checkpoint, "save", save)


def assert_same(fitted: EncodingRidge, expected: EncodingRidge) -> None:
    for name in ("cv_scores_", "best_cv_scores_", "alpha_", "intercept_", "coef_"):
        np.testing.assert_array_equal(getattr(fitted, name), getattr(expected, name), err_msg=name)


# --- the same bits


@pytest.mark.parametrize("per_target", [True, "groups"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_fit_that_died_goes_on_to_the_same_bits(
    route: str,
    per_target: Any,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"solver": route, "alpha_per_target": GROUPS if per_target == "groups" else True}
    expected = model(**options).fit(*files, runs=RUNS)
    whole = model(checkpoint=tmp_path / "whole", **options).fit(*files, runs=RUNS)
    if expected.plan_.components:  # which are for memory: records hold dual coefficients
        np.testing.assert_array_equal(whole.cv_scores_, expected.cv_scores_)
        for name in ("intercept_", "coef_"):
            assert relative_error(getattr(whole, name), getattr(expected, name)) < tolerance(np.float32, 5)
    else:
        assert_same(whole, expected)
    expected = whole
    total = len(list((tmp_path / "whole").glob("pass-*")))
    for records in sorted({0, 1, total // 2, total - 1}):
        unfinished = model(checkpoint=tmp_path / f"{records}", weights=tmp_path / f"{records}.h5", **options)
        revive = dying(monkeypatch, records)
        with pytest.raises(Died):
            unfinished.fit(*files, runs=RUNS)
        revive()
        assert len(list((tmp_path / f"{records}").glob("pass-*"))) == records
        assert_same(unfinished.fit(*files, runs=RUNS), expected)
    again = unfinished.fit(*files, runs=RUNS)  # nothing left to do
    assert_same(again, expected)


@pytest.mark.parametrize("suffix", [".h5", ".npy", "memory"])
@pytest.mark.parametrize("route", ["primal-spectral", "dual-cholesky"])
def test_weights_that_are_gone_are_computed_again(
    route: str, suffix: str, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = "memory" if suffix == "memory" else tmp_path / f"w{suffix}"
    options = {"solver": route, "checkpoint": tmp_path / "c", "weights": weights}
    expected = model(solver=route).fit(*files, runs=RUNS)
    assert_same(model(**options).fit(*files, runs=RUNS), expected)
    assert_same(model(**options).fit(*files, runs=RUNS), expected)  # an .npy file has lost its token
    place = next((tmp_path / "c").glob("weights*")) if suffix == "memory" else weights
    place.unlink()
    revive = dying(monkeypatch, 1)
    with pytest.raises(Died):
        model(**options).fit(*files, runs=RUNS)
    revive()
    assert_same(model(**options).fit(*files, runs=RUNS), expected)


@pytest.mark.parametrize("route", ["primal-spectral", "dual-leave-out", "primal-cholesky"])
@pytest.mark.parametrize("gone", [0, 1, -1])
def test_a_record_that_was_deleted_is_computed_again(
    route: str, gone: int, files: tuple[Path, Path], tmp_path: Path
) -> None:
    options = {"solver": route, "checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    expected = model(**options).fit(*files, runs=RUNS)
    found = [getattr(expected, name) for name in ("coef_", "alpha_", "cv_scores_", "intercept_")]
    sorted((tmp_path / "c").glob("pass-*"))[gone].unlink()
    again = model(**options).fit(*files, runs=RUNS)
    for name, array in zip(("coef_", "alpha_", "cv_scores_", "intercept_"), found, strict=True):
        np.testing.assert_array_equal(getattr(again, name), array)


def test_a_resumed_fit_keeps_to_its_plan(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model().fit(*files, runs=RUNS)
    unfinished = model(checkpoint=tmp_path / "c")
    revive = dying(monkeypatch, 2)
    with pytest.raises(Died):
        unfinished.fit(*files, runs=RUNS)
    revive()
    monkeypatch.setattr(fits, "make_plan", None)  # less memory is free now: another plan would come out
    monkeypatch.setattr("voxridge._encoding_job._WHOLE_SHARE", 1.0)
    assert_same(unfinished.fit(*files, runs=RUNS), expected)
    for name in ("route", "n_targets_batch", "folds_per_pass", "alphas_per_pass", "rows_per_chunk"):
        assert getattr(unfinished.plan_, name) == getattr(expected.plan_, name)
    with pytest.raises(MemoryError, match=r"was begun with a plan that needs \d+ bytes.*memory_limit=1000;"):
        unfinished.set_params(memory_limit=1000).fit(*files, runs=RUNS)


def test_a_resumed_fit_counts_what_is_dependent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 4)), rng.standard_normal((N, 5))
    x[:, 3] = x[:, 2]
    fitted = model(checkpoint=tmp_path / "c", delays=(0,), solver="primal-spectral")
    for _ in range(2):
        with pytest.warns(RankDeficientWarning, match="1 directions"):
            fitted.fit(x, y, runs=RUNS)


def test_a_fallback_takes_its_checkpoint_along(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = fits.make_method

    def fails(*arguments: Any) -> None:
        raise np.linalg.LinAlgError("a held-out set is interpolated")

    def untrusted(design: Any, plan: Any, settings: Any, session: Any) -> Any:
        method = make(design, plan, settings, session)
        if plan.method == "leave-out":
            method.begin = fails
        return method

    options = {"solver": "primal-leave-out", "checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    expected = model(solver="primal-spectral").fit(*files, runs=RUNS)
    monkeypatch.setattr(fits, "make_method", untrusted)
    revive = dying(monkeypatch, 3)
    with pytest.warns(FallbackWarning, match="Using primal-spectral"), pytest.raises(Died):
        model(**options).fit(*files, runs=RUNS)
    revive()
    assert_same(model(**options).fit(*files, runs=RUNS), expected)


@pytest.mark.parametrize("solver", ["dual-cholesky", "primal-spectral"])
def test_several_designs_with_groups_and_a_checkpoint(solver: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((N, 40))
    features = [rng.standard_normal((N, 5)), rng.standard_normal((N, 9))]
    designs = [DelayedDesign(x, (0, 1), RUNS) for x in features]
    targets = Targets(N, 40, lambda begin, end: y[:, begin:end], y.mean(axis=0), np.ones(40, dtype=bool))
    settings = check_settings(
        N,
        targets,
        ALPHAS,
        make_folds("leave-one-run-out", RUNS),
        scoring="r2",
        fit_intercept=True,
        alpha_per_target=np.arange(40) % 2,
        sample_weight=None,
        evaluation="folds",
        solver=solver,
        memory_limit=None,
        n_targets_batch=None,
    )
    for checkpoint in (None, tmp_path / "c"):
        storage = Storage("memory", checkpoint, {"data": 1})
        found = fit_designs(designs, targets, settings, storage, lambda step, done: None)
        weights = [result.weights.matrix.read(0, 40) for result in found if result.weights is not None]
        if checkpoint is None:
            expected = weights
        for array, other in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(array, other)
            assert np.abs(array).max() > 1e-3


# --- a checkpoint of something else


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"alphas": [1.0, 2.0]}, "alphas"),
        ({"cv": 2}, "folds_groups_weights"),
        ({"scoring": "r2"}, "scoring"),
        ({"delays": (0, 2)}, "designs"),
        ({"fit_intercept": False}, "fit_intercept"),
        ({"solver": "dual"}, "solver"),
        ({"alpha_per_target": False}, "folds_groups_weights"),
        ({"weights": "none"}, "weights"),
        ({"other features": True}, "features"),
        ({"other responses": True}, "responses"),
        ({"sample_weight": np.arange(N)}, "folds_groups_weights"),
    ],
)
def test_another_fits_checkpoint_is_refused(
    change: dict[str, Any],
    named: str,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"checkpoint": tmp_path / "c", "solver": "leave-out"}
    dying(monkeypatch, 1)
    with pytest.raises(Died):
        model(**options).fit(*files, runs=RUNS)
    x, y = made(tmp_path, seed=1) if any("other" in name for name in change) else files
    given = (x, files[1]) if "other features" in change else (files[0], y)
    weight = change.pop("sample_weight", None)
    options |= {name: value for name, value in change.items() if "other" not in name}
    with pytest.raises(ValueError, match=rf"is of another fit: .*\b{named}\b.* differ; delete the folder"):
        model(**options).fit(*given, runs=RUNS, sample_weight=weight)


def test_a_changed_array_in_memory_is_another_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 3)), rng.standard_normal((N, 5))
    model(checkpoint=tmp_path / "c").fit(x, y, runs=RUNS)
    y[3, 4] += 1
    with pytest.raises(ValueError, match=r"another fit: responses differ"):
        model(checkpoint=tmp_path / "c").fit(x, y, runs=RUNS)


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_a_damaged_record_is_named(cut: int, files: tuple[Path, Path], tmp_path: Path) -> None:
    options = {"checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    expected = model().fit(*files, runs=RUNS)
    model(**options).fit(*files, runs=RUNS)
    record = sorted((tmp_path / "c").glob("pass-*"))[1]
    record.write_bytes(record.read_bytes()[:cut])
    with pytest.raises(ValueError, match=rf"{record.name} is damaged .*delete it, and its tile is computed"):
        model(**options).fit(*files, runs=RUNS)
    record.unlink()
    assert_same(model(**options).fit(*files, runs=RUNS), expected)


def test_folders_that_are_no_checkpoint(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no fit\.json; give an empty or a new folder"):
        model(checkpoint=tmp_path / "c").fit(*files, runs=RUNS)
    (tmp_path / "c" / "fit.json").write_text('{"identity": ')
    with pytest.raises(ValueError, match=r"fit\.json is damaged .*delete the folder"):
        model(checkpoint=tmp_path / "c").fit(*files, runs=RUNS)
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist; create it"):
        model(checkpoint=tmp_path / "none" / "c").fit(*files, runs=RUNS)
    x, y = np.zeros((N, 2)), np.zeros((N, 3))
    targets = Targets(N, 3, lambda begin, end: y[:, begin:end], np.zeros(3), np.ones(3, dtype=bool))
    folds = make_folds(3, [N])
    with pytest.raises(ValueError, match="checkpoint needs identity"):
        solve_ridge_cv(DelayedDesign(x), targets, ALPHAS, folds, checkpoint=tmp_path / "d")


def test_a_full_disk_costs_one_record(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    expected = model().fit(*files, runs=RUNS)
    savez, calls = np.savez, []

    def full(file: Any, **arrays: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"no space left while writing .*pass-0001.*Free some space") as caught:
        model(**options).fit(*files, runs=RUNS)
    assert caught.value.errno == errno.ENOSPC
    assert len(list((tmp_path / "c").glob("pass-*"))) == 3
    monkeypatch.setattr(np, "savez", savez)
    assert_same(model(**options).fit(*files, runs=RUNS), expected)  # though ``caught`` holds the traceback


# --- files that change, readers that fail


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "voxridge-reader"]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    with h5py.File(path) as file:
        data = file["data"][()]
    with h5py.File(path.with_suffix(".new"), "w") as file:
        file["data"] = data[::-1]
    os.replace(path.with_suffix(".new"), path)


def spoil(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["data"][-1, -1] = np.nan
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))  # clocks tick coarsely


@pytest.mark.parametrize("route", ["primal-spectral", "dual-leave-out", "primal-cholesky"])
@pytest.mark.parametrize("which", ["features", "responses"])
@pytest.mark.parametrize("change", [truncate, replace, spoil])
@pytest.mark.parametrize("moment", ["after the scan", "in a pass"])
def test_a_file_that_changes_during_the_fit_is_named(
    route: str,
    which: str,
    change: Callable[[Path], None],
    moment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = made(tmp_path)
    other = (tmp_path / "kept" / "features.h5").parent
    other.mkdir()
    unchanged = made(other)
    path = tmp_path / f"{which}.h5"

    def once() -> None:
        if not done:
            done.append(1)
            change(path)

    done: list[int] = []
    if moment == "after the scan":
        make_job = sys.modules["voxridge.encoding"].make_job  # type: ignore[attr-defined]

        def late(*arguments: Any, **options: Any) -> Any:
            once()
            return make_job(*arguments, **options)

        monkeypatch.setattr("voxridge.encoding.make_job", late)
    else:
        place = Targets.place

        def placing(self: Targets, *arguments: Any) -> Any:
            if arguments[1] > 0:
                once()
            return place(self, *arguments)

        monkeypatch.setattr(Targets, "place", placing)
    options = {"solver": route, "checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    before = {p: p.read_bytes() for p in paths if p != path}
    with pytest.raises(ValueError, match=rf"{which}.*(changed while|is truncated)|is truncated"):
        model(**options).fit(*paths, runs=RUNS)
    assert not (tmp_path / "w.h5").exists()
    assert not readers()
    assert all(p.read_bytes() == content for p, content in before.items())
    monkeypatch.undo()
    model().fit(*unchanged, runs=RUNS)


def test_what_no_file_says_shows_in_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 3)), rng.standard_normal((N, 600))

    def report(*arguments: Any) -> None:
        y[5, 555] = np.nan  # the caller's own array, changed while it is used

    monkeypatch.setattr("voxridge.encoding.scan_targets", changed_after(report))
    with pytest.raises(ValueError, match=r"target 555 of the responses is not finite.*have changed since"):
        model().fit(x, y, runs=RUNS)


def changed_after(action: Callable[..., None]) -> Callable[..., Any]:
    from voxridge.streams import scan_targets

    def scanning(source: Any) -> Any:
        scan = scan_targets(source)
        action()
        return scan

    return scanning


@pytest.mark.parametrize("which", ["features", "responses"])
def test_a_read_error_in_the_reader_thread(
    which: str, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxridge.streams.sources import RunSource

    expected = model().fit(*files, runs=RUNS)
    read, calls = RunSource.read, []

    def failing(self: RunSource, *arguments: Any, **options: Any) -> Any:
        if self.name == which and threading.current_thread() is not threading.main_thread():
            calls.append(1)
            if len(calls) == 2:
                raise OSError(errno.EIO, "Input/output error")
        return read(self, *arguments, **options)

    monkeypatch.setattr(RunSource, "read", failing)
    options = {"checkpoint": tmp_path / "c", "weights": tmp_path / "w.h5"}
    with pytest.raises(OSError, match="Input/output error"):
        model(**options).fit(*files, runs=RUNS)
    assert len(calls) >= 2
    assert not readers()
    monkeypatch.setattr(RunSource, "read", read)
    assert_same(model(**options).fit(*files, runs=RUNS), expected)


# --- kill -9 and Ctrl-C

PREPARE = """
import dataclasses, json, os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from voxridge import EncodingRidge, _encoding_job
from voxridge.solvers import fits

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
make_plan, _encoding_job._WHOLE_SHARE = fits.make_plan, 0.0

def cut(*arguments, **given):
    plan = make_plan(*arguments, **given)
    small = {"n_targets_batch": 512, "folds_per_pass": 2, "rows_per_chunk": 50, "columns_per_chunk": 5}
    return dataclasses.replace(plan, alphas_per_pass=min(2, plan.alphas_per_pass), **small)

fits.make_plan = cut
if options.get("alpha_per_target") == "groups":
    options["alpha_per_target"] = np.arange(600) % 3
files = folder / "features.h5", folder / "responses.h5"
model = lambda: EncodingRidge(alphas=[1.0, 10.0, 100.0], delays=(0, 1), progress=False, **options)
"""

KILLS = (
    PREPARE
    + """
import random, shutil, warnings
warnings.simplefilter("ignore")
fsync, work = os.fsync, folder / "work"
os.fsync = lambda descriptor: None  # for power cuts; a killed process's writes are with the system

def die_at(call):
    counter = iter(range(10**6))
    def watched(name, plain):
        def wrapper(*arguments, **given):
            if next(counter) == call:
                if name == "pwrite":
                    plain(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], arguments[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **given)
        return wrapper
    for name in ("pwrite", "fsync", "replace", "unlink", "ftruncate"):
        setattr(os, name, watched(name, getattr(os, name)))
    return counter

def child(call=None, delay=None):
    "What became of a process that does the fit: how many calls it made, or None if it was killed."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            counter = die_at(-1 if call is None else call)
            if delay is not None:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            begin = time.monotonic()
            fit = model().set_params(checkpoint=work / "c", weights=work / "w.h5")
            fit.fit(*files, runs=[30, 40, 30])
            taken = time.monotonic() - begin
            arrays = fit.cv_scores_, fit.alpha_, fit.intercept_, fit.best_cv_scores_, fit.coef_
            np.savez(folder / "found.npz", next(counter), taken, *arrays)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    if os.WIFSIGNALED(status):
        return None
    with np.load(folder / "found.npz") as found:
        return [found[name] for name in found.files]

def fresh():
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()

fresh()
calls, taken, *expected = child()
deaths, chance = 0, random.Random(0)
kills = [{"call": int(call)} for call in np.linspace(0, calls - 1, 10).astype(int)]
kills += [{"delay": chance.uniform(0, float(taken))} for _ in range(5)]
for kill in kills:
    fresh()
    found = child(**kill)
    while found is None:
        deaths += 1
        found = child(delay=chance.uniform(0, float(taken))) if deaths % 3 == 0 else child()
    for array, other in zip(found[2:], expected):
        assert array.tobytes() == other.tobytes(), kill
print(int(calls), deaths)
"""
)


def run(code: str, folder: Path, options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(folder), json.dumps(options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "primal-spectral"},
        {"solver": "dual-leave-out"},
        {"solver": "dual-cholesky"},
        {"solver": "primal-cholesky", "alpha_per_target": "groups"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_killed_at_any_moment_and_started_again(options: dict[str, Any], tmp_path: Path) -> None:
    made(tmp_path)
    done = run(KILLS, tmp_path, options)
    assert done.returncode == 0, done.stderr
    calls, deaths = map(int, done.stdout.split())
    assert calls > 15
    assert deaths >= 10


INTERRUPTED = (
    PREPARE
    + """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
during, sent = options.pop("during"), []
model = model().set_params(checkpoint=folder / "c", weights=folder / "w.h5")

def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

def profile(frame, event, argument):
    "Ctrl-C while a call of the compiled module runs, once something is kept."
    if event == "c_call" and getattr(argument, "__name__", "") == during and not sent:
        if list((folder / "c").glob("pass-*")):
            threading.Timer(0.0, interrupt).start()

sys.setprofile(profile)
try:
    model.fit(*files, runs=[30, 40, 30])
except KeyboardInterrupt:
    sys.setprofile(None)
    late = time.monotonic() - sent[0]
    readers = [thread.name for thread in threading.enumerate() if "reader" in thread.name]
    kept = len(list((folder / "c").glob("pass-*")))
    model.fit(*files, runs=[30, 40, 30])
    expected = model.cv_scores_, model.alpha_, model.intercept_, model.coef_
    model.set_params(checkpoint=None, weights="memory").fit(*files, runs=[30, 40, 30])
    found = model.cv_scores_, model.alpha_, model.intercept_, model.coef_
    same = all(a.tobytes() == b.tobytes() for a, b in zip(found, expected))
    print(json.dumps([late, readers, kept, same]))
"""
)


@pytest.mark.parametrize(
    ("solver", "during"),
    [
        ("primal-spectral", "eigh"),
        ("dual-cholesky", "cholesky"),
        ("svd", "gemm"),
    ],
)
def test_an_interrupt_in_the_middle_of_blas(solver: str, during: str, tmp_path: Path) -> None:
    paths = made(tmp_path)
    before = [path.read_bytes() for path in paths]
    done = run(INTERRUPTED, tmp_path, {"solver": solver, "during": during})
    assert done.returncode == 0, done.stderr
    late, readers_left, kept, same = json.loads(done.stdout)
    assert late < 10
    assert readers_left == []
    assert kept >= 1
    assert same
    assert [path.read_bytes() for path in paths] == before

"""Runs are written block by block: whole stores, kills at any moment, other settings, bad blocks."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge.streams import FeatureStore, partial
from voxridge.streams.journal import append_h5
from voxridge.streams.run_writer import RowBlock, write_runs
from voxridge.streams.stores import ControlStore

HALF = np.dtype(np.float16)
WIDTHS = {"layer-00": 3, "layer-01": 5}


@dataclasses.dataclass
class Steps:
    """Rows that depend on the row in front of them, so that a wrong ``before`` shows."""

    n_rows: int
    step: int = 4
    dtype: Any = HALF
    widths: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(WIDTHS))
    fail_at: int | None = None
    error: BaseException | None = None
    change: Any = None
    asked: list[int] = dataclasses.field(default_factory=list)

    @property
    def times(self) -> np.ndarray:
        return np.arange(self.n_rows) * 0.5

    @property
    def words(self) -> list[str]:
        return [f"wörd-{i}" for i in range(self.n_rows)]

    def blocks(self, first_row: int, before: Mapping[str, np.ndarray] | None) -> Iterator[RowBlock]:
        assert first_row % self.step == 0
        assert (before is None) == (first_row == 0)
        self.asked.append(first_row)
        last = {name: np.ones(width, self.dtype) for name, width in self.widths.items()}
        last = dict(before) if before is not None else last
        for start in range(first_row, self.n_rows, self.step):
            if self.fail_at is not None and start >= self.fail_at:
                assert self.error is not None
                raise self.error
            stop = min(start + self.step, self.n_rows)
            layers = {}
            for name, width in self.widths.items():
                noise = np.random.default_rng(start).normal(size=(stop - start, width))
                layers[name] = (noise + 0.5 * last[name].astype(float)).astype(self.dtype)
                last[name] = layers[name][-1]
            side = {"surprisal": np.arange(start, stop) / 3}
            block = RowBlock(start, stop, layers, side, {"bits": start / 7, "n_scored": stop - start})
            yield block if self.change is None else self.change(block)


RUNS = {"zebra": 10, "alice": 7, "queen": 13}
ABOUT = {"model": "steps", "stimulus_sha256": {run: f"digest {run}" for run in RUNS}}


def write(path: Any, readers: Any = None, about: Any = None, **options: Any) -> FeatureStore:
    readers = {run: Steps(n) for run, n in RUNS.items()} if readers is None else readers
    return write_runs(path, readers, ABOUT if about is None else about, **{"progress": False, **options})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def alone(run: str) -> dict[str, np.ndarray]:
    blocks = list(Steps(RUNS[run]).blocks(0, None))
    return {name: np.concatenate([block.layers[name] for block in blocks]) for name in WIDTHS}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_comes_out(dtype: str, lazy: bool, tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    readers: dict[str, Any] = {run: Steps(n, dtype=kind) for run, n in RUNS.items()}
    if lazy:
        readers = {run: (lambda reader=reader: reader) for run, reader in readers.items()}
    store = write(tmp_path / "x.h5", readers)
    assert store.runs == list(RUNS)
    assert store.provenance == ABOUT
    assert store.layers == list(WIDTHS)
    for run, n_rows in RUNS.items():
        blocks = list(Steps(n_rows, dtype=kind).blocks(0, None))
        for name in WIDTHS:
            found = store.read(run, name)
            assert found.dtype == kind
            np.testing.assert_array_equal(found, np.concatenate([block.layers[name] for block in blocks]))
        np.testing.assert_array_equal(store.times(run), np.arange(n_rows) * 0.5)
        assert store.words(run) == [f"wörd-{i}" for i in range(n_rows)]
        np.testing.assert_array_equal(store.surprisal(run), np.arange(n_rows) / 3)
        bits = sum(block.totals["bits"] for block in blocks)
        assert store.attributes(run) == {"bits": bits, "n_scored": n_rows}
        assert store.perplexity(run) == 2 ** (bits / n_rows)
    assert names(tmp_path) == ["x.h5"]
    assert store.source("layer-01").runs == (10, 7, 13)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("the device is lost")])
def test_an_interrupt_keeps_all_whole_blocks(error: BaseException, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5").path.read_bytes()
    path = tmp_path / "x.h5"
    readers = {run: Steps(n) for run, n in RUNS.items()}
    readers["alice"] = Steps(7, fail_at=4, error=error)
    with pytest.raises(type(error)) as caught:
        write(path, readers)
    assert caught.value is error
    assert "4 of 7 rows of run 'alice' are kept" in "".join(caught.value.__notes__)
    assert FeatureStore.open(path).runs == ["zebra"]
    assert names(tmp_path) == ["whole.h5", "x.h5", "x.h5.features.partial"]
    again = {run: Steps(n) for run, n in RUNS.items()}
    write(path, again)
    assert [again[run].asked for run in RUNS] == [[], [4], [0]]
    assert path.read_bytes() == whole
    assert names(tmp_path) == ["whole.h5", "x.h5"]
    write(path, again)
    assert [again[run].asked for run in RUNS] == [[], [4], [0]]


# A process that writes a store, killed at each of its calls of the system in turn (a write when it is half
# done), or at any moment; forked, so that hundreds of deaths take seconds.
WORKER = """
import os, random, signal, sys, time, traceback
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_run_writer import Steps, write
from voxridge.streams import partial

partial._SYNC_SECONDS = 0.0
os.fsync = lambda descriptor: None  # what was written outlives the process; the disk is for power cuts

def die_at(call):
    counter = iter(range(10**6))
    def watched(name, plain):
        def wrapper(*arguments, **options):
            if next(counter) == call:
                if name in ("write", "pwrite"):
                    data = memoryview(arguments[1]).cast("B")
                    plain(arguments[0], data[: len(data) // 2], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **options)
        return wrapper
    for name in ("write", "pwrite", "replace", "ftruncate", "unlink"):
        setattr(os, name, watched(name, getattr(os, name)))

class Slow(Steps):
    pause = 0.0
    def blocks(self, first_row, before):
        for block in super().blocks(first_row, before):
            time.sleep(self.pause)
            yield block

def child(path, call=None, kill_after=None):
    "Whether a process that does the work came to its end."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            Slow.pause = 0.002 if kill_after else 0.0
            if call is not None:
                die_at(call)
            write(path, {run: Slow(n) for run, n in (("zebra", 4), ("queen", 7))})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return not os.WIFSIGNALED(status)

def content(path):
    parts = sorted(p for p in path.iterdir() if p.name[0] != ".") if path.is_dir() else [path]
    return [(part.name if path.is_dir() else "", part.read_bytes()) for part in parts]

folder, kind, how = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
slash = "/" if kind == "folder" else ""
whole = folder / "whole"
assert child(f"{whole}{slash}")
deaths = 0
# A block is an odd number of calls, so that every second call meets all of them.
for trial in range(0, 2000, 2) if how == "calls" else range(5):
    path = folder / f"x{trial}"
    if how == "calls":
        # Every third time the second call dies too, at another place.
        ended = child(f"{path}{slash}", call=trial)
        deaths += not ended
        if not ended and trial % 6 == 0:
            deaths += not child(f"{path}{slash}", call=trial * 7 % 31)
    else:
        ended, chance = False, random.Random(trial)
        for _ in range(12):
            ended = ended or child(f"{path}{slash}", kill_after=chance.uniform(0.001, 0.03))
            deaths += not ended
    assert child(f"{path}{slash}"), trial
    assert content(path) == content(whole), trial
    left = [p.name for p in folder.iterdir() if p.name.startswith(path.name)]
    assert left == [path.name], (trial, left)
    if how == "calls" and ended:
        break
print(trial, deaths)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("how", "kind"), [("calls", "file"), ("moments", "file"), ("moments", "folder")])
def test_killed_at_any_moment_and_continued(how: str, kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(tmp_path), kind, how]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    trials, deaths = map(int, done.stdout.split())
    assert deaths > (trials / 2 if how == "calls" else 5)
    assert how == "moments" or trials > 30


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    broken = {"zebra": Steps(10), "alice": Steps(7, fail_at=4, error=MemoryError())}
    with pytest.raises(MemoryError):
        write(path, broken)
    kept = (path.read_bytes(), partial.partial_path(path, "features").read_bytes())
    good = {"zebra": Steps(10), "alice": Steps(7)}
    with pytest.raises(ValueError, match=r'x\.h5 was made in another way .*model was "steps", now "jumps"'):
        write(path, good, ABOUT | {"model": "jumps"})
    said = (
        r"x\.h5\.features\.partial \(4 of 7 rows of run 'alice'\) was made .*n_rows was 7, now 8; times was"
    )
    with pytest.raises(ValueError, match=said):
        write(path, good | {"alice": Steps(8)})
    with pytest.raises(ValueError, match=r'dtype was "<f2", now "<f4"'):
        write(path, {"alice": Steps(7, dtype=np.dtype("f4"))})
    with pytest.raises(ValueError, match=r"holds 4 of 7 rows of run 'alice', which is not among the runs"):
        write(path, {"queen": Steps(13)})
    assert (path.read_bytes(), partial.partial_path(path, "features").read_bytes()) == kept
    path.unlink()
    with pytest.raises(ValueError, match=r'partial \(4 of 7 rows .*model was "steps", now "jumps"'):
        write(path, good, ABOUT | {"model": "jumps"})
    store = write(path, good, ABOUT | {"model": "jumps"}, overwrite=True)
    assert (store.runs, store.provenance["model"]) == (["zebra", "alice"], "jumps")
    assert good["alice"].asked == [0]
    assert names(tmp_path) == ["x.h5"]


def test_the_unfinished_run_outlives_a_lost_store(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5").path.read_bytes()
    path = tmp_path / "x.h5"
    with pytest.raises(MemoryError):
        write(path, {"zebra": Steps(10, fail_at=8, error=MemoryError())})
    path.unlink()
    readers = {run: Steps(n) for run, n in RUNS.items()}
    write(path, readers)
    assert readers["zebra"].asked == [8]
    assert path.read_bytes() == whole


def test_the_unfinished_run_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(MemoryError):
        write(path, {"alice": Steps(7, fail_at=4, error=MemoryError())})
    readers = {"zebra": Steps(10), "alice": Steps(7)}
    assert write(path, readers).runs == ["alice", "zebra"]
    assert readers["alice"].asked == [4]


def _with(**changes: Any) -> Any:
    return lambda block: dataclasses.replace(block, **changes)


def _layers(change: Any) -> Any:
    return lambda block: dataclasses.replace(block, layers=change(dict(block.layers)))


def _bad(value: float) -> Any:
    def change(block: RowBlock) -> RowBlock:
        if block.start == 4:
            block.layers["layer-01"][1, 2] = value
        return block

    return change


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_bad(np.nan), r"run 'a': layer 'layer-01' has NaN or infinity in row 5 \(word 'wörd-5'\)"),
        (_bad(-np.inf), r"run 'a': layer 'layer-01' has NaN or infinity in row 5"),
        (_with(start=4, stop=8), r"run 'a': rows 4 to 8 do not follow the 0 of 10 rows"),
        (_with(stop=0), r"run 'a': rows 0 to 0 do not follow"),
        (_with(stop=12), r"run 'a': rows 0 to 12 do not follow the 0 of 10"),
        (
            _layers(lambda x: {"layer-00": x["layer-00"]}),
            r"have the layers \['layer-00'\], not \['layer-00', 'la",
        ),
        (
            _layers(lambda x: x | {"layer-00": x["layer-01"]}),
            r"'layer-00' of rows 0 to 4 is float.* of shape \(4, 5\), not .*3",
        ),
        (_layers(lambda x: {k: v.astype("f8") for k, v in x.items()}), r"is float64 of shape .*, not float"),
        (_with(side={"surprisal": np.ones(3)}), r"run 'a': surprisal of rows 0 to 4 has shape \(3,\)"),
        (_with(side={"words": np.ones(4)}), "is a name that the store uses itself"),
        (_with(side={"layer-00": np.ones(4)}), "is a name that the store uses itself"),
        (
            lambda b: dataclasses.replace(b, side={} if b.start else b.side),
            r"rows 4 to 8 come with \{\}, the",
        ),
    ],
)
def test_bad_blocks(change: Any, message: str, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(ValueError, match=message):
        write(path, {"a": Steps(10, change=change, dtype=np.dtype(dtype))})
    assert FeatureStore.open(path).runs == []
    good = {"a": Steps(10, dtype=np.dtype(dtype))}
    assert write(path, good).runs == ["a"]
    assert good["a"].asked in ([0], [4])
    assert names(tmp_path) == ["x.h5"]


def test_a_layer_of_zeros(tmp_path: Path) -> None:
    def change(block: RowBlock) -> RowBlock:
        block.layers["layer-01"][:] = -0.0
        return block

    path = tmp_path / "x.h5"
    with pytest.raises(ValueError, match="run 'a': layer-01 all zeros"):
        write(path, {"a": Steps(10, change=change)})
    assert names(tmp_path) == ["x.h5"]
    once = {"a": Steps(10, change=lambda block: change(block) if block.start else block)}
    assert write(path, once).runs == ["a"]
    controls = write(path, {"a": Steps(10, change=change)}, kind=ControlStore)
    assert not controls.read("a", "layer-01").any()


def test_bad_readers(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(ValueError, match="holds no run"):
        write(path, {})
    with pytest.raises(ValueError, match="'a/b' cannot be a name"):
        write(path, {"a/b": Steps(3)})
    with pytest.raises(TypeError, match="only what JSON can"):
        write(path, about={"x": object()})
    for place in (tmp_path / "no" / "x.h5", f"{tmp_path}/no/folder/"):
        with pytest.raises(FileNotFoundError, match=r"the folder .*no does not exist; create it"):
            write(place)
    assert names(tmp_path) == []
    for reader, message in [
        (Steps(0), "run 'a' has no rows"),
        (Steps(3, widths={}), "has no layers"),
        (Steps(3, widths={"words": 2}), "uses itself"),
        (Steps(3, dtype=np.dtype("i4")), "has dtype int32"),
    ]:
        with pytest.raises(ValueError, match=message):
            write(path, {"a": reader})
    short = Steps(10)
    short.blocks = lambda *_: iter(list(Steps(10).blocks(0, None))[:2])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="run 'a': the blocks ended after 8 of 10 rows"):
        write(path, {"a": short})
    partial.partial_path(path, "features").unlink()
    with pytest.raises(ValueError, match=r"run 'b' has the layers .*\{'layer-00': 2\}, but run 'a'"):
        write(path, {"a": Steps(3), "b": Steps(3, widths={"layer-00": 2})})


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    first = Steps(10)

    def refused(block: RowBlock) -> RowBlock:
        if block.start == 4:
            with pytest.raises(BlockingIOError, match=r"x\.h5 is being written by another program"):
                write(path, {"a": Steps(10)})
            # Controls have an unfinished run of their own.
            write(path, {"a": Steps(6)}, kind=ControlStore)
        return block

    first.change = refused
    write(path, {"a": first})
    assert FeatureStore.open(path).runs == ControlStore.open(path).runs == ["a"]


def test_the_move_waits_for_another_group(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    FeatureStore.create(path, ABOUT)
    inside, seen = threading.Event(), threading.Event()

    def hold() -> None:
        with append_h5(path) as file:
            file["controls"].attrs["note"] = "slow"
            inside.set()
            seen.wait(0.5)

    other = threading.Thread(target=hold)
    other.start()
    assert inside.wait(10)
    store = write(path, {"a": Steps(3)})
    other.join()
    assert store.runs == ["a"]
    with h5py.File(path) as file:
        assert file["controls"].attrs["note"] == "slow"


def test_a_full_disk_keeps_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    whole = write(tmp_path / "whole.h5", {"a": Steps(10)}).path.read_bytes()
    plain, room = os.write, [1000]

    def full(descriptor: int, data: Any) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = plain(descriptor, memoryview(data)[: room[0]])
        room[0] -= done
        return done

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(
            OSError, match=r"no space left while writing .*x\.h5\.features\.partial"
        ) as caught:
            write(path, {"a": Steps(10)})
    assert caught.value.errno == errno.ENOSPC
    again = Steps(10)
    write(path, {"a": again})
    assert again.asked[0] > 0
    assert path.read_bytes() == whole


def test_controls_beside_features(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    control = {"phoneme-rate": 1}
    write(path, {"a": Steps(6, widths=control)}, {"language": "en"}, kind=ControlStore)
    assert FeatureStore.open(path).runs == []
    write(path)
    controls, features = ControlStore.open(path), FeatureStore.open(path)
    assert (controls.layers, controls.runs, controls.provenance) == (
        ["phoneme-rate"],
        ["a"],
        {"language": "en"},
    )
    assert (features.layers, features.runs, features.provenance) == (list(WIDTHS), list(RUNS), ABOUT)
    assert controls.source("phoneme-rate").shape == (6, 1)
    with pytest.raises(ValueError, match='language was "en", now "de"'):
        write(path, {"a": Steps(6, widths=control)}, {"language": "de"}, kind=ControlStore)
    write(path, {"a": Steps(5, widths=control)}, {"language": "de"}, kind=ControlStore, overwrite=True)
    assert ControlStore.open(path).read("a", "phoneme-rate").shape == (5, 1)
    assert FeatureStore.open(path).runs == list(RUNS)
    with pytest.raises(FileExistsError, match="holds controls"):
        ControlStore.create(path)


def test_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readers: dict[str, Any] = {run: (lambda n=n: Steps(n)) for run, n in RUNS.items()}
    write(tmp_path / "x.h5", readers, progress=True, unit="frame", label="hubert")
    error = capsys.readouterr().err
    assert "hubert" in error
    assert "30/30" in error
    assert "<00:00" in error
    write(tmp_path / "x.h5", readers, progress=True)
    assert "30/30" in capsys.readouterr().err
    write(tmp_path / "y.h5", readers)
    assert capsys.readouterr().err == ""


def test_memory_holds_a_block_and_not_a_run(tmp_path: Path) -> None:
    readers = {"a": Steps(2000, step=50, widths={f"layer-{i:02d}": 128 for i in range(20)})}
    tracemalloc.start()
    try:
        store = write(tmp_path / "x.h5", readers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block, run = 20 * 50 * 128 * 2, 20 * 2000 * 128 * 2
    assert (tmp_path / "x.h5").stat().st_size > run
    assert peak < 10 * block < run / 3
    assert store.source("layer-19").shape == (2000, 128)

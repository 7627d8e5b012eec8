"""A response store from files: the same numbers, repeats kept, resumed after a kill, never half a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxridge._warnings import ResponseWarning
from voxridge.responses import Cleaning, build_response_store
from voxridge.streams import ResponseStore

pytest.importorskip("nilearn")

Save = Callable[..., tuple[Path, np.ndarray]]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Four runs of three regions."""
    rng = np.random.default_rng(0)
    paths = {}
    for index, run in enumerate(("alice", "queen", "rabbit", "hatter")):
        paths[run] = tmp_path / f"{run}.npy"
        np.save(paths[run], rng.standard_normal((20 + index, 3)).astype("float32"))
    return paths


def test_runs_keep_their_numbers_order_and_origin(
    save_volume: Save, mask: np.ndarray, tmp_path: Path
) -> None:
    one, first = save_volume("one.nii.gz", 11, seed=1)
    two, second = save_volume("two.nii", 13, dtype="int16", seed=2)
    store = build_response_store({"two": two, "one": one}, tmp_path / "s.h5", mask=mask, progress=False)
    assert (store.runs, store.tr("one")) == (["two", "one"], 2.0)
    np.testing.assert_array_equal(store.read("one"), first[mask].T.astype("float32"))
    np.testing.assert_array_equal(store.read("two"), second[mask].T.astype("float32"))
    assert store.source().shape == (24, mask.sum())
    (state,) = json.loads(store.attributes("one")["files"])
    wanted = subprocess.run(["sha256sum", one], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (state["name"], state["bytes"], state["sha256"]) == ("one.nii.gz", one.stat().st_size, wanted)
    assert json.loads(store.attributes("one")["versions"])["numpy"] == np.__version__


def test_trimmed_and_cleaned_rows(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    path, whole = save_volume("one.nii.gz", 60)
    rows = whole[mask].T
    plain = build_response_store({"a": path}, tmp_path / "t.h5", mask=mask, trim=(3, 2), progress=False)
    np.testing.assert_array_equal(plain.read("a"), rows[3:-2].astype("float32"))
    drift = np.random.default_rng(5).standard_normal((60, 2)).cumsum(axis=0)
    np.savetxt(tmp_path / "drift.txt", drift)
    cleaned = build_response_store(
        {"a": path},
        tmp_path / "c.h5",
        mask=mask,
        clean=Cleaning(),
        confounds={"a": tmp_path / "drift.txt"},
        trim=(3, 2),
        progress=False,
    )
    wanted = Cleaning().apply(rows.astype("float32"), tr=2.0, confounds=drift, trim=(3, 2))
    np.testing.assert_array_equal(cleaned.read("a"), wanted)


def test_repeats_stand_beside_their_mean(save_volume: Save, mask: np.ndarray, tmp_path: Path) -> None:
    several = [save_volume(f"smoke-{k}.nii.gz", 10, seed=k) for k in range(3)]
    alone, _ = save_volume("alone.nii.gz", 12, seed=9)
    sources = {"smoke": [path for path, _ in several], "alone": alone}
    store = build_response_store(sources, tmp_path / "s.h5", mask=mask, progress=False)
    single = [data[mask].T.astype("float32") for _, data in several]
    np.testing.assert_array_equal(np.stack([one.read() for one in store.repeats("smoke")]), np.stack(single))
    np.testing.assert_array_equal(
        store.read("smoke"), np.mean(np.stack(single).astype(float), axis=0).astype("f4")
    )
    assert store.repeats("alone") == []
    assert (store.attributes("smoke")["n_repeats"], store.attributes("alone")["n_repeats"]) == (3, 0)
    assert store.source().runs == (10, 12)


def test_hemispheres_as_a_pair_and_several_presentations_of_them(save_surface: Save, tmp_path: Path) -> None:
    pairs, wanted = [], []
    for index in range(2):
        sides = [save_surface(f"{index}_hemi-{s}.func.gii", seed=2 * index + k) for k, s in enumerate("LR")]
        pairs.append(tuple(path for path, _ in sides))
        wanted.append(np.concatenate([data for _, data in sides], axis=1))
    wall = np.arange(20) % 5 > 0
    store = build_response_store({"a": pairs[0], "b": pairs}, tmp_path / "s.h5", mask=wall, progress=False)
    np.testing.assert_array_equal(store.read("a"), wanted[0][:, wall])
    np.testing.assert_array_equal([one.read() for one in store.repeats("b")], np.stack(wanted)[:, :, wall])
    assert (store.geometry.kind, store.geometry.shape, store.tr("a")) == ("surface", (10, 10), 2.0)


def test_a_story_file_with_its_repeats(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    each = rng.standard_normal((4, 30, 5))
    with h5py.File(tmp_path / "smoke.hf5", "w") as file:
        file["data"] = each.mean(axis=0) + 0.5
        file["individual_repeats"] = each
    store = build_response_store(
        {"smoke": tmp_path / "smoke.hf5"}, tmp_path / "s.h5", tr=2.0, trim=(2, 0), progress=False
    )
    np.testing.assert_array_equal(store.read("smoke"), (each.mean(axis=0) + 0.5)[2:])
    np.testing.assert_array_equal(np.stack([one.read() for one in store.repeats("smoke")]), each[:, 2:])
    cleaning = Cleaning(strategy=())
    cleaned = build_response_store(
        {"smoke": tmp_path / "smoke.hf5"}, tmp_path / "c.h5", tr=2.0, clean=cleaning, progress=False
    )
    wanted = np.stack([cleaning.apply(one, tr=2.0) for one in each])
    np.testing.assert_allclose(np.stack([one.read() for one in cleaned.repeats("smoke")]), wanted, atol=1e-12)
    np.testing.assert_allclose(cleaned.read("smoke"), wanted.mean(axis=0), atol=1e-12)


def test_useless_columns_are_counted_and_kept(tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((10, 5))
    data[2, 1], data[4, 3], data[:, 4] = np.nan, np.inf, 3.0
    np.save(tmp_path / "a.npy", data)
    store = build_response_store({"a": tmp_path / "a.npy"}, tmp_path / "s.h5", tr=2.0, progress=False)
    np.testing.assert_array_equal(store.read("a"), data)
    notes = store.attributes("a")
    assert (notes["n_nonfinite"], notes["n_constant"]) == (2, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "every value is zero"), (np.nan, "every column has NaN"), (4.0, "no column varies")],
)
def test_a_run_without_a_recording_is_refused_by_name(
    tables: dict[str, Path], tmp_path: Path, value: float, words: str
) -> None:
    np.save(tmp_path / "s33.npy", np.full((20, 3), value))
    sources = {"alice": tables["alice"], "s33": tmp_path / "s33.npy", "queen": tables["queen"]}
    with pytest.raises(ValueError, match=rf"run 's33' \(.*s33\.npy\): {words}.*leave it out"):
        build_response_store(sources, tmp_path / "s.h5", progress=False)
    assert ResponseStore.open(tmp_path / "s.h5").runs == ["alice"]
    del sources["s33"]
    assert build_response_store(sources, tmp_path / "s.h5", progress=False).runs == ["alice", "queen"]
    repeats = {"alice": [tables["alice"], tmp_path / "s33.npy"]}
    with pytest.raises(ValueError, match=rf"presentation 1 of run 'alice' \(.*s33\.npy\): {words}"):
        build_response_store(repeats, tmp_path / "r.h5", progress=False)


def test_runs_of_another_space_are_refused_before_anything_is_written(
    save_volume: Save, save_cifti: Save, mask: np.ndarray, tmp_path: Path
) -> None:
    one, _ = save_volume("one.nii.gz")
    bigger = np.zeros((6, 6, 4, 5)) + np.arange(5)
    other, _ = save_volume("other.nii.gz", data=bigger)
    with pytest.raises(
        ValueError, match=r"shape \(5, 6, 4\), but .*other\.nii\.gz has volumes of \(6, 6, 4\)"
    ):
        build_response_store({"a": one, "b": other}, tmp_path / "s.h5", mask=mask, progress=False)
    first, _ = save_cifti("a.dtseries.nii")
    fewer, _ = save_cifti("b.dtseries.nii", drop=1)
    with pytest.raises(ValueError, match=r"run 'b' .* does not lie where run 'a' does: "):
        build_response_store({"a": first, "b": fewer}, tmp_path / "s.h5", progress=False)
    long, _ = save_volume("long.nii.gz", 14)
    with pytest.raises(ValueError, match="presentations of run 'a' differ in shape"):
        build_response_store({"a": [one, long]}, tmp_path / "s.h5", mask=mask, progress=False)
    assert not (tmp_path / "s.h5").exists()


def test_another_call_goes_on_only_where_all_is_the_same(
    save_volume: Save, mask: np.ndarray, tmp_path: Path
) -> None:
    one, _ = save_volume("one.nii.gz")
    two, _ = save_volume("two.nii.gz", seed=1)
    path = tmp_path / "s.h5"
    build_response_store({"one": one}, path, mask=mask, progress=False)
    before = ResponseStore.open(path).read("one")
    store = build_response_store({"one": one, "two": two}, path, mask=mask, progress=False)
    assert store.runs == ["one", "two"]
    with pytest.raises(ValueError, match="trim was"):
        build_response_store({"one": one}, path, mask=mask, trim=(1, 0), progress=False)
    with pytest.raises(ValueError, match=r"other voxels .*n_columns"):
        build_response_store({"one": one}, path, mask=~mask, progress=False)
    os.utime(one)  # the same contents, copied again
    build_response_store({"one": one}, path, mask=mask, progress=False)
    save_volume("one.nii.gz", seed=7)
    with pytest.raises(ValueError, match=r"run 'one' .* came from other contents of one\.nii\.gz"):
        build_response_store({"one": one}, path, mask=mask, progress=False)
    again = build_response_store({"one": one}, path, mask=mask, overwrite=True, progress=False)
    assert again.runs == ["one"]
    assert np.abs(again.read("one") - before).max() > 1


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_a_run_the_next_call_writes_the_rest(tables: dict[str, Path], tmp_path: Path) -> None:
    """The process dies by SIGKILL while the third run is half-written."""
    listed = {run: str(path) for run, path in tables.items()}
    script = textwrap.dedent(f"""
        import os, signal
        from voxridge.responses import build_response_store, store
        pieces = store.CountedPieces.pieces
        def dying(self):
            for rows, values in pieces(self):
                yield rows, values
                if self.shape[0] == 22:
                    os.kill(os.getpid(), signal.SIGKILL)
        store.CountedPieces.pieces = dying
        build_response_store({listed!r}, {str(tmp_path / "killed.h5")!r}, tr=2.0, progress=False)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ResponseStore.open(tmp_path / "killed.h5").runs == ["alice", "queen"]
    resumed = build_response_store(tables, tmp_path / "killed.h5", tr=2.0, progress=False)
    assert resumed.runs == list(tables)
    whole = build_response_store(tables, tmp_path / "whole.h5", tr=2.0, progress=False)
    for run in tables:
        np.testing.assert_array_equal(resumed.read(run), whole.read(run))
        assert resumed.attributes(run) == whole.attributes(run)


def test_interrupted_by_ctrl_c(
    tables: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxridge.responses import store as module

    pieces = module.CountedPieces.pieces

    def stopped(self: module.CountedPieces):  # type: ignore[no-untyped-def]
        yield from pieces(self)
        if self.shape[0] == 21:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.CountedPieces, "pieces", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_response_store(tables, tmp_path / "s.h5", tr=2.0, progress=False)
    monkeypatch.undo()
    assert ResponseStore.open(tmp_path / "s.h5").runs == ["alice"]
    assert sorted(p.name for p in tmp_path.glob("s.h5*")) == ["s.h5"]
    assert build_response_store(tables, tmp_path / "s.h5", tr=2.0, progress=False).runs == list(tables)


def test_one_mask_is_made_for_all_runs(save_volume: Save, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = {}
    for index, run in enumerate("abc"):
        brain = np.zeros((18, 20, 16, 4))
        brain[3 + index : 15, 4:17, 3:13] = 1000
        paths[run], _ = save_volume(f"{run}.nii.gz", data=brain + rng.standard_normal(brain.shape))
    store = build_response_store(paths, tmp_path / "s.h5", mask="compute", progress=False)
    from voxridge.responses.volumes import compute_mask

    assert store.geometry == compute_mask(list(paths.values()))


def test_a_file_that_says_another_tr_is_pointed_out(
    save_volume: Save, mask: np.ndarray, tmp_path: Path
) -> None:
    path, _ = save_volume(tr=1.0)
    with pytest.warns(ResponseWarning, match=r"run 'a': tr is 2 s, but the file says 1 s"):
        store = build_response_store({"a": path}, tmp_path / "s.h5", mask=mask, tr=2.0, progress=False)
    assert store.tr("a") == 2.0
    near, _ = save_volume("near.nii", tr=2.0)
    store = build_response_store({"a": near}, tmp_path / "n.h5", mask=mask, tr=2.0045, progress=False)
    assert store.tr("a") == 2.0045


def test_arguments_that_make_no_sense(tables: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for words, sources, settings in (
        ("sources holds no run", {}, {}),
        ("empty list of presentations", {"a": []}, {}),
        ("cannot be a name", {"a/b": tables["alice"]}, {}),
        ("above 0", tables, {"tr": 0.0}),
        ("two numbers of rows", tables, {"trim": (1, -1)}),
        (r"trim=\(12, 10\) leaves none", tables, {"trim": (12, 10)}),
        ("clean is None", tables, {"confounds": {"alice": np.zeros((20, 1))}}),
        ("which sources has not", tables, {"confounds": {"bob": np.zeros((20, 1))}, "clean": Cleaning()}),
        ("no repetition time", tables, {"clean": Cleaning()}),
    ):
        with pytest.raises(ValueError, match=words):
            build_response_store(sources, path, progress=False, **settings)
    both = build_response_store(tables, tmp_path / "both.h5", progress=False)
    with pytest.raises(ValueError, match=r"a store of the runs \['alice', 'queen'"):
        build_response_store({"a": both.path}, path, progress=False)
    with pytest.raises(TypeError, match="no file of responses"):
        build_response_store({"a": 3}, path, progress=False)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        build_response_store({"a": tmp_path / "nothing.npy"}, path, progress=False)
    assert not path.exists()

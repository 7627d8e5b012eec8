"""Many feature sets against one matrix of responses: the same bits as one by one, and the responses read
once."""

from __future__ import annotations

import dataclasses
import doctest
import gc
import json
import shutil
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from voxridge import EncodingRidge, _many_groups, fit_many, many, nested, plan_many
from voxridge._many_groups import chunks
from voxridge._warnings import AlphaEdgeWarning, FallbackWarning, MaskedTargetsWarning
from voxridge.solvers import fits, memory
from voxridge.streams import as_source

pytestmark = pytest.mark.filterwarnings("ignore::voxridge._warnings.AlphaEdgeWarning")

RUNS = [40, 50, 60]
N, V = sum(RUNS), 1100  # three panels of targets
ALPHAS = np.logspace(0, 4, 5)
WIDTHS = {"small": 4, "wide": 90, "middle": 20}
ROUTES = ["auto", "primal-spectral", "dual-spectral", "leave-out", "dual-cholesky", "primal-cholesky", "svd"]
FITTED = ("alpha_", "cv_scores_", "best_cv_scores_", "intercept_", "coef_")


@pytest.fixture(scope="module")
def data() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    layers = {name: rng.standard_normal((N, width)) for name, width in WIDTHS.items()}
    responses = layers["middle"] @ rng.standard_normal((20, V)) + 5 * rng.standard_normal((N, V))
    return layers, responses


def template(**options: Any) -> EncodingRidge:
    return EncodingRidge(**{"alphas": ALPHAS, "delays": (0, 2), "progress": False, **options})


def assert_same(fitted: EncodingRidge, alone: EncodingRidge) -> None:
    for name in FITTED:
        np.testing.assert_array_equal(getattr(fitted, name), getattr(alone, name), err_msg=name)


class Counting:
    """A source that counts how often each target is read."""

    def __init__(self, array: np.ndarray, runs: list[int], in_memory: bool = True) -> None:
        self._source = as_source(array, name="responses", runs=runs)
        self.shape, self.dtype, self.runs = self._source.shape, self._source.dtype, self._source.runs
        self.run_names, self.in_memory = self._source.run_names, in_memory
        self.rows_read = np.zeros(array.shape[1], dtype=int)

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        block = self._source.read(rows, columns)
        self.rows_read[columns] += block.shape[0]
        return block


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles and passes, however small the problem; the same for one design and for several."""
    make_plan = fits.make_plan

    def cut(*arguments: Any, **options: Any) -> Any:
        plan = make_plan(*arguments, **options)
        alphas = min(2, plan.alphas_per_pass)
        return dataclasses.replace(plan, n_targets_batch=512, folds_per_pass=2, alphas_per_pass=alphas)

    monkeypatch.setattr(fits, "make_plan", cut)


@pytest.mark.parametrize(
    ("solver", "alpha_per_target"),
    [*((route, True) for route in ROUTES), ("dual-spectral", False), ("primal-cholesky", False)],
)
def test_the_same_bits_as_one_by_one(
    solver: str, alpha_per_target: bool, data: tuple[dict, np.ndarray], small_tiles: None
) -> None:
    layers, responses = data
    model = template(solver=solver, alpha_per_target=alpha_per_target)
    fitted = fit_many(layers, responses, RUNS, model=model)
    assert list(fitted) == list(layers)
    for name, features in layers.items():
        alone = template(solver=solver, alpha_per_target=alpha_per_target).fit(features, responses, RUNS)
        assert fitted[name].plan_.route == alone.plan_.route
        assert_same(fitted[name], alone)
        np.testing.assert_array_equal(fitted[name].predict(features, RUNS), alone.predict(features, RUNS))
    assert not hasattr(model, "alpha_")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("module", [many, nested])
def test_the_examples_run_without_a_warning(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 5
    assert found.failed == 0


def test_a_sequence_gives_a_list(data: tuple[dict, np.ndarray]) -> None:
    layers, responses = data
    fitted = fit_many(list(layers.values()), responses, RUNS, model=template())
    assert [model.n_features_in_ for model in fitted] == list(WIDTHS.values())


def test_weighted_samples(data: tuple[dict, np.ndarray]) -> None:
    layers, responses = data
    weight = np.random.default_rng(1).uniform(0.5, 2, N)
    fitted = fit_many(layers, responses, RUNS, model=template(), sample_weight=weight)
    assert_same(fitted["middle"], template().fit(layers["middle"], responses, RUNS, sample_weight=weight))


@pytest.mark.parametrize("in_memory", [True, False])
def test_responses_are_read_once_for_the_scan_and_once_a_pass(
    in_memory: bool, data: tuple[dict, np.ndarray]
) -> None:
    layers, responses = data
    one_pass = template(solver="leave-out", alphas=[10.0])
    source = Counting(responses, RUNS, in_memory)
    fit_many(layers, source, model=one_pass)
    extra = 0 if in_memory else 2 * N  # what tells a source of another make from others: its contents
    assert set(source.rows_read - extra) == {2 * N}
    plan = plan_many(layers, responses, RUNS, model=one_pass)
    assert plan.n_reads == 2
    assert "3 models in 1 groups; the responses are read 2 times" in str(plan)


def test_groups_read_as_often_as_the_plan_says(
    data: tuple[dict, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, responses = data
    expected = fit_many(layers, responses, RUNS, model=template())
    monkeypatch.setattr(many, "plan_groups", lambda sets, job: _many_groups._cut(sets, 2, job))
    plan = plan_many(layers, responses, RUNS, model=template())
    assert [len(group.sets) for group in plan.groups] == [1, 2]
    source = Counting(responses, RUNS)
    fitted = fit_many(layers, source, model=template())
    assert set(source.rows_read) == {plan.n_reads * N}
    assert plan.n_reads == 3
    for name in layers:
        assert_same(fitted[name], expected[name])
        assert "of 2" in fitted[name].plan_.reason


def test_a_small_limit_makes_groups_and_a_smaller_one_is_an_error(
    data: tuple[dict, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    layers = {f"layer-{i}": rng.standard_normal((400, 300)) for i in range(6)}
    responses = rng.standard_normal((400, 40))
    resident = memory.resident_memory()
    for module in (_many_groups, many, fits):
        monkeypatch.setattr(module, "resident_memory", lambda: resident)
    model = template(solver="primal-leave-out", delays=(0,), cv=4, weights="none")
    plans = []
    for megabytes in range(150, 0, -6):
        limit = resident + megabytes * 2**20
        try:
            plans.append(plan_many(layers, responses, model=model.set_params(memory_limit=limit)))
        except MemoryError:
            break
        assert plans[-1].peak_bytes <= limit
    least = plans[-1]
    assert len(plans[0].groups) == 1
    assert len(least.groups) > 1
    assert least.n_reads > len(least.groups)
    with pytest.raises(
        MemoryError, match=r"^'layer-0': memory_limit=.* is too small: the fit needs at least"
    ):
        fit_many(layers, responses, model=model)


MEASURED = """
import sys, numpy as np
from voxridge import EncodingRidge, fit_many, plan_many
from voxridge.solvers.memory import peak_memory, resident_memory
folder, solver = sys.argv[1:]
models = {f"{i}": f"{folder}/x{i}.npy" for i in range(4)}
limit = resident_memory() + 198 * 2**20
model = EncodingRidge([1e2, 1e3, 1e4], (0, 1), memory_limit=limit, weights="none", solver=solver)
given = models, f"{folder}/y.npy", [300] * 5
groups = len(plan_many(*given, model=model.set_params(progress=False)).groups)
fit_many(*given, model=model)
print(groups, (limit - peak_memory()) // 2**20)
"""


@pytest.mark.parametrize("solver", ["dual-leave-out", "dual-spectral"])
def test_the_process_stays_within_its_limit(solver: str, tmp_path: Path) -> None:
    """Four sets, whose factors do not fit together."""
    rng = np.random.default_rng(0)
    for name, width in {**{f"x{i}": 1000 for i in range(4)}, "y": 600}.items():
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((1500, width), dtype=np.float32))
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(tmp_path), solver]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    groups, spare = map(int, done.stdout.split())
    assert groups > 1
    assert spare >= 0


def test_a_group_that_turns_out_too_large_is_halved(
    data: tuple[dict, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, responses = data
    expected = fit_many(layers, responses, RUNS, model=template())
    fit_designs, sizes = many.fit_designs, []

    def short_of_memory(designs: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(designs))
        if len(designs) > 1:
            raise MemoryError
        return fit_designs(designs, *arguments, **options)

    monkeypatch.setattr(many, "fit_designs", short_of_memory)
    fitted = fit_many(layers, responses, RUNS, model=template())
    assert sizes == [3, 2, 1, 1, 1]
    for name in layers:
        assert_same(fitted[name], expected[name])


def test_memory_is_shared_in_proportion(data: tuple[dict, np.ndarray]) -> None:
    """One wide set among many small ones does not count as many wide ones."""
    rng = np.random.default_rng(0)
    layers = {f"s{i}": rng.standard_normal((N, 2)) for i in range(20)} | {"w": rng.standard_normal((N, 600))}
    plan = plan_many(layers, data[1], RUNS, model=template(solver="primal-leave-out"))
    alone = plan_many({"w": layers["w"]}, data[1], RUNS, model=template(solver="primal-leave-out"))
    assert plan.plans["w"].factor_bytes <= 3 * alone.plans["w"].factor_bytes
    assert len({p.n_targets_batch for p in plan.plans.values()}) == 1


def test_each_precision_has_its_own_groups(data: tuple[dict, np.ndarray]) -> None:
    layers, responses = data
    mixed = {**layers, "single": layers["middle"].astype(np.float32)}
    fitted = fit_many(mixed, responses.astype(np.float32), RUNS, model=template())
    assert fitted["single"].coef_.dtype == np.float32
    assert fitted["middle"].coef_.dtype == np.float64
    alone = template().fit(mixed["single"], responses.astype(np.float32), RUNS)
    assert_same(fitted["single"], alone)


def test_chunks_are_even(data: tuple[dict, np.ndarray]) -> None:
    sets, _ = many._feature_sets([np.zeros((N, 2))] * 10, data[1], RUNS, template())
    assert [len(chunk) for chunk in chunks(sets, 4)] == [3, 3, 4]
    assert [len(chunk) for chunk in chunks(sets, 10)] == [10]


# --- features in files


@pytest.fixture
def stored(data: tuple[dict, np.ndarray], tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name, features in data[0].items():
        paths[name] = tmp_path / f"{name}.h5"
        with h5py.File(paths[name], "w") as file:
            file["data"] = features
    return paths


@pytest.mark.parametrize("whole", [True, False])
def test_features_in_files_do_not_stay_in_memory(
    whole: bool, data: tuple[dict, np.ndarray], stored: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, responses = data
    if not whole:
        monkeypatch.setattr("voxridge._encoding_job._WHOLE_SHARE", 0.0)
    fitted = fit_many(stored, responses, RUNS, model=template(solver="dual-leave-out"))
    for name, features in layers.items():
        alone = template(solver="dual-leave-out").fit(features, responses, RUNS)
        np.testing.assert_allclose(fitted[name].cv_scores_, alone.cv_scores_, atol=1e-12)
        np.testing.assert_allclose(
            fitted[name].predict(features, RUNS), alone.predict(features, RUNS), atol=1e-9
        )
        assert not hasattr(fitted[name]._weights.train, "features")


@pytest.mark.parametrize("solver", ["dual-leave-out", "primal-leave-out"])
def test_features_of_a_group_go_before_those_of_the_next_come(
    solver: str, data: tuple[dict, np.ndarray], stored: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, made = many._in_memory, []

    def reading(each: Any) -> Any:
        gc.collect()
        assert [reference for reference in made if reference() is not None] == []
        design = read(each)
        made.append(weakref.ref(design))
        return design

    monkeypatch.setattr(many, "_in_memory", reading)
    monkeypatch.setattr(many, "plan_groups", lambda sets, job: _many_groups._cut(sets, 1, job))
    fit_many(stored, data[1], RUNS, model=template(solver=solver))
    assert len(made) == 3


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_weights_in_a_file_for_each_model(suffix: str, data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    layers, responses = data
    pattern = str(tmp_path / f"weights of {{name}}{suffix}")
    fitted = fit_many(layers, responses, RUNS, model=template(weights=pattern))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"weights of {n}{suffix}" for n in layers
    )
    expected = fit_many(layers, responses, RUNS, model=template())
    for name in layers:
        assert_same(fitted[name], expected[name])
        assert fitted[name].weights == pattern.replace("{name}", name)


def test_without_weights(data: tuple[dict, np.ndarray]) -> None:
    fitted = fit_many(*data, RUNS, model=template(weights="none"))
    with pytest.raises(ValueError, match="has no coefficients"):
        _ = fitted["small"].coef_


# --- one that cannot be trusted


@pytest.mark.parametrize("checkpoint", [False, True])
def test_only_the_one_that_cannot_be_trusted_falls_back(
    checkpoint: bool, data: tuple[dict, np.ndarray], tmp_path: Path
) -> None:
    layers, responses = dict(data[0]), data[1]
    steep = np.random.default_rng(5).standard_normal((N, 20)) @ np.diag(np.logspace(0, -9, 20))
    layers["steep"] = steep
    del layers["wide"]  # interpolates its own folds at so small a penalty
    options: dict[str, Any] = {"solver": "primal-leave-out", "delays": (0,), "alphas": [1e-20, 1.0]}
    if checkpoint:
        options["checkpoint"] = tmp_path / "c"
    with pytest.warns(FallbackWarning, match="model 'steep': route primal-leave-out cannot be trusted"):
        fitted = fit_many(layers, responses, RUNS, model=template(**options))
    assert {name: model.plan_.route for name, model in fitted.items()} == {
        **dict.fromkeys(layers, "primal-leave-out"),
        "steep": "svd",
    }
    options.pop("checkpoint", None)
    for name in ("small", "middle"):
        assert_same(fitted[name], template(**options).fit(layers[name], responses, RUNS))
    assert_same(fitted["steep"], template(**{**options, "solver": "svd"}).fit(steep, responses, RUNS))
    if checkpoint:  # the records hold zeros for it, which a second run must not believe
        with pytest.warns(FallbackWarning, match="model 'steep'"):
            again = fit_many(layers, responses, RUNS, model=template(**options, checkpoint=tmp_path / "c"))
        for name in layers:
            assert_same(again[name], fitted[name])


def test_all_of_them_fall_back(data: tuple[dict, np.ndarray]) -> None:
    rng = np.random.default_rng(5)
    layers = [rng.standard_normal((N, 20)) @ np.diag(np.logspace(0, -9, 20)) for _ in range(2)]
    with pytest.warns(FallbackWarning) as caught:
        fitted = fit_many(
            layers, data[1], RUNS, model=template(solver="primal-leave-out", delays=(0,), alphas=[1e-20, 1])
        )
    assert [model.plan_.route for model in fitted] == ["svd", "svd"]
    told = [str(w.message)[:9] for w in caught if w.category is FallbackWarning]
    assert told == ["model '0'", "model '1'"]


# --- checkpoints


def test_goes_on_from_a_checkpoint(
    data: tuple[dict, np.ndarray], tmp_path: Path, small_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, responses = data
    cut = many.plan_groups
    monkeypatch.setattr(many, "plan_groups", lambda sets, job: _many_groups._cut(sets, 2, job))
    model = template(checkpoint=tmp_path / "c", solver="spectral")
    expected = fit_many(layers, responses, RUNS, model=template(solver="spectral"))
    done = fit_many(layers, responses, RUNS, model=model)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "group-0000-1",
        "group-0001-2",
        "models.json",
    ]
    for name in layers:
        assert_same(done[name], expected[name])
    shutil.rmtree(tmp_path / "c" / "group-0001-2")
    records = sorted((tmp_path / "c" / "group-0000-1").glob("pass-*"))
    records[-1].unlink()
    monkeypatch.setattr(many, "plan_groups", cut)  # the groups that were begun with count
    again = fit_many(layers, responses, RUNS, model=model)
    assert (tmp_path / "c" / "group-0001-2").is_dir()
    for name in layers:
        assert_same(again[name], expected[name])


def test_a_checkpoint_of_others_is_refused(data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    layers, responses = data
    model = template(checkpoint=tmp_path / "c")
    fit_many({"small": layers["small"]}, responses, RUNS, model=model)
    with pytest.raises(ValueError, match=r"is of other models: \[\['small'\]\], not \['middle'\]"):
        fit_many({"middle": layers["middle"]}, responses, RUNS, model=model)
    with pytest.raises(ValueError, match="is of another fit: features differ"):
        fit_many({"small": layers["small"] + 1}, responses, RUNS, model=model)
    (tmp_path / "c" / "models.json").write_text("{")
    with pytest.raises(ValueError, match=r"models.json is damaged .*; delete the folder to begin anew"):
        fit_many({"small": layers["small"]}, responses, RUNS, model=model)
    (tmp_path / "c" / "models.json").unlink()
    with pytest.raises(ValueError, match=r"holds files but no models.json"):
        fit_many({"small": layers["small"]}, responses, RUNS, model=model)


# --- warnings and bad input


def test_warnings_name_the_model_and_masked_targets_are_told_once(data: tuple[dict, np.ndarray]) -> None:
    layers, responses = data[0], data[1].copy()
    responses[:, 3] = 1.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit_many(layers, responses, RUNS, model=template(alphas=[1e3, 1e4]))
    assert sum(w.category is MaskedTargetsWarning for w in caught) == 1
    edges = [str(w.message) for w in caught if w.category is AlphaEdgeWarning]
    assert [message.partition(":")[0] for message in edges] == [f"model {name!r}" for name in layers]
    assert all(np.isnan(model.alpha_[3]) and not model.valid_targets_[3] for model in fitted.values())


def test_what_is_wrong_with_the_models(data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    layers, responses = data
    with pytest.raises(ValueError, match="models is empty; give at least one feature set"):
        fit_many({}, responses)
    with pytest.raises(TypeError, match="models is a ndarray; give a mapping or a sequence of feature sets"):
        fit_many(layers["small"], responses)
    with pytest.raises(ValueError, match="names that are the same as text"):
        fit_many({1: layers["small"], "1": layers["small"]}, responses)
    with pytest.raises(ValueError, match="model 'short': features and responses differ in their runs"):
        fit_many({"small": layers["small"], "short": layers["small"][:-1]}, responses)
    broken = layers["small"].copy()
    broken[42, 1] = np.nan
    with pytest.raises(ValueError, match="features of model 'hole' has nan at run 'run 1', row 2"):
        fit_many({"small": layers["small"], "hole": broken}, responses, RUNS)
    with pytest.raises(ValueError, match=r"fit_many writes one file per model; put \{name\} where"):
        fit_many(layers, responses, RUNS, model=template(weights=tmp_path / "w.h5"))
    with pytest.raises(ValueError, match=r"the names \['a/b'\] cannot be part of a file's name"):
        fit_many({"a/b": layers["small"]}, responses, RUNS, model=template(weights=tmp_path / "{name}.h5"))


def test_one_that_knows_the_runs_tells_the_others(data: tuple[dict, np.ndarray]) -> None:
    layers, responses = data
    in_runs = np.split(layers["wide"], np.cumsum(RUNS)[:-1])
    fitted = fit_many({"small": layers["small"], "wide": in_runs}, responses, model=template())
    assert_same(fitted["small"], template().fit(layers["small"], responses, RUNS))
    assert_same(fitted["wide"], template().fit(layers["wide"], responses, RUNS))


def test_models_are_noted_as_json(data: tuple[dict, np.ndarray], tmp_path: Path) -> None:
    fit_many(*data, RUNS, model=template(checkpoint=tmp_path / "c"))
    assert json.loads((tmp_path / "c" / "models.json").read_text()) == {"groups": [list(WIDTHS)]}

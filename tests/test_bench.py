"""The benchmarks: everybody solves the same problem, and results say how sure they are."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from voxridge.testing import delayed_matrix, textbook_scores

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import kernels, run, tables  # noqa: E402
from bench.adapters import ADAPTERS, Result, get_adapter  # noqa: E402
from bench.machine import describe  # noqa: E402
from bench.problems import KERNEL_SHAPES, Problem, delayed, make_features, make_problem  # noqa: E402
from bench.process import fit_in_fresh_process  # noqa: E402
from bench.shapes import LEAVE_ONE_OUT, RACES, SHAPES, Shape  # noqa: E402
from bench.summary import summarise  # noqa: E402
from bench.worker import measure, outcome  # noqa: E402

_NEED_HIMALAYA = [name for name in ADAPTERS if name.startswith("himalaya")]
_PEERS = ["sklearn", *(name for name in _NEED_HIMALAYA if not name.endswith("unchecked"))]


def _need(name: str) -> None:
    if name in _NEED_HIMALAYA and not ADAPTERS[name].available():
        pytest.skip(f"{name}: himalaya, its backend or a GPU is not there")


@pytest.fixture(
    scope="module",
    params=[
        ("tiny", "correlation"),
        ("tiny", "r2"),
        ("tiny-wide", "correlation"),
        ("tiny-delays", "correlation"),
    ],
    ids="-".join,
)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(*request.param)


def _as_asked(name: str, problem: Problem) -> Problem:
    return problem if get_adapter(name).takes_delays else problem.materialised()


def _run(name: str, problem: Problem) -> Result:
    return get_adapter(name).run(_as_asked(name, problem))


def _in_process(problem: Problem) -> run.MeasureOne:
    def measure_one(name: str) -> tuple[tables.Row, dict[str, object]]:
        asked = _as_asked(name, problem)
        row, result = measure(get_adapter(name), asked, asked)
        return {"status": "ok", **row}, outcome(asked, result)

    return measure_one


def test_the_problem_is_worth_solving(problem: Problem) -> None:
    result = get_adapter("voxridge").run(problem)
    assert np.unique(result.alpha).size >= 3
    assert problem.x.dtype == problem.y.dtype == np.float32
    assert problem.checksum() == make_problem(problem.name, problem.scoring).checksum()


def test_voxridge_scores_are_the_textbook_s(problem: Problem) -> None:
    result = get_adapter("voxridge").run(problem)
    scores = textbook_scores(
        problem.materialised().x, problem.y, problem.alphas, problem.folds, problem.scoring
    )
    np.testing.assert_allclose(result.cv_score, scores.max(axis=0), atol=2e-6)


@pytest.mark.parametrize("name", _PEERS)
def test_peers_solve_the_same_problem(name: str, problem: Problem) -> None:
    _need(name)
    before = problem.checksum()
    reference, result = get_adapter("voxridge").run(problem), _run(name, problem)
    agreed = tables.agreement(outcome(problem, reference), outcome(_as_asked(name, problem), result))
    assert agreed["same_alpha"] > 0.95
    assert agreed["max_score_lost"] < 2e-6  # where penalties differ, float32 cannot tell them apart
    assert agreed["max_score_difference"] < 2e-5  # float32, and himalaya's kernel in float32 too
    assert agreed["prediction_correlation"] > 1 - 1e-5
    # Intercepts count here. himalaya decomposes a float32 kernel, squaring the condition of the features.
    assert agreed["max_prediction_difference"] < (5e-4 if result.coefficients == "primal" else 3e-2)
    assert problem.checksum() == before


def test_a_race_writes_its_results(tmp_path: Path, problem: Problem) -> None:
    names = run.choose(["sklearn"], problem.name)
    assert names == ["voxridge", "sklearn", "null"]
    rows, outcomes = run.race(names, 2, _in_process(problem))
    assert [row["competitor"] for row in rows] == [*names, *names[::-1]]
    summary = summarise(rows, outcomes)
    run.write_results(tmp_path / "tiny", rows, summary, {"rounds": 2})

    written = {row["competitor"]: row for row in tables.read_csv(tmp_path / "tiny" / "summary.csv")}
    assert list(written) == names
    assert float(written["sklearn"]["same_alpha"]) == 1
    assert written["null"]["verdict"] == "harness"
    assert float(written["null"]["seconds"]) < float(written["sklearn"]["seconds"])
    assert written["null"]["same_alpha"] == ""
    with (tmp_path / "tiny" / "rounds.csv").open(newline="") as file:
        rounds = list(csv.DictReader(file))
    # In this process, other tests' memory may be given back between the two readings.
    assert all(float(row["peak_mib"]) + 1 >= float(row["baseline_mib"]) > 0 for row in rounds)
    machine = json.loads((tmp_path / "tiny" / "machine.json").read_text())
    assert machine["settings"] == {"rounds": 2}
    assert {"cpu", "cores_usable", "versions", "blas", "git_commit"} <= set(machine)
    assert not list(tmp_path.glob("**/.*"))  # no temporary file left


def test_fresh_processes_race_from_the_command_line(tmp_path: Path) -> None:
    arguments = [
        "--problem",
        "tiny",
        "--rounds",
        "1",
        "--peers",
        "",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert run.main(arguments) == 0
    rows = {row["competitor"]: row for row in tables.read_csv(tmp_path / "tiny-correlation" / "rounds.csv")}
    assert set(rows) == {"voxridge", "null"}
    assert rows["voxridge"]["checksum"] == rows["null"]["checksum"]


def test_a_competitor_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    well = _in_process(problem)
    asked = []

    def measure_one(name: str) -> tuple[tables.Row, dict[str, object]]:
        asked.append(name)
        return ({"status": "failed: MemoryError"}, {}) if name == "sklearn" else well(name)

    rows, outcomes = run.race(["voxridge", "sklearn"], 3, measure_one)
    assert asked.count("sklearn") == 1
    assert summarise(rows, outcomes)[1] == {"competitor": "sklearn", "verdict": "failed: MemoryError"}


def test_different_data_is_no_race(problem: Problem) -> None:
    well = _in_process(problem)

    def measure_one(name: str) -> tuple[tables.Row, dict[str, object]]:
        row, found = well(name)
        return {**row, "checksum": name}, found

    with pytest.raises(RuntimeError, match="same data"):
        run.race(["voxridge", "null"], 1, measure_one)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([2.0, 3.0, 2.5], "faster"),
        ([0.5, 0.9], "slower"),
        ([0.9, 1.1, 5.0], "resolved nothing"),
        ([1.0, 2.0], "resolved nothing"),
        ([9.0], "resolved nothing"),
    ],
)
def test_verdicts(ratios: list[float], said: str) -> None:
    assert tables.verdict(ratios) == said


def test_agreement_counts_differences() -> None:
    grid, scores = np.array([1.0, 10.0]), np.array([0.2, 0.3])
    prediction = np.array([[0.0, 1.0], [1.0, 3.0]])
    reference = {"alpha": grid, "alphas": grid, "cv_score": scores, "prediction": prediction}
    rounded = {
        "alpha": np.float32([1.0, 9.99]),
        "cv_score": scores - np.array([0, 0.05]),
        "prediction": prediction + 1,
    }
    agreed = tables.agreement(reference, rounded)
    assert agreed["same_alpha"] == agreed["max_prediction_difference"] == 1
    assert math.isclose(agreed["max_score_difference"], 0.05)
    assert math.isclose(agreed["prediction_correlation"], 1)
    assert tables.agreement(reference, {**rounded, "alpha": np.array([1.0, 1.0])})["same_alpha"] == 0.5


def test_rounds_alternate() -> None:
    assert tables.interleaved(["a", "b"], 3) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_results_name_no_place() -> None:
    text = json.dumps(describe())
    assert str(ROOT) not in text
    assert sys.prefix not in text


def test_unknown_names_are_listed() -> None:
    with pytest.raises(ValueError, match="tiny"):
        make_problem("huge")
    with pytest.raises(ValueError, match="himalaya-kernel-numpy"):
        get_adapter("himlaya")
    with pytest.raises(SystemExit):
        run.parse(["--problem", "tiny", "--peers", "himlaya"])


def test_the_table_of_races() -> None:
    sizes = {
        name: (s.n_samples, s.n_columns, s.n_targets, s.n_alphas, len(s.folds())) for name, s in RACES.items()
    }
    assert sizes == {
        "himalaya": (3000, 1000, 30_000, 20, 3),
        "gpt2": (9000, 3072, 5000, 20, 5),
        "square": (4000, 4096, 10_000, 20, 5),
        "wide": (2000, 8192, 20_000, 20, 5),
        "lpp13b": (2636, 5120, 25_870, 16, 9),
        "fine": (3000, 1000, 10_000, 100, 5),
    }


@pytest.mark.parametrize("name", [*RACES, *LEAVE_ONE_OUT, "tiny-delays"])
def test_folds_are_whole_runs_and_cover_all(name: str) -> None:
    shape = SHAPES[name]
    assert sum(shape.runs) == shape.n_samples
    starts = {0, *np.cumsum(shape.runs)}
    scored = [test for _, test in shape.folds()]
    assert all({test[0], test[-1] + 1} <= starts for test in scored)
    assert all(np.intersect1d(train, test).size == 0 for train, test in shape.folds())
    if shape.leaves_one_out:
        assert scored == []
    else:
        np.testing.assert_array_equal(np.concatenate(scored), np.arange(shape.n_samples))


def test_delays_are_the_same_numbers_for_everybody() -> None:
    problem = make_problem("tiny-delays")
    design = problem.materialised()
    assert design.x.shape == (160, 36)
    assert design.delays == (0,)
    np.testing.assert_array_equal(
        design.x, delayed_matrix(problem.x, problem.delays, problem.runs).astype(np.float32)
    )
    assert design.checksum() == problem.checksum() != make_problem("tiny").checksum()
    a, b = get_adapter("voxridge").run(problem), get_adapter("voxridge").run(design)
    np.testing.assert_array_equal(a.alpha, b.alpha)
    assert b.predict is not None
    np.testing.assert_allclose(
        _run("sklearn", problem).predict(design.x_new), b.predict(design.x_new), atol=2e-5
    )  # type: ignore[misc]


def test_one_left_out() -> None:
    problem = make_problem("tiny-loo")
    ours, theirs = get_adapter("voxridge").run(problem), get_adapter("sklearn").run(problem)
    agreed = tables.agreement(outcome(problem, ours), outcome(problem, theirs))
    assert agreed["same_alpha"] == 1
    assert agreed["max_score_difference"] < 1e-5  # squared errors of responses of variance 1
    assert np.unique(ours.alpha).size >= 3
    assert run.parse(["--problem", "tiny-loo"]).peers == ["sklearn"]


def test_who_cannot_be_asked_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert not get_adapter("sklearn").refusal(SHAPES["himalaya"])
    assert "hours" in get_adapter("sklearn").refusal(SHAPES["lpp13b"])
    assert "60 folds" in get_adapter("himalaya-kernel-numpy").refusal(SHAPES["tiny-loo"])
    huge = Shape(300_000, 1000, 50_000, n_alphas=20, n_folds=5)
    assert "GiB" in get_adapter("himalaya-kernel-numpy").refusal(huge)
    pytest.importorskip("himalaya")
    assert run.choose(["himalaya-ridge-numpy"], "tiny-loo") == ["voxridge", "null"]
    assert "LEFT OUT: himalaya-ridge-numpy on tiny-loo: it has no" in capsys.readouterr().out


def test_a_fit_past_its_limit_is_stopped() -> None:
    row, found = fit_in_fresh_process("sklearn", "tiny", limit_seconds=1e-3, threads=1)
    assert (row["status"], found) == ("stopped after 0 s", {})


def test_data_does_not_depend_on_threads() -> None:
    shape = SHAPES["tiny"].with_sizes(n_samples=900, n_features=300, n_targets=600)
    rows = [fit_in_fresh_process("null", shape, threads=threads)[0] for threads in (1, 2)]
    assert rows[0]["checksum"] == rows[1]["checksum"]


def test_a_shape_of_one_s_own_in_a_fresh_process() -> None:
    shape = SHAPES["tiny-delays"].with_sizes(n_targets=7)
    row, found = fit_in_fresh_process("voxridge", shape, threads=1)
    assert row["status"] == "ok"
    assert found["cv_scores"].shape == (9, 7)


@pytest.mark.parametrize("side", ["primal", "dual"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grams_and_their_peer_agree(side: kernels.Side, dtype: type) -> None:
    row = kernels.compare("tiny", side, dtype, 2)
    limit = 2e-6 if dtype is np.float32 else 1e-13
    assert row["voxridge_error"] < limit
    assert row["peer_error"] < limit


def test_the_peer_s_delayed_matrix() -> None:
    shape = KERNEL_SHAPES["tiny"]
    features = make_features(shape, np.float64)
    built = delayed(features, shape.delays, shape.runs, np.float64)
    np.testing.assert_array_equal(built, delayed_matrix(features, shape.delays, shape.runs))


def test_kernel_results_are_written(tmp_path: Path) -> None:
    assert (
        kernels.main(["--shapes", "tiny", "--dtypes", "float32", "--rounds", "2", "--out", str(tmp_path)])
        == 0
    )
    assert [row["side"] for row in tables.read_csv(tmp_path / "kernels" / "summary.csv")] == [
        "primal",
        "dual",
    ]
    assert json.loads((tmp_path / "kernels" / "machine.json").read_text())["settings"]["rounds"] == 2


def test_blas_table_is_written(tmp_path: Path) -> None:
    from bench import blas_choice

    assert blas_choice.main(["--n", "16", "--rounds", "1", "--out", str(tmp_path)]) == 0
    rows = tables.read_csv(tmp_path / "blas" / "summary.csv")
    assert [row["call"] for row in rows[::2]] == list(blas_choice.CALLS)
    assert all(float(row[library]) > 0 for row in rows for library in ("scipy", "numpy"))

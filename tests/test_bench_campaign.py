"""Campaigns: they go on where they were stopped, and say of every target whether it was met."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.testing import textbook_scores

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import campaign, races, tables, truth  # noqa: E402
from bench.adapters import get_adapter  # noqa: E402
from bench.campaign_log import Log  # noqa: E402
from bench.problems import make_problem  # noqa: E402
from bench.races_plot import plot  # noqa: E402
from bench.shapes import RACES  # noqa: E402
from bench.worker import measure, outcome  # noqa: E402

_FIELDS = {
    "peak_mib": 3.0,
    "increment_mib": 1.0,
    "baseline_mib": 2.0,
    "checksum": 1,
    "coefficients": "primal",
}


Asked = list[tuple[str, str, float, float]]


def _invented(seconds: dict[str, float], asked: Asked) -> campaign.Fit:
    """Fits that take what they are told, at a part of the size in proportion, and stop at the limit."""

    def fit(name: str, shape: str, scale: float, limit: float) -> tuple[tables.Row, dict[str, object]]:
        asked.append((shape, name, scale, limit))
        taken = seconds[name] * scale**3
        if taken > limit:
            return {"status": f"stopped after {limit:.0f} s"}, {}
        row = {"status": "ok", "seconds": taken, "n_alphas_chosen": 2, "mean_cv_score": 0.1}
        alpha = np.full(2, np.nan) if name == "null" else np.array([1.0, 10.0])
        found = {"alpha": alpha, "cv_score": np.array([0.1, 0.2])}
        found |= {"alphas": np.array([1.0, 10.0]), "prediction": np.array([[0.0, 1.0], [2.0, 5.0]])}
        return {**row, **_FIELDS}, found

    return fit


_SECONDS = {
    "voxridge": 1.0,
    "himalaya-ridge-numpy": 30.0,
    "himalaya-ridge-torch": 20.0,
    "himalaya-kernel-numpy": 15.0,
    "himalaya-kernel-torch": 16.0,
    "null": 0.1,
    "sklearn": 6.0,
}


def _campaign(folder: Path, asked: Asked, seconds: float = 1e6, **options: Any) -> campaign.Campaign:
    return campaign.Campaign(Log(folder), _invented(_SECONDS, asked), seconds, **options)


def test_the_fastest_peer_is_found_and_raced(tmp_path: Path) -> None:
    pytest.importorskip("himalaya")
    pytest.importorskip("torch")
    asked: Asked = []
    work = _campaign(tmp_path, asked)
    assert campaign.measure(work, ["square", "sklearn"], 3)
    assert [name for _, name, scale, _ in asked[:2]] == ["himalaya-kernel-numpy", "himalaya-kernel-torch"]
    assert {scale for _, _, scale, _ in asked[:4]} == {0.5}
    assert [limit for *_, limit in asked[2:4]] == [1.25 * 15 / 8] * 2  # more is not worth waiting for
    full = [(shape, name) for shape, name, scale, _ in asked if scale == 1]
    names = ["voxridge", "himalaya-kernel-numpy", "null"]
    assert full[:4] == [("square", name) for name in [*names, "himalaya-kernel-torch"]]  # which came close
    assert full[4:7] == [("sklearn", name) for name in ("voxridge", "sklearn", "null")]
    assert full[7:10] == [("square", name) for name in names[::-1]]
    assert full[10:13] == [("sklearn", name) for name in ("null", "sklearn", "voxridge")]
    assert len(full) == 7 + 6 + 6
    rows = {row["competitor"]: row for row in races.shape_rows(work.log, "square", with_truth=False)}
    assert rows["himalaya-kernel-numpy"]["fastest"] == "yes"
    assert rows["himalaya-kernel-numpy"]["time_ratio"] == 15
    assert "stopped" in rows["himalaya-kernel-torch"]["verdict"]
    assert "himalaya-ridge-numpy" not in rows  # half the size is another problem


def test_a_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    asked: Asked = []
    assert not campaign.measure(_campaign(tmp_path, asked, seconds=10), ["sklearn"], 3)  # no time to begin
    assert asked == []

    _campaign(tmp_path, asked).race("sklearn", 0)
    with (tmp_path / "fits.jsonl").open("a") as file:
        file.write(json.dumps({"shape": "sklearn", "round": 1, "competitor": "null", "status": "failed: x"}))
        file.write('\n{"shape": "sklearn", "round": 1, "compe')  # killed while writing
    assert campaign.measure(_campaign(tmp_path, asked), ["sklearn"], 3)
    assert len(asked) == 9
    assert campaign.measure(_campaign(tmp_path, asked), ["sklearn"], 3)
    assert len(asked) == 9  # nothing twice
    log = Log(tmp_path)
    assert len(log.rows) == 9
    log.drop(lambda row: row["competitor"] == "voxridge")
    assert len(Log(tmp_path).rows) == 6


def test_what_would_end_too_late_is_not_begun(tmp_path: Path) -> None:
    pytest.importorskip("himalaya")
    pytest.importorskip("torch")
    asked: Asked = []
    work = _campaign(tmp_path, asked, seconds=25)  # the kernel solver takes 15, starting it as many
    assert not campaign.measure(work, ["square"], 1)
    assert [name for _, name, scale, _ in asked if scale == 1] == ["voxridge"]


def test_half_the_size() -> None:
    half = RACES["lpp13b"].scaled(0.5)
    assert (half.n_samples, half.n_features, half.n_targets, len(half.runs)) == (1318, 2560, 12_935, 9)
    assert RACES["gpt2"].scaled(0.5).n_columns == 4 * 384


_ASKED = {
    "tiny-delays": ["voxridge", "himalaya-ridge-numpy", "sklearn", "null"],
    "tiny-loo": ["voxridge", "sklearn"],
}


def test_a_report_of_tiny_races(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("himalaya")
    log = Log(tmp_path / "log")
    for number in range(2):
        for shape, names in _ASKED.items():
            for name in names:
                adapter, problem = get_adapter(name), make_problem(shape)
                problem = problem if adapter.takes_delays else problem.materialised()
                row, result = measure(adapter, problem, problem)
                place = {"shape": shape, "round": number, "competitor": name, "solver": f"v{number}"}
                log.add(place | {"status": "ok"} | row, outcome(problem, result))
    options = [
        "--shapes",
        "tiny-delays,tiny-loo",
        "--report",
        "--log",
        str(log.folder),
        "--out",
        str(tmp_path),
    ]
    assert campaign.main(options) == 0
    rows = {(row["shape"], row["competitor"]): row for row in tables.read_csv(tmp_path / "races.csv")}
    for shape in ("tiny-delays", "tiny-loo"):
        ours, theirs = rows[shape, "voxridge"], rows[shape, _ASKED[shape][1]]
        assert (theirs["fastest"], theirs["rounds"], theirs["right_alpha"]) == ("yes", "2", "1")
        assert float(ours["score_error"]) < 2e-6
        assert float(ours["score_lost"]) == 0
        assert float(theirs["time_ratio"]) > 0
    printed = capsys.readouterr().out
    assert "tiny-loo: " in printed
    assert "| tiny-delays | 160 x 36 x 40 | 9, 3 |" in printed
    assert "| tiny-loo | 60 x 80 x 30 | 9, one left out |" in printed
    assert "target 5" in printed
    assert "several versions (v0, v1)" in printed
    assert (tmp_path / "races.png").stat().st_size > 0
    assert len(tables.read_csv(tmp_path / "races" / "rounds.csv")) == 12
    assert "tiny-loo" in (tmp_path / "races" / "machine.json").read_text()


def test_other_peers_are_asked_once_and_are_no_rivals(tmp_path: Path) -> None:
    pytest.importorskip("himalaya")
    asked: Asked = []
    fit = _invented({**_SECONDS, "sklearn": 2.0}, asked)
    work = campaign.Campaign(Log(tmp_path), fit, 1e6, most_seconds=600, also=["sklearn", "huth"])
    assert campaign.measure(work, ["tiny"], 2)
    assert [limit for _, name, _, limit in asked if name == "sklearn"] == [600]
    assert "himalaya" in work.peers("tiny", 1)[0]
    left_out = work.log.find("tiny", campaign.SCOUTING, "huth")
    assert left_out is not None
    assert left_out["status"] == "left out: is not there"
    lines = races.targets(races.shape_rows(work.log, "tiny", with_truth=False))
    assert lines[-1].startswith(
        "NOTE    tiny: sklearn took 2 (2 to 2) times voxridge's time, less than himalaya"
    )


def test_threads_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"shape": "tiny", "round": 0, "competitor": "null", "status": "ok", "threads": 2}
    Log(tmp_path).add(row, {})
    options = ["--shapes", "tiny", "--threads", "1", "--log", str(tmp_path), "--out", str(tmp_path)]
    assert campaign.main(options) == 2
    assert "this log was begun with {2}" in capsys.readouterr().out


def test_a_report_without_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, found = _invented(_SECONDS, [])("voxridge", "fine", 1, 9)
    Log(tmp_path).add({"shape": "fine", "round": 0, "competitor": "voxridge", **row}, found)
    options = ["--shapes", "fine", "--report", "--no-truth", "--log", str(tmp_path), "--out", str(tmp_path)]
    assert campaign.main(options) == 0
    assert "no peer has come to an end yet" in capsys.readouterr().out
    assert len(tables.read_csv(tmp_path / "races.csv")) == 1


def test_nothing_to_report(tmp_path: Path) -> None:
    assert campaign.main(["--report", "--log", str(tmp_path), "--out", str(tmp_path)]) == 1
    with pytest.raises(SystemExit):
        campaign.parse(["--shapes", "round"])


def _rows(ratio: float, memory: float, alike: float, difference: float) -> list[tables.Row]:
    kept = {"competitor": "peer", "fastest": "yes", "time_ratio_min": ratio - 1, "time_ratio_max": ratio + 1}
    kept |= {"same_alpha": alike, "max_score_difference": difference, "max_score_lost": 1e-8}
    return [{"shape": shape, "time_ratio": ratio, "peak_ratio": memory, **kept} for shape in RACES]


def test_targets_are_met_or_missed(tmp_path: Path) -> None:
    met = races.targets(_rows(12.5, 3.1, 0.9995, 5e-5))
    assert [line.split()[0] for line in met] == ["MET"] * 5
    assert "12.50 times (11.50 to 13.50)" in met[0]
    missed = races.targets(_rows(2.5, 2.9, 0.99, 5e-4)[:5])
    assert [line.split()[0] for line in missed] == ["MISSED"] * 5 + ["NOT"]
    assert missed[-1] == "NOT MEASURED: fine"
    judged = _rows(12.5, 3.1, 0.9995, 5e-4)
    judged = [row | {"score_error": 6e-4, "score_lost": 2e-6} for row in judged]
    judged += [
        {"shape": shape, "competitor": "voxridge", "score_error": 3e-7, "score_lost": 0.0} for shape in RACES
    ]
    lines = races.targets(judged)
    assert lines[-2].startswith("MISSED  scores differ by 5.0e-04")
    assert lines[-1].startswith(
        "MET     voxridge's scores are within 3.0e-07 of those in float64 (himalaya), the peers'"
    )
    assert lines[-1].endswith(
        "within 6.0e-04 (himalaya); its penalties lose at most 0.0e+00, theirs 2.0e-06; target 1e-04"
    )
    uneven = _rows(30, 4, 1, 0)
    uneven[2] |= {"time_ratio": 2.9, "time_ratio_min": 2.8, "time_ratio_max": 3.1}
    assert races.targets(uneven)[1].startswith("MISSED  slowest 2.9 (2.8 to 3.1) times (square")
    pytest.importorskip("matplotlib")
    plot(uneven, tmp_path / "races.png")
    assert (tmp_path / "races.png").stat().st_size > 0


@pytest.mark.parametrize("name", ["tiny", "tiny-wide"])
def test_the_truth_is_the_textbook_s(name: str) -> None:
    problem = make_problem(name)
    chosen = np.array([0, 7, 39])
    expected = textbook_scores(problem.x, problem.y[:, chosen], problem.alphas, problem.folds, "correlation")
    np.testing.assert_allclose(truth.true_scores(problem, chosen), expected, atol=1e-10)


def test_the_truth_where_one_is_left_out() -> None:
    problem, chosen = make_problem("tiny-loo"), np.array([1, 5])
    n = problem.y.shape[0]
    folds = [(np.delete(np.arange(n), i), np.array([i])) for i in range(n)]
    from voxridge.testing import textbook_ridge

    expected = np.zeros((problem.alphas.size, 2))
    for train, test in folds:
        for row, alpha in zip(expected, problem.alphas, strict=True):
            coef, intercept = textbook_ridge(problem.x[train], problem.y[train][:, chosen], alpha)
            row -= ((problem.y[test][:, chosen] - problem.x[test] @ coef - intercept) ** 2)[0] / n
    np.testing.assert_allclose(truth.true_scores(problem, chosen), expected, atol=1e-9)


def test_disputed_targets_are_looked_at() -> None:
    ours, theirs = np.ones(1000), np.ones(1000)
    theirs[100:900] = 2.0
    chosen = truth.some_targets([ours, theirs], 1000, count=20)
    assert (theirs[chosen] == 2).sum() >= 10
    assert {0, 999} <= set(chosen.tolist())
    grid, scores = np.array([1.0, 2.0]), np.array([[0.3, 0.3], [0.2, 0.4]])
    judged = truth.judge(scores, np.array([0, 1]), grid, np.array([1.0, 1.0]), np.array([0.3, 0.35]))
    assert judged["right_alpha"] == 0.5
    assert judged["score_lost"] == pytest.approx(0.1)
    assert judged["score_error"] == pytest.approx(0.05)

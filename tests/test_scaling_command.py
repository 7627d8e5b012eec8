"""``voxridge scaling``: from a table to numbers that are right, tables, figures and a page."""

from __future__ import annotations

import argparse
import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("matplotlib")

from voxridge._scaling_analysis import analyse, fit_rows
from voxridge._scaling_command import add_scaling, asked_options
from voxridge.science.model_table import known_models
from voxridge.science.score_table import read_score_table

MODELS = [model for model in known_models() if model.perplexity > 0]
LOG = np.log10([model.parameters for model in MODELS])


def parsed(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_scaling(parser.add_subparsers())
    return parser.parse_args(["scaling", *map(str, arguments)])


def run(*arguments: object) -> int:
    options = parsed(*arguments)
    return int(options.run(options))


def first_fit(path: Path, *arguments: object) -> dict[str, Any]:
    """The first row of fits.csv, without figures and page."""
    analysis = analyse(read_score_table(path), asked_options(parsed(path, *arguments)))
    header, rows = fit_rows(analysis)
    return dict(zip(header, rows[0], strict=True))


def wide_table(path: Path) -> np.ndarray:
    """Three subjects, four regions in pairs; (n_subjects, n_models, n_regions)."""
    rng = np.random.default_rng(0)
    slopes = np.array([0.03, 0.02, 0.01, 0.01])
    scores = 0.1 + slopes * (LOG - 8)[:, None] + 0.004 * rng.standard_normal((3, len(LOG), 4))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "subject", "STS_L", "STS_R", "IFG_L", "IFG_R"])
        for s, subject in enumerate(scores):
            for model, row in zip(MODELS, subject, strict=True):
                writer.writerow([model.name, f"sub-{s}", *(f"{value:.6f}" for value in row)])
    return np.round(scores, 6)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """Images, and references to anything outside the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "img":
            self.images.append(str(found["src"]))
            assert found["alt"]
        if tag in ("script", "link") or str(found.get("src", "")).startswith("http"):
            self.outside.append(tag)


def test_everything_from_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = wide_table(tmp_path / "scores.csv")
    assert run(tmp_path / "scores.csv", "-o", tmp_path / "out", "--per-roi", "--above", "3B") == 0
    printed = capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "fits.csv", "models.csv", "subjects.csv", "scaling.png", "regions.png", "sides.png", "scaling.html",
    }  # fmt: skip
    rows = {row["series"]: row for row in read(tmp_path / "out" / "fits.csv")}
    assert list(rows) == [
        "mean of all regions", "STS_L", "STS_R", "IFG_L", "IFG_R", "STS: left − right", "IFG: left − right",
    ]  # fmt: skip
    expected = {name: scores[:, :, i] for i, name in enumerate(["STS_L", "STS_R", "IFG_L", "IFG_R"])}
    expected["mean of all regions"] = scores.mean(axis=2)
    expected["STS: left − right"] = scores[:, :, 0] - scores[:, :, 1]
    for name, values in expected.items():
        line = stats.linregress(LOG, values.mean(axis=0))
        each = [stats.linregress(LOG, subject).slope for subject in values]
        row = {key: float(rows[name][key]) for key in ("slope", "r", "p", "subjects: low", "subjects: high")}
        ends = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
        assert list(row.values()) == pytest.approx([line.slope, line.rvalue, line.pvalue, *ends], rel=1e-5)
    whole = rows["mean of all regions"]
    assert f"{float(whole['slope']):.4g}" in printed
    assert "of the fitted score at gpt2 (124M parameters)" in printed
    assert whole["models beyond"] == "10"
    assert rows["STS: left − right"]["gain of"] == ""
    sides = [float(rows[f"{roi}: left − right"]["p corrected over series"]) for roi in ("STS", "IFG")]
    raw = [float(rows[f"{roi}: left − right"]["families: p"]) for roi in ("STS", "IFG")]
    assert sides == pytest.approx(stats.false_discovery_control(raw), rel=1e-5)
    assert len(read(tmp_path / "out" / "subjects.csv")) == 7 * 3
    models = read(tmp_path / "out" / "models.csv")
    assert [row["model"] for row in models] == [model.name for model in MODELS]
    assert float(models[0]["residual"]) == pytest.approx(
        float(models[0]["score"]) - float(models[0]["fitted"]), abs=1e-6
    )
    page = Page((tmp_path / "out" / "scaling.html").read_text(encoding="utf-8"))
    assert len(page.images) == 3
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert not page.outside


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run(*arguments, "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_options_change_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    mean = wide_table(path).mean(axis=(0, 2))
    perplexity = np.array([model.perplexity for model in MODELS])
    for arguments, x in (
        (("--x", "perplexity"), np.log10(perplexity)),
        (("--x", "perplexity", "--linear"), perplexity),
        (("--x", "hellaswag"), np.array([model.hellaswag for model in MODELS])),
        (("--x", "hellaswag", "--log"), np.log10([model.hellaswag for model in MODELS])),
        (("--x", "layers"), np.log10([model.layers for model in MODELS])),
    ):
        slope = stats.linregress(x, mean).slope
        assert first_fit(path, *arguments)["slope"] == pytest.approx(slope, rel=1e-9), arguments
    usual = first_fit(path)
    value = {
        name: np.polyval(np.polyfit(LOG, mean, 1), at) for name, at in (("largest", LOG.max()), ("1B", 9))
    }
    for baseline, score in value.items():
        fit = first_fit(path, "--baseline", baseline)
        assert fit["gain % per decade"] == pytest.approx(100 * fit["slope"] / score, rel=1e-9)
    assert first_fit(path, "--level", "0.5")["classical: high"] < usual["classical: high"]
    assert first_fit(path, "--seed", "5")["wild: low"] != usual["wild: low"]
    assert first_fit(path)["wild: low"] == usual["wild: low"]


def test_json_and_the_title(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "scores.csv", tmp_path / "out"
    path.write_text("model,STS\ngpt2,0.2\ngpt2-xl,0.3\nopt-13b,0.4\n", encoding="utf-8")
    found = as_json(capsys, path, "-o", out, "--title", "Mine & theirs")
    assert found["fits"][0]["series"] == "STS"
    assert found["card"]["models"] == 3
    assert len(found["card"]["sha256 of the table"]) == 64
    assert set(found["files"]) == {"fits", "models", "figure", "report"}
    assert "2 families" in found["warnings"][0]
    assert "<h1>Mine &amp; theirs</h1>" in (out / "scaling.html").read_text(encoding="utf-8")


def test_three_models_without_families(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,parameters,r\nS,10M,0.1\nM,100M,0.15\nL,1B,0.21\n", encoding="utf-8")
    result = as_json(capsys, path, "-o", tmp_path / "out")
    fit = result["fits"][0]
    assert fit["slope"] == pytest.approx(0.055)
    assert fit["plateau"] == "cannot tell"
    assert "wild: low" not in fit
    assert "No families" in result["warnings"][0]
    text = (tmp_path / "out" / "scaling.html").read_text(encoding="utf-8")
    assert "3 models cannot tell a plateau" in text
    before_pictures = text.replace("data:image", "").partition(">Run card</h2>")[0].split("base64")[0]
    assert "nan" not in before_pictures.lower()


def test_a_column_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,glue,brain\na,50,0.1\nb,60,0.2\nc,80,0.3\n", encoding="utf-8")
    fit = as_json(capsys, path, "-o", tmp_path / "o", "--score", "brain", "--x", "glue", "--linear")["fits"][
        0
    ]
    assert fit["slope"] == pytest.approx(np.polyfit([50, 60, 80], [0.1, 0.2, 0.3], 1)[0])
    assert fit["gain % per unit"] == pytest.approx(
        100 * fit["slope"] / (fit["intercept"] + 50 * fit["slope"])
    )


def test_training_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,stories,r\nopt-125m,1,0.1\nopt-125m,10,0.2\nopt-125m,80,0.3\n", encoding="utf-8")
    assert run(path, "-o", tmp_path / "out", "--x", "stories") == 0
    printed = capsys.readouterr().out
    assert "3 training sets: r = 1.000" in printed
    assert "of the fitted score at 1 story" in printed
    assert "Warning: Training sets that hold each other" in printed
    assert "No families" not in printed


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("model,score\nmine,0.1\ngpt2,0.2\ngpt2-xl,0.3", (), "parameters is not known of mine"),
        ("model,score\ngpt2,0.2\ngpt2-xl,0.3", (), "2 model"),
        ("model,score\ngpt2,0.2\ngpt2-xl,0.3\nopt-13b,", (), r"2 model\(s\) have a score"),
        ("model,score\ngpt2,0.2\ngpt2-xl,0.3\nopt-13b,0.4", ("--baseline", "first"), "--baseline: 'first'"),
        ("model,score\ngpt2,0.2\ngpt2-xl,0.3\nopt-13b,0.4", ("--above", "big"), "--above: 'big'"),
        (
            "model,score\ngpt2,0.2\ngpt2-xl,0.3\nopt-13b,0.4",
            ("--above", "3B"),
            r"1 model\(s\) with parameters",
        ),
    ],
)
def test_errors(tmp_path: Path, text: str, arguments: tuple[str, ...], message: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        run(path, "-o", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()

"""Tables of models and scores: what is understood, and what an error says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxridge._scaling_analysis import Options, analyse
from voxridge.science.model_table import known_models, model_facts, parse_count
from voxridge.science.score_table import read_score_table


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def to_file(*lines: str) -> Path:
        path = tmp_path / "scores.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return to_file


# --- models


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("facebook/opt-1.3b", "opt-1.3b"),
        ("OPT-1.3B", "opt-1.3b"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("gpt2-small", "gpt2"),
        ("meta-llama/Llama-2-7b-hf", "Llama-2-7b"),
        ("mistralai/Mistral-7B-v0.1", "Mistral-7B"),
        ("stabilityai/stablelm-2-1_6b", "stablelm-2-1_6b"),
        ("state-spaces/mamba-130m-hf", "mamba-130m"),
        ("openai/whisper-tiny", "whisper-tiny"),
    ],
)
def test_names_are_understood(name: str, known: str) -> None:
    assert model_facts(name).name == known


def test_facts_are_those_of_the_study() -> None:
    facts = model_facts("Qwen/Qwen1.5-14B")
    assert (facts.family, facts.parameters, facts.layers, facts.hidden) == ("Qwen1.5", 14_167e6, 40, 5120)
    assert (facts.perplexity, facts.hellaswag) == (6.65, 81.08)
    assert "Bonnasse-Gahot" in facts.source
    assert np.isnan(model_facts("opt-175b").perplexity)
    assert all(model.parameters == round(model.parameters) for model in known_models())
    by_size = [model for model in known_models() if model.family == "OPT"]
    assert [model.parameters for model in by_size] == sorted(model.parameters for model in by_size)


@pytest.mark.parametrize("name", ["mistral-7b-instruct-v0.1", "Llama-2-7b-chat-hf", "bert-base"])
def test_other_models_are_not_mistaken_for_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="give its number of parameters"):
        model_facts(name)


def test_an_unknown_name_gets_near_ones() -> None:
    with pytest.raises(ValueError, match=r"near: opt-1.3b"):
        model_facts("facebook/opt-1.3bb")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.3B", 1.3e9),
        ("125M", 125e6),
        ("124,439,808", 124439808),
        ("1,300.5M", 1300.5e6),
        ("1e9", 1e9),
        ("7 b", 7e9),
        ("0,21", 0.21),
        ("0,210", 0.21),
        ("-0,05", -0.05),
        ("1,3B", 1.3e9),
        ("1,25e8", 1.25e8),
    ],
)
def test_counts(text: str, value: float) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "many", "1.3X", "1.2.3B"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no number; write 1300000000"):
        parse_count(text)


@pytest.mark.parametrize("text", ["1,300", "12,345", "125,000M"])
def test_a_comma_that_may_be_either_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' may mean .* or .*: write it without a comma"):
        parse_count(text)


# --- tables


def test_another_name_of_a_predictor_points_the_same_way(write) -> None:  # type: ignore[no-untyped-def]
    rows = [
        f"m{i},{60 / (i + 1):.2f},{min(0.2 + 0.02 * i, 0.3) + 0.001 * (i * 7 % 3):.3f}" for i in range(12)
    ]
    table = read_score_table(write("model,ppl,score", *rows))
    found = [analyse(table, Options(x=name)).whole.plateau for name in ("perplexity", "ppl", "PPL")]
    assert [test.verdict for test in found if test] == ["flattens"] * 3


def test_models_that_miss_a_score_are_named(write) -> None:  # type: ignore[no-untyped-def]
    head, rows = "model,parameters,STS,TP", ["a,1B,0.2,0.1", "b,2B,0.3,", "c,3B,0.3,0.2", "d,9B,0.4,0.3"]
    found = analyse(read_score_table(write(head, *rows)), Options())
    assert found.whole.fit.n_models == 3
    assert "Left out, for a score of theirs is missing: b (in regions TP)." in found.messages
    with pytest.raises(
        ValueError, match=r"2 model\(s\) have .*; scores are missing \(in regions TP\): leave"
    ):
        analyse(read_score_table(write(head, *rows[:3])), Options())


def test_decimal_commas(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write("model;parameters;score", "a;125M;0,21", "b;1,3B;0,3", "c;13B;-0,05"))
    assert table.scores.ravel().tolist() == [0.21, 0.3, -0.05]
    assert table.predictor("parameters").tolist() == [125e6, 1.3e9, 13e9]


def test_a_column_for_each_hemisphere(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write("model,L,R", "gpt2,0.3,0.2", "gpt2-xl,0.4,0.2"))
    assert table.rois == ("L", "R")
    assert table.scores.tolist() == [[[0.3, 0.2], [0.4, 0.2]]]
    assert table.sides() == {"whole": (0, 1)}


def test_the_row_numbers_of_a_data_frame_are_no_region(write) -> None:  # type: ignore[no-untyped-def]
    for first in ("", "Unnamed: 0"):
        table = read_score_table(write(f"{first},model,STS", "0,gpt2,0.3", "1,gpt2-xl,0.4"))
        assert table.rois == ("STS",)


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,score\ngpt2,0.3", encoding="utf-16")
    with pytest.raises(ValueError, match=r"scores.csv is not UTF-8 text: save it as CSV in UTF-8"):
        read_score_table(path)


def test_long_with_subjects_and_regions(write) -> None:  # type: ignore[no-untyped-def]
    rows = [
        f"{m},sub-{s},{r},{i + 10 * s + j}"
        for i, m in enumerate(["gpt2", "opt-13b"])
        for s in (1, 2)
        for j, r in enumerate("ab")
    ]
    table = read_score_table(write("model,subject,roi,score", *rows[:-1]))
    assert (table.models, table.subjects, table.rois) == (("gpt2", "opt-13b"), ("sub-1", "sub-2"), ("a", "b"))
    assert table.families == ("GPT-2", "OPT")
    np.testing.assert_array_equal(table.scores[0], [[10, 11], [11, 12]])
    assert np.isnan(table.scores[1, 1, 1])
    assert table.predictor("parameters").tolist() == [124439808, 12853e6]
    assert table.predictor("ppl").tolist() == [25.19, 8.81]


def test_wide_with_regions_and_models_of_ones_own(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(
        write("model;family;params;layers;BA44;BA45", "mine;home;1.3B;12;0.2;0.3", "gpt2;;;;0.1;")
    )
    assert table.rois == ("BA44", "BA45")
    assert table.subjects == ("",)
    assert table.families == ("home", "GPT-2")
    assert table.predictor("parameters").tolist() == [1.3e9, 124439808]
    assert table.predictor("layers").tolist() == [12, 12]
    np.testing.assert_array_equal(table.scores[0], [[0.2, 0.3], [0.1, np.nan]])
    with pytest.raises(ValueError, match="perplexity is not known of mine"):
        table.predictor("perplexity")
    with pytest.raises(ValueError, match=r"there is no predictor 'glue' \(there are: .*parameters.*\)"):
        table.predictor("glue")


@pytest.mark.parametrize("names", ["sub-01,sub-02", "EN057,EN058", "S1,S2", "UTS01,UTS02"])
def test_wide_with_subjects(write, names: str) -> None:  # type: ignore[no-untyped-def]
    path = write(f"model\t{names}".replace(",", "\t"), "gpt2\t0.1\t0.2")
    table = read_score_table(path)
    assert ",".join(table.subjects) == names
    assert table.scores.tolist() == [[[0.1]], [[0.2]]]
    assert read_score_table(path, columns="roi").rois == tuple(names.split(","))


@pytest.mark.parametrize("names", ["BA44,BA45", "V1,V2", "STS,IFG"])
def test_regions_with_numbers_are_no_subjects(write, names: str) -> None:  # type: ignore[no-untyped-def]
    path = write(f"model,{names}", "gpt2,0.1,0.2")
    assert ",".join(read_score_table(path).rois) == names
    assert ",".join(read_score_table(path, columns="subject").subjects) == names


def test_wide_columns_and_a_column_of_subjects(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write("model,subject,S1,M1", "gpt2,a,0.1,0.2", "gpt2,b,0.3,0.4"))
    assert (table.subjects, table.rois) == (("a", "b"), ("S1", "M1"))
    assert table.scores[:, 0].tolist() == [[0.1, 0.2], [0.3, 0.4]]


def test_a_named_column_of_scores_leaves_other_numbers_to_be_predictors(write) -> None:  # type: ignore[no-untyped-def]
    path = write("model,roi,brain,glue,voxels,note", "a,x,0.1,60,5,good", "a,y,0.2,60,9,bad", "b,x,0.3,70,5,")
    table = read_score_table(path, score="brain")
    assert table.score == "brain"
    assert table.predictor("glue").tolist() == [60, 70]
    assert set(table.predictors) == {"glue"}  # voxels change with the region, notes are no numbers
    assert table.families is None


def test_training_sets_of_one_model_are_entries_of_their_own(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write("model,stories,r", "opt-125m,1,0.1", "opt-125m,10,0.2", "opt-125m,80,0.3"))
    assert table.models == ("1 story", "10 stories", "80 stories")
    assert table.predictor("stories").tolist() == [1, 10, 80]
    two = read_score_table(write("model,hours,r", "opt-125m,1,0.1", "gpt2,1,0.2", "opt-125m,2,0.3"))
    assert two.models == ("opt-125m, 1 hour", "gpt2, 1 hour", "opt-125m, 2 hours")
    assert two.scores.ravel().tolist() == [0.1, 0.2, 0.3]
    one = read_score_table(write("model,stories,r", "opt-125m,80,0.1", "gpt2,80,0.2"))
    assert one.models == ("opt-125m", "gpt2")


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        ("aSTS_L", "aSTS_R", "aSTS"),
        ("lh.aSTS", "rh.aSTS", "aSTS"),
        ("left aSTS", "right aSTS", "aSTS"),
        ("aSTS-left", "aSTS-right", "aSTS"),
        ("left", "right", "whole"),
    ],
)
def test_sides_by_name(write, left: str, right: str, name: str) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write(f"model,{right},TP_L,{left}", "gpt2,0.1,0.5,0.2"))
    assert table.sides() == {name: (2, 0)}


def test_sides_by_a_column(write) -> None:  # type: ignore[no-untyped-def]
    table = read_score_table(write("model,roi,hemi,r", "gpt2,STS,L,0.2", "gpt2,STS,rh,0.1", "gpt2,TP,R,0.1"))
    assert table.sides() == {"STS": (0, 1)}
    assert table.rois == ("STS left", "STS right", "TP right")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name of it,score", "a,1"], "no column model; its columns are name of it, score"),
        (["model,score"], "no rows below its header"),
        (["model,score", "a,1,2"], "line 2: 3 cells, the header has 2"),
        (["model,score", "a,high"], "line 2, column score: 'high' is no number"),
        (["model,STS", "a,0.1", "b,?"], "line 3, column STS: '.' is no number"),
        (["model,score", "a,1", "a,2"], "lines 2 and 3: a is there twice"),
        (["model,score,Score", "a,1,2"], "2 columns are named score: give their names apart"),
        (["model,score", ",1"], "line 2: column model is empty"),
        (["model,family", "a,x"], "no column of scores: name one score"),
        (["model,params,parameters,score", "a,1,2,3"], "'params' and 'parameters' are both the parameters"),
        (["model,score,parameters", "a,1,large"], "line 2, column parameters: 'large' is no number"),
        (
            ["model,roi,score,params", "a,x,1,5", "a,y,1,6"],
            "line 3, column params: a has 6 here and 5 on line 2",
        ),
        (["model,hemisphere,score", "a,up,1"], "line 2, column hemisphere: 'up'; write left or right"),
    ],
)
def test_errors_name_the_column_and_the_line(write, lines: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        read_score_table(write(*lines))


def test_errors_of_arguments(write) -> None:  # type: ignore[no-untyped-def]
    path = write("model,score", "a,1")
    with pytest.raises(ValueError, match="no column 'r'; its columns are model, score"):
        read_score_table(path, score="r")
    with pytest.raises(ValueError, match="columns='voxel'"):
        read_score_table(path, columns="voxel")

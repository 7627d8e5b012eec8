from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features import Words, downsample, read_words, tr_times, word_rate
from voxridge.features.alignment import Alignment, Method
from voxridge.features.hrf import convolve_hrf

METHODS = get_args(Method)


def _words(seed: int, n_words: int, seconds: float) -> Words:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0.01, seconds - 0.01, n_words))
    return Words(["w"] * n_words, onset, np.minimum(onset + rng.uniform(0, 0.8, n_words), seconds))


def _story(seed: int, n_words: int = 60, seconds: float = 80.0) -> tuple[np.ndarray, Words]:
    features = np.random.default_rng(seed + 1).standard_normal((n_words, 4))
    return features, _words(seed, n_words, seconds)


def test_lanczos_is_downsample() -> None:
    features, words = _story(0)
    scans = tr_times(40, 2.0)
    found = Alignment(2.0).to_trs(features, words, 40)
    np.testing.assert_allclose(found, downsample(features, words.midpoint, scans), rtol=0, atol=1e-12)
    wide = Alignment(2.0, lobes=5, cutoff_mult=0.5).to_trs(features, words, 40)
    expected = downsample(features, words.midpoint, scans, lobes=5, cutoff=0.25)
    np.testing.assert_allclose(wide, expected, rtol=0, atol=1e-12)
    for times in (words.midpoint, np.stack([words.onset, words.offset], axis=1)):
        np.testing.assert_array_equal(Alignment(2.0).to_trs(features, times, 40), found)


@pytest.mark.parametrize("model", ["glover", "spm"])
def test_response_is_convolve_hrf(model: Any) -> None:
    pytest.importorskip("nilearn")
    features, words = _story(1)
    found = Alignment(2.0, model).to_trs(features, words, 40)
    expected = convolve_hrf(features, words, np.arange(40) * 2.0 + 1.0, model=model)
    np.testing.assert_array_equal(found, expected)
    start = Alignment(2.0, model, frame="start").to_trs(features, words, 40)
    np.testing.assert_array_equal(start, convolve_hrf(features, words, np.arange(40) * 2.0, model=model))


def test_mean_and_sum() -> None:
    features, words = _story(2)
    total = Alignment(2.0, "sum").to_trs(features, words, 40)
    mean = Alignment(2.0, "mean").to_trs(features, words, 40)
    for i in range(40):
        rows = features[(words.onset >= 2 * i) & (words.onset < 2 * i + 2)]
        np.testing.assert_allclose(total[i], rows.sum(axis=0), atol=1e-12)
        np.testing.assert_allclose(mean[i], rows.mean(axis=0) if len(rows) else 0, atol=1e-12)
    rate = Alignment(2.0, "sum", frame="start").to_trs(np.ones((60, 1)), words, 40)
    np.testing.assert_array_equal(rate, word_rate(words, tr_times(40, 2.0)))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    frame=st.sampled_from(["middle", "start"]),
    shift=st.integers(1, 9),
)
def test_properties(seed: int, method: Any, frame: Any, shift: int) -> None:
    pytest.importorskip("nilearn")
    tr = 2.0
    align = Alignment(tr, method, frame=frame, outside="keep")
    features, words = _story(seed)
    other = np.random.default_rng(seed + 2).standard_normal(features.shape)
    found = align.to_trs(features, words, 60)
    # Linear in the features.
    both = align.to_trs(2.0 * features - other, words, 60)
    np.testing.assert_allclose(both, 2.0 * found - align.to_trs(other, words, 60), rtol=0, atol=1e-10)
    if method not in ("glover", "spm"):  # their grid of 50 points a TR is not exactly as long as the TRs
        moved = align.to_trs(features, words.shift(shift * tr), 60)
        np.testing.assert_allclose(moved[shift + 3 :], found[3:-shift], rtol=0, atol=1e-9)
    # A stimulus and a scan that start together later are the same.
    later = dataclasses.replace(align, offset=123.0)
    np.testing.assert_allclose(later.to_trs(features, words.shift(123.0), 60), found, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), method=st.sampled_from(METHODS))
def test_runs_never_touch_each_other(seed: int, method: Any) -> None:
    pytest.importorskip("nilearn")
    align = Alignment(2.0, method, trims=(3, 2), outside="keep", zscore="run")
    stories = [_story(seed + i) for i in range(3)]
    features, words = [list(part) for part in zip(*stories, strict=True)]
    together = align.runs_to_trs(features, words, [42, 41, 40])
    assert [len(run) for run in together] == [37, 36, 35]
    for i, run in enumerate(together):
        alone = align.trim(align.to_trs(features[i], words[i], 42 - i))
        np.testing.assert_array_equal(run, alone)
    standard = align.standardise(together)[0]
    features[2] = features[2] + 100.0
    again = align.runs_to_trs(features, words, [42, 41, 40])
    for i in (0, 1):
        np.testing.assert_array_equal(again[i], together[i])
        np.testing.assert_array_equal(align.standardise(again)[0][i], standard[i])


@pytest.mark.parametrize("method", METHODS)
def test_inputs_stay_and_types_are_kept(method: Any) -> None:
    pytest.importorskip("nilearn")
    features, words = _story(3)
    kept = features.copy()
    align = Alignment(2.0, method)
    found = align.to_trs(features, words, 40)
    np.testing.assert_array_equal(features, kept)
    assert found.dtype == np.float64
    half = align.to_trs(features.astype(np.float16), words, 40)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, found, rtol=0, atol=0.02)


def test_recorded_times_of_scans() -> None:
    features, words = _story(4)
    scans = tr_times(40, 2.0)
    align = Alignment(2.0)
    np.testing.assert_array_equal(align.to_trs(features, words, scans), align.to_trs(features, words, 40))
    jitter = scans + np.random.default_rng(0).uniform(-0.1, 0.1, 40)
    expected = downsample(features, words.midpoint, jitter, cutoff=1 / np.mean(np.diff(jitter)))
    np.testing.assert_allclose(align.to_trs(features, words, jitter), expected, rtol=0, atol=1e-12)


def test_words_before_and_after_the_scan() -> None:
    pytest.importorskip("nilearn")
    words = Words(("a", "b", "c"), [-40.0, 3.0, 30.0], [-39.0, 3.5, 31.0])
    for method in ("glover", "lanczos", "sum"):
        with pytest.raises(ValueError, match=r"of 3 words lie outside the scan \(0 to 20 s\)"):
            Alignment(2.0, method).to_trs(np.ones((3, 1)), words, 10)
        kept = Alignment(2.0, method, outside="keep")
        found = kept.to_trs(np.ones((3, 1)), words, 10)
        np.testing.assert_allclose(found, kept.to_trs(np.ones((1, 1)), words[1:2], 10), atol=1e-12)


def test_antonello() -> None:
    align = Alignment.antonello_2023()
    assert align.trim(np.arange(368), "train").shape == (353,)
    # wheretheressmoke: 311 scans, of which 291 are stored and 251 scored.
    features = align.trim(np.arange(306), "test")
    responses = align.trim(np.arange(10, 301), "test", already=(10, 5))
    np.testing.assert_array_equal(features, responses)
    assert len(features) == 251
    assert align.tr_times(2) == pytest.approx([-10 + 2.0045 / 2, -10 + 1.5 * 2.0045])
    assert (align.method, align.lobes, align.cutoff_mult, align.zscore) == ("lanczos", 3, 1.0, "run")


def test_lebel() -> None:
    align = Alignment.lebel_2023()
    np.testing.assert_array_equal(align.tr_times(3), [-9, -7, -5])
    assert len(align.trim(np.arange(368 - 5))) == 368 - 20


@pytest.mark.parametrize(("language", "kept"), [("EN", 2636), ("CN", 2797), ("FR", 2757)])
def test_little_prince(language: Any, kept: int) -> None:
    align = Alignment.little_prince(language)
    assert align.expected_trs is not None
    counts = list(align.expected_trs)
    assert sum(len(align.trim(np.empty(count))) for count in counts) == kept
    np.testing.assert_array_equal(align.tr_times(3), [1, 3, 5])
    align.check_trs(counts)
    assert align.extra_trs is not None
    seconds = [2.0 * (count - align.extra_trs) for count in counts]
    align.check_trs(counts, seconds)
    with pytest.raises(ValueError, match=r"1 of 9 runs have another.*\(run 3: 5, expected"):
        align.check_trs([*counts[:2], 5, *counts[3:]])
    with pytest.raises(ValueError, match=r"9 of 9 runs.*each by \+4 \("):
        align.check_trs([count + 4 for count in counts])
    with pytest.raises(ValueError, match="8 runs, but 9 are expected"):
        align.check_trs(counts[:8])
    with pytest.raises(ValueError, match=r"run 1: .*expected"):
        align.check_trs(counts, [seconds[0] + 20, *seconds[1:]])


@pytest.mark.alice
def test_little_prince_is_nilearn_with_the_frames_of_the_study(alice: Path) -> None:
    first_level = pytest.importorskip("nilearn.glm.first_level")
    words = read_words(next((alice / "stimulus").glob("*.TextGrid"))).shift(-20.0)[:800]
    values = np.random.default_rng(0).standard_normal((len(words), 2))
    found = Alignment.little_prince("EN").to_trs(values, words, 150)
    frames = np.arange(150) * 2.0 + 1.0
    for i in range(2):
        event = (words.onset, words.offset - words.onset, values[:, i])
        expected = first_level.compute_regressor(event, "glover", frames)[0][:, 0]
        np.testing.assert_allclose(found[:, i], expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_standardise() -> None:
    rng = np.random.default_rng(0)
    train = [rng.normal(3, 2, (30, 4)), rng.normal(-1, 5, (20, 4))]
    test = [rng.normal(50, 1, (25, 4))]
    together = np.concatenate(train)
    found, held = Alignment(2.0).standardise(train, test)
    np.testing.assert_allclose(np.concatenate(found), (together - together.mean(0)) / together.std(0))
    np.testing.assert_allclose(held[0], (test[0] - together.mean(0)) / together.std(0))
    found, held = Alignment(2.0, zscore="run").standardise(train, test)
    for run in (*found, *held):
        np.testing.assert_allclose(run.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(run.std(axis=0), 1)
    found, held = Alignment(2.0, zscore=None).standardise(train, test)
    np.testing.assert_array_equal(found[1], train[1])
    np.testing.assert_array_equal(held[0], test[0])
    with pytest.raises(TypeError, match="lists with one array"):
        Alignment(2.0).standardise(train[0])


def test_provenance_is_json_and_comparable() -> None:
    align = Alignment.little_prince("FR")
    fields = json.loads(json.dumps(align.provenance()))
    assert fields["kind"] == "alignment"
    assert fields["trims"] == {"train": [10, 10], "test": [10, 10]}
    assert set(fields) == {"kind", *(field.name for field in dataclasses.fields(align))}
    del fields["kind"]
    assert Alignment(**fields) == align
    assert len({align, Alignment.little_prince("FR"), Alignment.little_prince("EN")}) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tr": 0.0}, "tr=0.0"),
        ({"tr": 2.0, "offset": np.nan}, "offset=nan"),
        ({"tr": 2.0, "method": "cubic"}, "method='cubic' is unknown: use one of 'lanczos'"),
        ({"tr": 2.0, "frame": "end"}, "frame='end'"),
        ({"tr": 2.0, "zscore": "test"}, "zscore='test'"),
        ({"tr": 2.0, "outside": "drop"}, "outside='drop'"),
        ({"tr": 2.0, "lobes": 0}, "lobes=0"),
        ({"tr": 2.0, "cutoff_mult": -1.0}, "cutoff_mult=-1.0"),
        ({"tr": 2.0, "trims": (1, -1)}, r"trims=\(1, -1\)"),
        ({"tr": 2.0, "trims": (1, 2, 3)}, r"trims=\(1, 2, 3\)"),
        ({"tr": 2.0, "trims": {"train": (1, 1)}}, r"keys \['train'\]: give 'train' and 'test'"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Alignment(**options)


@pytest.mark.parametrize(
    ("method", "features", "times", "n_trs", "message"),
    [
        ("lanczos", np.ones((3, 2)), [1.0, 2.0], 5, r"shape \(3, 2\), but there are 2 times"),
        ("lanczos", np.ones(2), [1.0, 2.0], 5, r"shape \(2,\)"),
        ("lanczos", np.ones((2, 1)), [1.0, 2.0], 0, "n_trs=0"),
        ("lanczos", np.ones((2, 1)), [1.0, np.inf], 5, r"times\[1\] is not a finite"),
        ("lanczos", np.ones((2, 1)), [1.0, 2.0], [3.0, 1.0], "rise"),
        ("glover", np.ones((2, 1)), [1.0, 2.0], 5, "give Words, or .* onsets and offsets"),
        ("glover", np.ones((2, 1)), [[1.0, 2.0], [3.0, 2.0]], 5, "row 1 ends at 2 s, before it starts"),
        ("sum", np.ones((2, 1)), np.ones((2, 3)), 5, r"times has shape \(2, 3\)"),
    ],
)
def test_bad_input(method: Any, features: Any, times: Any, n_trs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Alignment(2.0, method).to_trs(features, times, n_trs)


def test_bad_runs_and_trims() -> None:
    features, words = _story(0)
    align = Alignment(2.0, trims=(30, 9))
    with pytest.raises(ValueError, match="hold 1, 2 and 1 runs"):
        align.runs_to_trs([features], [words, words], [40])
    with pytest.raises(ValueError, match=r"run 1: .*words lie outside the scan"):
        align.runs_to_trs([features, features], [words, words], [41, 20])
    with pytest.raises(ValueError, match="leave no row"):
        align.trim(np.ones((39, 2)))
    with pytest.raises(ValueError, match="role='validation'"):
        align.trim(np.ones((50, 2)), "validation")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"already=\(31, 0\)"):
        align.trim(np.ones((50, 2)), already=(31, 0))

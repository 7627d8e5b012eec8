from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features import Words, read_words, tr_times
from voxridge.features.hrf import convolve_hrf, hrf_matrix

pytest.importorskip("nilearn")


def _nilearn(onset: Any, duration: Any, values: Any, scans: Any, model: str, **options: Any) -> np.ndarray:
    """Column by column, as nilearn does it."""
    from nilearn.glm.first_level import compute_regressor

    columns = [
        compute_regressor((onset, duration, column), model, scans, **options)[0][:, 0] for column in values.T
    ]
    return np.stack(columns, axis=1)


def _same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    n_events=st.integers(1, 25),
    n_trs=st.integers(2, 60),
    tr=st.floats(0.5, 3.0),
    start=st.sampled_from([0.0, 0.75, -6.0, 13.0]),
    oversampling=st.sampled_from([1, 7, 16, 50]),
    min_onset=st.sampled_from([0.0, -10.0, -24.0]),
    model=st.sampled_from(["glover", "spm"]),
)
def test_equal_to_nilearn_column_by_column(
    seed: int,
    n_events: int,
    n_trs: int,
    tr: float,
    start: float,
    oversampling: int,
    min_onset: float,
    model: Any,
) -> None:
    rng = np.random.default_rng(seed)
    scans = max(start, -n_trs * tr / 2) + np.arange(n_trs) * tr
    # Before and after the scan, unsorted, some long enough to overlap, some without length or on the grid.
    onset = rng.uniform(scans[0] + min_onset, scans[-1] + 20, n_events)
    duration = rng.choice([0.0, 0.01, 0.3, 5.0, 60.0], n_events)
    onset[: n_events // 4] = rng.choice(scans, n_events // 4)
    values = rng.standard_normal((n_events, 3))
    options = {"oversampling": oversampling, "min_onset": min_onset}
    expected = _nilearn(onset, duration, values, scans, model, **options)
    found = hrf_matrix(onset, duration, scans, model=model, **options)
    assert found.shape == (n_trs, n_events)
    np.testing.assert_allclose(found @ values, expected, rtol=0, atol=1e-10 * max(np.abs(values).max(), 1))


@pytest.mark.alice
@pytest.mark.parametrize("model", ["glover", "spm"])
def test_alice(alice: Path, model: Any) -> None:
    words = read_words(next((alice / "stimulus").glob("*.TextGrid"))).shift(-20.0)
    scans = tr_times(362, 2.0)
    values = np.random.default_rng(0).standard_normal((len(words), 3))
    expected = _nilearn(words.onset, words.offset - words.onset, values, scans, model)
    _same(convolve_hrf(values, words, scans, model=model), expected)


def test_types_and_no_words() -> None:
    words = Words(("so", "it", "went"), [0.1, 0.5, 2.2], [0.4, 0.9, 3.0])
    scans = np.arange(10) * 2.0
    features = np.random.default_rng(0).standard_normal((3, 300))
    kept = features.copy()
    found = convolve_hrf(features, words, scans)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(features, kept)
    for dtype in (np.float16, np.float32):
        narrow = convolve_hrf(features.astype(dtype), words, scans)
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, found, rtol=0, atol=2e-3 if dtype == np.float16 else 1e-6)
    assert not convolve_hrf(np.ones((0, 2)), Words((), [], []), scans).any()


@pytest.mark.parametrize("model", ["glover", "spm"])
def test_events_a_whole_number_of_scans_later_move_the_rows(model: Any) -> None:
    rng = np.random.default_rng(0)
    scans = tr_times(60, 2.0)
    onset, duration, values = rng.uniform(0, 60, 30), rng.uniform(0.1, 1, 30), rng.standard_normal((30, 3))
    for oversampling, share in ((50, 0.3), (2000, 0.01)):  # only as exact as the grid is fine
        options = {"model": model, "oversampling": oversampling}
        found = hrf_matrix(onset, duration, scans, **options) @ values
        moved = hrf_matrix(onset + 14.0, duration, scans, **options) @ values
        np.testing.assert_allclose(moved[7:], found[:-7], rtol=0, atol=share * np.abs(found).max())


def test_uneven_scans() -> None:
    rng = np.random.default_rng(1)
    scans = np.cumsum(rng.uniform(1.5, 2.5, 30))
    onset, duration = rng.uniform(0, 60, 20), rng.uniform(0, 1, 20)
    values = rng.standard_normal((20, 2))
    _same(hrf_matrix(onset, duration, scans) @ values, _nilearn(onset, duration, values, scans, "glover"))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0, 2.0], [1.0], [0.0, 2.0]), {}, r"onset has shape \(2,\) and duration has shape \(1,\)"),
        (([1.0], [-0.5], [0.0, 2.0]), {}, r"duration\[0\] is -0.5 s"),
        (([np.nan], [1.0], [0.0, 2.0]), {}, r"onset\[0\] is not a finite"),
        (([1.0], [1.0], [0.0]), {}, "single scan"),
        (([1.0], [1.0], [2.0, 0.0]), {}, "rise from each to the next"),
        (([1.0], [1.0], [-4.0, -2.0]), {}, "end at -2 s, before time 0"),
        (([-30.0, 1.0], [1.0, 1.0], [0.0, 2.0]), {}, "1 of 2 events start more than 24 s before.*min_onset"),
        (([1.0], [1.0], [0.0, 2.0]), {"model": "fir"}, "model='fir' is unknown"),
        (([1.0], [1.0], [0.0, 2.0]), {"oversampling": 0}, "oversampling=0"),
        (([1.0], [1.0], [0.0, 2.0]), {"min_onset": 5.0}, "min_onset=5.0"),
    ],
)
def test_bad_arguments(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hrf_matrix(*arguments, **options)


def test_bad_features() -> None:
    words = Words(("so",), [0.1], [0.4])
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but there are 1 words"):
        convolve_hrf(np.ones((2, 3)), words, [0.0, 2.0])


def test_without_nilearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn.glm", None)
    with pytest.raises(ImportError, match=r"pip install \"voxridge\[brain\]\""):
        hrf_matrix([1.0], [1.0], [0.0, 2.0])

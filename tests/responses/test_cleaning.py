"""Cleaning equals a projection written out in float64, and nilearn's own filters where it has them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from voxridge.responses import Cleaning

clean = pytest.importorskip("nilearn.signal").clean


def project(
    data: np.ndarray,
    confounds: np.ndarray,
    *,
    bad: tuple[int, ...] = (),
    tr: float = 2.0,
    trim: tuple[int, int] = (0, 0),
    drop: bool = False,
) -> np.ndarray:
    """The textbook: least squares on constant, line, cosines over 128 s, confounds, a spike per bad row."""
    n = len(data)
    t = np.arange(n)
    order = int(np.floor(2 * n * tr / 128))
    columns = [np.ones(n), t / n, *(np.cos(np.pi * (t + 0.5) * k / n) for k in range(1, order + 1))]
    design = np.column_stack([*columns, confounds, np.eye(n)[:, list(bad)]])
    residual = data - design @ np.linalg.lstsq(design, data, rcond=None)[0]
    kept = np.setdiff1d(t, bad) if drop else t
    kept = kept[(kept >= trim[0]) & (kept < n - trim[1])]
    rows = residual[kept]
    return (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)


@pytest.fixture
def run() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((150, 9)).cumsum(axis=0) + 1000, rng.standard_normal((150, 12)).cumsum(axis=0)


@pytest.mark.parametrize("bad", [(), (0, 1, 70)])
@pytest.mark.parametrize("bad_rows", ["regress", "drop"])
@pytest.mark.parametrize("trim", [(0, 0), (5, 3)])
def test_equals_the_projection_written_out(
    run: tuple[np.ndarray, np.ndarray], bad: tuple[int, ...], bad_rows: str, trim: tuple[int, int]
) -> None:
    data, confounds = run
    before = data.copy()
    found = Cleaning(bad_rows=bad_rows).apply(data, tr=2.0, confounds=confounds, bad=bad, trim=trim)
    wanted = project(data, confounds, bad=bad, trim=trim, drop=bad_rows == "drop")
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    np.testing.assert_array_equal(data, before)


def test_float32_stays_float32(run: tuple[np.ndarray, np.ndarray]) -> None:
    data, confounds = run
    found = Cleaning().apply(data.astype("float32"), tr=2.0, confounds=confounds)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, project(data.astype("float32"), confounds), atol=2e-5)


def test_butterworth_is_that_of_nilearn(run: tuple[np.ndarray, np.ndarray]) -> None:
    data, confounds = run
    settings = {"high_pass": 1 / 100, "low_pass": 0.1, "t_r": 2.0}
    wanted = clean(data, confounds=confounds, standardize="zscore_sample", **settings)
    cleaning = Cleaning(filter="butterworth", high_pass=1 / 100, low_pass=0.1)
    found = cleaning.apply(data, tr=2.0, confounds=confounds)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    kept = np.setdiff1d(np.arange(150), [0, 1])
    wanted = clean(data, confounds=confounds, sample_mask=kept, standardize="zscore_sample", **settings)
    dropping = Cleaning(filter="butterworth", high_pass=1 / 100, low_pass=0.1, bad_rows="drop")
    found = dropping.apply(data, tr=2.0, confounds=confounds, bad=[0, 1])
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    staying = Cleaning(filter="butterworth", high_pass=1 / 100, low_pass=0.1, standardise=False)
    found = staying.apply(data, tr=2.0, confounds=confounds, bad=[0, 1])
    wanted = clean(data, confounds=confounds, sample_mask=kept, standardize=None, **settings)
    np.testing.assert_allclose(found[2:], wanted, atol=1e-9)
    assert not found[:2].any()


def test_a_slow_turn_of_the_head_does_not_switch_the_filter_off(run: tuple[np.ndarray, np.ndarray]) -> None:
    data, _ = run
    turn = np.cos(np.pi * (np.arange(150) + 0.5) / 150)[:, None] + 0.05 * data[:, :1] / 1000
    found = Cleaning(detrend=False).apply(data, tr=2.0, confounds=turn)
    slow = np.cos(np.pi * np.outer(np.arange(150) + 0.5, [1, 2, 3, 4]) / 150)
    assert np.abs(slow.T @ found).max() < 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the very thing that is shown
        skipped = clean(data, detrend=False, confounds=turn, filter="cosine", high_pass=1 / 128, t_r=2.0)
    assert np.abs(slow.T @ skipped).max() > 0.1


def test_unusable_columns_stay_unusable_and_leave_the_others_alone(
    run: tuple[np.ndarray, np.ndarray],
) -> None:
    data, confounds = run
    spoilt = data.copy()
    spoilt[3, 2] = np.nan
    spoilt[:, 4] = 7.0
    spoilt[:, 5] = 500 + 0.1 * np.arange(150)
    found = Cleaning().apply(spoilt, tr=2.0, confounds=confounds)
    assert np.isnan(found[:, 2]).all()
    assert not found[:, [4, 5]].any()
    others = [0, 1, 3, 6, 7, 8]
    np.testing.assert_allclose(found[:, others], project(data, confounds)[:, others], atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_the_confounds_explain_whole_becomes_zero_and_not_noise(
    run: tuple[np.ndarray, np.ndarray], dtype: str
) -> None:
    _, confounds = run
    explained = (1000 + confounds[:, :3] + np.arange(150)[:, None]).astype(dtype)
    assert not Cleaning().apply(explained, tr=2.0, confounds=confounds).any()


def test_nothing_asked_for_changes_nothing(run: tuple[np.ndarray, np.ndarray]) -> None:
    data, _ = run
    idle = Cleaning(detrend=False, high_pass=None, standardise=False, strategy=())
    np.testing.assert_array_equal(idle.apply(data, tr=2.0), data)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"high_pass": -1}, "Hz above 0"),
        ({"low_pass": 0.1}, "butterworth"),
        ({"filter": "fourier"}, "one of"),
        ({"bad_rows": "keep"}, "one of"),
        ({"strategy": "motion"}, "give a tuple"),
        ({"strategy": ("motion", "high_pass")}, "high_pass=None"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Cleaning(**settings)


def test_confounds_that_do_not_fit(run: tuple[np.ndarray, np.ndarray]) -> None:
    data, confounds = run
    with pytest.raises(ValueError, match=r"\(149, 12\), but the run has 150 rows"):
        Cleaning().apply(data, tr=2.0, confounds=confounds[1:])
    holes = confounds.copy()
    holes[4, 3] = np.nan
    with pytest.raises(ValueError, match="row 4, column 3"):
        Cleaning().apply(data, tr=2.0, confounds=holes)
    with pytest.raises(ValueError, match="nothing is left"):
        Cleaning().apply(data[:12], tr=2.0, confounds=confounds[:12])
    with pytest.raises(ValueError, match="nothing is left"):
        Cleaning().apply(data, tr=2.0, trim=(100, 60))
    with pytest.raises(ValueError, match=r"bad has rows \[3, 150\]; the run has rows 0 to 149"):
        Cleaning().apply(data, tr=2.0, bad=[3, 150])
    with pytest.raises(ValueError, match=r"give \(n_TR, n_columns\)"):
        Cleaning().apply(data[0], tr=2.0)

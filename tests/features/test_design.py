from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from voxridge.features import PrincipalComponents, Standardizer, check_tr_counts, trim, zscore_runs


def test_trim() -> None:
    rows = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(trim(rows, 3, 2), rows[3:-2])
    np.testing.assert_array_equal(trim(rows, 0, 0), rows)
    for start, stop in ((6, 4), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match=r"leave no row|0 or more"):
            trim(rows, start, stop)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_zscore_runs(dtype: type) -> None:
    rng = np.random.default_rng(1)
    runs = [(10 * rng.standard_normal((n, 4)) + 50).astype(dtype) for n in (30, 41)]
    runs[1][:, 2] = dtype(7)
    kept = [run.copy() for run in runs]
    found = zscore_runs(runs)
    for run, z, before in zip(runs, found, kept, strict=True):
        np.testing.assert_array_equal(run, before)
        assert z.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)
        exact = run.astype(np.float64)
        sd = exact.std(axis=0)
        expected = np.where(sd > 0, (exact - exact.mean(axis=0)) / np.where(sd > 0, sd, 1), 0)
        np.testing.assert_allclose(z, expected, atol=1e-6)
    np.testing.assert_array_equal(found[1][:, 2], 0)


def test_constant_columns_whose_mean_rounds() -> None:
    rows = np.full((7, 1), 0.1)
    assert rows.std() > 0  # the reason why a zero sd is not the test
    np.testing.assert_array_equal(zscore_runs([rows])[0], 0)


def test_training_statistics() -> None:
    rng = np.random.default_rng(2)
    train = [rng.standard_normal((20, 3)), rng.standard_normal((15, 3))]
    test = rng.standard_normal((9, 3)) + 5
    whole = np.concatenate(train)
    scaler = Standardizer().fit(train)
    np.testing.assert_allclose(scaler.transform(test), (test - whole.mean(0)) / whole.std(0), atol=1e-12)
    np.testing.assert_array_equal(Standardizer().fit(whole).transform(test), scaler.transform(test))
    assert np.isfinite(Standardizer().fit(np.ones((5, 3))).transform(test)).all()


@pytest.mark.parametrize("shape", [(40, 6), (8, 30)])
def test_principal_components(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal(shape) * np.geomspace(10, 0.1, shape[1]) + 3
    new = rng.standard_normal((5, shape[1]))
    pca = PrincipalComponents(4).fit(rows)
    centred = rows - rows.mean(axis=0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    vt *= np.sign(np.take_along_axis(vt, np.abs(vt).argmax(axis=1)[:, None], axis=1))
    np.testing.assert_allclose(pca.components_, vt[:4], atol=1e-7)
    np.testing.assert_allclose(pca.explained_variance_ratio_, (s**2 / (s**2).sum())[:4], atol=1e-10)
    np.testing.assert_allclose(pca.transform(new), (new - rows.mean(axis=0)) @ vt[:4].T, atol=1e-6)
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(4), atol=1e-12)
    halves = PrincipalComponents(4).fit([rows[:3], rows[3:]])
    np.testing.assert_array_equal(halves.components_, pca.components_)
    assert pca.transform(new.astype(np.float32)).dtype == np.float32


def test_components_come_from_the_fitted_rows_alone() -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((30, 5))
    changed = rows.copy()
    changed[20:] = 100
    one, other = (PrincipalComponents(2).fit(x[:20]) for x in (rows, changed))
    np.testing.assert_array_equal(one.components_, other.components_)


def test_components_beyond_the_rank() -> None:
    rng = np.random.default_rng(5)
    for shape in ((20, 6), (6, 20)):
        rows = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
        pca = PrincipalComponents(4).fit(rows)
        np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(4), atol=1e-10)
        np.testing.assert_allclose(pca.transform(rows)[:, 2:], 0, atol=1e-6)
        assert pca.explained_variance_ratio_[:2].sum() == pytest.approx(1)
    constant = PrincipalComponents(2).fit(np.ones((5, 3)))
    assert constant.explained_variance_ratio_.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((0, 3)), "no rows to learn from"),
        (np.ones(3), r"\(n_rows, n_features\); got \(3,\)"),
        ([np.ones((3, 2)), np.ones((3, 4))], r"different numbers of features: \[\(3, 2\), \(3, 4\)\]"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "row 1, column 1 is nan"),
        ([], "at least one"),
    ],
)
def test_rows_that_cannot_be_fitted(rows: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Standardizer().fit(rows)  # type: ignore[arg-type]


def test_use_before_fit_and_other_widths() -> None:
    for unfitted in (Standardizer(), PrincipalComponents(1)):
        with pytest.raises(ValueError, match="not fitted"):
            unfitted.transform(np.ones((2, 2)))
    for fitted in (Standardizer(), PrincipalComponents(1)):
        with pytest.raises(ValueError, match=r"shape \(2, 5\), but the fitted ones had 3 columns"):
            fitted.fit(np.eye(3)).transform(np.ones((2, 5)))


def test_bad_numbers_of_components() -> None:
    with pytest.raises(ValueError, match="n_components=0"):
        PrincipalComponents(0)
    with pytest.raises(ValueError, match=r"n_components=3, but rows of shape \(3, 8\) allow at most 2"):
        PrincipalComponents(3).fit(np.ones((3, 8)))


def test_zscore_runs_wants_a_list() -> None:
    with pytest.raises(TypeError, match="a list with one array for each run"):
        zscore_runs(np.ones((3, 2)))  # type: ignore[arg-type]


def test_tr_counts() -> None:
    check_tr_counts({"a": 3, "b": 4}, {"b": 4, "a": 3})
    with pytest.raises(ValueError, match=r"in 1 of 2 runs \(b: 4 and 5\): check the TR"):
        check_tr_counts({"a": 3, "b": 4}, {"a": 3, "b": 5})
    with pytest.raises(ValueError, match=r"only in the features \['a'\], only in the responses \['c'\]"):
        check_tr_counts({"a": 3, "b": 4}, {"b": 4, "c": 3})


def test_wide_runs_are_standardised_without_a_second_copy() -> None:
    rng = np.random.default_rng(0)
    runs = [rng.normal(5, 3, (rows, 6000)).astype(np.float32) for rows in (90, 110)]
    runs[0][:, 7] = runs[1][:, 7] = 0.1
    kept = [run.copy() for run in runs]
    tracemalloc.start()
    fitted = Standardizer().fit(runs)
    found = fitted.transform(runs[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * found.nbytes  # in float64 both runs alone would take 4.4 times as much as one
    both = np.concatenate(runs).astype(np.float64)
    expected = (runs[0] - both.mean(axis=0)) / np.where(np.ptp(both, axis=0), both.std(axis=0), np.inf)
    assert not expected[:, 7].any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    for run, before in zip(runs, kept, strict=True):
        np.testing.assert_array_equal(run, before)

"""From features per TR to a design: trimming, z-scores, principal components, and the check of TR counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg

FloatArray = npt.NDArray[np.floating]
Rows = npt.ArrayLike | Sequence[npt.ArrayLike]

_COLUMNS = 512  # converted to float64 at a time


def trim(array: npt.ArrayLike, start: int, stop: int) -> FloatArray:
    """Leave out the first `start` and the last `stop` rows of a run; a copy is not made.

    Parameters
    ----------
    array : (n_trs, ...) array
    start, stop : int >= 0
        Rows to leave out at each end. The Huth laboratory uses 10 and 5: the first rows hold the onset of
        sound and a context that is still short.

    Raises
    ------
    ValueError
        If a number is negative or no row is left.

    Examples
    --------
    >>> trim(np.arange(6.0), 2, 1).tolist()
    [2.0, 3.0, 4.0]
    """
    rows = np.asarray(array)
    if start < 0 or stop < 0:
        raise ValueError(f"start={start} and stop={stop}: numbers of rows to leave out, both 0 or more")
    if rows.ndim == 0 or start + stop >= len(rows):
        raise ValueError(f"start={start} and stop={stop} leave no row of an array of shape {rows.shape}")
    return rows[start : len(rows) - stop]


class Trims(NamedTuple):
    """Rows left out at the ends of every run, for each of its two roles.

    Attributes
    ----------
    train, test : (int, int)
        Rows at the start and at the end.
    """

    train: tuple[int, int]
    test: tuple[int, int]


def as_trims(given: Trims | tuple[int, int] | Mapping[str, tuple[int, int]]) -> Trims:
    """Return the trims of both roles from one pair, or from a mapping of both.

    Parameters
    ----------
    given : (start, end) or {"train": (start, end), "test": (start, end)}

    Raises
    ------
    ValueError
        If a role is missing or unknown, or a pair is not two numbers of rows.

    Examples
    --------
    >>> as_trims((10, 5)).test
    (10, 5)
    """
    if isinstance(given, Mapping):
        if set(given) != {"train", "test"}:
            raise ValueError(
                f"trims has the keys {sorted(given)}: give 'train' and 'test', or one pair for both"
            )
        pairs = (given["train"], given["test"])
    else:
        pairs = tuple(given) if isinstance(given, Trims) else (given, given)  # type: ignore[assignment]
    for pair in pairs:
        if len(pair) != 2 or any(rows != int(rows) or rows < 0 for rows in pair):
            raise ValueError(f"trims={given}: (start, end), two numbers of rows of 0 or more")
    return Trims(*((int(start), int(stop)) for start, stop in pairs))


class Standardizer:
    """Z-scores with the mean and standard deviation of the rows it was fitted on.

    z = (x - mean) / sd, with the sd of the population (ddof 0). A column that is constant in the fitted rows
    becomes 0 everywhere, whatever its values elsewhere: it carries nothing that could have been learnt.

    Attributes
    ----------
    mean_, scale_ : (n_features,) float64
        `scale_` is infinite for constant columns.

    Examples
    --------
    >>> Standardizer().fit([[0.0, 5.0], [2.0, 5.0]]).transform([[4.0, 6.0]]).tolist()
    [[3.0, 0.0]]
    """

    mean_: npt.NDArray[np.float64]
    scale_: npt.NDArray[np.float64]

    def fit(self, rows: Rows) -> Standardizer:
        """Learn mean and sd from (n_rows, n_features) rows, or a list of such arrays (runs).

        Raises
        ------
        ValueError
            If there is no row, the widths of the runs differ, or a value is not finite.
        """
        blocks = _blocks(rows)
        width = blocks[0].shape[1]
        self.mean_, self.scale_ = np.empty(width), np.empty(width)
        # A few columns of all runs at a time: no second copy of wide features is made.
        for start in range(0, width, _COLUMNS):
            some = slice(start, start + _COLUMNS)
            matrix = np.concatenate([block[:, some] for block in blocks]).astype(np.float64)
            self.mean_[some] = matrix.mean(axis=0)
            # The mean of equal numbers need not round to that number, so a zero sd is not a safe test.
            constant = np.ptp(matrix, axis=0) == 0
            self.scale_[some] = np.where(constant, np.inf, matrix.std(axis=0))
        return self

    def transform(self, rows: npt.ArrayLike) -> FloatArray:
        """Return the z-scores: float32 for float16 and float32 input, else float64.

        Parameters
        ----------
        rows : (n_rows, n_features) array

        Raises
        ------
        ValueError
            If not fitted, or the number of columns is another one than in `fit`.
        """
        matrix = _matrix(rows)
        if not hasattr(self, "mean_"):
            raise ValueError("this Standardizer is not fitted: call fit(training_rows) first")
        _same_width(matrix, len(self.mean_))
        result = np.empty(matrix.shape, dtype=_result_dtype(matrix))
        for start in range(0, matrix.shape[1], _COLUMNS):
            some = slice(start, start + _COLUMNS)
            result[:, some] = (matrix[:, some].astype(np.float64) - self.mean_[some]) / self.scale_[some]
        return result


def zscore_runs(runs: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """Standardise every run with its own mean and standard deviation; constant columns become 0.

    Parameters
    ----------
    runs : sequence of (n_trs, n_features) arrays
        A single array is refused, because the runs in it would be treated as one.

    Returns
    -------
    list of arrays
        float32 for float16 and float32 input, else float64.

    Raises
    ------
    TypeError
        If `runs` is a single array.
    ValueError
        If a run is empty or has a value that is not finite.

    Examples
    --------
    >>> zscore_runs([[[1.0], [3.0]], [[5.0], [5.0]]])[1].ravel().tolist()
    [0.0, 0.0]
    """
    if isinstance(runs, np.ndarray):
        raise TypeError("runs must be a list with one array for each run; for a single run: [array]")
    return [Standardizer().fit(run).transform(run) for run in runs]


class PrincipalComponents:
    """Principal components of the base features, learnt from training rows alone.

    The components are the leading eigenvectors of the covariance of the fitted rows; ``transform`` returns
    (x - mean) V. Each component is signed so that its largest loading is positive. Fit on the training rows
    of each fold: components of all rows let held-out rows shape the features.

    Parameters
    ----------
    n_components : int >= 1

    Attributes
    ----------
    mean_ : (n_features,) float64
    components_ : (n_components, n_features) float64
        Rows have norm 1 and stand at right angles.
    explained_variance_ratio_ : (n_components,) float64
        Share of the total variance of the fitted rows.

    Raises
    ------
    ValueError
        If ``n_components`` is below 1.

    Examples
    --------
    >>> rows = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    >>> PrincipalComponents(1).fit(rows).explained_variance_ratio_.round(6).tolist()
    [1.0]
    """

    mean_: npt.NDArray[np.float64]
    components_: npt.NDArray[np.float64]
    explained_variance_ratio_: npt.NDArray[np.float64]

    def __init__(self, n_components: int) -> None:
        if n_components < 1:
            raise ValueError(f"n_components={n_components}: at least 1")
        self.n_components = n_components

    def fit(self, rows: Rows) -> PrincipalComponents:
        """Learn the components of (n_rows, n_features) rows, or of a list of runs taken together.

        Raises
        ------
        ValueError
            If there is no row, a value is not finite, or `n_components` exceeds n_rows - 1 or n_features.
        """
        from voxridge.solvers import linalg

        matrix = _stack(rows).astype(np.float64)
        most = min(len(matrix) - 1, matrix.shape[1])
        if self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components}, but rows of shape {matrix.shape} allow at most {most}"
            )
        self.mean_ = matrix.mean(axis=0)
        matrix -= self.mean_
        # The smaller of the two Gram matrices; both have the same non-zero eigenvalues.
        wide = matrix.shape[1] > len(matrix)
        values, vectors = linalg.eigh(linalg.gram(matrix, trans=not wide))
        values, vectors = values[::-1], vectors[::-1][: self.n_components]
        if wide:
            vectors = _orthonormal(linalg.matmul(np.ascontiguousarray(vectors), matrix))
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
        self.components_ = np.ascontiguousarray(vectors * np.where(largest < 0, -1.0, 1.0))
        total = np.maximum(values, 0.0).sum()
        share = np.maximum(values[: self.n_components], 0.0)
        self.explained_variance_ratio_ = share / total if total > 0 else share
        return self

    def transform(self, rows: npt.ArrayLike) -> FloatArray:
        """Return the (n_rows, n_components) coordinates: float32 for float16 and float32 input, else float64.

        Parameters
        ----------
        rows : (n_rows, n_features) array

        Raises
        ------
        ValueError
            If not fitted, or the number of columns is another one than in `fit`.
        """
        from voxridge.solvers import linalg

        matrix = _matrix(rows)
        if not hasattr(self, "mean_"):
            raise ValueError("these PrincipalComponents are not fitted: call fit(training_rows) first")
        _same_width(matrix, len(self.mean_))
        centred = matrix.astype(np.float64) - self.mean_
        return np.asarray(linalg.matmul(centred, self.components_, trans_b=True), dtype=_result_dtype(matrix))


def check_tr_counts(features: Mapping[str, int], responses: Mapping[str, int]) -> None:
    """Raise ValueError unless features and responses have the same runs with the same number of TRs.

    Parameters
    ----------
    features, responses : mapping of run name to number of TRs

    Raises
    ------
    ValueError
        If the runs differ, or a run has another number of rows than its responses.

    Examples
    --------
    >>> check_tr_counts({"story": 300}, {"story": 300})
    """
    missing = [run for run in features if run not in responses]
    extra = [run for run in responses if run not in features]
    if missing or extra:
        raise ValueError(f"the runs differ: only in the features {missing}, only in the responses {extra}")
    unequal = [
        f"{run}: {features[run]} and {responses[run]}" for run in features if features[run] != responses[run]
    ]
    if unequal:
        raise ValueError(
            f"features and responses differ in their number of TRs in {len(unequal)} of {len(features)} runs "
            f"({'; '.join(unequal[:5])}): check the TR, the scans left out at the start, and the trimming of "
            "both"
        )


def compare_tr_counts(counts: Sequence[int], expected: Sequence[float], tolerance: float = 0.0) -> None:
    """Raise ValueError unless the runs have the expected numbers of TRs, to within `tolerance`.

    Parameters
    ----------
    counts, expected : sequences, one entry for each run in the same order
    tolerance : float >= 0, TRs

    Raises
    ------
    ValueError
        If the numbers of runs differ, or a count does; all such runs are named, with the difference where it
        is the same in all.

    Examples
    --------
    >>> compare_tr_counts([282, 298], [282, 298])
    """
    if len(counts) != len(expected):
        raise ValueError(f"{len(counts)} runs, but {len(expected)} are expected")
    gaps = [count - known for count, known in zip(counts, expected, strict=True)]
    wrong = [i for i, gap in enumerate(gaps) if abs(gap) > tolerance]
    if wrong:
        named = "; ".join(f"run {i + 1}: {counts[i]}, expected {expected[i]:g}" for i in wrong)
        same = f", each by {gaps[0]:+g}" if len(wrong) == len(gaps) and len(set(gaps)) == 1 else ""
        raise ValueError(
            f"{len(wrong)} of {len(counts)} runs have another number of TRs than expected{same} ({named}): "
            "check the language, the scans left out before the sound, and that no trim was made before"
        )


def _orthonormal(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Q of a QR factorisation keeps directions that are at right angles already, and completes those of zero
    # variance, whose rows are noise after the product.
    q = scipy.linalg.qr(rows.T, mode="economic")[0]
    return np.asarray(q.T, dtype=np.float64)


def _matrix(rows: npt.ArrayLike) -> FloatArray:
    matrix = np.asarray(rows)
    if matrix.ndim != 2:
        raise ValueError(f"rows must have shape (n_rows, n_features); got {matrix.shape}")
    return matrix


def _blocks(rows: Rows) -> list[FloatArray]:
    """Return the runs that are given, or the one matrix, after the checks."""
    if isinstance(rows, Sequence) and len(rows) == 0:
        raise ValueError("rows must be an array (n_rows, n_features) or a list of at least one such array")
    # An array, or a list of numbers in rows, is one matrix; a list of matrices is a list of runs.
    one = isinstance(rows, np.ndarray) or (
        isinstance(rows, Sequence) and len(rows) > 0 and np.ndim(rows[0]) < 2
    )
    blocks = [_matrix(block) for block in ([rows] if one else rows)]  # type: ignore[arg-type,union-attr]
    widths = {block.shape[1] for block in blocks}
    if len(widths) > 1:
        raise ValueError(f"runs with different numbers of features: {[block.shape for block in blocks]}")
    if sum(len(block) for block in blocks) == 0:
        raise ValueError(f"no rows to learn from: shapes {[block.shape for block in blocks]}")
    first = 0
    for block in blocks:
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(
                f"row {first + row}, column {column} is {block[row, column]}, not a finite number"
            )
        first += len(block)
    return blocks


def _stack(rows: Rows) -> FloatArray:
    blocks = _blocks(rows)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _same_width(matrix: FloatArray, width: int) -> None:
    if matrix.shape[1] != width:
        raise ValueError(f"rows have shape {matrix.shape}, but the fitted ones had {width} columns")


def _result_dtype(matrix: FloatArray) -> type[np.floating]:
    return np.float32 if matrix.dtype in (np.float16, np.float32) else np.float64

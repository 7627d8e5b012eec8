"""Cross-validation folds over runs: what is trained on, what is scored, and the gap between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxridge._warnings import LeakageWarning
from voxridge.solvers.rows import Ranges, ranges_of

Rows = NDArray[np.intp]


class Fold:
    """One split: sorted row indices to train on and to score on. Rows in neither are left out of both.

    Parameters
    ----------
    train, validation : ndarray of int (n_rows,)
        Sorted row indices.

    Examples
    --------
    >>> import numpy as np
    >>> from voxridge.solvers import Fold
    >>> fold = Fold(train=np.array([0, 1, 5]), validation=np.array([3]))
    >>> fold.train_ranges(), fold.excluded(6).tolist()
    ([(0, 2), (5, 6)], [2, 3, 4])
    """

    train: Rows
    validation: Rows

    def __init__(self, train: Rows, validation: Rows) -> None:
        self.train, self.validation = train, validation

    @property
    def n_train(self) -> int:
        """How many rows are trained on."""
        return int(self.train.size)

    def train_ranges(self) -> Ranges:
        """``train`` as ranges [begin, end) of neighbouring rows."""
        return ranges_of(self.train)

    def validation_ranges(self) -> Ranges:
        """``validation`` as ranges [begin, end) of neighbouring rows."""
        return ranges_of(self.validation)

    def excluded(self, n_samples: int) -> Rows:
        """Every row that is not trained on.

        Parameters
        ----------
        n_samples : int
            Rows of the data.
        """
        kept = np.ones(n_samples, dtype=bool)
        kept[self.train] = False
        return np.flatnonzero(kept)


class OneOut(Fold):
    """Sample ``row`` of ``n_samples`` is scored and all others are trained on: as many folds as samples must
    not hold as many indices each."""

    def __init__(self, row: int, n_samples: int) -> None:
        self.validation, self.n_samples = np.array([row], dtype=np.intp), n_samples

    @property
    def train(self) -> Rows:  # type: ignore[override]
        return np.delete(np.arange(self.n_samples), self.validation)

    @property
    def n_train(self) -> int:
        return self.n_samples - 1

    def excluded(self, n_samples: int) -> Rows:
        return self.validation


def make_folds(
    cv: Any, runs: Sequence[int], *, gap: int | str = "auto", longest_delay: int = 0
) -> list[Fold]:
    """Folds for samples in runs.

    Parameters
    ----------
    cv : "leave-one-run-out", "leave-one-out", int, splitter or iterable of (train, test)
        An int k makes k folds of whole neighbouring runs, of about equal length (k contiguous blocks where
        there is a single run). A splitter is asked with ``groups`` = the run of each sample.
    runs : sequence of int
        Run lengths.
    gap : int or "auto"
        Training samples closer than this to a scored sample of the same run are purged. "auto" is
        ``longest_delay``.
    longest_delay : int
        The longest delay of the design, in samples.

    Returns
    -------
    list of Fold

    Raises
    ------
    ValueError
        If there are fewer runs than folds, a fold is empty, trains on what it scores, or points outside the
        data.

    Examples
    --------
    >>> from voxridge.solvers import make_folds
    >>> [fold.validation_ranges() for fold in make_folds("leave-one-run-out", [3, 4])]
    [[(0, 3)], [(3, 7)]]
    >>> make_folds(2, [20], longest_delay=2)[0].train_ranges()  # a single run is cut, and purged at the cut
    [(12, 20)]
    """
    lengths = list(runs)
    n_samples = sum(lengths)
    run_of = np.repeat(np.arange(len(lengths)), lengths)
    width = longest_delay if gap == "auto" else _check_gap(gap)
    if isinstance(cv, str) and cv == "leave-one-out" and width == 0:
        return [OneOut(row, n_samples) for row in range(n_samples)]
    folds = [
        _purge(_check_fold(train, test, n_samples, number), run_of, width, number)
        for number, (train, test) in enumerate(_splits(cv, lengths, run_of), start=1)
    ]
    if not folds:
        raise ValueError(f"cv={cv!r} gave no folds")
    if width < longest_delay and any(_cuts_a_run(fold, run_of) for fold in folds):
        warnings.warn(
            f"gap={width} is shorter than the longest delay ({longest_delay}) and folds cut inside a run: "
            'training and scored samples share features; use gap="auto"',
            LeakageWarning,
            stacklevel=3,
        )
    return folds


def _check_gap(gap: int | str) -> int:
    if isinstance(gap, bool) or not isinstance(gap, int | np.integer) or gap < 0:
        raise ValueError(f'gap={gap!r} must be "auto" or a number of samples >= 0')
    return int(gap)


def _splits(cv: Any, lengths: list[int], run_of: Rows) -> Iterable[tuple[Any, Any]]:
    if isinstance(cv, str):
        if cv == "leave-one-out":
            return ((np.delete(np.arange(run_of.size), row), [row]) for row in range(run_of.size))
        if cv != "leave-one-run-out":
            raise ValueError(
                f'cv={cv!r} is not known; use "leave-one-run-out", "leave-one-out", a number of folds, '
                "a splitter or (train, test) pairs"
            )
        if len(lengths) < 2:
            raise ValueError(
                'cv="leave-one-run-out" needs at least 2 runs, got 1; give runs, '
                "or an int for contiguous folds of one run"
            )
        return _blocks(np.arange(len(lengths)), run_of)
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return (
            _blocks(_whole_runs(int(cv), lengths), run_of)
            if len(lengths) > 1
            else _contiguous(int(cv), lengths[0])
        )
    if hasattr(cv, "split"):
        rows = np.zeros((run_of.size, 1))
        with (
            warnings.catch_warnings()
        ):  # splitters that know no groups say so; offering them is not the user's doing
            warnings.filterwarnings("ignore", message="The groups parameter is ignored", category=UserWarning)
            return list(cv.split(rows, None, run_of))
    if isinstance(cv, Iterable):
        return list(cv)
    raise ValueError(f"cv={cv!r} is not a number of folds, a splitter, or an iterable of (train, test)")


def _whole_runs(n_folds: int, lengths: list[int]) -> Rows:
    """The fold of each run: neighbouring runs together, cut where the samples divide most evenly."""
    if n_folds < 2:
        raise ValueError(f"cv={n_folds}: at least 2 folds are needed")
    if n_folds > len(lengths):
        raise ValueError(
            f"cv={n_folds} asks for more folds than there are runs ({len(lengths)}); "
            "runs are never cut, so use fewer folds"
        )
    middles = np.cumsum(lengths) - np.asarray(lengths) / 2
    fold_of = np.minimum((middles / sum(lengths) * n_folds).astype(np.intp), n_folds - 1)
    least = np.arange(len(lengths)) - (len(lengths) - n_folds)
    for run in range(len(lengths)):  # every fold gets a run: no jump over a fold, none left for the end
        before = fold_of[run - 1] if run else -1
        fold_of[run] = max(min(fold_of[run], before + 1), least[run], before, 0)
    return fold_of


def _blocks(fold_of_run: Rows, run_of: Rows) -> Iterator[tuple[Rows, Rows]]:
    fold_of = fold_of_run[run_of]
    for fold in range(int(fold_of_run.max()) + 1):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _contiguous(n_folds: int, n_samples: int) -> Iterator[tuple[Rows, Rows]]:
    if n_folds < 2 or n_folds > n_samples:
        raise ValueError(f"cv={n_folds}: between 2 and {n_samples} folds can be made of {n_samples} samples")
    everything = np.arange(n_samples)
    for block in np.array_split(everything, n_folds):
        yield np.setdiff1d(everything, block, assume_unique=True), block


def _check_fold(train: Any, test: Any, n_samples: int, number: int) -> Fold:
    sets = []
    for rows, what in ((train, "train"), (test, "test")):
        index = np.asarray(rows)
        if index.dtype == bool:
            if index.shape != (n_samples,):
                raise ValueError(
                    f"fold {number}: the boolean {what} mask has shape {index.shape}, expected ({n_samples},)"
                )
            index = np.flatnonzero(index)
        if index.size == 0:
            raise ValueError(f"fold {number} has no {what} samples")
        if not np.issubdtype(index.dtype, np.integer):
            raise ValueError(
                f"fold {number}: {what} indices must be integers or a boolean mask, got dtype {index.dtype}"
            )
        unique = np.unique(index).astype(np.intp)
        if unique[0] < 0 or unique[-1] >= n_samples:
            raise ValueError(
                f"fold {number}: {what} indices run from {unique[0]} to {unique[-1]}, "
                f"the data have {n_samples} samples"
            )
        if unique.size != index.size:
            raise ValueError(
                f"fold {number}: {what} indices repeat; samples drawn with replacement are not supported, "
                "use sample weights"
            )
        sets.append(unique)
    shared = np.intersect1d(sets[0], sets[1])
    if shared.size:
        raise ValueError(
            f"fold {number} trains on {shared.size} of the samples that it scores (the first is {shared[0]})"
        )
    return Fold(*sets)


def _purge(fold: Fold, run_of: Rows, gap: int, number: int) -> Fold:
    if gap == 0 or not _cuts_a_run(fold, run_of):
        return fold
    near = np.zeros(run_of.size, dtype=bool)
    for step in range(1, gap + 1):
        for moved in (fold.validation - step, fold.validation + step):
            inside = (moved >= 0) & (moved < run_of.size)
            same_run = run_of[moved[inside]] == run_of[fold.validation[inside]]
            near[moved[inside][same_run]] = True
    train = fold.train[~near[fold.train]]
    if train.size == 0:
        raise ValueError(
            f"fold {number}: no training sample is further than gap={gap} from the scored ones; "
            "use a shorter gap or fewer folds"
        )
    return Fold(train, fold.validation)


def _cuts_a_run(fold: Fold, run_of: Rows) -> bool:
    return bool(np.intersect1d(run_of[fold.train], run_of[fold.validation]).size)

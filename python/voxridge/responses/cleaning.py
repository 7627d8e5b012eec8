"""Taking drift, head motion and other confounds out of a run, by `nilearn.signal.clean`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxridge.responses.extras import need_nilearn
from voxridge.streams.identity import Identity, array_identity
from voxridge.streams.segments import Segment, read_dtype

Array = NDArray[Any]
_BLOCK_BYTES = 16 << 20
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Cleaning:
    """What is taken out of the responses of every run before they are stored.

    With the cosine filter all of it is one projection: ``y - C (C'C)^-1 C'y``, where C holds a constant and
    a line (``detrend``), the cosines below ``high_pass``, the confounds, and an indicator of every bad row.
    Then each column is brought to mean 0 and sample standard deviation 1 (``standardise``).

    Parameters
    ----------
    detrend : bool
        Take out a line.
    high_pass : float or None
        Hz; slower changes are taken out. None: no filter.
    filter : "cosine" or "butterworth"
        "cosine" is the discrete cosine set of SPM; "butterworth" is what nilearn's maskers do, of order 5.
    low_pass : float or None
        Hz; only with "butterworth".
    standardise : bool
        Z-score each column over the rows that are kept.
    strategy : tuple of str
        Which confounds of fMRIPrep are used: see `nilearn.interfaces.fmriprep.load_confounds`; () for none.
    options : mapping
        Its further arguments. Default: ``{"motion": "derivatives"}``, six motion parameters and their
        derivatives.
    bad_rows : "regress" or "drop"
        Rows that fMRIPrep marks as not yet in steady state, or that scrubbing marks. "regress": they stay, so
        that rows keep their times, and become 0 before z-scoring. "drop": they are left out.

    Raises
    ------
    ValueError
        A value that is none of these, or two high-pass filters at once.

    References
    ----------
    Lindquist, Geuter, Wager & Caffo (2019), Human Brain Mapping 40, 2358-2376: why confounds and filter must
    be one projection. Ciric et al. (2017), NeuroImage 154, 174-187: the confound strategies.

    Examples
    --------
    >>> Cleaning(high_pass=1 / 100, strategy=("motion", "wm_csf")).provenance()["strategy"]
    ['motion', 'wm_csf']
    """

    detrend: bool = True
    high_pass: float | None = 1 / 128
    filter: Literal["cosine", "butterworth"] = "cosine"
    low_pass: float | None = None
    standardise: bool = True
    strategy: tuple[str, ...] = ("motion",)
    options: Mapping[str, Any] = field(default_factory=lambda: {"motion": "derivatives"})
    bad_rows: Literal["regress", "drop"] = "regress"

    def __post_init__(self) -> None:
        if isinstance(self.strategy, str):
            raise ValueError(f"strategy is {self.strategy!r}; give a tuple, such as ({self.strategy!r},)")
        for name, known in (("filter", ("cosine", "butterworth")), ("bad_rows", ("regress", "drop"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give one of {known}")
        for name in ("high_pass", "low_pass"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(
                    f"{name} is {value}; give Hz above 0 (1/128 takes out what is slower than 128 s)"
                )
        if self.low_pass is not None and self.filter == "cosine":
            raise ValueError(
                'low_pass needs filter="butterworth"; the cosine filter takes out slow changes only'
            )
        if self.high_pass is not None and "high_pass" in self.strategy:
            raise ValueError('strategy has "high_pass", the cosines of fMRIPrep: then give high_pass=None')

    def provenance(self) -> dict[str, Any]:
        """The settings, as JSON can hold them."""
        found = asdict(self)
        return found | {"strategy": list(self.strategy), "options": dict(self.options)}

    def apply(
        self,
        data: ArrayLike,
        *,
        tr: float,
        confounds: ArrayLike | None = None,
        bad: ArrayLike | None = None,
        trim: tuple[int, int] = (0, 0),
    ) -> Array:
        """Clean one run.

        Parameters
        ----------
        data : (n_TR, n_columns)
        tr : float
            Seconds between two rows.
        confounds : (n_TR, n_confounds), optional
        bad : (n_bad,) int, optional
            Rows that are not to be used; see ``bad_rows``.
        trim : (int, int)
            Rows cut at the start and the end after the filter, before z-scoring.

        Returns
        -------
        ndarray (n_kept, n_columns), float32 or float64 as ``data``
            A column with NaN is NaN throughout, one that does not vary is 0.

        Raises
        ------
        ValueError
            Confounds of another length or with NaN, no row left, or more confounds than rows.
        ImportError
            nilearn is not installed.

        Examples
        --------
        >>> import numpy
        >>> line = numpy.arange(50.0)[:, None] * [1.0, 2.0]
        >>> noise = numpy.random.default_rng(0).standard_normal((50, 2))
        >>> cleaned = Cleaning(strategy=()).apply(line + noise, tr=2.0)
        >>> bool(abs(numpy.polyfit(numpy.arange(50), cleaned, 1)[0]).max() < 1e-12)
        True
        """
        given = np.asarray(data)
        run = np.array(given, dtype=read_dtype(given.dtype, "data"))
        if run.ndim != 2:
            raise ValueError(f"data has shape {run.shape}; give (n_TR, n_columns)")
        return clean_in_place(self, run, tr=tr, confounds=confounds, bad=bad, trim=trim)


@dataclass(frozen=True)
class _Plan:
    """What is the same for all columns of a run: arguments for nilearn, rows to use, rows to keep."""

    settings: dict[str, Any]
    good: NDArray[np.intp]
    kept: NDArray[np.intp]


def clean_in_place(
    cleaning: Cleaning, run: Array, *, tr: float, confounds: Any, bad: Any, trim: tuple[int, int]
) -> Array:
    """As `Cleaning.apply`, in the memory of ``run``, which is overwritten."""
    plan = _plan(cleaning, len(run), tr, confounds, bad, trim)
    width = max(1, _BLOCK_BYTES // (8 * len(run)))
    for first in range(0, run.shape[1], width):
        block = run[:, first : first + width]
        block[: plan.kept.size] = _clean_block(cleaning, plan, block)
    return run[: plan.kept.size]


def _plan(cleaning: Cleaning, rows: int, tr: float, confounds: Any, bad: Any, trim: tuple[int, int]) -> _Plan:
    unused = np.zeros(0, np.intp) if bad is None else np.unique(np.asarray(bad, np.intp))
    if unused.size and not 0 <= unused[0] <= unused[-1] < rows:
        raise ValueError(f"bad has rows {unused.tolist()}; the run has rows 0 to {rows - 1}")
    nuisance = np.concatenate([_check_confounds(confounds, rows), _cosines(cleaning, rows, tr)], axis=1)
    good = np.setdiff1d(np.arange(rows), unused)
    times = good if cleaning.bad_rows == "drop" else np.arange(rows)
    kept = times[(times >= trim[0]) & (times < rows - trim[1])]
    if kept.size < 2 or nuisance.shape[1] >= good.size:
        raise ValueError(
            f"the run has {rows} rows, {unused.size} of them bad, trim takes {trim} and there are "
            f"{nuisance.shape[1]} confounds: nothing is left; use fewer confounds or a smaller trim"
        )
    if cleaning.filter == "cosine":
        nuisance = np.concatenate([nuisance, np.eye(rows)[:, unused]], axis=1)
    settings = {
        "detrend": cleaning.detrend,
        "standardize": None,
        "confounds": nuisance if nuisance.shape[1] else None,
        **_filter(cleaning, tr, good if unused.size else None),
    }
    return _Plan(settings, good, kept)


def _cosines(cleaning: Cleaning, n_rows: int, tr: float) -> NDArray[np.float64]:
    """The slow cosines, none for a run shorter than half the longest period kept.

    They go in as confounds: asked for as a filter, nilearn leaves all of them out as soon as one confound
    follows one of them (r > 0.9), as a slow turn of the head does.
    """
    from voxridge.study.prepare import drift_basis

    if cleaning.filter != "cosine" or cleaning.high_pass is None:
        return np.zeros((n_rows, 0))
    return drift_basis(n_rows, tr, 1 / cleaning.high_pass)[:, 1:]


def _filter(cleaning: Cleaning, tr: float, good: NDArray[np.intp] | None) -> dict[str, Any]:
    """What nilearn is told; it bridges bad rows before a Butterworth filter, and then leaves them out."""
    if cleaning.filter == "cosine":
        return {"filter": False}
    if cleaning.high_pass is None and cleaning.low_pass is None:
        return {"filter": False, "sample_mask": good}
    cutoffs = {"high_pass": cleaning.high_pass, "low_pass": cleaning.low_pass, "t_r": tr}
    return {"filter": "butterworth", "sample_mask": good, **cutoffs}


def _clean_block(cleaning: Cleaning, plan: _Plan, block: Array) -> Array:
    """The kept rows of some columns, float64."""
    usable, broken = _usable(block)
    cleaned = np.zeros((plan.kept.size, block.shape[1]))
    if usable.any():
        given = block[:, usable].astype(np.float64)
        # A column that the confounds explain to the last bit has nothing left but rounding.
        floor = np.abs(given).max(axis=0) * max(_ROUNDING, 4 * np.finfo(block.dtype).eps)
        found = need_nilearn("signal").clean(given, **plan.settings)
        if len(found) < len(block):  # the bad rows were left out
            found = _spread(found, plan.good, len(block))
        rows = found[plan.kept]
        cleaned[:, usable] = zscore(rows, floor) if cleaning.standardise else rows
    cleaned[:, broken] = np.nan
    return cleaned


class CleanedSegment:
    """A run that is cleaned when its first row is read, and in memory until its last one was."""

    in_memory = False

    def __init__(
        self,
        raw: Segment,
        cleaning: Cleaning,
        *,
        tr: float,
        confounds: Array | None = None,
        bad: Array | None = None,
        trim: tuple[int, int] = (0, 0),
    ) -> None:
        self.raw, self.cleaning, self.tr, self.trim = raw, cleaning, tr, trim
        self.confounds, self.bad = (
            confounds,
            np.zeros(0, np.intp) if bad is None else np.asarray(bad, np.intp),
        )
        n_rows = int(raw.shape[0])
        kept = np.arange(trim[0], n_rows - trim[1])
        gone = np.intersect1d(kept, self.bad).size if cleaning.bad_rows == "drop" else 0
        self.shape = (kept.size - gone, int(raw.shape[1]))
        self.dtype = read_dtype(raw.dtype, "responses")
        self.row_multiple = max(1, self.shape[0])
        self._data: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}

    def view(self, rows: slice, columns: slice) -> Array | None:
        return None

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        if self._data is None:
            run = np.empty((int(self.raw.shape[0]), self.shape[1]), self.dtype)
            self.raw.read_into(run, slice(0, len(run)), slice(0, self.shape[1]))
            self._data = clean_in_place(
                self.cleaning, run, tr=self.tr, confounds=self.confounds, bad=self.bad, trim=self.trim
            )
        np.copyto(out, self._data[rows, columns], casting="same_kind")
        if rows.stop == self.shape[0] and columns.stop == self.shape[1]:
            self._data = None

    def identity(self, *, contents: bool = True) -> Identity:
        used = None if self.confounds is None else array_identity(self.confounds)
        how = {"cleaning": self.cleaning.provenance(), "tr": self.tr, "trim": list(self.trim)}
        return self.raw.identity(contents=contents) | how | {"confounds": used, "bad": self.bad.tolist()}


class RowsSegment:
    """Some consecutive rows of another segment."""

    def __init__(self, whole: Segment, first: int, last: int) -> None:
        self.whole, self.first = whole, first
        self.shape = (max(0, last - first), int(whole.shape[1]))
        self.dtype, self.in_memory, self.row_multiple = whole.dtype, whole.in_memory, whole.row_multiple

    def view(self, rows: slice, columns: slice) -> Array | None:
        return self.whole.view(self._inside(rows), columns)

    def read_into(self, out: Array, rows: slice, columns: slice) -> None:
        self.whole.read_into(out, self._inside(rows), columns)

    def identity(self, *, contents: bool = True) -> Identity:
        part = {"rows": [self.first, self.first + self.shape[0]], "shape": list(self.shape)}
        return self.whole.identity(contents=contents) | part

    def _inside(self, rows: slice) -> slice:
        return slice(self.first + rows.start, self.first + rows.stop)


def zscore(values: Array, floor: Array | None = None) -> Array:
    """Mean 0 and sample standard deviation 1 for each column, float64; 0 where the latter is below a floor.

    ``floor`` (n_columns,) is what rounding may leave; default: 1e-12 of the largest number.
    """
    centred = np.asarray(values, np.float64) - np.mean(values, axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(centred).sum(axis=0) / max(1, len(centred) - 1))
    least = _ROUNDING * np.abs(values).max(axis=0, initial=0.0) if floor is None else floor
    empty = spread <= least
    return np.where(empty, 0.0, centred / np.where(empty, 1.0, spread))


def _spread(values: Array, places: NDArray[np.intp], n_rows: int) -> Array:
    """Rows put in their places, 0 in the others."""
    out = np.zeros((n_rows, values.shape[1]))
    out[places] = values
    return out


def _usable(block: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Columns that are finite and vary; columns with NaN or infinity."""
    with np.errstate(invalid="ignore"):
        low, high = block.min(axis=0), block.max(axis=0)
    broken = ~(np.isfinite(low) & np.isfinite(high))
    return ~broken & (low < high), broken


def _check_confounds(confounds: Any, n_rows: int) -> NDArray[np.float64]:
    if confounds is None:
        return np.zeros((n_rows, 0))
    found = np.asarray(confounds, dtype=np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != n_rows:
        raise ValueError(
            f"confounds has shape {found.shape}, but the run has {n_rows} rows: give one per row"
        )
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(
            f"confounds has {found[row, column]} in row {row}, column {column}; remove or fill it"
        )
    return found

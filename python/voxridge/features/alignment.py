"""From the rows of a stimulus (words, phones, frames of sound) to the rows of a scan, all in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from voxridge.features import design
from voxridge.features.design import Trims, as_trims, compare_tr_counts
from voxridge.features.hrf import hrf_matrix
from voxridge.features.lanczos import (
    FloatArray,
    Outside,
    _finite,
    _rising,
    apply_matrix,
    check_inside,
    lanczos_matrix,
    mean_step,
)
from voxridge.features.words import Words

Method = Literal["lanczos", "glover", "spm", "mean", "sum"]
Frame = Literal["middle", "start"]
Role = Literal["train", "test"]
ZScore = Literal["run", "train"]
Language = Literal["EN", "CN", "FR"]

_MIN_ONSET = -24.0

# Scans of every run of ds003643 after preprocessing, and how many of them follow the end of the story.
_LITTLE_PRINCE: dict[Language, tuple[tuple[int, ...], int]] = {
    "EN": ((282, 298, 340, 303, 265, 343, 325, 292, 368), 4),
    "CN": ((283, 322, 322, 307, 293, 392, 364, 293, 401), 0),
    "FR": ((309, 326, 354, 315, 293, 378, 332, 294, 336), 2),
}


@dataclass(frozen=True)
class Alignment:
    """How rows of a stimulus become rows of a scan, and what is left out and standardised afterwards.

    Delays (FIR) are no part of it: the solver makes them, run by run.

    Parameters
    ----------
    tr : float > 0, seconds
        Repetition time.
    method : str
        ``"lanczos"``: low-pass interpolation, not renormalised, so that the word rate stays in the result.
        ``"glover"``, ``"spm"``: every row is an event from its onset to its offset, convolved with the
        haemodynamic response. ``"mean"``, ``"sum"``: of the rows that start in each TR (0 where none does).
    offset : float, seconds
        Start of the first TR on the clock of the stimulus; negative if the scan starts first.
    lobes, cutoff_mult
        Lanczos alone: half width of the window, and its cut-off in units of 1 / TR.
    frame : "middle" or "start"
        Which moment of a TR its row stands for.
    trims : (start, end) or {"train": (start, end), "test": (start, end)}
        Rows that :meth:`trim` leaves out at the ends of every run.
    zscore : "train", "run" or None
        What :meth:`standardise` does: with mean and sd of the training rows (nothing of the test set is
        used), of each run by itself, or nothing.
    outside : "error" or "keep"
        What to do with rows whose time lies in none of the TRs: raise, or use what reaches the scan.
    expected_trs : sequence of int, optional
        Scans that each run of a known data set has, for :meth:`check_trs`.
    extra_trs : int, optional
        Scans after the end of the stimulus, for :meth:`check_trs` with durations.

    Raises
    ------
    ValueError
        If a value is out of its range or unknown.

    Examples
    --------
    >>> words = Words(("so", "it", "went"), [0.1, 0.5, 2.2], [0.4, 0.9, 3.0])
    >>> Alignment(2.0, "sum").to_trs(np.ones((3, 1)), words, 3).ravel().tolist()
    [2.0, 1.0, 0.0]
    """

    tr: float
    method: Method = "lanczos"
    offset: float = 0.0
    lobes: int = 3
    cutoff_mult: float = 1.0
    frame: Frame = "middle"
    trims: Trims | tuple[int, int] | Mapping[str, tuple[int, int]] = (0, 0)
    zscore: ZScore | None = "train"
    outside: Outside = "error"
    expected_trs: tuple[int, ...] | None = None
    extra_trs: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tr) and self.tr > 0 and math.isfinite(self.offset)):
            raise ValueError(
                f"tr={self.tr} and offset={self.offset}: tr must be a positive number of seconds, offset a "
                "finite one"
            )
        _check_choice("method", self.method, get_args(Method))
        _check_choice("frame", self.frame, get_args(Frame))
        _check_choice("zscore", self.zscore, (*get_args(ZScore), None))
        _check_choice("outside", self.outside, get_args(Outside))
        if self.lobes < 1 or not (math.isfinite(self.cutoff_mult) and self.cutoff_mult > 0):
            raise ValueError(
                f"lobes={self.lobes} and cutoff_mult={self.cutoff_mult}: at least 1, and a positive number"
            )
        object.__setattr__(self, "trims", as_trims(self.trims))
        if self.expected_trs is not None:
            object.__setattr__(self, "expected_trs", tuple(int(count) for count in self.expected_trs))

    @classmethod
    def antonello_2023(cls, *, tr: float = 2.0045, offset: float = -10.0) -> Alignment:
        """Antonello, Vaidya & Huth 2023 (arXiv:2305.11863): Lanczos, test stories trimmed by 50 rows.

        Their trigger times differ from run to run: where you have them, give the middles of the scans to
        :meth:`to_trs` in place of a number. Features of each story are z-scored by themselves.

        Parameters
        ----------
        tr, offset : float, seconds
            The sound starts 10 s after the first scan in the public data (ds003020).

        Raises
        ------
        ValueError
            If `tr` or `offset` is out of its range.
        """
        trims = {"train": (10, 5), "test": (50, 5)}
        return cls(tr, offset=offset, trims=trims, zscore="run", outside="keep")

    @classmethod
    def lebel_2023(cls) -> Alignment:
        """LeBel et al. 2023 (doi:10.1038/s41597-023-02437-z), data set ds003020: Lanczos, trims 10 and 5.

        Scans every 2 s of which the first starts 10 s before the sound. A story whose entry in
        ``respdict.json`` is n has n - 5 of them here, and n - 20 responses: those after the trim.
        """
        return cls(2.0, offset=-10.0, trims=(10, 5), zscore="run", outside="keep")

    @classmethod
    def little_prince(cls, language: Language) -> Alignment:
        """Bonnasse-Gahot & Pallier 2024 (arXiv:2405.17992), data set ds003643: Glover response, trims of 10.

        All preprocessed runs start with the audio; they differ by language in the scans after its end: four
        in English (whose four lead-in scans have been taken out: raw runs need ``offset=-8``), none in
        Chinese, two in French. :meth:`check_trs` names a run that differs.

        Parameters
        ----------
        language : "EN", "CN" or "FR"

        Raises
        ------
        ValueError
            If the language is another one.

        Examples
        --------
        >>> sum(Alignment.little_prince("EN").expected_trs)
        2816
        """
        _check_choice("language", language, get_args(Language))
        counts, extra = _LITTLE_PRINCE[language]
        return cls(
            2.0, "glover", trims=(10, 10), zscore="run", outside="keep", expected_trs=counts, extra_trs=extra
        )

    def tr_times(self, n_trs: int) -> FloatArray:
        """Return the moment that each of `n_trs` rows stands for, (n_trs,) float64 seconds.

        Raises
        ------
        ValueError
            If ``n_trs`` is below 1.
        """
        if n_trs < 1 or n_trs != int(n_trs):
            raise ValueError(f"n_trs={n_trs}: a run has a whole number of TRs, at least one")
        return np.asarray(self.offset + (np.arange(n_trs) + self._lead) * self.tr, dtype=np.float64)

    def matrix(self, times: Words | npt.ArrayLike, n_trs: int | npt.ArrayLike) -> Any:
        """Return the weights with which rows at `times` enter the scans, sparse (n_trs, n_rows) float64.

        Parameters
        ----------
        times, n_trs
            See :meth:`to_trs`.

        Raises
        ------
        ValueError, ImportError
            As there.
        """
        onset, offset = _events(times)
        scans = self.tr_times(int(n_trs)) if isinstance(n_trs, (int, np.integer)) else _rising(n_trs)
        edges = np.append(scans, scans[-1] + self.tr) - self._lead * self.tr
        if self.method == "lanczos":
            middle = onset if offset is None else (onset + offset) / 2
            check_inside(middle, edges, self.outside)
            step = mean_step(scans, "tr_times") if len(scans) > 1 else self.tr
            return lanczos_matrix(middle, scans, lobes=self.lobes, cutoff=self.cutoff_mult / step)
        check_inside(onset, edges, self.outside)
        if self.method in ("mean", "sum"):
            return _pooling(onset, edges, self.method == "mean")
        if offset is None:
            raise ValueError(
                f"method={self.method!r} takes events that last: give Words, or (n_rows, 2) onsets and "
                "offsets"
            )
        return self._hrf(onset, offset, scans)

    def to_trs(
        self, features: npt.ArrayLike, times: Words | npt.ArrayLike, n_trs: int | npt.ArrayLike
    ) -> npt.NDArray[np.floating]:
        """Bring the features of one run to its scans: ``matrix(times, n_trs) @ features``.

        Parameters
        ----------
        features : (n_rows, n_features) float
            One row per word, phone or frame.
        times : Words, (n_rows,) or (n_rows, 2) float, seconds
            When: words, one time of each row, or onset and offset. Lanczos takes the middle, "mean" and
            "sum" take the onset.
        n_trs : int, or (n_trs,) float, seconds
            Number of scans; or, where they were recorded, the times that stand for them (`frame`).

        Returns
        -------
        (n_trs, n_features) array
            float64 if `features` are float64 or integers, else float32.

        Raises
        ------
        ValueError
            If there is not one time for every row, a time is not finite or an event ends before it starts, a
            row lies outside the scan (unless ``outside="keep"``), or the scans do not rise.
        ImportError
            If the method is a haemodynamic response and nilearn is not installed.
        """
        rows = np.asarray(features)
        n_times = len(times) if isinstance(times, Words) else len(np.asarray(times))
        if rows.ndim != 2 or len(rows) != n_times:
            raise ValueError(
                f"features has shape {rows.shape}, but there are {n_times} times: give (n_rows, n_features) "
                "and one time for each row"
            )
        return apply_matrix(self.matrix(times, n_trs), rows)

    def runs_to_trs(
        self,
        features: Sequence[npt.ArrayLike],
        times: Sequence[Words | npt.ArrayLike],
        n_trs: Sequence[int | npt.ArrayLike],
        *,
        role: Role = "train",
    ) -> list[npt.NDArray[np.floating]]:
        """Bring every run of a list to its own scans and trim it; runs never touch each other.

        Parameters
        ----------
        features, times, n_trs : sequences, one entry for each run
            See :meth:`to_trs`.
        role : "train" or "test"
            Which trim.

        Raises
        ------
        ValueError
            If the lists differ in length, or as in :meth:`to_trs`, with the number of the run.
        """
        if not len(features) == len(times) == len(n_trs):
            raise ValueError(
                f"features, times and n_trs hold {len(features)}, {len(times)} and {len(n_trs)} runs: give "
                "one of each per run"
            )
        aligned = []
        for run, (rows, when, count) in enumerate(zip(features, times, n_trs, strict=True)):
            try:
                aligned.append(self.trim(self.to_trs(rows, when, count), role))
            except ValueError as error:
                raise ValueError(f"run {run}: {error}") from error
        return aligned

    def trim(
        self, array: npt.ArrayLike, role: Role = "train", *, already: tuple[int, int] = (0, 0)
    ) -> npt.NDArray[np.floating]:
        """Leave out the rows of `trims` at the ends of a run; a copy is not made.

        Parameters
        ----------
        array : (n_trs, ...) array
            Features or responses of one run.
        role : "train" or "test"
        already : (start, end)
            Rows that are gone already, as in the responses of ds003020, which are stored with (10, 5).

        Raises
        ------
        ValueError
            If the role is unknown, no row is left, or more rows are gone than should be.

        Examples
        --------
        >>> Alignment.antonello_2023().trim(np.arange(291), "test", already=(10, 5)).shape
        (251,)
        """
        _check_choice("role", role, get_args(Role))
        wanted = getattr(self.trims, role)
        start, stop = wanted[0] - already[0], wanted[1] - already[1]
        if start < 0 or stop < 0:
            raise ValueError(f"already={already}: more rows are gone than the {role} trim {wanted} asks for")
        return design.trim(array, start, stop)

    def standardise(
        self, train_runs: Sequence[npt.ArrayLike], test_runs: Sequence[npt.ArrayLike] = ()
    ) -> tuple[list[npt.NDArray[np.floating]], list[npt.NDArray[np.floating]]]:
        """Return (train, test) runs in z-scores, as `zscore` says; constant columns become 0.

        Parameters
        ----------
        train_runs, test_runs : sequences of (n_trs, n_features) arrays
            After the trim, so that rows which are left out do not count.

        Raises
        ------
        TypeError
            If one of them is a single array.
        ValueError
            If there is no training run, a run is empty, widths differ or a value is not finite.
        """
        if isinstance(train_runs, np.ndarray) or isinstance(test_runs, np.ndarray):
            raise TypeError("train_runs and test_runs must be lists with one array for each run")
        if self.zscore is None:
            return [np.asarray(run) for run in train_runs], [np.asarray(run) for run in test_runs]
        if self.zscore == "run":
            return design.zscore_runs(train_runs), design.zscore_runs(test_runs)
        fitted = design.Standardizer().fit(train_runs)
        return [fitted.transform(run) for run in train_runs], [fitted.transform(run) for run in test_runs]

    def check_trs(self, counts: Sequence[int], durations: Sequence[float] | None = None) -> None:
        """Raise ValueError unless the runs have the scans that the data set is known to have.

        Parameters
        ----------
        counts : sequence of int
            Scans of each run, before the trim.
        durations : sequence of float, seconds, optional
            Length of each run's stimulus: checked to within two TRs against the scans and `extra_trs`.

        Raises
        ------
        ValueError
            If a count differs; all such runs are named, with the difference where it is the same in all.
        """
        if self.expected_trs is not None:
            compare_tr_counts(list(counts), list(self.expected_trs), 0.0)
        if durations is not None:
            extra = (self.extra_trs or 0) - self.offset / self.tr
            compare_tr_counts(list(counts), [seconds / self.tr + extra for seconds in durations], 2.0)

    def provenance(self) -> dict[str, Any]:
        """Return all settings as a dictionary that can be written as JSON."""
        fields = dataclasses.asdict(self)
        fields["trims"] = {role: list(getattr(self.trims, role)) for role in get_args(Role)}
        fields["expected_trs"] = None if self.expected_trs is None else list(self.expected_trs)
        return {"kind": "alignment", **fields}

    @property
    def _lead(self) -> float:
        return 0.5 if self.frame == "middle" else 0.0

    def _hrf(self, onset: FloatArray, offset: FloatArray, scans: FloatArray) -> Any:
        # The clock of the scans: nilearn's grid asks for a run that does not end before time 0.
        clock = scans[0] - self._lead * self.tr
        reached = np.flatnonzero(onset >= scans[0] + _MIN_ONSET)
        weights = hrf_matrix(
            onset[reached] - clock,
            (offset - onset)[reached],
            scans - clock,
            model=self.method,  # type: ignore[arg-type]
            min_onset=_MIN_ONSET,
        ).tocoo()
        shape = (len(scans), len(onset))
        return sparse.csr_array((weights.data, (weights.row, reached[weights.col])), shape=shape)


def _check_choice(name: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r} is unknown: use one of {', '.join(map(repr, known))}")


def _events(times: Words | npt.ArrayLike) -> tuple[FloatArray, FloatArray | None]:
    """Return onsets and, where they are given, offsets."""
    if isinstance(times, Words):
        return times.onset, times.offset
    array = np.asarray(times, dtype=np.float64)
    if array.ndim != 2:
        return _finite(array, "times"), None
    if array.shape[1] != 2:
        raise ValueError(f"times has shape {array.shape}: give Words, (n_rows,) times or (n_rows, 2) of them")
    onset, offset = _finite(array[:, 0], "times[:, 0]"), _finite(array[:, 1], "times[:, 1]")
    if (offset < onset).any():
        i = int(np.argmax(offset < onset))
        raise ValueError(f"row {i} ends at {offset[i]:g} s, before it starts at {onset[i]:g} s")
    return onset, offset


def _pooling(onset: FloatArray, edges: FloatArray, mean: bool) -> Any:
    n_trs = len(edges) - 1
    inside = np.flatnonzero((onset >= edges[0]) & (onset <= edges[-1]))
    rows = np.minimum(np.searchsorted(edges, onset[inside], side="right") - 1, n_trs - 1)
    weights = 1.0 / np.bincount(rows, minlength=n_trs)[rows] if mean else np.ones(len(rows))
    return sparse.csr_array((weights, (rows, inside)), shape=(n_trs, len(onset)))

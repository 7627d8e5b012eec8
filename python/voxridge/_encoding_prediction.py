"""Where an EncodingRidge's predictions are made, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxridge._dispatch import CudaDevice, find_device
from voxridge._encoding_job import device_of_inputs, held_design
from voxridge.solvers.design import DelayedDesign, Design
from voxridge.solvers.stream_design import StreamedDesign
from voxridge.solvers.weights import Weights
from voxridge.streams import Source
from voxridge.streams.device_source import DeviceSource

if TYPE_CHECKING:
    from voxridge.encoding import EncodingRidge

Floating = NDArray[Any]


def predicting_design(
    model: EncodingRidge, x: Source, weights: Weights, *, whole: bool
) -> tuple[CudaDevice | None, Design]:
    """The features as a design, and the device that predicts from them; None: the processor.

    Features on a device are predicted from there. Those of the host are, too, where the fit was made on a
    device that is still there and holds what it takes; if they lie in files and not the ``whole`` prediction
    is to be held in memory, the processor reads them a chunk at a time.
    """
    from voxridge.solvers.cuda.predict import can_predict, has_room

    dtype = model._host("intercept_").dtype
    held = device_of_inputs(model.device, [x])
    if isinstance(x, DeviceSource) and held is not None and can_predict(weights):
        return held, held_design(x, weights.delays, dtype)
    if not whole and not x.in_memory:
        return None, StreamedDesign(x, weights.delays, x.runs, dtype=dtype)
    design = DelayedDesign(x.read().astype(dtype, copy=False), weights.delays, x.runs)
    cuda = _device_of_fit(model)
    if cuda is None or not can_predict(weights) or not has_room(cuda, weights, design):
        return None, design
    return cuda, design


def _device_of_fit(model: EncodingRidge) -> CudaDevice | None:
    """The device that the fit was made on, if it is there and may be used."""
    where = model.plan_.device
    if where == "cpu" or model.device == "cpu":
        return None
    try:
        return find_device(where)
    except RuntimeError:  # loaded on a machine without it
        return None


def predict_there(cuda: CudaDevice, weights: Weights, design: Design, intercept: Floating) -> Any:
    """Predictions (n_samples, n_targets) on the device."""
    from voxridge.solvers.cuda.predict import DevicePredictor

    assert isinstance(design, DelayedDesign)
    return DevicePredictor(cuda, weights, design, intercept).whole()


def prediction_tiles(
    cuda: CudaDevice | None, weights: Weights, design: Design, intercept: Floating
) -> Iterator[tuple[int, int, Floating]]:
    """(begin, end, predictions (n_samples, end - begin)) over the targets, on the host."""
    if cuda is not None:
        from voxridge.solvers.cuda.predict import DevicePredictor

        assert isinstance(design, DelayedDesign)
        yield from DevicePredictor(cuda, weights, design, intercept).tiles()
        return
    for begin, end, tile in weights.prediction_tiles(design):
        np.add(tile, intercept[begin:end], out=tile)
        yield begin, end, tile

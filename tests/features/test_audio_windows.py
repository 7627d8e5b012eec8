from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features.audio_windows import (
    audio_windows,
    conv_stack,
    last_frame,
    mel_frames,
    shortest_input,
)

HUBERT = ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))


def test_windows_of_the_study() -> None:
    windows = audio_windows(16000 * 60 + 799)
    assert len(windows) == 600
    assert windows.times[[0, 159, 160, 161, -1]].tolist() == [0.1, 16.0, 16.1, 16.2, 60.0]
    lengths = windows.stop - windows.start
    # They grow from the start of the story to 16.1 s, and stay there.
    assert lengths[:161].tolist() == [1600 * k for k in range(1, 162)]
    assert set(lengths[161:]) == {257600}


def test_no_drift_over_a_long_story() -> None:
    windows = audio_windows(16000 * 1200)
    np.testing.assert_array_equal(windows.stop, 1600 * np.arange(1, 12001))
    assert set((windows.stop - windows.start)[160:]) == {257600}
    # Summing floats would be a sample off here: 0.1 is not a binary fraction.
    odd = audio_windows(44100 * 1200, 44100, context=0.5, chunk=0.1, stride=1 / 3)
    exact = [round(k * Fraction(repr(1 / 3)) * 44100) for k in range(1, len(odd) + 1)]
    assert odd.stop.tolist() == exact


@given(
    n=st.integers(400, 200_000),
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    stride=st.decimals("0.01", 2, places=3).map(float),
    context=st.decimals(0, 5, places=2).map(float),
    chunk=st.decimals("0.05", 1, places=2).map(float),
)
def test_windows_are_where_they_should_be(
    n: int, rate: int, stride: float, context: float, chunk: float
) -> None:
    step, length = Fraction(str(stride)) * rate, (Fraction(str(context)) + Fraction(str(chunk))) * rate
    try:
        windows = audio_windows(n, rate, context=context, chunk=chunk, stride=stride)
    except ValueError:
        assert length < 401 or step * 2 > n or step < 401 > length or n < 401 + step
        return
    offset = next(k for k in range(1, n) if abs(windows.stop[0] - k * step) <= Fraction(1, 2))
    for i, (start, stop) in enumerate(zip(windows.start.tolist(), windows.stop.tolist(), strict=True)):
        assert abs(stop - (i + offset) * step) <= Fraction(1, 2)
        assert start == 0 or abs(stop - start - length) <= Fraction(1, 2)
        assert 400 <= stop - start <= length + Fraction(1, 2)
        assert stop <= n
    # No further whole stride fits.
    assert windows.stop[-1] + step + Fraction(1, 2) >= n


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 300}, "no window of at least 400 samples fits"),
        ({"n_samples": 16000, "stride": 0.00001}, "below one sample"),
        ({"n_samples": 16000, "stride": 0.0}, "below one sample"),
        ({"n_samples": 16000, "context": -1.0}, "context=-1"),
        ({"n_samples": 16000, "chunk": float("nan")}, "nan: a number of seconds"),
        ({"n_samples": 16000, "context": 0.0, "chunk": 0.01}, "no window"),
        ({"n_samples": 16000, "stride": 2.0}, "no window"),
    ],
)
def test_bad_windows(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audio_windows(**arguments)


layers = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 3)).filter(lambda x: x[2] < x[0]),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)  # the first example imports torch
@given(layers=layers, n=st.integers(1, 80), extra=st.integers(0, 40))
def test_last_frame_is_that_of_a_mask_pushed_through(
    layers: list[tuple[int, int, int]], n: int, extra: int
) -> None:
    torch = pytest.importorskip("torch")
    kernels, strides, paddings = zip(*layers, strict=True)
    touched = torch.cat([torch.ones(1, 1, n), torch.zeros(1, 1, extra)], dim=2)
    try:
        for kernel, stride, padding in layers:
            touched = torch.conv1d(touched, torch.ones(1, 1, kernel), stride=stride, padding=padding).sign()
    except RuntimeError:
        with pytest.raises(ValueError, match="too short"):
            last_frame(n, kernels, strides, paddings, n + extra)
        return
    expected = touched[0, 0].nonzero()
    # A stride longer than the kernel can step over the end of the input: the frame before it counts.
    if all(stride <= kernel for kernel, stride, _ in layers):
        assert last_frame(n, kernels, strides, paddings, n + extra) == expected.max()


@pytest.mark.parametrize("n", [400, 719, 720, 1600, 16000, 257600])
def test_last_frame_is_the_last_of_transformers(n: int) -> None:
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    with torch.device("meta"):
        model = transformers.HubertModel(transformers.HubertConfig(num_hidden_layers=1))
    assert last_frame(n, *HUBERT) == model._get_feat_extract_output_lengths(n) - 1
    kernels, strides, _ = conv_stack([layer.conv for layer in model.feature_extractor.conv_layers])
    assert (tuple(kernels), tuple(strides)) == HUBERT


def test_shortest_input_gives_one_frame() -> None:
    assert shortest_input(*HUBERT) == 400
    assert last_frame(400, *HUBERT) == 0
    with pytest.raises(ValueError, match="399 samples are too short"):
        last_frame(399, *HUBERT)


@pytest.mark.parametrize("n", [400, 1600, 1601, 16000, 257600, 479999, 480000])
def test_last_frame_of_whisper(n: int) -> None:
    """The extractor's own mask, pushed through convolutions of the sizes of the model."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    with torch.device("meta"):
        model = transformers.WhisperModel(
            transformers.WhisperConfig(d_model=12, encoder_layers=1, decoder_layers=1)
        )
    stack = conv_stack([model.encoder.conv1, model.encoder.conv2])
    extractor = transformers.WhisperFeatureExtractor()
    sound = np.ones(n, dtype=np.float32)
    mask = extractor(sound, sampling_rate=16000, return_attention_mask=True, return_tensors="pt")
    touched = mask.attention_mask[:, None].float()
    assert touched.sum() == mel_frames(n, extractor.hop_length)
    for kernel, stride, padding in zip(*stack, strict=True):
        touched = torch.conv1d(touched, torch.ones(1, 1, kernel), stride=stride, padding=padding).sign()
    found = last_frame(mel_frames(n, extractor.hop_length), *stack, extractor.nb_max_frames)
    assert found == touched[0, 0].nonzero().max()
    # The frames that see real sound only are those that transformers counts.
    whole = int(model._get_feat_extract_output_lengths(torch.tensor(mel_frames(n, 160))))
    assert found in (whole - 1, whole)
    if n == 257600:
        assert found == 805


def test_bad_totals() -> None:
    with pytest.raises(ValueError, match="n_samples=5 of total=4"):
        last_frame(5, (1,), (1,), None, 4)
    with pytest.raises(ValueError, match="n_samples=0"):
        last_frame(0, (1,), (1,))

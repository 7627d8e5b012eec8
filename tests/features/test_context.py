from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features import GrowingContext


def test_words_follow_the_published_recipe() -> None:
    context = GrowingContext()
    assert context.windows(np.ones(1300, int)) == [
        (0, 0, 512),
        (256, 512, 768),
        (512, 768, 1024),
        (768, 1024, 1280),
        (1024, 1280, 1300),
    ]
    # Word by word: the context grows to the limit, then is cut back to the reset.
    start = 0
    expected = []
    for word in range(1300):
        if word - start == 512:
            start = word - 256
        expected.append(start)
    found = [w.start for w in context.windows(np.ones(1300, int)) for _ in range(w.new, w.stop)]
    assert found == expected


def test_short_run_and_no_run() -> None:
    assert GrowingContext().windows([3, 1, 2]) == [(0, 0, 3)]
    assert GrowingContext().windows([]) == []


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    reset=st.integers(0, 12),
    more=st.integers(6, 20),
    unit=st.sampled_from(["word", "token"]),
)
def test_windows_cover_every_word_once_and_fit(
    sizes: list[int], reset: int, more: int, unit: Literal["word", "token"]
) -> None:
    context = GrowingContext(reset=reset, limit=reset + more, unit=unit)
    windows = context.windows(sizes)
    assert windows[0].new == 0
    assert windows[-1].stop == len(sizes)
    weights = sizes if unit == "token" else [1] * len(sizes)
    for before, after in zip([None, *windows], windows, strict=False):
        assert after.start <= after.new < after.stop
        assert sum(weights[after.start : after.stop]) <= context.limit
        if before is not None:
            assert after.new == before.stop
            kept = sum(weights[after.start : after.new])
            assert kept <= reset
            # Nothing more would have fitted into the context that is kept.
            assert (
                after.start == 0
                or kept + weights[after.start - 1] > reset
                or (kept + weights[after.start - 1] + weights[after.new] > context.limit)
            )


def test_token_windows_differ_from_word_windows() -> None:
    context = GrowingContext(reset=4, limit=8, unit="token")
    assert context.windows([3, 3, 3, 2, 1, 5]) == [(0, 0, 2), (1, 2, 4), (3, 4, 6)]


@pytest.mark.parametrize(("reset", "limit"), [(4, 4), (5, 4), (-1, 4), (0, 0)])
def test_bad_sizes(reset: int, limit: int) -> None:
    with pytest.raises(ValueError, match="0 <= reset < limit"):
        GrowingContext(reset=reset, limit=limit)


def test_bad_unit_and_a_word_that_cannot_fit() -> None:
    with pytest.raises(ValueError, match="unit='words' is unknown"):
        GrowingContext(unit="words")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="word 1 has 9 tokens, more than limit=8"):
        GrowingContext(reset=4, limit=8, unit="token").windows([1, 9])

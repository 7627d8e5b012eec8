from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxridge.features.context import (
    Context,
    FixedContext,
    GrowingContext,
    StridedContext,
    WholeRun,
    Window,
    parse_context,
)


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


def _every_word_once(windows: list[Window], n_words: int) -> None:
    news = [word for window in windows for word in range(window.new, window.stop)]
    assert news == list(range(n_words))
    assert all(window.start <= window.new for window in windows)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    window=st.integers(6, 30),
    stride=st.integers(1, 30),
    unit=st.sampled_from(["word", "token"]),
)
def test_strided_windows(sizes: list[int], window: int, stride: int, unit: Literal["word", "token"]) -> None:
    stride = min(stride, window)
    found = StridedContext(window=window, stride=stride, unit=unit).windows(sizes)
    _every_word_once(found, len(sizes))
    weights = np.array(sizes if unit == "token" else [1] * len(sizes))
    for one in found:
        assert weights[one.start : one.stop].sum() <= window
    for one in found[1:]:
        # At least what is kept, unless whole words or a long new one do not let it.
        context = weights[one.start : one.new].sum()
        spare = max(weights[one.start - 1] if one.start else 0, 0)
        assert context + spare > min(window - stride, window - weights[one.new]) or one.start == 0
    if unit == "word":
        assert [w.stop - w.new for w in found[1:-1]] == [stride] * len(found[1:-1])
        assert all(w.new - w.start == window - stride for w in found[1:])


def test_strided_windows_of_one_token_each_are_those_of_the_tokeniser(gpt2: Any) -> None:
    """The windows that transformers' own tokenisers give for max_length and stride (which is the overlap)."""
    story = " ".join(["so"] * 100)
    encoding = gpt2.tokenizer(
        story, max_length=32, stride=24, truncation=True, return_overflowing_tokens=True
    )
    n_tokens = len(gpt2.tokenizer(story)["input_ids"])
    expected = [len(ids) for ids in encoding["input_ids"]]
    found = StridedContext(window=32, stride=8).windows(np.ones(n_tokens, int))
    assert [w.stop - w.start for w in found] == expected


def test_strided_window_of_the_model() -> None:
    context = StridedContext(stride=64, bos=False)
    assert context.fitted(1024, 1) == StridedContext(window=1023, stride=64, bos=False)
    assert StridedContext(window=80).fitted(None, 1).window == 80
    with pytest.raises(ValueError, match=r"this model has no limit: give the size.*WholeRun"):
        context.fitted(None, 1)
    with pytest.raises(ValueError, match="window=40 and stride=64"):
        context.fitted(40, 0)
    with pytest.raises(ValueError, match="call fitted"):
        context.windows([1, 1])
    with pytest.raises(ValueError, match="window=None counts tokens"):
        StridedContext(unit="word")
    with pytest.raises(ValueError, match="1 <= stride <= window"):
        StridedContext(stride=0)
    with pytest.raises(ValueError, match="word 0 has 90 tokens, more than window=80"):
        StridedContext(window=80).windows([90])


def test_fixed_windows() -> None:
    assert FixedContext(n_words=2).windows(np.ones(4)) == [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 3, 4)]
    assert FixedContext(n_words=0).windows([2, 2]) == [(0, 0, 1), (1, 1, 2)]
    _every_word_once(FixedContext().windows(np.ones(20)), 20)
    assert FixedContext().windows([]) == []
    with pytest.raises(ValueError, match="n_words=-1"):
        FixedContext(n_words=-1)


def test_whole_run() -> None:
    assert WholeRun().windows([3, 0, 2]) == [(0, 0, 3)]
    assert WholeRun().windows([]) == []


@pytest.mark.parametrize(
    "context", [GrowingContext(bos=False), StridedContext(window=9, stride=2), FixedContext(3), WholeRun()]
)
def test_provenance_tells_contexts_apart(context: Context) -> None:
    saved = json.loads(json.dumps(context.provenance()))
    assert isinstance(saved.pop("kind"), str)
    assert type(context)(**saved) == context
    assert context.fitted(128, 1) == context


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("growing", GrowingContext()),
        ("growing:3,9", GrowingContext(3, 9)),
        ("growing:3, 9, token", GrowingContext(3, 9, "token")),
        ("strided", StridedContext()),
        ("strided:32", StridedContext(stride=32)),
        ("strided:32,128", StridedContext(128, 32)),
        ("strided:5,20,word", StridedContext(20, 5, "word")),
        ("fixed:0", FixedContext(0)),
        ("whole", WholeRun()),
    ],
)
def test_contexts_by_their_short_names(text: str, expected: object) -> None:
    assert parse_context(text) == expected


@pytest.mark.parametrize(
    "text", ["", "growing:3", "growing:a,b", "fixed", "fixed:-1", "whole:3", "growing:3,9,line"]
)
def test_short_names_that_say_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="is unknown: use growing:RESET,LIMIT"):
        parse_context(text)


def test_short_names_are_checked_as_the_contexts_are() -> None:
    with pytest.raises(ValueError, match="reset=9 and limit=3"):
        parse_context("growing:9,3")

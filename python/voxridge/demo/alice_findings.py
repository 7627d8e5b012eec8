"""What the Alice data give, one sentence for each finding, and no more than that."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxridge.demo.alice_models import ALL_CONTROLS, ALONE, JOINT, RATE, TIME_ALONE
from voxridge.demo.alice_science import AliceScience, Beside
from voxridge.science.asymmetry import SideInterval
from voxridge.science.permutation import PermutationTest
from voxridge.science.subjects import SubjectTest

LEVEL = 0.05


def findings(science: AliceScience) -> list[str]:
    """Sentences in the order in which they should be read: scope, controls, the model, sides."""
    beside, regions = science.beside, science.shape.regions
    return [
        _scope(science),
        _word_rate(science),
        _other_controls(science),
        listeners_sentence(beside),
        _over_rate(science),
        regions_sentence(beside, regions),
        _group(beside, regions),
        _omega(beside),
        _folds(science),
        _sides(science),
    ]


def spread(low: Any, high: Any, *, signed: bool = True, digits: int = 3) -> str:
    """``-0.004 to +0.012``."""
    sign = "+" if signed else ""
    return f"{float(low):{sign}.{digits}f} to {float(high):{sign}.{digits}f}"


def verdict(low: float, high: float) -> str:
    """Of a gain with this interval: "remains", "disappears" or "turns into a loss"."""
    if low > 0:
        return "remains"
    return "turns into a loss" if high < 0 else "disappears"


def p_text(p: float) -> str:
    """``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _scope(science: AliceScience) -> str:
    return (
        f"One story of twelve minutes, {_count(science.shape.n_regions)} regions and "
        f"{science.shape.n_listeners} listeners: an interval over listeners is about other people who hear "
        "this story, not about other stories."
    )


def _count(number: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six")
    return words[number] if number < len(words) else str(number)


def _word_rate(science: AliceScience) -> str:
    shape, scores = science.shape, science.beside.scores
    r = float(shape.group(scores[RATE].scores).mean())
    rate, joint = (float(shape.group(scores[name].r2).mean()) for name in (RATE, JOINT))
    share = (
        f", {100 * rate / joint:.0f} % of what everything together gives ({joint:.2f})" if joint > 0 else ""
    )
    return (
        f"How many words there are, and when, predicts the group mean with r = {r:.3f}: R2 = {rate:.2f}"
        f"{share}."
    )


def _other_controls(science: AliceScience) -> str:
    """Which of the controls fitted beside the word rate add something for the listeners."""
    tests = {
        name.removeprefix(f"{RATE} + "): t for name, t in science.over_rate.items() if name != TIME_ALONE
    }
    added = [name for name, test in tests.items() if float(test.low) > 0]
    if added:
        return f"Beside the word rate these controls add something over listeners: {', '.join(added)}."
    return f"Over listeners no other control adds to the word rate: not {' nor '.join(tests)}."


def listeners_sentence(beside: Beside) -> str:
    """Whether the gain beside all controls is there over listeners."""
    gain = beside.mean
    word = verdict(float(gain.low), float(gain.high))
    ends = {
        "remains": "",
        "disappears": ": it cannot be told from nothing",
        "turns into a loss": ": the language model costs more than it brings",
    }
    return (
        f"For single listeners the gain of the language model {word} beside all controls{ends[word]} "
        f"(unique R2 {_gain(gain)})."
    )


def _gain(test: SubjectTest) -> str:
    ends = spread(test.low, test.high, digits=4)
    return f"{float(test.mean):+.4f}, 95 % over listeners {ends}, sign flips {p_text(float(test.p_flips))}"


def _over_rate(science: AliceScience) -> str:
    """Controls that fit too much leave a model more to gain than the word rate alone does."""
    shape, scores, beside = science.shape, science.beside.scores, science.beside
    rate, controls = (float(shape.listeners(scores[name].r2).mean()) for name in (RATE, ALL_CONTROLS))
    test, joint = beside.over_rate, beside.joint_over_rate
    why = (
        f"All controls together predict a listener less well than the word rate alone (R2 {controls:.3f} "
        f"against {rate:.3f}), so part of that gain may be their loss. Beside the word rate alone the gain "
        if controls < rate
        else "Beside the word rate alone the gain "
    )
    better = "more" if float(joint.low) > 0 else "less" if float(joint.high) < 0 else "not measurably more"
    return (
        f"{why}{verdict(float(test.low), float(test.high))} ({_gain(test)}); everything together gives "
        f"{better} than the word rate alone ({_gain(joint)})."
    )


def regions_sentence(beside: Beside, regions: tuple[str, ...]) -> str:
    """In which regions it is, all of them allowed for."""
    found = [
        f"{region} ({p_text(float(p))})"
        for region, p, mean in zip(regions, beside.regions.p_family, beside.regions.mean, strict=True)
        if p < LEVEL and mean > 0
    ]
    rest = len(regions) - len(found)
    if not found:
        return (
            f"In none of the {_count(len(regions))} regions taken alone does the gain beside all controls "
            "hold over listeners once all of them are allowed for "
            f"(smallest {p_text(float(np.nanmin(beside.regions.p_family)))})."
        )
    others = f"; in the other {_count(rest)} it does not" if rest else ""
    return (
        "Over listeners, all regions allowed for, the gain beside all controls holds in "
        f"{' and '.join(found)}{others}."
    )


def above_chance(test: PermutationTest, regions: tuple[str, ...]) -> list[str]:
    """Regions whose prediction is above chance, all regions allowed for."""
    return [region for region, p in zip(regions, test.p_family, strict=True) if p < LEVEL]


def _group(beside: Beside, regions: tuple[str, ...]) -> str:
    gain = beside.gain
    better = [
        region
        for region, p, more in zip(regions, gain.p_family, gain.difference, strict=True)
        if p < LEVEL and more > 0
    ]
    found = above_chance(beside.tests[JOINT], regions)
    text = (
        "On the group mean, where the noise of single people is averaged away, the unique R2 is "
        f"{float(beside.group_unique.mean()):+.3f}; over blocks of the story it is above 0 in "
        f"{_of(better, regions)}, all regions allowed for."
    )
    if len(found) == len(regions):
        return f"{text} The prediction as a whole is above chance in all of them."
    return (
        f"{text} By the more careful permutation of blocks even the prediction as a whole is above chance in "
        f"only {_of(found, regions)}: twelve minutes are little, however many people are averaged."
    )


def _of(found: list[str], regions: tuple[str, ...]) -> str:
    return f"{len(found)} of {len(regions)} regions" + (f" ({', '.join(found)})" if found else "")


def _omega(beside: Beside) -> str:
    mean, undefined = beside.omega.mean, int(np.isnan(beside.omega.values).sum())
    note = f"; {undefined} listener(s) have none, as the model alone has no R2 above 0" if undefined else ""
    return (
        f"All controls account for {float(mean.mean):.0f} % (Omega; 95 % over listeners "
        f"{float(mean.low):.0f} to {float(mean.high):.0f} %) of the language model's own R2 on a listener, "
        f"and for {beside.group_omega:.0f} % on the group mean{note}."
    )


def _folds(science: AliceScience) -> str:
    near, far, mixed = (pair[0] for pair in science.folds[TIME_ALONE].values())
    *_, model = science.folds.values()
    kept, further, _ = (pair[0] for pair in model.values())
    return (
        f"Features that know only which rows are neighbours reach r = {near:.2f} on the group mean, "
        f"{far:.2f} with a longer gap between what is trained on and what is scored, and {mixed:.2f} where "
        "single rows are shuffled into folds, which is why they are not; the longer gap takes the language "
        f"model's from {kept:.2f} to {further:.2f}."
    )


def _sides(science: AliceScience) -> str:
    sides = science.sides
    alone, joint = (_side(sides.results[name].difference_interval) for name in (ALONE, JOINT))
    return (
        f"Only {_count(len(sides.pairs))} pair of regions lies on both sides, {', '.join(sides.pairs)}. With "
        f"the language model alone {alone}; beside all controls {joint}. Two spheres of 6 mm say nothing of "
        "the hemispheres."
    )


def _side(interval: SideInterval) -> str:
    low, high = float(interval.low[0]), float(interval.high[0])
    text = "the two cannot be told apart"
    if low > 0 or high < 0:
        text = f"the {'left' if low > 0 else 'right'} one is predicted better"
    return f"{text} (left minus right {float(interval.estimate[0]):+.3f}, {spread(low, high)})"

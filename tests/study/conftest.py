"""A tiny language model with random weights, a small cortex, and a made-up Alice folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxridge.demo.story import load_story, read_aloud
from voxridge.responses.cortex import Cortex, Hemisphere


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [p for chapter in load_story().chapters for p in chapter.paragraphs]
    tokenizer.train_from_iterator(text, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> Any:
    from voxridge.features import LanguageModel

    return LanguageModel.load(tiny_folder)


def hemisphere(side: str, n_vertices: int = 400) -> Hemisphere:
    """Points spread evenly over a ball of brain-like size, and their convex hull as surface."""
    from scipy.spatial import ConvexHull

    index = np.arange(n_vertices) + 0.5
    polar, around = np.arccos(1 - 2 * index / n_vertices), np.pi * (1 + 5**0.5) * index
    unit = np.column_stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)])
    centre = np.array([-35.0 if side == "left" else 35.0, -15.0, 10.0])
    return Hemisphere(
        side,
        centre + unit * [33, 85, 60],
        unit * [40, 100, 70],
        100 * unit,
        outward(ConvexHull(unit).simplices, unit),
        np.sin(6 * polar),
    )


def outward(faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The faces with corners ordered so that normals point away from the centre."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    inside = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    turned = faces.astype(np.int64)
    turned[inside] = turned[inside][:, ::-1]
    return turned


@pytest.fixture(scope="session")
def small_cortex() -> Cortex:
    return Cortex(hemisphere("left"), hemisphere("right"))


@pytest.fixture
def fake_alice(tmp_path: Path) -> Path:
    """Three listeners of 150 rows and one empty one, driven by the word rate of the packaged story."""
    from voxridge.features import tr_times, word_rate
    from voxridge.study.prepare import delayed

    folder = tmp_path / "alice-data"
    (folder / "roi_6mm").mkdir(parents=True)
    (folder / "stimulus").mkdir()
    words, start = [], 20.0
    for chapter in load_story().chapters[:3]:
        spoken = read_aloud(chapter, lead_in=0.5).shift(start)
        words += list(zip(spoken.onset, spoken.offset, spoken.text, strict=True))
        start = spoken.offset[-1]
    words = [word for word in words if word[1] < 20 + 2 * 150 - 3]
    write_textgrid(folder / "stimulus" / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid", words)
    from voxridge.features import Words

    timed = Words([w[2] for w in words], [w[0] for w in words], [w[1] for w in words])
    rate = word_rate(timed, tr_times(150, 2.0, 19.0), 2.0)
    signal = delayed(rate, (2, 3)).sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    for name in ("s01", "s02", "s03"):
        noise = rng.standard_normal((150, 6)) * 2 * signal.std()
        drift = 20 * np.linspace(0, 1, 150)[:, None] * rng.standard_normal(6)
        np.savetxt(folder / "roi_6mm" / f"{name}-timecourses.txt", 100 + signal + noise + drift)
    np.savetxt(folder / "roi_6mm" / "s04-timecourses.txt", np.zeros((150, 6)))
    return folder


def write_textgrid(path: Path, words: list[tuple[float, float, str]]) -> None:
    """A long-format TextGrid with one tier of words."""
    end = words[-1][1]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"']
    lines += ['        name = "word"', "        xmin = 0", f"        xmax = {end}"]
    lines += [f"        intervals: size = {len(words)}"]
    for i, (onset, offset, text) in enumerate(words, start=1):
        quoted = text.replace('"', '""')
        lines += [f"        intervals [{i}]:", f"            xmin = {onset}", f"            xmax = {offset}"]
        lines += [f'            text = "{quoted}"']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

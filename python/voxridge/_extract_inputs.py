"""What ``voxridge extract`` reads from files, and whether it belongs together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from voxridge.features.static_embeddings import StaticEmbeddings
    from voxridge.features.stories import StoryFiles
    from voxridge.features.words import Words


class Inputs(NamedTuple):
    """Everything that is read from files, before a model is loaded: what is wrong shows at once."""

    stories: dict[str, StoryFiles]
    words: dict[str, Words]
    text: dict[str, str] | None
    phones: dict[str, Words] | None
    glove: StaticEmbeddings | None

    @property
    def sounds(self) -> dict[str, Path]:
        """The sound files of the stories that have one."""
        return {name: story.audio for name, story in self.stories.items() if story.audio is not None}


def read_inputs(options: argparse.Namespace, needed: str | None) -> Inputs:
    """Read and check all stories; `needed` is the kind of file that the model reads."""
    from voxridge.features.stories import find_stories
    from voxridge.features.word_controls import check_language

    stories = find_stories(options.stories)
    if Path(options.out).resolve() in {path.resolve() for story in stories.values() for path in story.files}:
        raise ValueError(f"--out is {options.out}, which is one of the stimuli: name another file")
    if needed is not None:
        _check_files(stories, needed)
    words = _read_words(stories, options)
    inputs = Inputs(
        stories,
        words,
        _running_text(stories) if options.running_text else None,
        _phones(stories, options),
        _static_embeddings(options.glove),
    )
    if not words and not inputs.sounds:
        raise ValueError("no story has words or sound: there is nothing to compute controls from")
    if words:
        check_language(options.language)
    _check_sound(stories, words)
    return inputs


def _check_files(stories: Mapping[str, StoryFiles], needed: str) -> None:
    lacking = [name for name, story in stories.items() if getattr(story, needed) is None]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(stories)} stories have no file of {needed}, which this model reads: "
            f"{', '.join(lacking[:10])}"
        )


def _read_words(stories: Mapping[str, StoryFiles], options: argparse.Namespace) -> dict[str, Words]:
    from voxridge.features.words import read_words

    found = {}
    for name, story in stories.items():
        if story.words is not None:
            in_grid = story.words.suffix.lower() == ".textgrid"
            found[name] = read_words(story.words, tier=options.tier if in_grid else None)
    return found


def _check_sound(stories: Mapping[str, StoryFiles], words: Mapping[str, Words]) -> None:
    """Refuse words and sound that do not belong together before anything long is begun."""
    from voxridge.features.audio import read_audio
    from voxridge.features.audio_alignment import check_audio

    for name, story in stories.items():
        if story.audio is not None and name in words:
            check_audio(words[name], read_audio(story.audio), name=str(story.audio))


def _running_text(stories: Mapping[str, StoryFiles]) -> dict[str, str]:
    from voxridge.features.textgrid import decode, read_bytes

    _check_files(stories, "text")
    return {name: decode(read_bytes(s.text), s.text) for name, s in stories.items() if s.text is not None}


def _phones(stories: Mapping[str, StoryFiles], options: argparse.Namespace) -> dict[str, Words] | None:
    from voxridge.features.phonemes import read_phones

    if options.phones is None:
        return None
    tier = None if options.phones == "auto" else options.phones
    return {name: read_phones(s.words, tier=tier) for name, s in stories.items() if s.words is not None}


def _static_embeddings(path: str | None) -> StaticEmbeddings | None:
    from voxridge.features.static_embeddings import StaticEmbeddings, find_packaged_glove

    if path is None:
        return None
    return StaticEmbeddings.load(find_packaged_glove() if path == "packaged" else path)

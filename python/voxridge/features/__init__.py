"""From a story to features: words, models, alignment, downsampling and control features.

The public names are loaded on first use, so that importing this package pulls in neither torch nor
transformers (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

if TYPE_CHECKING:
    from voxridge.features.alignment import Alignment
    from voxridge.features.audio import Audio, read_audio
    from voxridge.features.audio_alignment import AudioLag, check_audio, find_lag
    from voxridge.features.audio_extract import extract_audio_features
    from voxridge.features.audio_model import AudioModel
    from voxridge.features.audio_windows import AudioWindows
    from voxridge.features.autocorrelation import oasm, oasm_sigmas
    from voxridge.features.context import (
        FixedContext,
        GrowingContext,
        StridedContext,
        WholeRun,
        Window,
        parse_context,
    )
    from voxridge.features.controls import phoneme_rate, position, word_length, word_rate
    from voxridge.features.design import PrincipalComponents, Standardizer, check_tr_counts, trim, zscore_runs
    from voxridge.features.extract import extract_features
    from voxridge.features.extract_controls import extract_sound_controls, extract_word_controls
    from voxridge.features.hrf import convolve_hrf, hrf_matrix
    from voxridge.features.lanczos import downsample, lanczos_matrix, tr_times
    from voxridge.features.language_model import LanguageModel, WindowStates
    from voxridge.features.model_plan import ExtractionPlan, plan_extraction
    from voxridge.features.phonemes import phones_per_word, read_phones
    from voxridge.features.pooling import pool_groups
    from voxridge.features.sentences import extract_sentences, sentence_surprisal
    from voxridge.features.smollm2 import find_packaged_smollm2
    from voxridge.features.static_embeddings import StaticEmbeddings, find_packaged_glove
    from voxridge.features.stories import StoryFiles, find_stories
    from voxridge.features.transcript import find_words
    from voxridge.features.whisper_packages import convert_whisper, find_packaged_whisper
    from voxridge.features.word_controls import log_frequency, random_embeddings, random_vectors
    from voxridge.features.word_features import extract_words, perplexity, word_surprisal
    from voxridge.features.words import Words, read_words

_HOME = {
    "Alignment": "alignment",
    "Audio": "audio",
    "AudioLag": "audio_alignment",
    "AudioModel": "audio_model",
    "AudioWindows": "audio_windows",
    "ExtractionPlan": "model_plan",
    "FixedContext": "context",
    "GrowingContext": "context",
    "LanguageModel": "language_model",
    "PrincipalComponents": "design",
    "Standardizer": "design",
    "StaticEmbeddings": "static_embeddings",
    "StoryFiles": "stories",
    "StridedContext": "context",
    "WholeRun": "context",
    "Window": "context",
    "WindowStates": "language_model",
    "Words": "words",
    "check_audio": "audio_alignment",
    "check_tr_counts": "design",
    "convert_whisper": "whisper_packages",
    "convolve_hrf": "hrf",
    "downsample": "lanczos",
    "extract_audio_features": "audio_extract",
    "extract_features": "extract",
    "extract_sentences": "sentences",
    "extract_sound_controls": "extract_controls",
    "extract_word_controls": "extract_controls",
    "extract_words": "word_features",
    "find_lag": "audio_alignment",
    "find_packaged_glove": "static_embeddings",
    "find_packaged_smollm2": "smollm2",
    "find_packaged_whisper": "whisper_packages",
    "find_stories": "stories",
    "find_words": "transcript",
    "hrf_matrix": "hrf",
    "lanczos_matrix": "lanczos",
    "log_frequency": "word_controls",
    "oasm": "autocorrelation",
    "oasm_sigmas": "autocorrelation",
    "parse_context": "context",
    "perplexity": "word_features",
    "phoneme_rate": "controls",
    "phones_per_word": "phonemes",
    "plan_extraction": "model_plan",
    "pool_groups": "pooling",
    "position": "controls",
    "random_embeddings": "word_controls",
    "sentence_surprisal": "sentences",
    "random_vectors": "word_controls",
    "read_audio": "audio",
    "read_phones": "phonemes",
    "read_words": "words",
    "tr_times": "lanczos",
    "trim": "design",
    "word_length": "controls",
    "word_rate": "controls",
    "word_surprisal": "word_features",
    "zscore_runs": "design",
}

__all__ = [
    "Alignment",
    "Audio",
    "AudioLag",
    "AudioModel",
    "AudioWindows",
    "ExtractionPlan",
    "FixedContext",
    "GrowingContext",
    "LanguageModel",
    "PrincipalComponents",
    "Standardizer",
    "StaticEmbeddings",
    "StoryFiles",
    "StridedContext",
    "WholeRun",
    "Window",
    "WindowStates",
    "Words",
    "check_audio",
    "check_tr_counts",
    "convert_whisper",
    "convolve_hrf",
    "downsample",
    "extract_audio_features",
    "extract_features",
    "extract_sentences",
    "extract_sound_controls",
    "extract_word_controls",
    "extract_words",
    "find_lag",
    "find_packaged_glove",
    "find_packaged_smollm2",
    "find_packaged_whisper",
    "find_stories",
    "find_words",
    "hrf_matrix",
    "lanczos_matrix",
    "log_frequency",
    "oasm",
    "oasm_sigmas",
    "parse_context",
    "perplexity",
    "phoneme_rate",
    "phones_per_word",
    "plan_extraction",
    "pool_groups",
    "position",
    "random_embeddings",
    "random_vectors",
    "read_audio",
    "read_phones",
    "read_words",
    "sentence_surprisal",
    "tr_times",
    "trim",
    "word_length",
    "word_rate",
    "word_surprisal",
    "zscore_runs",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

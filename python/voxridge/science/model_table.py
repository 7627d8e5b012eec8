"""Sizes and language-modelling scores of models that scaling studies use, by name."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

_SOURCES = {
    "BP24": "Bonnasse-Gahot & Pallier 2024, model_info_en.csv; perplexity on WikiText-2",
    "Z22": "Zhang et al. 2022, table 1 (nominal size)",
    "R22": "Radford et al. 2022, table 1 (encoder and decoder together; layers of the encoder)",
}
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmbgt]?)", re.IGNORECASE)
# 124,439,808 or 1,300.5; but 1,300 may be either 1300 or 1.3.
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}((,[0-9]{3}){2,}(?![0-9,])|(,[0-9]{3})+\.)")
_EITHER = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}(?![0-9,.])")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model.

    Attributes
    ----------
    name, family : str
    parameters : float
    layers, hidden : int
        Transformer blocks (the embedding not counted), and their width.
    perplexity : float
        On WikiText-2; NaN where not known.
    hellaswag : float
        Percent correct; NaN where not known.
    source : str
        Where the numbers are from.
    """

    name: str
    family: str
    parameters: float
    layers: int
    hidden: int
    perplexity: float
    hellaswag: float
    source: str


def known_models() -> tuple[ModelFacts, ...]:
    """All models of the packaged table.

    Returns
    -------
    tuple of ModelFacts

    Examples
    --------
    >>> len({model.family for model in known_models() if model.perplexity > 0})
    8
    """
    return tuple(_by_name().values())


def model_facts(name: str) -> ModelFacts:
    """Size, depth, width and language-modelling scores of a model.

    Organisation, letter case, underscores for hyphens, and endings that do not change the model ("-hf",
    "-v0.1") make no difference. Chat and instruction-tuned models are other models.

    Parameters
    ----------
    name : str
        Such as "gpt2-xl" or "facebook/opt-1.3b".

    Returns
    -------
    ModelFacts

    Raises
    ------
    ValueError
        For a model that is not in the table, with names that are near.

    Examples
    --------
    >>> model_facts("facebook/opt-1.3b").parameters
    1315800000.0
    """
    found = find_facts(name)
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(_key(name), list(_by_name()), n=3, cutoff=0.5)
        hint = f" (near: {', '.join(_by_name()[key].name for key in near)})" if near else ""
        raise ValueError(f"nothing is known of the model {name!r}{hint}: give its number of parameters")
    return found


def find_facts(name: str) -> ModelFacts | None:
    """What :func:`model_facts` gives, or None."""
    return _by_name().get(_key(name))


def parse_count(text: str) -> float:
    """A number such as "1.3B", "125M" or "124439808"; commas between thousands, or a decimal comma ("0,21").

    Parameters
    ----------
    text : str

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For anything else, and for a comma that may be either ("1,300").

    Examples
    --------
    >>> parse_count("1.3B")
    1300000000.0
    """
    plain = _with_points(text.strip().replace("_", ""))
    match = _NUMBER.fullmatch(plain)
    try:
        return float(match[1]) * _UNITS[match[2].lower()] if match else float(plain)
    except ValueError:
        raise ValueError(f"{text!r} is no number; write 1300000000, 1.3e9 or 1.3B") from None


def _with_points(text: str) -> str:
    """Without commas between thousands, and with a point for a decimal comma."""
    if _EITHER.match(text):
        whole, part = text.replace(",", ""), text.replace(",", ".")
        raise ValueError(f"{text!r} may mean {whole} or {part}: write it without a comma")
    return text.replace(",", "") if _THOUSANDS.match(text) else text.replace(",", ".")


def _key(name: str) -> str:
    key = name.strip().rsplit("/", 1)[-1].lower().replace("_", "-")
    return re.sub(r"(-hf|-v0\.1)+$", "", key).replace("gpt2-small", "gpt2")


@lru_cache(maxsize=1)
def _by_name() -> dict[str, ModelFacts]:
    text = resources.files("voxridge").joinpath("data", "models.csv").read_text(encoding="utf-8")
    models = (_facts(row) for row in csv.DictReader(text.splitlines()))
    return {_key(model.name): model for model in models}


def _facts(row: dict[str, str]) -> ModelFacts:
    perplexity, hellaswag = (float(row[column] or "nan") for column in ("perplexity", "hellaswag"))
    return ModelFacts(
        row["name"],
        row["family"],
        # Counts are whole; a decimal times a million is not, after rounding.
        round(parse_count(row["parameters"])) * 1.0,
        int(row["layers"]),
        int(row["hidden"]),
        perplexity,
        hellaswag,
        _SOURCES[row["source"]],
    )

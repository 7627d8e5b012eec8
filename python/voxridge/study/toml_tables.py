"""TOML tables as dataclasses: an unknown key or a value of another type is refused by name."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

import numpy as np


def read_table(kind: Any, table: Any, where: str, folder: Path) -> Any:
    """Build one of the dataclasses from a TOML table."""
    if not isinstance(table, dict):
        raise ValueError(f"{where or 'the study'} is {table!r}; allowed: a table")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in fields:
            raise ValueError(f"{prefix}{key} is not a key of a study file; allowed: {', '.join(fields)}")
    values = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = convert(hints[name], table[name], prefix + name, folder)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name} is missing; it must be given")
    return kind(**values)


def convert(hint: Any, value: Any, where: str, folder: Path) -> Any:
    """A TOML value as the annotated type, or an error that says what is allowed."""
    if dataclasses.is_dataclass(hint):
        own = getattr(hint, "from_table", None)
        return read_table(hint, value, where, folder) if own is None else own(value, where, folder)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return convert(option, value, where, folder)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == option and type(value) is type(option) for option in arguments):
            return value
    elif origin is tuple:
        variable = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, list) and (variable or len(value) == len(arguments)):
            kinds = [arguments[0]] * len(value) if variable else list(arguments)
            return tuple(
                convert(kind, entry, f"{where}[{i}]", folder)
                for i, (kind, entry) in enumerate(zip(kinds, value, strict=True))
            )
    elif origin is dict:
        if isinstance(value, dict):
            return {
                key: convert(arguments[1], entry, f"{where}.{key}", folder) for key, entry in value.items()
            }
    elif hint is Path and isinstance(value, str):
        return folder / value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if np.isfinite(value):
            return float(value)
    elif hint in (str, int, bool) and type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r}; allowed: {_describe(hint)}")


def _describe(hint: Any) -> str:
    """What a type annotation allows, in words."""
    if dataclasses.is_dataclass(hint) or typing.get_origin(hint) is dict:
        return "a table"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments if option is not type(None))
    if origin is Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each entry {_describe(arguments[0])}"
        return f"a list of {len(arguments)} entries, each {_describe(arguments[0])}"
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", Path: "a path"}
    return words[hint]

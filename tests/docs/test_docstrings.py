"""Every name of the API reference says what it is, takes, returns and raises, and its examples run.

The names are those that docs/api lists. Of a function or class: a summary; every parameter (of a data class:
every field), with the shape of arrays; what it raises; an example. Of a method: a summary, every parameter by
name, and what it raises.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString

API = Path(__file__).resolve().parents[2] / "docs" / "api"
PART = r"currentmodule:: (\S+)\n(.*?)(?=\n\.\. currentmodule|\Z)"
ARRAYS = re.compile(r"NDArray|ArrayLike|Floating|FloatArray|Float64Array")
SHAPE = re.compile(r"\(\s*[\w*]+\s*[,)]|shape")


def listed() -> Iterator[tuple[str, Any]]:
    """(name, object) of everything on the pages of the reference."""
    for page in sorted(API.glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        for module, names in re.findall(PART, text, re.DOTALL):
            for name in re.findall(r"^   (\w+)$", names, flags=re.MULTILINE):
                thing = getattr(importlib.import_module(module), name)
                if inspect.ismodule(thing):  # of the same name, and imported before
                    thing = getattr(thing, name)
                yield f"{module}.{name}", thing


NAMES = dict(listed())


def sections(thing: Any) -> NumpyDocString:
    return NumpyDocString(inspect.getdoc(thing) or "")


def is_record(thing: Any) -> bool:
    """A data class or named tuple, whose fields are its documentation."""
    return inspect.isclass(thing) and (dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"))


def is_protocol(thing: Any) -> bool:
    return bool(getattr(thing, "_is_protocol", False))


def fields_of(thing: Any) -> list[str]:
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing) if not field.name.startswith("_")]
    return list(thing._fields)


def parameters_of(thing: Any) -> dict[str, inspect.Parameter]:
    found = inspect.signature(thing).parameters
    return {name: p for name, p in found.items() if name not in ("self", "cls") and not name.startswith("_")}


def documented(doc: NumpyDocString, *where: str) -> dict[str, str]:
    """Name to the text about it; one entry may be about several names."""
    found: dict[str, str] = {}
    for section in where:
        for entry in doc[section]:
            for name in entry.name.split(","):
                found[name.strip().lstrip("*")] = " ".join([entry.type, *entry.desc])
    return found


def is_array(annotation: str) -> bool:
    """Whether an argument is an array, and not a list of something."""
    return bool(ARRAYS.search(annotation)) and "Sequence[" not in annotation


def raises(function: Any) -> bool:
    """Whether the function's own lines raise, but for AssertionError and NotImplementedError."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = ast.unparse(node.exc)
            if not named.startswith(("AssertionError", "NotImplementedError", "AttributeError")):
                return True
    return False


def methods_of(thing: type) -> dict[str, Any]:
    """Public methods and properties that the class itself defines."""
    found = {}
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            found[name] = member
        elif inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
            found[name] = getattr(thing, name)
    return found


def gaps(thing: Any) -> list[str]:
    """What the docstring of a function or class lacks."""
    doc = sections(thing)
    ended = " ".join(doc["Summary"]).strip().endswith((".", ":"))
    found = [] if ended else ["a summary that ends in a period"]
    if is_record(thing):
        known = documented(doc, "Parameters", "Attributes")
        return found + [f"field {field}" for field in fields_of(thing) if field not in known]
    if is_protocol(thing):
        return found
    known = documented(doc, "Parameters", "Other Parameters")
    given = parameters_of(thing)
    found += [f"parameter {key}" for key in given if key not in known]
    found += [f"{key} is no parameter" for key in known if key not in given]
    found += [
        f"shape of {key}"
        for key, parameter in given.items()
        if is_array(str(parameter.annotation)) and key in known and not SHAPE.search(known[key])
    ]
    body = thing.__init__ if inspect.isclass(thing) else thing
    if raises(body) and not doc["Raises"]:
        found.append("Raises")
    if not doc["Examples"]:
        found.append("Examples")
    return found


def method_gaps(thing: Any) -> list[str]:
    text = inspect.getdoc(thing) or ""
    if not text.strip():
        return ["a docstring"]
    if isinstance(thing, property):
        return []
    found = [f"parameter {key}" for key in parameters_of(thing) if not re.search(rf"\b{key}\b", text)]
    if raises(thing) and "Raises" not in text:
        found.append("Raises")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_is_complete(name: str) -> None:
    thing = NAMES[name]
    found = gaps(thing)
    if inspect.isclass(thing):
        for method, member in methods_of(thing).items():
            found += [f"{method}: {gap}" for gap in method_gaps(member)]
    assert not found, f"{name} lacks: {'; '.join(found)}"


def run_examples(thing: Any, name: str, folder: Path) -> doctest.TestResults:
    finder = doctest.DocTestFinder(recurse=True, exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    home = inspect.getmodule(thing)
    for example in finder.find(thing, name, module=home):
        example.globs |= {"np": np, "folder": folder}
        runner.run(example)
    return runner.summarize(verbose=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples(NAMES[name], name, tmp_path).failed == 0

"""``_cpu.pyi`` against the extension: the same names, parameters, defaults and results."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import resources
from typing import Any, NamedTuple

import pytest

from voxridge import _cpu


class Signature(NamedTuple):
    """Names of the parameters, which of them may be left out, and what kind of thing comes back."""

    parameters: tuple[str, ...]
    optional: tuple[str, ...]
    result: str


def of_definition(function: ast.FunctionDef) -> Signature:
    """The signature of a ``def`` without ``self``."""
    arguments = [a.arg for a in function.args.args if a.arg != "self"]
    n_optional = len(function.args.defaults)
    result = "None" if function.returns is None else ast.unparse(function.returns)
    return Signature(tuple(arguments), tuple(arguments[len(arguments) - n_optional :]), result)


def of_docstring(routine: Any) -> set[Signature]:
    """What pybind11 writes in front of a docstring: one line per overload, in Python's own syntax."""
    lines = re.findall(rf"^(?:\d+\. )?({routine.__name__}\(.*\) -> .*)$", routine.__doc__, flags=re.M)
    parsed = [ast.parse(f"def {line}: ...").body[0] for line in lines]
    assert parsed, f"no signature in the docstring of {routine.__name__}: {routine.__doc__!r}"
    return {of_definition(entry) for entry in parsed if isinstance(entry, ast.FunctionDef)}


def stub() -> ast.Module:
    return ast.parse(resources.files("voxridge").joinpath("_cpu.pyi").read_text(encoding="utf-8"))


FUNCTIONS = {entry.name: of_definition(entry) for entry in stub().body if isinstance(entry, ast.FunctionDef)}
METHODS = {
    (entry.name, method.name): of_definition(method)
    for entry in stub().body
    if isinstance(entry, ast.ClassDef)
    for method in entry.body
    if isinstance(method, ast.FunctionDef)
}


def test_the_package_is_typed() -> None:
    assert resources.files("voxridge").joinpath("py.typed").is_file()


def test_the_stub_names_what_is_there_and_nothing_else() -> None:
    public = {name: value for name, value in vars(_cpu).items() if not name.startswith("_")}
    classes = {name for name, value in public.items() if inspect.isclass(value)}
    assert set(FUNCTIONS) == set(public) - classes
    assert {name for name, _ in METHODS} == classes
    for name in classes:
        own = {key for key in vars(public[name]) if not key.startswith("_")} | {"__init__"}
        assert {method for owner, method in METHODS if owner == name} == own


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions(name: str) -> None:
    assert of_docstring(getattr(_cpu, name)) == {FUNCTIONS[name]}


@pytest.mark.parametrize(("owner", "name"), sorted(METHODS))
def test_methods(owner: str, name: str) -> None:
    assert of_docstring(getattr(getattr(_cpu, owner), name)) == {METHODS[owner, name]}


def test_a_wrong_stub_is_noticed() -> None:
    def left() -> None:
        """left(a: int, block: int = 3) -> int"""

    right = [
        "def left(a: int, block: int = ...) -> int: ...",
        "def left(a: int, block: int) -> int: ...",
        "def left(a: int, size: int = ...) -> int: ...",
        "def left(a: int, block: int = ...) -> None: ...",
    ]
    signatures = [of_definition(entry) for entry in map(ast.parse, right) for entry in entry.body]  # type: ignore[arg-type]
    assert [of_docstring(left) == {entry} for entry in signatures] == [True, False, False, False]

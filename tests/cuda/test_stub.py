"""``_cuda.pyi`` against the module, and the ops of ``_cpu`` there by the same names."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import resources
from types import ModuleType

import pytest

# What the processor alone has: threads' memory, quadratic forms and shared filters (docs/gpu.md).
ONLY_CPU = {"eigh_work", "mix_rows", "reduce_scores", "residual_products", "simplex_qp", "trim_memory"}


def stub(name: str) -> dict[str, ast.FunctionDef]:
    """The functions of a stub by name."""
    text = resources.files("voxridge").joinpath(name).read_text(encoding="utf-8")
    return {entry.name: entry for entry in ast.parse(text).body if isinstance(entry, ast.FunctionDef)}


def parameters(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Names, and whether each may be left out; those after the star in brackets."""
    arguments = function.args
    n_needed = len(arguments.args) - len(arguments.defaults)
    found = [(a.arg, i >= n_needed) for i, a in enumerate(arguments.args)]
    keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found + [(f"[{a.arg}]", default is not None) for a, default in keyword]


def in_docstring(module: ModuleType, name: str) -> list[tuple[str, bool]]:
    line = re.match(rf"{name}\(.*\) -> .*", getattr(module, name).__doc__)
    assert line, f"no signature in the docstring of {name}"
    text = re.sub(r"<[^>]*>", "...", line[0])  # defaults that Python could not read
    (definition,) = ast.parse(f"def {text}: ...").body
    assert isinstance(definition, ast.FunctionDef)
    return parameters(definition)


def test_the_stub_names_what_is_there(emulator: ModuleType) -> None:
    public = {name for name in vars(emulator) if not name.startswith("_")} - {"selftest"}
    classes = {name for name in public if inspect.isclass(getattr(emulator, name))}
    assert set(stub("_cuda.pyi")) == public - classes
    assert classes == {"Array", "Event", "Failure", "Queue"}


@pytest.mark.parametrize("name", sorted(stub("_cuda.pyi")))
def test_functions(emulator: ModuleType, name: str) -> None:
    assert in_docstring(emulator, name) == parameters(stub("_cuda.pyi")[name])


def test_the_ops_of_the_processor_by_the_same_names() -> None:
    here, there = stub("_cpu.pyi"), stub("_cuda.pyi")
    assert set(here) - set(there) == ONLY_CPU
    for name in set(here) & set(there) - {"build_info"}:
        ours = {argument for argument, _ in parameters(here[name])} - {"n_threads", "block", "work"}
        theirs = {argument.strip("[]") for argument, _ in parameters(there[name])}
        if name == "column_moments":  # a range there
            ours = ours - {"ranges"} | {"begin", "end"}
        if name == "product_moments":
            ours |= {"rows"}
        assert ours <= theirs, name
        assert "queue" in theirs, name

"""``import voxridge`` is quick and pulls in nothing that sits in an extra."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

IN_EXTRAS = {"torch", "transformers", "accelerate", "gguf", "praatio"}
IN_EXTRAS |= {"nilearn", "nibabel", "matplotlib", "dask", "distributed", "soundfile", "soxr"}
REPORT = "print(json.dumps([seconds, sorted({name.partition('.')[0] for name in sys.modules})]))"


def import_fresh(statement: str) -> tuple[float, set[str]]:
    """Seconds of the processor that the statement takes in a Python of its own, and the packages it loads."""
    timed = f"start = time.process_time()\n{statement}\nseconds = time.process_time() - start"
    program = f"import json, sys, time\n{timed}\n{REPORT}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result: list[Any] = json.loads(done.stdout)
    return result[0], set(result[1])


def test_import_takes_less_than_half_a_second() -> None:
    assert min(import_fresh("import voxridge")[0] for _ in range(5)) < 0.5


def test_import_loads_neither_sklearn_nor_what_sits_in_an_extra() -> None:
    _, loaded = import_fresh("import voxridge\ndir(voxridge)")
    assert "voxridge" in loaded
    assert not loaded & (IN_EXTRAS | {"sklearn"})


@pytest.mark.parametrize("name", ["EncodingRidge", "Ridge", "RidgeCV"])
def test_estimators_need_no_extra(name: str) -> None:
    assert not import_fresh(f"from voxridge import {name}")[1] & IN_EXTRAS


@pytest.mark.parametrize("module", ["solvers", "streams", "features", "science", "study", "report", "cli"])
def test_subpackages_need_no_extra(module: str) -> None:
    assert not import_fresh(f"import voxridge.{module}")[1] & IN_EXTRAS


def test_public_names_are_there_and_no_others() -> None:
    import voxridge

    for name in voxridge.__all__:
        assert getattr(voxridge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Lasso'"):
        _ = voxridge.Lasso


@pytest.mark.parametrize("package", ["", ".solvers", ".features", ".science", ".study"])
def test_no_public_name_is_that_of_a_module_beside_it(package: str) -> None:
    """Names are looked up when first asked for: a module imported before would be in their place."""
    found = importlib.import_module(f"voxridge{package}")
    modules = {module.name for module in pkgutil.iter_modules(found.__path__)}
    functions = {name for name in found.__all__ if not inspect.ismodule(getattr(found, name))}
    assert not modules & functions

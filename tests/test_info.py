"""``voxridge info``: each fact against another source of the same fact."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg.cython_blas
from threadpoolctl import ThreadpoolController

from voxridge import _cpu, _info
from voxridge.cli import main
from voxridge.solvers.memory import default_limit


def info_in_a_process(**variables: str) -> dict[str, Any]:
    """``voxridge info --json`` in a Python of its own, with the modules that are loaded after it."""
    program = (
        "import json, sys; from voxridge._info import collect; facts = collect(); "
        "print(json.dumps(facts | {'modules': sorted({m.partition('.')[0] for m in sys.modules})}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_versions_are_those_installed_and_no_optional_package_is_imported() -> None:
    facts = info_in_a_process()
    versions = facts["versions"]
    assert versions.pop("python") == ".".join(map(str, sys.version_info[:3]))
    assert {"voxridge", "numpy", "scipy", "scikit-learn", "h5py"} <= set(versions)
    assert versions == {name: importlib.metadata.version(name) for name in versions}
    assert not {"torch", "transformers", "nilearn", "nibabel", "matplotlib", "himalaya"} & set(
        facts["modules"]
    )


def test_the_extension_tells_how_it_was_built() -> None:
    build = _cpu.build_info()
    assert build["compiler"].split()[0] in ("GNU", "Clang", "AppleClang", "MSVC", "IntelLLVM")
    assert build["standard"] == "C++20"
    assert build["sanitized"] in ("yes", "no")
    assert build["instruction_set"] in build["instruction_sets"].split(", ")
    assert "not recorded" not in build.values()
    assert _info.collect()["build"] == build


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads /proc/cpuinfo")
def test_the_instruction_set_is_one_the_processor_has() -> None:
    cpu = _info.devices(_cpu.build_info()["instruction_set"])[0]
    needs = {"x86-64-v4": {"avx512f", "avx512bw"}, "x86-64-v3": {"avx2", "fma"}}
    assert needs.get(cpu["runs"], set()) <= set(cpu["has"].split())


@pytest.mark.skipif(sys.platform != "linux", reason="asks the loader of Linux")
def test_the_library_named_as_ours_is_the_one_scipy_s_routines_come_from() -> None:
    class Symbol(ctypes.Structure):
        _fields_ = (
            ("file", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("name", ctypes.c_char_p),
            ("address", ctypes.c_void_p),
        )

    ours = [entry for entry in _info.blas() if "voxridge" in entry["called by"]]
    assert len(ours) == 1
    module = ctypes.CDLL(scipy.linalg.cython_blas.__file__)  # looks in what it is linked with, too
    routine = getattr(module, "scipy_sgemm_", None) or module.sgemm_
    found = Symbol()
    assert ctypes.CDLL(None).dladdr(ctypes.cast(routine, ctypes.c_void_p), ctypes.byref(found)) != 0
    assert Path(found.file.decode()).resolve().name == ours[0]["file"]


def test_one_library_serves_everybody_where_there_is_one() -> None:
    assert _info._callers("/usr/lib/libopenblas.so.0", 1) == "voxridge, scipy, numpy"
    assert _info._callers("/usr/lib/libopenblas.so.0", 2) == "not known"
    assert _info._callers("/env/lib/site-packages/scipy/.dylibs/libopenblas.dylib", 2) == "voxridge, scipy"
    assert _info._callers("/env/lib/site-packages/numpy.libs/libopenblas64_.so", 2) == "numpy"


def test_threads_follow_the_variables() -> None:
    facts = info_in_a_process(VOXRIDGE_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1")
    assert (facts["threads"]["kernels"], facts["threads"]["blas"]) == (3, 1)
    assert facts["environment"].items() >= {"VOXRIDGE_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}.items()


def test_blas_threads_follow_a_limit_set_while_running() -> None:
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        assert _info.threads(_info.blas())["blas"] == 1


def test_a_wrong_number_of_threads_is_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOXRIDGE_NUM_THREADS", "many")
    assert main(["info"]) == 1
    assert capsys.readouterr().err.startswith("voxridge: VOXRIDGE_NUM_THREADS='many' is not a positive")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads /proc/cpuinfo")
def test_no_more_cores_than_processors() -> None:
    facts = _info.machine()
    assert 1 <= facts["usable"] <= facts["processors"]
    assert facts["physical cores"] is None or 1 <= facts["physical cores"] <= facts["processors"]


def test_memory_is_consistent() -> None:
    facts = _info.memory()
    assert facts["available"] > 0
    assert facts["total"] is None or facts["available"] <= facts["total"]
    assert facts["default limit"] == pytest.approx(default_limit(), rel=0.2)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(None, "CUDA 13.1, 2 GPU(s)"), ("cuInit", "found, but it reaches no GPU"), ("load", "not found")],
)
def test_cuda_is_asked_and_never_claimed(
    failure: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Driver:
        def __init__(self, name: str) -> None:
            if failure == "load":
                raise OSError(name)

        def cuInit(self, flags: int) -> int:
            return 100 if failure == "cuInit" else 0

        def cuDeviceGetCount(self, count: Any) -> int:
            count._obj.value = 2
            return 0

        def cuDriverGetVersion(self, version: Any) -> int:
            version._obj.value = 13010
            return 0

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", Driver)
    cuda = _info.devices("x86-64")[1]
    assert cuda["driver"] == expected
    assert cuda["status"] == "not built: every fit runs on the processor"


def test_text_says_what_the_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(facts)
    assert f"  numpy: {np.__version__}" in lines
    assert f"  compiler: {facts['build']['compiler']}" in lines
    assert sum("file: " in line for line in lines) == len(facts["blas"])
    memory = lines.index("memory")
    assert lines[memory + 2].startswith("  available: ")
    assert lines[memory + 2].endswith("iB")

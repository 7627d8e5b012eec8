"""How the CUDA module is found: its libraries at import, nvcc and the libraries at build."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from voxridge import _cuda_libraries

CMAKE = Path(__file__).resolve().parents[2] / "cmake"
ABSENT = "{}: cannot open shared object file: No such file or directory"

# --- the loader


class Imports:
    """Stands in for ``importlib.import_module``: what each import returns or raises, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **results: list[Any]) -> None:
        self.results = {name.replace("__", "."): list(values) for name, values in results.items()}
        self.asked: list[str] = []
        monkeypatch.setattr(importlib, "import_module", self)

    def __call__(self, name: str) -> Any:
        self.asked.append(name)
        result = self.results[name].pop(0)
        if isinstance(result, Exception):
            raise result
        return result


class Pathfinder:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.loaded: list[str] = []

    def load_nvidia_dynamic_lib(self, name: str) -> None:
        if self.error is not None:
            raise self.error
        self.loaded.append(name)


def lacks(library: str) -> ImportError:
    return ImportError(ABSENT.format(library))


def test_what_the_system_finds_is_taken_and_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("voxridge._cuda")
    imports = Imports(monkeypatch, voxridge___cuda=[module])
    assert _cuda_libraries.load() is module
    assert imports.asked == ["voxridge._cuda"]


def test_a_build_without_the_module_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ModuleNotFoundError("No module named 'voxridge._cuda'", name="voxridge._cuda")
    imports = Imports(monkeypatch, voxridge___cuda=[absent])
    with pytest.raises(ImportError, match=r"has no CUDA module; .*nvcc 13.*VOXRIDGE_CUDA=ON") as error:
        _cuda_libraries.load()
    assert error.value.name == "voxridge._cuda"
    assert imports.asked == ["voxridge._cuda"]


def test_another_module_that_is_absent_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    Imports(monkeypatch, voxridge___cuda=[ModuleNotFoundError("No module named 'other'", name="other")])
    with pytest.raises(ModuleNotFoundError, match="other"):
        _cuda_libraries.load()


def test_an_error_that_is_not_of_a_library_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Imports(monkeypatch, voxridge___cuda=[ImportError("undefined symbol: cublasFuture")])
    with pytest.raises(ImportError, match="cannot be loaded: undefined symbol: cublasFuture"):
        _cuda_libraries.load()


def test_a_library_that_is_absent_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    Imports(
        monkeypatch,
        voxridge___cuda=[lacks("libcusolver.so.12")],
        cuda__pathfinder=[ModuleNotFoundError("No module named 'cuda'", name="cuda")],
    )
    with pytest.raises(ImportError, match=r"lacks libcusolver\.so\.12, .*pip install 'voxridge\[cuda\]'"):
        _cuda_libraries.load()


def test_pathfinder_loads_what_the_system_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    module, pathfinder = ModuleType("voxridge._cuda"), Pathfinder()
    imports = Imports(
        monkeypatch, voxridge___cuda=[lacks("libcublas.so.13"), module], cuda__pathfinder=[pathfinder]
    )
    assert _cuda_libraries.load() is module
    assert imports.asked == ["voxridge._cuda", "cuda.pathfinder", "voxridge._cuda"]
    assert pathfinder.loaded == ["cudart", "cublas", "cusolver"]


@pytest.mark.parametrize(
    ("second", "found", "named"),
    [
        (lacks("libnvJitLink.so.13"), None, r"libnvJitLink\.so\.13"),
        (None, RuntimeError("Failure finding libcublas.so"), r"libcublas\.so\.13"),
    ],
)
def test_where_pathfinder_does_not_help_the_library_is_named(
    monkeypatch: pytest.MonkeyPatch, second: Exception | None, found: Exception | None, named: str
) -> None:
    Imports(
        monkeypatch,
        voxridge___cuda=[lacks("libcublas.so.13"), second],
        cuda__pathfinder=[Pathfinder(found)],
    )
    with pytest.raises(ImportError, match=rf"lacks {named}; pip install 'voxridge\[cuda\]'"):
        _cuda_libraries.load()


@pytest.fixture
def shared_objects(tmp_path: Path) -> SimpleNamespace:
    """``outer`` needs ``inner``, which it looks for where the module looks for NVIDIA's wheels."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("NO C COMPILER, OR NOT LINUX: the system's loader was not tried")
    inner = tmp_path / "elsewhere" / "libinner.so.7"
    outer = tmp_path / "voxridge" / "outer.so"
    inner.parent.mkdir()
    outer.parent.mkdir()
    build = [compiler, "-shared", "-fPIC", "-x", "c", "/dev/null", "-o"]
    subprocess.run([*build, inner, "-Wl,-soname,libinner.so.7"], check=True)
    path = "-Wl,--no-as-needed,--enable-new-dtags,-rpath,$ORIGIN/../nvidia/cu13/lib"
    subprocess.run([*build, outer, path, "-x", "none", inner], check=True)
    return SimpleNamespace(inner=inner, outer=outer, wheels=tmp_path / "nvidia" / "cu13" / "lib")


def test_the_message_of_the_system_names_the_library(shared_objects: SimpleNamespace) -> None:
    with pytest.raises(OSError) as error:
        ctypes.CDLL(str(shared_objects.outer))
    assert _cuda_libraries._lacking(error.value) == "libinner.so.7"


def test_the_system_looks_beside_the_package_and_among_what_is_loaded(
    shared_objects: SimpleNamespace,
) -> None:
    shared_objects.wheels.mkdir(parents=True)
    moved = shared_objects.wheels / shared_objects.inner.name
    shared_objects.inner.rename(moved)
    load = "import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", load, shared_objects.outer], check=True)
    moved.rename(shared_objects.inner)
    subprocess.run([sys.executable, "-c", load, shared_objects.inner, shared_objects.outer], check=True)


# --- cmake/cuda_libraries.cmake and cmake/cuda.cmake

HEADERS = ("cublas_v2.h", "cusolverDn.h")
LIBRARIES = ("libcublas.so.13", "libcusolver.so.12", "libcudart.so.13")


def lay_out(
    root: Path, major: int = 13, include: str = "include", lib: str = "lib", but: tuple[str, ...] = ()
) -> Path:
    """Empty headers and libraries of CUDA under ``root``."""
    (root / include).mkdir(parents=True)
    (root / lib).mkdir(parents=True)
    if "cuda_runtime_api.h" not in but:
        text = f"#define CUDART_VERSION  {major}020\n"
        (root / include / "cuda_runtime_api.h").write_text(text)
    for name in set(HEADERS) - set(but):
        (root / include / name).touch()
    for name in set(LIBRARIES) - set(but):
        (root / lib / name).touch()
    return root


def run_cmake(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("NO CMAKE: the search for CUDA at build was not tried")
    return subprocess.run([cmake, *arguments], capture_output=True, text=True, env=env)


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """What the search finds in the folders: the variables that it sets."""

    def run(*folders: Path) -> dict[str, str]:
        script = tmp_path / "find.cmake"
        names = ["INCLUDE", "cublas", "cusolver", "cudart", "MISSING"]
        quoted = " ".join(f'"{folder}"' for folder in folders)
        lines = [
            f'include("{CMAKE}/cuda_libraries.cmake")',
            f"voxridge_find_cuda_libraries(13 cuda {quoted})",
        ]
        lines += [f'message(NOTICE "{name}=${{cuda_{name}}}")' for name in names]
        script.write_text("\n".join(lines))
        done = run_cmake("-P", script)
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in done.stderr.splitlines())

    return run


@pytest.mark.parametrize("inside", ["nvidia/cu13", "lib/python3.12/site-packages/nvidia/cu13", ""])
def test_wheels_are_found_in_site_packages_in_a_prefix_and_by_their_folder(
    tmp_path: Path, find: Callable[..., dict[str, str]], inside: str
) -> None:
    root = lay_out(tmp_path / "here" / inside)
    found = find(tmp_path / "nowhere", tmp_path / "here")
    assert found["MISSING"] == ""
    assert found["INCLUDE"] == str(root / "include")
    assert found["cublas"] == str(root / "lib" / "libcublas.so.13")
    assert found["cusolver"] == str(root / "lib" / "libcusolver.so.12")
    assert found["cudart"] == str(root / "lib" / "libcudart.so.13")


@pytest.mark.parametrize(("include", "lib"), [("include", "lib64"), ("targets/a/include", "targets/a/lib")])
def test_toolkits_are_found_and_a_name_without_version_comes_first(
    tmp_path: Path, find: Callable[..., dict[str, str]], include: str, lib: str
) -> None:
    root = lay_out(tmp_path / "toolkit", include=include, lib=lib)
    (root / lib / "libcublas.so").touch()
    found = find(root)
    assert found["MISSING"] == ""
    assert found["INCLUDE"] == str(root / include)
    assert found["cublas"] == str(root / lib / "libcublas.so")


def test_the_first_folder_that_has_everything_is_taken(
    tmp_path: Path, find: Callable[..., dict[str, str]]
) -> None:
    part = lay_out(tmp_path / "part", but=("cublas_v2.h", "libcublas.so.13"))
    other = lay_out(tmp_path / "other", major=12)
    first, second = lay_out(tmp_path / "first"), lay_out(tmp_path / "second")
    assert find(part, other, first, second)["INCLUDE"] == str(first / "include")
    assert find(part, second, first)["INCLUDE"] == str(second / "include")


def test_what_is_missing_is_said_of_the_folder_that_has_most(
    tmp_path: Path, find: Callable[..., dict[str, str]]
) -> None:
    lay_out(tmp_path / "part", but=("cusolverDn.h", "libcusolver.so.12"))
    missing = find(tmp_path / "nowhere", tmp_path / "part")["MISSING"]
    assert missing.startswith(
        f"in {tmp_path}/part: cusolverDn.h, libcusolver.so; searched: {tmp_path}/nowhere"
    )
    lay_out(tmp_path / "old", major=12)
    assert "headers of CUDA 13 (they are of CUDA 12)" in find(tmp_path / "old")["MISSING"]
    lay_out(tmp_path / "bare", but=("cuda_runtime_api.h",))
    assert "cuda_runtime_api.h" in find(tmp_path / "bare")["MISSING"]


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Configures a project that is nothing but cuda.cmake, with an nvcc that only knows its version."""

    def run(mode: str, version: str, **cache: Path) -> subprocess.CompletedProcess[str]:
        nvcc = tmp_path / "nvcc"
        nvcc.write_text(
            f'#!/bin/sh\necho "Cuda compilation tools, release, V{version}"\n[ "$1" = --version ]\n'
        )
        nvcc.chmod(0o755)
        lines = [
            "cmake_minimum_required(VERSION 3.26)",
            "project(probe LANGUAGES NONE)",
            f'set(Python_EXECUTABLE "{sys.executable}")',
            f'include("{CMAKE}/cuda.cmake")',
            "message(STATUS done)",
        ]
        (tmp_path / "CMakeLists.txt").write_text("\n".join(lines))
        options = [f"-D{name}={value}" for name, value in cache.items()]
        env = {**os.environ, "CUDACXX": str(nvcc), "CXX": "c++"}
        build = tmp_path / "build"
        return run_cmake("-S", tmp_path, "-B", build, f"-DVOXRIDGE_CUDA={mode}", *options, env=env)

    if sys.platform != "linux":
        pytest.skip("NOT LINUX: the build of the CUDA module was not tried")
    return run


def test_off_looks_for_nothing(configure: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = configure("OFF", "13.0.88")
    assert done.returncode == 0
    assert "CUDA" not in done.stdout
    assert "done" in done.stdout


@pytest.mark.parametrize(
    ("version", "but", "reason"),
    [
        ("12.8.61", (), "is of CUDA 12.8.61"),
        ("13.0.88", ("cublas_v2.h",), "cublas_v2.h; searched"),
        ("13.0.88", (), "do not work together"),
    ],
)
def test_what_is_missing_is_a_line_by_default_and_an_error_where_the_module_is_asked_for(
    configure: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    version: str,
    but: tuple[str, ...],
    reason: str,
) -> None:
    root = lay_out(tmp_path / "root", but=but)
    done = configure("AUTO", version, VOXRIDGE_CUDA_ROOT=root)
    assert done.returncode == 0, done.stderr
    assert "-- voxridge: no CUDA module: " in done.stdout
    assert reason in done.stdout
    assert "-- done" in done.stdout
    done = configure("ON", version, VOXRIDGE_CUDA_ROOT=root)
    assert done.returncode != 0
    message = " ".join(done.stderr.split())
    assert reason in message
    assert "pip install 'cuda-toolkit[cublas,cusolver,cudart]>=13.0,<14'" in message
    assert "-DVOXRIDGE_CUDA_ROOT=FOLDER" in message

"""The check of what goes into an sdist and a wheel (``.ci/check_dists.py``)."""

from __future__ import annotations

import io
import runpy
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / ".ci" / "check_dists.py"
SDIST = (
    *("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "tests/conftest.py"),
    *("csrc/cpu/blas.cpp", "csrc/core/matrix.hpp", "python/voxridge/_cpu.pyi"),
    *("csrc/cuda/runtime.cu", "cmake/cuda.cmake"),
)
WHEEL = (
    *("voxridge/__init__.py", "voxridge/py.typed", "voxridge/_cpu.pyi", "voxridge/data/story.txt"),
    "voxridge/_cpu.cpython-311-x86_64-linux-gnu.so",
)

pytestmark = pytest.mark.skipif(not CHECK.exists(), reason="the sdist has no .ci")


def check(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sdist: tuple[str, ...], wheel: tuple[str, ...], size: int
) -> int:
    """The exit status for distributions of these files, ``size`` bytes of padding in the wheel."""
    paths = folder / "voxridge-0.1.0.tar.gz", folder / "voxridge-0.1.0-cp311-cp311-linux_x86_64.whl"
    with tarfile.open(paths[0], "w:gz") as archive:
        for name in sdist:
            archive.addfile(tarfile.TarInfo(f"voxridge-0.1.0/{name}"), io.BytesIO())
    with zipfile.ZipFile(paths[1], "w") as archive:
        for name in wheel:
            archive.writestr(name, b"")
        archive.writestr("voxridge/padding", b"\0" * size)
    monkeypatch.setattr(sys, "argv", ["check_dists.py", *map(str, paths)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(CHECK), run_name="__main__")
    return int(stop.value.code or 0)


def test_what_belongs_there_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, monkeypatch, SDIST, WHEEL, 0) == 0
    assert "10 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sdist", "wheel", "size", "fault"),
    [
        (SDIST, WHEEL, 5_000_000, "bytes"),
        (SDIST[1:], WHEEL, 0, "lacks pyproject.toml"),
        (SDIST, WHEEL[:1] + WHEEL[2:], 0, "lacks voxridge/py.typed"),
        (SDIST, WHEEL[:-1], 0, "must hold one compiled module"),
        (
            SDIST,
            (*WHEEL, "voxridge/_cpu.cpython-312-x86_64-linux-gnu.so"),
            0,
            "must hold one compiled module",
        ),
        (SDIST, (*WHEEL, "tests/conftest.py"), 0, "holds tests/conftest.py"),
        (SDIST, (*WHEEL, "voxridge/csrc/cpu/blas.cpp"), 0, "holds voxridge/csrc/cpu/blas.cpp"),
        ((*SDIST, "python/voxridge/_cpu.so"), WHEEL, 0, "holds python/voxridge/_cpu.so"),
        ((*SDIST, ".ci/run"), WHEEL, 0, "holds .ci/run"),
    ],
)
def test_faults_are_named(
    sdist: tuple[str, ...],
    wheel: tuple[str, ...],
    size: int,
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(tmp_path, monkeypatch, sdist, wheel, size) == 1
    assert fault in capsys.readouterr().err

"""What the pages of docs/ show is what the code does: their examples run, and their lists are complete."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from voxridge.cli import build_parser, main
from voxridge.features import parse_context
from voxridge.solvers.candidates import ROUTES
from voxridge.study import load_config

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
API = {
    "estimators": "voxridge",
    "solvers": "voxridge.solvers",
    "features": "voxridge.features",
    "responses": "voxridge.responses",
    "streams": "voxridge.streams",
    "science": "voxridge.science",
    "study": "voxridge.study",
}


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def commands_of(page: str) -> list[list[str]]:
    """The arguments of every ``voxridge plan`` and ``voxridge fit`` on a page."""
    lines = re.findall(r"^voxridge (?:plan|fit) .*", text_of(page), flags=re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


def every_command() -> list[tuple[str, str]]:
    """(page, command) of all commands of voxridge that the pages and the README show."""
    pages = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    found = []
    for page in pages:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.startswith("voxridge ")]
    return found


@pytest.mark.parametrize(("page", "command"), every_command())
def test_the_commands_of_the_pages_are_understood(page: str, command: str) -> None:
    assert callable(build_parser().parse_args(shlex.split(command, comments=True)[1:]).run)


def test_the_options_in_the_table_of_recipes_are_understood() -> None:
    page = text_of("features.md")
    options = re.findall(r"^\|[^|]*\| `(--[^`]*)` \|", page, flags=re.MULTILINE)
    assert len(options) == 11
    for option in options:
        chosen = build_parser().parse_args(["extract", "s.csv", "-o", "s.h5", *shlex.split(option)])
        parse_context(chosen.context)


def python(code: str, folder: Path) -> str:
    """What a new process prints: its memory is what the limits on the pages count, not that of all tests."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "page",
    ["install.md", "quickstart.md", "routes.md", "memory.md", "features.md", "responses.md", "science.md"],
)
def test_the_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text_of(page), flags=re.DOTALL)
    assert blocks
    if page == "routes.md":
        blocks.append("assert np.abs(scores - scores[0]).max() < 1e-9")
    python("\n".join(blocks), tmp_path)
    for arguments in commands_of(page):  # on the files that the examples made
        python(f"from voxridge.cli import main\nassert main({arguments}) == 0", tmp_path)


def test_the_plans_on_the_page_have_the_lines_of_a_plan(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Times and memory are of one machine; the sizes, and the lines that there are, are of every machine."""
    quoted = re.findall(r"```text\n(route .*?)```", text_of("memory.md"), flags=re.DOTALL)
    assert len(quoted) == 2
    command = next(arguments for arguments in commands_of("memory.md") if "--samples" in arguments)
    assert main(command) == 0
    printed = capsys.readouterr().out

    def head(plan: str) -> list[str]:
        lines = plan[: plan.index("expected time")].splitlines()
        return [line[:24].strip() for line in lines] + re.findall(r"\(.*\)", lines[0])

    assert head(quoted[1]) == head(printed)


def test_the_page_on_routes_has_every_route_and_no_other() -> None:
    page = text_of("routes.md")
    table = page[page.index("## The seven") : page.index("## Where each one wins")]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE) == list(ROUTES)
    names = re.search(r"routes = \((.*?)\)", page, flags=re.DOTALL)
    assert names is not None
    assert re.findall(r'"([a-z-]+)"', names.group(1)) == list(ROUTES)


def test_the_flow_chart_asks_the_planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    figures = importlib.import_module("figures")
    monkeypatch.setitem(sys.modules, "figures", figures)
    rows = figures._rows()
    assert all(len(words) == len(ROUTES) for _, words in rows)
    assert figures.narrowed("folds") == [route for route in ROUTES if route != "svd"]
    assert figures.narrowed("gcv") == ["primal-leave-out", "dual-leave-out"]
    assert figures.stand_in("dual-leave-out", singular=False) == "dual-spectral"
    assert figures.stand_in("svd", singular=True) == ""
    assert figures.draw_flow(tmp_path / "flow.png").stat().st_size > 50_000


@pytest.mark.parametrize(("page", "package"), API.items())
def test_the_reference_has_every_public_name(page: str, package: str) -> None:
    text = text_of(f"api/{page}.rst")
    found: dict[str, set[str]] = {}
    for module, names in re.findall(
        r"currentmodule:: (\S+)\n(.*?)(?=\n\.\. currentmodule|\Z)", text, re.DOTALL
    ):
        found[module] = set(re.findall(r"^   (\w+)$", names, flags=re.MULTILINE))
    public = {name for name in importlib.import_module(package).__all__ if not name.startswith("_")}
    assert found.pop(package) == public
    for module, names in found.items():
        assert all(hasattr(importlib.import_module(module), name) for name in names), module


def test_the_extras_on_the_page_exist() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    page = text_of("install.md")
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE))))
    assert named
    assert named <= extras


def test_the_study_files_of_the_pages_are_read(tmp_path: Path) -> None:
    for page in (ROOT / "README.md", DOCS / "studies.md"):
        (text,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        folder = tmp_path / page.stem
        table = tomllib.loads(text)
        named = [value for run in table["runs"] for key, value in run.items() if key != "name"]
        named += [value for key, value in table.get("rois", {}).items() if key == "file"]
        for name in named:
            for subject in table["subjects"]:
                file = folder / name.replace("{subject}", subject)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        (folder / "study.toml").write_text(text, encoding="utf-8")
        config = load_config(folder / "study.toml")
        assert len(config.subjects) == 2

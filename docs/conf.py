"""Settings of the documentation; ``make -C docs html`` builds it."""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path
from typing import Any

import voxridge

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "voxridge"
copyright = "the voxridge contributors, BSD-3-Clause"
version = release = voxridge.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.json", "gallery/*.py", "gallery/*.zip"]
html_theme = "furo"
html_title = f"voxridge {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}

# --- Markdown: every heading can be linked to, and links to headings are checked
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# --- the API, from docstrings
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say types and shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc shows them, with their docstrings
numpydoc_validation_checks: set[str] = set()  # tests/docs/test_docstrings.py checks, and says where

nitpicky = True

# --- the gallery: scripts that run while the pages are built; one that fails is an error
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_\d",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "capture_repr": (),
    "min_reported_time": 3600,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "image_srcset": ["2x"],
}

# --- links to other sites are checked by `make -C docs linkcheck`, which needs the network
linkcheck_timeout = 20
linkcheck_retries = 2


def _draw_figures(app: Any) -> None:
    """The flow chart and the map of routes, from the planner's own rules."""
    from figures import draw

    draw(HERE / "_figures")


def _resolve_private(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Docstrings may point at code that has no page here, by its full name; it must be there all the same."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("voxridge."):
        return None
    try:
        pkgutil.resolve_name(target)
    except (ImportError, AttributeError):
        return None  # which is a warning, and so an error
    return contnode


def setup(app: Any) -> None:
    app.connect("builder-inited", _draw_figures)
    app.connect("missing-reference", _resolve_private)

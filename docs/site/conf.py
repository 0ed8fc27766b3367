"""The documentation as a website: `make docs`. Sphinx reads the very pages that are read in the repository.

Nothing in a page is written for Sphinx. What a site needs beside them, the tables of contents, is added here to the
`README.md` of each directory while it is read; what this cannot find is a warning, and a warning fails the build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

project = "HAL"
author = "the HAL developers"
copyright = "the HAL developers, Apache License 2.0"  # noqa: A001 - the name is Sphinx's
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "tests/README.md", "hal_plugin_*/README.md"]
html_theme = "furo"
html_title = "HAL"
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # output of programs beside code, and mermaid

CONTENTS = {
    "README": "docs/README\nCONTRIBUTING",
    "docs/README": (
        "tutorial/README\nhow-to/README\nreference/README\nexplanation/*\nexplanation/decisions/README\n"
        "/hal_plugin_*/README"
    ),
    "CONTRIBUTING": "tests/README",
    "docs/explanation/decisions/README": "*",
}
"""What is below a page; of the other README.md, the pages beside them."""


def add_contents(_: Any, page: str, source: list[str]) -> None:
    """What Sphinx's `source-read` calls for each page."""
    contents = CONTENTS.get(page) or ("*" if page.startswith("docs/") and page.endswith("README") else "")
    if contents:
        source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n{contents}\n```\n"


def setup(app: Any) -> None:
    app.connect("source-read", add_contents)

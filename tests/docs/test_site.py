"""The website of the documentation: built from pages as they are, and refused if a link leads nowhere."""

from __future__ import annotations

import subprocess
import sys

from tests.tidy.tree import ROOT

FOLDERS = ("tutorial", "how-to", "reference", "explanation", "explanation/decisions")
PAGES = {
    "README.md": "# HAL\n\nGo on in [all documentation](docs/README.md).\n",
    "CONTRIBUTING.md": "# Contributing\n\nThere are [tests](tests/README.md).\n",
    "tests/README.md": "# Tests\n",
    "docs/README.md": "# Documentation\n\n[One](how-to/one.md), [a part of another](explanation/one.md#more).\n",
    **{f"docs/{folder}/README.md": f"# {folder}\n" for folder in FOLDERS if folder != "explanation"},
    **{f"docs/{folder}/one.md": "# One\n\n## More\n\n```mermaid\nflowchart LR\n```\n" for folder in FOLDERS},
    "hal_plugin_x/README.md": "# A plugin\n",
}


def build(directory, **changed: str) -> subprocess.CompletedProcess[str]:
    for name, text in (PAGES | changed).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-c", str(ROOT / "docs/site"), "-b", "html"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(directory), str(directory / "site")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_pages_become_a_site_in_which_every_page_can_be_reached_and_a_dead_link_fails(tmp_path):
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        assert (tmp_path / "site" / page.replace(".md", ".html")).exists()
    start = (tmp_path / "site/README.html").read_text()
    assert 'href="docs/how-to/one.html"' in start, "the contents are on every page"
    done = build(tmp_path, **{"docs/how-to/one.md": "# One\n\nSee [this](gone.md).\n"})
    assert done.returncode != 0
    assert "gone.md" in done.stderr

"""No page points at nothing: relative links lead to files, and anchors to headings."""

from __future__ import annotations

import re

import pytest

from tests.tidy.tree import ROOT

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "tests/*.md", "hal_plugin_*/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(```.*?^```|    .*?$)", re.MULTILINE | re.DOTALL)


def anchor_of(heading: str) -> str:
    """As the usual viewers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and anchor not in {
            anchor_of(line.lstrip("#")) for line in there.read_text().splitlines() if line.startswith("#")
        }:
            wrong.append(f"{target}: no such heading")
    assert not wrong


def test_every_page_can_be_found_from_the_readme():
    """By following links, as a reader does."""
    found, to_visit = set(), [ROOT / "README.md"]
    while to_visit:
        page = to_visit.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        targets = [target for target in LINK.findall(page.read_text()) if not re.match(r"[a-z]+:|#", target)]
        to_visit += [(page.parent / target.partition("#")[0]).resolve() for target in targets]
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page not in found and "hal_plugin_" not in str(page)]
    assert not lost


def test_every_hook_is_in_the_reference():
    hooks = re.findall(r"^def (hal_\w+)\(([^)]*)\)", (ROOT / "hal_core/hookspecs.py").read_text(), re.MULTILINE)
    page = (ROOT / "docs/reference/plugins.md").read_text()
    signatures = [f"`{name}({re.sub(r': [^,]*', '', arguments)})`" for name, arguments in hooks]
    assert signatures
    assert not [signature for signature in signatures if signature not in page]


def test_every_default_plugin_is_in_the_reference():
    page = (ROOT / "docs/reference/plugins.md").read_text()
    entry_points = re.search(
        r"\[project\.entry-points\.hal\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL
    )
    names = re.findall(r"^(\w+) =", entry_points.group(1), re.MULTILINE)
    assert not [name for name in names if f"| `{name}` |" not in page]

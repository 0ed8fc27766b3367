"""The page of defences names tests that are there, and every defence that a test names is on it."""

from __future__ import annotations

import re

import pytest

from tests.tidy.tree import ROOT

PAGE = (ROOT / "docs/explanation/defences.md").read_text()
HELD_BY = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
SECTION = re.compile(r"^# -- (S\d+(?:, S\d+)*):", re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), HELD_BY)
def test_what_holds_a_defence_is_there(path: str, name: str) -> None:
    text = (ROOT / path).read_text()
    assert not name or re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_every_row_is_held_and_none_is_forgotten() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| S\d", line)]
    assert all("`tests/" in row.rsplit(" | ", 1)[1] for row in rows)
    on_page = {row.split(" ", 2)[1] for row in rows}
    in_tests = {each for path in (ROOT / "tests").rglob("test_*.py") for found in SECTION.findall(path.read_text())
                for each in found.split(", ")}  # fmt: skip
    assert in_tests
    assert in_tests <= on_page

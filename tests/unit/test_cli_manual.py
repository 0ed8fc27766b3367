"""The manual pages say all that the commands say of themselves, in roff that prints as it is."""

from __future__ import annotations

import re

import pytest

from hal_core.cli.dispatch import all_commands, command_parser
from hal_core.cli.manual import command_page, main_page, pages
from hal_core.cli.option_help import OPTION_HELP
from hal_core.cli.option_names import FLAG_NAMES, VALUE_NAMES
from tests.support.cli import hal

REQUESTS = {".TH", ".SH", ".SS", ".TP", ".B", ".PP", ".nf", ".fi"}
NO_PARSER = ("submit", "run", "alloc", "map", "predict", "completion")


def printed(page: str) -> str:
    """The page as a reader sees its letters."""
    text = page.replace("\\-", "-").replace("\\(aq", "'").replace("\\(ga", "`").replace("\\&", "")
    return text.replace("\\e", "\\")


def test_every_command_has_a_page_and_is_on_the_first_one():
    names = [name for name, _ in pages()]
    assert names == ["hal.1", *(f"hal-{command}.1" for command in all_commands())]
    for command, (_, summary) in all_commands().items():
        assert f"hal-{command}(1)\n{summary}" in printed(main_page())


@pytest.mark.parametrize("command", sorted(set(all_commands()) - set(NO_PARSER)))
def test_every_option_of_a_command_is_on_its_page(command):
    page, parser = printed(command_page(command)), command_parser(command)
    for head, text in parser.entries():
        assert f"\n.B {head}\n{text}" in page
    assert all(name in page for name in parser.option_names())


@pytest.mark.parametrize("command", NO_PARSER)
def test_so_is_every_option_that_the_help_of_the_others_names(command, tmp_path):
    page = printed(command_page(command))
    shown = hal(tmp_path / "none.sock", command, "--help").out
    options = set(re.findall(r"^ +(-[-\w]+(?:, --[-\w]+)?)", shown, re.MULTILINE))
    assert options or command == "completion"
    for option in options:
        assert f"\n.B {option}" in page


def test_every_option_of_a_job_is_on_the_page_of_submit():
    page = printed(command_page("submit"))
    for option, meaning in OPTION_HELP:
        assert f"\n.B {option.strip()}\n{meaning}" in page
    assert all(f"--{name}" in page for name in VALUE_NAMES | FLAG_NAMES)


@pytest.mark.parametrize(("name", "page"), list(pages()))
def test_it_is_roff_and_nothing_of_the_text_is_a_request_or_an_escape(name, page):
    assert page.startswith(f".TH {name.removesuffix('.1').upper()}".replace("-", "\\-"))
    assert page.isascii()
    for line in page.splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.split(" ")[0] in REQUESTS, line
    assert set(re.findall(r"\\(.)", page)) <= {"-", "(", "&", "e"}
    lines = page.splitlines()
    assert lines.count(".nf") == lines.count(".fi")


def test_pages_are_printed_or_written(tmp_path):
    nobody = tmp_path / "none.sock"
    assert hal(nobody, "man", "submit").out == command_page("submit")
    assert hal(nobody, "man").out == main_page()
    done = hal(nobody, "man", "--output", str(tmp_path / "share"))
    assert (done.code, "pages are in" in done.err) == (0, True)
    written = {path.name: path.read_text() for path in (tmp_path / "share" / "man1").iterdir()}
    assert written == dict(pages())
    assert "did you mean 'submit'" in hal(nobody, "man", "sbmit").err
    assert hal(nobody, "man", "submit", "--output", "x").code == 2

"""Splitting command lines and reading job ids: pure, so properties first."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.cli.arguments import Parser, count, one_index, selector, whole_number
from hal_core.cli.complete import WITH_A_JOB
from hal_core.cli.console import Console
from hal_core.cli.dispatch import all_commands, call
from hal_core.cli.history import moment
from hal_core.cli.option_names import FLAG_NAMES, SHORT_NAMES, VALUE_NAMES
from hal_core.cli.submit import OWN, OWN_SHORT
from hal_core.cli.usage import UsageError
from hal_core.cli.words import split_words
from hal_core.client.transport import NoAnswer
from hal_core.errors import NotFound
from hal_core.models.ranges import format_ranges, parse_ranges
from tests.support.option_names import (
    HELP_TARGET,
    PAGE_TARGET,
    TARGET,
    generated,
    generated_help,
    generated_page,
)

long_values = st.sampled_from(sorted(VALUE_NAMES))
long_flags = st.sampled_from(sorted(FLAG_NAMES))
short_values = st.sampled_from(sorted(letter for letter, name in SHORT_NAMES.items() if name in VALUE_NAMES))
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def written(draw, name, text):
    apart = [] if text == "--" else [[f"--{name}", text]]
    return draw(st.sampled_from([*apart, [f"--{name}={text}"]]))


@st.composite
def command_lines(draw):
    """(words, the options they mean)."""
    words, options = [], []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["long", "flag", "short", "unknown"]))
        if kind == "long":
            name, text = draw(long_values), draw(texts)
            words += written(draw, name, text)
            options.append([name, text])
        elif kind == "flag":
            name = draw(long_flags)
            words.append(f"--{name}")
            options.append([name, ""])
        elif kind == "short":
            letter, text = draw(short_values), draw(texts.filter(lambda text: not text.startswith("=")))
            apart = [] if text == "--" else [[f"-{letter}", text]]
            words += draw(st.sampled_from([*apart, [f"-{letter}{text}"]]))
            options.append([SHORT_NAMES[letter], text])
        else:
            words.append("--no-such-thing=x")
            options.append(["no-such-thing", "x"])
    return words, options


@given(command_lines(), st.lists(texts, max_size=3))
def test_options_are_split_and_never_interpreted(line, rest):
    words, options = line
    split = split_words([*words, "--", *rest], OWN, OWN_SHORT)
    assert (split.options, split.rest, split.is_command) == (options, rest, True)


@given(command_lines(), texts.filter(lambda text: not text.startswith("-")), st.lists(texts, max_size=3))
def test_the_first_word_that_is_no_option_ends_them(line, script, arguments):
    words, options = line
    split = split_words([*words, script, *arguments], OWN, OWN_SHORT)
    assert (split.options, split.rest, split.is_command) == (options, [script, *arguments], False)


@given(st.lists(st.sampled_from(["-", "--", "-t", "-H", "-W", "--wait", "--time", "--x=", "-Z9", "a", ""]), max_size=6))
def test_any_words_are_split_or_refused(words):
    try:
        split = split_words(words, OWN, OWN_SHORT)
    except UsageError:
        return
    assert all(isinstance(text, str) for pair in split.options for text in pair)


def test_the_command_line_has_options_of_its_own():
    split = split_words(["-W", "--client-id", "x", "--json", "-Ht10", "job.sh", "--wait"], OWN, OWN_SHORT)
    assert split.own == {"wait": "", "client-id": "x", "json": ""}
    assert split.options == [["hold", ""], ["time", "10"]]
    assert split.rest == ["job.sh", "--wait"]


@pytest.mark.parametrize(
    "words", [["--time"], ["-t"], ["--mem", "--", "true"], ["-t", "--"], ["--wait=yes"], ["--client-id"]]
)
def test_a_missing_value_is_named(words):
    with pytest.raises(UsageError, match=words[0].partition("=")[0]):
        split_words(words, OWN, OWN_SHORT)


def test_the_generated_table_is_that_of_the_parser():
    for target, text in ((TARGET, generated()), (HELP_TARGET, generated_help()), (PAGE_TARGET, generated_page())):
        assert target.read_text() == text, "run: python -m tests.support.option_names"


@given(st.integers(0, 10**9), st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_a_job_id_is_read_back(job_id, indices):
    ranges = format_ranges(parse_ranges(",".join(map(str, indices))))
    assert selector(str(job_id)) == (job_id, None)
    assert selector(f"{job_id}_{indices[0]}") == (job_id, str(indices[0]))
    assert selector(f"{job_id}_[{ranges}]") == (job_id, ranges)


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1_", "1_x", "1_[", "1_[]", "1_[3-1]", "1_[1-2-3]", "1_1-3", "1.0", "1e3", "٣", "1_0_1"]
)  # fmt: skip
def test_what_is_no_job_id_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="write 17"):
        selector(text)


@given(st.text(max_size=6))
def test_numbers_are_ascii_digits_or_refused(text):
    try:
        number = whole_number(text)
    except ValueError:
        return
    assert text.isascii()
    assert number == int(text) >= 0


@pytest.mark.parametrize(
    ("text", "told"), [("-1", "-1 is too few; give 1 or more"), ("0", "0 is too few"), ("x", "'x'")]
)
def test_a_count_that_is_too_small_is_not_said_to_be_no_number(text, told):
    with pytest.raises(ValueError, match=told):
        count(text)


def test_a_missing_action_comes_with_those_that_there_are():
    parser = Parser("tidy", "Tidy up")
    parser.add_argument("action", metavar="ACTION", choices=("sweep", "wash"))
    parser.add_argument("room", metavar="ROOM")
    parser.add_argument("corners", metavar="CORNER", nargs="*")
    with pytest.raises(UsageError, match=r"required: ACTION \(sweep, wash\), ROOM; see `hal tidy --help`"):
        parser.parse([])


def test_one_element_at_a_time():
    assert one_index((17, "3"), "show") == (17, 3)
    with pytest.raises(UsageError, match="17_1"):
        one_index((17, "1-5"), "show")


def test_options_and_arguments_in_any_order():
    parser = Parser("cancel", "")
    parser.add_jobs()
    parser.add_json()
    assert parser.parse(["17", "--json", "18"]).jobs == [(17, None), (18, None)]
    with pytest.raises(UsageError, match="did you mean '--json'"):
        parser.parse(["17", "--jsn"])


def test_moments():
    assert moment(None, 1e9) is None
    assert moment("2h", 1e9) == 1e9 - 7200
    assert moment("7d", 1e9) == 1e9 - 7 * 86400
    assert moment("2026-01-31T12:00", 0) - moment("2026-01-31", 0) == 12 * 3600
    for wrong in ("yesterday", "h", "2 h", "2026-13-01", "٣h"):
        with pytest.raises(UsageError, match="is not a time"):
            moment(wrong, 0)


clients = sorted(set(all_commands()) - {"dev", "demo", "daemon", "agent", "doctor", "config"} - WITH_A_JOB)
some_words = st.sampled_from(
    ["1", "1_2", "1_[2-3]", "-f", "--all", "--json", "--limit", "--limit=1", "-n", "0", "--me", "--since", "2h", "-",
     "--", "--help", "x", "", "drain", "resume", "list", "--reason", "bash", "\x1b", "\ud800", "-1", "--after=0"]
)  # fmt: skip


@settings(deadline=None)
@given(st.sampled_from([*clients, "_complete"]), st.lists(some_words, max_size=5))
def test_whatever_is_written_ends_in_help_a_usage_error_or_no_daemon(command, words):
    console = Console({"HAL_SERVER": "/nowhere/hal.sock"})
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            code = call(console, [command, *words])
        except (UsageError, NoAnswer, NotFound, OSError):  # `simulate 1` names a file, `session drain 1` a session
            return
        except SystemExit as leaving:
            code = leaving.code
    assert code in (0, 2)

"""What people see: durations, sizes, tables, and nothing that could play with their terminal."""

import pytest
from hypothesis import given, strategies as st

from hal_core.cli.formats import duration, escaped, instant, local_times, pairs, size, table
from hal_core.cli.waiting import exit_code
from hal_core.models.event_words import end_text
from hal_core.models.job import EndKind
from hal_core.models.moment import moment
from hal_core.parsing.durations import parse_time_limit
from tests.support.rest_bodies import END


@given(st.text())
def test_nothing_unprintable_reaches_the_terminal(text):
    shown = escaped(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@given(st.integers(1, 2**35))
def test_moments_in_texts_of_the_daemon_are_shown_where_the_reader_is(time_s):
    assert local_times(f"not before {moment(time_s)}; then at once") == f"not before {instant(time_s)}; then at once"


@pytest.mark.parametrize("text", ["no moment", "2025-13-41T99:00:00Z", "x2025-01-01T00:00:00Z", ""])
def test_other_texts_stay_as_they_are(text):
    assert local_times(text) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3723, "01:02:03"), (93784, "1-02:03:04"), (-5, "0:00")],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(None, "-"), (0, "-"), (3 * 1024**2, "3.0 MiB"), (1024**3, "1.0 GiB"), (64 * 1024**3, "64 GiB")],
)
def test_sizes(size_bytes, shown):
    assert size(size_bytes) == shown


@given(st.none() | st.floats(allow_nan=False))
def test_any_time_can_be_shown(time_s):
    assert instant(time_s)


cells = st.text(max_size=8)


@given(st.lists(st.tuples(cells, cells, cells), max_size=5))
def test_columns_are_aligned(rows):
    head, *lines = table(("A", "NUMBER", "REST"), rows, (False, True))
    assert len(lines) == len(rows)
    start = head.index("REST")
    for line, row in zip(lines, rows, strict=True):
        assert line.isprintable()
        assert line[start:].startswith(escaped(row[2]).rstrip())


def test_names_and_values_are_aligned():
    assert pairs([("Job", "17"), ("Partition", "a\x1b")]) == ["Job        17", "Partition  a\\x1b"]
    assert pairs([]) == []


@given(st.sampled_from([kind.value for kind in EndKind]), st.integers(0, 255), st.integers(0, 64))
def test_the_exit_code_is_the_jobs_own_and_zero_only_for_success(kind, code, number):
    state = "COMPLETED" if (kind, code) == ("exited", 0) else "FAILED"
    end = {**END, "kind": kind, "exit_code": code if kind == "exited" else None, "signal": number or None}
    found = exit_code({"state": state, "end": end})
    assert (found == 0) == (state == "COMPLETED")
    if kind == "exited":
        assert found == code
    elif number:
        assert found == 128 + number
    assert end_text(end)


def test_how_it_ended_is_told_in_words():
    assert end_text({**END, "exit_code": 3}) == "exit code 3"
    assert (
        end_text({**END, "kind": "out_of_memory", "peak_memory_bytes": 2 * 1024**3}) == "out of memory (peak 2.0 GiB)"
    )
    assert end_text({**END, "kind": "cancelled", "by": "ada"}) == "cancelled by ada"
    assert (
        end_text({**END, "kind": "launch_failed", "detail": "no such directory"}) == "launch failed: no such directory"
    )


@given(st.integers(1, 300 * 86400))
def test_a_time_limit_is_shown_as_it_could_be_written(seconds):
    assert parse_time_limit(duration(seconds)) == seconds

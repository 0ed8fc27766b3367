"""Each parser by example: what is taken, what it means, and what the refusal says."""

from datetime import datetime, timedelta, timezone

import pytest

from hal_core.errors import InvalidInput
from hal_core.models.job import Dependency, DependencyKind, JobId
from hal_core.parsing.arrays import parse_array
from hal_core.parsing.constraints import Constraint, format_constraint, parse_constraint
from hal_core.parsing.dependencies import parse_dependencies
from hal_core.parsing.durations import format_interval, format_time_limit, parse_interval, parse_time_limit
from hal_core.parsing.export import parse_export
from hal_core.parsing.hosts import HOSTS_MAX, format_hosts, parse_hosts
from hal_core.parsing.instants import parse_instant
from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.names import parse_absolute_path, parse_identifier, parse_name, parse_path
from hal_core.parsing.patterns import parse_pattern, parse_plain_path
from hal_core.parsing.resources import Gpus, parse_generic, parse_gpus, parse_licences
from hal_core.parsing.text import parse_count, parse_integer

NOW_S = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def refused(parse, text, *words):
    """Assert that `text` is refused with a printable message that holds all of `words`."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    message = str(caught.value)
    assert message.isprintable()
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "limit_s"),
    [
        ("30", 1800), ("1:30", 90), ("1:00:00", 3600), ("1-0", 86_400), ("1-2:3:4", 93_784), ("1-2:3", 93_780),
        ("0:30", 30), ("90:00", 5400), ("72:00:00", 259_200), ("90s", 90), ("15m", 900), ("2h", 7200),
        ("1d12h", 129_600), ("1w", 604_800), ("0", None), ("0:00", None), ("0s", None), ("UNLIMITED", None),
        ("none", None), ("INFINITE", None), ("3650-0", 3650 * 86_400),
    ],
)  # fmt: skip
def test_time_limits(text, limit_s):
    assert parse_time_limit(text) == limit_s


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "-5",
        "1:2:3:4",
        "",
        " 30",
        "30 ",
        "1.5h",
        "1e3",
        "٣",
        "1_0",
        "+3",
        "1-",
        "-1-0",
        "1:",
        ":30",
        "12h1d",
        "h",
    ],
)
def test_time_limits_refused(text):
    refused(parse_time_limit, text, "is not a time limit", "1:30:00")


def test_a_time_limit_has_a_limit():
    refused(parse_time_limit, "99999999-00:00:00", "3650 days", "UNLIMITED")


def test_printed_time_limits():
    assert format_time_limit(93_784) == "1-02:03:04"
    assert format_time_limit(0.2) == "00:00:01"
    assert format_time_limit(None) == "UNLIMITED"


def test_intervals_need_their_unit():
    assert parse_interval("1d12h") == 129_600
    assert parse_interval("0") == 0
    assert format_interval(129_600) == "1d12h"
    refused(parse_interval, "30", "unit", "90s")
    refused(parse_interval, "1:30", "unit")


@pytest.mark.parametrize(
    ("text", "amount_bytes"),
    [
        ("4096", 2**32), ("10G", 10 * 2**30), ("10g", 10 * 2**30), ("10GB", 10 * 2**30), ("10GiB", 10 * 2**30),
        ("1T", 2**40), ("512K", 2**19), ("1P", 2**50), ("7B", 7), ("0", 0), ("08M", 2**23),
    ],
)  # fmt: skip
def test_memory(text, amount_bytes):
    assert parse_memory(text) == amount_bytes


@pytest.mark.parametrize(
    "text", ["10X", "-1", "1e309", "", "G", "10 G", "1_0", "٣", ".5G", "0x10", "inf", "nan", "9" * 30]
)
def test_memory_refused(text):
    refused(parse_memory, text, "is not an amount of memory", "10G")


def test_memory_limits_and_hints():
    refused(parse_memory, str(2**62), "more than 1024P")
    refused(parse_memory, "1.5G", "1536M")
    assert format_memory(3 * 2**29) == "1536M"


@pytest.mark.parametrize("text", ["1_0", "٣", "1e3", "0x1", "+1", "-1", " 1", "", "1.0", "9" * 30, "08", "½", "1\n"])
def test_counts_refused(text):
    refused(parse_count, text, "is not a whole number")


def test_counts():
    assert parse_count("0") == 0
    assert parse_integer("-12", -20, 20) == -12
    refused(lambda text: parse_count(text, 1, 64), "0", "1 to 64")
    refused(parse_count, "99999999999", "out of range")
    refused(lambda text: parse_integer(text, -5, 5), "--1", "whole number")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]), ("n[1-3]", ["n1", "n2", "n3"]), ("n[008-011]", ["n008", "n009", "n010", "n011"]),
        ("n[8-10],login", ["n8", "n9", "n10", "login"]), ("n[1,3-4]", ["n1", "n3", "n4"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]), ("n[01-02]-ib", ["n01-ib", "n02-ib"]),
        ("[7-8]", ["7", "8"]), ("n[98-101]", ["n98", "n99", "n100", "n101"]),
    ],
)  # fmt: skip
def test_hosts(text, names):
    assert parse_hosts(text) == tuple(names)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("n[1-]", "not a range"), ("n[9-1]", "backwards"), ("n[1-100000000]", "more than"), ("n[", "without a ]"),
        ("n]", "without a ["), ("n[1-2", "without a ]"), ("n[[1]]", "within brackets"), ("", "empty name"),
        ("n1,,n2", "empty name"), ("n1,", "empty name"), ("n[]", "not a range"), ("n[001-5]", "padding"),
        ("n[1-05]", "padding"), ("n1,n1", "twice"), ("n[1-3],n2", "twice"), ("n 1", "cannot be the name"),
        ("n\n1", "cannot be the name"), ("n[1-٣]", "not a range"), ("n[1-2-3]", "not a range"), ("-n", "cannot be"),
        ("n[0-999][0-999][0-999]", "more than"), ("../x", "cannot be"), ("n[1_0-11]", "not a range"),
    ],
)  # fmt: skip
def test_hosts_refused(text, word):
    refused(parse_hosts, text, word)


def test_the_number_of_hosts_is_bounded():
    assert len(parse_hosts(f"n[1-{HOSTS_MAX}]")) == HOSTS_MAX
    refused(parse_hosts, f"n[0-{HOSTS_MAX}]", "more than")


def test_printed_hosts():
    assert format_hosts(["n001", "n002", "n003", "n200", "login"]) == "n[001-003,200],login"
    assert format_hosts(["n9", "n10", "n010"]) == "n[9-10,010]"
    assert format_hosts([]) == ""


def test_arrays():
    assert parse_array("0-999:2%10").indices[:2] == ((0, 1), (2, 3))
    assert parse_array("0-999:2%10").throttle == 10
    assert parse_array("5,1,3-4").indices == ((1, 2), (3, 6))
    assert parse_array("0-9999999").indices == ((0, 10_000_000),)
    assert parse_array("01-03").indices == ((1, 4),)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("5-1", "backwards"), ("0-10000000", "at most 10000000"), ("1,1,1", "twice"), ("1-5,3", "twice"),
        ("1-3%0", "limit"), ("%5", "not an index"), ("1-10:0", "step of 0"), ("", "not an index"),
        ("1-", "not an index"),
        ("-1", "not an index"), ("2147483648", "largest index"), ("0-2000000:2", "separate ranges"),
        ("1_0", "not an index"),
        ("٣", "not an index"), ("1%2%3", "limit"), ("0-3%", "limit"), ("5:2", "not an index"),
        ("[1-3]", "not an index"),
    ],
)  # fmt: skip
def test_arrays_refused(text, word):
    refused(parse_array, text, word)


def test_dependencies():
    ok, any_end = DependencyKind.AFTEROK, DependencyKind.AFTERANY
    three = (Dependency(ok, JobId(1)), Dependency(ok, JobId(2)), Dependency(any_end, JobId(3)))
    assert parse_dependencies("afterok:1:2,afterany:3") == (three, True)
    assert parse_dependencies("afterok:1?afterok:2") == (three[:2], False)
    assert parse_dependencies("singleton") == ((Dependency(DependencyKind.SINGLETON),), True)
    assert parse_dependencies("afterok:1:1") == (three[:1], True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("afterok:1?afterok:2,afterok:3", "mixes"), ("", "not a dependency"), ("afterok", "names no job"),
        ("afterok:", "not a job id"), ("afterok:0", "not a job id"), ("afterok:x", "not a job id"),
        ("afterok:-1", "not a job id"), ("afterok:1_2", "element"), ("after:1+5", "delay"),
        ("singleton:1", "no job ids"),
        ("afterburst:1", "not a dependency"), ("12", "not a dependency"), ("AFTEROK:1", "not a dependency"),
    ],
)  # fmt: skip
def test_dependencies_refused(text, word):
    refused(parse_dependencies, text, word)


def test_gpus_and_generic_resources():
    assert parse_gpus("2") == Gpus(2)
    assert parse_gpus("a100:2") == Gpus(2, "a100")
    assert parse_generic("licence_x:2,fast_disk").amounts == (("fast_disk", 1), ("licence_x", 2))
    assert parse_generic("gpu").gpus == Gpus(1)
    assert parse_generic("gpu:2").gpus == Gpus(2)
    assert parse_generic("gpu:a100").gpus == Gpus(1, "a100")
    assert parse_generic("gpu:a100:2,x").gpus == Gpus(2, "a100")
    assert parse_generic("none").amounts == ()
    assert parse_constraint("ib&ssd,ib") == Constraint(("ib", "ssd"))
    assert parse_constraint("a|b") == Constraint((), (("a",), ("b",)))
    assert parse_constraint("a&b|a&c&(d|e)") == Constraint(("a",), (("b",), ("c", "d"), ("c", "e")))
    assert parse_constraint("a|a&b") == Constraint(("a",)), "who has a has enough"
    assert format_constraint(parse_constraint("(ib|opa)&ssd")) == "ssd&(ib|opa)"
    assert parse_licences("matlab:2,ansys") == (("ansys", 1), ("matlab", 2))


@pytest.mark.parametrize(
    ("parse", "text", "word"),
    [
        (parse_gpus, "a100:1,h100:1", "several types"), (parse_gpus, ":2", "number of GPUs"),
        (parse_gpus, "", "number of GPUs"),
        (parse_gpus, "a100:", "whole number"), (parse_gpus, "a100", "whole number"),
        (parse_gpus, "a b:1", "cannot be a name"),
        (parse_generic, "x:0", "out of range"), (parse_generic, "x,x", "twice"), (parse_generic, "x:y:1", "only GPUs"),
        (parse_generic, "gpu,gpu:2", "twice"), (parse_generic, "", "cannot be a name"),
        (parse_generic, "x:1G", "whole number"),
        (parse_constraint, "a|", "a feature is missing"), (parse_constraint, "[a*2]", "not supported"),
        (parse_constraint, "(a|b", "not closed"), (parse_constraint, "a)b", "should"), (parse_constraint, "!a", "'!'"),
        (parse_constraint, "&".join(f"(a{n}|b{n})" for n in range(9)), "more than 64 alternatives"),
        (parse_constraint, "(" * 30, "too many brackets"), (parse_licences, "a:1|b:1", "alternatives"),
        (parse_licences, "gpu:2", "no licences"),
        (parse_constraint, "", "missing"),
    ],
)  # fmt: skip
def test_resources_refused(parse, text, word):
    refused(parse, text, word)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", 0), ("now+1hour", 3600), ("now+2hours", 7200), ("now+60", 60), ("now+3minutes", 180),
        ("now+1d12h", 129_600),
        ("now+1week", 604_800), ("now+90s", 90),
    ],
)  # fmt: skip
def test_times_from_now(text, instant):
    assert parse_instant(text, NOW_S) == NOW_S + instant


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2030-01-31T16:30:00", "2030-01-31T16:30:00+01:00"), ("2030-01-31T16:30", "2030-01-31T16:30:00+01:00"),
        ("2030-01-31T16:30:00Z", "2030-01-31T16:30:00+00:00"), ("2030-01-31", "2030-01-31T00:00:00+01:00"),
        ("23:30", "2023-11-14T23:30:00+01:00"), ("16:30", "2023-11-15T16:30:00+01:00"),
        ("midnight", "2023-11-15T00:00:00+01:00"), ("noon", "2023-11-15T12:00:00+01:00"),
        ("tomorrow", "2023-11-15T00:00:00+01:00"), ("today", "2023-11-14T00:00:00+01:00"),
        ("16:30:15", "2023-11-15T16:30:15+01:00"), ("2030-01-31T16:30:00+02:00", "2030-01-31T16:30:00+02:00"),
    ],
)  # fmt: skip
def test_dates_and_times_of_day_are_in_the_zone(text, iso):
    zone = timezone(timedelta(hours=1))
    assert parse_instant(text, NOW_S, zone) == datetime.fromisoformat(iso).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "soon", "now+", "now-1hour", "now+1fortnight", "25:00", "2030-13-01", "2030-02-30", "20300131", "1:60",
        "now+٣",
     "9999-12-31", "now+99999999weeks", "teatime", "2030-01-31 16:30"],
)  # fmt: skip
def test_times_refused(text):
    refused(lambda given: parse_instant(given, NOW_S), text)


def test_patterns():
    assert parse_pattern("out/%x-%A_%a.%u.%N.%j.100%%") == "out/%x-%A_%a.%u.%N.%j.100%%"
    refused(parse_pattern, "%j%x%%%q", "'%q'", "%j (job id)")
    refused(parse_pattern, "x%", "'%'")
    refused(parse_pattern, "%4j", "'%4'")
    refused(parse_plain_path, "in-%a", "only in --output")


def test_names_and_paths():
    assert parse_name("grüße 1") == "grüße 1"
    assert parse_identifier("1e3") == "1e3"
    refused(parse_name, "a\nb", "control", r"'a\nb'")
    refused(parse_name, "a\x1b[31m", "control")
    refused(parse_name, "a\udce4", "control")
    refused(parse_name, "x" * 257, "257 characters")
    refused(parse_name, " ", "empty")
    refused(parse_identifier, "a b", "cannot be a name")
    refused(parse_identifier, "-a", "cannot be a name")
    refused(parse_path, "a\0b", "control")
    refused(parse_path, "ä" * 3000, "longer")
    refused(parse_absolute_path, "here", "relative", "/")


def test_export():
    environment = {"A": "1", "B": "2"}
    assert parse_export("ALL").apply(environment) == environment
    assert parse_export("NONE").apply(environment) == {}
    assert parse_export("A,C").apply(environment) == {"A": "1"}
    assert parse_export("ALL,B=3,D='x,y'").apply(environment) == {"A": "1", "B": "3", "D": "x,y"}
    refused(parse_export, "NONE,A", "beside")
    refused(parse_export, "A='x", "quote")
    refused(parse_export, "A-B", "environment variable")
    refused(parse_export, "", "environment variable")

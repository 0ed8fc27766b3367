"""What a plugin hands over is what its class says, down to the last field, or is named by the way to what is not."""

from __future__ import annotations

import json
import math
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.models.dataset import Brought
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import (
    BookingsReported,
    CopiesReported,
    NodeLeaving,
    NodeReported,
    NodeSilent,
    OutputsMade,
    PartsChanged,
    PartStatus,
)
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.shape import INT_MAX, TEXT_MAX, fault_in

REPORTS = (NodeReported, NodeSilent, NodeLeaving, PartsChanged, CopiesReported, OutputsMade, BookingsReported)
N1 = NodeName("n1")
KEY = AttemptKey(JobId(1), 0, 1)
DONE = End(EndKind.EXITED, exit_code=0)


class Odd(str):
    """A text whose looks are the plugin's."""


def parts(**changed: Any) -> PartsChanged:
    return PartsChanged(N1, (attrs.evolve(PartStatus(KEY, 1.0, 2.0, DONE), **changed),))


def test_what_is_sound_has_no_fault() -> None:
    assert fault_in(parts(), PartsChanged) == ""
    assert fault_in(parts(start_time_s=1, end=None, end_time_s=None), PartsChanged) == ""
    assert fault_in(NodeReported(Node(N1, 4, 0, ("a100",), (("licence", 2),)), "boot"), NodeReported) == ""


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, " is None, not a PartsChanged"),
        (NodeSilent(N1), " is a NodeSilent, not a PartsChanged"),
        (attrs.evolve(parts(), node=7), ".node is 7, not a text"),
        (attrs.evolve(parts(), node=Odd("n1")), ".node is a Odd, not a text"),
        (attrs.evolve(parts(), node="\udc80"), ".node is a text that UTF-8 does not know"),
        (attrs.evolve(parts(), node="n" * (TEXT_MAX + 1)), f".node has {TEXT_MAX + 1} characters; at most {TEXT_MAX}"),
        (attrs.evolve(parts(), parts=[]), ".parts is a list, not a tuple"),
        (attrs.evolve(parts(), parts=("x",)), ".parts[0] is 'x', not a PartStatus"),
        (parts(key=(1, 0, 1)), ".parts[0].key is a tuple, not a AttemptKey"),
        (parts(key=AttemptKey(JobId(2**60), 0, 1)), f".parts[0].key.job_id is {2**60}, not a whole number"),
        (parts(key=AttemptKey(JobId(True), 0, 1)), ".parts[0].key.job_id is True, not a whole number"),
        (parts(end_time_s=math.nan), ".parts[0].end_time_s is nan, not a finite number"),
        (parts(start_time_s="now"), ".parts[0].start_time_s is 'now', not a finite number"),
        (parts(end="exited"), ".parts[0].end is 'exited', not a End"),
        (parts(end=End("exited")), ".parts[0].end.kind is 'exited', not a EndKind"),  # type: ignore[arg-type]
        (parts(end=End(EndKind.EXITED, exit_code=0.0)), ".parts[0].end.exit_code is 0.0, not a whole number"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_is_named_with_the_way_to_it(value: object, fault: str) -> None:
    assert fault_in(value, PartsChanged).startswith(fault)


def test_a_pair_has_two() -> None:
    node = Node(N1, 4, 0, generic=(("licence", 2, 3),))  # type: ignore[arg-type]
    assert fault_in(NodeReported(node, "boot"), NodeReported) == ".node.generic[0] has 3 items, not 2"
    assert fault_in(Brought(read_s=math.inf), Brought) == ".read_s is inf, not a finite number"


def is_kept(value: Any) -> bool:
    """Whether JSON gives back what it was given."""
    try:
        text = json.dumps(attrs.asdict(value), allow_nan=False, default=lambda each: each.value)
        text.encode()
        plain = json.loads(text)
    except (ValueError, TypeError):
        return False
    return all(abs(each) <= INT_MAX for each in numbers(plain))


def numbers(plain: Any) -> list[int]:
    if isinstance(plain, dict):
        plain = list(plain.values())
    if isinstance(plain, list):
        return [number for each in plain for number in numbers(each)]
    return [plain] if type(plain) is int else []


@given(st.sampled_from(REPORTS).flatmap(st.from_type))
def test_whatever_is_sound_can_be_journalled_and_nothing_else_is_refused(report: Any) -> None:
    texts = json.dumps(attrs.asdict(report), ensure_ascii=False, default=lambda each: each.value)
    unencodable = any("\ud800" <= each <= "\udfff" for each in texts)
    assert (fault_in(report, type(report)) == "") == (is_kept(report) and not unencodable)

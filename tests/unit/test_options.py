"""Plugin options: strict types, every mistake at once, each with its place."""

from __future__ import annotations

from enum import Enum

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core import InvalidInput, structure_options
from hal_core.models.node import NodeName


class Mode(Enum):
    FAST = "fast"


@attrs.frozen
class Machine:
    name: NodeName
    cpu_count: int = attrs.field(validator=attrs.validators.ge(1))


@attrs.frozen
class Options:
    machines: tuple[Machine, ...] = ()
    ratio: float = 0.5
    is_shared: bool = False
    path: str | None = None
    mode: Mode = Mode.FAST
    labels: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Required:
    path: str


def problems(cls, options, place="planes.x"):
    with pytest.raises(InvalidInput) as caught:
        structure_options(cls, options, place)
    return {problem.place: problem.text for problem in caught.value.problems}


def test_good_options():
    given_options = {"machines": [{"name": "n1", "cpu_count": 4}], "ratio": 1, "mode": "fast", "labels": {"a": "b"}}
    made = structure_options(Options, given_options)
    assert made == Options((Machine(NodeName("n1"), 4),), ratio=1.0, labels={"a": "b"})
    assert type(made.ratio) is float


def test_every_mistake_is_told_at_once_with_its_place():
    found = problems(
        Options,
        {"machines": [{"name": "n1", "cpu_count": 0}, {"name": 7, "cpu_cuont": 1}], "ratio": "fast", "is_sharde": True},
    )
    assert set(found) == {
        "planes.x.machines[0]",  # attrs names the field in the text
        "planes.x.machines[1].name",
        "planes.x.machines[1].cpu_count",
        "planes.x.machines[1].cpu_cuont",
        "planes.x.ratio",
        "planes.x.is_sharde",
    }
    assert found["planes.x.machines[0]"] == "'cpu_count' must be >= 1: 0"
    assert found["planes.x.machines[1].name"] == "expected text, not 7"
    assert found["planes.x.machines[1].cpu_count"] == "is missing"
    assert "did you mean 'is_shared'?" in found["planes.x.is_sharde"]


@pytest.mark.parametrize("bad", ["a text", 5, None, ["x"]])
def test_options_that_are_no_mapping(bad):
    for cls in (Options, Required):
        assert problems(cls, bad) == {"planes.x": f"expected a mapping, not {bad!r}"}


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"ratio": True}, "planes.x.ratio"),
        ({"is_shared": 1}, "planes.x.is_shared"),
        ({"is_shared": "false"}, "planes.x.is_shared"),
        ({"path": 5}, "planes.x.path"),
        ({"mode": "slow"}, "planes.x.mode"),
        ({"machines": "n1"}, "planes.x.machines"),
        ({"machines": {"name": "n1"}}, "planes.x.machines"),
        ({"labels": ["a"]}, "planes.x.labels"),
    ],
)
def test_nothing_is_coerced(options, place):
    assert set(problems(Options, options)) == {place}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.name for field in attrs.fields(Options)]) | st.text(max_size=4)


@given(JSON | st.dictionaries(FIELDS, JSON, max_size=4))
def test_whatever_the_yaml_holds_the_answer_is_options_or_problems(value):
    try:
        made = structure_options(Options, value, "here")
    except InvalidInput as error:
        found = error.problems
    else:
        assert isinstance(made, Options)
        found = ()
    assert all(problem.place.startswith("here") and problem.text for problem in found)

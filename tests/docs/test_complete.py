"""The reference is complete: what a list of the code has, a page has."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re

import hal_core
from hal_core import errors, rest
from hal_core.config.describe import default_yaml, describe_schema
from hal_core.rest.answers import error_answer
from hal_core.rest.call import Route
from tests.tidy.tree import ROOT


def routes() -> list[Route]:
    rooms = [importlib.import_module(f"hal_core.rest.{each.name}") for each in pkgutil.iter_modules(rest.__path__)]
    return [route for room in rooms for route in getattr(room, "ROUTES", ())]


def test_every_route_is_in_the_reference():
    """A heading may name several that differ in their last part: `POST /v1/nodes/{name}/drain`, `/resume`."""
    named: set[str] = set()
    for heading in re.findall(r"^### (.*)$", (ROOT / "docs/reference/rest.md").read_text(), re.MULTILINE):
        whole, *others = re.findall(r"`([^`]+)`", heading) or [""]
        named |= {whole, *(other if " " in other else whole.rpartition("/")[0] + other for other in others)}
    missing = {f"{route.method} {route.path}" for route in routes()} - named
    assert not missing


def error_classes() -> list[type[errors.HalError]]:
    found = [errors.HalError]
    for cls in found:  # Grows while we go.
        found += [each for each in cls.__subclasses__() if each.__module__ == errors.__name__]
    return found


def an_error(cls: type[errors.HalError]) -> errors.HalError:
    if cls is errors.InvalidInput:
        return errors.InvalidInput([errors.Problem("mem", "is wrong")])
    return errors.JournalDamaged("damaged", 7) if cls is errors.JournalDamaged else cls("text")


def test_every_error_is_in_the_reference_with_the_status_that_it_gets():
    rows = re.findall(
        r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE
    )
    told = {name: over_http.strip() for name, _, over_http in rows}
    assert set(told) == {cls.__name__ for cls in error_classes()}
    for cls in error_classes():
        answer = error_answer(an_error(cls))
        if answer is not None:
            kind = json.loads(answer.body)["error"]["kind"]
            assert told[cls.__name__] == f"{answer.status} `{kind}`"


def test_every_key_of_the_configuration_says_what_it_is():
    text = default_yaml()
    for row in describe_schema():
        assert len(row.help.split()) >= 2, f"{row.key} has no help"
        assert f"# {row.help}" in text, f"`hal config show --defaults` says nothing of {row.key}"


def test_every_name_of_the_sdk_says_what_it_is():
    silent = []
    for name in hal_core.__all__:
        thing = getattr(hal_core, name)
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and thing.__module__.startswith("hal_core"):
            text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
            if not text or text.startswith(f"{name}("):  # what attrs would make up
                silent.append(name)
    assert silent == []

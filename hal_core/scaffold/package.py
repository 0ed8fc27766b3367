"""`hal plugin new`: a package with one small, complete plugin, its entry point, its test and a page about it."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from hal_core.errors import Conflict, InvalidInput, Problem, did_you_mean
from hal_core.plugins import PLANES

NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
WORD: Final = {"example": re.compile(r"\bexample\b"), "Example": re.compile(r"\bExample(?=\b|Options)")}

PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "The {plane} {name} for HAL"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["hal-core"]

[project.optional-dependencies]
test = ["hal-core[test]"]

[project.entry-points.hal]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""

README: Final = """\
# {name}

A plugin for HAL's {plane} plane. The code is in `src/{module}/__init__.py`.

    pip install -e .            # beside HAL
    hal plugins                 # lists it
    hal plugin test {name}      # tries out all that HAL demands of it

{select}
"""

SELECT: Final = {
    "engine": "Try it on a trace, without any cluster:\n\n    hal simulate --policy {name} lublin:jobs=1000,procs=64",
    "predictor": "Try it on a trace, without any cluster:\n\n"
    "    hal simulate --estimates {name} lublin:jobs=1000,procs=64",
}
ANYWHERE: Final = "A cluster's configuration selects it by its name: `hal config show --defaults` shows where."

TEST: Final = '''\
"""The plugin keeps everything that HAL demands."""

from hal_core.testing import check_plugin


def test_it_keeps_the_contracts():
    assert [check for check in check_plugin("{name}") if not check.passed] == []
'''


def write_package(name: str, plane: str, output: Path) -> list[Path]:
    """Write the package into `output`, which must be empty or not be there. Returns the files. Raises UserError."""
    problems = []
    if not NAME.match(name):
        text = f"{name!r} is no name for a package; use small letters, digits and dashes, with a letter first"
        problems.append(Problem("NAME", text))
    if plane not in PLANES:
        text = f"there is no plane {plane!r}{did_you_mean(plane, PLANES)}; there are {', '.join(PLANES)}"
        problems.append(Problem("--plane", text))
    module = name.replace("-", "_")
    if not problems and importlib.util.find_spec(module) is not None:
        problems.append(Problem("NAME", f"a module {module} is installed already; choose another name"))
    if problems:
        raise InvalidInput(problems)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise Conflict(f"{output} is there already; give --output a directory that is empty or new")
    given = {"name": name, "plane": plane, "module": module}
    texts = {
        "pyproject.toml": PYPROJECT.format(**given),
        "README.md": README.format(**given, select=SELECT.get(plane, ANYWHERE).format(**given)),
        f"src/{module}/__init__.py": code(name, plane),
        f"src/{module}/py.typed": "",
        f"tests/test_{module}.py": TEST.format(**given),
    }
    for path, text in texts.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_text(text)
    return [output / path for path in texts]


def code(name: str, plane: str) -> str:
    """The template of that plane, with the names of the new plugin."""
    text = files("hal_core.scaffold").joinpath(f"{plane}.py").read_text()
    text = WORD["example"].sub(name, text)
    return WORD["Example"].sub("".join(part.capitalize() for part in name.split("-")), text)

"""Secrets of plugins: read from where they are, and in no text of an error."""

from __future__ import annotations

import sys

import pytest

from hal_core.errors import InvalidInput, Refused
from hal_core.fleet.user_data import UserData
from hal_core.models.node import NodeName
from hal_core.options import structure_options
from hal_core.secret import Secret

CANARY = "canary-7f3a"


def program(code):
    return Secret(command=(sys.executable, "-c", code))


def test_from_a_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o640)
    assert Secret(str(path)).read("key") == CANARY
    path.write_text("next")
    assert Secret(str(path)).read("key") == "next"


def test_from_a_command():
    assert program(f"print({CANARY!r})").read("key") == CANARY


def test_a_file_that_everybody_may_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_text(CANARY)
    path.chmod(0o644)
    with pytest.raises(Refused, match=r"clouds\.x\.key: everybody may read .*mode 0644.*chmod o-r") as caught:
        Secret(str(path)).read("clouds.x.key")
    assert CANARY not in str(caught.value)


def test_what_a_failing_command_prints_is_not_repeated():
    with pytest.raises(Refused, match="exit code 3") as caught:
        program(f"import sys; print({CANARY!r}); print({CANARY!r}, file=sys.stderr); sys.exit(3)").read("key")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (Secret("/no/such/file"), "No such file"),
        (Secret(command=("/no/such/program",)), "No such file"),
        (program("pass"), "holds nothing"),
        (program("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')"), "no text"),
    ],
)
def test_why_it_cannot_be_read(secret, text):
    with pytest.raises(Refused, match=f"key: .*{text}"):
        secret.read("key")


@pytest.mark.parametrize("options", [{}, {"file": "/a", "command": ["b"]}, {"file": "a"}])
def test_either_a_file_or_a_command(options):
    with pytest.raises(InvalidInput, match=r"either a file or a command|absolute path"):
        structure_options(Secret, options)


def test_user_data_is_filled_in_for_the_node(tmp_path):
    file = tmp_path / "start.sh"
    file.write_text("hal agent enroll --node {node} <<< '{join_token}' # ${other}")
    make = (sys.executable, "-c", "import sys; print('token-of-' + sys.argv[1])", "{node}")
    text = UserData(str(file), make).text(NodeName("hal-small-0"), "user_data")
    assert text == "hal agent enroll --node hal-small-0 <<< 'token-of-hal-small-0' # ${other}"


def test_user_data_that_cannot_be_filled_in(tmp_path):
    file = tmp_path / "start.sh"
    file.write_text("{join_token}")
    with pytest.raises(Refused, match=r"user_data\.join_token_command: .* nothing makes one"):
        UserData(str(file)).text(NodeName("n"), "user_data")
    file.write_text("x" * 16_385)
    with pytest.raises(Refused, match="more than 16384 bytes"):
        UserData(str(file)).text(NodeName("n"), "user_data")
    with pytest.raises(Refused, match=r"user_data\.file: .*No such file"):
        UserData(str(tmp_path / "gone")).text(NodeName("n"), "user_data")

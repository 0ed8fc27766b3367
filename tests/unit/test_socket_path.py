"""A state directory whose sockets nobody could reach is told by its setting, not in the system's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hal_core.errors import Refused
from hal_core.wire.socket_path import check_socket_path
from tests.support.cli import hal

LONG = "x" * 100
CLUSTER = """cluster: here
nodes:
  - {{names: n1, cpus: 1, memory: 1G}}
partitions:
  - {{name: all, nodes: n1, default: true}}
state_directory: {directory}
listen: {{socket: {socket}}}
"""


def path_of(count: int) -> Path:
    """With so many bytes, which are fewer characters."""
    return Path("/" + "ä" * 50 + "x" * (count - 101))


def test_the_bound_is_that_of_the_system_and_counts_bytes() -> None:
    check_socket_path(path_of(103), "state_directory")
    with pytest.raises(Refused, match=r"state_directory: .* at most 103 bytes here, and /ä*x* has 104: choose"):
        check_socket_path(path_of(104), "state_directory")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["daemon"], "state_directory"),
        (["agent", "--node", "n1"], "state_directory"),
        (["agent", "--node", "n1", "--state", f"/tmp/{LONG}"], "--state"),
        (["agent", "--node", "n1", "--state", "/tmp/s", "--server", f"/tmp/{LONG}"], "--server"),
    ],
)
def test_who_cannot_listen_there_says_which_setting_to_change(tmp_path: Path, words: list[str], place: str) -> None:
    configuration = tmp_path / "cluster.yaml"
    configuration.write_text(CLUSTER.format(directory=tmp_path / LONG, socket=tmp_path / "hal.sock"))
    configuration.chmod(0o600)
    verb, *options = words
    result = hal(tmp_path / "none.sock", verb, str(configuration), *options)
    assert result.code in (1, 2, 78)
    assert result.err.startswith(f"hal: {place}: paths of sockets have at most 103 bytes here, and ")

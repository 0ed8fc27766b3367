"""Starting the broker of a session."""

from __future__ import annotations

from hal_core.client.session_start import BrokerProcess


def test_a_broker_that_dies_before_it_has_heard_anything_is_one_that_ended(tmp_path, monkeypatch):
    """What it is told does not fit into a pipe, so that it is still being written then."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    process = BrokerProcess.new((1, 0), False, job={"comment": "x" * 1_000_000})
    with process.start() as connection:
        assert connection.recv(1) == b""
    process.wait()

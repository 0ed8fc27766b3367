"""Starting the broker of a session."""

from __future__ import annotations

import msgspec

from hal_core.client.session_start import OPTIONS, BrokerProcess


def test_a_broker_that_dies_before_it_has_heard_anything_is_one_that_ended(tmp_path, monkeypatch):
    """What it is told does not fit into a pipe, so that it is still being written then."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    process = BrokerProcess.new((1, 0), False, job={"comment": "x" * 1_000_000})
    with process.start() as connection:
        assert connection.recv(1) == b""
    process.wait()


def test_options_of_the_job_have_either_name_as_for_a_client(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    process = BrokerProcess.new((1, 0), True, "/nowhere", {"cpus_per_task": 2, "kill-grace": "2s"})
    assert msgspec.json.decode((process.directory / OPTIONS).read_bytes())["job"] == {
        "cpus-per-task": 2,
        "kill-grace": "2s",
    }

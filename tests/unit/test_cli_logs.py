"""`hal logs` as a whole process, against a scripted daemon: one file, those of an array, those of a gang."""

from __future__ import annotations

import threading

import pytest

from tests.support.cli import hal, start_hal
from tests.support.rest_bodies import ELEMENT, ended, job_details
from tests.support.scripted_server import Reply, ScriptedServer

SHARE = ELEMENT["nodes"][0]


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


def test_logs_prints_the_file_that_the_job_names(server, tmp_path):
    path = tmp_path / "hal-17.out"
    path.write_text("1\n2\n3")
    server.answer("GET", "/v1/jobs/17", job_details(job_id=17, output_pattern=str(path)))
    assert hal(server.path, "logs", "17").out == "1\n2\n3"
    assert hal(server.path, "logs", "-n", "2", "17").out == "2\n3"
    assert hal(server.path, "logs", "-n", "9", "17").out == "1\n2\n3"
    assert hal(server.path, "logs", "--path", "17").out == f"{path}\n"
    path.unlink()
    result = hal(server.path, "logs", "17")
    assert (result.code, "no output yet" in result.err) == (1, True)


def test_logs_follows_until_the_end(server, tmp_path):
    path = tmp_path / "hal-17.out"
    may_end = threading.Event()

    def view(request):
        if "wait" not in request.query:
            return Reply(job_details(job_id=17, output_pattern=str(path)))
        may_end.wait(60)
        return Reply(ended(17, "TIMEOUT", kind="time_limit", exit_code=None, signal=15))

    server.answer("GET", "/v1/jobs/17", view)
    process = start_hal(server.path, "logs", "-f", "17")
    assert process.stdout is not None
    with path.open("w", buffering=1) as file:
        for text in ("first\n", "second\n"):
            file.write(text)
            assert process.stdout.readline().decode() == text
        file.write("last")
    may_end.set()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"last", b"hal: job 17 timeout: time limit\n")


def test_logs_follows_a_whole_array_line_by_line(server, tmp_path):
    """Elements that had ended are not told again; one that ends without a last newline has its line."""
    state = {"8": "COMPLETED", "9": "RUNNING", "10-11": "PENDING"}

    def elements(_):
        entries = [
            {**ELEMENT, "indices": indices, "state": word, "output_path": None} for indices, word in state.items()
        ]
        return Reply({"job_id": 12, "elements": entries, "next_cursor": None, "sequence": 1})

    def view(_):
        is_over = set(state.values()) == {"COMPLETED"}
        pattern = str(tmp_path / "%a.out")
        known = ended(12, "COMPLETED") if is_over else job_details(job_id=12)
        return Reply({**known, "array": "8-11", "output_pattern": pattern, "is_private_shown": True})

    server.answer("GET", "/v1/jobs/12", view)
    server.answer("GET", "/v1/jobs/12/elements", elements)
    for index in (8, 9):
        (tmp_path / f"{index}.out").write_text(f"begun {index}\nhalf")
    process = start_hal(server.path, "logs", "-f", "12")
    assert process.stdout is not None
    assert process.stdout.readline() == b"9: begun 9\n"
    state.update({"9": "RUNNING", "10-11": "RUNNING"})
    (tmp_path / "11.out").write_text("eleven\n")
    assert process.stdout.readline() == b"11: eleven\n"
    with (tmp_path / "9.out").open("a") as file:
        file.write(" and half")
    (tmp_path / "10.out").write_text("ten")
    state.update({"9": "COMPLETED", "10-11": "COMPLETED"})
    out, _ = process.communicate(timeout=60)
    assert sorted(out.splitlines()) == [b"10: ten", b"9: half and half"]


def test_logs_of_an_element(server, tmp_path):
    path = tmp_path / "hal-12_3.out"
    path.write_text("three")
    element = {**ELEMENT, "indices": "3", "state": "COMPLETED", "output_path": str(path)}
    waiting = {**ELEMENT, "indices": "4-9", "state": "PENDING", "output_path": None, "error_path": None}
    pattern = str(tmp_path / "hal-12_%a.out")
    server.answer("GET", "/v1/jobs/12", job_details(array="3-10", element=None, output_pattern=pattern))
    pages = {None: ([element], "next"), "next": ([waiting], None)}

    def page(request):
        elements, cursor = pages[request.query.get("cursor")]
        return Reply({"job_id": 12, "elements": elements, "next_cursor": cursor, "sequence": 1})

    server.answer("GET", "/v1/jobs/12/elements", page)
    assert hal(server.path, "logs", "12_3").out == "three"
    assert hal(server.path, "logs", "-f", "12_3").out == "three"
    assert "no output yet" in hal(server.path, "logs", "12_5").err
    done = {**waiting, "indices": "10", "state": "COMPLETED"}
    pages["next"] = ([waiting, done], None)
    (tmp_path / "hal-12_10.out").write_text("ten")
    assert hal(server.path, "logs", "12_10").out == "ten", "no path is named for elements that are listed together"
    assert "no element 2" in hal(server.path, "logs", "12_2").err
    assert hal(server.path, "logs", "12").code == 2


class Gang:
    """Job 17, which has a file on each of its nodes."""

    def __init__(self, server, directory):
        self.pattern = f"{directory}/100%%-%N.out"
        self.state = "PENDING"
        self.nodes = ["n1", "n2"]
        self.spread = "node"
        self.attempt = 1
        self.away_count = 0
        server.answer("GET", "/v1/jobs/17", self.view)

    def view(self, _):
        if self.away_count:
            self.away_count -= 1
            return Reply({"error": {"kind": "unavailable", "text": "starting"}}, 503)
        nodes = [] if self.state == "PENDING" else [{**SHARE, "node": node} for node in self.nodes]
        known = ended(17, self.state) if self.state == "COMPLETED" else job_details(job_id=17, state=self.state)
        element = {**ELEMENT, "state": self.state, "attempt": self.attempt, "nodes": nodes}
        own = {"element": element, "output_pattern": self.pattern, "node_count": 2, "spread": self.spread}
        return Reply({**known, **own})


def test_the_nodes_of_a_gang_are_followed_side_by_side(server, tmp_path):
    """From before it starts, over a daemon that is away, and onto the nodes of another attempt."""
    gang = Gang(server, tmp_path)
    process = start_hal(server.path, "logs", "-f", "17")
    assert process.stdout is not None
    (tmp_path / "100%-n1.out").write_text("one\nhalf")
    gang.state, gang.away_count = "RUNNING", 1
    assert process.stdout.readline() == b"n1: one\n"
    (tmp_path / "100%-n2.out").write_text("two\n")
    assert process.stdout.readline() == b"n2: two\n"
    (tmp_path / "100%-n3.out").write_text("three\n")
    gang.nodes, gang.attempt = ["n1", "n3"], 2
    assert process.stdout.readline() == b"n3: three\n"
    with (tmp_path / "100%-n1.out").open("a") as file:
        file.write(" and half")
    gang.state = "COMPLETED"
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"n1: half and half\n", b"")


def test_what_is_on_another_machine_is_said(server, tmp_path):
    gang = Gang(server, tmp_path)
    gang.state, gang.nodes = "COMPLETED", ["n1", "n2", "n3"]
    (tmp_path / "100%-n2.out").write_text("two")
    result = hal(server.path, "logs", "-f", "17")
    assert (result.code, result.out) == (0, "n2: two\n")
    why = "is not here: it is on another machine, or nothing was written"
    assert result.err == f"hal: n1, n3: {tmp_path}/100%-n1.out {why}\n"
    (tmp_path / "100%-n2.out").unlink()
    assert hal(server.path, "logs", "17").code == 1
    single = f"{tmp_path}/17.out"
    server.answer("GET", "/v1/jobs/17", Reply({**ended(17, "COMPLETED"), "output_pattern": single}))
    assert hal(server.path, "logs", "-f", "17").err == f"hal: {single} {why}\n"


def test_what_the_nodes_of_a_gang_have_written_is_printed(server, tmp_path):
    gang = Gang(server, tmp_path)
    assert "it has none yet" in hal(server.path, "logs", "17").err
    gang.state = "RUNNING"
    for node in gang.nodes:
        (tmp_path / f"100%-{node}.out").write_text(f"first\nlast of {node}")
    assert hal(server.path, "logs", "-n", "1", "17").out == "n1: last of n1\nn2: last of n2\n"
    assert hal(server.path, "logs", "--path", "17").out == f"{tmp_path}/100%-n1.out\n{tmp_path}/100%-n2.out\n"
    gang.spread = "job"
    assert hal(server.path, "logs", "17").out == "first\nlast of n1", "its script runs on the first node only"

"""Traces of a real cluster: an OTLP receiver gets whole ones, and a job finds its own in its environment.

A thousand jobs of all kinds: `python -m tests.campaigns.traces`.
"""

from __future__ import annotations

import pytest

from hal_core.models.trace import ENDPOINT_VARIABLES, VARIABLE
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.traced_jobs import attributes, faults, run_session, submit_all_kinds, traced_cluster

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_jobs_of_all_kinds_are_traced_by_all_who_have_a_part_in_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with OtlpReceiver() as receiver, traced_cluster(receiver) as hal:
        out = hal.work / "context"
        body = hal.body() | {"client_id": "traced", "command": ["/bin/sh", "-c", f'echo "$TRACEPARENT" > {out}']}
        body["environment"] = ["PATH=/usr/bin:/bin", f"{VARIABLE}={PARENT}"]
        first = hal.post("/v1/jobs", body)["job_id"]
        jobs = submit_all_kinds(hal, 10) | {"traced": [first]}
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        monkeypatch.setenv(ENDPOINT_VARIABLES[0], receiver.endpoint)
        monkeypatch.setenv(VARIABLE, PARENT)
        workers = run_session(hal, 100)
        hal.wait_until_done()
        receiver.until_count("session", 1)
        receiver.until_count("job ", sum(map(len, jobs.values())) + len(jobs["again"]) + 1)
        spans = receiver.spans
        receiver.until_count("process", sum(span.name == "run" for span in spans) + len(jobs["gang"]))
        outside = bytes.fromhex(PARENT[36:52])
        assert faults(spans, jobs, frozenset({outside})) == []
        [mine] = [span for span in spans if span.name.startswith("job ") and span.parent_span_id == outside]
        assert attributes(mine)["hal.job_id"] == first
        [ran] = [span for span in spans if span.name == "run" and attributes(span)["hal.job_id"] == first]
        assert out.read_text().strip() == f"{PARENT[:35]}-{ran.span_id.hex()}-01"
        [opened] = [span for span in spans if span.name == "session"]
        assert opened.parent_span_id == outside
        assert attributes(opened)["hal.tasks_done"] == 100
        [below] = [span for span in spans if span.parent_span_id == opened.span_id]
        assert attributes(below)["hal.job_id"] == workers.job_id

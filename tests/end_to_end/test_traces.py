"""Traces of a real cluster: an OTLP receiver gets whole ones, and a job finds its own in its environment."""

from __future__ import annotations

from collections import Counter

from tests.support.hal_services import HalServices
from tests.support.otlp_receiver import OtlpReceiver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COUNT = 200


def test_jobs_are_traced_from_submission_to_exit() -> None:
    with OtlpReceiver() as receiver, HalServices(cpus=8) as hal:
        hal.kill("daemon")
        hal.extra_environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        hal.start_service("daemon")
        hal.wait_until_ready()
        out = hal.work / "context"
        script = f'echo "$TRACEPARENT" > {out}'
        body = hal.body() | {"client_id": "traced", "command": ["/bin/sh", "-c", script]}
        body["environment"] = ["PATH=/usr/bin:/bin", f"TRACEPARENT={PARENT}"]
        first = hal.post("/v1/jobs", body)["job_id"]
        hal.submit("/bin/false", options=[("dependency", f"afterany:{first}")])
        hal.submit("/bin/true", options=[("array", "0-9")])
        hal.submit_bulk([["/bin/true"]] * COUNT)
        hal.wait_until_done()
        receiver.until_count("job ", COUNT + 3)
        spans = receiver.spans
        names = Counter("job" if span.name.startswith("job ") else span.name for span in spans)
        assert names == {"job": COUNT + 3, "wait": COUNT + 12, "launch": COUNT + 12, "run": COUNT + 12}
        ids = {(span.trace_id, span.span_id) for span in spans}
        outside = bytes.fromhex(PARENT[36:52])
        parents = {(span.trace_id, span.parent_span_id): span.name for span in spans if span.parent_span_id}
        orphans = [name for parent, name in parents.items() if parent not in ids]
        assert orphans == ["job sh"], "its parent is with whoever submitted it"
        [mine] = [span for span in spans if span.parent_span_id == outside]
        [ran] = [span for span in spans if span.trace_id == mine.trace_id and span.name == "run"]
        assert out.read_text().strip() == f"{PARENT[:35]}-{ran.span_id.hex()}-01"
        [dependent] = [span for span in spans if span.links]
        assert (dependent.links[0].trace_id, dependent.links[0].span_id) == (mine.trace_id, mine.span_id)
        assert dependent.status.message == "exited"

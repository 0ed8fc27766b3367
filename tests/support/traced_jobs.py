"""Jobs of all kinds on a cluster whose every process is traced, and what must be true of the traces.

with OtlpReceiver() as receiver, traced_cluster(receiver) as hal:
    jobs = submit_all_kinds(hal, 100)
    hal.wait_until_done()
    assert faults(hal, receiver) == []
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hal_core.client.views import JobView
from tests.support import tasks
from tests.support.hal_services import HalServices
from tests.support.otlp_receiver import OtlpReceiver

KINDS = ("plain", "failing", "array", "dependent", "gang", "released", "cancelled", "never", "late", "again")
MORE = "executors:\n  metal: {use_s: 0}\n"


@contextmanager
def traced_cluster(receiver: OtlpReceiver, more: str = MORE, node_count: int = 2) -> Iterator[HalServices]:
    """Daemon and agents are told where to send their spans. `more` are sections of the configuration."""
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with HalServices(node_count=node_count, cpus=8, more_configuration=more, extra_environment=traced) as hal:
        yield hal


def submit_all_kinds(hal: HalServices, count: int) -> dict[str, list[int]]:
    """At least so many jobs, the same number of each kind; the ids of each kind. All of them end by themselves."""
    jobs: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for _ in range(-(-count // len(KINDS))):
        first = hal.submit("/bin/true")
        jobs["plain"].append(first)
        failing = hal.submit("/bin/false")
        jobs["failing"].append(failing)
        jobs["array"].append(hal.submit("/bin/true", options=[("array", "0-3%2")]))
        jobs["dependent"].append(hal.submit("/bin/true", options=[("dependency", f"afterany:{first}:{failing}")]))
        jobs["never"].append(hal.submit("/bin/true", options=[("dependency", f"afterok:{failing}")]))
        jobs["gang"].append(hal.submit("/bin/true", options=[("nodes", "2")]))
        held = hal.submit("/bin/true", options=[("hold", "")])
        hal.post(f"/v1/jobs/{held}/release", {})
        jobs["released"].append(held)
        stopped = hal.submit("/bin/true", options=[("hold", "")])
        hal.post(f"/v1/jobs/{stopped}/cancel", {})
        jobs["cancelled"].append(stopped)
        jobs["late"].append(hal.submit("/bin/sleep", "60", options=[("time", "1s"), ("kill-grace", "0s")]))
        jobs["again"].append(hal.submit("/bin/true"))
    hal.wait_until_done()
    for job_id in jobs["again"]:
        hal.post(f"/v1/jobs/{job_id}/requeue", {})
    return jobs


def faults(spans: list[Any], jobs: dict[str, list[int]], outside: frozenset[bytes] = frozenset()) -> list[str]:
    """What is not as it should be. `outside`: span ids of programs that are not ours."""
    ids = Counter((span.trace_id, span.span_id) for span in spans)
    found = [f"{count} spans have one id" for count in ids.values() if count > 1]
    for span in spans:
        parent = span.parent_span_id
        if parent and parent not in outside and (span.trace_id, parent) not in ids:
            found.append(f"the parent of {span.name} {attributes(span)} is missing")
        if span.end_time_unix_nano < span.start_time_unix_nano:
            found.append(f"{span.name} {attributes(span)} ends before it begins")
    roots = {attributes(span)["hal.job_id"]: span for span in spans if span.name.startswith("job ")}
    for kind, job_ids in jobs.items():
        found += [f"{kind} job {job_id} has no trace" for job_id in job_ids if job_id not in roots]
    for kind in ("dependent", "never"):
        for job_id in jobs[kind]:
            causes = {link.span_id for link in roots[job_id].links} if job_id in roots else set()
            if not causes or not causes <= {root.span_id for root in roots.values()}:
                found.append(f"the causes of {kind} job {job_id} are not linked")
    names = Counter(span.name for span in spans)
    if names["run"] == 0 or names["process"] < names["run"]:
        found.append(f"{names['run']} attempts ran, and nodes tell of {names['process']} processes")
    return found


def attributes(span: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def run_session(hal: HalServices, task_count: int) -> JobView:
    """A session whose workers are a job of the cluster; that job, when it is over."""
    from hal_core.client import Client, session

    with Client(str(hal.socket)) as client:
        with session(workers=2, server=str(hal.socket)) as opened:
            results = list(opened.map(tasks.square, range(task_count)))
            assert results == [number * number for number in range(task_count)]
            (job,) = [each for each in client.queue() if each.name == f"session-{opened.id}"]
        return client.wait(job.job_id, timeout_s=60)

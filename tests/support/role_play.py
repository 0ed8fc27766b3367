"""Sequences of what users and operators ask for, against a real API: nobody gets beyond their role."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.support.rest_api import ADA, ADMINISTRATOR, BOB, OPERATOR, serving_api

RESERVATION = '{"name": "new", "nodes": ["n1"], "start": "now+1hour", "duration": "1h", "is_maintenance": true}'
DATASET = f'''{{"name": "genome", "replicas": ["/data/genome"],
 "files": [{{"path": "a", "size_bytes": 1, "sha256": "{"0" * 64}"}}]}}'''
NAMES = {"name": "n1", "reservation": "kept", "dataset": "genome", "pool": "burst"}
"""What stands in the routes, besides jobs."""
CHANGES = {
    # route: (ada's own, bob on ada's, operator on ada's, administrator on ada's)
    ("/v1/jobs/{job_id}/hold", "{}"): (200, 403, 200, 200),
    ("/v1/jobs/{job_id}/release", "{}"): (200, 403, 200, 200),
    ("/v1/jobs/{job_id}/requeue", "{}"): (200, 403, 200, 200),
    ("/v1/jobs/{job_id}/suspend", "{}"): (403, 403, 409, 409),  # it does not run
    ("/v1/jobs/{job_id}/resume", "{}"): (403, 403, 409, 409),
    ("/v1/jobs/{job_id}/priority", '{"priority": -1}'): (200, 403, 200, 200),
    ("/v1/jobs/{job_id}/priority", '{"priority": 1}'): (403, 403, 200, 200),
    ("/v1/jobs/{job_id}/weight", '{"weight": 2}'): (409, 403, 409, 409),  # it is not elastic
    ("/v1/jobs/{job_id}/cancel", "{}"): (200, 403, 200, 200),
    ("/v1/nodes/{name}/drain", '{"reason": "x"}'): (403, 403, 200, 200),
    ("/v1/nodes/{name}/resume", "{}"): (403, 403, 200, 200),
    ("/v1/reservations", RESERVATION): (403, 403, 201, 201),
    ("/v1/reservations/{reservation}/remove", "{}"): (403, 403, 200, 200),
    ("/v1/datasets/{dataset}/pin", "{}"): (200, 403, 200, 200),
    ("/v1/datasets/{dataset}/unpin", "{}"): (200, 403, 200, 200),
    ("/v1/datasets/{dataset}/evict", "{}"): (200, 403, 200, 200),
    ("/v1/datasets/{dataset}/remove", "{}"): (200, 403, 200, 200),
    ("/v1/pools/{pool}/stop", '{"does_release": true}'): (403, 403, 403, 200),
    ("/v1/pools/{pool}/resume", "{}"): (403, 403, 403, 200),
}
ASKERS = (BOB, OPERATOR)
OWNERS = (ADMINISTRATOR, ADA)


def named(path: str) -> str:
    """The route as the table has it."""
    return path.replace("{reservation}", "{name}").replace("{dataset}", "{name}").replace("{pool}", "{name}")


async def play(directory: Path, actions: Iterable[tuple[int, tuple[str, str], int]]) -> None:
    """Each action is (who asks, what of CHANGES, whose job). AssertionError when somebody got what is not theirs."""
    async with serving_api(directory / "s") as api:
        jobs = {uid: await api.submit(uid=uid) for uid in OWNERS}
        for uid, (path, body), owner in actions:
            await api.post("/v1/datasets", DATASET.encode(), uid=ADA)  # which the one before may have removed
            sequence = api.kernel.durable_sequence
            answer = await api.post(path.format(job_id=jobs[owner], **NAMES), body.encode(), uid=uid)
            if uid == BOB:
                assert answer.status == 403
                assert api.kernel.durable_sequence == sequence
            seen = (await api.get("/v1/status", uid=uid)).json()["caller"]["role"]
            assert seen == {BOB: "user", OPERATOR: "operator"}[uid]
        changers = {getattr(event, "by", "") for event in api.kernel.journal.events}
        assert changers <= {"", "oper"}, "every change says who made it, and bob made none"

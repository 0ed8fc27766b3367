"""What running jobs use, from the agent's look at their processes to what people see; and one that does nothing."""

from __future__ import annotations

import json

from tests.support.hal_services import HalServices

MORE = """executors:
  metal: {use_s: 0.1}
idle: {warn: 1s}
"""
BUSY = "import time\ndata = b'x' * (40 << 20)\nwhile True: pass"


def test_people_see_what_jobs_use_and_who_does_nothing() -> None:
    with HalServices(cpus=4, more_configuration=MORE) as hal:
        busy = hal.submit("/usr/bin/env", "python3", "-c", BUSY, options=[("name", "busy")])
        lazy = hal.submit("/bin/sleep", "1000", options=[("cpus-per-task", "2")])

        def use(job_id: int):
            return hal.get(f"/v1/jobs/{job_id}")["use"]

        def is_seen() -> bool:
            seen = use(busy)
            return bool(seen and seen["cpus"] > 0.0 and seen["memory_bytes_max"] >= 40 << 20)

        hal.tree.until("the busy job was measured", is_seen, 60, hal.watched)
        hal.tree.until("the lazy job is idle", lambda: (use(lazy) or {}).get("idle_since_s") is not None, 60)
        assert use(busy)["cpu_count"] == 1
        assert use(busy)["idle_since_s"] is None
        assert hal.get("/v1/status")["cpus_busy"] > 0.0
        receipt = hal.get(f"/v1/jobs/{busy}/receipt")
        assert receipt["cpu_s"] > 0.0
        assert receipt["peak_memory_bytes"] >= 40 << 20
        assert " of 1 CPU (" in hal.run("show", str(busy)).stdout
        (line,) = [line for line in hal.run("queue").stdout.splitlines() if line.startswith(f"{lazy} ")]
        assert "idle since" in line

        def kinds(job_id: int) -> list[str]:
            lines = hal.run("events", "--job", str(job_id), "--json").stdout.splitlines()
            return [json.loads(line)["event"] for line in lines]

        hal.tree.until("the event was journalled", lambda: "IdleFound" in kinds(lazy), 60, interval_s=0.2)
        assert "IdleFound" not in kinds(busy)

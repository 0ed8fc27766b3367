"""A thousand jobs of all kinds and a session, traced by daemon, agents and broker: whether every trace is whole.

Kinds: plain, failing, array, dependent, gang, held and released, cancelled, never to start, over its limit, run again.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter

from hal_core.models.trace import ENDPOINT_VARIABLES
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.traced_jobs import faults, run_session, submit_all_kinds, traced_cluster


def measure(campaign: Campaign) -> Figures:
    with tempfile.TemporaryDirectory() as state, OtlpReceiver() as receiver, traced_cluster(receiver) as hal:
        os.environ["XDG_STATE_HOME"] = state
        os.environ[ENDPOINT_VARIABLES[0]] = receiver.endpoint
        progress(f"{campaign.given.jobs} jobs, and a session")
        jobs = submit_all_kinds(hal, campaign.given.jobs)
        run_session(hal, 10_000)
        hal.wait_until_done(600.0)
        job_count = sum(map(len, jobs.values()))
        receiver.until_count("job ", job_count + len(jobs["again"]) + 1)
        receiver.until_count("session", 1)
        receiver.until_count("process", sum(span.name == "run" for span in receiver.spans) + len(jobs["gang"]))
        spans = list(receiver.spans)
    campaign.problems += faults(spans, jobs)
    names = Counter("job" if span.name.startswith("job ") else span.name for span in spans)
    return {"job_count": job_count, "span_count": len(spans), "spans": dict(names)}


def main() -> None:
    campaign = Campaign("traces", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=1_000)
    campaign.main(measure)


if __name__ == "__main__":
    main()

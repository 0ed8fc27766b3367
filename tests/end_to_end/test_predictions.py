"""A predictor in a real daemon: jobs are expected to run as long as their user's last ones, also after a restart."""

from __future__ import annotations

from typing import Any

from tests.support.hal_services import DAEMON, HalServices


def test_what_a_user_ran_before_is_what_is_expected_also_after_a_restart() -> None:
    with HalServices(node_count=1, cpus=2, more_configuration="predictors: {last-two: {}}\n") as hal:

        def prediction_of(job_id: int) -> dict[str, Any] | None:
            found: dict[str, Any] | None = hal.get(f"/v1/jobs/{job_id}")["prediction"]
            return found

        def expect(job_id: int) -> float:
            hal.tree.until("a prediction is there", lambda: prediction_of(job_id) is not None, 30, hal.watched)
            prediction = prediction_of(job_id)
            assert prediction is not None
            return float(prediction["p50_s"])

        first = hal.submit("/bin/true", options=[("time", "10")])
        hal.wait_until_done()
        assert prediction_of(first) is None, "nothing was known"
        for _ in range(2):
            hal.submit("/bin/true", options=[("time", "10")])
            hal.wait_until_done()
        held = hal.submit("/bin/true", options=[("time", "10"), ("hold", "")])
        assert expect(held) == 1.0, "no run time is below a second"
        hal.kill(DAEMON)
        hal.start_service(DAEMON)
        hal.wait_until_ready()
        assert expect(held) == 1.0, "it is in the journal"
        assert expect(hal.submit("/bin/true", options=[("time", "10"), ("hold", "")])) == 1.0, "the past was learned"
        assert "Expected to run  0:01" in hal.run("show", str(held)).stdout
        foretold = hal.run("predict", "--time=10", "--", "/bin/true").stdout
        assert "Expected to run  0:01" in foretold
        assert "3 ended jobs, by predictor last-two: 3 of them yours, 3 of these with this name" in foretold

        def first_memory_bytes() -> int:
            options = [("time", "10"), ("mem", "1G"), ("auto-memory", ""), ("hold", "")]
            return int(hal.get(f"/v1/jobs/{hal.submit('/bin/true', options=options)}")["first_memory_bytes"])

        hal.tree.until("three such jobs are enough for a size", lambda: first_memory_bytes() > 0, 60, hal.watched)
        assert first_memory_bytes() < 1 << 30

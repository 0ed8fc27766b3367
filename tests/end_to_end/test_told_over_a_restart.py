"""What is told while a daemon is killed and started again: a whole trace of each job, and one mail of its end."""

from __future__ import annotations

import os
import re
from collections import Counter

from tests.support.hal_services import DAEMON
from tests.support.mail_relay import WITHIN_S, Relay
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.traced_jobs import MORE, attributes, traced_cluster

ALL_FOUR = dict.fromkeys(("job", "wait", "launch", "run", "start", "process"), 4)
MAIL = [("mail-type", "END"), ("mail-user", "ada@example.org")]


def test_a_killed_daemon_leaves_no_orphan_in_a_trace_and_each_end_is_mailed_once() -> None:
    with Relay() as relay, OtlpReceiver() as receiver:
        mail = f"  mail: {{relay: '{relay.address}', sender: hal@example.org, pause_s: 0}}\n"
        with traced_cluster(receiver, f"{MORE}observers:\n{mail}", node_count=1) as hal:
            gate, place = hal.work / "gate", hal.state / "readers" / "mail"
            os.mkfifo(gate)
            early = hal.submit("/bin/true", options=MAIL)
            runs = hal.submit("/bin/cat", str(gate), options=MAIL)
            queued = hal.submit("/bin/true", options=[*MAIL, ("dependency", f"afterok:{runs}")])
            told, number = mailed(relay, early)
            hal.tree.until("the mail is put on record", lambda: int(place.read_text()) >= number, WITHIN_S)
            hal.get(f"/v1/jobs/{runs}?wait=started&timeout_s=60")
            hal.kill(DAEMON)
            with gate.open("w"):
                pass
            hal.start_service(DAEMON)
            hal.wait_until_ready()
            assert hal.get(f"/v1/jobs/{queued}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
            last = hal.submit("/bin/true", options=MAIL)
            told += mailed(relay, last)[0]
            assert told == dict.fromkeys((early, runs, queued, last), 1)
            hal.tree.until("all of the four traces has come", lambda: kinds_in(receiver) == ALL_FOUR, WITHIN_S)
            spans = {span.span_id: span for span in receiver.spans}
            for span in receiver.spans:
                assert not span.parent_span_id or span.parent_span_id in spans, f"the parent of {span.name} is missing"
            roots = {attributes(span)["hal.job_id"]: span for span in spans.values() if span.name.startswith("job ")}
            assert roots.keys() == {early, runs, queued, last}
            assert [link.span_id for link in roots[queued].links] == [roots[runs].span_id]
            of_runs = Counter(span.name for span in spans.values() if span.trace_id == roots[runs].trace_id)
            assert of_runs == dict.fromkeys(("job cat", "wait", "launch", "run", "start", "process"), 1)


def kinds_in(receiver: OtlpReceiver) -> Counter[str]:
    """How many spans of each kind have come. What was sent right before the kill may come twice, with the same ids."""
    return Counter({span.span_id: span.name.partition(" ")[0] for span in list(receiver.spans)}.values())


def mailed(relay: Relay, last: int) -> tuple[Counter[int], int]:
    """How often the end of each job was told until that one's was, and the number of its event."""
    told: Counter[int] = Counter()
    while last not in told:
        address, mail = relay.mails.get(timeout=WITHIN_S)
        assert address == "ada@example.org"
        lines = re.findall(r"^(\d+) job (\d+) .*has ended: completed", mail.get_content(), re.MULTILINE)
        told.update(int(job_id) for _, job_id in lines)
    return told, int(lines[-1][0])

"""From where the journal is folded to find when a job could have started."""

from __future__ import annotations

from pathlib import Path

from hal_core.kernel.earliest_start import earliest_start
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.snapshot import make_snapshot
from hal_core.models.job import JobId
from hal_core.models.message import Cancel, DefineCluster, JobSelection, Message, NodeReported, Submission, Submit
from hal_core.models.receipt import RightSize
from hal_core.rules.core import Core
from hal_core.rules.state import State
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ADA, make_cluster, make_spec
from tests.support.journal_events import opened

SIZE = RightSize(cpu_count=1, memory_bytes_per_node=None, walltime_s=40.0, core_s=0.0, money=0.0)


def test_a_snapshot_after_the_job_is_not_taken_though_somebody_set_the_clock_back(tmp_path: Path) -> None:
    core, cluster, submit = Core(Fcfs(), "fcfs"), make_cluster(1), Submit((Submission("", ADA, make_spec()),))
    told: list[tuple[float, Message]] = [
        (1000.0, DefineCluster(cluster)),
        (1000.0, NodeReported(cluster.nodes[0], "boot")),
        (1010.0, submit),
        (1020.0, Cancel(JobSelection(JobId(1)), "ada")),
        (500.0, submit),
    ]
    directory = tmp_path / "state"
    with opened(directory) as journal:
        for time_s, message in told:
            journal.append(core.receive(message, time_s).events)
    assert make_snapshot(directory, State, Disk()) == core.state.sequence
    with opened(directory) as journal:
        journal.append(core.receive(submit, 510.0).events)
        assert earliest_start(directory, core.state.sequence, JobId(1), SIZE) == 1010.0

"""A journal as a busy cluster would have written it: the real core decides, and the real journal takes it down.

Only the world is simulated: what is launched has ended by the next cycle. Single jobs, arrays and failures are mixed by
fixed rules, so that every run writes the same events. Snapshots are written by the kernel's own program.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from hal_core.kernel.journal import SNAPSHOT_EVENT_COUNT, Journal
from hal_core.models.effect import Effect, Launch
from hal_core.models.event import Event
from hal_core.models.job import ArraySpec, End, EndKind, JobSpec, Owner
from hal_core.models.message import DefineCluster, Message, NodeReported, PartsChanged, PartStatus, Submission, Submit
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.rules.core import Core
from hal_engine_backfill.fcfs import Fcfs

NODES = tuple(Node(NodeName(f"n{number:02d}"), 32, 128 << 30) for number in range(1, 65))
PARTITION = Partition(PartitionName("main"), tuple(node.name for node in NODES), is_default=True)
ENVIRONMENT = ("PATH=/usr/bin:/bin", "HOME=/home/ada", "LANG=C.UTF-8")
BEGIN_TIME_S = 1_760_000_000.0
CYCLE_S = 0.25
BATCH = 500


class SimulatedHistory:
    """`write` fills a state directory; `sequence` is the last event that was written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._core = Core(Fcfs(), "fcfs")
        self._now_s = BEGIN_TIME_S
        self._events: list[Event] = []
        self._running: dict[NodeName, list[PartStatus]] = defaultdict(list)
        self._job_number = 0
        self.sequence = 0

    def write(self, event_count: int, waiting_count: int, progress: Callable[[str], None]) -> None:
        """At least `event_count` events; at the end `waiting_count` held jobs wait and nothing runs.

        The last snapshot is as old as the kernel lets it become.
        """
        journal = Journal.open(self._directory)
        snapshots = [event_count // 2, event_count - SNAPSHOT_EVENT_COUNT]
        self._receive(DefineCluster(Cluster("benchmark", NODES, (PARTITION,))))
        for node in NODES:
            self._receive(NodeReported(node, "boot"))
        while self.sequence + len(self._events) < event_count - waiting_count or self._running:
            self._cycle(is_open=self.sequence < event_count - waiting_count)
            self.sequence = journal.append(self._events)
            self._events.clear()
            if snapshots and self.sequence >= snapshots[0]:
                snapshots.pop(0)
                progress(f"{self.sequence} events; taking a snapshot")
                subprocess.run([sys.executable, "-m", "hal_core.kernel.snapshot", str(self._directory)], check=True)
        for _ in range(0, waiting_count, BATCH):
            self._submit(min(BATCH, waiting_count), is_held=True)
        self.sequence = journal.append(self._events)
        journal.close()

    def _cycle(self, is_open: bool) -> None:
        """What ran has ended; new jobs come in; the engine plans; what it started has begun."""
        self._now_s += CYCLE_S
        ended, self._running = self._running, defaultdict(list)
        for node, parts in ended.items():
            self._receive(PartsChanged(node, tuple(self._ended(part.key) for part in parts)))
        if is_open:
            self._submit(BATCH, is_held=False)
        decided = self._core.plan(self._now_s)
        self._events += decided.events
        self._launch(decided.effects)

    def _launch(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Launch):
                part = PartStatus(effect.order.key, start_time_s=self._now_s)
                self._running[effect.node].append(part)
        for node, parts in self._running.items():
            self._receive(PartsChanged(node, tuple(parts)))

    def _ended(self, key: AttemptKey) -> PartStatus:
        exit_code = int((key.job_id + key.index) % 20 == 0)
        end = End(EndKind.EXITED, exit_code=exit_code, peak_memory_bytes=3 << 20, cpu_s=0.1)
        return PartStatus(key, self._now_s - CYCLE_S, self._now_s, end)

    def _submit(self, count: int, is_held: bool) -> None:
        """Every 50th job is an array of 25."""
        owner = Owner(getpass.getuser(), os.getuid(), os.getgid())
        submissions = []
        for _ in range(count):
            self._job_number += 1
            is_array = self._job_number % 50 == 0 and not is_held
            spec = JobSpec(
                name=f"step{self._job_number % 100}",
                partition=PARTITION.name,
                command=("/usr/bin/simulate", "--case", str(self._job_number)),
                memory_bytes_per_node=1 << 30,
                walltime_s=3600.0,
                working_directory="/home/ada/project",
                environment=ENVIRONMENT,
                output_pattern="case-%j.out",
                array=ArraySpec(((0, 25),)) if is_array else None,
                is_held=is_held,
            )
            submissions.append(Submission(f"client-{self._job_number}", owner, spec))
        self._receive(Submit(tuple(submissions)))

    def _receive(self, message: Message) -> None:
        self._events += self._core.receive(message, self._now_s).events

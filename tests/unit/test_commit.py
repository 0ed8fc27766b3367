"""Whatever an engine proposes, commit lets only starts through that may be: no device twice, gangs whole, in time.

And whatever it promises, the state can be dumped and loaded.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings, strategies as st

from hal_core.models.event import JobPlaced
from hal_core.models.plan import Plan, Reserve, Snapshot, Start
from hal_core.models.ranges import count_of
from tests.support.core_world import GIB, World, make_cluster
from tests.support.invariants import check_dump


class Wild:
    """Starts anything anywhere: too many, too few nodes, twice the same, full ones, elements that there are not.

    And promises as wildly, the same job more than once.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def plan(self, snapshot: Snapshot) -> Plan:
        random, starts, reserves = self._random, [], []
        for job in snapshot.pending():
            for _ in range(random.randint(0, 3)):
                wanted = random.choice((job.shape.node_count, job.shape.node_count, 1, 2, 3))
                numbers = tuple(random.randrange(3) for _ in range(wanted))
                starts.append(Start(job.job_id, numbers, random.choice((1, 1, 2, job.element_count + 1))))
            for _ in range(random.randint(0, 2)):
                time_s = snapshot.now_s + random.randint(0, 100)
                reserves.append(Reserve(job.job_id, time_s, tuple(sorted(random.sample(range(3), 2)))))
        random.shuffle(reserves)
        return Plan(tuple(starts), tuple(reserves))


class Early(Wild):
    """As wild, and it also starts jobs that it was not shown, because their time has not come."""

    def plan(self, snapshot: Snapshot) -> Plan:
        known = {job.job_id for job in snapshot.pending()}
        others = (number for number in range(1, 12) if number not in known)
        wild = super().plan(snapshot)
        return Plan((*wild.starts, *(Start(number, (0,)) for number in others)), wild.reserves)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_only_what_may_start_is_started(seed: int) -> None:
    random = Random(seed)
    world = World(make_cluster(3), Early(random))
    world.join("n0", "n1", "n2")
    specs = {}
    for _ in range(8):
        count = random.choice((1, 1, 2, 3))
        fields = {
            "node_count": count,
            "task_count": count,
            "cpus_per_task": random.randint(1, 4),
            "memory_bytes_per_node": random.choice((0, GIB, 6 * GIB)),
            "begin_time_s": random.choice((0.0, 0.0, world.now_s + 50.0)),
            "array": random.choice((None, None, "0-3")) if count == 1 else None,
        }
        specs[world.submit(**{name: value for name, value in fields.items() if value is not None})] = fields
    placed: Counter[int] = Counter()
    for _ in range(3):
        world.now_s += 1.0
        events = world.plan().events
        check_dump(world.state)
        assert len(dict(world.state.reserves)) == len(world.state.reserves), "one promise for each job"
        for event in events:
            if isinstance(event, JobPlaced):
                fields = specs[event.job_id]
                assert len({share.node for share in event.shares}) == len(event.shares) == fields["node_count"]
                assert event.time_s >= fields["begin_time_s"]
                placed[event.job_id] += count_of(event.elements)
    assert all(count <= (4 if specs[job_id]["array"] else 1) for job_id, count in placed.items())

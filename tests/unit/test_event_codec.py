"""The form of events on disk. `data/events.txt` holds one event of each class, as it is written: if a test here fails,
the form has changed. A field with a default may be added: then the line goes to `data/events_before.txt`, which holds
every form that journals may have, and a new one takes its place. For any other change give the form a new version and a
reader for the old one.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given

from hal_core.models.access import AccessChange
from hal_core.models.booking import Booking, NodeBookings, QueuedStart
from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal
from hal_core.models.component import Component
from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.event import (
    EVENT_CLASSES,
    EVENT_VERSIONS,
    AccessChanged,
    BookingsChanged,
    ClusterDefined,
    CopiesChanged,
    DatasetAdded,
    DatasetPinned,
    DatasetRemoved,
    Event,
    EvictionOrdered,
    IdleFound,
    InputsStaged,
    JobCancelRequested,
    JobEnded,
    JobHeld,
    JobPlaced,
    JobReleased,
    JobRequeued,
    JobResumed,
    JobResumeRequested,
    JobSubmitted,
    JobSuspended,
    NodeDrained,
    NodeJoined,
    NodeResumed,
    NodeSuspected,
    NodeWentDown,
    ObserverDisabled,
    OrphanFound,
    OutputRefused,
    PartEnded,
    PartStarted,
    Planned,
    PolicyChanged,
    PriorityChanged,
    ReservationAdded,
    ReservationRemoved,
    RunTimesPredicted,
    SessionChanged,
    VariantChosen,
    WeightChanged,
    decode_event,
    encode_event,
)
from hal_core.models.event_words import JOB_TEXTS, OTHER_TEXTS
from hal_core.models.job import (
    ArraySpec,
    Dependency,
    DependencyKind,
    End,
    EndKind,
    JobId,
    JobSpec,
    Owner,
    Spread,
)
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName, Reservation
from hal_core.models.placement import AttemptKey, Grant, Share
from hal_core.models.policy import Account, PreemptMode, Priorities, Qos, QueueOrder
from hal_core.models.pool_event import (
    InstanceDrained,
    InstanceGone,
    InstanceJoined,
    InstanceReleased,
    InstancesRefused,
    InstancesRequested,
    InstancesStarted,
    JobAdmitted,
    JobsDeclined,
    LeaseExtended,
    OfferClosed,
    PoolResumed,
    PoolStopped,
    StartedInstance,
)
from hal_core.models.prediction import Prediction
from hal_core.models.session import SessionChange, SessionChangeKind
from hal_core.models.topology import Level, LevelKind, Link, Topology
from hal_core.models.variant import Variant
from tests.support.journal_events import any_event

CORPUS = Path(__file__).parent / "data" / "events.txt"
BEFORE = CORPUS.with_name("events_before.txt")

JOB = JobId(7)
NODE = NodeName("n1")
KEY = AttemptKey(JOB, 3, 2)
TIME_S = 1_700_000_000.25
COMPONENT = Component(2, 4, 8, 1 << 30, 1, "a100", 500, ("ib",), (("ib", "ssd"),))
END = End(EndKind.OUT_OF_MEMORY, 137, 9, 1 << 40, 12.5, "ada", "peak ü", 1.5, 250.0, 75.5)
MACHINE = Node(NODE, 4, 1 << 34, ("a100", "h100"), (("licence", 2),), ("ib",), ("site", "rack"), "slurm", "10.0.0.7")
TERMS = {
    "preempts": (PartitionName("low"),),
    "preempt_mode": PreemptMode.CANCEL,
    "preempt_exempt_s": 60.0,
    "preempt_grace_s": 30.0,
    "money_per_cpu_hour": 0.5,
    "money_per_gpu_hour": 2.5,
}
BOOKING = Booking(TIME_S, TIME_S + 600.0, 4, 1 << 30, 1, "course")
NODE_BOOKINGS = NodeBookings(NODE, 8, 1 << 34, 2, (BOOKING,), "drained: disk")
PARTITION = Partition(PartitionName("all"), (NODE,), True, 60.0, 30.0, 1 << 20, 5, limits=(("cpus", 64),), **TERMS)
VARIANT = Variant(2, 4, 3, 1 << 30, 1, "a100", 500, 600.0, 0.55, "long")
SPEC = JobSpec(
    name="name",
    partition=PartitionName("all"),
    script="#!/bin/sh\n",
    command=("true",),
    arguments=("a", "b"),
    node_count=2,
    task_count=4,
    cpus_per_task=3,
    memory_bytes_per_node=1 << 33,
    gpus_per_node=1,
    gpu_type="a100",
    generic_per_node=(("licence", 1),),
    features=("ib",),
    is_exclusive=True,
    walltime_s=60.0,
    working_directory="/tmp",
    environment=("A=1",),
    input_path="in",
    output_pattern="%j.out",
    error_pattern="%j.err",
    does_append=True,
    array=ArraySpec(((0, 4), (7, 8)), 2),
    dependencies=(Dependency(DependencyKind.AFTEROK, JobId(1)), Dependency(DependencyKind.SINGLETON)),
    needs_all_dependencies=False,
    priority=-3,
    begin_time_s=5.5,
    begin="now+1hour",
    is_held=True,
    spread=Spread.TASK,
    kill_grace_s=9.0,
    inputs=("data",),
    outputs=("result=out",),
    account="physics",
    comment="hello",
    can_requeue=True,
    communication=0.25,
    level="rack",
    domain="rack3",
    is_level_required=True,
    gpu_milli=500,
    qos="short",
    licences=(("matlab", 2),),
    alternatives=(("ib", "ssd"), ("opa",)),
    reservation="course",
    checkpoint_s=900.0,
    elastic_weight=3,
    variants=(VARIANT, VARIANT),
    variant=1,
    has_auto_memory=True,
    first_memory_bytes=1 << 30,
    only_nodes=(NodeName("n1"),),
    excluded_nodes=(NodeName("n2"),),
    mail_types=("END",),
    mail_user="ada@example.org",
    components=(COMPONENT,),
    deadline_time_s=TIME_S + 900.0,
    deadline="now+15min",
    value_per_hour=0.25,
)
TOPOLOGY = Topology(
    (Level("block", Link(1e-6, 9e11, 0.5), LevelKind.BLOCK, (), 4), Level("rack", Link(2e-6, 25e9), dimensions=(4, 2))),
    Link(0.03, 1e9, 0.02),
)
RESERVATION = Reservation(
    "course", (NODE,), TIME_S, 3600.0, 86_400.0, TIME_S + 1e6, ("ada",), ("physics",), "every morning", "root"
)
DATASET = Dataset(
    "genome",
    "3",
    (DataFile("reads/1", 5, "0" * 64),),
    ("/data/genome",),
    "ada",
    1000,
    100,
    True,
    TIME_S,
    86_400.0,
    "of a mouse",
    address="/data/reads/1",
    file_version="5-17",
)
OFFER = PoolOffer("small", 0.5, 90.0, 3, Market.SPOT, 0.02, 1.5, (NODE,), 7200.0)
POOL = CloudPool(
    "burst",
    (OFFER,),
    *(9, 1, 30.0, SpendLimit(100.0, 86_400.0), WaitGoal(0.8, 60.0), 2.5, 3600.0),
    is_stopped=True,
    cloud="libcloud",
    accounts=("physics",),
    account_budgets=(AccountBudget("physics", SpendLimit(50.0, 3600.0), ("optics",)),),
)
CLUSTER = Cluster(
    "c",
    (MACHINE,),
    (PARTITION,),
    33.0,
    TOPOLOGY,
    reservations=(RESERVATION,),
    accounts=(Account("physics", "science", 3, (("ada", 2),), (("gpus", 4),)),),
    qos=(Qos("short", 7, True, (("user.running_jobs", 10),), ("scavenge",), PreemptMode.CANCEL, 60.0, 30.0),),
    limits=(("running_jobs", 1000),),
    licences=(("matlab", 10),),
    priorities=Priorities(QueueOrder.WEIGHTED, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5),
    datasets=(DATASET,),
    stage_bytes_per_s=5e8,
    pools=(POOL,),
)
CHANGE = SessionChange(
    number=4,
    time_s=TIME_S - 1.0,
    kind=SessionChangeKind.HOST_BLOCKED,
    count=2,
    detail="n1",
    worker_count=3,
    done_count=1000,
    failed_count=7,
    dropped_count=5,
)
EXAMPLES: tuple[Event, ...] = (
    ClusterDefined(TIME_S, CLUSTER),
    JobSubmitted(TIME_S, JOB, "key", Owner("ada", 1000, 100), SPEC),
    JobHeld(TIME_S, JOB, "ada"),
    JobReleased(TIME_S, JOB, "ada"),
    PriorityChanged(TIME_S, JOB, -5, "root"),
    VariantChosen(TIME_S, JOB, 1, VARIANT, TIME_S + 60.0, None),
    JobPlaced(TIME_S, JOB, 2, ((0, 2), (3, 4)), (Share(NODE, 2, "0-3,8", 1 << 33, "1", (("licence", 1),), 250),)),
    InputsStaged(TIME_S, KEY, 12345, 678, 12000, 3.5),
    PartStarted(TIME_S, KEY, NODE, TIME_S + 0.5),
    PartEnded(TIME_S, KEY, NODE, END),
    JobCancelRequested(TIME_S, JOB, ((0, 2),), "ada", True, "why", 30.0, JobId(9)),
    JobSuspended(TIME_S, JOB, ((3, 4),), "hal", JobId(8)),
    JobResumed(TIME_S, JOB, ((3, 4),), "hal"),
    JobResumeRequested(TIME_S, JOB, ((3, 4),), "root"),
    JobEnded(TIME_S, JOB, ((3, 4),), 2, END, None, TIME_S + 1.0, 30.0),
    JobRequeued(TIME_S, KEY, "ada", END),
    NodeJoined(TIME_S, MACHINE, "boot", ("memory limits",)),
    NodeSuspected(TIME_S, NODE),
    NodeWentDown(TIME_S, NODE, "power"),
    NodeDrained(TIME_S, NODE, "disk", "root"),
    NodeResumed(TIME_S, NODE, "root"),
    OrphanFound(TIME_S, NODE, KEY, True),
    Planned(TIME_S, "easy", 9, 8, 7, 6, ((JOB, TIME_S + 60.0),), (((0, 2), (3, 4)),), (Grant(JOB, (0, 3), 1, TIME_S),)),
    RunTimesPredicted(TIME_S, "ml", ((JOB, Prediction(5.0, 60.0, 90.0, 30.0, 45.0, 0.25, 0.5)),)),
    ObserverDisabled(TIME_S, "prometheus", "late"),
    PolicyChanged(TIME_S, "hal", "easy", "12% less waiting", 0.12),
    ReservationAdded(TIME_S, RESERVATION),
    ReservationRemoved(TIME_S, "course", "root"),
    AccessChanged(TIME_S, AccessChange.NODE_ENROLLED, "n1", "root", "from 10.0.0.1:7"),
    DatasetAdded(TIME_S, DATASET),
    DatasetPinned(TIME_S, DATASET.id, True, "ada"),
    DatasetRemoved(TIME_S, DATASET.id, "ada"),
    CopiesChanged(TIME_S, NODE, (DATASET.id,), ("genome@2",)),
    EvictionOrdered(TIME_S, DATASET.id, (NODE,), "ada"),
    OutputRefused(TIME_S, KEY, DATASET.id, "the name is used by bob"),
    IdleFound(TIME_S, KEY, TIME_S - 1800.0, 8),
    BookingsChanged(TIME_S, "slurm", (NODE_BOOKINGS,), (QueuedStart(JOB, 3, TIME_S + 60.0),), ((JOB, 4),)),
    SessionChanged(TIME_S, "5f2c09ab41de", "ada", CHANGE),
    WeightChanged(TIME_S, JOB, 3, "ada"),
    InstancesRequested(TIME_S, "burst", "burst-1", "small", 2, 0.5, 90.0, TIME_S + 600.0, "job 7", 7200.0, "physics"),
    InstancesStarted(TIME_S, "burst", "burst-1", (StartedInstance("burst-1-1", "n1", "i-07"),)),
    InstancesRefused(TIME_S, "burst", "burst-1", "no capacity", TIME_S + 60.0),
    OfferClosed(TIME_S, "burst", "small", "no answer", TIME_S + 60.0),
    InstanceJoined(TIME_S, "burst", "burst-1-1"),
    LeaseExtended(TIME_S, "burst", "burst-1-1", TIME_S + 900.0, "job 8"),
    InstanceDrained(TIME_S, "burst", "burst-1-1", "taken back"),
    InstanceReleased(TIME_S, "burst", "burst-1-1", "idle"),
    InstanceGone(TIME_S, "burst", "burst-1-1", "it was released"),
    JobAdmitted(TIME_S, "burst", JOB, "small", 1.25, "worth it", True, "physics"),
    JobsDeclined(TIME_S, "burst", (JOB,), (JobId(8),), 0.5, 2.5),
    PoolStopped(TIME_S, "burst", "root", True),
    PoolResumed(TIME_S, "burst", "root"),
)


def corpus() -> dict[tuple[str, int], bytes]:
    lines = CORPUS.read_text("ascii").splitlines()
    parts = [line.split() for line in lines if not line.startswith("#")]
    return {(kind, int(version)): bytes.fromhex(body) for kind, version, body in parts}


def test_there_is_an_example_of_every_class():
    assert [type(event).__name__ for event in EXAMPLES] == list(EVENT_CLASSES)
    assert set(corpus()) >= set(EVENT_VERSIONS.items()), "a new event or version needs its line in data/events.txt"


def test_examples_leave_no_field_at_its_default():
    """A field that the corpus does not show could change its form unseen."""
    values = (SPEC, COMPONENT, END, MACHINE, PARTITION, CLUSTER, RESERVATION, DATASET, POOL, OFFER, CHANGE)
    values = (*values, EXAMPLES[6].shares[0])
    for thing in (*EXAMPLES, *values):
        for field in attrs.fields(type(thing)):
            assert getattr(thing, field.name) != field.default, f"{type(thing).__name__}.{field.name}"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_what_was_written_once_reads_the_same(event):
    kind, version, body = encode_event(event)
    assert decode_event(kind, version, body) == event
    assert decode_event(kind, version, corpus()[kind, version]) == event


def test_what_was_written_before_a_field_came_is_still_read():
    lines = [line.split() for line in BEFORE.read_text("ascii").splitlines() if not line.startswith("#")]
    assert len(lines) > 30
    for kind, version, body in lines:
        event = decode_event(kind, int(version), bytes.fromhex(body))
        assert decode_event(*encode_event(event)) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_bytes_are_what_they_were(event):
    """Hash chains and comparisons of journals need the same bytes for the same event."""
    kind, version, body = encode_event(event)
    assert body == corpus()[kind, version], f"the form of {kind} changed: give it a new version"


@given(any_event())
def test_every_event_survives(event):
    assert decode_event(*encode_event(event)) == event


@pytest.mark.parametrize(("kind", "version"), [("JobEnded", 99), ("JobEnded", 0), ("Nonsense", 1), ("", 1)])
def test_the_unknown_is_never_skipped(kind, version):
    with pytest.raises(ValueError, match="another version of HAL"):
        decode_event(kind, version, b"\x80")


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x90", b"\x81\xa7time_s\xa1x"])
def test_a_body_that_is_no_event_is_an_error(body):
    with pytest.raises(ValueError, match=r".+"):
        decode_event("JobEnded", 1, body)


def test_every_class_has_words():
    """For `hal watch`, and for whoever is told by HTTP: models/event_words.py."""
    assert JOB_TEXTS.keys() | OTHER_TEXTS.keys() == EVENT_CLASSES.keys()

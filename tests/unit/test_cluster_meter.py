"""The figures of the cluster: the queue by reason is what the queue tells, and every CPU is counted once."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from hal_core.kernel.cluster_meter import ClusterMeter
from hal_core.kernel.cycle_meter import CycleMeter
from hal_core.kernel.exposition import Together
from hal_core.models.message import DrainNode, Hold, JobSelection, NodeLost
from hal_core.models.node import NodeName
from hal_core.rules.waiting import REASON_KINDS, Waiting
from tests.support.core_world import World, make_cluster


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text.decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def busy_world() -> World:
    world = World(make_cluster(4, gpus=("a100",))).join()
    world.tell(DrainNode(NodeName("n2"), "fan", "root"))
    world.tell(NodeLost(NodeName("n3"), "power"))
    running = [world.submit(cpus_per_task=4), world.submit(cpus_per_task=2, gpus_per_node=1)]
    world.settle()
    for _ in range(120):
        world.submit(cpus_per_task=4)
    world.tell(Hold(JobSelection(world.submit()), "ada"))
    world.submit(after=[("afterok", running[0])])
    world.submit(begin_time_s=1e9)
    world.settle()
    return world


async def test_the_queue_by_reason_is_what_the_queue_tells() -> None:
    world = busy_world()
    meter = ClusterMeter(lambda: world.state, lambda: "", lambda: world.now_s)
    await meter.survey()
    found = samples(meter.render())
    waiting = Waiting(world.state, world.now_s)
    reasons = [waiting.reason(record) for record in world.state.jobs.values()]
    for kind in REASON_KINDS:
        assert found["hal_queue_jobs", kind] == sum(reason is not None and reason.kind == kind for reason in reasons)
    for kind in ("held", "dependency", "begin_time"):
        assert found["hal_queue_jobs", kind] == 1


async def test_every_cpu_and_gpu_is_counted_once() -> None:
    world = busy_world()
    found = samples(ClusterMeter(lambda: world.state, lambda: "the disk is full", lambda: world.now_s).render())
    assert [found["hal_cpus", use] for use in ("taken", "free", "out")] == [6, 2, 8]
    assert [found["hal_gpus", use] for use in ("taken", "free", "out")] == [1, 1, 2]
    assert found["hal_accepting",] == 0


def test_spans_are_counted_and_summed() -> None:
    meter = CycleMeter()
    meter.plans.add(0.25)
    meter.plans.add(0.5)
    found = samples(meter.render())
    assert (found["hal_plan_seconds_sum",], found["hal_plan_seconds_count",]) == (0.75, 2)
    assert found["hal_journal_append_seconds_count",] == 0


def test_metrics_of_several_sources_of_a_kind_are_told_as_one():
    """Two Slurms: a scrape in which a metric is explained twice is refused as a whole."""

    def of(name: str) -> Callable[[], bytes]:
        head = "# HELP hal_x What.\n# TYPE hal_x gauge\n"
        return lambda: (
            f'{head}hal_x{{executor="{name}"}} 1\n# HELP hal_y_total How.\n# TYPE hal_y_total counter\n'.encode()
        )

    text = Together([of("north"), of("south")]).render()
    assert samples(text) == {("hal_x", "north"): 1.0, ("hal_x", "south"): 1.0}
    assert text.count(b"# HELP hal_x ") == 1
    assert text.index(b"south") < text.index(b"hal_y")
    assert Together([]).render() == b""

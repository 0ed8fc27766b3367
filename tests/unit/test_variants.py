"""`--nodes=2-8`, `--or` and `--scaling`: what is asked for, what is refused, and what is told of it."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.event import JobEnded, VariantChosen
from hal_core.models.job import JobId
from hal_core.rules.excerpt import excerpt_of, record_of
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.forecast import forecast
from hal_core.rules.variant_outlook import first_to_end, outlooks, variations
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ADA, World, make_cluster, make_spec
from tests.unit.test_parsing_request import problems_of, script, spec_of


def sizes(*options: str) -> list[int]:
    return [each.node_count for each in spec_of(*options).variants]


def test_a_range_is_a_variant_for_each_size_and_the_smallest_comes_first() -> None:
    spec = spec_of("nodes=1-4", "cpus-per-task=2", "time=60")
    assert (spec.node_count, spec.variant) == (1, 0)
    assert [(each.node_count, each.task_count, each.walltime_s) for each in spec.variants] == [
        (count, count, 3600.0) for count in (1, 2, 3, 4)
    ]
    assert [round(each.run_ratio, 3) for each in spec.variants] == [1.0, 0.55, 0.4, 0.325], "Amdahl, nine tenths"
    assert spec_of("nodes=1-4", "scaling=1").variants[3].run_ratio == 0.25
    assert sizes("nodes=4,1,2") == [1, 2, 4]
    assert sizes("nodes=1-4:2") == [1, 3]
    assert spec_of("nodes=3").variants == ()
    assert spec_of(**script("#SBATCH --nodes=2-3")).variants[1].node_count == 3


def test_sizes_that_cannot_be_are_left_out_and_the_smallest_must_be() -> None:
    assert sizes("nodes=2-40", "ntasks=6") == [2, 3, 4], "there are four nodes"
    assert sizes("nodes=1-4", "partition=all", "gpus=4") == [1, 2], "two nodes have GPUs"
    assert "has only 4 such nodes" in problems_of("nodes=5-6")[0]


def test_an_alternative_says_what_differs() -> None:
    spec = spec_of("partition=gpu", "gpus=1", "mem-per-gpu=4G", "time=30", "or=gpus=0,mem=1G,cpus-per-task=16,time=4h")
    first, other = spec.variants
    assert (first.gpus_per_node, first.cpus_per_task, first.walltime_s, first.run_ratio) == (1, 1, 1800.0, 1.0)
    assert (other.gpus_per_node, other.cpus_per_task, other.walltime_s, other.run_ratio) == (0, 16, 14_400.0, 8.0)
    assert (first.memory_bytes_per_node, other.memory_bytes_per_node) == (4 << 30, 1 << 30)
    assert spec.shape().gpus == 1
    assert spec.in_variant(1).shape().cpus == 16
    assert spec.in_variant(1).in_variant(0) == spec
    assert len(spec_of("or=cpus-per-task=2|cpus-per-task=3", "or=mem=1G").variants) == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("nodes=4-2",), "out of range; it can be 4"),
        (("nodes=1-1000",), "more than 64 sizes"),
        (("nodes=2-",), "is not a whole number"),
        (("or=cpu-per-task=16",), "did you mean 'cpus-per-task'"),
        (("or=gpus",), "is no amount of an alternative"),
        (("or=gpus=1,gpus-per-node=2",), "give only one of gpus and gpus-per-node"),
        (("or=partition=gpu",), "it can be nodes, ntasks"),
        (("or=nodes=x",), "nodes: 'x' is not a whole number"),
        (("or=nodes=9",), "has only 4 such nodes"),
        (("or=time=10d",), "is more than partition 'main' allows"),
        (("nodes=1-2", "array=0-9"), "with --array runs with one set of amounts"),
        (("or=mem=1G", "elastic"), "with --elastic runs with one set of amounts"),
        (("scaling=0.5",), "needs a range of nodes"),
        (("scaling=2", "nodes=1-2"), "2"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(options: tuple[str, ...], text: str) -> None:
    (problem,) = problems_of(*options)
    assert text in problem


def test_a_job_runs_as_was_chosen_and_is_counted_and_told_so() -> None:
    world = World(make_cluster(3), Easy()).join()
    world.start(node_count=1, cpus_per_task=4, walltime_s=3600.0)
    found = spec_of("nodes=1-3", "cpus-per-task=4", "time=60", "mem=0").variants
    key = world.start(cpus_per_task=4, walltime_s=3600.0, variants=found)
    record = world.job(key.job_id)
    (chosen,) = world.of(VariantChosen)
    assert (chosen.number, chosen.variant) == (1, found[1])
    assert chosen.expected_end_s == pytest.approx(world.now_s + 0.55 * 3600.0)
    assert chosen.otherwise_s == world.now_s + 3600.0
    assert record.spec.node_count == len(world.activity(key.job_id).shares) == 2
    assert record.expected_s == pytest.approx(0.55 * 3600.0)
    assert "expected to end 1620 s sooner" in explain(world.state, record, world.now_s).choice
    orders = [part.spec for node in world.state.on_node.values() for part in (each.record for each in node.values())]
    assert max(spec.node_count for spec in orders) == 2
    world.end(key)
    assert isinstance(world.events[-1], JobEnded)
    world.check_at_end()


def test_who_waits_for_the_wider_was_promised_it() -> None:
    """Three of four nodes are free in a minute: two hours on one node end later than half an hour on four."""
    world = World(make_cluster(4), Conservative()).join()
    world.start(node_count=3, task_count=3, cpus_per_task=4, walltime_s=60.0)
    found = spec_of("nodes=1,4", "cpus-per-task=4", "time=120", "mem=0").variants
    job_id = world.submit(cpus_per_task=4, walltime_s=7200.0, variants=found)
    world.settle()
    assert world.job(job_id).spec.node_count == 4
    assert world.state.promises[job_id].start_time_s == world.now_s + 60.0
    assert not world.job(job_id).active


def test_what_is_told_before_it_is_submitted_and_while_it_waits() -> None:
    world = World(make_cluster(2), Easy()).join()
    world.start(node_count=2, task_count=2, cpus_per_task=4, walltime_s=600.0)
    found = spec_of("nodes=1-2", "cpus-per-task=4", "time=60", "mem=0").variants
    spec = make_spec(cpus_per_task=4, walltime_s=3600.0, variants=found)
    state, now_s = world.state, world.now_s
    before = state.dump()
    part = excerpt_of(state, record_of(state, ADA, spec, now_s), now_s)
    tried = variations(state, record_of(state, ADA, spec, now_s), now_s)
    seen = outlooks(part, tried, Easy(), now_s)
    assert [(each.text, each.start_time_s, each.is_chosen) for each in seen] == [
        ("1 node, 4 CPUs, at most 3600 s", now_s + 600.0, True),
        ("2 nodes, 8 CPUs, at most 3600 s", now_s + 600.0, False),
    ]
    best = first_to_end(seen)
    assert best.end_time_s == pytest.approx(now_s + 600.0 + 0.55 * 3600.0)
    assert state.dump() == before
    job_id = world.submit(**{name: getattr(spec, name) for name in ("cpus_per_task", "walltime_s", "variants")})
    world.settle()
    record = world.job(job_id)
    told = verified(explain(state, record, now_s), question(state, record, now_s), Easy(), now_s)
    assert [each.is_chosen for each in told.variants] == [False, True]
    assert told.start_time_s == best.start_time_s
    assert forecast(question(state, record, now_s).part, Easy(), now_s).start_time_s == best.start_time_s


def test_of_many_sizes_a_few_are_tried_and_the_chosen_one_is_among_them() -> None:
    world = World(make_cluster(1), Easy()).join()
    found = tuple(attrs.evolve(spec_of("nodes=1-2").variants[0], task_count=count + 1) for count in range(64))
    spec = make_spec(variants=found, walltime_s=60.0).in_variant(29)
    tried = variations(world.state, record_of(world.state, ADA, spec, 0.0), 0.0)
    assert len(tried) == 9
    assert [each.is_chosen for each in tried].count(True) == 1
    assert record_of(world.state, ADA, spec, 0.0).job_id == JobId(1)

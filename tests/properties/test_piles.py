"""Who stands on whom, against the definition, over random piles."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from hal_core.models.placement import Share
from hal_core.rules.activity import Activity
from hal_core.rules.node_table import devices_of
from hal_core.rules.piles import Piles, cpus_on

NODE_COUNT, CPU_COUNT = 3, 5
ELEMENT = st.tuples(
    st.lists(st.integers(0, NODE_COUNT - 1), min_size=1, unique=True),
    st.integers(1, (1 << CPU_COUNT) - 1),
    st.sampled_from(["runs", "lends", "aside"]),
)


def a_state(elements):
    """Only what piles look at: who is on which node, in the order of placement."""
    nodes = [SimpleNamespace(name=f"n{number}") for number in range(NODE_COUNT)]
    state = SimpleNamespace(table=SimpleNamespace(nodes=nodes), on_node={node.name: {} for node in nodes})
    found = []
    for job_id, (numbers, cpus, how) in enumerate(elements, 1):
        spec = SimpleNamespace(inputs=(), kill_grace_s=0.0, spread=SimpleNamespace(value="task"))
        shares = tuple(Share(nodes[number].name, 1, devices_of(cpus)) for number in numbers)
        activity = Activity(SimpleNamespace(job_id=job_id, spec=spec), 0, 1, shares, 0.0)
        activity.node_numbers = tuple(numbers)
        activity.suspend_time_s, activity.is_aside = None if how == "runs" else 0.0, how == "aside"
        found.append(activity)
        for share in shares:
            state.on_node[share.node][job_id, 0] = activity
    return state, found


def on_pile_with(state, activity, number, is_after):
    """Who of those that came after it (or before) and are not aside has a CPU in common with it, by definition."""
    on_node = list(state.on_node[f"n{number}"].values())
    at = on_node.index(activity)
    others = on_node[at + 1 :] if is_after else on_node[:at]
    return [each for each in others if not each.is_aside and cpus_on(each, number) & cpus_on(activity, number)]


@pytest.mark.parametrize("order", [1, -1], ids=["first to last", "last to first"])
@given(elements=st.lists(ELEMENT, max_size=12))
def test_it_is_what_a_look_at_every_pair_finds(order, elements):
    state, activities = a_state(elements)
    piles = Piles(state)
    for activity in activities[::order]:
        above = [(number, on_pile_with(state, activity, number, True)) for number in activity.node_numbers]
        assert piles.above(activity) == [other for _, others in above for other in others]
        assert piles.is_covered(activity) == any(others for _, others in above)
        own = {}
        for number, others in above:
            cpus = cpus_on(activity, number)
            top, unborrowed = cpus, cpus
            for other in others:
                top &= ~cpus_on(other, number)
            for other in on_pile_with(state, activity, number, False):
                unborrowed &= ~cpus_on(other, number)
            assert piles.top_cpus(activity, number) == top
            if unborrowed != cpus:
                own[number] = unborrowed.bit_count()
        assert piles.own_cpus(activity) == own

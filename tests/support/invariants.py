"""What must hold of every state, recomputed from scratch: nothing here trusts a column, a counter or an index."""

from __future__ import annotations

from collections import Counter

from hal_core.models.job import JobState
from hal_core.models.node import Node, NodeStatus
from hal_core.models.pool_decision import InstanceState
from hal_core.models.ranges import RangeSet, members, parse_ranges
from hal_core.models.room import Room
from hal_core.rules.job_record import JobRecord
from hal_core.rules.state import State


def check_state(state: State) -> None:
    """Fails with a sentence that says what does not hold."""
    _check_nodes(state)
    for record in (*state.jobs.values(), *state.recent.values()):
        _check_record(state, record)
    _check_jobs(state)
    _check_queue(state)
    _check_room(state)


def check_dump(state: State) -> None:
    """What is loaded is what was dumped, also in everything that the dump leaves out."""
    content = state.dump()
    loaded = State.load(content)
    assert loaded.dump() == content, "a loaded state dumps differently"
    assert list(loaded.queue) == list(state.queue), "the queue of a loaded state differs"
    assert loaded.pending_count == state.pending_count
    assert _columns(loaded) == _columns(state), "the columns of a loaded state differ"
    check_state(loaded)


def _columns(state: State) -> list[object]:
    table = state.table
    positive = [{name: count for name, count in free.items() if count} for free in table.free_generic]
    return [
        *(table.free_cpus, table.free_memory_bytes, table.free_gpus, positive),
        *(table.allocation_count, table.aside_count),
        *(table.free_cpu_mask, table.free_gpu_mask, table.gpu_shares, table.is_available, table.suspects, table.status),
    ]


def _is_open(state: State, node: Node) -> bool:
    """A node of a pool is, if an instance that is ready and is to be kept stands behind it."""
    books = state.pools.pools.values()
    behind = [
        each.state is InstanceState.READY and each.name not in book.ledger.drained
        for book in books
        for each in book.ledger.instances.values()
        if each.node == node.name
    ]
    is_rented = any(node.name in offer.nodes for book in books for offer in book.pool.offers)
    assert len(behind) <= 1, f"{node.name} is two instances"
    return behind == [True] if is_rented or behind else True


def _check_nodes(state: State) -> None:
    table = state.table
    held: dict[str, list[tuple[int, int]]] = {}
    used_cpus: dict[str, set[int]] = {node.name: set() for node in table.nodes}
    running_cpus: dict[str, set[int]] = {node.name: set() for node in table.nodes}
    used_gpus: dict[str, set[int]] = {node.name: set() for node in table.nodes}
    memory: Counter[str] = Counter()
    generic: Counter[tuple[str, str]] = Counter()
    shares: Counter[tuple[str, int]] = Counter()
    aside: Counter[str] = Counter()
    for (job_id, index), activity in state.allocations.items():
        assert state.jobs[job_id].active[index] is activity
        numbers = tuple(table.number_of[share.node] for share in activity.shares)
        assert activity.node_numbers == numbers
        assert len(set(numbers)) == len(numbers) == activity.record.shape.total_nodes, f"{activity.key}: no whole gang"
        for share in activity.shares:
            aside[share.node] += activity.is_aside
            held.setdefault(share.node, []).append((job_id, index))
            if share.gpu_milli:
                shares[share.node, int(share.gpus)] += share.gpu_milli
            used_cpus[share.node] |= set(members(parse_ranges("" if activity.is_aside else share.cpus)))
            cpus = share.cpus if activity.suspend_time_s is None else ""  # it lends them
            for used, text in ((running_cpus, cpus), (used_gpus, "" if share.gpu_milli else share.gpus)):
                devices = set(members(parse_ranges(text)))
                assert not devices & used[share.node], f"{share.node}: a device of {text!r} is held twice"
                used[share.node] |= devices
            memory[share.node] += share.memory_bytes
            for name, count in share.generic:
                generic[share.node, name] += count
    assert set(state.suspended.values()) == {
        each for each in state.allocations.values() if each.suspend_time_s is not None
    }, "other elements are suspended than the state knows"
    for (name, device), milli in shares.items():
        assert milli <= 1000, f"{name}: {milli} thousandths of GPU {device} are given"
        assert device not in used_gpus[name], f"{name}: GPU {device} is given as a whole and in shares"
    for number, node in enumerate(table.nodes):
        assert sorted(held.get(node.name, [])) == sorted(state.on_node.get(node.name, {})), f"{node.name}: on_node"
        assert table.allocation_count[number] == len(held.get(node.name, []))
        assert table.aside_count[number] == aside[node.name], f"{node.name}: who is aside"
        free_cpus = set(range(node.cpu_count)) - used_cpus[node.name]
        mine = {device: milli for (name, device), milli in shares.items() if name == node.name}
        assert table.gpu_shares[number] == mine, f"{node.name}: shares of GPUs"
        rests = sorted((node.gpus[device], 1000 - milli) for device, milli in mine.items() if device < len(node.gpus))
        assert sorted(table.free_gpu_parts[number]) == rests, f"{node.name}: rests of GPUs"
        free_gpus = set(range(len(node.gpus))) - used_gpus[node.name] - mine.keys()
        assert table.free_cpu_mask[number] == sum(1 << cpu for cpu in free_cpus), f"{node.name}: CPU mask"
        assert table.free_gpu_mask[number] == sum(1 << gpu for gpu in free_gpus), f"{node.name}: GPU mask"
        assert table.free_cpus[number] == len(free_cpus), f"{node.name}: CPU count"
        by_type = Counter(node.gpus[gpu] for gpu in free_gpus)
        assert Counter(table.free_gpus[number]) == by_type, f"{node.name}: GPUs by type"
        assert table.free_memory_bytes[number] == node.memory_bytes - memory[node.name], f"{node.name}: memory"
        names = {name for name, _ in node.generic} | set(table.free_generic[number])
        declared = dict(node.generic)
        for name in names:
            expected = declared.get(name, 0) - generic[node.name, name]
            assert table.free_generic[number].get(name, 0) == expected, f"{node.name}: {name}"
        is_up = table.status[number] is NodeStatus.UP
        is_available = is_up and table.drain[number] is None and not table.orphans[number] and _is_open(state, node)
        assert table.is_available[number] == is_available
        assert (number in table.suspects) == (table.status[number] is NodeStatus.SUSPECT)


def _check_room(state: State) -> None:
    """What is kept of room and of rows is what would be made anew."""
    packing, table = state.packing, state.table
    room = state.live_room.copy(packing, table, state.limits.licences.free())
    for number in range(len(table)):
        assert room.row_of(number) == (packing.row(table, number) if table.is_available[number] else -1)
        assert not (room.is_idle(number) and table.allocation_count[number]), f"{table.nodes[number].name} seems idle"
    fresh = Room.of(packing, table, state.limits.licences.free())
    assert room.row_count == fresh.row_count, "rows of nobody were kept"
    for activity in state.allocations.values():
        if activity.row is not None and activity.row.expected_end_s > state.time_s:
            kept = activity.row
            # The clock may have been ahead of the last event when it was made; who was overdue then, ended right then.
            rows = [activity.running_row(now_s) for now_s in (state.time_s, kept.expected_end_s)]
            activity.row = kept
            assert kept in rows, f"{activity.key}: its row is {kept}, and would be {rows[0]}"


def _check_record(state: State, record: JobRecord) -> None:
    """Each element is in exactly one place."""
    places = [*members(record.ready.ranges()), *members(record.blocked.ranges()), *record.active]
    for indices in record.ended.values():
        places += members(indices.ranges())
    assert sorted(places) == list(members(record.elements)), f"job {record.job_id}: elements lost or doubled"
    throttle = record.spec.array.throttle if record.spec.array else None
    assert throttle is None or len(record.active) <= throttle, f"job {record.job_id}: over its throttle"
    for index, activity in record.active.items():
        assert state.allocations[record.job_id, index] is activity
        assert activity.parts_left, f"{activity.key} has ended everywhere and still holds its allocation"
        assert activity.attempt == record.attempt_of(index)
        if activity.start_time_s is not None:
            assert activity.parts_started


def _check_jobs(state: State) -> None:
    assert list(state.jobs) == sorted(state.jobs)
    assert not state.jobs.keys() & state.recent.keys()
    assert not state.doomed, "doomed jobs were left"
    pending = 0
    ended: Counter[JobState] = Counter()
    for record in state.jobs.values():
        assert not record.is_finished, f"job {record.job_id} has ended, but is not filed"
        pending += record.pending_count
    for record in state.recent.values():
        assert record.is_finished
        assert (record.job_id in state.failed_ids) == record.has_failed
        assert (record.job_id in state.completed_ids) == (not record.has_failed)
    for record in (*state.jobs.values(), *state.recent.values()):
        ended.update({each: len(indices) for each, indices in record.ended.items()})
    assert state.pending_count == pending
    assert +Counter(state.ended_counts) == +ended
    known = RangeSet(state.completed_ids.ranges())
    known.update(state.failed_ids.ranges())
    assert set(known) | state.jobs.keys() == set(range(1, state.next_job_id))


def _check_queue(state: State) -> None:
    qos = {each.name: each.priority for each in state.cluster.qos}
    expected = []
    for record in state.jobs.values():
        throttle = record.spec.array.throttle if record.spec.array else None
        has_room = throttle is None or len(record.active) < throttle
        if record.ready and record.is_met and not record.held_by and has_room:
            partition = state.partitions.get(record.spec.partition)
            own = record.priority + qos.get(record.spec.qos, 0)
            expected.append((-(partition.priority if partition else 0), -own, record.job_id))
    assert list(state.queue) == [job_id for _, _, job_id in sorted(expected)], "queue"
    pending = set(state.queue)
    for record in state.jobs.values():
        assert record.is_queued == (record.job_id in pending)

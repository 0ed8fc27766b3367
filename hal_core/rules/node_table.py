"""Nodes as columns: what each has, and what of it is free at this moment. Indexed by node number.

The engine scans these lists; only State.apply changes them. Devices (CPUs, GPUs) are bit masks, so that picking the
lowest free ones is a few integer operations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import assert_never

import attrs

from hal_core.models.event import NodeDrained, NodeJoined, NodeResumed, NodeSuspected, NodeWentDown, OrphanFound
from hal_core.models.gpu_parts import MILLI
from hal_core.models.job import Shape
from hal_core.models.masks import lowest as lowest
from hal_core.models.node import Cluster, Node, NodeName, NodeStatus
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.ranges import RangeSet, parse_ranges

NOT_DECLARED = ("no longer in the configuration", "configuration")
"""The drain of a node that has left the configuration; it ends when the node comes back into it."""


@lru_cache(maxsize=16_384)
def mask_of(devices: str) -> int:
    """The bit mask of a ranges text: "0-2,5" -> 0b100111."""
    mask = 0
    for start, stop in parse_ranges(devices):
        mask |= (1 << stop) - (1 << start)
    return mask


@lru_cache(maxsize=16_384)
def devices_of(mask: int) -> str:
    """The inverse of `mask_of`."""
    found = RangeSet()
    while mask:
        low = mask & -mask
        run = mask + low
        start = low.bit_length() - 1
        stop = (run & -run).bit_length() - 1
        found.add(start, stop)
        mask &= ~((1 << stop) - (1 << start))
    return ",".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in found.ranges())


class NodeTable:
    """Columns over all nodes. `is_available` says whether new work may start (up, not drained, no orphans)."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.number_of: dict[NodeName, int] = {}
        self.status: list[NodeStatus] = []
        self.status_time_s: list[float] = []
        """Since when the status holds."""
        self.suspects: set[int] = set()
        """Nodes whose status is SUSPECT, so that nobody has to look for them."""
        self.boot_id: list[str] = []
        self.missing: list[tuple[str, ...]] = []
        """What the machine cannot do for jobs, as its agent said."""
        self.detail: list[str] = []
        """Why the node is suspect or down."""
        self.drain: list[tuple[str, str] | None] = []
        """(reason, by whom) while drained."""
        self.orphans: list[set[AttemptKey]] = []
        """Attempts that run there and should not: they may use what the columns say is free, until they have ended."""
        self.closed: set[int] = set()
        """Nodes of cloud pools that no instance stands behind, or that are to be given back: no work for them."""
        self.is_available: list[bool] = []
        self.free_cpus: list[int] = []
        self.free_memory_bytes: list[int] = []
        self.free_gpus: list[dict[str, int]] = []
        self.free_generic: list[dict[str, int]] = []
        self.allocation_count: list[int] = []
        self.aside_count: list[int] = []
        """Of these, those that stand aside: nothing of them may show in what is free."""
        self.free_cpu_mask: list[int] = []
        self.free_gpu_mask: list[int] = []
        self._held_cpu_mask: list[int] = []
        self._held_gpu_mask: list[int] = []
        """Devices of allocations: also those that a changed configuration does not declare any more."""
        self.gpu_masks: list[dict[str, int]] = []
        """Of each GPU type: which devices are of it."""
        self.gpu_shares: list[dict[int, int]] = []
        """Device -> thousandths of it that are held, for devices that are held in shares."""
        self.free_gpu_parts: list[tuple[tuple[str, int], ...]] = []
        """Of those: type and free thousandths."""
        self.touched: set[int] = set()
        """Nodes of which anything that a room shows may have changed since somebody cleared this."""

    def __len__(self) -> int:
        return len(self.nodes)

    def define(self, cluster: Cluster) -> None:
        """Make the table match the cluster's declared nodes.

        Nodes that stay keep status and allocations. A node that is no longer declared keeps its row, drained, so that
        what runs there is not lost.
        """
        declared = {node.name for node in cluster.nodes}
        for node in cluster.nodes:
            number = self.number_of.get(node.name)
            if number is None:
                self._add(node)
                continue
            if self.nodes[number] != node:
                self._change(number, node)
            if self.drain[number] == NOT_DECLARED:
                self.set_drain(number, None)
        for number, node in enumerate(self.nodes):
            if node.name not in declared and self.drain[number] is None:
                self.set_drain(number, NOT_DECLARED)

    def _add(self, node: Node) -> None:
        self.number_of[node.name] = len(self.nodes)
        self.nodes.append(node)
        self.status.append(NodeStatus.UNKNOWN)
        self.status_time_s.append(0.0)
        self.boot_id.append("")
        self.missing.append(())
        self.detail.append("its agent has not reported yet")
        self.drain.append(None)
        self.orphans.append(set())
        self.is_available.append(False)
        self.free_cpus.append(node.cpu_count)
        self.free_memory_bytes.append(node.memory_bytes)
        self.free_gpus.append(_count_by_type(node.gpus))
        self.free_generic.append(dict(node.generic))
        self.allocation_count.append(0)
        self.aside_count.append(0)
        self.free_cpu_mask.append((1 << node.cpu_count) - 1)
        self.free_gpu_mask.append((1 << len(node.gpus)) - 1)
        self._held_cpu_mask.append(0)
        self._held_gpu_mask.append(0)
        self.gpu_masks.append(_masks_by_type(node.gpus))
        self.gpu_shares.append({})
        self.free_gpu_parts.append(())

    def _change(self, number: int, node: Node) -> None:
        """New declared amounts; what is allocated stays allocated, so free amounts may be negative for a while."""
        old = self.nodes[number]
        self.nodes[number] = node
        self.touched.add(number)
        self.free_memory_bytes[number] += node.memory_bytes - old.memory_bytes
        self.gpu_masks[number] = _masks_by_type(node.gpus)
        self._count_cpus(number)
        self._count_gpus(number)
        declared, before, free = dict(node.generic), dict(old.generic), self.free_generic[number]
        self.free_generic[number] = {
            name: free.get(name, 0) + declared.get(name, 0) - before.get(name, 0) for name in {**declared, **free}
        }

    def _count_cpus(self, number: int) -> None:
        """Free is what is declared and not held."""
        declared = (1 << self.nodes[number].cpu_count) - 1
        self.free_cpu_mask[number] = free = declared & ~self._held_cpu_mask[number]
        self.free_cpus[number] = free.bit_count()

    def _count_gpus(self, number: int) -> None:
        declared = (1 << len(self.nodes[number].gpus)) - 1
        self.free_gpu_mask[number] = free = declared & ~self._held_gpu_mask[number]
        self.free_gpus[number] = {kind: (mask & free).bit_count() for kind, mask in self.gpu_masks[number].items()}
        gpus, shares = self.nodes[number].gpus, self.gpu_shares[number]
        self.free_gpu_parts[number] = tuple(
            (gpus[device], MILLI - held) for device, held in shares.items() if device < len(gpus)
        )

    def apply(self, event: NodeJoined | NodeSuspected | NodeWentDown | NodeDrained | NodeResumed | OrphanFound) -> None:
        """Fold one event about a node."""
        name = event.node.name if isinstance(event, NodeJoined) else event.node
        if isinstance(event, OrphanFound) and name not in self.number_of:
            return
        number = self.number_of[name]
        match event:
            case NodeJoined():
                self.boot_id[number] = event.boot_id
                self.missing[number] = event.missing
                self.set_status(number, NodeStatus.UP, event.time_s)
            case NodeSuspected():
                self.set_status(number, NodeStatus.SUSPECT, event.time_s, "no contact")
            case NodeWentDown():
                self.set_status(number, NodeStatus.DOWN, event.time_s, event.detail)
            case NodeDrained():
                self.set_drain(number, (event.reason, event.by))
            case NodeResumed():
                self.set_drain(number, None)
            case OrphanFound():
                self.set_orphan(number, event.key, event.is_ended)
            case _:
                assert_never(event)

    def set_status(self, number: int, status: NodeStatus, time_s: float, detail: str = "") -> None:
        self.status[number] = status
        self.status_time_s[number] = time_s
        (self.suspects.add if status is NodeStatus.SUSPECT else self.suspects.discard)(number)
        self.detail[number] = detail
        self._look_whether_available(number)

    def set_drain(self, number: int, drain: tuple[str, str] | None) -> None:
        self.drain[number] = drain
        self._look_whether_available(number)

    def set_orphan(self, number: int, key: AttemptKey, is_ended: bool) -> None:
        (self.orphans[number].discard if is_ended else self.orphans[number].add)(key)
        self._look_whether_available(number)

    def set_closed(self, number: int, is_closed: bool) -> None:
        (self.closed.add if is_closed else self.closed.discard)(number)
        self._look_whether_available(number)

    def _look_whether_available(self, number: int) -> None:
        is_up = self.status[number] is NodeStatus.UP and number not in self.closed
        self.touched.add(number)
        self.is_available[number] = is_up and self.drain[number] is None and not self.orphans[number]

    def room_count(self, number: int, shape: Shape, lent: int = 0) -> int:
        """How many elements of the shape (one node's part of each) could be allocated on the node right now. `lent`:
        CPUs that suspended elements lend it, as bits."""
        node = self.nodes[number]
        if not self.is_available[number] or not shape.takes(node):
            return 0
        if shape.is_exclusive and self.allocation_count[number]:
            return 0
        count = (self.free_cpus[number] + lent.bit_count()) // shape.cpus
        if shape.memory_bytes:
            count = min(count, self.free_memory_bytes[number] // shape.memory_bytes)
        if shape.gpus:
            free = self.free_gpus[number]
            gpus = free.get(shape.gpu_type, 0) if shape.gpu_type else sum(free.values())
            count = min(count, gpus // shape.gpus)
        if shape.gpu_milli:
            count = min(count, int(self._share_device(number, shape) is not None))
        for name, amount in shape.generic:
            count = min(count, self.free_generic[number].get(name, 0) // amount)
        return min(count, 1) if shape.is_exclusive else count

    def _share_device(self, number: int, shape: Shape) -> int | None:
        """The device that a share of a GPU comes from: the smallest rest that holds it, else the first whole one."""
        mask = self._gpus_of_type(number, shape.gpu_type)
        rests = [
            (MILLI - held, device)
            for device, held in self.gpu_shares[number].items()
            if mask >> device & 1 and MILLI - held >= shape.gpu_milli
        ]
        if rests:
            return min(rests)[1]
        whole = self.free_gpu_mask[number] & mask
        return (whole & -whole).bit_length() - 1 if whole else None

    def _gpus_of_type(self, number: int, kind: str) -> int:
        """The declared devices of that type, of any if it is empty."""
        return self.gpu_masks[number].get(kind, 0) if kind else (1 << len(self.nodes[number].gpus)) - 1

    def choose(self, number: int, shape: Shape, task_count: int, element_count: int = 1, lent: int = 0) -> Share:
        """The share that so many elements take: the lowest free devices, and then the lowest of the `lent` CPUs. The
        caller made sure that there is room."""
        node = self.nodes[number]
        if shape.is_exclusive:
            return Share(
                node=node.name,
                task_count=task_count,
                cpus=devices_of(self.free_cpu_mask[number]),
                memory_bytes=node.memory_bytes,
                gpus=devices_of(self.free_gpu_mask[number]),
                generic=node.generic,
            )
        gpus = self.free_gpu_mask[number] & self._gpus_of_type(number, shape.gpu_type)
        devices = devices_of(lowest(gpus, shape.gpus * element_count)) if shape.gpus else ""
        if shape.gpu_milli:
            devices = str(self._share_device(number, shape))
        cpu_count = shape.cpus * element_count
        cpus = lowest(self.free_cpu_mask[number], min(cpu_count, self.free_cpus[number]))
        return Share(
            node=node.name,
            task_count=task_count,
            cpus=devices_of(cpus | lowest(lent, cpu_count - cpus.bit_count())),
            memory_bytes=shape.memory_bytes,
            gpus=devices,
            generic=shape.generic,
            gpu_milli=shape.gpu_milli,
        )

    def allocate(self, share: Share, is_restored: bool = False, lent: int = 0) -> None:
        """Take the share of one element. Oversubscription is a bug: asserted, never repaired. `lent`: the CPUs of the
        node that it may have although others, who are suspended, hold them too, as bits.

        A share that is restored from a dump may be more than a node has that was declared smaller meanwhile.
        """
        number = self.number_of[share.node]
        cpus, gpus = mask_of(share.cpus), mask_of(share.gpus)
        assert not self._held_cpu_mask[number] & cpus & ~lent, f"CPUs {share.cpus} of {share.node} are not free"
        if share.gpu_milli:
            held = self.gpu_shares[number].get(int(share.gpus), 0 if not self._held_gpu_mask[number] & gpus else MILLI)
            assert held + share.gpu_milli <= MILLI, f"GPU {share.gpus} of {share.node} has no such share free"
        else:
            assert not self._held_gpu_mask[number] & gpus, f"GPUs {share.gpus} of {share.node} are not free"
        self._held_cpu_mask[number] |= cpus
        self._move(number, share, -1)
        is_enough = self.free_memory_bytes[number] >= 0 or not share.memory_bytes
        assert is_enough or is_restored, f"memory of {share.node} is oversubscribed"

    def release(self, share: Share, kept: int = 0) -> None:
        """Give the share back, but for the CPUs that others hold too, as bits (`kept`)."""
        number = self.number_of[share.node]
        cpus = mask_of(share.cpus)
        assert self._held_cpu_mask[number] & cpus == cpus, f"CPUs {share.cpus} of {share.node} were free already"
        self._held_cpu_mask[number] &= ~(cpus & ~kept)
        self._move(number, share, 1)

    def free(self, number: int, cpus: int) -> None:
        """Who has them (as bits) lends them to anybody, and keeps the rest of its share."""
        self._held_cpu_mask[number] &= ~cpus
        self.touched.add(number)
        self._count_cpus(number)

    def hold(self, number: int, cpus: int) -> None:
        """It wants them back: they are free no more, whoever has them meanwhile."""
        self._held_cpu_mask[number] |= cpus
        self.touched.add(number)
        self._count_cpus(number)

    def count_aside(self, number: int, sign: int) -> None:
        """One of its allocations steps aside, or does so no more (-1)."""
        self.aside_count[number] += sign
        self.touched.add(number)

    def _move(self, number: int, share: Share, sign: int) -> None:
        self.touched.add(number)
        self._count_cpus(number)
        if share.gpus:
            if share.gpu_milli:
                self._move_share(number, int(share.gpus), share.gpu_milli * -sign)
            else:
                self._held_gpu_mask[number] ^= mask_of(share.gpus)
            self._count_gpus(number)
        self.free_memory_bytes[number] += sign * share.memory_bytes
        self.allocation_count[number] -= sign
        if share.generic:
            free = self.free_generic[number]
            for name, count in share.generic:
                free[name] = free.get(name, 0) + sign * count

    def _move_share(self, number: int, device: int, milli: int) -> None:
        """So many thousandths more of the device are held."""
        shares = self.gpu_shares[number]
        held = shares.pop(device, 0) + milli
        if held:
            shares[device] = held
            self._held_gpu_mask[number] |= 1 << device
        else:
            self._held_gpu_mask[number] &= ~(1 << device)


def split_share(share: Share, count: int) -> list[Share]:
    """The elements' own shares of a share that covers `count` elements of an array (see Share)."""
    if count == 1:
        return [share]
    cpus, gpus = mask_of(share.cpus), mask_of(share.gpus)
    cpu_chunk, gpu_chunk = cpus.bit_count() // count, gpus.bit_count() // count
    shares = []
    for _ in range(count):
        my_cpus, my_gpus = lowest(cpus, cpu_chunk), lowest(gpus, gpu_chunk)
        cpus, gpus = cpus & ~my_cpus, gpus & ~my_gpus
        shares.append(attrs.evolve(share, cpus=devices_of(my_cpus), gpus=devices_of(my_gpus)))
    return shares


def _count_by_type(gpus: tuple[str, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in gpus:
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _masks_by_type(gpus: tuple[str, ...]) -> dict[str, int]:
    masks: dict[str, int] = {}
    for index, kind in enumerate(gpus):
        masks[kind] = masks.get(kind, 0) | 1 << index
    return masks

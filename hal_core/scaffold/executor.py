"""The executor `example`: this machine as one node, each part of a job as one process of whoever runs HAL."""

import os
import time
from collections.abc import Sequence

import attrs
import trio

from hal_core import AttemptKey, CancelOrder, End, EndKind, LaunchOrder, Node, NodeName, NodeReported, PartsChanged

from hal_core import PartStatus, PluginInfo, Register, Report, hookimpl  # isort: skip

__hal_plugin__ = PluginInfo(sdk=1, summary="processes of this machine", not_yet=("what survives a restart",))


class Example:
    """Orders are idempotent by key: a repeated launch reports what is known. Older epochs are not obeyed."""

    def __init__(self) -> None:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._node = Node(NodeName("here"), os.cpu_count() or 1, memory_bytes, executor="example")
        self._parts: dict[AttemptKey, PartStatus] = {}
        self._scopes: dict[AttemptKey, trio.CancelScope] = {}
        self._epoch = 0

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as self._nursery:
            self._report = report
            await report(NodeReported(self._node, f"pid {os.getpid()}", tuple(self._parts.values())))
            task_status.started()
            await trio.sleep_forever()

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        for order in orders:
            if order.epoch >= self._epoch:
                self._epoch = order.epoch
                if order.key not in self._parts:
                    self._parts[order.key] = PartStatus(order.key, start_time_s=time.time())
                    self._scopes[order.key] = trio.CancelScope()
                    self._nursery.start_soon(self._live, order)
                await self._tell(order.key)

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        for order in orders:
            if order.key in self._scopes:
                self._scopes[order.key].cancel()
            else:  # What has ended has ended; what is not known will never begin.
                self._parts.setdefault(order.key, PartStatus(order.key, None, time.time(), End(EndKind.CANCELLED)))
                await self._tell(order.key)

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        for key in set(keys) - self._scopes.keys():
            self._parts.pop(key, None)

    async def _live(self, order: LaunchOrder) -> None:
        end, spec = End(EndKind.CANCELLED), order.spec
        with self._scopes[order.key], trio.move_on_after(spec.walltime_s or float("inf")) as limit:
            command = spec.command or ("/bin/sh", "-c", spec.script)
            code = (await trio.run_process(command, check=False, cwd=spec.working_directory)).returncode
            end = End(EndKind.EXITED, code) if code >= 0 else End(EndKind.SIGNALLED, signal=-code)
        end = End(EndKind.TIME_LIMIT) if limit.cancelled_caught else end
        del self._scopes[order.key]
        self._parts[order.key] = attrs.evolve(self._parts[order.key], end_time_s=time.time(), end=end)
        await self._tell(order.key)

    async def _tell(self, key: AttemptKey) -> None:
        await self._report(PartsChanged(self._node.name, (self._parts[key],)))


@hookimpl
def hal_register_executors(register: Register) -> None:
    register("example", lambda options: Example(), "processes of this machine")


@hookimpl
def hal_register_trials(register: Register) -> None:
    """What `hal plugin test` makes it with: a node of it, a command that ends, one that does not."""
    register("example", lambda given: {"node": "here", "quick": ["true"], "endless": ["sleep", "1000"]})

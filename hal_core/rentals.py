"""What the daemon needs to rent nodes: the clouds of its pools, and what a new machine must know to become a node.

A join token is made when a machine is about to be, for that node alone, and is good until its lease ends. What a
machine can show is void before it is given back, so that it never speaks for the next one that is the same node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import trio

from hal_core.config.configuration import Configuration
from hal_core.errors import Refused
from hal_core.fleet.bootstrap import Bootstrap, BootstrapSource
from hal_core.fleet.machines import MachineName, digest_of
from hal_core.kernel.renting import Renting, RunningKernel
from hal_core.models.node import Node, NodeName
from hal_core.planes import Executor, LeaseExecutor
from hal_core.plugins import Plugins
from hal_core.rules.state import State

logger = logging.getLogger("hal.renting")

BY: Final = "hal"
"""Who makes tokens for rented machines, and revokes what they can show."""


@runtime_checkable
class Bootstrapped(Protocol):
    """A cloud whose machines are told how to become nodes."""

    bootstrap: BootstrapSource | None


def make_renting(
    configuration: Configuration,
    plugins: Plugins,
    kernel: RunningKernel,
    executors: Mapping[str, Executor],
    authority: Path,
) -> Renting:
    """The shell of all pools, with the clouds that they name."""
    cluster = configuration.cluster
    names = dict.fromkeys(pool.cloud for pool in cluster.pools)
    for kept, each in kernel.state.pools.kept():  # also of pools that the configuration has no more
        if kept.pool.cloud not in configuration.clouds:
            logger.error("instance %s costs money, and its cloud %s is not configured", each.name, kept.pool.cloud)
        else:
            names[kept.pool.cloud] = None
    clouds = {name: plugins.cloud(name, configuration.clouds[name]) for name in names}
    for provider in clouds.values():
        if isinstance(provider, Bootstrapped):
            provider.bootstrap = Bootstraps(lambda: kernel.state, authority)
    executor_of = {node.name: executors[node.executor] for node in cluster.nodes}

    def tell(node: NodeName, left_s: float) -> None:
        executor: object = executor_of.get(node)
        if isinstance(executor, LeaseExecutor):
            executor.extend(node, left_s)

    async def revoke(node: NodeName) -> None:
        await trio.to_thread.run_sync(_revoke, authority, node)

    return Renting(kernel, clouds, time.time, tell, revoke)


class Bootstraps:
    """Called in a thread, for a machine that is about to be made."""

    def __init__(self, state: Callable[[], State], authority: Path) -> None:
        self._state = state
        self._authority = authority

    def __call__(self, name: MachineName) -> Bootstrap:
        """Raises Refused if no pool wants such a machine any more, or if there is no authority."""
        from hal_core.wire.authority import Authority  # Not at the start: it brings all of cryptography.

        node, until_s, was_another = trio.from_thread.run_sync(self._wanted, name)
        now_s = time.time()
        if was_another:  # which is gone, or its name would not be free, and may not speak for the new one
            _revoke(self._authority, node.name)
        token = Authority(self._authority).make_token(node.name, now_s, max(0.0, until_s - now_s), BY)
        return Bootstrap(node, token.text(), until_s)

    def _wanted(self, name: MachineName) -> tuple[Node, float, bool]:
        """The node that the machine will be, the end of its lease, and whether another machine was that node."""
        state = self._state()
        leases = [each.until_s for _, each in state.pools.kept() if digest_of(each.token) == name.digest]
        number = state.table.number_of.get(name.node)
        if not leases or number is None:
            what = "no pool wants it any more" if number is not None else "the configuration has no such node"
            raise Refused(f"machine {name} is not made: {what}")
        return state.table.nodes[number], min(leases), name.node in state.pools.instance_of


def _revoke(authority: Path, node: NodeName) -> None:
    if (authority / "authority.pem").exists():
        from hal_core.wire.authority import Authority

        Authority(authority).revoke(node, BY)

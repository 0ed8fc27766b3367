"""What executors report, before it reaches the kernel: of their own nodes only, and made of what a report is made of.

Whoever looks at a report later has no wall around it, so what is no report is refused here: the executor that sent it
has failed, and is begun again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from hal_core.errors import PluginError
from hal_core.models.message import (
    BookingsReported,
    CopiesReported,
    Message,
    NodeLeaving,
    NodeLost,
    NodeReported,
    NodeSilent,
    NoteAccess,
    OutputsMade,
    PartsChanged,
)
from hal_core.models.node import NodeName
from hal_core.models.shape import fault_in, shown
from hal_core.planes import Report

logger = logging.getLogger("hal.effects")

_OF_NODE: Final = (NodeSilent, NodeLost, NodeLeaving, PartsChanged, CopiesReported, OutputsMade)
_REPORTS: Final = frozenset((*_OF_NODE, NodeReported, BookingsReported, NoteAccess))
"""Who joins, or is turned away, is noted by whoever opens the door to agents: an executor."""


def check_report(message: object, executor: str) -> None:
    """Raises PluginError, saying what is wrong, if it is nothing that an executor reports."""
    kind = type(message)
    if kind not in _REPORTS:
        known = ", ".join(sorted(each.__name__ for each in _REPORTS))
        raise PluginError(f"executor {executor!r} reported {shown(message)}; executors report {known}")
    if fault := fault_in(message, kind):
        raise PluginError(f"executor {executor!r} reported a {kind.__name__} whose {fault.removeprefix('.')}")


def reporting_as(executor: str, report: Report, executor_name_of: Callable[[NodeName], str]) -> Report:
    """What an executor reports, with its own name on the nodes: whether they are its own is the core's to decide, which
    refuses them. What it says of another's nodes besides is dropped: that an agent which was refused is silent, too."""
    others: set[NodeName] = set()

    async def told(message: Message) -> None:
        check_report(message, executor)
        if isinstance(message, NodeReported):
            message = attrs.evolve(message, node=attrs.evolve(message.node, executor=executor))
        elif isinstance(message, _OF_NODE) and (owner := _owner(message.node)) not in (executor, ""):
            if message.node not in others:
                others.add(message.node)
                logger.warning("executor %s speaks of node %s of executor %s: dropped", executor, message.node, owner)
            await trio.lowlevel.checkpoint()
            return
        await report(message)

    def _owner(node: NodeName) -> str:
        """Empty if the configuration does not know the node: the core says what becomes of that."""
        try:
            return executor_name_of(node)
        except KeyError:
            return ""

    return told

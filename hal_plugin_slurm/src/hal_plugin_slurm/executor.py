"""The executor `slurm`: HAL's jobs become Slurm's jobs, and what becomes of them comes back.

It holds no truth of its own. What was submitted is in the ledger, what it means in the book, and Slurm is asked in one
question for all. Four tasks: submit, cancel, watch, and look at the nodes. While Slurm is out of reach, orders wait
and nothing is given up.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from hal_core import (
    AttemptKey,
    BookingsReported,
    CancelOrder,
    LaunchOrder,
    NodeName,
    NodeReported,
    Options,
    PartsChanged,
    PartSpans,
    Report,
    SpanSender,
    UserError,
    structure_options,
)
from hal_plugin_slurm.book import Book, Change, Patience
from hal_plugin_slurm.ledger import Ledger
from hal_plugin_slurm.node_offers import offered_as, size_of
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.pace import Pace
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.ticket import Ticket
from hal_plugin_slurm.view import View, is_closed, view_of
from hal_plugin_slurm.way import SlurmJob, SlurmNode, SlurmRefused, SlurmReservation, SlurmSilent, SlurmUnanswered, Way
from hal_plugin_slurm.way_options import open_way

SUBMITTED_AT_ONCE: Final = 8
RETRY_S_MAX: Final = 30.0
CANCEL_AGAIN_S: Final = 15.0
NODES_EVERY_S: Final = 60.0
NODES_SOON_S: Final = 2.0
"""After a node was closed; then twice as long each time. Most that are down when Slurm starts are up in a moment."""
BOOT_ID: Final = "slurm"
"""What Slurm's nodes do is Slurm's business: to HAL they never reboot."""

log = logging.getLogger("hal.slurm")


class SlurmExecutor:
    """Implements planes.Executor. Clock and thread are given by tests only: on virtual time there are no threads."""

    def __init__(
        self,
        options: SlurmOptions,
        way: Way,
        now_s: Callable[[], float] = time.time,
        in_thread: Callable[[Callable[[], None]], Awaitable[None]] = trio.to_thread.run_sync,
    ) -> None:
        self._in_thread = in_thread
        self._options, self._way, self._now_s = options, way, now_s
        self._ledger = Ledger(Path(options.state_directory))
        patience = Patience(options.answer_timeout_s, options.vanish_s, options.usage_s)
        self._spans = PartSpans(None)
        self._book = Book(self._ledger.instance, self._ledger.tickets, patience)
        self._pace = Pace(options.poll_s_min, options.poll_s_max)
        self._report: Report | None = None
        self._epoch = 0
        self._undeclared: set[str] = set()
        self._nodes: dict[str, SlurmNode] = {}
        self._seen: Sequence[SlurmNode] = ()
        self._reservations: Sequence[SlurmReservation] = ()
        self._view_time_s = -math.inf
        self._is_out_of_reach = False
        self._writing = trio.Lock()
        self._orders, self._cancels, self._work = trio.Event(), trio.Event(), trio.Event()
        self.counts: Counter[str] = Counter()
        """Of questions and submissions; for /metrics and tests."""

    @classmethod
    def from_options(cls, options: Options) -> SlurmExecutor:
        chosen = structure_options(SlurmOptions, options)
        return cls(chosen, open_way(chosen, time.time))

    def render(self) -> bytes:
        """For /metrics."""
        own = f'executor="{self._options.name}"'
        lines = [
            "# HELP hal_slurm_reachable Whether Slurm answered the last question.",
            "# TYPE hal_slurm_reachable gauge",
            f"hal_slurm_reachable{{{own}}} {int(not self._is_out_of_reach)}",
            "# HELP hal_slurm_requests_total What Slurm was asked, by kind.",
            "# TYPE hal_slurm_requests_total counter",
        ]
        lines += [
            f'hal_slurm_requests_total{{{own},kind="{kind}"}} {count}' for kind, count in sorted(self.counts.items())
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Nodes that were there before are reported at once, new ones when Slurm tells them. It
        may be begun again after it failed: the nodes are reported with all that became known meanwhile."""
        self._report = report
        self._spans = PartSpans(SpanSender.from_environment(os.environ, "hal-slurm"))
        nodes, self._nodes = list(self._nodes.values()) or self._ledger.nodes, {}
        self._book.begin_again()
        self._orders.set()
        try:
            await self._report_nodes(nodes)
            async with trio.open_nursery() as nursery:
                for task in (self._submit_forever, self._cancel_forever, self._watch_forever, self._see_nodes_forever):
                    nursery.start_soon(task)
                task_status.started()
        finally:
            self._spans.close()
            if isinstance(self._way, Rest):
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await self._way.aclose()

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        self._epoch = max((self._epoch, *(order.epoch for order in orders)))
        current = [order for order in orders if order.epoch == self._epoch]
        self._spans.ordered(node, current)
        changes = self._book.launch(current, self._options.partitions, self._now_s())
        self._orders.set()
        await self._tell(changes)

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        changes = self._book.cancel(node, [order.key for order in orders], self._now_s())
        self._cancels.set()
        await self._tell(changes)

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        over = self._book.forget(node, keys)
        if over:
            await self._write(partial(self._ledger.forget, over))

    # -- submitting ----------------------------------------------------------------------------------------------------

    async def _submit_forever(self) -> None:
        retry_s = self._options.poll_s_min
        while True:
            await self._orders.wait()
            self._orders = trio.Event()
            ready = self._book.ready()
            if not ready:
                continue
            for ticket in ready:
                ticket.is_asked = True
            await self._write(partial(self._ledger.intend, ready))
            limiter = trio.CapacityLimiter(SUBMITTED_AT_ONCE)
            async with trio.open_nursery() as nursery:
                for ticket in ready:
                    nursery.start_soon(self._submit, ticket, limiter)
            taken = [ticket for ticket in ready if ticket.native_id is not None]
            await self._write(partial(self._ledger.note_ids, taken))
            self._pace.quicken()
            self._work.set()
            if self._book.ready():
                self._orders.set()
            if any(ticket.open and ticket.native_id is None and ticket.doubt_time_s is None for ticket in ready):
                await trio.sleep(retry_s)  # Slurm is out of reach
                retry_s = min(retry_s * 2, RETRY_S_MAX)
            else:
                retry_s = self._options.poll_s_min

    async def _submit(self, ticket: Ticket, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            if not ticket.open:  # cancelled meanwhile
                ticket.is_asked = False
                return
            self.counts["submissions"] += 1
            changes: list[Change] = []
            try:
                native_id = await self._way.submit(self._book.submission(ticket))
                self._book.accept(ticket, native_id, self._now_s())
            except SlurmRefused as why:
                changes = self._book.refuse(ticket, str(why), self._now_s())
            except SlurmUnanswered as error:
                log.warning("the answer to the submission of %s was lost: %s", ticket.name, error)
                self.counts["lost_answers"] += 1
                self._book.doubt(ticket, self._now_s())
            except SlurmSilent as error:
                self._note_reach(error)
            except BaseException:  # whatever it was, it may have been carried out
                self._book.doubt(ticket, self._now_s())
                raise
            finally:
                ticket.is_asked = False
        if ticket.to_cancel:
            self._cancels.set()
        await self._tell(changes)

    async def _cancel_forever(self) -> None:
        """What is to end is told to Slurm again and again until it has: an order to end may be lost too."""
        while True:
            with trio.move_on_after(CANCEL_AGAIN_S):
                await self._cancels.wait()
            self._cancels = trio.Event()
            targets = self._book.to_cancel()
            if not targets:
                continue
            self.counts["cancels"] += 1
            try:
                await self._way.cancel(targets)
            except SlurmRefused as why:
                log.warning("Slurm refused to end jobs: %s", why)
            except SlurmSilent as error:
                self._note_reach(error)
            self._pace.quicken()
            self._work.set()

    # -- watching ------------------------------------------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        """One question for all jobs, at most every `interval_s`; with none of ours, seldom, to see those of others."""
        while True:
            is_due = False
            if self._book.is_idle and self._view_time_s > -math.inf:
                with trio.move_on_after(self._options.poll_s_max) as waited:
                    await self._work.wait()
                is_due = waited.cancelled_caught
            self._work = trio.Event()
            if not is_due:
                await self._sleep_until_due()
            did_change = await self._look()
            if ended := self._book.unmeasured():
                did_change |= await self._measure(ended)
            if did_change:
                self._pace.quicken()

    async def _look(self) -> bool:
        """Ask about all jobs, and accounting about those that are missing; whether there was news."""
        asked_s, began_s = self._now_s(), trio.current_time()
        self.counts["polls"] += 1
        try:
            jobs = await self._way.jobs()
            did_change = await self._learn(jobs, asked_s, trio.current_time() - began_s)
            await self._tell_bookings(jobs)
            if missing := self._book.missing(asked_s):
                did_change |= await self._look_back(missing)
        except (SlurmSilent, SlurmRefused) as error:
            self._note_reach(error)
            self._pace.slow_down()
            return False
        self._note_reach(None)
        return did_change

    async def _learn(self, jobs: Sequence[SlurmJob], asked_s: float, took_s: float) -> bool:
        """Whether there was news. Ids that were found are on disk before the kernel hears of them."""
        unknown = [each for each in self._book.tickets.values() if each.native_id is None]
        changes = self._book.learn(jobs, asked_s, self._now_s())
        found = [ticket for ticket in unknown if ticket.native_id is not None]
        await self._write(partial(self._ledger.note_ids, found))
        if found or self._book.strays:
            self._cancels.set()
        self._pace.learn(bool(changes or found), took_s)
        await self._tell(changes)
        return bool(changes or found)

    async def _look_back(self, missing: list[Ticket]) -> bool:
        """Ask accounting about those that slurmctld does not name; whether there was news."""
        self.counts["accounting"] += 1
        since_s = min(ticket.intent_time_s for ticket in missing)
        past = await self._way.history([ticket.name for ticket in missing], since_s - 60)
        unknown = [ticket for ticket in missing if ticket.native_id is None]
        changes = self._book.settle(missing, past, self._now_s())
        found = [ticket for ticket in unknown if ticket.native_id is not None]
        await self._write(partial(self._ledger.note_ids, found))
        if self._book.ready():
            self._orders.set()
        await self._tell(changes)
        return bool(changes)

    async def _measure(self, ended: list[Ticket]) -> bool:
        """Ask accounting what these used; an accounting that is silent keeps nothing else waiting. Whether there was
        news."""
        self.counts["accounting"] += 1
        since_s = min(over.end_time_s for ticket in ended for over in ticket.over.values())
        past: Sequence[SlurmJob] | None = None
        with trio.move_on_after(self._options.usage_s):
            try:
                past = await self._way.history([ticket.name for ticket in ended], since_s - 60)
            except (SlurmSilent, SlurmRefused) as error:
                log.info("accounting does not tell what jobs used: %s", error)
        changes = self._book.measure(ended, past, self._now_s())
        await self._tell(changes)
        return bool(changes)

    async def _sleep_until_due(self) -> None:
        """The interval may become shorter while we wait."""
        begin_s = trio.current_time()
        while (left_s := begin_s + self._pace.interval_s - trio.current_time()) > 0:
            with trio.move_on_after(left_s):
                await self._work.wait()
                self._work = trio.Event()

    def _note_reach(self, error: Exception | None) -> None:
        if error is not None and not self._is_out_of_reach:
            log.warning("Slurm is out of reach; orders wait, jobs are left alone: %s", error)
        elif error is None and self._is_out_of_reach:
            log.warning("Slurm answers again")
        self._is_out_of_reach = error is not None

    # -- nodes ---------------------------------------------------------------------------------------------------------

    async def _see_nodes_forever(self) -> None:
        retry_s, pause_s = self._options.poll_s_min, NODES_EVERY_S
        closed: frozenset[str] = frozenset()
        while True:
            try:
                nodes = await self._way.nodes()
            except (SlurmSilent, SlurmRefused) as error:
                self._note_reach(error)
                await trio.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)
                continue
            retry_s = self._options.poll_s_min
            self._seen = nodes
            await self._report_nodes(nodes)
            await self._see_reservations()
            before, closed = closed, frozenset(node.name for node in nodes if is_closed(node))
            pause_s = NODES_SOON_S if closed - before else min(2 * pause_s, NODES_EVERY_S)
            await trio.sleep(pause_s)

    async def _see_reservations(self) -> None:
        """Those that were known before count while there is no answer."""
        try:
            self._reservations = await self._way.reservations()
        except (SlurmSilent, SlurmRefused) as error:
            log.warning("Slurm does not tell its reservations: %s", error)

    async def _report_nodes(self, nodes: Iterable[SlurmNode]) -> None:
        """Tell the kernel of those that are new or have changed in size. HAL need not know all of Slurm's."""
        assert self._report is not None
        did_change = False
        for node in nodes:
            known = self._nodes.get(node.name)
            if node.name in self._undeclared or (known is not None and size_of(known) == size_of(node)):
                continue
            offered = offered_as(node, self._options)
            try:
                await self._report(NodeReported(offered, BOOT_ID, tuple(self._book.records(offered.name))))
            except UserError:
                self._undeclared.add(node.name)
                continue
            self._nodes[node.name] = node
            did_change = True
        if did_change:
            await self._write(partial(self._ledger.note_nodes, list(self._nodes.values())))

    async def _tell_bookings(self, jobs: Sequence[SlurmJob]) -> None:
        """How all of Slurm's nodes are booked, and when what we have in its queue is likely to start."""
        now_s = self._now_s()
        if not self._seen or now_s < self._view_time_s + self._options.view_s:
            return
        self._view_time_s = now_s
        found: list[View] = []
        await self._in_thread(lambda: found.append(view_of(self._seen, jobs, now_s, self._reservations)))
        assert self._report is not None
        await self._report(BookingsReported(self._options.name, found[0].nodes, self._book.starts(found[0].starts)))

    # -- both sides ----------------------------------------------------------------------------------------------------

    async def _tell(self, changes: Iterable[Change]) -> None:
        assert self._report is not None
        of_node = defaultdict(list)
        for node, status in changes:
            of_node[node].append(status)
        for node, statuses in of_node.items():
            self._spans.reported(node, statuses, **{"hal.executor": "slurm"})
            await self._report(PartsChanged(node, tuple(statuses)))

    async def _write(self, write: Callable[[], None]) -> None:
        async with self._writing:
            await self._in_thread(write)

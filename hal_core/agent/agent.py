"""The agent of one node: takes orders from the daemon, passes them to the spawner, reports what the records say.

It holds nothing that could be lost: kill it at any moment and start it again. Jobs do not notice, and what ended
meanwhile is reported at the next Hello. It refuses orders of an older epoch than it has seen.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import time
from collections.abc import Iterable
from contextlib import suppress

import attrs
import trio

from hal_core.agent.book import Book, hinted_keys
from hal_core.agent.borrowing import Borrowing
from hal_core.agent.guarding import keep_guarded
from hal_core.agent.hierarchies import remove_bases
from hal_core.agent.identity import Dial, Identity
from hal_core.agent.instance import Instance
from hal_core.agent.lease import Lease, boot_time_s
from hal_core.agent.leftovers import kill_marked, mark
from hal_core.agent.lending import Lending
from hal_core.agent.options import AgentOptions, inspect_machine
from hal_core.agent.outputs import Outputs
from hal_core.agent.reading import reader_of
from hal_core.agent.report_pace import ReportPace
from hal_core.agent.spawner_link import SpawnerLink
from hal_core.agent.staging import Staging
from hal_core.agent.store import Store
from hal_core.agent.terminals import Terminals
from hal_core.agent.translation import failed, translate
from hal_core.agent.use import keep_telling, meter_of
from hal_core.errors import WireError
from hal_core.failpoints import reach
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import EndKind
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey
from hal_core.tracing import PartSpans, SpanSender
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 10.0
BACKOFF_LOCAL_S_MAX = 1.0
"""For a daemon on this machine, which costs nothing to ask, and whose nodes should be back when it is."""
RESCAN_PERIOD_S = 2.0
HINT_BYTES = 1 << 16
"""The size of the pipe: reading so much at once means that hints may have been dropped."""
SILENCE_HEARTBEATS = 3
WELCOME_TIMEOUT_S = 30.0
EPHEMERAL_END_S = 10.0

log = logging.getLogger(__name__)


class Agent:
    """`dial` opens a connection to the daemon; `chance` spreads reconnections of many agents.

    With an `identity` its certificate is renewed in time.
    """

    def __init__(
        self, options: AgentOptions, dial: Dial, chance: random.Random, identity: Identity | None = None
    ) -> None:
        self._identity = identity
        self._options = options
        self._dial = dial
        self._chance = chance
        options.state_directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock = _lock(str(options.state_directory / "agent.lock"))
        self._machine = inspect_machine(options)
        self._book = Book(options.state_directory)
        self._spawner = SpawnerLink(options.state_directory, self._machine.cgroups)
        self._lease = Lease(options.state_directory, self._machine.boot_id)
        borrowing = Borrowing(identity.directory) if identity is not None else None
        reader = reader_of(options.sources, borrowing.reading if borrowing is not None else None)
        store = Store(options.store, options.store_budget_bytes, reader, bytes_per_s=options.store_bytes_per_s)
        self._staging = Staging(store, borrowing)
        self._lending = Lending(store, identity.directory, options.lending_port) if identity is not None else None
        self._outputs = Outputs(options.state_directory)
        self._meter = meter_of(options.node, self._machine.cgroups)
        self._spans = PartSpans(SpanSender.from_environment(os.environ, "hal-agent"))
        given = options.instance
        self._instance = Instance(options.state_directory, given) if given else None
        self._tasks: trio.Nursery | None = None
        self._session: FrameStream | None = None
        self._session_tasks: trio.Nursery | None = None
        self._forgotten: set[AttemptKey] = set()
        """Attempts whose records the daemon needs no more, and which are still there."""
        self._forgotten_some = trio.Event()
        self._reported: dict[AttemptKey, PartStatus] = {}
        """What this session's daemon has been told last."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. `started` when the spawner is there; the daemon may come later."""
        async with trio.open_nursery() as nursery:
            self._tasks = nursery
            try:
                await nursery.start(self._spawner.run)
                if self._lending is not None:
                    await nursery.start(self._lending.run)
                nursery.start_soon(self._follow_hints)
                nursery.start_soon(self._rescan)
                nursery.start_soon(self._forget_records)
                nursery.start_soon(Terminals(self._options.state_directory, self._options.node.name, self._dial).run)
                nursery.start_soon(keep_guarded, self._options.state_directory, self._lease)
                if self._instance is not None:
                    nursery.start_soon(self._instance.run, self._tell_to_end)
                    nursery.start_soon(self._instance.watch, self._tell_of_leaving)
                task_status.started()
                await self._stay_connected()
            finally:
                with trio.move_on_after(EPHEMERAL_END_S, shield=True):
                    await trio.to_thread.run_sync(self._spans.close, abandon_on_cancel=True)
                    if self._options.is_ephemeral:
                        await self._end_everything()
                    elif not self._has_work():
                        await self._stop_spawner()  # which is there for what runs

    async def _stay_connected(self) -> None:
        pause_s, told = BACKOFF_S_MIN, ""
        most_s = BACKOFF_S_MAX if self._options.server else BACKOFF_LOCAL_S_MAX
        while True:
            try:
                stream = await self._dial()
                async with FrameStream(stream, messages.FROM_DAEMON) as frames:
                    await self._converse(frames)
                    pause_s, told = BACKOFF_S_MIN, ""
            except (OSError, WireError, trio.TooSlowError) as error:
                log.log(logging.DEBUG if told == (told := str(error)) else logging.INFO, "no daemon: %s", error)
            finally:
                self._session = None
            await trio.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, most_s)

    async def _converse(self, frames: FrameStream) -> None:
        """One session with one daemon, from Hello to the end of the connection."""
        self._reported = {}
        parts = list(self._changed(self._book.known()))
        hello = messages.Hello(
            messages.PROTOCOL_VERSION, self._options.node, self._machine.boot_id, len(parts), self._machine.missing
        )
        if self._lending is not None and self._lending.port:
            hello = attrs.evolve(hello, lending_port=self._lending.port, lending_secret=self._lending.secret)
        said_s = boot_time_s()
        await frames.send(hello, *messages.report_frames(parts))
        with trio.fail_after(WELCOME_TIMEOUT_S):
            received = await frames.receive()
        if not received or not isinstance(received[0], messages.Welcome):
            text = received[0].text if received and isinstance(received[0], messages.Refusal) else "no welcome"
            raise WireError(f"the daemon does not take this agent: {text}")
        welcome = received.pop(0)
        self._book.insist_on_newest(welcome.epoch)
        log.info("connected to the daemon, epoch %d", welcome.epoch)
        self._lease.begin(welcome.lease_s, said_s)
        self._extend(welcome.paid_s, said_s)
        self._session = frames
        async with trio.open_nursery() as nursery:
            self._session_tasks = nursery
            nursery.start_soon(_send_heartbeats, frames, welcome.heartbeat_s)
            await self._staging.begin(frames, {*map(str, self._book.known()), *self._spawner.pending})
            if welcome.use_s:
                nursery.start_soon(keep_telling, frames, self._meter, self._book, welcome.use_s)
            if self._identity is not None:
                nursery.start_soon(self._identity.keep_fresh, frames, self._options.node.name)
            await frames.send(*self._outputs.made.values())
            await self._tell_of_leaving()
            # Changes since the scan for the Hello, whose hints came before there was a session.
            await self._report(self._book.known())
            try:
                await self._take_orders(frames, received, welcome.heartbeat_s * SILENCE_HEARTBEATS)
            except WireError as error:
                log.warning("leaving the daemon: %s", error)
            nursery.cancel_scope.cancel()

    async def _take_orders(self, frames: FrameStream, received: list[object], silence_s: float) -> None:
        """Until the daemon closes the connection or is silent for too long."""
        while True:
            for message in received:
                await self._obey(message)
            with trio.move_on_after(silence_s) as timeout:
                received = await frames.receive()
            if timeout.cancelled_caught or not received:
                return

    async def _obey(self, message: object) -> None:
        reach("agent.order_received")
        if isinstance(message, messages.ORDERS):
            if is_outdated(message, self._book.epoch):
                log.warning("refused a %s of epoch %d < %d", type(message).__name__, message.epoch, self._book.epoch)
                return
            if message.epoch > self._book.epoch:
                self._book.raise_epoch(message.epoch)
        match message:
            case messages.Refusal(text=text):
                raise WireError(f"the daemon does not take this node: {text}")
            case messages.Launch():
                orders = self._leased(message.orders())
                for order in orders:
                    self._reported.pop(order.key, None)  # Ordered again: told again.
                begun = {order.key for order in orders if self._has_begun(order.key)}
                left = [order for order in orders if order.key not in begun]
                self._spans.ordered(self._options.node.name, left)
                for order in left:
                    self._outputs.expect(order, self._options.node.name)
                translated = translate(left, self._options, self._machine)
                faults = map(self._staging.why_not, left)
                orders_or_faults = zip(left, translated, faults, strict=True)
                await self._spawner.launch([failed(a, fault) if fault else b for a, b, fault in orders_or_faults])
                await self._report(begun)
                reach("agent.launch_ordered")
            case messages.Cancel():
                for cancel in message.orders:
                    self._reported.pop(cancel.key, None)
                    self._staging.stop(cancel.key)
                    await self._spawner.cancel(str(cancel.key), cancel.grace_s)
                reach("agent.cancel_ordered")
            case messages.Suspend():
                for suspend in message.orders:
                    await self._spawner.suspend(str(suspend.key), suspend.does_resume)
            case messages.Forget():
                self._forgotten.update(message.keys)
                self._forgotten_some.set()
            case messages.Bring() if self._session is not None and self._session_tasks is not None:
                self._session_tasks.start_soon(self._staging.bring, message, self._session)
            case messages.Keep() if self._session is not None:
                await self._staging.keep(message, self._session)
            case messages.Heartbeat(sent_s=sent_s, paid_s=paid_s) if sent_s:
                self._lease.extend(sent_s)
                self._extend(paid_s, sent_s)
            case messages.Certificate(pem=pem) if self._identity is not None:
                self._identity.store(pem)
                log.info("this node has a new certificate")

    def _extend(self, paid_s: float | None, heard_s: float) -> None:
        if self._instance is not None and paid_s is not None:
            self._instance.extend(paid_s, heard_s)

    async def _tell_of_leaving(self) -> None:
        """The daemon, that this machine is taken back, if it is. Said in each session."""
        notice = None if self._instance is None else self._instance.notice
        if notice is not None and self._session is not None:
            with suppress(WireError):
                await self._session.send(messages.Leaving(notice.detail, notice.left_s(time.time())))

    def _leased(self, orders: Iterable[LaunchOrder]) -> list[LaunchOrder]:
        """The orders that may be carried out: under the lease what may be queued again, as long as there is one.

        An order that was on its way for too long may have been given to another node meanwhile.
        """
        taken = []
        for order in orders:
            if order.spec.can_requeue:
                self._lease.put_under(str(order.key), order.spec.kill_grace_s)
                if self._lease.is_over:
                    log.warning("not launched, because the lease is over: %s", order.key)
                    continue
            taken.append(order)
        return taken

    async def _report(self, keys: Iterable[AttemptKey]) -> None:
        """Tell the daemon what is new about these attempts, in as few frames as they need."""
        if self._session is None:
            return  # Nothing may pass for told: the next Hello says it, or the look at everything after its answer.
        parts = list(self._changed(keys))
        if parts:
            reach("agent.before_report")
            with suppress(WireError):  # The next Hello says it all again.
                await self._session.send(*messages.report_frames(parts))
            reach("agent.after_report")

    def _changed(self, keys: Iterable[AttemptKey]) -> Iterable[PartStatus]:
        for key in keys:
            status = self._book.status(key)
            if status is None:
                continue
            if self._tasks is not None and self._outputs.begin(status):
                self._tasks.start_soon(self._measure, key)
            status = self._meter.shown(self._outputs.shown(status))
            self._spawner.see(status)
            # Without a start there is nothing to tell yet but that it is known, which is told at the Hello.
            if self._reported.get(key) != status and (status.start_time_s or status.end or self._session is None):
                if status.end is not None and status.end.kind is EndKind.SUPERVISOR_LOST:
                    kill_marked(mark(self._options.state_directory, key))  # Before anybody is told of the end.
                self._reported[key] = status
                self._spans.reported(self._options.node.name, [status])
                yield status

    async def _measure(self, key: AttemptKey) -> None:
        """The outputs of an attempt that has ended well, and then its end."""
        made = await self._outputs.measure(key)
        if self._session is not None:
            with suppress(WireError):  # The next session begins with it.
                await self._session.send(made)
        await self._report([key])

    async def _follow_hints(self) -> None:
        """Supervisors write the key of each record that has changed into a pipe."""
        pace = ReportPace()
        # Opened for both, so that the pipe never ends.
        hints = os.open(self._book.hints, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while True:
                await trio.lowlevel.wait_readable(hints)
                running = sum(status.end is None for status in self._reported.values())
                await trio.sleep(pace.wait_s(trio.current_time(), len(self._spawner.pending) + running))
                data = os.read(hints, HINT_BYTES)
                if len(data) == HINT_BYTES:
                    await self._report(self._book.known())
                else:
                    await self._report(hinted_keys(data))
        finally:
            os.close(hints)

    async def _rescan(self) -> None:
        """Hints can be lost, records cannot: look at all of them now and then, and order again what has none."""
        while True:
            await trio.sleep(RESCAN_PERIOD_S)
            unfinished = [key for key in self._book.known() if not self._is_told_to_the_end(key)]
            await self._report(unfinished)
            await self._spawner.resend()

    async def _forget_records(self) -> None:
        """Remove records beside everything else: no order and no report has to wait for it."""
        while True:
            await self._forgotten_some.wait()
            self._forgotten_some = trio.Event()
            keys, self._forgotten = self._forgotten, set()
            await self._spawner.until_read()  # An order for one of them may still wait there.
            gone = await trio.to_thread.run_sync(lambda keys: [key for key in keys if self._book.forget(key)], keys)
            self._staging.forget(gone)
            for key in gone:
                self._outputs.forget(key)
                self._lease.release(str(key))
                self._reported.pop(key, None)
            for key in keys.difference(gone):
                log.warning("not forgotten, because it has not ended: %s", key)

    def _has_begun(self, key: AttemptKey) -> bool:
        """Whether its processes were started, or it has ended: it needs no order any more."""
        status = self._book.status(key)
        return status is not None and (status.start_time_s is not None or status.end is not None)

    def _is_told_to_the_end(self, key: AttemptKey) -> bool:
        told = self._reported.get(key)
        return told is not None and told.end is not None

    def _has_work(self) -> bool:
        """Whether anything runs, or may yet."""
        statuses = (self._book.status(key) for key in self._book.known())
        return bool(self._spawner.pending) or any(status is not None and status.end is None for status in statuses)

    async def _end_everything(self) -> None:
        await self._tell_to_end(0.0)
        await self._stop_spawner()

    async def _tell_to_end(self, grace_s: float) -> None:
        for key in self._book.known():
            status = self._book.status(key)
            if status is not None and status.end is None:
                await self._spawner.cancel(str(key), grace_s)

    async def _stop_spawner(self) -> None:
        await self._spawner.stop()
        await self._spawner.until_gone()
        remove_bases(self._machine.cgroups)


def is_outdated(message: messages.Order, newest_epoch: int) -> bool:
    """Whether an older daemon gave the order."""
    return message.epoch < newest_epoch


async def _send_heartbeats(frames: FrameStream, period_s: float) -> None:
    while True:
        await trio.sleep(period_s)
        try:
            await frames.send(messages.Heartbeat(boot_time_s()))
        except WireError:
            return  # The receiving side notices as well.


def _lock(path: str) -> int:
    """Held for life: two agents on one state directory would report each other's jobs."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FileExistsError(f"another agent is running: it holds {path}") from None
    return descriptor

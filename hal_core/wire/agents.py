"""The daemon's end of a connection to an agent: for every executor whose nodes run HAL's agent.

It knows the protocol and nothing else: who may connect, which node is which and what silence means for a job is the
executor's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import trio

from hal_core.errors import Refused, WireError
from hal_core.models.dataset import Dataset
from hal_core.models.effect import CancelOrder, KeepOrder, LaunchOrder, SuspendOrder
from hal_core.models.message import PartStatus
from hal_core.models.node import Node
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream, LinkLost, fits

HELLO_TIMEOUT_S = 10.0
PART_COUNT_MAX = 1_000_000
DATASET_COUNT_MAX = 100_000
EARLY_COUNT_MAX = 1_000
"""Messages that may come between the parts of the introduction."""
SILENCE_HEARTBEATS = 3
"""A peer that misses so many heartbeats is gone."""
RATE_PER_S, BURST_COUNT = 2_000.0, 10_000.0
"""What one agent may say: beyond it, it is read more slowly, so that it is the one who waits."""
PARTS_PER_UNIT = 16
"""Of a report, so many parts count as one message."""
TIME_S_MAX, COUNT_MAX, DETAIL_CHARACTERS_MAX, CPUS_MAX = 1e11, 2**53, 4096, 1e6
"""What can be true."""


Said = messages.Delivery | messages.Inventory | messages.Made | messages.Use | messages.Leaving


@attrs.frozen
class Introduction:
    """What an agent said of itself. `parts` is everything that its node still has records of."""

    node: Node
    boot_id: str
    missing: tuple[str, ...]
    parts: tuple[PartStatus, ...]
    lending_address: str = ""
    """host:port where other nodes can read what its store has; empty: nowhere."""
    lending_secret: bytes = attrs.field(default=b"", repr=False)


class AgentLink:
    """One connection. Use: `introduce`, then `welcome` or `refuse`, then `receive` in a loop while others send."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        heartbeat_s: float = 5.0,
        lease_s: float = 0.0,
        renew: Callable[[bytes], bytes] | None = None,
        *,
        use_s: float = 0.0,
    ) -> None:
        self._frames = FrameStream(stream, messages.FROM_AGENT)
        self._heartbeat_s = heartbeat_s
        self._lease_s = lease_s
        self._renew = renew
        self._use_s = use_s
        self._early: list[object] = []
        self._said: list[Said] = []
        self.paid_until_s: float | None = None
        """On trio's clock: until when the node's machine is paid for, if it is a rented one. Told with each answer."""
        self._has_begun = trio.Event()
        """The agent was welcomed, or never will be."""
        self._allowance = BURST_COUNT
        self._allowance_time_s = trio.current_time()

    async def introduce(self) -> Introduction | messages.TerminalOffer:
        """Wait for the agent's Hello and all its parts, or for what it says instead of one.

        Raises WireError if it does not introduce itself properly.
        """
        parts: list[PartStatus] = []
        hello: messages.Hello | None = None
        with trio.move_on_after(HELLO_TIMEOUT_S) as timeout:
            while hello is None or len(parts) < hello.part_count:
                received = await self._frames.receive()
                if not received:
                    raise LinkLost("the agent went away before it had introduced itself")
                for message in received:
                    if hello is None and isinstance(message, messages.TerminalOffer):
                        return message
                    if hello is None:
                        hello = self._checked(message)
                    elif isinstance(message, messages.Report) and len(parts) < hello.part_count:
                        parts += map(checked_part, message.parts)
                        timeout.deadline = trio.current_time() + HELLO_TIMEOUT_S
                    else:
                        self._early.append(message)
                        if len(self._early) > EARLY_COUNT_MAX:
                            raise WireError("much talk and no introduction")
        if hello is None or len(parts) < hello.part_count:
            raise WireError(f"the agent did not introduce itself within {HELLO_TIMEOUT_S:g} s")
        node, port = hello.node, hello.lending_port
        host = node.address or node.name
        address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if port else ""
        return Introduction(node, hello.boot_id, hello.missing, tuple(parts), address, hello.lending_secret)

    @property
    def frames(self) -> FrameStream:
        """For a connection that says something else than orders and reports."""
        return self._frames

    async def welcome(self, epoch: int) -> None:
        """The node has its lease from now on: only when it is on disk that it is here. Orders that waited follow."""
        version, lease_s, paid_s = messages.PROTOCOL_VERSION, self._lease_s, self._paid_s()
        await self._frames.send(messages.Welcome(version, epoch, self._heartbeat_s, lease_s, self._use_s, paid_s))
        self._has_begun.set()

    def end(self) -> None:
        """Orders that wait for a welcome find the agent gone."""
        self._has_begun.set()

    async def refuse(self, text: str) -> None:
        await self._frames.send(messages.Refusal(text))

    def take_said(self) -> list[Said]:
        """What the node had to say besides reports until the last `receive`, in order."""
        taken, self._said = self._said, []
        return taken

    async def receive(self) -> list[PartStatus]:
        """Reports since the last call, perhaps none but never for long; raises WireError when the agent is gone."""
        received: list[object] = self._early
        self._early = []
        if not received:
            with trio.move_on_after(self._heartbeat_s * SILENCE_HEARTBEATS) as timeout:
                received = await self._frames.receive()
            if timeout.cancelled_caught:
                raise LinkLost(f"no heartbeat for {self._heartbeat_s * SILENCE_HEARTBEATS:g} s")
            if not received:
                raise LinkLost("the agent closed the connection")
        parts: list[PartStatus] = []
        heartbeat: messages.Heartbeat | None = None
        for message in received:
            match message:
                case messages.Report():
                    parts += map(checked_part, message.parts)
                case messages.Heartbeat():
                    heartbeat = message  # The latest is answered for all.
                case messages.Delivery():
                    self._said.append(checked_delivery(message))
                case messages.Made():
                    self._said.append(attrs.evolve(message, fault=message.fault[:DETAIL_CHARACTERS_MAX]))
                case messages.Inventory():
                    self._said.append(checked_inventory(message))
                case messages.Use():
                    self._said.append(checked_use(message))
                case messages.Leaving():
                    self._said.append(checked_leaving(message))
                case messages.Renew(request=request) if self._renew is not None:
                    await self._frames.send(messages.Certificate(self._renew(request)))
                case _:
                    raise WireError(f"unexpected {type(message).__name__}")
        if heartbeat is not None:
            await self._frames.send(attrs.evolve(heartbeat, paid_s=self._paid_s()))
        await self._spend(len(received) + len(parts) / PARTS_PER_UNIT)
        return parts

    def _paid_s(self) -> float | None:
        return None if self.paid_until_s is None else self.paid_until_s - trio.current_time()

    async def _spend(self, count: float) -> None:
        """Wait if more was said than may be."""
        now_s = trio.current_time()
        self._allowance = min(BURST_COUNT, self._allowance + (now_s - self._allowance_time_s) * RATE_PER_S) - count
        self._allowance_time_s = now_s
        if self._allowance < 0:
            await trio.sleep(-self._allowance / RATE_PER_S)

    async def launch(self, orders: Sequence[LaunchOrder]) -> None:
        """All orders of one epoch. Raises WireError if the agent is gone."""
        await self._order(*messages.launch_frames(orders))

    async def cancel(self, epoch: int, orders: Sequence[CancelOrder]) -> None:
        await self._order(*messages.cancel_frames(epoch, orders))

    async def suspend(self, epoch: int, orders: Sequence[SuspendOrder]) -> None:
        await self._order(*messages.suspend_frames(epoch, orders))

    async def forget(self, epoch: int, keys: Sequence[AttemptKey]) -> None:
        await self._order(*messages.forget_frames(epoch, keys))

    async def bring(
        self, epoch: int, key: AttemptKey, datasets: Sequence[Dataset], loans: Sequence[messages.Loan] = ()
    ) -> None:
        """Raises WireError if the agent is gone, Refused if the datasets have too many files for one order."""
        order = messages.Bring(epoch, key, tuple(datasets), tuple(loans))
        if not fits(order):
            raise Refused("the inputs have too many files; make fewer and larger ones of them, or fewer inputs")
        await self._order(order)

    async def keep(self, epoch: int, order: KeepOrder) -> None:
        await self._order(messages.Keep(epoch, order))

    async def _order(self, *orders: object) -> None:
        """An agent takes none before it is welcomed."""
        await self._has_begun.wait()
        await self._frames.send(*orders)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._frames.stream)

    @staticmethod
    def _checked(message: object) -> messages.Hello:
        if not isinstance(message, messages.Hello):
            raise WireError(f"a {type(message).__name__} before Hello")
        if message.protocol != messages.PROTOCOL_VERSION:
            raise WireError(f"protocol version {message.protocol}; this daemon speaks {messages.PROTOCOL_VERSION}")
        if not 0 <= message.part_count <= PART_COUNT_MAX:
            raise WireError(f"a Hello that announces {message.part_count} parts")
        if not 0 <= message.lending_port < 65_536:
            raise WireError(f"a Hello with port {message.lending_port}")
        return message


def checked_delivery(said: messages.Delivery) -> messages.Delivery:
    """As far as it can be true."""
    brought = said.brought
    counts = brought.bytes_saved, brought.found_count, brought.missed_count, brought.evicted_count
    is_possible = 0 <= brought.bytes_lent <= brought.bytes_moved and 0.0 <= brought.read_s <= TIME_S_MAX
    if not is_possible or not all(0 <= each <= COUNT_MAX for each in (*counts, brought.bytes_moved)):
        raise WireError(f"impossible amounts were brought for {said.key}")
    return attrs.evolve(said, fault=said.fault[:DETAIL_CHARACTERS_MAX])


def checked_leaving(said: messages.Leaving) -> messages.Leaving:
    left_s = said.left_s
    if left_s is not None and not 0.0 <= left_s <= TIME_S_MAX:
        raise WireError(f"a node that leaves in {left_s} s")
    return attrs.evolve(said, reason=said.reason[:DETAIL_CHARACTERS_MAX])


def checked_inventory(said: messages.Inventory) -> messages.Inventory:
    if len(said.datasets) > DATASET_COUNT_MAX:
        raise WireError(f"an inventory of {len(said.datasets)} datasets")
    return said


def checked_use(said: messages.Use) -> messages.Use:
    """As far as it can be true."""
    if not 0.0 < said.period_s <= TIME_S_MAX:
        raise WireError(f"usage over {said.period_s!r} seconds")
    for part in said.parts:
        if not (0.0 <= part.cpus <= CPUS_MAX and 0 <= part.memory_bytes <= COUNT_MAX):
            raise WireError(f"impossible usage of {part.key}")
    return said


def checked_part(part: PartStatus) -> PartStatus:
    """What a node says of its attempt, as far as it can be true. Impossible times are an offence, usage is left out."""
    for time_s in (part.start_time_s, part.end_time_s):
        if time_s is not None and not 0.0 <= time_s <= TIME_S_MAX:
            raise WireError(f"a report about {part.key} with the time {time_s!r}")
    if min(part.key) < 0 or max(part.key) > COUNT_MAX:
        raise WireError(f"a report about the impossible attempt {part.key}")
    end = part.end
    if end is None:
        return part
    sane = attrs.evolve(
        end,
        by="",  # Who cancelled a job is known here, not there.
        detail=end.detail[:DETAIL_CHARACTERS_MAX],
        cpu_s=_amount(end.cpu_s, TIME_S_MAX),
        gpus_busy=_amount(end.gpus_busy, CPUS_MAX),
        energy_j=_amount(end.energy_j, TIME_S_MAX),
        cpu_energy_j=_amount(end.cpu_energy_j, TIME_S_MAX),
        peak_memory_bytes=_count(end.peak_memory_bytes),
        exit_code=_count(end.exit_code),
        signal=_count(end.signal),
    )
    return part if sane == end else attrs.evolve(part, end=sane)


def _amount(value: float | None, most: float) -> float | None:
    return value if value is not None and 0.0 <= value <= most else None


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= COUNT_MAX else None

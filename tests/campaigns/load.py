"""Load: what a crowd does to the daemon, and whether others notice. One real daemon, clients on the same machine.

    python -m tests.campaigns.load [--only submissions,bulk,pollers,slow,oversize] [--clients 64] [--seconds 10]

Each part says its figures and breaks its promise aloud: submissions (64 clients, one job each time), bulk (10,000 jobs
at once while somebody asks for the status), pollers (200 over a long queue: what `hal queue`, `hal queue --user ME` and
`hal show JOB` ask, some with a second page; ten users have jobs of their own; four clients submit meanwhile), slow
(5,000 connections that say a byte now and then, while an administrator asks), oversize (bodies without end), flood (an
agent that talks without end, and frames of 4 GiB).
"""

from __future__ import annotations

import os
import pwd
import random
import re
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from hal_core.models.node import Node, NodeName
from hal_core.wire import messages
from hal_core.wire.frames import encode
from tests.benchmarks.common import milliseconds, percentile
from tests.campaigns.common import Campaign, Figures, progress
from tests.campaigns.load_tools import connect_as, get_alone, memory_bytes
from tests.support.hal import HalCluster
from tests.support.http_client import Client, Response, connect
from tests.support.meter import Meter
from tests.support.processes import command_line

PARTS = ("submissions", "bulk", "pollers", "slow", "oversize", "flood")
PAGE = "/v1/jobs?limit=100"
HABITS = ("queue", "queue", "queue", "queue", "pages", "own", "own", "own", "job", "job")
"""What pollers do, by their number: half of them read the queue, some of them a page more."""
OWNERS = tuple(user for user in pwd.getpwall() if 0 < user.pw_uid < 1000)[:10]
"""Users of the machine with some jobs each in the long queue."""
OTHERS = range(60_001, 60_101)
"""User ids without a name: they may connect, and are turned away later."""


def main() -> None:
    campaign = Campaign("load", __doc__)
    campaign.parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    campaign.parser.add_argument("--clients", type=int, default=64)
    campaign.parser.add_argument("--seconds", type=float, default=10.0, help="of submissions, and of polls")
    campaign.parser.add_argument("--queued", type=int, default=100_000)
    campaign.parser.add_argument("--pollers", type=int, default=200)
    campaign.parser.add_argument("--slow", type=int, default=5_000)
    campaign.main(measure)


def measure(campaign: Campaign) -> Figures:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    figures: Figures = {}
    try:
        for part in campaign.given.only.split(","):
            progress(part)
            with HalCluster(node_count=2 if part == "flood" else 1, cpus=1) as hal:
                hal.directory.chmod(0o755)  # other users must get to the socket
                hal.socket.chmod(0o666)
                hal.submit("/bin/sleep", "100000", options=[("exclusive", "")])  # what comes after it waits
                load = Load(campaign, hal)
                found = trio.run(getattr(load, part))
                figures |= {f"{part}_{name}": value for name, value in found.items()}
                figures |= {f"{part}_stall_max_ms": round(load.stall_s() * 1000, 1)}
                figures |= {f"{part}_stall_cpu_max_ms": round(load.stall_s("cpu_max") * 1000, 1)}
                figures |= {f"{part}_stalls_over_100_ms": load.stall_count(0.1)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return figures


class Load:
    """The parts. Each notes what was broken and goes on."""

    def __init__(self, campaign: Campaign, hal: HalCluster) -> None:
        self._campaign = campaign
        self._given = campaign.given
        self._hal = hal
        self._serial = 0
        self._random = random.Random(campaign.seed)

    def insist(self, is_so: bool, problem: str) -> None:
        if not is_so:
            self._campaign.problems.append(problem)

    # -- the parts -----------------------------------------------------------------------------------------------------

    async def submissions(self) -> Figures:
        """Single submissions, as many as the daemon takes."""
        took_s: list[float] = []
        begin_s = time.perf_counter()
        await self._repeat(self._given.clients, self._given.seconds, self._submit, took_s)
        rate = len(took_s) / (time.perf_counter() - begin_s)
        p99_s = percentile(took_s, 99)
        self.insist(rate >= 300, f"{rate:.0f} submissions/s instead of 300")
        self.insist(p99_s <= 0.5, f"submissions took {p99_s:.3f} s at p99 instead of 0.5")
        return {"per_s": round(rate, 1), **_spread(took_s), "clients": self._given.clients}

    async def bulk(self) -> Figures:
        """Ten thousand jobs at once; meanwhile somebody asks."""
        asked_s: list[float] = []
        took_s = 0.0

        async def submit_bulk() -> None:
            nonlocal took_s
            async with await self._client() as client:
                for _ in range(3):
                    body = {"common": self._body(), "jobs": [{"command": ["true", str(n)]} for n in range(10_000)]}
                    begin_s = time.perf_counter()
                    answer = await client.request("POST", "/v1/jobs/bulk", body)
                    took_s = max(took_s, time.perf_counter() - begin_s)
                    self.insist(answer.status == 201, f"a bulk was answered {answer.status}")
            asking.cancel()

        with trio.CancelScope() as asking:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(submit_bulk)
                async with await self._client() as client:
                    while True:
                        asked_s.append(await _timed(partial(self._get, client, "/v1/status")))
                        await trio.sleep(0.01)
        self.insist(percentile(asked_s, 99) <= 0.5, f"status took {percentile(asked_s, 99):.3f} s at p99")
        busy_s = self.stall_s("cpu_max")
        self.insist(busy_s <= 0.1, f"a bulk kept the loop busy for {busy_s:.3f} s at once")
        return {"took_max_s": round(took_s, 2), **{f"status_{key}": value for key, value in _spread(asked_s).items()}}

    async def pollers(self) -> Figures:
        """Many look at a long queue once a second, each in its own way; some submit."""
        await trio.to_thread.run_sync(self._fill_queue)
        for owner in OWNERS:
            async with await connect_as(self._hal.socket, owner.pw_uid) as client:
                body = {"common": self._body(), "jobs": [{"command": ["true", str(n)]} for n in range(30)]}
                answer = await client.request("POST", "/v1/jobs/bulk", body)
                self.insist(answer.status == 201, f"jobs of {owner.pw_name} were answered {answer.status}")
        polled_s: dict[str, list[float]] = {habit: [] for habit in HABITS}
        submitted_s: list[float] = []
        with Meter(self._hal.tree.pid) as meter:
            async with trio.open_nursery() as nursery:
                for number in range(self._given.pollers):
                    habit = HABITS[number % len(HABITS)]
                    poll = partial(self._poll, habit, OWNERS[number % len(OWNERS)].pw_name)
                    nursery.start_soon(self._repeat, 1, self._given.seconds, poll, polled_s[habit], 1.0)
                nursery.start_soon(self._repeat, 4, self._given.seconds, self._submit, submitted_s, 0.1)
        all_s = [took_s for each in polled_s.values() for took_s in each]
        self.insist(percentile(all_s, 99) <= 0.2, f"a poll took {percentile(all_s, 99):.3f} s at p99")
        self.insist(percentile(submitted_s, 99) <= 1.0, f"submissions took {percentile(submitted_s, 99):.3f} s at p99")
        return {
            "queued": self._given.queued,
            "per_s": round(len(all_s) / self._given.seconds, 1),
            "hal_cores": round(meter.cpu_s / meter.elapsed_s, 2),
            "others_cores": round(meter.others_cores, 2),
            **_spread(all_s),
            **{f"{habit}_p99_ms": milliseconds(percentile(each, 99)) for habit, each in polled_s.items()},
            **{f"submit_{key}": value for key, value in _spread(submitted_s).items()},
        }

    async def slow(self) -> Figures:
        """Connections of a hundred users that say a byte a second."""
        before = memory_bytes(self._hal.service)
        asked_s: list[float] = []
        accepted: list[Client] = []
        async with trio.open_nursery() as nursery:
            for number in range(self._given.slow):
                nursery.start_soon(self._dawdle, number, accepted)
            for _ in range(100):
                asked_s.append(await _timed(self._ask_anew))
                await trio.sleep(0.1)
            most = memory_bytes(self._hal.service) - before
            held_count = len(os.listdir(f"/proc/{self._hal.service}/fd"))
            begin_s = time.perf_counter()
            nursery.cancel_scope.cancel()
        freed_s = time.perf_counter() - begin_s + await _timed(self._ask_anew)
        self.insist(max(asked_s) <= 1.0, f"an administrator waited {max(asked_s):.3f} s")
        self.insist(most <= 150 << 20, f"slow clients cost {most >> 20} MiB")
        return {
            "connections": self._given.slow,
            "held": held_count,
            "more_mib": most >> 20,
            "freed_s": round(freed_s, 2),
            **_spread(asked_s),
        }

    async def oversize(self) -> Figures:
        """Bodies and headers without end are refused before they are read."""
        before = memory_bytes(self._hal.service)
        large = 1 << 30
        requests = {
            "length": (b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % large, b"413"),
            "chunked": ((b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                        b"transfer-encoding: chunked\r\n\r\n"), b"413"),
            "header": (b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx: ", b"431"),
            "gzip": ((b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                     b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd"), b"415"),
        }  # fmt: skip
        figures: Figures = {}
        for name, (head, status) in requests.items():
            chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n" if name == "chunked" else b"a" * 65_536
            async with await self._client() as client:
                figures[f"{name}_sent_kib"] = await self._pour(client, head, chunk) >> 10
                with trio.move_on_after(5):
                    answer = await client.rest()
                    self.insist(answer[9:12] in (status, b""), f"{name}: {answer[:40]!r}")
        most = memory_bytes(self._hal.service) - before
        self.insist(most <= 32 << 20, f"oversize requests cost {most >> 20} MiB")
        return figures | {"more_mib": most >> 20}

    async def flood(self) -> Figures:
        """A node's agent that says as much as it can, and strangers whose first frame is of 4 GiB."""
        before = memory_bytes(self._hal.service)
        await self._announce_too_much()
        agents = [member.pid for member in self._hal.members("hal_core.agent") if "n2" in command_line(member.pid)]
        for pid in agents:
            os.kill(pid, signal.SIGKILL)
        while b'"status":"up"' in get_alone(self._hal.socket, "/v1/nodes/n2"):  # noqa: ASYNC110 - as from outside
            await trio.sleep(0.05)
        asked_s: list[float] = []
        said = 0
        async with await trio.open_unix_socket(str(self._hal.state / "agents.sock")) as stream:
            hello = messages.Hello(messages.PROTOCOL_VERSION, await self._node("n2"), "boot", 0)
            await stream.send_all(encode(hello))
            many = encode(messages.Heartbeat(1.0)) * 1_000
            end_s = time.perf_counter() + self._given.seconds

            async def talk() -> None:
                nonlocal said
                while time.perf_counter() < end_s:
                    await stream.send_all(many)
                    said += 1_000

            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                nursery.start_soon(_drain, stream)
                while time.perf_counter() < end_s:
                    asked_s.append(await _timed(self._ask_anew))
                    await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
        most = memory_bytes(self._hal.service) - before
        status = get_alone(self._hal.socket, "/v1/nodes/n1")
        self.insist(b'"status":"up"' in status, f"the other node suffered: {status[-300:]!r}")
        self.insist(max(asked_s) <= 1.0, f"the status took {max(asked_s):.3f} s")
        self.insist(self.stall_s() <= 1.0, f"the loop was late by {self.stall_s():.3f} s")
        self.insist(most <= 32 << 20, f"a flood cost {most >> 20} MiB")
        return {"taken_per_s": round(said / self._given.seconds), "more_mib": most >> 20, **_spread(asked_s)}

    async def _announce_too_much(self) -> None:
        """A hundred frames that say they are of 4 GiB: each is refused by its length."""
        for _ in range(100):
            async with await trio.open_unix_socket(str(self._hal.state / "agents.sock")) as stream:
                await stream.send_all(b"\xff\xff\xff\xff" + b"x" * 65_536)
                with trio.fail_after(5), suppress(trio.BrokenResourceError):
                    while await stream.receive_some(65_536):
                        pass

    async def _node(self, name: str) -> Node:
        async with await self._client() as client:
            shown = (await self._get(client, f"/v1/nodes/{name}")).json()
        return Node(NodeName(name), shown["cpu_count"], shown["memory_bytes"])

    # -- what they are made of -----------------------------------------------------------------------------------------

    async def _repeat(
        self,
        client_count: int,
        seconds: float,
        act: Callable[[Client], Awaitable[object]],
        took_s: list[float],
        interval_s: float = 0.0,
    ) -> None:
        """Clients that do the same again and again, each on a connection of its own."""
        end_s = time.perf_counter() + seconds

        async def one() -> None:
            await trio.sleep(self._random.random() * interval_s)
            async with await self._client() as client:
                while time.perf_counter() < end_s:
                    begin_s = time.perf_counter()
                    await act(client)
                    took_s.append(time.perf_counter() - begin_s)
                    await trio.sleep(max(0.0, interval_s - (time.perf_counter() - begin_s)))

        async with trio.open_nursery() as nursery:
            for _ in range(client_count):
                nursery.start_soon(one)

    async def _submit(self, client: Client) -> None:
        answer = await client.request("POST", "/v1/jobs", self._body() | {"command": ["/bin/true"]})
        self.insist(answer.status == 201, f"a submission was answered {answer.status}: {answer.body[:200]!r}")

    async def _poll(self, habit: str, user: str, client: Client) -> None:
        match habit:
            case "job":
                await self._get(client, f"/v1/jobs/{self._random.randrange(2, self._given.queued)}")
            case "own":
                await self._get(client, f"{PAGE}&user={user}")
            case "pages":
                page = await self._get(client, PAGE)
                await self._get(client, f"{PAGE}&cursor={page.json()['next_cursor']}")
            case _:
                await self._get(client, PAGE)

    async def _get(self, client: Client, target: str) -> Response:
        answer = await client.request("GET", target)
        self.insist(answer.status == 200, f"{target} was answered {answer.status}")
        return answer

    async def _ask_anew(self) -> None:
        """As the command line does: a connection of its own, which waits for its place in the queue of the socket."""
        answer = get_alone(self._hal.socket, "/v1/status")  # no thread: `connect_as` changes the user of all of them
        await trio.lowlevel.checkpoint()
        self.insist(answer.startswith(b"HTTP/1.1 200"), f"an administrator was answered {answer[:60]!r}")

    async def _dawdle(self, number: int, accepted: list[Client]) -> None:
        """One byte of a header each second, as another user; turned away or cut off, it comes again."""
        request = b"GET /v1/status HTTP/1.1\r\nhost: hal\r\n" + b"x: y\r\n" * 1000
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                async with await connect_as(self._hal.socket, OTHERS[number % len(OTHERS)]) as client:
                    for at in range(len(request)):
                        await client.send(request[at : at + 1])
                        await trio.sleep(1)
            await trio.sleep(1 + self._random.random())

    async def _pour(self, client: Client, head: bytes, piece: bytes) -> int:
        """Send until the daemon has had enough; how many bytes it took, or a hundred MiB."""
        sent = 0
        with suppress(trio.BrokenResourceError), trio.move_on_after(10):
            await client.send(head)
            while sent < 100 << 20:
                await client.send(piece)
                sent += len(piece)
        return sent

    async def _client(self) -> Client:
        return await connect(self._hal.socket)

    def _body(self) -> dict[str, object]:
        self._serial += 1
        return self._hal.body() | {"client_id": f"load-{self._serial}"}

    def _fill_queue(self) -> None:
        self._hal.submit_bulk([("true", str(number)) for number in range(self._given.queued)])

    def stall_s(self, which: str = "max") -> float:
        found = re.search(rf"^hal_loop_late_seconds_{which} (\S+)".encode(), self._metrics(), re.MULTILINE)
        assert found is not None, "the daemon has no stall meter"
        return float(found[1])

    def stall_count(self, over_s: float) -> int:
        """How often the loop was later than that."""
        text = self._metrics().decode()
        counts = dict(re.findall(r'^hal_loop_late_seconds_bucket\{le="(\S+)"\} (\d+)', text, re.MULTILINE))
        return int(counts["+Inf"]) - int(counts[str(over_s)])

    def _metrics(self) -> bytes:
        return get_alone(self._hal.socket, "/metrics")


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some(65_536):
        pass


async def _timed(act: Callable[[], Awaitable[object]]) -> float:
    begin_s = time.perf_counter()
    await act()
    return time.perf_counter() - begin_s


def _spread(took_s: list[float]) -> Figures:
    return {
        "p50_ms": milliseconds(percentile(took_s, 50)),
        "p99_ms": milliseconds(percentile(took_s, 99)),
        "max_ms": milliseconds(max(took_s)),
        "count": len(took_s),
    }


if __name__ == "__main__":
    main()

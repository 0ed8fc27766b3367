"""A daemon with 2,000 nodes is killed: how long until all agents are back, and does any node die of it that lives?

`.venv/bin/python -m tests.campaigns.reconnect [--agents 2000] [--kills 2] [--json]`. The daemon is real; the agents are
tasks of this process that speak the real protocol over TLS, each with a key of its own, and come back with the real
agent's back-off. Exit code 1 if coming back takes longer than 30 s, or if a node is suspected while its agent is there.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import ssl
import tempfile
import time
from pathlib import Path

import attrs
import trio

from hal_core.agent.agent import BACKOFF_S_MAX, BACKOFF_S_MIN
from hal_core.agent.lease import boot_time_s
from hal_core.errors import WireError
from hal_core.models.node import Node, NodeName
from hal_core.wire import certificates, messages, tls
from hal_core.wire.authority import Authority
from hal_core.wire.frames import FrameStream
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.hal import hal_command
from tests.support.hal_connection import HalConnection, HalRefused
from tests.support.processes import ProcessTree

BACK_S_MAX = 30.0
CALM_S = 20.0
"""Watched after everybody is back: longer than the silence after which a node is suspected."""
GIVE_UP_S = 300.0
CPUS, MEMORY_BYTES = 8, 16 << 30


@attrs.define
class Crowd:
    """The agents. `connected` are those that were welcomed and are not gone."""

    server: str
    contexts: dict[str, ssl.SSLContext]
    chance: random.Random
    connected: set[str] = attrs.Factory(set)
    dials: int = 0

    async def agent(self, name: str) -> None:
        node = Node(NodeName(name), CPUS, MEMORY_BYTES)
        pause_s = BACKOFF_S_MIN
        while True:
            try:
                self.dials += 1
                stream = await tls.dial(self.server, self.contexts[name])
                async with FrameStream(stream, messages.FROM_DAEMON) as frames:
                    await self._converse(frames, node)
                    pause_s = BACKOFF_S_MIN
            except (OSError, WireError, trio.TooSlowError):
                pass
            finally:
                self.connected.discard(name)
            await trio.sleep(pause_s * self.chance.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, BACKOFF_S_MAX)

    async def _converse(self, frames: FrameStream, node: Node) -> None:
        await frames.send(messages.Hello(messages.PROTOCOL_VERSION, node, "boot-1", 0))
        with trio.fail_after(30):
            received = await frames.receive()
        if not received or not isinstance(received[0], messages.Welcome):
            raise WireError(f"no welcome, but {received}")
        self.connected.add(node.name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_beat, frames, received[0].heartbeat_s)
            with trio.move_on_after(received[0].heartbeat_s * 3) as silence:
                while await frames.receive():
                    silence.deadline = trio.current_time() + received[0].heartbeat_s * 3
            nursery.cancel_scope.cancel()


async def _beat(frames: FrameStream, period_s: float) -> None:
    while True:
        await trio.sleep(period_s)
        try:
            await frames.send(messages.Heartbeat(boot_time_s()))
        except WireError:
            return


@attrs.define
class Site:
    """The daemon as a process, and what it says of its nodes."""

    directory: Path
    tree: ProcessTree
    agent_count: int
    port: int
    pid: int = 0

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        words = [*hal_command(), "daemon", str(self.directory / "cluster.yaml")]
        self.pid = self.tree.start(words, self.directory / "daemon.log", environment)

    def kill(self) -> None:
        self.tree.signal(self.pid, signal.SIGKILL)
        assert self.tree.wait_for_exits([self.pid], 60)

    def write_configuration(self) -> None:
        (self.directory / "cluster.yaml").write_text(f"""cluster: storm
nodes: [{{names: "n[1-{self.agent_count}]", cpus: {CPUS}, memory: 16G}}]
partitions: [{{name: main}}]
executors: {{metal: {{listen: "127.0.0.1:{self.port}"}}}}
listen: {{socket: {self.directory}/hal.sock}}
state_directory: {self.directory}/state
""")

    def up_count(self) -> int:
        """-1 while it does not answer."""
        try:
            with HalConnection(self.directory / "hal.sock", 30) as connection:
                return int(connection.get("/v1/status")["nodes"].get("up", 0))
        except (OSError, HalRefused):
            return -1

    async def up(self) -> int:
        return await trio.to_thread.run_sync(self.up_count)


def make_contexts(authority: Authority, names: list[str], directory: Path) -> dict[str, ssl.SSLContext]:
    """A key and a certificate for each agent."""
    now_s = time.time()
    contexts = {}
    pem = directory / "agent.pem"
    for name in names:
        key = certificates.make_key()
        pem.write_bytes(authority.issue(name, certificates.make_request(key, name), now_s) + key)
        context = tls.enrolment_context((authority.directory / "authority.pem").read_text())
        context.load_cert_chain(str(pem))
        contexts[name] = context
    pem.unlink()
    return contexts


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def storm(campaign: Campaign, site: Site, crowd: Crowd) -> Figures:
    """All come for the first time; then the daemon is killed as often as asked."""
    back_s: list[float] = []
    cpu_s: list[float] = []
    fewest: list[int] = []
    async with trio.open_nursery() as nursery:
        for name in crowd.contexts:
            nursery.start_soon(crowd.agent, name)
        for round_number in range(campaign.given.kills + 1):
            site.start()
            while await site.up() < 0:  # noqa: ASYNC110 - what is waited for is another process
                await trio.sleep(0.05)
            began_s = trio.current_time()
            with trio.move_on_after(GIVE_UP_S):
                while await site.up() < site.agent_count:  # noqa: ASYNC110 - the same
                    await trio.sleep(0.1)
            back_s.append(round(trio.current_time() - began_s, 1))
            cpu_s.append(round(sum(member.cpu_s for member in site.tree.members() if member.pid == site.pid), 1))
            what = f"kill {round_number}" if round_number else "start"
            progress(f"{what}: all up after {back_s[-1]} s, of which the daemon computed {cpu_s[-1]} s")
            fewest.append(await _fewest_up(site))
            if round_number and back_s[-1] > BACK_S_MAX:
                campaign.problems.append(f"round {round_number}: {back_s[-1]} s until all were back")
            if fewest[-1] < site.agent_count:
                campaign.problems.append(f"round {round_number}: {site.agent_count - fewest[-1]} nodes died falsely")
            if round_number < campaign.given.kills:
                site.kill()
        nursery.cancel_scope.cancel()
    return {
        "back_s": back_s,
        "daemon_cpu_s": cpu_s,
        "load": os.getloadavg()[0],
        "fewest_up_afterwards": fewest,
        "dials": crowd.dials,
    }


async def _fewest_up(site: Site) -> int:
    fewest = site.agent_count
    with trio.move_on_after(CALM_S):
        while True:
            fewest = min(fewest, await site.up())
            await trio.sleep(0.5)
    return fewest


def measure(campaign: Campaign) -> Figures:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, campaign.given.agents + 1000)), hard))
    names = [f"n{number}" for number in range(1, campaign.given.agents + 1)]
    with tempfile.TemporaryDirectory(prefix="hal-storm-") as base, ProcessTree() as tree:
        site = Site(Path(base), tree, len(names), free_port())
        site.write_configuration()
        (site.directory / "state").mkdir(mode=0o700)
        authority = Authority.create(site.directory / "state" / "ca", "storm", time.time())
        contexts = make_contexts(authority, names, site.directory)
        progress(f"{len(names)} agents have keys")
        crowd = Crowd(f"127.0.0.1:{site.port}", contexts, random.Random(campaign.seed))
        return {"agents": len(names), **trio.run(storm, campaign, site, crowd)}


if __name__ == "__main__":
    run = Campaign("reconnect", __doc__)
    run.parser.add_argument("--agents", type=int, default=2000)
    run.parser.add_argument("--kills", type=int, default=2, help="how often the daemon is killed")
    run.main(measure)

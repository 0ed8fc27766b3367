"""A large cluster behind the REST room on a port of this machine, without daemon, disk or agents: for its web page."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import attrs
import trio

from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit
from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import (
    AddDataset,
    CopiesReported,
    DrainNode,
    NodeLost,
    PartsChanged,
    PartStatus,
    Submission,
    Submit,
)
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.pool_event import InstanceJoined, InstancesRequested, InstancesStarted, StartedInstance
from hal_core.models.role import Role
from hal_core.models.topology import Level, Link, Topology
from hal_core.rest.app import body_bytes_max, build_app
from hal_core.rest.asgi import Limits
from hal_core.rest.listener import Server
from hal_core.rest.network import NetworkAddress, open_network
from hal_core.rest.session_book import SessionBook, SessionReport
from hal_core.rest.tokens import TokenMaker
from hal_engine_backfill.fcfs import Fcfs
from tests.support.rest_api import CONFIGURATION, context_of
from tests.support.rest_kernel import RestKernel

NOW_S = 1_795_000_000.0
LINK = Link(2e-6, 50e9)
ROOM_LINK = Link(6e-6, 12.5e9)
ACROSS = Link(4e-4, 1.25e9)
NODES_PER_RACK = 40
RACKS_PER_ROOM = 25
NAMES = ("train", "sweep", "mesh", "align", "render", "assimilate")
USERS = ("ada", "grace", "emmy", "kathleen", "barbara", "frances")


def large_kernel(node_count: int, job_count: int, seed: int = 1) -> RestKernel:
    """Most nodes are busy, a few are drained or down, and what does not fit waits."""
    kernel = RestKernel(cluster=_cluster(node_count), now_s=NOW_S)
    kernel.core.engine = Fcfs()
    random = Random(seed)
    for number in range(0, node_count, 197):
        kernel.tell(DrainNode(NodeName(f"n{number:05}"), "fan", "oper"))
    for number in range(60, node_count, 631):
        kernel.tell(NodeLost(NodeName(f"n{number:05}"), "power"))
    submissions = tuple(_submission(random, number) for number in range(job_count))
    kernel.tell(Submit(submissions))
    kernel.plan()
    by_node: dict[NodeName, list[PartStatus]] = {}
    for activity in list(kernel.state.allocations.values()):
        status = PartStatus(activity.key, start_time_s=NOW_S - random.random() * 7200)
        by_node.setdefault(activity.shares[0].node, []).append(status)
    for node, parts in by_node.items():
        kernel.tell(PartsChanged(node, tuple(parts)))
    return kernel


def furnish(kernel: RestKernel, sessions: SessionBook) -> None:
    """Datasets with copies, rented nodes and sessions: what else the page shows."""
    random, me = Random(2), Owner("ada", 2000, 100)
    for name, files in (("genome", 24), ("imagenet", 1280), ("era5", 366), ("proteins", 61)):
        found = tuple(
            DataFile(f"part{number:04}", random.randrange(1 << 32), f"{number:064x}") for number in range(files)
        )
        dataset = Dataset(name, "1", found, (f"https://data.example.org/{name}",), me.user, add_time_s=NOW_S - 86400)
        kernel.tell(AddDataset(dataset))
    names = list(kernel.state.catalogue.by_id)
    for number in range(0, len(kernel.state.table), 23):
        held = tuple(random.sample(names, random.randrange(1, len(names))))
        kernel.tell(CopiesReported(NodeName(f"n{number:05}"), held))
    rent(kernel)
    for number, user in enumerate(USERS[:4]):
        workers, rate = random.randrange(8, 512), random.random() * 90_000
        figures = SessionReport(
            worker_count=workers, waiting_count=random.randrange(4_000_000), running_count=workers * 64,
            done_count=random.randrange(9_000_000), failed_count=number % 3, dropped_count=0, rate_per_s=rate,
            job_ids=(number + 1,),
        )  # fmt: skip
        sessions.tell(user, f"{random.randrange(1 << 48):012x}", figures)


def rent(kernel: RestKernel) -> None:
    """Three instances of the pool, for two days."""
    begin_s, until_s = NOW_S - 2 * 86400, NOW_S + 4 * 3600
    started = tuple(StartedInstance(f"burst-1-{number}", f"n{number:05}", f"i-{number:08x}") for number in range(1, 4))
    kernel.fold(
        InstancesRequested(
            begin_s, "burst", "burst-1", "c7g.8xlarge", 3, 1.16, 90.0, until_s, "jobs wait", account="physics"
        ),
        InstancesStarted(begin_s + 5, "burst", "burst-1", started),
        *(InstanceJoined(begin_s + 95, "burst", each.instance) for each in started),
    )


def _cluster(node_count: int) -> Cluster:
    def location(number: int) -> tuple[str, str]:
        rack = number // NODES_PER_RACK
        return f"room{rack // RACKS_PER_ROOM + 1}", f"rack{rack + 1}"

    nodes = tuple(
        Node(NodeName(f"n{number:05}"), 32, 128 << 30, gpus=("a100",) * 4 if number % 5 == 0 else (),
             location=location(number))
        for number in range(node_count)
    )  # fmt: skip
    partition = Partition(PartitionName("main"), tuple(node.name for node in nodes), is_default=True)
    topology = Topology((Level("room", ROOM_LINK), Level("rack", LINK)), ACROSS)
    offers = (PoolOffer("c7g.8xlarge", 1.16, 90.0, 40), PoolOffer("g6.12xlarge", 4.60, 180.0, 8, market=Market.SPOT))
    budgets = (
        AccountBudget("physics", SpendLimit(200.0, 30 * 86400.0)),
        AccountBudget("chemistry", SpendLimit(120.0, 7 * 86400.0)),
    )
    budget = SpendLimit(500.0, 30 * 86400.0)
    pool = CloudPool("burst", offers, 48, cloud="aws", budget=budget, account_budgets=budgets)
    return Cluster("atlas", nodes, (partition,), topology=topology, pools=(pool,))


def _submission(random: Random, number: int) -> Submission:
    user = random.choice(USERS)
    spec = JobSpec(
        name=f"{random.choice(NAMES)}-{number % 97}",
        partition=PartitionName("main"),
        command=("/bin/true",),
        cpus_per_task=random.choice([2, 4, 8, 16, 32]),
        walltime_s=random.choice([1800.0, 7200.0, 36000.0]),
    )
    return Submission(f"large-{number}", Owner(user, 2000 + USERS.index(user), 100), spec)


@attrs.frozen
class LargePage:
    kernel: RestKernel
    link: str
    """With a token of an administrator."""
    sessions: SessionBook


@asynccontextmanager
async def serving_page(kernel: RestKernel, reports: str = "") -> AsyncIterator[LargePage]:
    """The page and the API of that kernel. `reports`: the folder of those of replays."""
    tokens = TokenMaker(bytes(32), kernel.state.cluster.name, 3600.0, os.urandom)
    me = Owner(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid())
    token = tokens.issue(me, 3600.0, kernel.now_s).token
    sections = {**CONFIGURATION, "listen": {"reports": reports}}
    context = context_of(
        kernel,
        tokens=tokens,
        user_of=lambda uid: pwd.getpwuid(uid).pw_name,
        role_of=lambda _: Role.ADMINISTRATOR,
        section=sections.__getitem__,
    )
    async with trio.open_nursery() as nursery:
        network = await open_network(NetworkAddress("127.0.0.1:0"))
        server = Server(build_app(context), Limits(body_bytes_max=body_bytes_max), lambda: NOW_S)
        await nursery.start(server.serve, [network.listener], network.identify)
        yield LargePage(kernel, f"http://127.0.0.1:{network.port}/#token={token}", context.sessions)
        nursery.cancel_scope.cancel()

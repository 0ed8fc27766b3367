"""Random faults between a cloud provider and its cloud (moto's server, real HTTP): lost answers, errors, throttling, no
capacity, calls that are given up, daemons that crash. Whoever asks does as a kernel would: an unanswered token is
repeated, what was refused is forgotten. In the end no token has more machines than it asked for, what was refused has
none, no two machines are one node, the provider lists all that is there, and what was released is gone.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from hal_core.errors import HalError, NoCapacity, UserError
from hal_core.fleet.machines import MachineName, digest_of
from hal_core.planes import CloudProvider
from hal_core.plugins import Plugins
from hal_core.testing import Fault
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.moto import IMAGE, FaultyWay, Moto, MotoEc2

COUNT_MAX = 20
BROKEN_OFF = "broken off"
CRASH = "crash"
REPEATS_MAX = 50


@attrs.define
class Order:
    """`is_open`: there was no answer yet."""

    count: int
    is_open: bool = True
    is_refused: bool = False


@attrs.define
class Trial:
    make: Callable[[], CloudProvider]
    way: FaultyWay
    chance: random.Random
    orders: dict[str, Order] = attrs.Factory(dict)
    released: set[str] = attrs.Factory(set)
    provider: CloudProvider = attrs.field(init=False)

    async def run(self, fault_count: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        self.provider = self.make()
        for number in range(fault_count):
            fault = self.chance.choice([*Fault, BROKEN_OFF, CRASH])
            counts[fault.name.lower() if isinstance(fault, Fault) else fault] += 1
            if number % 50 == 0:
                progress(f"{number} of {fault_count}")
            await self._meet(fault)
        self.way.faults.clear()
        for token in [token for token, order in self.orders.items() if order.is_open]:
            for _ in range(REPEATS_MAX):
                if self.orders[token].is_open:
                    await self._provision(token)
        return counts

    async def _meet(self, fault: Fault | str) -> None:
        """Something is done while this goes wrong."""
        if isinstance(fault, Fault):
            self.way.action = "RunInstances" if fault is Fault.NO_CAPACITY else self.chance.choice(["", "RunInstances"])
            self.way.faults.append(fault)
        elif fault == CRASH:
            self.provider = self.make()
        scope = trio.move_on_after(self.chance.uniform(0.0, 0.3)) if fault == BROKEN_OFF else trio.CancelScope()
        with scope:
            await self._act()

    async def _act(self) -> None:
        unanswered = [token for token, order in self.orders.items() if order.is_open]
        match self.chance.choice(["new", "new", "again", "list", "release"]):
            case "new":
                token = f"t{len(self.orders)}"
                self.orders[token] = Order(self.chance.randint(1, 4))
                await self._provision(token)
            case "again" if unanswered:
                await self._provision(self.chance.choice(unanswered))
            case "release":
                await self._release_some()
            case _:
                await self._list()

    async def _provision(self, token: str) -> None:
        order = self.orders[token]
        try:
            await self.provider.provision("small", order.count, token)
        except (UserError, NoCapacity):
            order.is_refused = True
        except HalError:
            return
        order.is_open = False

    async def _list(self) -> Sequence[str]:
        try:
            return [instance.native_id for instance in await self.provider.instances()]
        except HalError:
            return []

    async def _release_some(self) -> None:
        there = await self._list()
        chosen = self.chance.sample(there, min(len(there), 6))
        try:
            await self.provider.release(chosen)
        except HalError:
            return
        self.released.update(chosen)


def judge(trial: Trial, truth: Sequence[tuple[str, MachineName]], listed: set[str]) -> list[str]:
    """What was promised and is not so; `truth` is what the cloud has, by native id."""
    of_digest = Counter(name.digest for _, name in truth)
    of_node = Counter(name.node for _, name in truth)
    problems = [f"{count} machines are node {node}" for node, count in of_node.items() if count > 1]
    for token, order in trial.orders.items():
        count = of_digest[digest_of(token)]
        if count > (0 if order.is_refused else order.count):
            problems.append(f"{token} has {count} machines: {order}")
    alive = {native_id for native_id, _ in truth}
    problems += [f"{native_id} was released and is there" for native_id in alive & trial.released]
    problems += [f"{native_id} is there and is not listed" for native_id in alive - listed]
    return problems


def everything(port: int) -> list[tuple[str, MachineName]]:
    """All that the cloud has, asked for past the provider."""
    driver: Any = MotoEc2("key", "secret", host="127.0.0.1", port=port, secure=False, signature_version="4")
    alive = [node for node in driver.list_nodes() if node.state not in ("terminated", "unknown")]
    return [(node.id, name) for node in alive if (name := MachineName.parse(node.name)) is not None]


def maker(provider: str, port: int, directory: Path) -> Callable[[], CloudProvider]:
    for name, text in {
        "key": "key", "secret": "secret", "both": "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n"
    }.items():  # fmt: skip
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    common = {"name_prefix": "lab", "image": IMAGE}
    offer = {"name": "small", "count_max": COUNT_MAX}
    where = {"host": "127.0.0.1", "port": port, "secure": False, "signature_version": "4"}
    options = {
        "aws": common | {
            "region": "us-east-1", "endpoint": f"http://127.0.0.1:{port}",
            "credentials": {"file": str(directory / "both")},
            "offers": [offer | {"type": "t3.small", "price_per_hour": 0.02}],
        },
        "libcloud": common | {
            "driver": "tests.support.moto:MotoEc2", "driver_arguments": where,
            "credentials": {name: {"file": str(directory / name)} for name in ("key", "secret")},
            "offers": [offer | {"size": "t3.small", "cpu_count": 2}],
        },
    }[provider]  # fmt: skip
    plugins = Plugins.load({})
    return lambda: plugins.cloud(provider, options)


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    with (
        tempfile.TemporaryDirectory() as directory,
        Moto(Path(directory)) as moto,
        FaultyWay(moto.port, "RunInstances").open() as way,
    ):
        trial = Trial(maker(given.provider, way.port, Path(directory)), way, random.Random(campaign.seed))
        counts = trio.run(trial.run, given.faults)
        listed = set(trio.run(trial._list))
        truth = everything(moto.port)
        campaign.problems += judge(trial, truth, listed)
        trio.run(trial.provider.release, sorted(listed))
        left = everything(moto.port)
    campaign.problems += [f"{name} is left" for _, name in left]
    return {
        "provider": given.provider,
        "faults": dict(counts),
        "orders": len(trial.orders),
        "machines_at_the_end": len(truth),
        "left": len(left),
    }


def main() -> None:
    campaign = Campaign("cloud_faults", __doc__)
    campaign.parser.add_argument("--faults", type=int, default=300)
    campaign.parser.add_argument("--provider", choices=["aws", "libcloud"], default="aws")
    campaign.main(measure)


if __name__ == "__main__":
    main()

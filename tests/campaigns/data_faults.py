"""Random faults while jobs on several hosts read datasets: transfers cut or cancelled, agents and the daemon killed,
what has come so far spoiled, disks full, an origin that answers 500, gives half, dawdles or lies. No job may find wrong
or partial data, no store may ever have more than its budget, and what is pinned or in use stays.

Each store is a small file system of its own, with room for little more than half of the datasets.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.data_hosts import DataHosts
from tests.support.hal_services import DAEMON

DATASET_COUNT, DATASET_BYTES = 8, 2 << 20
BUDGET_MEGABYTES, DISK_MEGABYTES = 10, 16
READS = "cd $HAL_DATASET_{name}; cat a deep/b | sha256sum; sleep {seconds}; cat a deep/b | sha256sum"
TROUBLES = ("status", "short", "slow", "wrong")
JOBS_PER_FAULT = 3
LOOK_S = 0.1
PATIENCE_S = 1800.0


@attrs.define
class Watch:
    """Looks at all stores now and then, from outside."""

    hal: DataHosts
    problems: list[str] = attrs.Factory(list)
    looks: int = 0
    most_bytes: int = 0
    pinned: dict[str, str] = attrs.Factory(dict)
    """Node -> a dataset that must stay there."""
    _is_over: threading.Event = attrs.Factory(threading.Event)

    def run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self.looks += 1
            for node in self.hal.nodes:
                used = sum(map(size_of, files_in(store_of(self.hal, node))))
                self.most_bytes = max(self.most_bytes, used)
                if used > BUDGET_MEGABYTES << 20:
                    self.problems.append(f"the store of {node} had {used} bytes")
            for node, name in dict(self.pinned).items():
                if not (store_of(self.hal, node) / "copies" / f"{name}@1").is_dir():
                    self.problems.append(f"{name} is pinned, and gone from {node}")
                    self.pinned.pop(node)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    _thread: threading.Thread = attrs.field(init=False)


def store_of(hal: DataHosts, node: str) -> Path:
    return hal.node_state(node) / "store"


def files_in(store: Path) -> Iterator[Path]:
    for room in ("objects", "partial"):
        with contextlib.suppress(FileNotFoundError):
            yield from (store / room).iterdir()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has moved on meanwhile
        return 0


class Faults:
    """Each method is one, and leaves all as it was, but for what HAL has to mend itself."""

    def __init__(self, hal: DataHosts, chance: random.Random) -> None:
        self.hal = hal
        self.chance = chance
        self.jobs: list[int] = []

    def kill_agent(self) -> None:
        node = self.chance.choice(self.hal.nodes)
        self.hal.kill(node)
        self.hal.start_service(node)

    def kill_daemon(self) -> None:
        self.hal.kill(DAEMON)
        self.hal.start_service(DAEMON)
        self.hal.begin_anew()
        self.hal.wait_until_ready()

    def cut_link(self) -> None:
        host = self.chance.randint(2, self.hal.host_count)
        self.hal.hosts.cut(host)
        self.pause(self.chance.uniform(0.1, 1.5))
        self.hal.hosts.restore(host)

    def cancel_job(self) -> None:
        if self.jobs:
            self.hal.run("cancel", str(self.jobs[-1]))

    def spoil_what_has_come(self) -> None:
        for node in self.hal.nodes:
            with contextlib.suppress(OSError):
                for path in (store_of(self.hal, node) / "partial").iterdir():
                    content = bytearray(path.read_bytes())
                    if content:
                        content[self.chance.randrange(len(content))] ^= 1
                        with path.open("r+b") as opened:
                            opened.write(content)

    def fill_disk(self) -> None:
        filler = store_of(self.hal, self.chance.choice(self.hal.nodes)) / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as opened:
            while True:
                opened.write(bytes(1 << 20))
        self.pause(self.chance.uniform(0.1, 1.5))
        filler.unlink(missing_ok=True)

    def trouble_origin(self) -> None:
        trouble = self.hal.notes / "trouble"
        trouble.write_text(f"{self.chance.choice(TROUBLES)} {self.chance.choice(TROUBLES)} well")
        self.pause(self.chance.uniform(0.5, 3.0))
        trouble.unlink()

    def pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def all(self) -> list[Callable[[], None]]:
        often = [self.trouble_origin, self.kill_agent, self.fill_disk]
        return [*often, *often, self.cut_link, self.cancel_job, self.spoil_what_has_come, self.kill_daemon]


def strike(fault_count: int, node_count: int, seed: int) -> tuple[Figures, list[str]]:
    """The figures of one run, and which promises were broken."""
    chance = random.Random(seed)
    with small_stores(node_count) as hal, Watch(hal) as watch:
        names = [f"d{number}" for number in range(DATASET_COUNT)]
        for name in names:
            hal.add(name, chance.randbytes(DATASET_BYTES))
        pin(hal, watch, names[0])
        faults, struck, wanted = Faults(hal, chance), Counter[str](), dict[int, str]()
        for number in range(fault_count):
            for _ in range(JOBS_PER_FAULT):
                name = chance.choice(names)
                wanted[read(hal, name, chance.uniform(0.0, 0.5))] = name
            faults.jobs = list(wanted)
            fault = chance.choice(faults.all())
            struck[fault.__name__] += 1
            fault()
            if number % 20 == 19:
                progress(f"{number + 1} faults")
                hal.wait_until_done(PATIENCE_S)
        hal.wait_until_done(PATIENCE_S)
        problems, ends = judge(hal, wanted)
        problems += watch.problems + map_problems(hal, names)
        figures: Figures = {
            "faults": dict(struck),
            "jobs": len(wanted),
            "ends": dict(ends),
            "looks": watch.looks,
            "most_bytes_in_a_store": watch.most_bytes,
        }
    return figures, problems


@contextlib.contextmanager
def small_stores(node_count: int) -> Iterator[DataHosts]:
    """Each on a disk of its own."""
    with SmallStores(node_count=node_count, cpus=2, budget=f"{BUDGET_MEGABYTES}M", rate_bits=200_000_000) as hal:
        yield hal


class SmallStores(DataHosts):
    def enroll(self, node: str, host: int = 0) -> None:
        super().enroll(node, host)
        store = store_of(self, node)
        store.mkdir(mode=0o711)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "none", str(store)], check=True)

    def __exit__(self, *given: object) -> None:
        for node in self.nodes:
            subprocess.run(["umount", "-l", str(store_of(self, node))], capture_output=True, check=False)
        super().__exit__(*given)


def pin(hal: DataHosts, watch: Watch, name: str) -> None:
    """On all nodes, and from now on it must stay there."""
    job_id = read(hal, name, 0.0, ("nodes", str(hal.node_count)))
    hal.wait_until_done(PATIENCE_S)
    assert hal.get(f"/v1/jobs/{job_id}")["state"] == "COMPLETED"
    assert hal.run("data", "pin", name).returncode == 0
    hal.wait_until_ready()
    watch.pinned = dict.fromkeys(hal.nodes, name)


def read(hal: DataHosts, name: str, seconds: float, *options: tuple[str, str]) -> int:
    script = READS.format(name=name.upper(), seconds=f"{seconds:.2f}")
    given = [("inputs", f"dataset:{name}"), ("output", f"{hal.work}/out.%j"), *options]
    return hal.submit("sh", "-c", script, options=given)


def judge(hal: DataHosts, wanted: dict[int, str]) -> tuple[list[str], Counter[str]]:
    problems, ends = [], Counter[str]()
    for job_id, name in wanted.items():
        job = hal.get(f"/v1/jobs/{job_id}")
        path = hal.work / f"out.{job_id}"
        lines = path.read_text().splitlines() if path.exists() else []
        ends[job["end"]["kind"] if job.get("end") else job["state"]] += 1
        wrong = [line for line in lines if line.split()[0] != hal.digests[name]]
        if wrong or (job["state"] == "COMPLETED" and len(lines) != 2):
            problems.append(f"job {job_id} ({job['state']}) found {lines} in {name}, not {hal.digests[name]}")
    return problems, ends


def map_problems(hal: DataHosts, names: list[str]) -> list[str]:
    """What the daemon thinks that nodes have is what they have."""
    problems = []
    for name in names:
        said = hal.run("data", "where", name, "--json").stdout
        there = [node for node in hal.nodes if (store_of(hal, node) / "copies" / f"{name}@1").is_dir()]
        missing = [node for node in there if f'"{node}"' not in said]
        extra = [node for node in set(hal.nodes) - set(there) if f'"{node}"' in said]
        if missing or extra:
            problems.append(f"{name} is on {there}; the daemon says {said.strip()}")
    return problems


def measure(campaign: Campaign) -> Figures:
    figures, problems = strike(campaign.given.faults, campaign.given.nodes, campaign.seed)
    campaign.problems += problems
    return figures


if __name__ == "__main__":
    os.nice(5)
    campaign = Campaign("data_faults", __doc__)
    campaign.parser.add_argument("--faults", type=int, default=200)
    campaign.parser.add_argument("--nodes", type=int, default=4)
    campaign.main(measure)

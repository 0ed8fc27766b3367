"""The locality provider `example`: datasets named example:NAME are files of one directory, copied to each node's own.

Here a node's directory is a folder beside; on a real cluster `stage` would copy over the network.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from hal_core import NodeName, NotFound, Options, PluginInfo, Register, Replica, hookimpl, structure_options

__hal_plugin__ = PluginInfo(sdk=1, summary="files of one directory, copied to nodes")

PREFIX = "example:"
BYTES_PER_S = 1e8


@attrs.frozen
class ExampleOptions:
    store: str
    nodes: str
    """Below it each node has a directory of its name."""


class Example:
    """Knows where data is and brings it elsewhere. Errors are UserErrors, for the owner of the job."""

    def __init__(self, options: ExampleOptions) -> None:
        self._store, self._nodes = Path(options.store), Path(options.nodes)
        self._lock = trio.Lock()

    def recognises(self, dataset: str) -> bool:
        return dataset.startswith(PREFIX)

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        return [self._replicas(dataset) for dataset in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        async with self._lock:  # Who comes meanwhile finds it there: one transfer, whatever the number of jobs.
            if not (found := self._replicas(dataset)):
                raise NotFound(f"{dataset} is not in {self._store}")
            missing = [node for node in dict.fromkeys(nodes) if node not in {replica.node for replica in found}]
            for node in missing:
                await trio.to_thread.run_sync(self._copy, dataset, node)
            return found[0].size_bytes * len(missing)

    async def evict(self, dataset: str, node: NodeName) -> None:
        self._path(dataset, node).unlink(missing_ok=True)

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return (0.0 if replica.node == node else replica.size_bytes / BYTES_PER_S), 0.0

    def _replicas(self, dataset: str) -> list[Replica]:
        """The one in the store is the origin: its `node` is the empty name, which no node has."""
        if not self.recognises(dataset):
            return []
        places = [(NodeName(""), self._path(dataset, None))]
        if self._nodes.is_dir():
            places += [(NodeName(each.name), self._path(dataset, each.name)) for each in sorted(self._nodes.iterdir())]
        return [Replica(dataset, str(path), path.stat().st_size, node) for node, path in places if path.is_file()]

    def _copy(self, dataset: str, node: NodeName) -> None:
        """Whole or not at all: a job must never see half a file."""
        target = self._path(dataset, node)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.part")
        shutil.copyfile(self._path(dataset, None), half)
        half.rename(target)

    def _path(self, dataset: str, node: str | None) -> Path:
        name = dataset.removeprefix(PREFIX).replace("/", "_")
        return self._store / name if node is None else self._nodes / node / name


@hookimpl
def hal_register_localities(register: Register) -> None:
    register("example", lambda options: Example(_checked(options)), "files of one directory, copied to nodes")


@hookimpl
def hal_register_trials(register: Register) -> None:
    """What `hal plugin test` makes it with, in an empty directory."""
    register("example", _trial)


def _trial(given: Options) -> Options:
    store = Path(given["directory"]) / "store"
    store.mkdir()
    (store / "some").write_bytes(b"data")
    options = {"store": str(store), "nodes": str(Path(given["directory"]) / "nodes")}
    return {"options": options, "present": "example:some", "absent": "example:gone"}


def _checked(options: Options) -> ExampleOptions:
    return structure_options(ExampleOptions, options, "localities.example")

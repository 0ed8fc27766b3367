"""What an agent is told about itself, and what it finds out about its machine. No side effects beyond reading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from hal_core.agent import hierarchies
from hal_core.agent.instance import InstanceOptions
from hal_core.agent.reading import Source
from hal_core.models.node import Node
from hal_core.models.plural import plural


@attrs.frozen
class AgentOptions:
    """`state_directory` belongs to this agent alone. Jobs of other users must be able to pass through its parents."""

    node: Node
    state_directory: Path
    daemon_socket: Path
    """Where a daemon on this machine listens; not used if `server` is given."""
    pids_max: int = 0
    """Processes per job; 0 means no limit."""
    does_limit_cpus: bool | None = None
    """CPU quota by cgroup beside the binding. None: for jobs of other users, who could undo the binding."""
    server: str = ""
    """host:port of a daemon that this node was enrolled with."""
    hooks: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    """Partition -> paths of its prolog and epilog, either may be empty. From this node's own configuration file."""
    hook_timeout_s: float = 0.0
    is_ephemeral: bool = False
    """At the end of the agent everything ends: jobs are killed and the spawner stops."""
    is_leashed: bool = False
    """The agent ends when its standard input does."""
    store_directory: Path | None = None
    """Where copies of datasets are kept, for all users to read; None: `store` in the state directory."""
    store_budget_bytes: int = 100 << 30
    store_bytes_per_s: float = 0.0
    """What all transfers to the store together may take, and all from it; 0: no bound."""
    lending_port: int = 0
    """Where other nodes can read the store; 0: at any port that is free."""
    sources: Mapping[str, Source] = attrs.field(factory=dict)
    """Providers that read what is not a path, by name."""
    instance: InstanceOptions | None = None
    """This machine is a rented one."""

    @property
    def store(self) -> Path:
        return self.store_directory or self.state_directory / "store"


@attrs.frozen
class Machine:
    """What this machine can do for jobs. `cpus` are the CPU numbers to bind to, by declared index."""

    uid: int
    cpus: tuple[int, ...]
    """Empty: jobs are not bound."""
    boot_id: str
    missing: tuple[str, ...]
    cgroups: dict[str, str] = attrs.Factory(dict)
    """Where cgroups can be made, by controller."""


def inspect_machine(options: AgentOptions) -> Machine:
    """Look at the machine under the agent. The state directory must exist."""
    usable = sorted(os.sched_getaffinity(0))
    cgroups = hierarchies.this_machine(options.state_directory)
    missing = hierarchies.missing(cgroups)
    declared = options.node.cpu_count
    if declared > len(usable):
        missing.append(f"CPU binding: {plural(declared, 'CPU')} declared, this machine has {len(usable)}")
        usable = []
    uid = os.geteuid()
    if uid != 0:
        missing.append(f"jobs of other users: the agent runs as uid {uid}, not as root")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Machine(uid, tuple(usable[:declared]), boot_id, tuple(missing), cgroups)

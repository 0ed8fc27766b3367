"""What a test's Slurm looks like, and the text of its configuration files. Pure: writes and starts nothing.

One host plays all nodes: Debian's build lets several slurmds run beside each other, each with its name and port. There
are no cgroups in it unless it is asked to enforce memory, and GPUs are only visible by their variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

CLUSTER_NAME = "testcluster"
CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace={}\n"
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
NO_CGROUPS_NEW = "CgroupPlugin=disabled\n"
DEFAULT_PARTITIONS = {
    "normal": "Default=YES MaxTime=1-00:00:00 DefaultTime=01:00:00",
    "short": "MaxTime=00:10:00 DefaultTime=00:05:00 PriorityTier=10",
}


@attrs.define(kw_only=True)
class SlurmOptions:
    """What is asked of the cluster."""

    node_count: int = 4
    cpus: int = 8
    """For each node; may be more than the machine has."""
    memory_mb: int = 16000
    gpus: int = 0
    """For each node: character devices that do nothing, so that CUDA_VISIBLE_DEVICES is set."""
    nodes_per_switch: int = 0
    """Larger than 0: topology/tree, with leaf switches of so many nodes below one core switch."""
    is_tuned_for_throughput: bool = False
    """As SchedMD's guide for high throughput says: deferred scheduling, no sampling of jobs, quiet logs."""
    has_accounting: bool = False
    """slurmdbd with a MariaDB of its own, hence `sacct` and `sacctmgr`."""
    has_rest: bool = False
    """slurmrestd with JSON web tokens."""
    partitions: Mapping[str, str] = attrs.field(factory=lambda: dict(DEFAULT_PARTITIONS))
    """Name to the rest of the line; every partition has all nodes unless it says `Nodes=`."""
    node_prefix: str = "n"
    """What nodes are called before their number."""
    does_enforce_memory: bool = False
    """Jobs have memory cgroups, named after their node: it needs a name that no other Slurm on the machine has, and
    `why_no_memory_groups` says whether it can be."""
    root: str = ""
    """A folder with another Debian, whose Slurm it is (slurm_root.py); empty: the machine's own."""
    settings: Mapping[str, str] = attrs.field(factory=dict)
    """Further lines of slurm.conf, which win over ours; an empty value drops the line."""


@attrs.frozen
class Ports:
    """All on 127.0.0.1."""

    controller: int
    database: int
    rest: int
    nodes: tuple[int, ...]


@attrs.frozen
class Layout:
    """Where things are. Nothing is outside of `base`."""

    base: Path
    host: str
    ports: Ports

    @property
    def configuration(self) -> Path:
        return self.base / "etc" / "slurm.conf"

    @property
    def wrappers(self) -> Path:
        """Programs of another generation of Slurm, for PATH. Beside `base`: they must not be found in the folder."""
        return self.base.with_name(f"{self.base.name}-bin")

    @property
    def munge_socket(self) -> Path:
        return self.base / "munge" / "socket"

    @property
    def token_key(self) -> Path:
        return self.base / "state" / "jwt_hs256.key"

    @property
    def jobs_ended(self) -> Path:
        """slurmctld appends one line to it for each job that ends."""
        return self.base / "log" / "jobs_ended"

    @property
    def rest_socket(self) -> Path:
        return self.base / "run" / "slurmrestd.sock"

    @property
    def database_socket(self) -> Path:
        return self.base / "database" / "socket"

    def device(self, index: int) -> Path:
        return self.base / "dev" / f"gpu{index}"


def node_names(options: SlurmOptions) -> list[str]:
    """`n01` and so on, of equal length."""
    digits = max(2, len(str(options.node_count)))
    return [f"{options.node_prefix}{number:0{digits}d}" for number in range(1, options.node_count + 1)]


def memory_groups(options: SlurmOptions) -> list[Path]:
    """Where Slurm makes those of its jobs, by node."""
    return [MEMORY_GROUPS / f"slurm_{node}" for node in node_names(options)]


def why_no_memory_groups() -> str:
    """Empty if Slurm can enforce memory here."""
    return "" if (MEMORY_GROUPS / "memory.limit_in_bytes").exists() else "memory cgroups of version 1 are not mounted"


def files(options: SlurmOptions, layout: Layout) -> dict[str, str]:
    """The configuration, by file name within the directory of slurm.conf."""
    found = {
        "slurm.conf": slurm_conf(options, layout),
        "cgroup.conf": NO_CGROUPS_NEW
        if options.root
        else CGROUPS.format("yes" if options.does_enforce_memory else "no"),
    }
    if options.gpus:
        devices = ",".join(str(layout.device(index)) for index in range(options.gpus))
        found["gres.conf"] = f"AutoDetect=off\nName=gpu Type=fake File={devices}\n"
    if options.nodes_per_switch:
        found["topology.conf"] = topology_conf(options)
    if options.has_accounting:
        found["slurmdbd.conf"] = slurmdbd_conf(options, layout)
    return found


def slurm_conf(options: SlurmOptions, layout: Layout) -> str:
    lines = {**_base_settings(layout), **_scheduling(options), **_accounting(options, layout)}
    if options.gpus:
        lines["GresTypes"] = "gpu"
    if options.nodes_per_switch:
        lines["TopologyPlugin"] = "topology/tree"
    if options.has_rest:
        lines |= _token_settings(layout)
    if options.does_enforce_memory:
        lines["TaskPlugin"] = "task/cgroup"
    if options.root:
        lines["SwitchType"] = ""  # there is no switch/none any more
    lines |= options.settings
    text = [f"{key}={value}" for key, value in lines.items() if value]
    text += _node_lines(options, layout)
    for name, rest in options.partitions.items():
        nodes = "" if "Nodes=" in rest else " Nodes=ALL"
        text.append(f"PartitionName={name}{nodes} {rest}")
    return "\n".join(text) + "\n"


def _base_settings(layout: Layout) -> dict[str, str]:
    base = layout.base
    return {
        "ClusterName": CLUSTER_NAME,
        "SlurmctldHost": f"{layout.host}(127.0.0.1)",
        "SlurmctldPort": str(layout.ports.controller),
        "SlurmUser": "slurm",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "StateSaveLocation": f"{base}/state/controller",
        "SlurmdSpoolDir": f"{base}/spool/%n",
        "SlurmctldPidFile": f"{base}/run/slurmctld.pid",
        "SlurmdPidFile": f"{base}/run/slurmd.%n.pid",
        "SlurmctldLogFile": f"{base}/log/slurmctld.log",
        "SlurmdLogFile": f"{base}/log/slurmd.%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": "100",
        "SlurmdParameters": "config_overrides",
        "ReturnToService": "2",
        "TreeWidth": "64",
        "MaxJobCount": "200000",
        "MaxArraySize": "20001",
        "MessageTimeout": "60",
        "SlurmdTimeout": "60",
        "KillWait": "5",
        "InactiveLimit": "0",
    }


def _scheduling(options: SlurmOptions) -> dict[str, str]:
    """Eager scheduling by default: tests and benchmarks should wait for Slurm's work, not for its timers."""
    common = "batch_sched_delay=0,sched_min_interval=0,partition_job_depth=0,bf_interval=5,bf_continue,max_rpc_cnt=150"
    lines = {"SchedulerType": "sched/backfill", "PriorityType": "priority/multifactor"}
    if options.is_tuned_for_throughput:
        return lines | {
            "SchedulerParameters": f"{common},defer,sched_interval=1,default_queue_depth=2000",
            "JobAcctGatherType": "jobacct_gather/none",
            "MinJobAge": "30",
            "SlurmctldDebug": "error",
            "SlurmdDebug": "error",
        }
    return lines | {
        "SchedulerParameters": f"{common},sched_interval=2,default_queue_depth=1000",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "10",
        "MinJobAge": "300",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "PrologFlags": "Alloc",
    }


def _accounting(options: SlurmOptions, layout: Layout) -> dict[str, str]:
    lines = {"JobCompType": "jobcomp/filetxt", "JobCompLoc": str(layout.jobs_ended)}
    if not options.has_accounting:
        return lines | {"AccountingStorageType": "accounting_storage/none"}
    lines |= {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(layout.ports.database),
        "AccountingStoragePass": str(layout.munge_socket),  # AuthInfo is not read for talking to slurmdbd
    }
    if options.gpus:
        lines["AccountingStorageTRES"] = "gres/gpu"  # slurmctld refuses it without slurmdbd
    return lines


def _token_settings(layout: Layout) -> dict[str, str]:
    return {"AuthAltTypes": "auth/jwt", "AuthAltParameters": f"jwt_key={layout.token_key}"}


def _node_lines(options: SlurmOptions, layout: Layout) -> list[str]:
    shared = (
        f"NodeHostname={layout.host} NodeAddr=127.0.0.1 CPUs={options.cpus} Boards=1 SocketsPerBoard=1 "
        f"CoresPerSocket={options.cpus} ThreadsPerCore=1 RealMemory={options.memory_mb} State=UNKNOWN"
    )
    gres = f" Gres=gpu:fake:{options.gpus}" if options.gpus else ""
    names = zip(node_names(options), layout.ports.nodes, strict=True)
    return [f"NodeName={name} Port={port} {shared}{gres}" for name, port in names]


def topology_conf(options: SlurmOptions) -> str:
    names, size = node_names(options), options.nodes_per_switch
    leaves = [names[at : at + size] for at in range(0, len(names), size)]
    text = [f"SwitchName=leaf{number} Nodes={','.join(leaf)}" for number, leaf in enumerate(leaves)]
    text.append("SwitchName=core Switches=" + ",".join(f"leaf{number}" for number in range(len(leaves))))
    return "\n".join(text) + "\n"


def slurmdbd_conf(options: SlurmOptions, layout: Layout) -> str:
    """It has no setting for the database's socket: that is given in slurmdbd's environment (MYSQL_UNIX_PORT)."""
    lines = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": str(layout.ports.database),
        "SlurmUser": "slurm",
        "LogFile": f"{layout.base}/log/slurmdbd.log",
        "PidFile": f"{layout.base}/run/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "slurm",
        "StorageLoc": "slurm_acct_db",
        "CommitDelay": "1",
    }
    if options.has_rest:
        lines |= _token_settings(layout)
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def database_conf(layout: Layout) -> str:
    """MariaDB: a socket, no network, no promise to survive a power cut."""
    return f"""[mysqld]
datadir={layout.base}/database/data
socket={layout.database_socket}
pid-file={layout.base}/database/pid
log-error={layout.base}/log/mariadbd.log
skip-networking
skip-log-bin
innodb_buffer_pool_size=128M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
innodb_use_native_aio=0
performance_schema=OFF
max_allowed_packet=64M
"""

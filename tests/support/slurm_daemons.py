"""Slurm's daemons as ordinary processes: written down, started in order, each waited for until it answers.

No service manager, nothing in /etc, /run or /var: munged, MariaDB and all of Slurm have their files below one
directory. What the cluster is asked to look like is slurm_config.py's; what to do with it is slurm.py's.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import slurm_config, slurm_root
from tests.support.processes import ProcessTree, SupportError
from tests.support.slurm_config import Layout, Ports, SlurmOptions

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORT_RANGE = (20000, 30000)
"""Below the range from which Linux picks the ports of outgoing connections."""
NULL_DEVICE = os.makedev(1, 3)
REST_PLUGINS = "openapi/v0.0.38,openapi/v0.0.37,openapi/v0.0.36"


class Daemons:
    """All daemons of one cluster. `pids` maps names (`slurmctld`, `slurmd.n01`, ...) to the running processes."""

    def __init__(self, tree: ProcessTree, options: SlurmOptions, layout: Layout) -> None:
        self.tree, self.options, self.layout = tree, options, layout
        path = f"{layout.wrappers}:{PATH}" if options.root else PATH
        self.environment = {"PATH": path, "LANG": "C.UTF-8", "SLURM_CONF": str(layout.configuration)}
        self.pids: dict[str, int] = {}

    def start_all(self) -> None:
        """From nothing to a cluster whose nodes are all idle."""
        _make_directories(self.options, self.layout)
        if self.options.root:
            slurm_root.write_wrappers(Path(self.options.root), self.layout.wrappers)
        _write_configuration(self.options, self.layout)
        self.start("munged")
        if self.options.has_accounting:
            self._create_database()
            self.start("mariadbd")
            self._grant_database()
            self.start("slurmdbd")
            self._define_accounts()
        self.start("slurmctld")
        for node in slurm_config.node_names(self.options):
            self.start(f"slurmd.{node}")
        if self.options.has_rest:
            self.start("slurmrestd")
        self.tree.until("all nodes idle", self.is_every_node_idle, 60 + self.options.node_count, self.pids.values())

    def start(self, name: str) -> None:
        """Start a daemon by its name and wait until it answers (a slurmd: until it is started)."""
        assert name not in self.pids, f"{name} runs already"
        argv, user, environment = self._command(name)
        if self.options.root and name.startswith("slurm"):
            user = "root"  # the wrapper becomes who it is to be: only root can change to the folder
        log = self.layout.base / "log" / f"{name}.out"
        pid = self.tree.start(argv, log, self.environment | environment, user=identity(user), directory=log.parent)
        self.pids[name] = pid
        match name:
            case "munged":
                self.tree.until("munged answers", self._does_munge_work, 10, [pid])
            case "mariadbd":
                self.tree.until("MariaDB answers", lambda: self._sql("select 1"), 40, [pid])
            case "slurmdbd":
                self.tree.until("slurmdbd answers", lambda: self._works("sacctmgr", "-n", "list", "qos"), 60, [pid])
            case "slurmctld":
                self.tree.until("slurmctld answers", lambda: self._works("scontrol", "ping"), 60, [pid])
            case "slurmrestd":
                self.tree.until("slurmrestd listens", self._does_rest_listen, 20, [pid])
                self.layout.rest_socket.chmod(0o777)

    def is_every_node_idle(self) -> bool:
        """Whether every node has registered and nothing runs on it."""
        answer = self._run("sinfo", "-h", "-N", "-o", "%N %T")
        states = dict(line.split() for line in answer.stdout.splitlines())
        return states.keys() == set(slurm_config.node_names(self.options)) and set(states.values()) == {"idle"}

    def _command(self, name: str) -> tuple[list[str], str, dict[str, str]]:
        """(argv, user, additional environment)"""
        layout = self.layout
        program, _, node = name.partition(".")
        match program:
            case "munged":
                folder = layout.munge_socket.parent
                files = [f"--{kind}-file={folder / kind}" for kind in ("key", "pid", "log", "seed")]
                flags = [f"--socket={layout.munge_socket}", *files]
                return ["munged", "--foreground", "--num-threads=10", *flags], "munge", {}
            case "mariadbd":
                return ["mariadbd", f"--defaults-file={layout.base}/etc/my.cnf"], "slurm", {}
            case "slurmdbd":
                # it reaches the database through the client library's default socket, which this moves
                return ["slurmdbd", "-D"], "slurm", {"MYSQL_UNIX_PORT": str(layout.database_socket)}
            case "slurmctld":
                return ["slurmctld", "-D"], "slurm", {}
            case "slurmd":
                return ["slurmd", "-D", "-N", node], "root", {}
            case "slurmrestd":
                plugins = [] if self.options.has_accounting else ["-s", REST_PLUGINS]  # slurmdb's need slurmdbd
                listeners = [f"127.0.0.1:{layout.ports.rest}", f"unix:{layout.rest_socket}"]
                command = ["slurmrestd", "-a", "rest_auth/jwt,rest_auth/local", *plugins, *listeners]
                return command, "nobody", {"SLURM_JWT": "daemon"}  # it refuses to be root or slurm
            case _:
                raise AssertionError(f"no daemon {name}")

    def _does_munge_work(self) -> bool:
        return self._works("munge", f"--socket={self.layout.munge_socket}", "--no-input")

    def _does_rest_listen(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.layout.ports.rest)) == 0 and self.layout.rest_socket.exists()

    def _create_database(self) -> None:
        folder = self.layout.base / "database"
        settings = self.layout.base / "etc" / "my.cnf"
        settings.write_text(slurm_config.database_conf(self.layout))
        argv = (
            "mariadb-install-db",
            f"--defaults-file={settings}",
            f"--datadir={folder}/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        if self._run(*argv, user="slurm").returncode == 0:
            return
        # Once in some hundred times, on a crowded machine, it does not succeed and says why in its log only.
        log = self.layout.base / "log" / "mariadbd.log"
        sys.stderr.write(f"{argv[0]} is run once more; its log:\n{log.read_text() if log.exists() else 'none'}\n")
        shutil.rmtree(folder / "data", ignore_errors=True)
        self._need(*argv, user="slurm")

    def _grant_database(self) -> None:
        statements = (
            "create database slurm_acct_db; create user slurm@localhost; "
            "grant all on slurm_acct_db.* to slurm@localhost; flush privileges"
        )
        if not self._sql(statements):
            raise SupportError("cannot set up the accounting database")

    def _define_accounts(self) -> None:
        self._need("sacctmgr", "-i", "add", "cluster", slurm_config.CLUSTER_NAME)
        self._need("sacctmgr", "-i", "add", "account", "test", "Description=test", "Organization=test")
        self._need("sacctmgr", "-i", "add", "user", "root", "DefaultAccount=test", "AdminLevel=Admin")

    def _sql(self, statements: str) -> bool:
        database_socket = f"--socket={self.layout.database_socket}"
        return self._works("mariadb", "--no-defaults", database_socket, "-uroot", "-e", statements)

    def _works(self, *argv: str) -> bool:
        return self._run(*argv).returncode == 0

    def _need(self, *argv: str, user: str = "root") -> None:
        done = self._run(*argv, user=user)
        if done.returncode != 0:
            raise SupportError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    def _run(self, *argv: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        uid, gid = identity(user)
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            user=uid,
            group=gid,
            extra_groups=[],
            cwd=self.layout.base,
            timeout=120,
        )


def identity(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def free_ports(node_count: int) -> Ports:
    """A random block of ports that nobody listens on at this moment."""
    count = node_count + 3
    for _ in range(100):
        first = random.randrange(PORT_RANGE[0], PORT_RANGE[1] - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return Ports(first, first + 1, first + 2, tuple(range(first + 3, first + count)))
    raise SupportError(f"no block of {count} free ports between {PORT_RANGE[0]} and {PORT_RANGE[1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _make_directories(options: SlurmOptions, layout: Layout) -> None:
    """`base` belongs to root and all may read it; each daemon owns what it writes to."""
    layout.base.chmod(0o755)
    owners = {
        "etc": "root",
        "dev": "root",
        "spool": "root",
        "log": "slurm",
        "run": "slurm",
        "state": "slurm",
        "state/controller": "slurm",
        "munge": "munge",
        "database": "slurm",
        "work": "root",
    }
    for name, owner in owners.items():
        folder = layout.base / name
        folder.mkdir()
        os.chown(folder, *identity(owner))
    (layout.base / "run").chmod(0o1777)  # slurmrestd's socket beside slurmctld's files
    (layout.base / "work").chmod(0o1777)  # the jobs' output, whoever they run as
    for node in slurm_config.node_names(options):
        (layout.base / "spool" / node).mkdir()
    for index in range(options.gpus):  # ordinary files would be allocated, but never shown to a job
        os.mknod(layout.device(index), stat.S_IFCHR | 0o666, NULL_DEVICE)


def _write_configuration(options: SlurmOptions, layout: Layout) -> None:
    for name, text in slurm_config.files(options, layout).items():
        path = layout.configuration.with_name(name)
        path.write_text(text)
        if name == "slurmdbd.conf":  # slurmdbd refuses one that others may read
            _give(path, "slurm")
    secrets: Sequence[tuple[Path, str]] = ((layout.munge_socket.with_name("key"), "munge"), (layout.token_key, "slurm"))
    for path, owner in secrets:
        path.write_bytes(os.urandom(64))
        _give(path, owner)


def _give(path: Path, owner: str) -> None:
    path.chmod(0o600)
    os.chown(path, *identity(owner))

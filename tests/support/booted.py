"""Machines for moto's instances: the user data of each is really run, so agents enrol and jobs run. Needs root.

    with BootedInstances(tree, directory, moto_port) as booted:
        ... machines reach a daemon that listens on all addresses at booted.address

A machine is a set of namespaces: its processes, mounts and network are its own, the kernel and most files are not. It
is started when its instance is listed, and killed when it is terminated; one that shuts itself down is terminated, as
EC2 does it. On command one never comes up, comes up twice, vanishes, hangs or is rebooted. The watcher is a process
(`main`) and commands are files in its directory, so whatever happens to a test, nothing is left.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import attrs
import yaml

from tests.support.hal import CHECKOUT
from tests.support.processes import ProcessTree

BOOT = Path(__file__).with_name("boot_instance.sh")
REGION = "eu-central-1"
PERIOD_S = 0.2
NEVER, TWICE = "never", "twice"
"""What is to become of the next instance."""
VANISH, HANG, REBOOT = "vanish", "hang", "reboot"
"""What is to become of a running one: its provider ends it; its machine stands still; it boots again."""
HOST_NUMBERS = range(2, 250)


class BootedInstances:
    """The test's side. A context manager; the watcher is a process of the tree."""

    def __init__(self, tree: ProcessTree, directory: Path, port: int) -> None:
        self._tree = tree
        self.directory = directory
        self._port = port
        self.network = f"10.98.{1 + os.getpid() % 250}"
        self.pid = 0

    @property
    def address(self) -> str:
        """Where the machines reach this host."""
        return f"{self.network}.1"

    def __enter__(self) -> Self:
        (self.directory / "commands").mkdir(parents=True)
        argv = [sys.executable, "-m", "tests.support.booted", self.directory, str(self._port), self.network]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
        self.pid = self._tree.start(argv, self.directory / "watcher.log", environment, directory=CHECKOUT)
        self._tree.until("the network is there", (self.directory / "network").exists, 60, [self.pid])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tree.stop([self.pid])

    def next(self, what: str) -> None:
        """NEVER or TWICE, for the next instance that is listed."""
        (self.directory / "commands" / f"next-{what}-{uuid.uuid4()}").touch()

    def let(self, native_id: str, what: str) -> None:
        """VANISH, HANG or REBOOT."""
        (self.directory / "commands" / f"{what}-{native_id}").touch()

    def machines(self) -> list[Path]:
        """The directories of all that were ever started."""
        return sorted(each.parent for each in self.directory.glob("machines/*/boot-id"))

    def running(self) -> list[str]:
        """The names of those that run: native id, and a number."""
        return [each.name for each in self.machines() if (each / "runs").exists()]

    def address_of(self, native_id: str) -> str:
        """In the network of the machines."""
        return next(each for each in self.machines() if each.name.startswith(native_id)).joinpath("address").read_text()

    def logs(self) -> str:
        """All that machines wrote, for a test that fails."""
        found = [each for each in self.directory.rglob("*.log") if each.is_file()]
        return "\n".join(f"-- {each}\n{each.read_text(errors='replace')}" for each in sorted(found))


# -- the watcher -------------------------------------------------------------------------------------------------------


@attrs.define
class Machine:
    native_id: str
    directory: Path
    number: int
    """Of its address and its link."""
    process: subprocess.Popen[bytes]


class Ec2:
    """Past libcloud and HAL: what moto itself has."""

    def __init__(self, port: int) -> None:
        self._port = port

    def running(self) -> list[str]:
        root = self._ask("DescribeInstances", MaxResults="1000")
        found = [each for each in root.iter() if each.tag.endswith("instancesSet")]
        texts = [
            (item.findtext("{*}instanceId") or "", item.findtext("{*}instanceState/{*}name"))
            for each in found
            for item in each
        ]
        return [native_id for native_id, state in texts if state == "running"]

    def user_data(self, native_id: str) -> str:
        root = self._ask("DescribeInstanceAttribute", InstanceId=native_id, Attribute="userData")
        found = root.findtext("{*}userData/{*}value")
        return base64.b64decode(found or "").decode()

    def terminate(self, native_id: str) -> None:
        self._ask("TerminateInstances", **{"InstanceId.1": native_id})

    def _ask(self, action: str, **parameters: str) -> ElementTree.Element:
        scope = f"key/20260101/{REGION}/ec2/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("POST", "/", urlencode({"Action": action, "Version": "2016-11-15", **parameters}), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, text
        return ElementTree.fromstring(text)


class Watcher:
    """Machines follow instances."""

    def __init__(self, directory: Path, ec2: Ec2, network: str) -> None:
        self._directory = directory
        self._ec2 = ec2
        self._network = network
        self._bridge = f"halb{os.getpid()}"
        self._seen: set[str] = set()
        self._machines: list[Machine] = []
        self._counts = itertools.count()
        self.is_stopped = threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        _ip("link", "add", self._bridge, "type", "bridge")
        try:
            _ip("addr", "add", f"{self._network}.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            (self._directory / "network").touch()
            while not self.is_stopped.wait(PERIOD_S):
                self._look()
        finally:
            for machine in list(self._machines):
                self._kill(machine)
            _ip("link", "del", self._bridge)

    def _look(self) -> None:
        running = self._ec2.running()
        for native_id in running:
            if native_id not in self._seen:
                self._seen.add(native_id)
                self._start(native_id)
        for machine in list(self._machines):
            if machine.native_id not in running:
                self._kill(machine)
            elif machine.process.poll() is not None:
                self._gone(machine)
                self._ec2.terminate(machine.native_id)  # As its InstanceInitiatedShutdownBehavior says.
        for command in sorted((self._directory / "commands").iterdir()):
            self._obey(command)

    def _start(self, native_id: str) -> None:
        user_data = self._ec2.user_data(native_id)
        wanted = [self._take(what) for what in (NEVER, TWICE)]
        for _ in range(2 if wanted[1] else 1):
            self._boot(native_id, "" if wanted[0] else user_data)

    def _take(self, what: str) -> bool:
        command = next((self._directory / "commands").glob(f"next-{what}-*"), None)
        if command is not None:
            command.unlink()
        return command is not None

    def _boot(self, native_id: str, user_data: str) -> None:
        directory = self._directory / "machines" / f"{native_id}-{next(self._counts)}"
        for name in ("var-lib/hal-nodes", "var-lib/cloud/scripts/per-boot", "var-lib/cloud/instance/scripts", "bin"):
            (directory / name).mkdir(parents=True)
        shutdown = directory / "bin" / "shutdown"
        shutdown.write_text(f'#!/bin/sh\necho "$@" >> {directory}/shutdown\nkill -TERM 1\n')
        shutdown.chmod(0o755)
        for path, text in scripts_of(user_data, directory / "var-lib"):
            path.write_text(text)
            path.chmod(0o700)
        used = {machine.number for machine in self._machines}
        number = next(each for each in HOST_NUMBERS if each not in used)
        (directory / "address").write_text(f"{self._network}.{number}")
        self._machines.append(Machine(native_id, directory, number, self._power_on(directory, number)))

    def _power_on(self, directory: Path, number: int) -> subprocess.Popen[bytes]:
        (directory / "boot-id").write_text(f"{uuid.uuid4()}\n")
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words += ["sh", str(BOOT), str(directory), f"{self._network}.{number}/24"]
        venv = Path(sys.executable).parent
        environment = {
            "PATH": f"{directory}/bin:{venv}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'plugins'}",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        with (directory / "machine.log").open("ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        (directory / "runs").touch()
        link = f"h{os.getpid()}-{number}"
        _ip("link", "add", link, "type", "veth", "peer", "name", "lan", "netns", str(_child_of(process)))
        _ip("link", "set", link, "master", self._bridge, "up")
        return process

    def _kill(self, machine: Machine) -> None:
        machine.process.kill()  # Its first process goes with it, and all others with that.
        machine.process.wait()
        self._gone(machine)

    def _gone(self, machine: Machine) -> None:
        self._machines.remove(machine)
        (machine.directory / "runs").unlink(missing_ok=True)
        subprocess.run(["ip", "link", "del", f"h{os.getpid()}-{machine.number}"], capture_output=True, check=False)

    def _obey(self, command: Path) -> None:
        what, _, native_id = command.name.partition("-")
        for machine in [each for each in self._machines if each.native_id == native_id]:
            command.unlink(missing_ok=True)
            if what == VANISH:
                self._ec2.terminate(native_id)
                self._kill(machine)
            elif what == HANG:
                machine.process.send_signal(signal.SIGSTOP)
                subprocess.run(["pkill", "-STOP", "-P", str(machine.process.pid)], check=False)
                _ip("link", "set", f"h{os.getpid()}-{machine.number}", "down")
            else:
                self._kill(machine)
                shutil.rmtree(machine.directory / "var-lib/cloud/instance/scripts")  # Run at the first boot only.
                machine.process = self._power_on(machine.directory, machine.number)
                self._machines.append(machine)


def scripts_of(user_data: str, var_lib: Path) -> Iterator[tuple[Path, str]]:
    """What cloud-init would make of it, as far as HAL's own text goes."""
    if user_data.startswith("#cloud-config"):
        for file in yaml.safe_load(user_data)["write_files"]:
            yield var_lib / Path(file["path"]).relative_to("/var/lib"), file["content"]
    elif user_data.startswith("#!"):
        yield var_lib / "cloud/instance/scripts/part-001", user_data


def _child_of(process: subprocess.Popen[bytes]) -> int:
    """The first process of its namespaces."""
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        raise RuntimeError("the machine did not start; its machine.log says why")
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("network")
    given = parser.parse_args()
    watcher = Watcher(given.directory, Ec2(given.port), given.network)
    signal.signal(signal.SIGTERM, lambda number, frame: watcher.is_stopped.set())
    watcher.run()


if __name__ == "__main__":
    main()

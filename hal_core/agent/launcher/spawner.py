"""The spawner: the resident parent of the supervisors of one agent. Small, so that a fork of it is cheap.

It claims attempts durably, a batch with one sync, and only then forks their supervisors; passes cancels on; notices
supervisors that died without an end record, kills what they left and writes the end for them. It survives the agent
and is found again through its socket. What it is told and what it tells is otherwise in the records (records.py).
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from typing import NoReturn

from . import cgroups, fields, records, supervisor, tree

LISTEN_BACKLOG = 4
READ_BYTES = 1 << 18


class Spawner:
    """The state of one spawner. All paths are below `directory`, which only this user can write."""

    def __init__(self, directory: str, lock: int) -> None:
        self._lock = lock
        self._claims = os.open(f"{directory}/{records.CLAIMS}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._scripts = os.fsencode(f"{os.path.abspath(directory)}/{records.SCRIPTS}/")
        # Opened for both, so that it never fails for want of a reader: hints wait in the pipe for the next agent.
        self._hints = os.open(f"{directory}/hints", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._cgroups = cgroups.this_machine(directory)
        self._boot_id = records.boot_id()
        self._supervisors: dict[int, str] = {}
        """Our own children by process id."""
        self._adopted: dict[int, str] = {}
        """Supervisors of an earlier spawner by pidfd."""
        self._pids: dict[str, int] = {}
        """Process id (or pidfd) by key, for cancels."""
        self._agent: socket.socket | None = None
        self._buffer = bytearray()
        self._is_stopping = False
        self._prctl = ctypes.CDLL(None).prctl
        self._poll = select.epoll()
        self._wakeup, wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_end = wakeup_end

    def serve(self, listener: socket.socket) -> None:
        """Until told to stop and the last supervisor is gone."""
        self._listener = listener
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        self._prctl(tree.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._recover()
        for descriptor in (self._wakeup, listener.fileno(), *self._adopted):
            self._poll.register(descriptor, select.EPOLLIN)
        gc.collect()
        gc.freeze()
        gc.disable()
        while not (self._is_stopping and not self._supervisors and not self._adopted):
            for descriptor, _ in self._poll.poll():
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif descriptor == listener.fileno():
                    self._accept(listener)
                elif descriptor in self._adopted:
                    self._lose_adopted(descriptor)
                elif self._agent is not None and descriptor == self._agent.fileno():
                    self._listen(self._agent)

    def _accept(self, listener: socket.socket) -> None:
        agent, _ = listener.accept()
        _, uid, _ = struct.unpack("3i", agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            agent.close()
            return
        self._drop_agent()
        self._agent = agent
        self._poll.register(agent.fileno(), select.EPOLLIN)

    def _drop_agent(self) -> None:
        if self._agent is not None:
            self._poll.unregister(self._agent.fileno())
            self._agent.close()
            self._agent = None
            self._buffer.clear()

    def _listen(self, agent: socket.socket) -> None:
        """Read what is there and carry out every whole frame. A reset connection is an agent that was killed."""
        try:
            data = agent.recv(READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self._drop_agent()
            return
        self._buffer += data
        try:
            while (frame := fields.take_frame(self._buffer)) is not None:
                verb = frame.raw()
                if verb == b"launch":
                    self._launch(fields.read_launch(frame))
                elif verb == b"cancel":
                    self._cancel(frame.text(), frame.number())
                elif verb == b"stop":
                    self._is_stopping = True
                else:
                    raise fields.BadFrame("unknown verb")
        except fields.BadFrame as error:
            _log(f"closing the agent's connection: {error}")
            self._drop_agent()

    def _launch(self, orders: list[fields.Order]) -> None:
        """Claim all, make the claims durable, and only then fork."""
        claimed: list[tuple[fields.Order, int]] = []
        try:
            for order in orders:
                claim = self._claim(order.key)
                if claim is None:
                    supervisor.poke(self._hints, order.key)
                else:
                    claimed.append((order, claim))
            if claimed:
                os.fsync(self._claims)
        except OSError as error:
            # Disk full, most likely. Nothing was started; the agent orders again what it sees no record of.
            _log(f"cannot claim: {error.strerror}")
            for order, claim in claimed:
                os.unlink(order.key, dir_fd=self._claims)
                os.close(claim)
            return
        while claimed:
            order, claim = claimed.pop(0)
            self._fork(order, claim, [other for _, other in claimed])
            os.close(claim)

    def _claim(self, key: str) -> int | None:
        """The new claim, locked and not yet durable, or one to take over; None if the attempt was launched before."""
        if not records.is_key(key):
            raise fields.BadFrame("not a key")
        claim = records.claim(self._claims, key)
        if claim is None:
            return self._take_over(key)
        try:
            os.write(claim, records.claim_line(self._boot_id))
        except OSError:
            os.unlink(key, dir_fd=self._claims)
            os.close(claim)
            raise
        return claim

    def _take_over(self, key: str) -> int | None:
        """The claim of an attempt that an earlier spawner claimed but certainly never started."""
        claim = records.take_lock(self._claims, key)
        if claim is None:
            return None
        record = records.read(claim)
        if record.end is None and not record.supervisor_pid and record.boot_id == self._boot_id:
            return claim
        os.close(claim)
        return None

    def _fork(self, order: fields.Order, claim: int, others: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            end = records.End("launch_failed", time.time(), f"cannot start a process on this node: {error.strerror}")
            supervisor.write_durably(claim, records.end_line(end))
            supervisor.poke(self._hints, order.key)
            return
        if pid == 0:
            self._become_supervisor(order, claim, others)
        self._supervisors[pid] = order.key
        self._pids[order.key] = pid

    def _become_supervisor(self, order: fields.Order, claim: int, others: list[int]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            self._prctl(tree.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            for other in (*others, self._wakeup, self._wakeup_end, *self._adopted, self._claims, self._lock):
                os.close(other)
            self._poll.close()
            self._listener.close()
            if self._agent is not None:
                self._agent.close()
            group = self._cgroups.group(order.key)
            supervisor.Supervisor(order, claim, self._hints, group, self._scripts + order.key.encode()).run()
        except BaseException:  # noqa: BLE001 - it must not return into the loop of the spawner, whatever happened
            _log(traceback.format_exc())
        finally:
            os._exit(70)

    def _cancel(self, key: str, grace_s: float) -> None:
        """Write the grace into the record, then signal the supervisor; what was never launched, never will be."""
        try:
            claim = self._claim(key)
            if claim is not None:
                end = records.End("cancelled", time.time(), "cancelled before it was launched")
                supervisor.write_durably(claim, records.end_line(end))
                os.fsync(self._claims)
                os.close(claim)
                supervisor.poke(self._hints, key)
                return
        except OSError as error:
            _log(f"cannot record the cancel of {key}: {error.strerror}")
            return
        number = self._pids.get(key)
        if number is None:
            supervisor.poke(self._hints, key)
            return
        claim = os.open(key, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._claims)
        os.write(claim, records.cancel_line(grace_s))
        os.close(claim)
        if number in self._adopted:
            signal.pidfd_send_signal(number, signal.SIGTERM)
        else:
            os.kill(number, signal.SIGTERM)  # Our own child that we have not reaped: the id is still its own.

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            key = self._supervisors.pop(pid, None)
            if key is None:
                continue  # An orphan of a supervisor that was killed.
            self._pids.pop(key, None)
            if status != 0:
                self._lose(key, "its supervisor was killed" if os.WIFSIGNALED(status) else "its supervisor failed")

    def _lose_adopted(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        key = self._adopted.pop(pidfd)
        self._pids.pop(key, None)
        self._lose(key, "its supervisor was killed")

    def _lose(self, key: str, detail: str) -> None:
        """A supervisor is gone: if it wrote no end, kill what it left and write the end for it."""
        claim = records.take_lock(self._claims, key)
        if claim is None:
            return
        record = records.read(claim)
        if record.end is None:
            self._kill_left(key, record)
            supervisor.write_durably(claim, records.end_line(records.End("supervisor_lost", time.time(), detail)))
            supervisor.poke(self._hints, key)
        os.close(claim)

    def _kill_left(self, key: str, record: records.Record) -> None:
        group = self._cgroups.group(key)
        if group.exists():
            group.kill()
            group.remove()
        # What a dead supervisor of ours leaves becomes our child.
        tree.signal_tree(signal.SIGKILL, spared=frozenset(self._supervisors))
        if record.marks and record.boot_id == self._boot_id:
            tree.kill_marked(record.marks)

    def _recover(self) -> None:
        """Adopt the supervisors of an earlier spawner, and end what nobody looks after any more."""
        for key in os.listdir(self._claims):
            if not records.is_key(key):
                continue
            record = records.read_named(self._claims, key)
            if record is None or record.end is not None:
                continue
            if record.boot_id != self._boot_id:
                self._lose(key, "the node was restarted")
            elif record.supervisor_pid:
                self._adopt(key, record.supervisor_pid)

    def _adopt(self, key: str, pid: int) -> None:
        """Pin the supervisor by pidfd; that the lock is still held afterwards proves that it is the right process."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pidfd = -1
        claim = records.take_lock(self._claims, key)
        if claim is not None or pidfd < 0:
            if claim is not None:
                os.close(claim)
            if pidfd >= 0:
                os.close(pidfd)
            self._lose(key, "its supervisor was killed")
            return
        self._adopted[pidfd] = key
        self._pids[key] = pidfd


def main(directory: str) -> None:
    """Serve on `spawner.sock` in the directory; ends at once if another spawner does."""
    os.umask(0o022)
    lock = os.open(f"{directory}/spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(0)  # The agent connects to the other one, or tries again.
    path = f"{directory}/spawner.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.lexists(path):
        os.unlink(path)
    spawner = Spawner(directory, lock)
    old_mask = os.umask(0o177)
    listener.bind(path)
    os.umask(old_mask)
    listener.listen(LISTEN_BACKLOG)
    # Supervisors inherit the mask; it keeps a cancel that comes right after the fork for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    spawner.serve(listener)
    os.unlink(path)


def _ignore(_number: int, _frame: object) -> None:
    """A handler must exist, or the kernel would not write to the wake-up pipe."""


def _log(text: str) -> None:
    os.write(2, (text.rstrip() + "\n").encode("utf-8", "backslashreplace"))

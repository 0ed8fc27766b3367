"""The spawner: the resident parent of the supervisors of one agent. Small, so that a fork of it is cheap.

It claims attempts durably, a batch with one sync, and only then gives each to a supervisor; passes cancels on; notices
supervisors that died without an end record, kills what they left and writes the end for them. It survives the agent
and is found again through its socket. What it is told and what it tells is otherwise in the records (records.py).
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

from . import fields, records, supervisor, tree
from .cgroups import Group
from .failpoints import reach

LISTEN_BACKLOG = 4
IDLE_S = 30.0
"""Supervisors that had nothing to do for so long are let go, but for one."""
ORPHANS_S = 5.0
INHERITED_S = 0.5
"""How often to look whether the supervisors of an earlier spawner still live."""
READ_BYTES = 1 << 18
SCRATCH = "spawner.new"
DAMAGED = "its record is damaged, so nobody can tell whether it ran"


class Child:
    """A supervisor that we forked. `key` is empty while it waits for work."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.key = ""


class Spawner:
    """The state of one spawner. All paths are below `directory`, which only this user can write."""

    def __init__(self, directory: str, cgroups: dict[str, str], lock: int) -> None:
        self._lock = lock
        self._claims = os.open(f"{directory}/{records.CLAIMS}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        scripts = os.fsencode(f"{os.path.abspath(directory)}/{records.SCRIPTS}/")
        # Opened for both, so that it never fails for want of a reader: hints wait in the pipe for the next agent.
        self._hints = os.open(f"{directory}/hints", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.place = supervisor.Place(self._hints, cgroups, scripts)
        self._boot_id = records.boot_id()
        self._children: dict[int, Child] = {}
        """By the descriptor of our end of the channel."""
        self._idle: list[Child] = []
        self._busy: dict[str, Child] = {}
        self._inherited: set[str] = set()
        """What an earlier spawner has claimed, as long as it is not known to have ended."""
        self._agent: socket.socket | None = None
        self._buffer = bytearray()
        self._is_stopping = False
        self._poll = select.epoll()

    def serve(self, listener: socket.socket) -> None:
        """Until told to stop and the last attempt is over."""
        self._listener = listener
        tree.adopt_orphans()
        records.clear(self._claims, SCRATCH)
        self._inherited.update(filter(records.is_key, os.listdir(self._claims)))
        self._look_after_inherited()
        reach("spawner.recovered")
        self._poll.register(listener.fileno(), select.EPOLLIN)
        gc.collect()
        gc.freeze()
        gc.disable()
        looked_s = time.monotonic()
        while not (self._is_stopping and not self._busy and not self._inherited):
            pause_s = INHERITED_S if self._inherited else IDLE_S if len(self._idle) > 1 else None
            happened = self._poll.poll(pause_s)
            if self._inherited and time.monotonic() - looked_s >= INHERITED_S:
                self._look_after_inherited()
                looked_s = time.monotonic()
            if not happened and pause_s == IDLE_S:
                for child in self._idle[1:]:
                    child.channel.shutdown(socket.SHUT_WR)  # It ends, and we hear of it by the channel.
                del self._idle[1:]
            for descriptor, _ in happened:
                if descriptor in self._children:
                    self._hear(self._children[descriptor])
                elif descriptor == listener.fileno():
                    self._accept(listener)
                elif self._agent is not None and descriptor == self._agent.fileno():
                    self._listen(self._agent)

    def _accept(self, listener: socket.socket) -> None:
        """The latest agent counts. Only the owner of the socket, and root, can connect."""
        self._drop_agent()
        self._agent, _ = listener.accept()
        self._poll.register(self._agent.fileno(), select.EPOLLIN)

    def _drop_agent(self) -> None:
        if self._agent is not None:
            self._poll.unregister(self._agent.fileno())
            self._agent.close()
            self._agent = None
            self._buffer.clear()

    def _listen(self, agent: socket.socket) -> None:
        """Carry out every whole frame of what is there, and only then take it out of the socket: the agent sees by that
        which of its orders cannot begin any more. A reset connection is an agent that was killed."""
        try:
            data = agent.recv(READ_BYTES, socket.MSG_PEEK)
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
                    self._launch(fields.split_launch(frame))
                elif verb == b"cancel":
                    self._cancel(frame.text(), frame.number())
                elif verb == b"stop":
                    self._is_stopping = True
                else:
                    raise fields.BadFrame("unknown verb")
            agent.recv(len(data), socket.MSG_WAITALL)
        except fields.BadFrame as error:
            _log(f"closing the agent's connection: {error}")
            self._drop_agent()

    def _launch(self, orders: list[tuple[str, list[bytes]]]) -> None:
        """Claim all, make the claims durable, and only then hand them to supervisors."""
        reach("spawner.launch_received")
        claimed: list[tuple[str, list[bytes], int]] = []
        try:
            for key, order in orders:
                claim = self._claim(key)
                if claim is None:
                    supervisor.poke(self._hints, key)
                else:
                    claimed.append((key, order, claim))
            if claimed:
                os.fsync(self._claims)
                reach("spawner.claims_durable")
        except OSError as error:
            # Disk full, most likely. Nothing was started; the agent orders again what it sees no record of.
            _log(f"cannot claim: {error.strerror}")
            for key, _, claim in claimed:
                os.unlink(key, dir_fd=self._claims)
                os.close(claim)
            return
        claimed.reverse()
        while claimed:
            key, order, claim = claimed.pop()
            self._hand_over(key, order, claim, [other for _, _, other in claimed])
            os.close(claim)

    def _claim(self, key: str) -> int | None:
        """The new claim, locked and not yet durable, or one to take over; None if the attempt was launched before."""
        if not records.is_key(key):
            raise fields.BadFrame("not a key")
        claim = records.claim(self._claims, key, records.claim_line(self._boot_id), SCRATCH)
        if claim is None:
            return self._take_over(key)
        reach("spawner.claim_written")
        return claim

    def _take_over(self, key: str) -> int | None:
        """The claim of an attempt that an earlier spawner claimed but certainly never started."""
        claim = records.take_lock(self._claims, key)
        if claim is None:
            return None
        record = records.read(claim)
        if record.end is None and not record.supervisor_pid and record.boot_id == self._boot_id:
            if not record.is_damaged:
                return claim
            self._inherited.add(key)
        os.close(claim)
        return None

    def _hand_over(self, key: str, order: list[bytes], claim: int, others: list[int]) -> None:
        """Give the order and the locked claim to a supervisor. From then on the lock is its."""
        frame = fields.pack(order)
        while True:
            try:
                child = self._idle.pop() if self._idle else self._fork([claim, *others])
            except OSError as error:
                text = f"cannot start a process on this node: {error.strerror}"
                self._end(key, claim, records.End("launch_failed", time.time(), text))
                return
            try:
                sent = socket.send_fds(child.channel, [frame], [claim])
                if sent < len(frame):  # To send nothing could fail, too, when it has begun what it has whole.
                    child.channel.sendall(frame[sent:])
            except OSError:
                continue  # It was killed before it had the whole order; its channel says so as well. Take another.
            child.key = key
            self._busy[key] = child
            reach("spawner.handed_over")
            return

    def _fork(self, claims: list[int]) -> Child:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._become_supervisor(theirs, [*claims, ours.fileno()])
        theirs.close()
        child = Child(pid, ours)
        self._children[ours.fileno()] = child
        self._poll.register(ours.fileno(), select.EPOLLIN)
        return child

    def _become_supervisor(self, channel: socket.socket, others: list[int]) -> NoReturn:
        try:
            tree.adopt_orphans()
            # Nothing of ours may stay open: a lock would stay locked, and a channel would not end with us.
            for other in (*others, *self._children, self._claims, self._lock):
                os.close(other)
            self._poll.close()
            self._listener.close()
            if self._agent is not None:
                self._agent.close()
            supervisor.supervise(channel, self.place)
        except BaseException:  # noqa: BLE001 - it must not return into the loop of the spawner, whatever happened
            _log(traceback.format_exc())
        finally:
            os._exit(70)

    def _hear(self, child: Child) -> None:
        """A supervisor is free again, or gone."""
        try:
            is_done = child.channel.recv(16) == supervisor.DONE
        except OSError:
            is_done = False
        if is_done:
            self._busy.pop(child.key, None)
            child.key = ""
            self._idle.append(child)
            return
        self._poll.unregister(child.channel.fileno())
        del self._children[child.channel.fileno()]
        child.channel.close()
        status = os.waitpid(child.pid, 0)[1]
        if child.key:
            self._busy.pop(child.key, None)
            self._lose(child.key, "its supervisor was killed" if os.WIFSIGNALED(status) else "its supervisor failed")
        elif child in self._idle:
            self._idle.remove(child)

    def _cancel(self, key: str, grace_s: float) -> None:
        """Write the grace into the record, then signal the supervisor; what was never launched, never will be."""
        reach("spawner.cancel_received")
        try:
            claim = self._claim(key)
            if claim is not None:
                os.fsync(self._claims)
                self._end(key, claim, records.End("cancelled", time.time(), "cancelled before it was launched"))
                os.close(claim)
                return
        except OSError as error:
            _log(f"cannot record the cancel of {key}: {error.strerror}")
            return
        try:
            claim = os.open(key, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._claims)
            records.append(claim, records.cancel_line(grace_s))
            os.close(claim)
            reach("spawner.cancel_recorded")
        except OSError as error:
            _log(f"cannot write the cancel of {key}: {error.strerror}")
        if key in self._busy:
            os.kill(self._busy[key].pid, signal.SIGTERM)  # Our own child that we have not reaped: the id is its own.
        elif (record := records.read_named(self._claims, key)) is not None and record.supervisor_pid:
            records.signal_holder(self._claims, key, record.supervisor_pid, signal.SIGTERM)
        supervisor.poke(self._hints, key)

    def _lose(self, key: str, detail: str) -> None:
        """A supervisor is gone: if it wrote no end, kill what it left and write the end for it."""
        claim = records.take_lock(self._claims, key)
        if claim is None:
            return
        if records.read(claim).end is None:
            reach("spawner.lost_noticed")
            self._kill_left(key)
            self._end(key, claim, records.End("supervisor_lost", time.time(), detail))
            reach("spawner.lost_recorded")
        os.close(claim)

    def _end(self, key: str, claim: int, end: records.End) -> None:
        supervisor.write_durably(claim, records.end_line(end))
        supervisor.poke(self._hints, key)

    def _kill_left(self, key: str) -> None:
        group = Group(self.place.cgroups, key)
        group.kill()
        group.remove()
        # What a dead supervisor of ours leaves becomes our child.
        supervisors = frozenset(child.pid for child in self._children.values())
        tree.kill_children(supervisors, time.monotonic() + ORPHANS_S)

    def _look_after_inherited(self) -> None:
        """End what nobody looks after any more. Of what an earlier spawner handed over, the lock tells."""
        for key in tuple(self._inherited):
            claim = records.take_lock(self._claims, key)
            if claim is None:
                if records.read_named(self._claims, key) is None:
                    self._inherited.remove(key)
                continue
            record = records.read(claim)
            os.close(claim)
            self._inherited.remove(key)
            if record.is_damaged:
                self._lose(key, DAMAGED)
            elif record.boot_id != self._boot_id:
                self._lose(key, "the node was restarted")
            elif record.supervisor_pid:
                self._lose(key, "its supervisor was killed")


def main(arguments: list[str]) -> None:
    """DIRECTORY [CONTROLLER=BASE ...]: serve on `spawner.sock` in the directory, unless another spawner does."""
    directory, *words = arguments
    os.umask(0o177)
    tree.close_to_others()
    lock = os.open(f"{directory}/spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(0)  # The agent connects to the other one, or tries again.
    path = f"{directory}/spawner.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.lexists(path):
        os.unlink(path)
    spawner = Spawner(directory, dict(word.split("=", 1) for word in words), lock)
    listener.bind(path)
    os.umask(0o022)
    listener.listen(LISTEN_BACKLOG)
    # Supervisors inherit the mask; it keeps a cancel that comes right after the fork for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    spawner.serve(listener)
    os.unlink(path)


def _log(text: str) -> None:
    os.write(2, (text.rstrip() + "\n").encode("utf-8", "backslashreplace"))

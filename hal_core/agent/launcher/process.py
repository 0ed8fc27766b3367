"""Starting one process of a job: become the user, and only then touch any path that a user can change.

Two ways to the same end. The plain one (same user, no limits) opens the files in the supervisor and uses posix_spawn,
which costs a third of a fork. The other forks a child that joins the cgroups, becomes the user, verifies it, changes
the directory, opens the files and executes; any failure ends the child and is told through a pipe.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
import stat

from .fields import Order

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
SHOWN_LENGTH_MAX = 300
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes as shells use them when a command cannot be started."""


class LaunchFailed(Exception):
    """The text is for the job's owner. `exit_code` only if the command itself could not be executed."""

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(text)


def needs_other_user(order: Order) -> bool:
    """Whether the job's owner is somebody else. Raises LaunchFailed if we could not become that user anyway."""
    uid = order.program.uid
    if uid != os.geteuid() != 0:
        raise LaunchFailed(f"the agent runs as uid {os.geteuid()} and only root could start a job of uid {uid}")
    return uid != os.geteuid()


def start_plain(order: Order, script_path: bytes) -> list[int]:
    """Start all processes of the order as this very user. Changes the directory of the caller."""
    descriptors = enter(order, is_first=True)
    pids: list[int] = []
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)]
    for task in order.tasks:
        environment = _environment(order, task)
        path, arguments = _program(order, script_path, environment)
        try:
            pid = os.posix_spawn(
                path,
                arguments,
                environment,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            raise _explain(error, path, order) from None
        pids.append(pid)
    for descriptor in set(descriptors):
        os.close(descriptor)
    return pids


def start_forked(order: Order, script_path: bytes, group: list[int]) -> list[int]:
    """Start all processes of the order in the given cgroups (descriptors of cgroup.procs), as the job's owner."""
    return [_fork_one(order, script_path, group, number) for number in range(len(order.tasks))]


def _fork_one(order: Order, script_path: bytes, group: list[int], number: int) -> int:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _become_job(order, script_path, group, number)
        except LaunchFailed as failure:
            os.write(writing, b"%d %s" % (failure.exit_code or 0, str(failure).encode("utf-8", "replace")))
        except BaseException as error:  # noqa: BLE001 - this process must not live on as a copy of the supervisor
            os.write(writing, b"0 %s" % repr(error).encode("utf-8", "replace"))
        finally:
            os._exit(NOT_FOUND)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read()  # Ends when exec closes the other end.
    if told:
        os.waitpid(pid, 0)
        code, _, text = told.decode("utf-8", "replace").partition(" ")
        raise LaunchFailed(text, int(code) or None)
    return pid


def _become_job(order: Order, script_path: bytes, group: list[int], number: int) -> None:
    os.setsid()
    for descriptor in group:
        os.write(descriptor, b"0")
    if needs_other_user(order):
        become_user(order.program.uid, order.program.gid)
    descriptors = enter(order, is_first=number == 0)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    environment = _environment(order, order.tasks[number])
    path, arguments = _program(order, script_path, environment)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(path, arguments, environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise _explain(error, path, order) from None


def become_user(uid: int, gid: int) -> None:
    """Take on the user for good, with the groups that this node knows. Verified; any doubt is a LaunchFailed."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise LaunchFailed(f"uid {uid} is not known on this node") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if gid not in groups:
        raise LaunchFailed(f"user {entry.pw_name} is not in group {gid} on this node")
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise LaunchFailed(f"cannot become user {entry.pw_name}: {error.strerror}") from None
    is_user = os.getresuid() == (uid, uid, uid) and os.getresgid() == (gid, gid, gid)
    if not is_user or set(os.getgroups()) != set(groups) or (uid != 0 and _can_return_to_root()):
        raise LaunchFailed(f"cannot become user {entry.pw_name}: the system kept other rights")


def _can_return_to_root() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def enter(order: Order, is_first: bool) -> tuple[int, int, int]:
    """Change to the working directory and open input, output and error. Only `is_first` truncates."""
    try:
        os.chdir(order.program.directory)
    except OSError as error:
        raise LaunchFailed(f"working directory {_show(order.program.directory)}: {error.strerror}") from None
    source = _open(order.input_path, os.O_RDONLY, "input file")
    # O_APPEND always: several processes share the file, and nothing that one wrote is overwritten by another.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    output = _open(order.output_path, flags, "output file")
    is_joined = order.error_path in (b"", order.output_path)
    error_output = output if is_joined else _open(order.error_path, flags, "error file")
    if is_first and not order.is_appending:
        for descriptor in {output, error_output}:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.ftruncate(descriptor, 0)
    return source, output, error_output


def _open(path: bytes, flags: int, what: str) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o666)
    except OSError as error:
        texts: dict[int, str | None] = {
            errno.ELOOP: "is a symbolic link",
            errno.ENXIO: "is a FIFO that nobody reads, or a socket",
        }
        raise LaunchFailed(f"{what} {_show(path)}: {texts.get(error.errno or 0, error.strerror)}") from None
    mode = os.fstat(descriptor)
    # Character devices of major 1 are the memory devices: /dev/null, /dev/zero, /dev/full.
    is_allowed = stat.S_ISREG(mode.st_mode) or stat.S_ISFIFO(mode.st_mode)
    if not is_allowed and not (stat.S_ISCHR(mode.st_mode) and os.major(mode.st_rdev) == 1):
        os.close(descriptor)
        raise LaunchFailed(f"{what} {_show(path)}: is not a regular file")
    os.set_blocking(descriptor, True)
    # Below 3 it would be in the way of the standard descriptors.
    return descriptor


def _environment(order: Order, task: list[bytes]) -> dict[bytes, bytes]:
    strings = order.program.environment + order.environment + task
    return dict(string.split(b"=", 1) for string in strings)


def _program(order: Order, script_path: bytes, environment: dict[bytes, bytes]) -> tuple[bytes, list[bytes]]:
    """The path to execute and its arguments. A command without a slash is looked for in the job's own PATH."""
    if order.program.script:
        return script_path, [script_path, *order.program.arguments]
    command = order.program.arguments[0]
    if b"/" in command:
        return command, order.program.arguments
    found_unusable = False
    for directory in environment.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = os.path.join(directory or b".", command)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path, order.program.arguments
            found_unusable = True
    if found_unusable:
        raise LaunchFailed(f"command {_show(command)}: Permission denied", NOT_EXECUTABLE)
    raise LaunchFailed(f"command {_show(command)}: not found in PATH on this node", NOT_FOUND)


def _explain(error: OSError, path: bytes, order: Order) -> LaunchFailed:
    """Why exec failed, in words that name the file to look at."""
    what = "the script" if order.program.script else f"command {_show(path)}"
    interpreter = _interpreter(path)
    if error.errno == errno.ENOENT and interpreter:
        text = f"{what}: its first line names the interpreter {_show(interpreter)}, which does not exist on this node"
        return LaunchFailed(text, NOT_FOUND)
    if error.errno == errno.EACCES and interpreter and not os.access(interpreter, os.X_OK):
        return LaunchFailed(f"{what}: its interpreter {_show(interpreter)} may not be executed", NOT_EXECUTABLE)
    if error.errno == errno.ENOEXEC:
        return LaunchFailed(f"{what}: is neither a program for this machine nor begins with #!", NOT_EXECUTABLE)
    if error.errno == errno.E2BIG:
        return LaunchFailed(f"{what}: arguments and environment together are too long", NOT_EXECUTABLE)
    return LaunchFailed(f"{what}: {error.strerror}", NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE)


def _interpreter(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return b""
    words = line[2:].split()
    return words[0] if line[:2] == b"#!" and words else b""


def _show(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return text if len(text) <= SHOWN_LENGTH_MAX else text[:SHOWN_LENGTH_MAX] + "..."

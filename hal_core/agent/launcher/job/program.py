"""The last steps to the job's own program, taken as its owner: directory, input and output, environment, exec.

Any failure is a LaunchFailed whose text names what the owner can look at.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from typing import Final, NoReturn

from ..fields import Fields
from .terminal import attend

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
SHOWN_LENGTH_MAX = 300
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes as shells use them when a command cannot be started."""
ALL_CPUS = os.sched_getaffinity(0)
"""Those of the spawner."""
SIGNALS: Final = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""What a job would inherit if it was ignored: by Python, or by whoever started the agent, as nohup does."""


class LaunchFailed(Exception):
    """The text is for the job's owner. `exit_code` only if the command itself could not be executed."""

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(text)


class Program:
    """What to execute and how, as the agent wrote it (agent/orders.py). `script_path` is empty for a command."""

    def __init__(self, fields: Fields, script_path: bytes) -> None:
        self.script_path = script_path
        self.directory = fields.raw()
        self.arguments = fields.items()
        self.environment = fields.items()
        self.environment += fields.items()
        self.tasks = [fields.items() for _ in range(fields.integer())]
        """One list of additional environment strings for each process to start."""
        self.input_path = fields.raw()
        self.output_path = fields.raw()
        self.error_path = fields.raw()
        """Empty: joins the output."""
        self.is_appending = fields.integer() != 0
        self.cpus = {Fields([cpu]).integer() for cpu in fields.items()}
        """To bind to; empty: not bound."""
        self.terminal_path = fields.raw()
        """Where the agent waits for the job's terminal; empty: the job has none."""
        self.terminal_key = fields.raw()

    def execute(self, number: int) -> NoReturn:
        """Become the task of that number."""
        if self.terminal_path:
            self._bind()
            self._change_directory()
            attend(self.terminal_path, self.terminal_key, lambda: self._execute(number))
        for target, descriptor in enumerate(self._enter(is_first=number == 0)):
            os.dup2(descriptor, target)
        self._execute(number)

    def _execute(self, number: int) -> NoReturn:
        path, arguments, environment = self._command(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            os.execve(path, arguments, environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            raise self._explain(error, path) from None

    def spawn(self) -> list[int]:
        """Start all tasks as children, which costs a third of a fork. Changes the directory of the caller."""
        descriptors = self._enter(is_first=True)
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)]
        pids: list[int] = []
        for number in range(len(self.tasks)):
            path, arguments, environment = self._command(number)
            try:
                pid = os.posix_spawn(
                    path,
                    arguments,
                    environment,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=SIGNALS,
                )
            except OSError as error:
                raise self._explain(error, path) from None
            pids.append(pid)
        for descriptor in set(descriptors):
            os.close(descriptor)
        return pids

    def _enter(self, is_first: bool) -> tuple[int, int, int]:
        """Change to the working directory and open input, output and error. Only `is_first` truncates."""
        self._bind()
        self._change_directory()
        source = _open(self.input_path, os.O_RDONLY, "input file")
        # O_APPEND always: several processes share the file, and nothing that one wrote is overwritten by another.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        output = _open(self.output_path, flags, "output file")
        is_joined = self.error_path in (b"", self.output_path)
        error_output = output if is_joined else _open(self.error_path, flags, "error file")
        if is_first and not self.is_appending:
            for descriptor in {output, error_output}:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.ftruncate(descriptor, 0)
        return source, output, error_output

    def _change_directory(self) -> None:
        try:
            os.chdir(self.directory)
        except OSError as error:
            raise LaunchFailed(f"working directory {_show(self.directory)}: {error.strerror}") from None

    def _bind(self) -> None:
        wanted = self.cpus or ALL_CPUS
        if wanted != os.sched_getaffinity(0):
            try:
                os.sched_setaffinity(0, wanted)
            except OSError as error:
                raise LaunchFailed(f"cannot bind to the CPUs {sorted(wanted)}: {error.strerror}") from None

    def _command(self, number: int) -> tuple[bytes, list[bytes], dict[bytes, bytes]]:
        """Path, arguments and environment. A command without a slash is looked for in the job's own PATH."""
        environment = dict(string.split(b"=", 1) for string in self.environment + self.tasks[number])
        if self.script_path:
            return self.script_path, [self.script_path, *self.arguments], environment
        command = self.arguments[0]
        if b"/" in command:
            return command, self.arguments, environment
        found_unusable = False
        for directory in environment.get(b"PATH", DEFAULT_PATH).split(b":"):
            path = os.path.join(directory or b".", command)
            if os.path.isfile(path):
                if os.access(path, os.X_OK):
                    return path, self.arguments, environment
                found_unusable = True
        if found_unusable:
            raise LaunchFailed(f"command {_show(command)}: Permission denied", NOT_EXECUTABLE)
        raise LaunchFailed(f"command {_show(command)}: not found in PATH on this node", NOT_FOUND)

    def _explain(self, error: OSError, path: bytes) -> LaunchFailed:
        """Why exec failed, in words that name the file to look at."""
        what = "the script" if self.script_path else f"command {_show(path)}"
        interpreter = _interpreter(path)
        if error.errno == errno.ENOENT and interpreter:
            name = _show(interpreter)
            text = f"{what}: its first line names the interpreter {name}, which does not exist on this node"
            return LaunchFailed(text, NOT_FOUND)
        if error.errno == errno.EACCES and interpreter and not os.access(interpreter, os.X_OK):
            return LaunchFailed(f"{what}: its interpreter {_show(interpreter)} may not be executed", NOT_EXECUTABLE)
        if error.errno == errno.ENOEXEC:
            return LaunchFailed(f"{what}: is neither a program for this machine nor begins with #!", NOT_EXECUTABLE)
        if error.errno == errno.E2BIG:
            return LaunchFailed(f"{what}: arguments and environment together are too long", NOT_EXECUTABLE)
        return LaunchFailed(f"{what}: {error.strerror}", NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE)


def _open(path: bytes, flags: int, what: str) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o666)
    except OSError as error:
        texts: dict[int, str | None] = {
            errno.ELOOP: "is a symbolic link",
            errno.ENXIO: "is a FIFO that nobody reads, a socket, or a device that is not there",
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

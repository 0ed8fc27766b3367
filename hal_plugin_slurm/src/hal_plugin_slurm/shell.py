"""Runs programs for the command-line way: on this machine, or on another one through ssh. Knows nothing of Slurm.

The environment is made here, not inherited: what the daemon has in its own is nobody's business in a job.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

import attrs
import trio

from hal_plugin_slurm.way import SlurmSilent, SlurmUnanswered

SSH_FAILED = 255
"""The exit code of ssh when it could not reach the other machine, or lost it."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@attrs.frozen
class Done:
    """How a program ended, with all that it wrote."""

    code: int
    output: str
    error: str


@attrs.frozen
class Shell:
    """`host` empty: this machine; else a name for ssh, which must get in without asking. `answer_timeout_s` is for
    one program."""

    host: str = ""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    answer_timeout_s: float = 60.0

    async def run(self, words: Sequence[str], text: str = "") -> Done:
        """Run one program with `text` as its input. Raises SlurmSilent if it did not begin, SlurmUnanswered if it did
        not end in time or its end is not known."""
        values = {"PATH": PATH, "LANG": "C.UTF-8", **self.environment}
        argv = list(words)
        if self.host:
            assignments = [f"{name}={value}" for name, value in values.items()]
            command = " ".join(shlex.quote(word) for word in ("env", *assignments, *words))
            argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", self.host, command]
            values = dict(os.environ)  # ssh finds its agent and its files by them
        try:
            with trio.fail_after(self.answer_timeout_s):
                done = await trio.run_process(
                    argv,
                    stdin=text.encode("utf-8", "surrogateescape"),
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=values,
                    start_new_session=True,
                )
        except trio.TooSlowError:
            raise SlurmUnanswered(f"{words[0]} did not end within {self.answer_timeout_s:g} s") from None
        except OSError as error:
            raise SlurmSilent(f"cannot start {argv[0]}: {error.strerror or error}") from None
        return self._done(words[0], done)

    def _done(self, name: str, done: subprocess.CompletedProcess[bytes]) -> Done:
        output, error = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        if self.host and done.returncode == SSH_FAILED:
            raise SlurmUnanswered(f"ssh {self.host}: {error.strip() or 'lost'}")
        if done.returncode < 0:
            raise SlurmUnanswered(f"{name} was ended by signal {-done.returncode}")
        return Done(done.returncode, output, error)

"""A secret in a plugin's options: where it is, never what it is. For `structure_options`.

    secret: {file: /etc/hal/cloud.secret}
    secret: {command: [pass, show, cloud]}

It is read when it is needed, so that a new one counts at once. No text of an error has any part of it.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import attrs

from hal_core.errors import Refused

COMMAND_S_MAX = 30.0


def _is_one_of_two(secret: Secret, attribute: attrs.Attribute[tuple[str, ...]], command: tuple[str, ...]) -> None:
    if bool(secret.file) == bool(command):
        raise ValueError("expected either a file or a command that prints it")
    if secret.file and not secret.file.startswith("/"):
        raise ValueError(f"expected an absolute path, not {secret.file!r}")


@attrs.frozen
class Secret:
    """A file that nobody else may read, or a program with its arguments that prints it."""

    file: str = ""
    command: tuple[str, ...] = attrs.field(default=(), validator=_is_one_of_two)

    def read(self, option: str) -> str:
        """The secret, without white space around it. Blocks. Raises Refused, which names the option."""
        text = (self._from_file if self.file else self._from_command)(option).strip()
        if not text:
            raise Refused(f"{option}: {self.file or self.command[0]} holds nothing")
        return text

    def _from_file(self, option: str) -> str:
        try:
            with Path(self.file).open(encoding="utf-8") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & stat.S_IROTH:
                    raise Refused(f"{option}: everybody may read {self.file} (mode {mode:04o}): chmod o-r {self.file}")
                return file.read()
        except OSError as error:
            raise Refused(f"{option}: {self.file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Refused(f"{option}: {self.file} is no text") from None

    def _from_command(self, option: str) -> str:
        program = self.command[0]
        try:
            done = subprocess.run(
                self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=COMMAND_S_MAX, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refused(f"{option}: {program} did not end within {COMMAND_S_MAX:g} s") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{option}: {program}: {getattr(error, 'strerror', 'its output is no text')}") from None
        if done.returncode:
            # What it printed may be the secret, or a part of it: it is not repeated.
            raise Refused(f"{option}: {program} failed with exit code {done.returncode}; run it by hand to see why")
        return done.stdout

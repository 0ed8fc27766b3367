"""The JSON web token for slurmrestd: read from a file, or made by a command whenever it is about to expire.

slurmrestd answers an expired token as it answers a dead slurmctld. So the token is looked into before it is used: what
it says of its end and its user is plain text in it. It is never logged.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Callable

import attrs
import trio

from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.way import SlurmSilent

RENEWED_BEFORE_S = 60.0
"""A token that ends sooner is renewed first: a request must not outlive it."""


@attrs.frozen
class Token:
    text: str
    user: str
    """Whose it is."""
    end_time_s: float


class Tokens:
    """`path` is read again when the token in it has ended; `command` prints one, alone or as SLURM_JWT=..."""

    def __init__(self, path: str, command: str, now_s: Callable[[], float], shell: Shell | None = None) -> None:
        self._path = path
        self._command = shlex.split(command)
        self._now_s = now_s
        self._shell = shell or Shell(answer_timeout_s=30.0)
        self._token: Token | None = None
        self._lock = trio.Lock()

    async def current(self) -> Token:
        """A token that is good for a while. Raises SlurmSilent, saying what is wrong with the one there is."""
        async with self._lock:
            if self._token is None or self._token.end_time_s < self._now_s() + RENEWED_BEFORE_S:
                self._token = await self._renew()
            return self._token

    def reject(self) -> None:
        """The current one was refused: another is fetched at the next request."""
        self._token = None

    async def _renew(self) -> Token:
        if self._command:
            done = await self._shell.run(self._command)
            if done.code != 0:
                raise SlurmSilent(f"token command {self._command[0]}: {done.error.strip() or f'code {done.code}'}")
            token, source = read_token(done.output), f"the command {self._command[0]}"
        else:
            try:
                token, source = read_token(await trio.Path(self._path).read_text()), self._path
            except OSError as error:
                raise SlurmSilent(f"token file {self._path}: {error.strerror or error}") from None
        if token is None:
            raise SlurmSilent(f"{source} gave no JSON web token: `scontrol token` prints one")
        if token.end_time_s <= self._now_s():
            raise SlurmSilent(f"the token of {source} expired {self._now_s() - token.end_time_s:.0f} s ago")
        return token


def read_token(text: str) -> Token | None:
    """The token in a line such as `SLURM_JWT=ey...`, or alone; None if there is none."""
    word = text.strip().removeprefix("SLURM_JWT=")
    parts = word.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        user = claims.get("sun") or claims.get("username") or claims.get("sub")
        return Token(word, str(user), float(claims["exp"]))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None

"""Where a session's workers on nodes dial in, and what must survive the broker so that they find its successor."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from hal_core.sessions.sizes import Part
from hal_core.wire import certificates
from hal_core.wire.private_files import read_private, write_private

STATE: Final = "workers"
KEY: Final = "workers.key"
CERTIFICATE: Final = "workers.pem"


class Door(msgspec.Struct):
    """What workers believe, and which jobs they are."""

    port: int
    secret: str
    authority_pem: str
    job_count: int = 0
    """How often its jobs had ended when a broker came back to it: each time there are new ones."""
    job_ids: tuple[int, ...] = ()
    """All that there were."""
    parts: tuple[Part, ...] = ()
    """The jobs that there are, or that are to be submitted."""
    growth_count: int = 0
    """How often it was made larger: each time there are new jobs, with names of their own."""
    weight: int = 0
    """Of its elastic jobs, if it was changed; 0 if not."""
    priority: int | None = None
    """Of its jobs, if it was changed."""

    def keep(self, directory: Path) -> None:
        write_private(directory / STATE, msgspec.json.encode(self))


def known_door(directory: Path) -> Door | None:
    path = directory / STATE
    return msgspec.json.decode(read_private(path), type=Door) if path.exists() else None


def new_door(directory: Path, session: str, port: int) -> Door:
    """An authority and a certificate for this session alone."""
    key, now_s = certificates.make_key(), time.time()
    authority_pem = certificates.make_authority(f"session {session}", key, now_s)
    own_key = certificates.make_key()
    issued = certificates.Signer.load(authority_pem, key).sign_daemon(own_key, now_s)
    write_private(directory / KEY, own_key)
    write_private(directory / CERTIFICATE, issued.pem)
    door = Door(port, secrets.token_urlsafe(32), authority_pem.decode())
    door.keep(directory)  # Last: it says that all the rest is there.
    return door

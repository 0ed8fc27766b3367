"""The cluster's certificate authority: a directory beside the journal, used by the daemon and by `hal ca`, `hal agent`.

    ca/authority.key, authority.pem     made once by `hal ca init`; the key never leaves the directory
    ca/daemon.key, daemon.pem           what the daemon shows to agents
    ca/tokens/<sha256 of the secret>    a join token that was not used yet: node and expiry
    ca/issued, ca/revoked               one line for each certificate: serial, node, and its end or who revoked it

A join token is good for one node, once, and for a limited time. It carries the authority's certificate, so that the
new node trusts nobody else from the first byte on; of its secret only the hash is kept.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import msgspec

from hal_core.errors import Refused, UserError
from hal_core.wire import certificates
from hal_core.wire.private_files import (
    append_private,
    check_directory,
    check_private,
    make_private_directory,
    read_private,
    sync_directory,
    write_private,
)

TOKEN_PREFIX: Final = "hal-join-1."  # noqa: S105 - every token begins so
TOKEN_LIFE_S: Final = 3600.0
SECRET_BYTES: Final = 32
TOKEN_CHARACTERS_MAX: Final = 8192


@attrs.frozen
class JoinToken:
    """What a new node is given: who it will be, whom it may trust, and the secret."""

    node: str
    authority_pem: str
    secret: str

    def text(self) -> str:
        return TOKEN_PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises Refused for anything that is not a whole token."""
        text = text.strip()
        if not text.startswith(TOKEN_PREFIX) or len(text) > TOKEN_CHARACTERS_MAX:
            raise Refused(f"this is no join token: it must begin with {TOKEN_PREFIX} (made by `hal agent token NODE`)")
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(text.removeprefix(TOKEN_PREFIX)), type=cls)
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            raise Refused("this join token is damaged; copy it again, whole") from None


@attrs.frozen
class StoredToken:
    """What is kept of a token, in a file named by the hash of its secret."""

    node: str
    expiry_s: float
    by: str = ""
    """Who made it."""


@attrs.frozen
class Enrolled:
    """A node has a certificate; `by` is who made its token."""

    node: str
    pem: bytes
    by: str


class Authority:
    """An existing authority. `create` makes one."""

    def __init__(self, directory: Path) -> None:
        if not (directory / "authority.pem").exists():
            raise Refused(f"{directory} holds no authority: run `hal ca init` once")
        for name in ("authority.key", "authority.pem", "daemon.key", "daemon.pem"):
            check_private(directory / name)
        check_directory(directory / "tokens")
        self.directory = directory
        self._revoked: frozenset[int] = frozenset()
        self._revoked_stamp: tuple[int, int] | None = None

    @classmethod
    def create(cls, directory: Path, cluster: str, now_s: float) -> Authority:
        """Raises Refused if there is one already: a new authority would lock every node out."""
        if (directory / "authority.pem").exists():
            raise Refused(f"{directory} holds an authority already; all nodes trust it")
        make_private_directory(directory)
        make_private_directory(directory / "tokens")
        key = certificates.make_key()
        write_private(directory / "authority.key", key)
        write_private(directory / "daemon.key", certificates.make_key())
        pem = certificates.make_authority(cluster, key, now_s)
        signer = certificates.Signer.load(pem, key)
        daemon = signer.sign_daemon(read_private(directory / "daemon.key"), now_s)
        write_private(directory / "daemon.pem", daemon.pem)
        write_private(directory / "authority.pem", pem)  # last: it says that all the rest is there
        return cls(directory)

    def renew_daemon(self, now_s: float) -> bool:
        """Make the daemon's certificate anew if it is time. Whether it was."""
        path = self.directory / "daemon.pem"
        if not certificates.is_due(read_private(path), now_s):
            return False
        write_private(path, self._signer().sign_daemon(read_private(self.directory / "daemon.key"), now_s).pem)
        return True

    def make_token(self, node: str, now_s: float, life_s: float = TOKEN_LIFE_S, by: str = "") -> JoinToken:
        secret = secrets.token_urlsafe(SECRET_BYTES)
        stored = StoredToken(node, now_s + life_s, by)
        write_private(self._token_path(secret), msgspec.json.encode(stored))
        return JoinToken(node, read_private(self.directory / "authority.pem").decode(), secret)

    def enrol(self, secret: str, request_pem: bytes, now_s: float) -> Enrolled:
        """The certificate for a token that is good. Using it up comes first: it works once, whatever follows."""
        path = self._token_path(secret)
        with self._turn():
            try:
                token = msgspec.json.decode(read_private(path), type=StoredToken)
                os.unlink(path)
            except (UserError, OSError, msgspec.MsgspecError):
                text = "the join token is not known: it was used already, or made for another cluster"
                raise Refused(text) from None
            sync_directory(path.parent)
            if now_s > token.expiry_s:
                raise Refused("the join token has expired; make another with `hal agent token`")
            return Enrolled(token.node, self.issue(token.node, request_pem, now_s), token.by)

    def renew(self, node: str, serial: int, request_pem: bytes, now_s: float) -> bytes:
        """The next certificate for a node that came with that one: not after it was revoked, be it a moment ago."""
        with self._turn():
            if serial in self.revoked():
                raise Refused(f"the certificate of node {node} was revoked")
            return self.issue(node, request_pem, now_s)

    def issue(self, node: str, request_pem: bytes, now_s: float) -> bytes:
        """A certificate for that node, on record before anybody has it."""
        issued = self._signer().sign_node(request_pem, node, now_s)
        append_private(self.directory / "issued", f"{issued.serial:x} {node} {issued.expiry_s:.0f}")
        return issued.pem

    def revoke(self, node: str, by: str = "") -> int:
        """Every certificate and token that the node has so far is void. Returns how many."""
        with self._turn():
            return self._revoke(node, by)

    def _revoke(self, node: str, by: str) -> int:
        known = [line.split() for line in self._lines("issued")]
        already = self.revoked()
        serials = [serial for serial, name, *_ in known if name == node and int(serial, 16) not in already]
        for serial in serials:
            append_private(self.directory / "revoked", f"{serial} {node} {by}".rstrip())
        count = len(serials)
        for path in (self.directory / "tokens").iterdir():
            if (
                not path.name.endswith(".new")
                and msgspec.json.decode(read_private(path), type=StoredToken).node == node
            ):
                path.unlink()
                count += 1
        sync_directory(self.directory / "tokens")
        return count

    def revoked(self) -> frozenset[int]:
        """Serials that are void. Read again only when the file has changed."""
        try:
            status = (self.directory / "revoked").stat()
        except FileNotFoundError:
            return frozenset()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._revoked_stamp:
            self._revoked = frozenset(int(line.split()[0], 16) for line in self._lines("revoked"))
            self._revoked_stamp = stamp
        return self._revoked

    def revocations(self) -> dict[int, tuple[str, str]]:
        """(node, by whom) of each serial that is void."""
        lines = (line.split() for line in self._lines("revoked"))
        return {int(serial, 16): (node, " ".join(by)) for serial, node, *by in lines}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time, in whichever process: what is issued while it is revoked would be missed."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _lines(self, name: str) -> list[str]:
        path = self.directory / name
        return read_private(path).decode().splitlines() if path.exists() else []

    def _signer(self) -> certificates.Signer:
        read = (read_private(self.directory / name) for name in ("authority.pem", "authority.key"))
        return certificates.Signer.load(*read)

    def _token_path(self, secret: str) -> Path:
        return self.directory / "tokens" / hashlib.sha256(secret.encode()).hexdigest()

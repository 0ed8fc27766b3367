"""Tokens for callers who do not come over the Unix socket: signed, for one cluster, and soon over.

A token is `hal1.<key id>.<claims>.<signature>`. The first word stands for the algorithm, HMAC-SHA256 over all that is
before the last dot, so a token cannot choose one. Nothing of its claims is read before the signature holds, and no
text of it is ever logged or shown: its `nonce` is its name in the log. The role is not in it; that is looked up when
it is used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path
from typing import Final, Protocol

import attrs
import msgspec

from hal_core.errors import Refused
from hal_core.models.job import Owner
from hal_core.rest.answers import HttpError
from hal_core.wire.private_files import check_directory, read_private, write_private

TOKEN_CHARACTERS_MAX: Final = 1024
KEY_BYTES: Final = 32
KEY_NAME: Final = "token.key"
"""In the state directory. Whoever removes it (and restarts the daemon) makes all tokens worthless."""
CLOCK_STEP_S_MAX: Final = 60.0
"""How far in the future a token may have been made: the daemon's own clock may have been set back a little."""
_FORM: Final = re.compile(r"hal1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{1,900})\.([A-Za-z0-9_-]{43})")


class Random(Protocol):
    """`secrets.token_bytes`, or something of a test's own."""

    def __call__(self, count: int, /) -> bytes: ...


class Unauthenticated(HttpError):
    """HAL does not know who is asking."""

    def __init__(self, text: str) -> None:
        super().__init__(401, "unauthenticated", text, [("www-authenticate", "Bearer")])


@attrs.frozen(kw_only=True)
class Claims:
    """What a token says. Times in whole seconds since the epoch."""

    user: str
    uid: int
    gid: int
    audience: str
    """The cluster for which it is."""
    begin_time_s: int
    end_time_s: int
    nonce: str

    @property
    def owner(self) -> Owner:
        return Owner(self.user, self.uid, self.gid)


@attrs.frozen
class Issued:
    """A new token, and what may be told of it."""

    token: str = attrs.field(repr=False)
    claims: Claims


class TokenMaker:
    """Makes and checks the tokens of one cluster with one key."""

    def __init__(self, key: bytes, cluster: str, lifetime_s_max: float, random: Random) -> None:
        assert len(key) == KEY_BYTES, "a signing key of another size"
        self._key = key
        self._key_id = hashlib.sha256(b"hal token key " + key).hexdigest()[:16]
        self._cluster = cluster
        self._random = random
        self.lifetime_s_max = lifetime_s_max

    def __repr__(self) -> str:
        return f"TokenMaker(key {self._key_id}, cluster {self._cluster})"

    def issue(self, owner: Owner, lifetime_s: float, now_s: float) -> Issued:
        """A token for `owner`, who was identified by other means than a token."""
        assert 0 < lifetime_s <= self.lifetime_s_max, "the lifetime was not checked"
        claims = Claims(
            user=owner.user,
            uid=owner.uid,
            gid=owner.gid,
            audience=self._cluster,
            begin_time_s=int(now_s),
            end_time_s=int(now_s + lifetime_s),
            nonce=self._random(12).hex(),
        )
        body = f"hal1.{self._key_id}.{_text(msgspec.json.encode(claims))}"
        return Issued(f"{body}.{self._signature(body)}", claims)

    def check(self, token: str, now_s: float) -> Claims:
        """What a good token says. Raises Unauthenticated for every other text, and never anything else."""
        form = _FORM.fullmatch(token) if len(token) <= TOKEN_CHARACTERS_MAX else None
        if form is None:
            raise Unauthenticated("this is not a token of HAL; get one with `hal token`")
        body, _, signature = token.rpartition(".")
        # The signature is compared as text: a token has one spelling only.
        is_signed = hmac.compare_digest(self._signature(body), signature)
        if not is_signed or form[1] != self._key_id:
            raise Unauthenticated("the token was not signed by this daemon, or was changed; get one with `hal token`")
        claims = msgspec.json.decode(_bytes(form[2]), type=Claims)
        if claims.audience != self._cluster:
            raise Unauthenticated("the token is for another cluster")
        if now_s >= claims.end_time_s or claims.end_time_s - claims.begin_time_s > self.lifetime_s_max:
            raise Unauthenticated("the token has expired; get a new one with `hal token`")
        if claims.begin_time_s > now_s + CLOCK_STEP_S_MAX:
            raise Unauthenticated("the token is from the future; is the daemon's clock right?")
        return claims

    def _signature(self, body: str) -> str:
        return _text(hmac.digest(self._key, body.encode("ascii"), "sha256"))


def bearer(header: bytes | None) -> str:
    """The token in an `Authorization` header. Raises Unauthenticated."""
    scheme, _, token = (header or b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "send `Authorization: Bearer TOKEN`; get a token with `hal token` on the daemon's machine"
        )
    return token


def load_key(directory: Path, random: Random) -> bytes:
    """The signing key in the state directory; made if there is none. Raises Refused if others could read or swap it."""
    path = directory / KEY_NAME
    check_directory(directory)
    if not path.exists() and not path.is_symlink():
        write_private(path, random(KEY_BYTES), may_replace=False)
    key = read_private(path)
    if len(key) != KEY_BYTES:
        raise Refused(f"{path}: holds {len(key)} bytes instead of {KEY_BYTES}; remove it, and a new one is made")
    return key


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""What one node's store reads from another's: the verbs between two agents, and the ticket that says it may.

The borrower dials, both show their certificates, and it says Borrow; then Lent comes until all has come, with Waits
while the lender is getting the file itself, or a Refusal. The daemon makes the ticket, with a secret that the lender
told it, for one borrower and one dataset; so the lender knows without asking that the borrower was ordered to have it,
also while the daemon is away. A ticket says until when it is good, by the lender's clock: a node that was revoked gets
no others.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from typing import Final

import attrs

from hal_core.models.dataset import DatasetId
from hal_core.wire.messages import Refusal

SECRET_BYTES: Final = 32
TICKET_S: Final = 3600.0
"""What is being lent when a ticket is over goes on; another file comes from a replica then, or with the next order."""
_UNTIL: Final = struct.Struct(">d")


@attrs.frozen
class Borrow:
    """Give this file of this dataset from `offset` on."""

    protocol: int
    dataset: DatasetId
    sha256: str
    offset: int
    ticket: bytes = attrs.field(repr=False)


@attrs.frozen
class Lent:
    """The next bytes of the file."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Wait:
    """The file is on its way to the lender. Said now and then."""


FROM_BORROWER: Final = (Borrow,)
FROM_LENDER: Final = (Lent, Wait, Refusal)


def make_ticket(secret: bytes, borrower: str, dataset: DatasetId, until_s: float) -> bytes:
    """That node may read that dataset in the store of the node whose secret it is, until that time of day."""
    until = _UNTIL.pack(until_s)
    return until + hmac.digest(secret, until + f"{borrower}\n{dataset}".encode(), hashlib.sha256)


def _until_s(ticket: bytes) -> float:
    """-inf if it is no ticket."""
    until_s: float = _UNTIL.unpack_from(ticket)[0] if len(ticket) >= _UNTIL.size else -math.inf
    return until_s


def is_over(ticket: bytes, now_s: float) -> bool:
    return not now_s < _until_s(ticket)


def is_good(ticket: bytes, secret: bytes, borrower: str, dataset: DatasetId) -> bool:
    """Whether it is of this lender, for that node and that dataset, whenever it ends."""
    return hmac.compare_digest(ticket, make_ticket(secret, borrower, dataset, _until_s(ticket)))

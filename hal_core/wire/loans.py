"""What one node's store reads from another's: the verbs between two agents, and the ticket that says it may.

The borrower dials, both show their certificates, and it says Borrow; then Lent comes until all has come, with Waits
while the lender is getting the file itself, or a Refusal. The daemon makes the ticket, with a secret that the lender
told it, for one borrower and one dataset; so the lender knows without asking that the borrower was ordered to have it,
also while the daemon is away. A ticket lasts as long as the secret: what it opens never changes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import attrs

from hal_core.models.dataset import DatasetId
from hal_core.wire.messages import Refusal

SECRET_BYTES: Final = 32


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


def make_ticket(secret: bytes, borrower: str, dataset: DatasetId) -> bytes:
    """That node may read that dataset in the store of the node whose secret it is."""
    return hmac.digest(secret, f"{borrower}\n{dataset}".encode(), hashlib.sha256)


def is_good(ticket: bytes, secret: bytes, borrower: str, dataset: DatasetId) -> bool:
    return hmac.compare_digest(ticket, make_ticket(secret, borrower, dataset))

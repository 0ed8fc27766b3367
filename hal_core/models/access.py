"""Who may come in, and how that changes: for the audit trail in the journal."""

from __future__ import annotations

from enum import Enum


class AccessChange(Enum):
    """What happened to a user's or a node's way in."""

    TOKEN_MADE = "token_made"  # noqa: S105  no password
    NODE_ENROLLED = "node_enrolled"
    NODE_REVOKED = "node_revoked"

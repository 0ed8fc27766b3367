"""What a broker is told when it is started, by the program whose session it is: one JSON object on its stdin."""

from __future__ import annotations

import msgspec


class BrokerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`local_worker_count` processes are started here; others may come from elsewhere."""

    session: str
    local_worker_count: int
    client_descriptor: int = -1
    """An open socket to the client; none if it comes by the session's directory."""
    import_path: tuple[str, ...] = ()
    """sys.path of the client, so that workers find its modules."""
    directory: str = ""
    """Where others find the session, by a socket, and where its journal is; none if empty."""
    is_recoverable: bool = False

"""What a broker is told when it is started, by the program whose session it is: one JSON object on its stdin."""

from __future__ import annotations

import msgspec


class BrokerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many workers are started here, and so many as jobs of the daemon at `server`."""

    session: str
    local_worker_count: int
    node_worker_count: int = 0
    elastic_worker_count: int = 0
    """So many more of the daemon, in what other jobs leave."""
    order_path: str = ""
    """If the workers are the other tasks of the job that we run in: where they look for what they must know."""
    server: str = ""
    job: dict[str, str | int | float | bool] = {}
    """Options of the workers' job, as for `hal submit`."""
    patience_s: float = 0.0
    """So long it waits for a daemon that is away to take that job, when the session is new."""
    client_descriptor: int = -1
    """An open socket to the client; none if it comes by the session's directory."""
    import_path: tuple[str, ...] = ()
    """sys.path of the client, so that workers find its modules."""
    directory: str = ""
    """Where others find the session, by a socket, and where its journal is; none if empty."""
    is_recoverable: bool = False

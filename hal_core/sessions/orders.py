"""What a worker that HAL starts on a node must know: how to reach its session's broker, and how to prove that it may.

It travels in the environment of the workers' job, which only its owner can read, and never on a command line. The
certificate is of an authority made for this one session, so the worker trusts this broker and nobody else.
"""

from __future__ import annotations

import msgspec


class WorkerOrder(msgspec.Struct, frozen=True):
    """`directory` is tried first: on the broker's own machine its socket is there."""

    directory: str
    host: str
    port: int
    authority_pem: str
    secret: str
    import_path: tuple[str, ...]

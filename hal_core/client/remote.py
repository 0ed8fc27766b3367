"""Reaching a daemon on another machine: `HAL_SERVER=https://host:port`, with a token in the file HAL_TOKEN_FILE.

Imported only when the address asks for it, as TLS costs more than all the rest of a command. The token goes nowhere but
into the request: not into a message, not into the environment of anything that is started.
"""

from __future__ import annotations

import os
import socket
import stat

from hal_core.client.transport import NoAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

TOKEN_BYTES_MAX = 4096
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOW = "write https://host:port (http:// only for this machine itself)"


class Remote:
    """Where the daemon is, and how it is spoken to."""

    def __init__(self, server: str) -> None:
        """Raises ValueError for what is no such address."""
        scheme, _, place = server.partition("://")
        host, colon, port = place.rstrip("/").rpartition(":")
        self.host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65_536
        if not colon or not self.host or not is_port or set(self.host) & set("/@[]?#%"):
            raise ValueError(f"HAL_SERVER is {server!r}, which is no address of a daemon; {HOW}")
        if scheme == "http" and self.host not in LOOPBACK:
            raise ValueError(f"HAL_SERVER is {server!r}: over http others could read your token; {HOW}")
        self.port = int(port)
        self.has_tls = scheme == "https"
        self.name = server

    def headers(self, environ: Mapping[str, str]) -> str:
        """The lines that say whom we call and who we are. Raises NoAnswer if there is no token to show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"host: {host}:{self.port}\r\nauthorization: Bearer {read_token(environ)}\r\n"

    def connect(self, timeout_s: float) -> socket.socket:
        """A connected socket, on which TLS is spoken and the daemon's certificate is checked. Raises NoAnswer."""
        plain = None
        try:
            plain = socket.create_connection((self.host, self.port), timeout_s)
            return tls_context(os.environ).wrap_socket(plain, server_hostname=self.host) if self.has_tls else plain
        except OSError as error:
            if plain is not None:
                plain.close()
            raise NoAnswer(self.why_unreachable(error)) from None

    def why_unreachable(self, error: BaseException) -> str:
        why = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or "no answer"
        hint = ""
        if hasattr(error, "verify_message"):
            hint = "; if the daemon's certificate is of your site's own authority, give its file as HAL_CA_FILE"
        return f"cannot reach the daemon at {self.name}: {why}{hint}"


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The authorities of this machine, or those in HAL_CA_FILE."""
    import ssl

    authorities = environ.get("HAL_CA_FILE")
    try:
        context = ssl.create_default_context(cafile=authorities or None)
    except OSError as error:
        raise NoAnswer(f"HAL_CA_FILE is {authorities}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def read_token(environ: Mapping[str, str]) -> str:
    """The token in HAL_TOKEN_FILE, which nobody else may read. Raises NoAnswer with the way out."""
    path = environ.get("HAL_TOKEN_FILE", "")
    if not path:
        raise NoAnswer("HAL_TOKEN_FILE is not set: run `hal token > FILE` on the daemon's machine, and name the file")
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(TOKEN_BYTES_MAX)
    except OSError as error:
        raise NoAnswer(f"HAL_TOKEN_FILE is {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise NoAnswer(f"HAL_TOKEN_FILE is {path}: others may read it; run: chmod 600 {path}")
    token = content.strip()
    if not token or not all(33 <= byte <= 126 for byte in token):
        raise NoAnswer(f"HAL_TOKEN_FILE is {path}: it holds no token; run `hal token > {path}` on the daemon's machine")
    return token.decode("ascii")

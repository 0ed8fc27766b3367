"""What `hal plugin test` tries the provider with: a small web server of the standard library, in a thread."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hal_core import Options

CONTENT = bytes(range(256)) * 512


def trial(directory: str) -> Options:
    (Path(directory) / "present").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=directory))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    return {
        "options": {"url_prefixes": [address]},
        "present": f"{address}/present",
        "absent": f"{address}/absent",
        "content": CONTENT,
    }


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

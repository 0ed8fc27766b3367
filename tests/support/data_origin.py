"""A web server that gives the files below a directory, for tests of data on several hosts. A process of its own:

    python -m tests.support.data_origin DIRECTORY PORT NOTES

It knows ranges. What it notes, in files of the directory NOTES: in `given` the path of each answer and how many bytes
went, in `sent` the time and the bytes that have left the interface `lan`, ten times a second. Where NOTES/trouble
exists, each answer is spoiled by one of the words in it, drawn at random: `status` (500), `short` (half, then the end),
`slow` (a little at a time), `wrong` (a bit flipped); `well` spoils nothing.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SENT = Path("/sys/class/net/lan/statistics/tx_bytes")
SAMPLE_S = 0.1
PIECE_BYTES = 256 << 10
SLOW_BYTES, SLOW_PAUSE_S = 4096, 0.05
OVER = threading.Event()
"""Never set: the server ends with its process."""


def main(words: list[str]) -> None:
    directory, port, notes = Path(words[0]), int(words[1]), Path(words[2])
    threading.Thread(target=sample, args=(notes / "sent",), daemon=True).start()
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer(("0.0.0.0", port), handler_of(directory, notes)).serve_forever()


def sample(log: Path) -> None:
    """What has left this host so far, now and then."""
    last = -1
    with log.open("a", buffering=1) as opened:
        while True:
            sent = int(SENT.read_text())
            if sent != last:
                opened.write(f"{time.monotonic():.3f} {sent}\n")
                last = sent
            OVER.wait(SAMPLE_S)


def handler_of(directory: Path, notes: Path) -> type[BaseHTTPRequestHandler]:
    trouble = notes / "trouble"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = directory / self.path.lstrip("/")
            what = random.choice(trouble.read_text().split()) if trouble.exists() else ""
            if what == "status" or not path.is_file():
                self.send_response(500 if what else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            size = path.stat().st_size
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
            begin = int(found[1]) if found else 0
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - begin))
            self.end_headers()
            if self.command == "GET":
                self.send_from(path, begin, size, what)

        do_HEAD = do_GET

        def send_from(self, path: Path, begin: int, size: int, what: str) -> None:
            given = 0
            try:
                for byte_count in self.sendings(path, begin, size, what):
                    given += byte_count
            finally:
                with (notes / "given").open("a") as opened:
                    opened.write(f"{path.relative_to(directory)} {given}\n")

        def sendings(self, path: Path, begin: int, size: int, what: str) -> Iterator[int]:
            """How many bytes of it went, one after the other."""
            end = begin + (size - begin) // 2 if what == "short" else size
            spoiled = random.randrange(begin, size) if what == "wrong" and size > begin else -1
            with path.open("rb", buffering=0) as opened:
                opened.seek(begin)
                while begin < end:
                    piece = bytearray(opened.read(min(end - begin, SLOW_BYTES if what == "slow" else PIECE_BYTES)))
                    if begin <= spoiled < begin + len(piece):
                        piece[spoiled - begin] ^= 1
                    self.wfile.write(piece)
                    begin += len(piece)
                    yield len(piece)
                    if what == "slow":
                        OVER.wait(SLOW_PAUSE_S)
            self.close_connection = end < size

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler


if __name__ == "__main__":
    os.nice(5)
    main(sys.argv[1:])

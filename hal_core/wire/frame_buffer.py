"""Where one frame ends and the next begins: a 4-byte length (big-endian), then so many bytes. No sockets, no trio.

The length is checked before anything is kept, and nothing is guessed: a wrong one is a WireError.
"""

from __future__ import annotations

from typing import Final

from hal_core.errors import WireError

FRAME_BYTES_MAX: Final = 4 << 20
LENGTH_BYTES: Final = 4


class FrameBuffer:
    """Bytes go in as they come, whole frames come out."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()

    def __bool__(self) -> bool:
        """Whether half a frame is here."""
        return bool(self._rest)

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """The frames that are whole now, without their lengths. Raises WireError for an impossible length."""
        rest, at = self._rest, 0
        rest += data
        frames: list[bytes] = []
        with memoryview(rest) as view:
            while len(rest) - at >= LENGTH_BYTES:
                length = int.from_bytes(view[at : at + LENGTH_BYTES], "big")
                if not 0 < length <= self._frame_bytes_max:
                    raise WireError(f"a frame of {length} bytes; allowed are 1 to {self._frame_bytes_max}")
                stop = at + LENGTH_BYTES + length
                if len(rest) < stop:
                    break
                frames.append(bytes(view[at + LENGTH_BYTES : stop]))
                at = stop
        del rest[:at]
        return frames


def framed(body: bytes) -> bytes:
    """One frame."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body

"""Framed msgpack over any trio stream: a 4-byte length, then `[verb, body]`.

The length is checked before anything is allocated, a half frame may not keep us waiting, and whatever does not decode
is a WireError: the connection is closed, nothing is guessed. Messages are attrs classes; the verb is the class's name.
Nothing here knows what a message means. One task receives; any number may send.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import trio

from hal_core.errors import WireError
from hal_core.wire.frame_buffer import FRAME_BYTES_MAX, FrameBuffer, framed

HALF_FRAME_TIMEOUT_S: Final = 10.0
"""Silence after the first half of a frame."""
SEND_TIMEOUT_S: Final = 30.0
"""A peer that does not take what it is sent for so long is treated as gone."""
READ_BYTES: Final = 1 << 16

_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])


class LinkLost(WireError):
    """The peer is gone, or silent. Nobody did anything wrong."""


class FrameStream:
    """Sends and receives messages of the given classes. Closes the stream itself when it is used as a context."""

    def __init__(self, stream: trio.abc.Stream, classes: Iterable[type[Any]]) -> None:
        self.stream = stream
        self._decoders = {cls.__name__: msgspec.msgpack.Decoder(cls) for cls in classes}
        self._buffer = FrameBuffer()
        self._sending = trio.Lock()

    async def __aenter__(self) -> FrameStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, *messages: object) -> None:
        """All in one write. Raises WireError if the peer is gone or does not take them."""
        data = b"".join(map(encode, messages))
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                async with self._sending:
                    await self.stream.send_all(data)
        except trio.TooSlowError:
            # Part of a frame may be out: nothing more can be sent on this stream.
            await trio.aclose_forcefully(self.stream)
            raise LinkLost(f"the peer took nothing for {SEND_TIMEOUT_S:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost("the connection is gone") from error

    async def receive(self) -> list[Any]:
        """At least one message, and all others that are already here; an empty list at the end of the stream."""
        while True:
            limit_s = HALF_FRAME_TIMEOUT_S if self._buffer else float("inf")
            try:
                with trio.fail_after(limit_s):
                    data = await self.stream.receive_some(READ_BYTES)
            except trio.TooSlowError:
                raise LinkLost(f"half a frame, then nothing for {limit_s:g} s") from None
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return []
            if not data:
                if self._buffer:
                    raise LinkLost("the stream ended within a frame")
                return []
            if frames := self._buffer.feed(data):
                return [self._decode(frame) for frame in frames]

    def _decode(self, data: bytes) -> Any:
        try:
            verb, body = _ENVELOPE.decode(data)
            if (decoder := self._decoders.get(verb)) is None:
                raise WireError(f"unknown verb {verb[:50]!r}; known here: {', '.join(sorted(self._decoders))}")
            return decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError(f"a message that does not decode: {error}") from None


def encode(message: object) -> bytes:
    """One frame. Raises WireError if it would be too large for the peer; split it before (see `fits`)."""
    body = _ENCODER.encode((type(message).__name__, message))
    if len(body) > FRAME_BYTES_MAX:
        raise WireError(f"a {type(message).__name__} of {len(body)} bytes is larger than {FRAME_BYTES_MAX}")
    return framed(body)


def fits(message: object) -> bool:
    """Whether the message can be sent as one frame."""
    return len(_ENCODER.encode((type(message).__name__, message))) <= FRAME_BYTES_MAX

"""Frames: whatever a peer sends, it is a message, a WireError, or the end; never more memory than one frame."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from hal_core.errors import WireError
from hal_core.wire.frames import FRAME_BYTES_MAX, HALF_FRAME_TIMEOUT_S, FrameStream, encode


@attrs.frozen
class Note:
    text: str
    number: int = 0


@attrs.frozen
class Other:
    text: str


def pair() -> tuple[FrameStream, trio.abc.Stream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return FrameStream(ours, [Note]), theirs


@given(st.lists(st.builds(Note, st.text(), st.integers(-(2**63), 2**63 - 1)), min_size=1), st.integers(1, 50))
async def test_messages_arrive_whole_however_the_stream_cuts_them(notes: list[Note], size: int) -> None:
    frames, theirs = pair()
    data = b"".join(map(encode, notes))
    got: list[object] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for at in range(0, len(data), size):
                await theirs.send_all(data[at : at + size])
            await theirs.aclose()

        while received := await frames.receive():
            got += received
    assert got == notes


async def test_several_messages_are_one_write_and_one_batch() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await FrameStream(ours, []).send(Note("a"), Note("b"))
    assert await FrameStream(theirs, [Note]).receive() == [Note("a"), Note("b")]


@given(st.binary(min_size=1, max_size=200))
async def test_garbage_is_a_wire_error_or_nothing(data: bytes) -> None:
    frames, theirs = pair()
    await theirs.send_all(data)
    await theirs.aclose()
    try:
        while received := await frames.receive():
            assert all(isinstance(message, Note) for message in received)
    except WireError:
        pass


@given(st.binary(max_size=60))
async def test_garbage_in_a_whole_frame_is_a_wire_error(body: bytes) -> None:
    frames, theirs = pair()
    await theirs.send_all(len(body).to_bytes(4, "big") + body)
    with pytest.raises(WireError):
        await frames.receive()


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
async def test_impossible_length_is_refused_before_anything_is_read(length: int) -> None:
    frames, theirs = pair()
    await theirs.send_all(length.to_bytes(4, "big"))
    with pytest.raises(WireError, match="a frame of"):
        await frames.receive()


async def test_unknown_verb_names_the_known_ones() -> None:
    frames, theirs = pair()
    await theirs.send_all(encode(Other("x")))
    with pytest.raises(WireError, match="unknown verb 'Other'; known here: Note"):
        await frames.receive()


async def test_half_a_frame_and_then_silence_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    frames, theirs = pair()
    await theirs.send_all(encode(Note("x"))[:-1])
    start_s = trio.current_time()
    with pytest.raises(WireError, match="half a frame"):
        await frames.receive()
    assert trio.current_time() - start_s == pytest.approx(HALF_FRAME_TIMEOUT_S)


async def test_silence_between_frames_is_no_error(autojump_clock: trio.testing.MockClock) -> None:
    frames, theirs = pair()
    with trio.move_on_after(1000) as scope:
        await frames.receive()
    assert scope.cancelled_caught
    await theirs.send_all(encode(Note("still here")))
    assert await frames.receive() == [Note("still here")]


async def test_end_within_a_frame_is_an_error_and_between_frames_is_not() -> None:
    frames, theirs = pair()
    await theirs.send_all(encode(Note("x"))[:-1])
    await theirs.aclose()
    with pytest.raises(WireError, match="ended within a frame"):
        await frames.receive()
    frames, theirs = pair()
    await theirs.aclose()
    assert await frames.receive() == []


async def test_peer_that_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    frames = FrameStream(ours, [])
    with pytest.raises(WireError, match="took nothing"):
        await frames.send(Note("x"))
    with pytest.raises(WireError):
        await frames.send(Note("y"))


def test_too_large_a_message_is_refused_by_its_sender() -> None:
    with pytest.raises(WireError, match="larger than"):
        encode(Note("x" * (FRAME_BYTES_MAX + 1)))

"""Nodes read each other's stores over real TLS: whole files, with a ticket, from nobody but who is meant."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from hal_core.agent.borrowing import Borrowing
from hal_core.agent.lending import GIVE_UP_S, Lending, give
from hal_core.agent.reading import reader_of
from hal_core.agent.shelf import NoRoom
from hal_core.agent.store import Store
from hal_core.errors import Refused, UserError
from hal_core.models.dataset import PEER, Dataset
from hal_core.models.node import NodeName
from hal_core.testing import FakeSource
from hal_core.wire import certificates, loans, messages
from hal_core.wire.authority import Authority
from hal_core.wire.frames import FrameStream
from hal_core.wire.loans import make_ticket
from hal_core.wire.private_files import make_private_directory, read_private, write_private
from tests.unit.test_store import AT, CONTENTS, GENOME, TOTAL, a_dataset, files_below, read_with

PATIENCE_S = 60.0
FIRST = GENOME.files[0].sha256


class Node:
    """A store, what it lends and what it borrows. Beyond that it reads `source`."""

    def __init__(self, directory: Path, authority: Authority, name: str, source: FakeSource) -> None:
        self.name = NodeName(name)
        tls = directory / name / "tls"
        tls.parent.mkdir()
        make_private_directory(tls)
        key = certificates.make_key()
        pem = authority.issue(name, certificates.make_request(key, name), time.time())
        write_private(tls / "agent.key", key)
        write_private(tls / "agent.pem", pem)
        write_private(tls / "authority.pem", read_private(authority.directory / "authority.pem"))
        self.source = source
        self.borrowing = Borrowing(tls)
        read = reader_of({}, self.borrowing.reading)

        def reader(dataset: Dataset, address: str, offset: int):
            return read(dataset, address, offset) if address.startswith(PEER) else source.reading(address, offset)

        self.store = Store(directory / name / "store", 10**6, reader)
        self.lending = Lending(self.store, tls)

    def loan_to(
        self, borrower: str, dataset: Dataset = GENOME, until_s: float = math.inf, **fields: object
    ) -> messages.Loan:
        ticket = make_ticket(self.lending.secret, borrower, dataset.id, until_s)
        return attrs.evolve(messages.Loan(dataset.id, self.name, f"127.0.0.1:{self.lending.port}", ticket), **fields)


@asynccontextmanager
async def nodes(directory: Path, *names: str) -> AsyncIterator[list[Node]]:
    """They read the same origin, that of the dataset's own replicas."""
    authority = Authority.create(directory / "ca", "test", time.time())
    source = FakeSource(AT)
    made = [Node(directory, authority, name, source) for name in names]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for each in made:
                await nursery.start(each.lending.run)
            yield made
            nursery.cancel_scope.cancel()


def from_peers(*lenders: Node, dataset: Dataset = GENOME) -> Dataset:
    return attrs.evolve(dataset, replicas=(*(f"{PEER}{each.name}" for each in lenders), *dataset.replicas))


async def test_a_dataset_comes_from_another_node_and_is_what_it_was(tmp_path: Path) -> None:
    async with nodes(tmp_path, "n1", "n2") as (first, second):
        await first.store.bring("1.0.1", [GENOME])
        second.borrowing.learn([first.loan_to("n2")])
        assert (await second.store.bring("2.0.1", [from_peers(first)])).bytes_moved == TOTAL
        assert files_below(second.store.path_of(GENOME.id)) == CONTENTS
        assert first.source.bytes_given == TOTAL, "the origin was read once"


async def test_who_asks_before_it_has_come_waits_for_it(tmp_path: Path) -> None:
    async with nodes(tmp_path, "n1", "n2", "n3") as (first, second, third):
        second.borrowing.learn([first.loan_to("n2")])
        third.borrowing.learn([second.loan_to("n3")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(third.store.bring, "3.0.1", [from_peers(second)])
            nursery.start_soon(second.store.bring, "2.0.1", [from_peers(first)])
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(first.store.bring, "1.0.1", [GENOME])
        assert files_below(third.store.path_of(GENOME.id)) == CONTENTS
        assert first.source.bytes_given == TOTAL


@pytest.mark.parametrize(
    "fault",
    [
        "another's ticket",
        "an old ticket",
        "a forged ticket",
        "no ticket",
        "wrong node",
        "nobody there",
        "corrupted",
    ],
)
async def test_what_a_node_does_not_give_comes_from_the_next_replica(tmp_path: Path, fault: str) -> None:
    async with nodes(tmp_path, "n1", "n2", "n3") as (first, second, third):
        await first.store.bring("1.0.1", [GENOME])
        loan = first.loan_to("n3" if fault == "another's ticket" else "n2")
        if fault == "an old ticket":
            loan = first.loan_to("n2", until_s=time.time() - 1.0)
        elif fault == "a forged ticket":
            later = struct.pack(">d", time.time() + 1e6)
            loan = attrs.evolve(loan, ticket=later + loan.ticket[len(later) :])
        elif fault == "wrong node":
            loan = attrs.evolve(loan, address=third.loan_to("n2").address)
        elif fault == "nobody there":
            loan = attrs.evolve(loan, address="127.0.0.1:1")
        elif fault == "corrupted":
            for path in (first.store.directory / "objects").iterdir():
                path.chmod(0o644)
                path.write_bytes(b"?" * path.stat().st_size)
        second.borrowing.learn([] if fault == "no ticket" else [loan])
        await second.store.bring("2.0.1", [from_peers(first)])
        assert files_below(second.store.path_of(GENOME.id)) == CONTENTS
        assert second.source.bytes_given == 2 * TOTAL


async def test_a_ticket_is_for_one_dataset(tmp_path: Path) -> None:
    secret = a_dataset("secret", {"x": b"not for n2"}, "fake:near")
    async with nodes(tmp_path, "n1", "n2") as (first, second):
        first.source.contents["fake:near/x"] = b"not for n2"
        await first.store.bring("1.0.1", [GENOME, secret])
        second.borrowing.learn([first.loan_to("n2")])
        with pytest.raises(UserError, match="has no file with digest"):
            async with second.borrowing.reading(GENOME, f"{PEER}n1/{secret.files[0].sha256}", 0) as pieces:
                assert not [piece async for piece in pieces], "it was given"
        second.borrowing.learn([attrs.evolve(first.loan_to("n2"), dataset=secret.id)])
        with pytest.raises(UserError, match="has no ticket"):
            async with second.borrowing.reading(secret, f"{PEER}n1/{secret.files[0].sha256}", 0) as pieces:
                assert not [piece async for piece in pieces], "it was given"


async def test_what_does_not_come_is_not_waited_for_for_ever(tmp_path: Path, autojump_clock) -> None:
    store = Store(tmp_path, 10**6, read_with(FakeSource({})))
    ours, theirs = trio.testing.memory_stream_pair()
    lender, borrower = FrameStream(ours, loans.FROM_BORROWER), FrameStream(theirs, loans.FROM_LENDER)
    begin_s = trio.current_time()
    with pytest.raises(Refused, match="nothing comes"):
        await give(lender, store, loans.Borrow(messages.PROTOCOL_VERSION, GENOME.id, FIRST, 0, b""))
    assert GIVE_UP_S <= trio.current_time() - begin_s < 2 * GIVE_UP_S
    assert set(await borrower.receive()) == {loans.Wait()}


async def test_what_is_lent_does_not_go_meanwhile(tmp_path: Path) -> None:
    other = a_dataset("other", {"x": b"o" * TOTAL})
    store = Store(tmp_path, TOTAL, read_with(FakeSource(AT)))
    await store.bring("1.0.1", [GENOME])
    store.release("1.0.1")
    with store.lent(GENOME.id), store.lent(GENOME.id):
        assert not store.drop(GENOME.id)
        with pytest.raises(NoRoom):
            store.shelf.admit([other], "2.0.1", time.time(), 10**9)
    assert store.drop(GENOME.id)

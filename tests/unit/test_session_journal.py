"""The journal of a session, on a real disk."""

from __future__ import annotations

import trio
import trio.testing

from hal_core.sessions.journal import SessionJournal
from hal_core.sessions.ledger import Ledger
from hal_core.sessions.recovery import recover
from hal_core.wire.packed import pack
from hal_core.wire.sessions import Blocked, Results


async def test_a_sync_from_outside_does_not_put_the_writer_to_sleep(tmp_path, nursery):
    journal = SessionJournal(tmp_path / "journal")
    list(journal.read())
    nursery.start_soon(journal.run)
    await trio.testing.wait_all_tasks_blocked()
    for first in range(3):
        await journal.sync()
        told = trio.Event()
        journal.append(Results(first, (), pack([b"value"])), told.set)
        with trio.fail_after(60):
            await told.wait()
    journal.close()


async def test_hosts_that_were_blocked_are_so_for_the_next_broker(tmp_path):
    journal = SessionJournal(tmp_path / "journal")
    list(journal.read())
    for host, why in (("n1", "5 of 5 tasks failed there"), ("n2", "as well"), ("n2", "")):
        journal.append(Blocked(host, why), lambda: None)
    await journal.sync()
    ledger = Ledger()
    recover(journal, ledger, lambda _: None, {})
    journal.close()
    assert [(host.name, host.blocked_why) for host in ledger.hosts.take_news()] == [("n1", "5 of 5 tasks failed there")]
    assert [host.name for host in ledger.hosts.all() if host.blocked_why] == ["n1"]

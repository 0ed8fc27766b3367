"""The journal of a session, on a real disk."""

from __future__ import annotations

import trio
import trio.testing

from hal_core.sessions.journal import SessionJournal
from hal_core.wire.packed import pack
from hal_core.wire.sessions import Results


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

"""What is asked of a daemon about the jobs of a session's workers, and what is waited for."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import trio

from hal_core.errors import HalError, NotFound, Unavailable

if TYPE_CHECKING:
    from hal_core.client import JobRequest, JobView

AWAY_S: Final = 2.0
"""Between two questions to a daemon that does not answer."""


class Waiter(Protocol):
    """AsyncClient, as far as it is needed here."""

    async def wait(self, job_id: int) -> JobView: ...


class Taker(Protocol):
    """The same, to have jobs taken, and set otherwise."""

    async def submit(self, what: JobRequest, /) -> int: ...
    async def job(self, job_id: int) -> JobView: ...
    async def cancel(self, job_id: int, indices: str | None = None, /) -> int: ...
    async def set_priority(self, job_id: int, priority: int) -> None: ...
    async def set_weight(self, job_id: int, weight: int) -> None: ...


async def wait_for_end(client: Waiter, job_id: int) -> JobView:
    """A daemon that is away, however long, takes no worker with it: it is asked again when it is back."""
    while True:
        try:
            return await client.wait(job_id)
        except Unavailable:
            await trio.sleep(AWAY_S)


async def has_ended(client: Taker, job_id: int) -> bool:
    """Also if it ended so long ago that the daemon does not know it any more. Raises HalError."""
    try:
        return (await client.job(job_id)).has_ended
    except NotFound:
        return True


async def cancel_if_known(client: Taker, job_id: int, indices: str | None = None) -> None:
    """These elements, or all. One that the daemon does not know any more ended long ago. Raises HalError."""
    with contextlib.suppress(NotFound):
        await client.cancel(job_id, indices)


async def set_each(job_ids: Iterable[int], act: Callable[[int], Awaitable[None]], what: str, done: list[str]) -> None:
    """`act` on one after another; `done` says what was set, also if a later one cannot be. Raises HalError."""
    set_ids = list[str]()
    try:
        for job_id in job_ids:
            await act(job_id)
            set_ids.append(str(job_id))
    except HalError:
        if set_ids:
            done.append(f"{what} of job {', '.join(set_ids)} alone")
        raise
    done.append(what)

"""`session`: many short tasks through resident workers, from an ordinary Python program.

    with session(workers=2) as s:
        squares = list(s.map(square, range(1_000_000)))

`Session` is a `concurrent.futures.Executor`, so what takes one takes a session.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from hal_core.client.address import find_socket, given_socket
from hal_core.client.progress import Progress
from hal_core.client.session_allocation import SERVER, open_in_allocation
from hal_core.client.session_calls import Calls
from hal_core.client.session_commands import CommandEnd, run_command
from hal_core.client.session_feed import STREAM_COUNT_MAX, Feed
from hal_core.client.session_functions import Functions
from hal_core.client.session_link import SessionLink
from hal_core.client.session_policy import DEFAULT_POLICY, Policy, policy_from
from hal_core.client.session_results import Results
from hal_core.client.session_shared import Service, Shared
from hal_core.client.session_sinks import Failed, ResultSink
from hal_core.client.session_start import NO_OPTIONS, BrokerProcess, JobOptions
from hal_core.client.session_visit import adjust_in
from hal_core.client.task_codec import dumps
from hal_core.client.transport import NoAnswer, connect as transport_connect
from hal_core.errors import InvalidInput, Problem, Refused, SessionError
from hal_core.wire.sessions import Adjust, Figures

P = ParamSpec("P")
T = TypeVar("T")

PROBE_S_MAX: Final = 2.0


def session(
    workers: int = 1,
    recoverable: bool = False,
    server: str | None = None,
    job: JobOptions = NO_OPTIONS,
    elastic: int = 0,
) -> Session:
    """Open a session with so many workers. Use it as a context: leaving waits for its tasks.

    With a daemon its workers are a job, an array of `workers` elements with the options in `job` (as for `hal submit`).
    `server` is the daemon's address; None means the one that `hal` would find, and if none answers, processes of this
    machine; "local" means these in any case, and "allocation" the other tasks of the job that the program runs in. Up
    to `elastic` workers more run where other jobs leave room, and go when it is needed; `job={"elastic": 3}` gives them
    a larger part of it. Processes of this machine are `workers` only.

    A `recoverable` session keeps a journal: no result that was given is lost, whichever of its processes dies, and it
    goes on when its client has gone (see `attach`).
    """
    counts = {"workers": workers, "elastic": elastic}
    wrong = [name for name, each in counts.items() if not isinstance(each, int) or each < 0]
    problems = [Problem(name, f"{counts[name]!r} is not a whole number from 0 on") for name in wrong]
    if not wrong and not workers and not elastic:
        problems.append(Problem("workers", f"{workers} is too few; give 1 or more"))
    if problems:
        raise InvalidInput(problems)
    if server == SERVER:
        return Session(Opened(open_in_allocation(os.environ, recoverable)))
    found = server_of(server, os.environ)
    if job and not found:
        raise InvalidInput(
            [Problem("job", "its options need a daemon, and none was found; start one or give `server`")]
        )
    if not found and not workers:
        raise InvalidInput([Problem("workers", "without a daemon there are no others; give 1 or more")])
    return Session(Opened(BrokerProcess.new((workers, elastic), recoverable, found, job)))


def server_of(given: str | None, environ: Mapping[str, str]) -> str:
    """The daemon's address; empty for none. One that was named must be there, one that was not may be missing."""
    if given == "local":
        return ""
    if given is not None:
        return given_socket({"HAL_SERVER": given})
    found = find_socket(environ)
    if environ.get("HAL_SERVER"):
        return found
    try:
        transport_connect(found, PROBE_S_MAX).close()
    except NoAnswer:
        return ""
    return found


def attach(session_id: str) -> Session:
    """Come back to a recoverable session, from any process of the same user. Raises NotFound."""
    return Session(Opened(BrokerProcess.of(session_id), is_new=False))


class Session(Executor):
    """An open session. Its methods may be called from any thread."""

    def __init__(self, opened: Opened, policy: Policy = DEFAULT_POLICY) -> None:
        self._opened = opened
        self._link = opened.link
        self._policy = policy

    def using(
        self, retries: int = 0, priority: int = 0, time_limit_s: float = 0.0, tags: Sequence[str] | str = ()
    ) -> Session:
        """The same session with another policy: `s.using(retries=3, tags="sweep").map(f, items)`.

        A task that failed is tried again up to `retries` times; larger `priority` is earlier; a task that takes longer
        than `time_limit_s` fails, and its worker is replaced. `tags` are names for `cancel`, `set_priority`, `figures`.
        """
        return Session(self._opened, policy_from(retries, priority, time_limit_s, tags))

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """One task. Its future has the result, or the error with the traceback from there."""
        opened = self._opened
        number = opened.functions.number("call", function, self._policy)
        return opened.calls.submit(number, dumps((arguments, keywords)))

    def map(
        self, function: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Results[T]:
        """A task for each item (of several iterables: for each tuple). The results come in the order of the items.

        The items are all taken before this returns. `timeout` is in seconds from now, for the results. `chunksize` is
        there because an Executor has it: how many tasks travel together is found out while they run.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        feed = self.feed(function, iterables)
        sink = ResultSink()
        while feed.send_next(sink):
            pass
        return Results(sink, feed.count, deadline_s)

    def stream(self, function: Callable[..., T], *iterables: Iterable[Any], in_order: bool = True) -> Iterator[T]:
        """As `map`, lazily and with bounded memory: items are taken while results are. Not `in_order`: as they come."""
        feed = self.feed(function, iterables)
        sink = ResultSink(in_order)
        given = 0
        while True:
            while feed.count - given < STREAM_COUNT_MAX and not sink.is_ready(given) and feed.send_next(sink):
                pass
            if given == feed.count:
                return
            _, count, values = sink.next_piece(given)
            for value in values:
                if type(value) is Failed:
                    raise value.error
                yield value
            given += count

    def feed(self, function: Callable[..., Any], iterables: tuple[Iterable[Any], ...]) -> Feed:
        return Feed(self._link, self._opened.functions, self._policy, function, iterables)

    def run(self, commands: Iterable[Sequence[str]]) -> Results[CommandEnd]:
        """A process for each command (a list of words, no shell); how they ended, in order."""
        return self.map(run_command, commands)

    @staticmethod
    def as_completed(futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
        """Futures of `submit`, each when it is done."""
        return as_completed(futures, timeout)

    def cancel(self, running: bool = False, tag: str = "") -> None:
        """Drop all tasks that wait, or those with the tag; with `running` also end those that a worker is at (the
        worker is replaced)."""
        self._opened.calls.flush()
        self._link.cancel(((0, 1 << 62),), running, tag)

    def set_priority(self, priority: int, tag: str) -> None:
        """Of the tasks with the tag, those that wait and those that come: larger is earlier."""
        policy_from(0, priority, 0.0, tag)
        self._opened.calls.flush()
        self._link.rank(tag, priority)

    def adjust(
        self,
        min_workers: int | None = None,
        max_workers: int | None = None,
        weight: int | None = None,
        priority: int | None = None,
    ) -> None:
        """Of a session whose workers are jobs of a daemon: so many in any case, so many at most, when there is room;
        `weight` of those among your other elastic jobs; `priority` of all. What is None stays as it is.

        It has more as soon as there is room, or fewer as soon as the last ones have finished the tasks that they are
        at, or their `kill-grace` is over. Raises Refused with the reason, for example that of the daemon.
        """
        given = {"min_workers": min_workers, "max_workers": max_workers, "weight": weight, "priority": priority}
        wrong = [name for name, each in given.items() if each is not None and not isinstance(each, int)]
        if problems := [Problem(name, f"{given[name]!r} is not a whole number") for name in wrong]:
            raise InvalidInput(problems)
        adjust_in(self._opened.broker.directory, Adjust(priority, min_workers, max_workers, weight))

    @property
    def id(self) -> str:
        """For `attach` and `hal session`."""
        return self._opened.broker.session

    @property
    def broker_pid(self) -> int:
        return self._opened.broker.pid

    @property
    def task_count(self) -> int:
        """How many tasks it has been given, by this client and those before."""
        return self._link.task_count

    def results(self, first: int = 0, stop: int | None = None) -> Results[Any]:
        """Of tasks by their numbers, in a session that was attached; those that are not done yet are waited for."""
        last = self.task_count if stop is None else stop
        if not 0 <= first <= last <= self.task_count:
            raise InvalidInput([Problem("first, stop", f"{first} to {last} are not all of {self.task_count} tasks")])
        sink = ResultSink()
        if last > first:
            self._link.fetch(first, last - first, sink)
        return Results(sink, last - first, None)

    def leave(self) -> str:
        """Go away and let a recoverable session go on. Returns its id, with which you can `attach` again."""
        if not self._opened.broker.is_recoverable:
            raise Refused("this session is not recoverable: nobody could come back; open it with recoverable=True")
        self._opened.leave()
        return self.id

    def figures(self) -> Figures:
        """The session at a glance: workers, and how many tasks wait, run, are done, failed; `tags` has them by tag."""
        self._opened.calls.flush()
        return self._link.figures()

    def share(self, value: T) -> Shared[T]:
        """Common data: `s.map(partial(score, s.share(table)), items)` sends the table to each node once, and `update`
        of what this returns changes it for the tasks that follow."""
        shared = Shared(self._opened.broker.directory, secrets.token_hex(4), value)
        shared.update(value)
        return shared

    def service(self, factory: Callable[..., Any], *arguments: Any) -> Service:
        """An object that each worker makes once, by calling the factory, and keeps: `model = s.service(Model, path)`,
        then `s.map(model.predict, items)`. A context manager is entered then, and left when the worker ends."""
        return Service(secrets.token_hex(4), factory, arguments)

    def progress(self) -> Progress:
        """A line on the terminal while a `with` block lasts: how much is done, how fast, and the time left."""
        return Progress(lambda: (self._link.settled_count, self._link.given_count))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the session after its last task; with `cancel_futures` without those that wait."""
        if cancel_futures:
            with contextlib.suppress(SessionError):
                self.cancel()
        self._opened.finish(wait)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error nobody waits for what is left."""
        if kind is None:
            self.shutdown()
        else:
            self._opened.finish(does_wait=True, does_drain=False)


class Opened:
    """What all views of one session share: the broker's process, the link to it, the functions it knows."""

    def __init__(self, broker: BrokerProcess, is_new: bool = True) -> None:
        self.broker = broker
        self.link = SessionLink(broker, is_new)
        self.functions = Functions(self.link)
        self.calls = Calls(self.link)
        self._finishing = threading.Lock()
        self._is_finished = False

    def finish(self, does_wait: bool, does_drain: bool = True) -> None:
        """Once; a second call only waits for the first."""
        self.calls.close()
        if not does_wait:
            threading.Thread(target=self.finish, args=(True, does_drain)).start()
            return
        with self._finishing:
            if not self._is_finished:
                self._is_finished = True
                self.link.finish(does_drain)
                if self.link.is_replaced:
                    self.broker.abandon()
                    return
                self.broker.wait()
                self.broker.forget()

    def leave(self) -> None:
        self.calls.close()
        with self._finishing:
            self._is_finished = True
            self.link.leave()
            self.broker.abandon()

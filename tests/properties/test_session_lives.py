"""What brokers tell of sessions on a network that loses, doubles and delays, to a daemon that restarts."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.models.event import SessionChanged
from hal_core.models.message import LoseSession, NoteSession
from hal_core.models.session import CHANGES_MAX, SessionChange, SessionChangeKind
from hal_core.rules import session_lives
from hal_core.rules.session_lives import AGAIN_S, BURST_COUNT, SESSIONS_OF_USER_MAX, USER_AGAIN_S, USER_BURST_COUNT
from hal_core.rules.state import State

SESSION = "5f2c09ab41de"
JOINED, CLOSED = SessionChangeKind.WORKERS_JOINED, SessionChangeKind.CLOSED


def change(number: int, kind: SessionChangeKind = JOINED) -> SessionChange:
    return SessionChange(number=number, time_s=float(number), kind=kind)


class Daemon:
    """The state, and what came into the journal."""

    def __init__(self) -> None:
        self.state, self.events, self.now_s = State(), list[SessionChanged](), 0.0

    def tell(self, *changes: SessionChange, session: str = SESSION, user: str = "ada") -> int:
        events, number = session_lives.note(self.state, NoteSession(user, session, changes), self.now_s)
        self._take(events)
        return number

    def lose(self, number: int) -> None:
        self._take(session_lives.lose(self.state, LoseSession("ada", SESSION, number), self.now_s))

    def restart(self) -> None:
        self.state = State.load(self.state.dump())

    @property
    def kinds(self) -> list[SessionChangeKind]:
        return [event.change.kind for event in self.events]

    def _take(self, events) -> None:
        for event in events:
            self.state.apply(event)
        self.events += events


class Broker:
    """As a real one tells: from what it heard on, so many at a time."""

    def __init__(self) -> None:
        self.changes: list[SessionChange] = []
        self.heard = 0

    def report(self) -> tuple[SessionChange, ...]:
        return tuple(each for each in self.changes if each.number > self.heard)[:CHANGES_MAX]


STEPS = st.sampled_from(
    ["happens", "report", "lost on the way", "answer lost", "doubled", "delayed", "late", "restart"]
)


@given(st.lists(STEPS, max_size=80))
def test_every_change_is_on_record_once_and_in_order_whatever_becomes_of_reports(steps):
    daemon, broker = Daemon(), Broker()
    under_way: list[tuple[SessionChange, ...]] = []
    for step in steps:
        daemon.now_s += 1.0
        report = broker.report()
        match step:
            case "happens":
                broker.changes.append(change(len(broker.changes) + 1))
            case "report":
                broker.heard = max(broker.heard, daemon.tell(*report))
            case "lost on the way":
                pass
            case "answer lost":
                daemon.tell(*report)
            case "doubled":
                daemon.tell(*report)
                broker.heard = max(broker.heard, daemon.tell(*report))
            case "delayed":
                under_way.append(report)
            case "late":
                while under_way:
                    broker.heard = max(broker.heard, daemon.tell(*under_way.pop()))
            case "restart":
                daemon.restart()
        told = [event.change for event in daemon.events]
        assert told == broker.changes[: len(told)], "each once, none left out"
        assert broker.heard <= len(told), "it is never said that something is on record which is not"
    while broker.heard < len(broker.changes):
        broker.heard = daemon.tell(*broker.report())
    assert [event.change for event in daemon.events] == broker.changes


@given(st.lists(st.lists(st.integers(1, 50), max_size=CHANGES_MAX), max_size=20))
def test_a_broken_broker_gets_no_number_twice_on_record(reports):
    daemon = Daemon()
    for numbers in reports:
        daemon.tell(*map(change, numbers))
    told = [event.change.number for event in daemon.events]
    assert told == sorted(set(told))


def test_what_one_session_puts_on_record_is_bounded_and_the_rest_is_taken_later():
    daemon = Daemon()
    for first in range(1, 2 * BURST_COUNT, CHANGES_MAX):
        heard = daemon.tell(*map(change, range(first, first + CHANGES_MAX)))
    assert len(daemon.events) == heard == BURST_COUNT
    daemon.now_s += 3 * AGAIN_S
    assert daemon.tell(*map(change, range(heard + 1, heard + CHANGES_MAX))) == heard + 3


def test_who_falls_silent_is_lost_once_and_heard_again():
    daemon = Daemon()
    daemon.tell(change(1, SessionChangeKind.OPENED))
    daemon.lose(0)
    daemon.lose(1)
    daemon.lose(1)
    daemon.restart()
    assert [each.end for each in daemon.state.sessions.all()] == [SessionChangeKind.LOST]
    assert daemon.tell() == 1, "a report without news is one all the same"
    assert daemon.tell(change(1), change(2, CLOSED)) == 2
    daemon.lose(2)
    assert daemon.kinds == [
        SessionChangeKind.OPENED,
        SessionChangeKind.LOST,
        SessionChangeKind.HEARD_AGAIN,
        CLOSED,
    ]


def test_no_broker_can_say_what_is_the_daemons_to_say():
    daemon = Daemon()
    daemon.tell(change(1, SessionChangeKind.LOST), change(2, SessionChangeKind.HEARD_AGAIN), change(3))
    assert daemon.kinds == [JOINED]


def test_what_all_sessions_of_a_user_put_on_record_is_bounded_however_many_names_there_are():
    daemon = Daemon()
    parked = [change(number, SessionChangeKind.PARKED) for number in range(1, CHANGES_MAX + 1)]
    for number in range(SESSIONS_OF_USER_MAX + 5):
        daemon.tell(*parked, session=f"{number:012x}")
    assert len(daemon.events) == USER_BURST_COUNT
    daemon.restart()
    assert daemon.tell(*parked, session=f"{0:012x}") == CHANGES_MAX
    assert daemon.tell(*parked, session="f" * 12) == 0
    assert len(daemon.events) == USER_BURST_COUNT, "no name brings the allowance back, nor does a restart"
    daemon.tell(change(1), user="bob")
    daemon.now_s += 3 * USER_AGAIN_S
    assert daemon.tell(*parked, session="f" * 12) == 3


def test_what_was_spent_stays_when_the_session_is_forgotten():
    daemon = Daemon()
    for number in range(2 * USER_BURST_COUNT):
        daemon.tell(change(1, CLOSED), session=f"{number:012x}")
    assert len(daemon.state.sessions.all()) == SESSIONS_OF_USER_MAX
    assert len(daemon.events) == USER_BURST_COUNT


def test_who_falls_silent_and_comes_back_for_ever_is_bounded_too():
    daemon = Daemon()
    daemon.tell(change(1, SessionChangeKind.OPENED))
    for _ in range(2 * BURST_COUNT):
        daemon.lose(1)
        daemon.tell()
    assert len(daemon.events) <= BURST_COUNT + 1


def test_of_a_user_only_so_many_are_remembered_and_nobody_elses_suffer():
    daemon = Daemon()
    daemon.tell(change(7), user="bob")
    for number in range(SESSIONS_OF_USER_MAX):
        daemon.tell(change(1), session=f"{number:012x}")
    assert daemon.tell(change(1), session="f" * 12) == 0, "none has ended that could be forgotten for it"
    daemon.tell(change(2, CLOSED), session=f"{5:012x}")
    assert daemon.tell(change(1), session="f" * 12) == 1
    lives = daemon.state.sessions
    assert len(lives.all()) == SESSIONS_OF_USER_MAX + 1
    assert lives.find("bob", SESSION) is not None
    assert lives.find("ada", f"{0:012x}") is not None, "one that is open stays, however long ago it said something"
    assert lives.find("ada", f"{5:012x}") is None

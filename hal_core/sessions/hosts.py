"""Which hosts fail so much more often than the others that it is no chance, and what they get then. Pure; no clock.

For each function, tasks that failed on a host stand against those that failed on all others, and Fisher's exact test
(The Design of Experiments, 1935) says how probable that is, or worse, if all hosts are alike. Nothing need be known of
how often the function's tasks fail anyway: one that fails everywhere, or that only this host has done so far, says
nothing against it. A task counts once, when it fails for the first time, so a poison task that is tried again and again
does not make hosts look bad. The death of a worker counts as a failure of the task it was at.

Guarantee: the test is made at failures only, so a host that is like the others is blocked at one of its first n
failures with a probability of at most n * `CHANCE_MAX`. One that every task fails on is blocked soon after its fifth.

A blocked host gets nothing. After a rest, which doubles each time, it is on probation: one task at a time for each of
its workers. If at most half of the first `TRIAL_COUNT` fail it is as good as new, else it is blocked again. For what
fails on a host that is blocked or on probation no task is blamed. The last host is never blocked.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

import attrs

CHANCE_MAX: Final = 1e-6
FAILED_MIN: Final = 5
"""Fewer failures are never enough, whatever the odds."""
TRIAL_COUNT: Final = 4
REST_S: Final = 60.0
REST_S_MAX: Final = 3600.0


@attrs.define
class Score:
    """How many tasks of one function a host has done, and how many of these failed."""

    done: int = 0
    failed: int = 0


@attrs.define
class Host:
    """`blocked_why` is empty while it gets tasks as any other."""

    name: str
    scores: dict[int, Score] = attrs.Factory(dict)
    blocked_why: str = ""
    is_on_probation: bool = False
    block_count: int = 0
    trial: Score = attrs.Factory(Score)
    """What it has done on probation."""

    @property
    def rest_s(self) -> float:
        """How long it gets nothing, this time."""
        return min(REST_S * 2.0 ** (self.block_count - 1), REST_S_MAX)

    def total(self) -> Score:
        """Of all functions."""
        return Score(sum(each.done for each in self.scores.values()), sum(each.failed for each in self.scores.values()))


class Hosts:
    """All changes come through its methods."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._news: list[Host] = []
        self._forgiven: list[Host] = []

    def join(self, name: str) -> Host:
        """The host of a worker that came."""
        return self._hosts.setdefault(name, Host(name))

    def all(self) -> Collection[Host]:
        return self._hosts.values()

    def take_news(self) -> list[Host]:
        """Those that were blocked, or blocked again, since the last call."""
        news, self._news = self._news, []
        return news

    def take_forgiven(self) -> list[Host]:
        """Those that were blocked and are no longer, since the last call."""
        forgiven, self._forgiven = self._forgiven, []
        return forgiven

    def restore(self, name: str, why: str) -> None:
        """It was blocked when the session's broker died: it rests once more, as if for the first time."""
        self._block(self.join(name), why)

    def note_done(self, host: Host, function: int, count: int) -> None:
        """It has done so many tasks, failed ones and all."""
        score = host.scores.get(function)
        if score is None:
            score = host.scores[function] = Score()
        score.done += count
        if host.is_on_probation:
            host.trial.done += count
            self._judge(host)

    def note_failed(self, host: Host, function: int, count: int, others: Collection[str]) -> None:
        """So many tasks failed for the first time; `note_done` comes after it. `others` are hosts that get tasks."""
        if not count:
            return
        score = host.scores.setdefault(function, Score())
        score.failed += count
        if host.is_on_probation:
            host.trial.failed += count
        elif others and not host.blocked_why:
            self._compare(host, function, count)

    def put_on_probation(self, name: str) -> bool:
        """Its rest is over. Whether it is on probation then: it may be as good as new already."""
        host = self._hosts[name]
        if host.blocked_why:
            host.is_on_probation, host.trial = True, Score()
        return host.is_on_probation

    def forgive(self, host: Host) -> None:
        """It is as good as new."""
        if host.blocked_why:
            self._forgiven.append(host)
        host.blocked_why, host.is_on_probation, host.scores = "", False, {}

    def _compare(self, host: Host, function: int, count: int) -> None:
        """`count` of the failures are not counted among the done yet."""
        own, others = host.scores[function], Score()
        own = Score(own.done + count, own.failed)
        for other in self._hosts.values():
            if other is not host and (score := other.scores.get(function)) is not None:
                others.done += score.done
                others.failed += score.failed
        if own.failed < FAILED_MIN or own.failed * others.done <= others.failed * own.done:
            return
        chance = chance_of(own, others)
        if chance < CHANCE_MAX:
            here, there = f"{own.failed} of {own.done} tasks failed there", f"{others.failed} of {others.done}"
            self._block(host, f"{here}, {there} elsewhere: the chance of that is {chance:.0e} if all hosts are alike")

    def _judge(self, host: Host) -> None:
        if host.trial.done < TRIAL_COUNT:
            return
        if 2 * host.trial.failed <= host.trial.done:
            self.forgive(host)
        else:
            self._block(host, f"{host.trial.failed} of {host.trial.done} tasks failed there when it was tried again")

    def _block(self, host: Host, why: str) -> None:
        host.blocked_why, host.is_on_probation = why, False
        host.block_count += 1
        self._news.append(host)


def chance_of(own: Score, others: Score) -> float:
    """Of so many failures here, or more, if the failures of both fell anywhere: the hypergeometric tail.

    Exact as long as it is below `CHANCE_MAX`; beyond that some number above it.
    """
    done, failed = own.done + others.done, own.failed + others.failed
    whole = _log_choose(done, failed)
    total = 0.0
    for here in range(own.failed, min(own.done, failed) + 1):
        if failed - here > others.done:
            continue
        term = math.exp(_log_choose(own.done, here) + _log_choose(others.done, failed - here) - whole)
        total += term
        if total >= CHANCE_MAX or term < total * 1e-12:
            break
    return total


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)

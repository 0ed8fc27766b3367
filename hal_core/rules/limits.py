"""Limits by name: on jobs of a partition, an account with all below it, a quality of service, or the whole cluster.

A limit counts all these jobs together or, with `user.` before its name, those of each user. What is counted is kept as
jobs come, start and end; minutes are those used (ledger) and those that what runs may still use until its limits. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from hal_core.errors import Problem
from hal_core.models.job import JobId, JobSpec, Owner, Shape
from hal_core.models.policy import COUNTED, PER_USER, Limits
from hal_core.models.ranges import count_of
from hal_core.rules.licences import Licences
from hal_core.rules.usage import Ledger, Payer, Used, payer_of

if TYPE_CHECKING:
    from hal_core.models.node import Cluster
    from hal_core.rules.job_record import Activity, JobRecord


HELD = frozenset({"running_jobs", "cpus", "gpus"})
"""What is free again when a job ends."""
PAYERS_KEPT = 10_000
MARGIN_S = 1.0
"""So much after the moment that was worked out, nothing that was rounded matters any more."""


class Amounts(NamedTuple):
    """What one element takes of the things that are limited."""

    cpus: int
    gpus: int
    limit_s: float


NOTHING = Amounts(0, 0, 0.0)


class Hit(NamedTuple):
    """A limit that lets no element start, and what could change that by itself."""

    tally: Tally
    what: str
    text: str
    until_s: float
    """When forgotten usage will have made room for it, if nothing else happens; infinity: never."""


class Tally:
    """What is counted for one scope, perhaps of one user, and the limits on it."""

    __slots__ = (
        *("cpus", "due_cpu_s", "due_gpu_s", "endless", "gpus", "limits", "pending", "running", "scope"),
        *("still_cpus", "still_gpus", "user"),
    )

    def __init__(self, scope: str, user: str, limits: dict[str, int]) -> None:
        self.scope = scope
        self.user = user
        self.limits = limits
        self.pending = self.running = self.cpus = self.gpus = self.endless = 0
        """`endless`: elements that run without a limit."""
        self.due_cpu_s = self.due_gpu_s = 0.0
        """Sums over what runs: CPUs (GPUs) times the end at the limit, or, if it is suspended, the time left to it."""
        self.still_cpus = self.still_gpus = 0
        """Of what is suspended."""

    def name(self, what: str) -> str:
        return f"limit {PER_USER if self.user else ''}{what} of {self.scope}"

    def move(self, activity: Activity, sign: int) -> None:
        """An element starts (1) or ends (-1)."""
        walltime_s = activity.record.spec.walltime_s
        self.running += sign
        self.cpus += sign * activity.cpu_count
        self.gpus += sign * activity.gpu_count
        if walltime_s is None:
            self.endless += sign
        else:
            end_s = activity.place_time_s + activity.suspended_s + walltime_s
            self.due_cpu_s += sign * activity.cpu_count * end_s
            self.due_gpu_s += sign * activity.gpu_count * end_s
        if not self.running:
            self.due_cpu_s = self.due_gpu_s = 0.0  # no rounding outlives what it came from

    def hold_still(self, activity: Activity, time_s: float, sign: int) -> None:
        """An element is suspended (1) or goes on (-1): meanwhile the time left to it does not pass."""
        if activity.record.spec.walltime_s is not None:
            self.still_cpus += sign * activity.cpu_count
            self.still_gpus += sign * activity.gpu_count
            self.due_cpu_s -= sign * activity.cpu_count * time_s
            self.due_gpu_s -= sign * activity.gpu_count * time_s

    def current(self, what: str, used: Used, now_s: float) -> float:
        """How much of it is in force, in the limit's own unit."""
        match what:
            case "running_jobs":
                return self.running
            case "pending_jobs":
                return self.pending
            case "cpus":
                return self.cpus
            case "gpus":
                return self.gpus
            case "cpu_minutes":
                return (used.cpu_s + self._to_come_s(self.due_cpu_s, self.cpus - self.still_cpus, now_s)) / 60
            case _:
                return (used.gpu_s + self._to_come_s(self.due_gpu_s, self.gpus - self.still_gpus, now_s)) / 60

    def _to_come_s(self, due_s: float, held: int, now_s: float) -> float:
        return math.inf if self.endless and held else max(due_s - held * now_s, 0.0)


def amount_of(what: str, amounts: Amounts) -> float:
    """What one element takes of a limit. Minutes of a job without a time limit are without end."""
    match what:
        case "running_jobs" | "pending_jobs":
            return 1
        case "cpus":
            return amounts.cpus
        case "gpus":
            return amounts.gpus
        case "cpu_minutes":
            return amounts.cpus * amounts.limit_s / 60 if amounts.cpus else 0.0
        case _:
            return amounts.gpus * amounts.limit_s / 60 if amounts.gpus else 0.0


class LimitBook:
    """All tallies. Where nothing is limited there are none, and counting costs nothing."""

    def __init__(self) -> None:
        self.is_active = False
        self.licences = Licences()
        self._scopes: dict[tuple[str, str], Limits] = {}
        """(kind, name) -> its limits; only those that have some."""
        self._above: dict[str, str] = {}
        self._largest: dict[str, tuple[int, int]] = {}
        """By partition: the most CPUs, and GPUs, of one node."""
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._of: dict[Payer, tuple[Tally, ...]] = {}

    def define(self, cluster: Cluster) -> None:
        """These limits are in force from now on. The caller adds all jobs again."""
        self.licences.define(cluster.licences)
        self._tallies.clear()
        self._of.clear()
        scopes = {("the cluster", ""): cluster.limits}
        scopes |= {("partition", each.name): each.limits for each in cluster.partitions}
        scopes |= {("account", each.name): each.limits for each in cluster.accounts}
        scopes |= {("quality of service", each.name): each.limits for each in cluster.qos}
        self._scopes = {key: limits for key, limits in scopes.items() if limits}
        self.is_active = bool(self._scopes)
        self._above = {account.name: account.parent for account in cluster.accounts}
        sizes = {node.name: (node.cpu_count, len(node.gpus)) for node in cluster.nodes} if self.is_active else {}
        self._largest = {
            each.name: (max(sizes[node][0] for node in each.nodes), max(sizes[node][1] for node in each.nodes))
            for each in (cluster.partitions if self.is_active else ())
            if each.nodes
        }

    def of(self, payer: Payer) -> tuple[Tally, ...]:
        """The tallies that the payer's jobs count in, the narrowest first."""
        found = self._of.get(payer)
        if found is None:
            if len(self._of) >= PAYERS_KEPT:  # names can be made up where there are no accounts
                self._of.clear()
            found = self._of[payer] = tuple(self._make(payer)) if self.is_active else ()
        return found

    def _make(self, payer: Payer) -> Iterator[Tally]:
        keys = [("quality of service", payer.qos)]
        account, steps = payer.account, 0
        while account and steps <= len(self._above):
            keys.append(("account", account))
            account, steps = self._above.get(account, ""), steps + 1
        keys += [("partition", payer.partition), ("the cluster", "")]
        for kind, name in keys:
            limits = dict(self._scopes.get((kind, name), ()))
            each = {what.removeprefix(PER_USER): most for what, most in limits.items() if what.startswith(PER_USER)}
            together = {what: most for what, most in limits.items() if not what.startswith(PER_USER)}
            for user, some in ((payer.user, each), ("", together)):
                if some:
                    scope = f"{kind} {name}".rstrip()
                    yield self._tallies.setdefault((kind, name, user), Tally(scope, user, some))

    def tallies(self) -> Iterable[Tally]:
        return self._tallies.values()

    def add(self, record: JobRecord) -> None:
        """All of a job that was there before the limits were."""
        self.count_pending(record, record.pending_count)
        for activity in record.active.values():
            self.move(activity, 1)
            if activity.suspend_time_s is not None:
                self.hold_still(activity, activity.suspend_time_s, 1)

    def count_pending(self, record: JobRecord, change: int) -> int:
        """So many more of its elements wait; returns the same."""
        for tally in self.of(record.payer):
            tally.pending += change
        return change

    def move(self, activity: Activity, sign: int) -> None:
        """An element starts (1) or ends (-1)."""
        self.licences.move(activity.record.shape, sign)
        for tally in self.of(activity.record.payer):
            tally.move(activity, sign)

    def hold_still(self, activity: Activity, time_s: float, sign: int) -> None:
        for tally in self.of(activity.record.payer):
            tally.hold_still(activity, time_s, sign)

    def amounts(self, spec: JobSpec, shape: Shape) -> Amounts:
        """Of one element. An exclusive one is taken for the largest nodes, as it may get these."""
        limit_s = math.inf if spec.walltime_s is None else spec.walltime_s
        if shape.is_exclusive:
            cpus, gpus = self._largest.get(shape.partition, (0, 0))
            return Amounts(cpus * shape.total_nodes, gpus * shape.total_nodes, limit_s)
        return Amounts(shape.total_cpus, shape.total_gpus, limit_s)

    def used(self, ledger: Ledger, now_s: float) -> dict[Tally, Used]:
        """What was used, for each tally with a limit on minutes."""
        found: dict[Tally, Used] = {}
        for payer, used in ledger.used(now_s) if self.is_active else ():
            for tally in self.of(payer):
                if "cpu_minutes" in tally.limits or "gpu_minutes" in tally.limits:
                    found[tally] = found.get(tally, Used()).plus(used)
        return found


class RunningQuota:
    """Implements models.quota.Quota: what is left beside what runs and what this plan has started."""

    def __init__(self, book: LimitBook, ledger: Ledger, jobs: Mapping[JobId, JobRecord], now_s: float) -> None:
        self._book = book
        self._ledger = ledger
        self._jobs = jobs
        self._now_s = now_s
        self._used: dict[Tally, Used] | None = None
        self._taken: dict[tuple[Tally, str], float] = {}
        self._ended: Mapping[JobId, int] = {}
        self._free: dict[Payer, dict[str, float]] = {}
        self._barred: set[tuple[Payer, Shape, float | None]] = set()
        """Of whom nothing like it can start any more in this plan."""
        self.wake_s = math.inf
        """When a limit that bars a job will have made room by itself."""

    def left(self, job_id: JobId) -> int:
        record = self._jobs[job_id]
        if record.spec.array is None and self._is_free(record):
            return record.startable_count
        kind = (record.payer, record.shape, record.spec.walltime_s)
        if kind in self._barred:
            return 0
        left = self.count(record)
        if not left:
            self._barred.add(kind)
            hit = self.hit(record)
            if hit is not None:
                self.wake_s = min(self.wake_s, hit.until_s)
        return left

    def _is_free(self, record: JobRecord) -> bool:
        """A quick yes for one element: what its payer's limits leave is worked out once, until something is taken."""
        free = self._free.get(record.payer)
        if free is None:
            free = self._free[record.payer] = self._least(record.payer)
        amounts = self._book.amounts(record.spec, record.shape)
        cpus, gpus, limit_s = amounts
        return (
            free["running_jobs"] >= 1
            and free["cpus"] >= cpus
            and free["gpus"] >= gpus
            and (free["cpu_minutes"] == math.inf or free["cpu_minutes"] * 60 > cpus * limit_s)
            and (free["gpu_minutes"] == math.inf or free["gpu_minutes"] * 60 > gpus * limit_s)
        )

    def _least(self, payer: Payer) -> dict[str, float]:
        """What the tightest limit leaves of each thing."""
        free = dict.fromkeys(COUNTED, math.inf)
        for tally in self._book.of(payer):
            for what, most in tally.limits.items():
                free[what] = min(free[what], most - self._current(tally, what))
        return free

    def count(self, record: JobRecord) -> int:
        """The same, counted anew: for whom the state changes while it is asked."""
        amounts = self._book.amounts(record.spec, record.shape)
        left = record.startable_count
        for tally in self._book.of(record.payer):
            for what, most in tally.limits.items():
                amount = 0.0 if what == "pending_jobs" else amount_of(what, amounts)
                if amount:
                    current = self._current(tally, what)
                    fits = current + amount <= most  # asked in the same words as by `hit`, however it is rounded
                    left = min(left, max(int((most - current) // amount), 1) if fits else 0)
        return left

    def take(self, job_id: JobId, count: int) -> None:
        record = self._jobs[job_id]
        self._free.clear()
        if count < 0:
            self._barred.clear()
        amounts = self._book.amounts(record.spec, record.shape)
        for tally in self._book.of(record.payer):
            for what in tally.limits:
                key = (tally, what)
                self._taken[key] = self._taken.get(key, 0.0) + count * amount_of(what, amounts)

    def fresh(self) -> RunningQuota:
        return self.without(self._ended)

    def without(self, ended: Mapping[JobId, int]) -> RunningQuota:
        """Only what they hold counts: of minutes they may have used most already."""
        another = RunningQuota(self._book, self._ledger, self._jobs, self._now_s)
        another._ended = ended
        for job_id, count in ended.items():
            record = self._jobs[job_id]
            amounts = self._book.amounts(record.spec, record.shape)
            for tally in self._book.of(record.payer):
                for what in HELD.intersection(tally.limits):
                    key = (tally, what)
                    another._taken[key] = another._taken.get(key, 0.0) - count * amount_of(what, amounts)
        return another

    def hit(self, record: JobRecord) -> Hit | None:
        """The first limit that lets no element of the job start; None if all let one."""
        amounts = self._book.amounts(record.spec, record.shape)
        for tally in self._book.of(record.payer):
            for what, most in tally.limits.items():
                amount = 0.0 if what == "pending_jobs" else amount_of(what, amounts)
                current = self._current(tally, what) if amount else 0.0
                if amount and current + amount > most:
                    text = text_of(tally, what, current, amount)
                    return Hit(tally, what, text, self._until_s(tally, what, amount))
        return None

    def _current(self, tally: Tally, what: str) -> float:
        return tally.current(what, self._used_of(tally), self._now_s) + self._taken.get((tally, what), 0.0)

    def _used_of(self, tally: Tally) -> Used:
        if self._used is None:
            self._used = self._book.used(self._ledger, self._now_s)
        return self._used.get(tally, Used())

    def _until_s(self, tally: Tally, what: str, amount: float) -> float:
        """When usage will have been halved often enough. What runs is taken to go on as it is."""
        if not what.endswith("_minutes") or not self._ledger.half_life_s:
            return math.inf
        used = self._used_of(tally)
        forgotten = (used.cpu_s if what == "cpu_minutes" else used.gpu_s) / 60
        bearable = tally.limits[what] - (self._current(tally, what) - forgotten) - amount
        if bearable <= 0.0 or forgotten <= bearable:
            return math.inf
        return self._now_s + self._ledger.half_life_s * math.log2(forgotten / bearable) + MARGIN_S


class Door:
    """What limits say to jobs that come in, one after the other: too many wait, or this one could never start."""

    def __init__(self, book: LimitBook) -> None:
        self._book = book
        self._added: dict[Tally, int] = {}

    def problems(self, owner: Owner, spec: JobSpec) -> Iterator[Problem]:
        amounts = self._book.amounts(spec, spec.shape()) if self._book.is_active else NOTHING
        count = count_of(spec.array.indices) if spec.array else 1
        for tally in self._book.of(payer_of(owner, spec)):
            for what, most in tally.limits.items():
                amount = amount_of(what, amounts)
                if what == "pending_jobs":
                    waiting = tally.pending + self._added.get(tally, 0)
                    self._added[tally] = waiting + count - tally.pending
                    if waiting + count > most:
                        yield Problem("limits", text_of(tally, what, waiting, count))
                elif amount > most:
                    asked = "it has no time limit; give one" if math.isinf(amount) else f"it takes {amount:.10g}"
                    yield Problem("limits", f"{tally.name(what)} is {most}, and {asked}")


def text_of(tally: Tally, what: str, current: float, amount: float) -> str:
    """`limit user.running_jobs of quality of service short: 10 of 10`."""
    text = f"{tally.name(what)}: {current:.10g} of {tally.limits[what]}"
    if math.isinf(amount):
        return f"{text}, and it has no time limit"
    return text if amount == 1 else f"{text}, and it takes {amount:.10g}"

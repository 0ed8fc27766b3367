"""The broker's core: which tasks wait, which worker has which, and what is settled. Pure; no sockets, no clock.

A task is a number. Tasks are kept as slices of the vectors they came in, so the cost is that of slices: a thousand
short tasks go to a worker, and come back, as one. Guarantee: every task that was submitted is settled exactly once, by
a result, by `drop`, or by being set aside, whatever workers do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from hal_core.errors import WireError
from hal_core.models.ranges import Ranges, RangeSet, count_of
from hal_core.sessions.hosts import Host, Hosts
from hal_core.sessions.pace import BATCH_BYTES_MAX, Pace
from hal_core.sessions.slices import Counts, Held, Policy, Slice, Tally
from hal_core.wire.packed import Packed
from hal_core.wire.sessions import Results

END_PART: Final = 32
"""Of a window: so much a worker holds and gets at least, also at the end."""
ALONE_LOSSES_MAX: Final = 5
"""A task whose worker died so often while it had nothing else is set aside: it is the task."""


class Ledger:
    """All changes come through its methods. Workers are whatever the caller names them by."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._policies: dict[int, Policy] = {}
        self._paces: dict[int, Pace] = {}
        self.hosts = Hosts()
        self._waiting: dict[int, deque[Slice]] = {}
        self._elsewhere: dict[str, deque[Slice]] = {}
        """Single tasks that failed, by the host that is not to have them again as long as there is another."""
        self._held: dict[object, Held] = {}
        self._tries: dict[int, int] = {}
        self._losses: dict[int, int] = {}
        self._to_kill = RangeSet()
        self._tallies: dict[int, Tally] = {}
        self._ranks: dict[str, int] = {}

    def define(self, function: int, policy: Policy) -> None:
        self._policies[function] = policy
        self._paces.setdefault(function, Pace())
        self._tallies.setdefault(function, Tally())

    def rank(self, tag: str, priority: int) -> None:
        """Tasks with the tag have this priority from now on, also those of functions that are defined later."""
        self._ranks.pop(tag, None)
        self._ranks[tag] = priority
        queues = [self._waiting[each] for each in sorted(self._waiting, reverse=True)]
        self._waiting, self.counts.waiting = {}, sum(map(len, self._elsewhere.values()))
        for queue in queues:
            for tasks in queue:
                self._put(tasks)

    def tallies(self) -> dict[str, Tally]:
        """By tag."""
        found: dict[str, Tally] = {}
        for function, policy in self._policies.items():
            for tag in policy.tags:
                found.setdefault(tag, Tally()).add(self._tallies[function])
        return found

    def submit(self, first: int, function: int, items: Packed) -> int:
        """Take in tasks; what is here already is left alone. Returns how many were new. Raises WireError for a gap."""
        accepted = self.counts.accepted
        if first > accepted:
            raise WireError(f"tasks from {first} on, but there are only {accepted} before them")
        if function not in self._policies:
            raise WireError(f"tasks of function {function}, which was not defined")
        known = min(accepted - first, len(items))
        new = len(items) - known
        if new:
            self._put(Slice(accepted, function, items.part(known, len(items))))
            self.counts.accepted += new
            self._tallies[function].taken += new
        return new

    def restore(self, first: int, function: int, items: Packed, settled: RangeSet) -> None:
        """For recovery: as `submit`, without those that are settled already."""
        assert first == self.counts.accepted
        waiting = RangeSet([(first, first + len(items))])
        waiting.difference_update(settled.intersection(waiting.ranges()))
        for start, stop in waiting.ranges():
            self._put(Slice(start, function, items.part(start - first, stop - first)))
        self._tallies[function].taken += len(waiting)
        self.counts.accepted += len(items)

    def add_worker(self, worker: object, host: str = "") -> None:
        self._held[worker] = Held(self.hosts.join(host))

    def stop_worker(self, worker: object) -> None:
        """It finishes what it has and gets nothing more."""
        self._held[worker].is_stopping = True
        self._look_at_hosts()

    def is_idle(self, worker: object) -> bool:
        return not self._held[worker].count

    def is_settled(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self.counts.waiting or self.counts.running)

    def batches(self) -> Iterator[tuple[object, Slice]]:
        """Hand out what waits to the workers that want more, the idlest first. Each is held from here on."""
        while self.counts.waiting:
            wanting = [(held.count, at) for at, held in enumerate(self._held.values()) if self._wants(held)]
            if not wanting:
                return
            workers = list(self._held.items())
            for _, at in sorted(wanting):
                worker, held = workers[at]
                if self.counts.waiting and self._wants(held):
                    yield worker, self._hand_out(held)

    def results(self, worker: object, results: Results) -> list[Results]:
        """The worker did these. Returns what is settled by it: all of them but those that are tried again.

        Raises WireError if they are not the next of that worker's tasks.
        """
        held, count = self._held[worker], len(results.values)
        if not held.slices or held.slices[0].first != results.first or len(held.slices[0].items) < count:
            raise WireError(f"results of {count} tasks from {results.first} on, which this worker does not have")
        head = held.slices[0]
        done = head.split(count) if count < len(head.items) else held.slices.popleft()
        held.count -= count
        held.is_late = held.is_late and held.count > 0
        self.counts.running -= count
        self._paces[done.function].learn(count, results.busy_ns)
        if not results.failed:
            self.hosts.note_done(held.host, done.function, count)
            self.counts.done += count
            self._tallies[done.function].done += count
            self._forget(done.first, done.stop)
            return [results]
        return list(self._settle_failures(done, results, held.host))

    def give_back(self, worker: object, kept_count: int) -> Ranges:
        """The worker is at a task that takes long. All that it had but its next `kept_count` tasks waits again, before
        all else, but for cancelled tasks, which are returned. Raises WireError if they are not of one batch."""
        held = self._held[worker]
        if not 0 <= kept_count <= (len(held.slices[0].items) if held.slices else 0):
            raise WireError(f"{kept_count} tasks are kept, of which the worker does not have so many")
        kept: deque[Slice] = deque()
        if kept_count:
            head = held.slices[0]
            kept.append(head.split(kept_count) if kept_count < len(head.items) else held.slices.popleft())
        back, held.slices, held.count, held.is_late = held.slices, kept, kept_count, bool(kept_count)
        return self._wait_again(back)

    def release_worker(self, worker: object) -> Ranges:
        """It went when it was asked to, and no task is to blame. What it had waits again, before all else, but for
        cancelled tasks, which are returned."""
        held = self._held.pop(worker)
        self.counts.lost += held.count
        killed = self._wait_again(held.slices)
        self._look_at_hosts()
        return killed

    def lose_worker(self, worker: object) -> tuple[Ranges, Ranges]:
        """The worker is gone. What it had waits again, alone, before all else.

        Returns the tasks that are dropped instead: set aside because workers die of them, and cancelled ones.
        """
        held = self._held.pop(worker)
        aside, killed = RangeSet(), RangeSet()
        was_alone = held.count == 1
        if held.slices:
            head = held.slices[0]
            self._note_failed(held.host, head.function, [head.first])
            self.hosts.note_done(held.host, head.function, 1)
        for each in reversed(held.slices):
            self.counts.running -= len(each.items)
            for task in reversed(range(each.first, each.stop)):
                single = Slice(task, each.function, each.items.part(task - each.first, task - each.first + 1), True)
                if task in self._to_kill:
                    killed.add(task)
                    self._to_kill.discard(task)
                elif was_alone and not held.host.blocked_why and self._lost_alone(task):
                    aside.add(task)
                else:
                    self.counts.lost += 1
                    self._put_again(single, held.host)
                    continue
                self._tallies[each.function].dropped += 1
        for dropped in (aside, killed):
            self.counts.dropped += len(dropped)
            for task in dropped:
                self._losses.pop(task, None)
                self._tries.pop(task, None)
        self._look_at_hosts()
        return aside.ranges(), killed.ranges()

    def cancel(self, tasks: Ranges, does_kill: bool, tag: str = "") -> tuple[Ranges, list[object]]:
        """Drop what waits, or of that what has the tag. Returns it, and the workers to end (then call `lose_worker`) if
        `does_kill`."""
        wanted = RangeSet(tasks)
        functions = {each for each, policy in self._policies.items() if not tag or tag in policy.tags}
        dropped = self._remove_waiting(wanted, functions)
        self.counts.dropped += len(dropped)
        workers = []
        for worker, held in self._held.items() if does_kill else ():
            ours = [each for each in held.slices if each.function in functions]
            common = [part for each in ours for part in wanted.intersection([(each.first, each.stop)])]
            self._to_kill.update(common)
            if common:
                workers.append(worker)
        return dropped.ranges(), workers

    def _wants(self, held: Held) -> bool:
        """Up to half a window when it gets more, or nothing before a suspect."""
        following = self._next(held) if held.may_have_more() else None
        if following is None or following.is_suspect:
            return following is not None and not held.count
        window = self._paces[following.function].window
        return held.count <= min(window // 2, max(self._fair(), window // END_PART))

    def _next(self, held: Held) -> Slice | None:
        """What this worker would get."""
        for host, tasks in self._elsewhere.items() if self._elsewhere else ():
            if host != held.host.name:
                return tasks[0]
        return self._waiting[max(self._waiting)][0] if self._waiting else None

    def _hand_out(self, held: Held) -> Slice:
        """A share of the first slice that waits: less towards the end, so that workers end together.

        Guided self-scheduling (Polychronopoulos and Kuck, IEEE TC C-36(12), 1987), with half a share each time and
        at least a small part of a window, below which a message costs more than the balance that it brings.
        """
        head = self._next(held)
        assert head is not None
        window = self._paces[head.function].window
        count = min(max(min(window - held.count, self._fair()), window // END_PART, 1), len(head.items))
        count = min(count, head.items.count_within(0, BATCH_BYTES_MAX))
        if held.host.blocked_why:  # It is on probation.
            count = 1
        if count < len(head.items):
            taken = head.split(count)
        else:
            taken = head
            self._take_out(head)
        held.slices.append(taken)
        held.count += count
        self.counts.waiting -= count
        self.counts.running += count
        return taken

    def _wait_again(self, slices: deque[Slice]) -> Ranges:
        """What a worker had and will not do. Returns the cancelled ones among it, which are dropped."""
        killed = RangeSet()
        for each in reversed(slices):
            self.counts.running -= len(each.items)
            self._put(each, is_first=True)
            killed.update(self._to_kill.intersection([(each.first, each.stop)]))
        self.counts.dropped += len(killed)
        self._remove_waiting(killed, set(self._policies))
        self._to_kill.difference_update(killed.ranges())
        return killed.ranges()

    def _fair(self) -> int:
        """Half of what waits, divided by the workers."""
        return -(-self.counts.waiting // (2 * len(self._held)))

    def _put(self, tasks: Slice, is_first: bool = False) -> None:
        """Into the queue of its priority, where the latest rank of one of its tags counts before its own."""
        policy = self._policies[tasks.function]
        ranks = [rank for tag, rank in self._ranks.items() if tag in policy.tags]
        queue = self._waiting.setdefault(ranks[-1] if ranks else policy.priority, deque())
        if is_first:
            queue.appendleft(tasks)
        else:
            queue.append(tasks)
        self.counts.waiting += len(tasks.items)

    def _take_out(self, head: Slice) -> None:
        """It is the first of the first queue, or of one of those that wait for another host."""
        for host, tasks in self._elsewhere.items() if self._elsewhere else ():
            if tasks[0] is head:
                tasks.popleft()
                if not tasks:
                    del self._elsewhere[host]
                return
        priority = max(self._waiting)
        queue = self._waiting[priority]
        queue.popleft()
        if not queue:
            del self._waiting[priority]

    def _settle_failures(self, done: Slice, results: Results, host: Host) -> Iterator[Results]:
        """Split the results where a failed task is tried again: for one that failed on a bad host that is no try."""
        retries = self._policies[done.function].retries
        self._note_failed(host, done.function, [done.first + place for place in results.failed])
        is_its_fault = bool(host.blocked_why)
        self.hosts.note_done(host, done.function, len(done.items))
        again = [
            place
            for place in results.failed
            if (self._tries.get(done.first + place, 0) < retries or (retries and is_its_fault))
            and done.first + place not in self._to_kill
        ]
        start = 0
        for place in (*again, len(done.items)):
            if place > start:
                failed = tuple(each - start for each in results.failed if start <= each < place)
                self.counts.done += place - start - len(failed)
                self.counts.failed += len(failed)
                self._tallies[done.function].done += place - start - len(failed)
                self._tallies[done.function].failed += len(failed)
                self._forget(done.first + start, done.first + place)
                yield Results(done.first + start, failed, results.values.part(start, place), results.busy_ns)
            start = place + 1
        for place in reversed(again):
            task = done.first + place
            self._tries[task] = self._tries.get(task, 0) + (not is_its_fault)
            self.counts.retried += 1
            self._put_again(Slice(task, done.function, done.items.part(place, place + 1)), host)
        self._look_at_hosts()

    def _note_failed(self, host: Host, function: int, tasks: Iterable[int]) -> None:
        """Against the host, as far as they had no trouble before."""
        known = (self._tries, self._losses, self._to_kill)
        count = sum(all(task not in each for each in known) for task in tasks)
        self.hosts.note_failed(host, function, count, self._others(host.name))

    def _others(self, host: str) -> set[str]:
        """Hosts beside that one that get tasks."""
        usable = {held.host.name for held in self._held.values() if not held.is_stopping and not held.host.blocked_why}
        return usable - {host}

    def _put_again(self, task: Slice, host: Host) -> None:
        """Before all else: on another host if there is one."""
        if not self._others(host.name):
            self._put(task, is_first=True)
            return
        self._elsewhere.setdefault(host.name, deque()).appendleft(task)
        self.counts.waiting += 1

    def _look_at_hosts(self) -> None:
        """Workers went, or a host was blocked: what waits for another may find none; and the last is as good as any."""
        for name in [each for each in self._elsewhere if not self._others(each)]:
            for task in reversed(self._elsewhere.pop(name)):
                self.counts.waiting -= 1
                self._put(task, is_first=True)
        present = [held.host for held in self._held.values() if not held.is_stopping]
        if all(host.blocked_why for host in present):
            for host in present:
                self.hosts.forgive(host)

    def _forget(self, first: int, stop: int) -> None:
        """Nobody asks about settled tasks. The tables hold only the few that had trouble."""
        for table in (self._tries, self._losses):
            if table:
                for task in range(first, stop):
                    table.pop(task, None)
        if self._to_kill:
            self._to_kill.discard(first, stop)

    def _lost_alone(self, task: int) -> bool:
        """Count one more worker that died with this task only. Whether that is too many."""
        losses = self._losses[task] = self._losses.get(task, 0) + 1
        return losses >= ALONE_LOSSES_MAX

    def _remove_waiting(self, wanted: RangeSet, functions: set[int]) -> RangeSet:
        """Take tasks of these functions out of the queues, as far as they are there."""
        removed = RangeSet()
        for queues in (self._waiting, self._elsewhere):
            for name, queue in list(queues.items()):
                kept = self._without(queue, wanted, functions, removed)
                if kept:
                    queues[name] = kept  # type: ignore[index]
                else:
                    del queues[name]  # type: ignore[arg-type]
        self.counts.waiting -= len(removed)
        return removed

    def _without(self, queue: deque[Slice], wanted: RangeSet, functions: set[int], removed: RangeSet) -> deque[Slice]:
        kept: deque[Slice] = deque()
        for each in queue:
            common = wanted.intersection([(each.first, each.stop)]) if each.function in functions else ()
            removed.update(common)
            self._tallies[each.function].dropped += count_of(common)
            for start, stop in common:
                if start > each.first:
                    kept.append(each.split(start - each.first))
                if stop < each.stop:
                    each.split(stop - each.first)
                else:
                    break
            else:
                kept.append(each)
        return kept

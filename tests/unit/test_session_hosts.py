"""Hosts of a session that fail: found by what they do compared with the others, and no task blamed for them."""

from __future__ import annotations

from math import comb
from random import Random

import pytest

from hal_core.models.ranges import count_of
from hal_core.sessions.hosts import CHANCE_MAX, REST_S, TRIAL_COUNT, Hosts, Score, chance_of
from hal_core.sessions.ledger import Ledger
from hal_core.sessions.slices import Policy
from hal_core.wire.packed import pack
from hal_core.wire.sessions import Results

HOSTS = ("n0", "n1", "n2")
WINDOW_NS = 20_000_000
ONCE = Policy()


class Farm:
    """Two workers on each host. `fails(host, task)` and `kills(host, task)` say what happens to a task there."""

    def __init__(self, hosts=HOSTS, policy=ONCE, fails=None, kills=None):
        self.ledger = Ledger()
        self.ledger.define(0, policy)
        self.fails = fails or (lambda host, task: False)
        self.kills = kills or (lambda host, task: False)
        self.host_of, self.held = {}, {}
        self.aside = 0
        self.done_by = dict.fromkeys(hosts, 0)
        for host in hosts:
            for _ in range(2):
                self.join(host)

    def join(self, host):
        worker = len(self.host_of)
        self.host_of[worker], self.held[worker] = host, []
        self.ledger.add_worker(worker, host)

    def submit(self, count):
        first = self.ledger.counts.accepted
        self.ledger.submit(first, 0, pack([b"item"] * count))

    def step(self):
        """All workers do one batch of what they have."""
        for worker, tasks in self.ledger.batches():
            self.held[worker].append((tasks.first, len(tasks.items)))
        for worker in [each for each in self.held if self.held[each]]:
            host, (first, count) = self.host_of[worker], self.held[worker].pop(0)
            dead = next((at for at in range(count) if self.kills(host, first + at)), None)
            done = count if dead is None else dead
            if done:
                failed = tuple(at for at in range(done) if self.fails(host, first + at))
                values = pack([b"value"] * done)
                self.ledger.results(worker, Results(first, failed, values, done * WINDOW_NS))
                self.done_by[host] += done - len(failed)
            if dead is not None:
                del self.held[worker]
                self.aside += count_of(self.ledger.lose_worker(worker)[0])
                self.join(host)

    def run(self, steps_max=20_000):
        for _ in range(steps_max):
            if self.ledger.is_settled():
                return self.ledger.counts
            self.step()
        raise AssertionError(f"tasks wait and nobody does them: {self.ledger.counts}")

    def blocked(self):
        return {host.name for host in self.ledger.hosts.all() if host.blocked_why}


def exact(own, others):
    """By whole numbers."""
    done, failed = own.done + others.done, own.failed + others.failed
    ways = sum(
        comb(own.done, at) * comb(others.done, failed - at) for at in range(own.failed, min(own.done, failed) + 1)
    )
    return ways / comb(done, failed)


def test_the_chance_is_that_of_fishers_exact_test():
    random = Random(4)
    for _ in range(300):
        done, others = random.randint(1, 200), random.randint(0, 400)
        own, rest = Score(done, random.randint(0, done)), Score(others, random.randint(0, others))
        want, got = exact(own, rest), chance_of(own, rest)
        assert got == pytest.approx(want, rel=1e-6) if want < CHANCE_MAX else got >= CHANCE_MAX * 0.999999


def test_a_host_on_which_every_task_fails_is_blocked_and_no_task_suffers():
    farm = Farm(policy=Policy(retries=2), fails=lambda host, task: host == "n1")
    farm.submit(2000)
    counts = farm.run()
    assert (counts.done, counts.failed) == (2000, 0)
    assert farm.blocked() == {"n1"}
    assert farm.ledger.hosts.join("n1").total().failed < 100, "it was found out early"
    (news,) = farm.ledger.hosts.take_news()
    assert "tasks failed there" in news.blocked_why
    assert news.rest_s == REST_S
    assert farm.ledger.hosts.take_news() == []


def test_tasks_that_fail_once_are_as_the_user_said_also_on_a_bad_host():
    farm = Farm(fails=lambda host, task: host == "n1")
    farm.submit(2000)
    counts = farm.run()
    assert counts.done + counts.failed == 2000
    assert 5 <= counts.failed < 100
    assert counts.retried == 0
    assert farm.blocked() == {"n1"}


def test_a_host_on_which_workers_die_is_blocked_and_no_task_is_set_aside():
    farm = Farm(kills=lambda host, task: host == "n2")
    farm.submit(2000)
    assert farm.run().done == 2000
    assert farm.aside == 0
    assert farm.blocked() == {"n2"}


def test_poison_tasks_are_set_aside_and_make_no_host_look_bad():
    farm = Farm(kills=lambda host, task: task % 100 == 7)
    farm.submit(2000)
    counts = farm.run()
    assert (farm.aside, counts.done) == (20, 1980)
    assert farm.blocked() == set()


def test_tasks_that_fail_everywhere_make_no_host_look_bad_however_often_they_are_tried():
    farm = Farm(policy=Policy(retries=9), fails=lambda host, task: task % 50 < 3)
    farm.submit(3000)
    counts = farm.run()
    assert (counts.failed, counts.retried) == (180, 9 * 180)
    assert farm.blocked() == set()


def test_a_function_that_fails_is_not_the_fault_of_the_host_that_has_it_first():
    hosts = Hosts()
    first, second = hosts.join("n0"), hosts.join("n1")
    hosts.note_done(second, 0, 10_000)
    hosts.note_failed(first, 1, 500, {"n1"})
    hosts.note_done(first, 1, 500)
    assert not first.blocked_why
    hosts.note_failed(second, 1, 30, {"n0"})
    hosts.note_done(second, 1, 30)
    assert hosts.take_news() == []


def test_hosts_that_are_alike_are_not_blocked_by_chance():
    random = Random(11)
    farm = Farm(fails=lambda host, task: random.random() < 0.1)
    farm.submit(5000)
    farm.run()
    assert farm.blocked() == set()


def test_a_host_on_probation_gets_a_few_tasks_and_is_as_good_as_new_when_they_go_well():
    is_ill = True
    farm = Farm(policy=Policy(retries=2), fails=lambda host, task: is_ill and host == "n1")
    farm.submit(1000)
    farm.run()
    farm.ledger.hosts.take_news()
    hosts, bad = farm.ledger.hosts, farm.ledger.hosts.join("n1")
    hosts.put_on_probation("n1")
    farm.submit(1000)
    counts = farm.run()
    assert (counts.done, counts.failed) == (2000, 0), "what fails on probation is done elsewhere"
    assert bad.trial.done <= TRIAL_COUNT + 1
    assert [host.rest_s for host in hosts.take_news()] == [2 * REST_S], "it rests twice as long"
    is_ill = False
    before = farm.done_by["n1"]
    hosts.put_on_probation("n1")
    assert bad.is_on_probation
    farm.submit(1000)
    assert farm.run().failed == 0
    assert farm.blocked() == set()
    assert farm.done_by["n1"] - before > TRIAL_COUNT + 1
    assert hosts.take_news() == []
    assert [host.name for host in hosts.take_forgiven()] == ["n1"]


def test_the_last_host_that_is_left_gets_all_tasks_whatever_was_said_of_it():
    farm = Farm(hosts=("n0", "n1"), policy=Policy(retries=2), fails=lambda host, task: host == "n1" and task < 1000)
    farm.submit(1000)
    farm.run()
    assert farm.blocked() == {"n1"}
    for worker in [each for each in farm.held if farm.host_of[each] == "n0"]:
        farm.ledger.stop_worker(worker)
        farm.ledger.release_worker(worker)
        del farm.held[worker]
    assert farm.blocked() == set()
    farm.submit(500)
    assert farm.run().done == 1500


def test_cancelled_tasks_that_wait_for_another_host_are_dropped():
    farm = Farm(policy=Policy(retries=5), fails=lambda host, task: True)
    farm.submit(300)
    farm.step()
    dropped, _ = farm.ledger.cancel(((0, 300),), False)
    assert count_of(dropped) == 300 - farm.ledger.counts.running - farm.ledger.counts.failed
    assert farm.ledger.counts.waiting == 0
    farm.run()

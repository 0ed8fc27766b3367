"""Which policy should be in force? Each is tried on the queue as it stands (trial.py), in several samples of what the
predictions allow, the same ones for all.

Another policy is adopted only if it saves enough of the waiting in so many samples that it is no chance, and if neither
those who wait longest nor any single user have to wait longer for it than the bounds allow, compared with the policy
that the site configured. By the same measure the configured one comes back as soon as the adopted one is worse than it.
Guarantee: what is in force was not worse than the configured policy, beyond the bounds, when it was tried last. Pure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.tuning import Bounds, Verdict
from hal_core.rules.forecast import Engine
from hal_core.rules.trial import Sampled, Span, Waited, waits

if TYPE_CHECKING:
    from random import Random

    from hal_core.models.job import JobId
    from hal_core.rules.excerpt import Excerpt

SIGNIFICANT: Final = 2.0
"""Standard errors between a mean gain and none."""


@attrs.frozen
class Trials:
    """What became of the queue under one policy."""

    mean_s: Sequence[float]
    """The mean wait in each sample."""
    p99_s: float
    of_user_s: Mapping[str, float]
    """Mean waits, over all samples."""

    @classmethod
    def of(cls, samples: Sequence[Sequence[Waited]], user_of: Callable[[JobId], str]) -> Trials:
        """At least one sample, and in each at least one job that waited."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for each in chain.from_iterable(samples):
            entry = sums[user_of(each.job_id)]
            entry[0] += each.wait_s * each.count
            entry[1] += each.count
        means_s = [sum(each.wait_s * each.count for each in s) / sum(each.count for each in s) for s in samples]
        worst_s = _mean([_p99(sample) for sample in samples])
        return cls(means_s, worst_s, {user: total_s / count for user, (total_s, count) in sums.items()})


@attrs.frozen
class Policies:
    """What there is to choose from, by name."""

    engines: Mapping[str, Engine]
    base: str
    """The one that the site configured."""
    current: str
    """The one in force."""


@attrs.frozen
class Queue:
    """The live queue at one moment, and chance. `part` asks about no job."""

    part: Excerpt
    user_of: Callable[[JobId], str]
    now_s: float
    random: Random


def tune(queue: Queue, policies: Policies, bounds: Bounds) -> Verdict:
    """Try all policies on the queue as it is."""
    part, current = queue.part, policies.current
    waiting_count = sum(1 for row in part.queue if row.element_count)
    if waiting_count < bounds.queue_min:
        return Verdict(current, f"{waiting_count} jobs wait, which is too few to tell")
    span = Span(queue.now_s, queue.now_s + bounds.horizon_s)

    def tried(name: str) -> Trials:
        engine = policies.engines[name]
        samples = [waits(part, engine, Sampled(n, queue.random), span) for n in range(bounds.sample_count)]
        return Trials.of(samples, queue.user_of)

    names = dict.fromkeys((policies.base, current, *policies.engines))
    return judge({name: tried(name) for name in names}, policies.base, current, bounds)


def judge(tried: Mapping[str, Trials], base: str, current: str, bounds: Bounds) -> Verdict:
    """The best of those that do no harm; the one in force unless another is significantly better."""
    usual = tried[base]
    if current != base:
        harm = harm_of(tried[current], usual, bounds)
        loss = -gain_of(tried[current], usual)
        if harm or loss > bounds.gain_min:
            reason = f"{current} does worse than {base}: {harm or share_text(-loss)}"
            return Verdict(base, reason, gain_of(usual, tried[current]))
    best, most = current, bounds.gain_min
    for name, trials in tried.items():
        gain = gain_of(trials, tried[current]) if name != current else 0.0
        if gain >= most and not harm_of(trials, usual, bounds):
            best, most = name, gain
    if best == current:
        return Verdict(current, "no other policy is significantly better")
    return Verdict(best, f"{best} is expected to do better than {current}: {share_text(most)}", most)


def share_text(gain: float) -> str:
    return f"{abs(gain):.0%} {'less' if gain >= 0 else 'more'} waiting"


def gain_of(trials: Trials, other: Trials) -> float:
    """The share of the other's waiting that is saved; 0 if that may be chance."""
    saved_s = [theirs - ours for ours, theirs in zip(trials.mean_s, other.mean_s, strict=True)]
    count, mean_s = len(saved_s), _mean(saved_s)
    variance = math.fsum((each_s - mean_s) ** 2 for each_s in saved_s) / max(count - 1, 1)
    if abs(mean_s) <= SIGNIFICANT * math.sqrt(variance / count):
        return 0.0
    whole_s = _mean(other.mean_s)
    return mean_s / whole_s if whole_s > 0.0 else 0.0


def harm_of(trials: Trials, usual: Trials, bounds: Bounds) -> str:
    """Who would have to wait longer than the bounds allow; empty: nobody."""

    def is_worse(wait_s: float, usual_s: float) -> bool:
        return wait_s > usual_s * (1.0 + bounds.worse_max) + bounds.grace_s

    if is_worse(trials.p99_s, usual.p99_s):
        return f"one job in a hundred waits over {hours(trials.p99_s)} instead of {hours(usual.p99_s)}"
    for user, wait_s in trials.of_user_s.items():
        usual_s = usual.of_user_s.get(user, 0.0)
        if is_worse(wait_s, usual_s):
            return f"jobs of {user} wait {hours(wait_s)} instead of {hours(usual_s)}"
    return ""


def hours(seconds: float) -> str:
    return f"{seconds / 3600.0:.1f} h"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _p99(sample: Sequence[Waited]) -> float:
    """The wait that one element in a hundred exceeds."""
    ordered = sorted((each.wait_s, each.count) for each in sample)
    left = math.ceil(0.99 * sum(count for _, count in ordered))
    for wait_s, count in ordered:
        left -= count
        if left <= 0:
            return wait_s
    return 0.0

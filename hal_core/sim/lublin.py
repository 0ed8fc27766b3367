"""A workload from the literature: the model of rigid jobs by Lublin and Feitelson, without a trace.

Sizes are serial, a power of two or neither, with logarithms from a two-stage uniform distribution; run times are
hyper-gamma in their logarithm, longer for larger jobs; jobs arrive with gamma-distributed logarithms of their gaps,
faster by day than by night. The model says nothing of users or limits: users are drawn by Zipf's law, and a job's limit
is its run time. Randomness is seeded: the same words make the same jobs.
Lublin and Feitelson, The workload on parallel supercomputers, JPDC 63(11), 2003; constants of all their jobs together.
"""

from __future__ import annotations

import math
from itertools import accumulate
from random import Random

import attrs

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.sim.trace import Findings, Trace, TraceJob

PREFIX = "lublin:"
SERIAL_SHARE, POWER_OF_TWO_SHARE = 0.244, 0.576
LOG_SIZE_LEAST, LOG_SIZE_STEP, LOW_SHARE = 0.8, 2.5, 0.86
"""Base 2. The middle of the two stages lies so far below the machine's size; so many sizes are below it."""
SHORT, LONG = (4.2, 0.94), (312.0, 0.03)
"""Shape and scale of the logarithms of short and of long run times."""
SHORT_SLOPE, SHORT_BASE = -0.0054, 0.78
"""The share of short ones: base and slope over the processors."""
RUN_S_MAX = math.exp(12)
GAP = (10.2303 * 1.0225, 0.4871)
"""Shape and scale of the logarithm of the gap between two jobs, on a day of equal hours."""
CYCLE = (8.1737, 3.9631)
"""Shape and scale of the day's cycle, over half hours that begin at half past five."""
DAY_BEGIN, HALF_HOUR_S, HALF_HOURS = 11, 1800, 48
JOBS_MAX, PROCESSORS_MAX = 10_000_000, 10_000_000


@attrs.frozen
class Lublin:
    """What is asked of the model. `load` above 1 makes jobs come so much faster."""

    jobs: int = 10_000
    procs: int = 256
    seed: int = 0
    users: int = 100
    load: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Lublin:
        """From `lublin:jobs=10000,procs=256,seed=1`. Raises errors.InvalidInput."""
        names = [field.name for field in attrs.fields(cls)]
        given: dict[str, float] = {}
        for part in filter(None, text.removeprefix(PREFIX).split(",")):
            name, _, value = part.partition("=")
            if name not in names:
                raise _wrong(text, f"there is no {name!r}{did_you_mean(name, names)}; known: {', '.join(names)}")
            try:
                given[name] = float(value) if name == "load" else int(value)
            except ValueError:
                raise _wrong(text, f"{name} is {value!r}; write {PREFIX}jobs=10000,procs=256,seed=1") from None
        limits = {"jobs": JOBS_MAX, "procs": PROCESSORS_MAX, "users": JOBS_MAX, "load": 1000.0}
        for name, most in limits.items():
            if name in given and not 0 < given[name] <= most:
                raise _wrong(text, f"{name} is {given[name]:g}; give more than 0 and at most {most:g}")
        return cls(**given)  # type: ignore[arg-type]  # each was converted by its name

    def trace(self) -> Trace:
        """The jobs, as if they had been read."""
        findings = Findings()
        findings.notes.append("the model has no time limits: run times are taken for them, as if users knew them")
        return findings.trace(list(_jobs(self)), self.procs, {"MaxProcs": str(self.procs)}, None)


def _wrong(place: str, text: str) -> InvalidInput:
    return InvalidInput([Problem(place, text)])


def _jobs(model: Lublin) -> list[TraceJob]:
    random = Random(model.seed)  # noqa: S311  repeatable, nothing secret
    arrivals = _Arrivals(random, model.load)
    users = list(accumulate(1 / rank for rank in range(1, model.users + 1)))
    jobs = []
    for number in range(1, model.jobs + 1):
        processors = _size(random, model.procs)
        run_s = _run_s(random, processors)
        user = f"user{random.choices(range(model.users), cum_weights=users)[0] + 1}"
        jobs.append(TraceJob(number, arrivals.next_s(), run_s, run_s, processors, user))
    return jobs


def _size(random: Random, procs: int) -> int:
    highest = math.log2(procs)
    draw = random.random()
    if draw <= SERIAL_SHARE or procs == 1:
        return 1
    middle = max(LOG_SIZE_LEAST, highest - LOG_SIZE_STEP)
    is_low = random.random() <= LOW_SHARE
    log_size = random.uniform(LOG_SIZE_LEAST, middle) if is_low else random.uniform(middle, highest)
    if draw <= SERIAL_SHARE + POWER_OF_TWO_SHARE:
        log_size = round(log_size)
    return max(1, min(procs, round(2**log_size)))


def _run_s(random: Random, processors: int) -> float:
    """Whole seconds, at least one. The logarithm is redrawn until it is not beyond what anybody runs."""
    short_share = min(1.0, max(0.0, SHORT_SLOPE * processors + SHORT_BASE))
    while True:
        shape, scale = SHORT if random.random() <= short_share else LONG
        run_s = math.exp(random.gammavariate(shape, scale))
        if run_s <= RUN_S_MAX:
            return float(max(1, round(run_s)))


class _Arrivals:
    """When jobs come: gaps as if all hours were alike, on a clock that goes as fast as the hour is busy."""

    def __init__(self, random: Random, load: float) -> None:
        self._random = random
        self._load = load
        self._speeds = _day_speeds()
        self._now_s = 0.0

    def next_s(self) -> float:
        left_s = math.exp(min(self._random.gammavariate(*GAP), 18.0)) / self._load
        while True:
            speed = self._speeds[int(self._now_s // HALF_HOUR_S) % HALF_HOURS]
            until_s = HALF_HOUR_S - self._now_s % HALF_HOUR_S
            if left_s <= until_s * speed:
                self._now_s += left_s / speed
                return float(round(self._now_s))
            left_s -= until_s * speed
            self._now_s += until_s


def _day_speeds() -> list[float]:
    """By half hour from midnight; their mean is 1."""
    shape, scale = CYCLE
    densities = [0.0] * HALF_HOURS
    for half_hour in range(DAY_BEGIN, DAY_BEGIN + HALF_HOURS):
        at = half_hour + 0.5
        density = math.exp((shape - 1) * math.log(at / scale) - at / scale)
        densities[half_hour % HALF_HOURS] = density
    mean = sum(densities) / HALF_HOURS
    return [density / mean for density in densities]

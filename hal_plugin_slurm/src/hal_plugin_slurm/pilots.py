"""Pilots: allocations of Slurm as `Machines`, in which HAL's own agents run HAL's own jobs and sessions.

To HAL a pilot is what an instance of a cloud is: a node that is there for a time. It is a batch job of Slurm whose
script is the site's user data, named as a machine of the fleet; so one whose answer was lost, or which a daemon ordered
before it crashed, is found in Slurm's queue and is not ordered again. Tokens, deadlines and wrong lists are the
business of HAL's Fleet.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from hal_core import (
    Bootstrap,
    CloudProvider,
    Fleet,
    Machine,
    MachineName,
    NoCapacity,
    Offer,
    Options,
    Refused,
    Unavailable,
    structure_options,
)
from hal_plugin_slurm.ends import ACTIVE, WAITING
from hal_plugin_slurm.pilot_options import MINUTE_S, PilotOptions
from hal_plugin_slurm.way import SlurmJob, SlurmRefused, SlurmSilent, Submission, Way
from hal_plugin_slurm.way_options import open_way

PLACE: Final = "clouds.slurm"
MIB: Final = 1 << 20
BUSY_S: Final = 10.0
LIMIT_S: Final = 300.0
"""A limit of Slurm's lets no more in until something has ended."""
LIMITS: Final = ("accounting/QOS policy", "inactive or drain", "job submit limit", "temporarily")
"""In a refusal that is not for ever."""

T = TypeVar("T")


def make_pilots(options: Options) -> CloudProvider:
    structured = structure_options(PilotOptions, options, PLACE)
    return Fleet(PilotMachines(structured, open_way(structured, time.time)), structured.fleet())


class PilotMachines:
    """Called in threads of trio's; Slurm is asked from trio's own."""

    def __init__(self, options: PilotOptions, way: Way) -> None:
        self._options, self._way = options, way
        self._offers = {offer.name: offer for offer in options.offers}

    def offers(self) -> Sequence[Offer]:
        return [offer.offer() for offer in self._options.offers]

    def list(self) -> Sequence[Machine]:
        """Only of our own user: anybody may name a job as he likes."""
        jobs = _ask("list", self._way.jobs)
        return [_machine(job) for job in jobs if job.user == self._options.own_user and MachineName.parse(job.name)]

    def create(self, offer: str, name: MachineName, bootstrap: Bootstrap | None = None) -> Machine:
        script = self._options.user_data.text(name.node, f"{PLACE}.user_data", bootstrap)
        native_id = _ask(f"create {name}", partial(self._way.submit, self._submission(offer, name, script)))
        return Machine(str(native_id), str(name), is_ready=False, created=_order(native_id))

    def destroy(self, native_id: str) -> None:
        _ask(f"end {native_id}", partial(self._way.cancel, [(int(native_id), None)]))

    def _submission(self, name_of_offer: str, name: MachineName, script: str) -> Submission:
        """The script goes by standard input or in the body of a request; Slurm shows it to its owner only."""
        options, offer = self._options, self._offers[name_of_offer]
        output = f"{options.directory.rstrip('/').replace('%', '%%')}/{name.node}-%j.log"
        return Submission(
            user=options.own_user,
            name=str(name),
            script=script,
            directory=options.directory,
            output=output,
            error=output,
            partition=offer.partition,
            cpus_per_task=offer.cpu_count,
            memory_mb_per_node=-(-offer.memory_bytes // MIB),
            gres_per_node=offer.gres,
            constraint=offer.constraint,
            is_exclusive=offer.is_exclusive,
            time_limit_min=int(offer.walltime_s // MINUTE_S),
            account=offer.account,
            qos=offer.qos,
            reservation=offer.reservation,
            comment=f"HAL's node {name.node}",
        )


def _ask(what: str, act: Callable[[], Awaitable[T]]) -> T:
    """The answer of Slurm, for a thread. Raises what `Machines` raise."""
    try:
        return trio.from_thread.run(act)
    except SlurmRefused as why:
        if any(words in str(why) for words in LIMITS):
            raise NoCapacity(f"{what}: {why}", retry_after_s=LIMIT_S) from None
        raise Refused(f"{what}: {why}") from None
    except SlurmSilent as error:
        raise Unavailable(f"{what}: {error}", retry_after_s=BUSY_S) from None


def _machine(job: SlurmJob) -> Machine:
    """One that is leaving its node is not over: its agent may still be there."""
    is_over = job.state not in ACTIVE and job.state not in WAITING
    return Machine(str(job.native_id), job.name, job.state == "RUNNING", is_over, _order(job.native_id))


def _order(native_id: int) -> str:
    """Slurm's ids rise."""
    return f"{native_id:020}"

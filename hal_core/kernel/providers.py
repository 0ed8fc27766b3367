"""Which locality provider an input is for, and what it says of the file: only what one recognises is looked at.

What a provider recognises is below the prefixes that the site has listed for it. So no user leads the daemon to a
server that the site did not mean.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping, Sequence, Set
from typing import Final

import trio

from hal_core.errors import HalError, NotFound, PluginError, Unavailable
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.step_watch import Charge
from hal_core.kernel.walls import passes, told
from hal_core.models.dataset import Measured
from hal_core.models.job import JobSpec
from hal_core.models.node import Cluster, PartitionName
from hal_core.models.shape import fault_in
from hal_core.planes import LocalityProvider, Measuring

MEASURE_S: Final = 10.0
"""So long whoever submits waits for what servers say of his inputs."""

logger = logging.getLogger("hal.providers")


class Providers:
    """By name, in the order of the configuration: the first that recognises an input is the one for it."""

    def __init__(self, localities: Mapping[str, LocalityProvider], conducts: Conducts) -> None:
        self._localities = localities
        self._conducts = conducts
        self.charges = {name: Charge() for name in localities}
        """Of each: what it is called within."""

    def address_of(self, text: str, working_directory: str) -> str:
        """What stands for itself, a URL or what a provider calls its own, as it is; all else is a path."""
        is_name = "://" in text or any(self._recognises(name, text, []) for name in self._localities)
        return text if is_name else posixpath.join(working_directory, text)

    def provider(self, address: str) -> tuple[str, LocalityProvider]:
        """Raises NotFound if nobody recognises it; who fails does not, and is named."""
        failures: list[str] = []
        for name, provider in self._localities.items():
            if self._recognises(name, address, failures):
                return name, provider
        known = ", ".join(self._localities) or "none"
        raise NotFound(
            f"no locality provider recognises the input {address!r}; configured: {known}, each for what its section of "
            + "; ".join(["`localities` lists", *failures])
        )

    def _recognises(self, name: str, text: str, failures: list[str]) -> bool:
        try:
            with self.charges[name].calling():
                return bool(self._localities[name].recognises(text))
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            self._conducts.wrong("locality", name, told(error))
            logger.exception("locality %s failed", name)
            failures.append(f"{name} failed: {told(error)}")
            return False

    async def measure(self, addresses: Sequence[str]) -> dict[str, Measured | HalError]:
        """What is known of them now; those that nobody measures, or had better be read where they are, are left out.
        Each is recognised."""
        found: dict[str, Measured | HalError] = {}
        by_provider: dict[str, list[str]] = {}
        for address in dict.fromkeys(addresses):
            name, provider = self.provider(address)
            if isinstance(provider, Measuring):
                by_provider.setdefault(name, []).append(address)
        async with trio.open_nursery() as nursery:
            for name, some in by_provider.items():
                nursery.start_soon(self._measure, name, some, found)
        return found

    async def _measure(self, name: str, addresses: list[str], found: dict[str, Measured | HalError]) -> None:
        provider = self._localities[name]
        assert isinstance(provider, Measuring)
        answers: Sequence[Measured | HalError | None]
        try:
            with trio.fail_after(MEASURE_S), self.charges[name].calling():
                answers = await provider.measure(addresses)
            if len(answers) != len(addresses):
                raise ValueError(f"{len(answers)} answers to {len(addresses)} questions")
            for each in answers:
                if each is not None and not isinstance(each, HalError) and (fault := fault_in(each, Measured)):
                    raise PluginError(f"an answer of `measure`{fault}")
        except trio.TooSlowError:
            answers = [Unavailable(f"nobody answered within {MEASURE_S:g} s")] * len(addresses)
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            self._conducts.wrong("locality", name, told(error))
            logger.exception("locality %s failed", name)
            answers = [Unavailable("its locality provider failed")] * len(addresses)
        found |= {address: each for address, each in zip(addresses, answers, strict=True) if each is not None}


class Inputs(Providers):
    """Implements rest.port.Inputs. `having_stores`: the executors whose nodes keep copies."""

    def __init__(
        self,
        localities: Mapping[str, LocalityProvider],
        conducts: Conducts,
        cluster: Cluster,
        having_stores: Set[str],
    ) -> None:
        super().__init__(localities, conducts)
        without = {node.name for node in cluster.nodes if node.executor not in having_stores}
        self._storeless: frozenset[PartitionName] = frozenset(
            each.name for each in cluster.partitions if not without.isdisjoint(each.nodes)
        )

    def has_store(self, spec: JobSpec) -> bool:
        partitions = {spec.partition, *(PartitionName(each.partition) for each in spec.variants if each.partition)}
        return self._storeless.isdisjoint(partitions)

"""Staging: brings the inputs of attempts to their nodes, by providers and the stores of nodes; each behind a wall."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import attrs
import trio

from hal_core.errors import HalError, PluginError, Refused, Unavailable
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.executor_runs import Walled
from hal_core.kernel.providers import Providers
from hal_core.kernel.walls import passes, told
from hal_core.models.dataset import Brought, Dataset
from hal_core.models.effect import BringAhead, KeepOrder, Stage
from hal_core.models.message import StagingDone, StagingFailed
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.shape import INT_MAX, fault_in
from hal_core.planes import StoreExecutor

logger = logging.getLogger("hal.effects")

Routed = Callable[[NodeName, Sequence[Dataset]], AbstractContextManager[Sequence[Dataset]]]
"""While datasets are brought to a node: the same with the replicas that the node is to read, in that order."""


def as_they_are(_: NodeName, datasets: Sequence[Dataset]) -> AbstractContextManager[Sequence[Dataset]]:
    return nullcontext(datasets)


class Staging:
    """`walled_of` says whose a node is."""

    def __init__(
        self, walled_of: Callable[[NodeName], Walled], providers: Providers, routed: Routed, conducts: Conducts
    ) -> None:
        self._walled_of = walled_of
        self._providers = providers
        self._routed = routed
        self._conducts = conducts

    async def stage(self, effect: Stage) -> StagingDone | StagingFailed | None:
        """Bring the inputs of one attempt to its nodes: what providers know one after the other, datasets to all nodes
        at once. None if a node is out of contact: it is ordered again when that reports."""
        moved = 0
        try:
            for text in effect.inputs:
                address = self._providers.address_of(text, effect.working_directory)
                moved += await self._staged(address, effect.nodes)
            brought = await self._bring_to_all(effect)
        except Unavailable as error:
            logger.info("staging of %s waits for its nodes: %s", effect.key, error)
            return None
        except HalError as error:
            return StagingFailed(effect.key, str(error))
        return StagingDone(
            effect.key,
            moved + sum(each.bytes_moved for each in brought),
            sum(each.bytes_saved for each in brought),
            sum(each.bytes_moved - each.bytes_lent for each in brought),
            sum(each.read_s for each in brought),
        )

    async def bring_ahead(self, effect: BringAhead) -> None:
        """If it fails, the job brings its inputs itself."""
        try:
            brought = await self._bring(effect.node, effect.key, effect.datasets)
        except HalError as error:
            logger.info("not brought ahead to %s for job %d: %s", effect.node, effect.key.job_id, error)
        else:
            moved = brought.bytes_moved
            logger.info("%d bytes were brought ahead to %s for job %d", moved, effect.node, effect.key.job_id)

    async def keep(self, node: NodeName, order: KeepOrder) -> None:
        """If it fails, the node is told again when it reports."""
        try:
            with self._wall("executor", self._walled_of(node).name), self._called_store_of(node) as store:
                await store.keep(node, order)
        except HalError as error:
            logger.error("the store of %s could not be told what to keep: %s", node, error)

    async def _staged(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """By the first provider that recognises it: bytes that it moved."""
        name, provider = self._providers.provider(dataset)
        with self._wall("locality", name):
            with self._providers.charges[name].calling():
                moved = await provider.stage(dataset, nodes)
            if type(moved) is not int or not 0 <= moved <= INT_MAX:  # it is journalled, and must be read back
                raise PluginError(f"`stage` returned {type(moved).__name__} {moved!r:.100}, not a number of bytes")
            return moved

    async def _bring_to_all(self, effect: Stage) -> list[Brought]:
        """What came to each node."""
        if effect.unknown:
            gone = ", ".join(effect.unknown)
            raise Refused(f"not in the catalogue any more: {gone}; see `hal data ls`")
        brought: list[Brought] = []
        failures: list[HalError] = []

        async def bring(node: NodeName, scope: trio.CancelScope) -> None:
            try:
                brought.append(await self._bring(node, effect.key, effect.datasets))
            except HalError as error:  # not through the nursery, which would wrap it
                failures.append(error)
                scope.cancel()

        if effect.datasets:
            async with trio.open_nursery() as nursery:
                for node in effect.nodes:
                    nursery.start_soon(bring, node, nursery.cancel_scope)
        if failures:
            raise failures[0]
        return brought

    async def _bring(self, node: NodeName, key: AttemptKey, datasets: Sequence[Dataset]) -> Brought:
        with self._routed(node, datasets) as routed, self._wall("executor", self._walled_of(node).name):
            with self._called_store_of(node) as store:
                brought = await store.bring(node, key, routed)
            if fault := fault_in(brought, Brought):
                raise PluginError(f"what `bring` returned{fault}")
            if min(attrs.astuple(brought)) < 0 or brought.bytes_lent > brought.bytes_moved:
                raise PluginError(f"`bring` returned {brought}")
            return brought

    @contextmanager
    def _called_store_of(self, node: NodeName) -> Iterator[StoreExecutor]:
        walled = self._walled_of(node)
        if not isinstance(walled.executor, StoreExecutor):
            raise Refused(
                f"nodes of executor {walled.name} have no store for datasets, and the job was placed on {node}"
            )
        with walled.charge.calling():
            yield walled.executor

    @contextmanager
    def _wall(self, plane: str, name: str) -> Iterator[None]:
        """Around a plugin: what it raises that is not for the job's owner is put on record, and becomes HalError."""
        try:
            yield
        except BaseException as error:  # the wall around a plugin
            if passes(error) or isinstance(error, Unavailable):
                raise
            if isinstance(error, HalError) and plane == "executor" and not isinstance(error, PluginError):
                raise
            self._conducts.wrong(plane, name, told(error))
            if isinstance(error, HalError):
                raise
            logger.exception("%s %s failed to bring data", plane, name)
            raise PluginError(f"{plane} {name} failed to bring data: {told(error)}") from error

"""Inputs that a submission calls by a path or URL: looked at once, now, and put into the catalogue without a name.

So the job waits with a size that the engine knows, nodes keep copies, and what it reads is what was there when it was
submitted. What cannot be had now is left to the job, which reads it where it is, and its owner is told so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import attrs
import trio

from hal_core.errors import HalError, InvalidInput, NotFound, Problem, UserError
from hal_core.models.dataset import REFERENCE, Dataset, Measured
from hal_core.models.job import JobSpec
from hal_core.models.message import AddDataset
from hal_core.rest.call import Call
from hal_core.rest.port import Inputs
from hal_core.rules.anonymous import anonymous

ADDRESSES_MAX: Final = 1000
"""In one submission; a bulk of ten thousand jobs may name that many files."""


async def with_inputs(call: Call, specs: Sequence[JobSpec]) -> tuple[Sequence[JobSpec], tuple[Problem, ...]]:
    """The same jobs with their paths and URLs as datasets, and what their owner should know of those that are none.

    Raises InvalidInput for those that no locality provider recognises.
    """
    inputs = call.context.inputs
    if inputs is None or not any(spec.inputs for spec in specs):
        return specs, ()
    wanted = {
        (text, spec.working_directory): inputs.address_of(text, spec.working_directory)
        for spec in specs
        for text in spec.inputs
        if not text.startswith(REFERENCE)
    }
    if problems := list(filter(None, map(partial(_why_nobodys, inputs), dict.fromkeys(wanted.values())))):
        raise InvalidInput(problems)
    kept = {
        wanted[text, spec.working_directory] for spec in specs if _is_brought(inputs, spec) for text in _texts(spec)
    }
    if len(kept) > ADDRESSES_MAX:
        text = f"{len(kept)} different paths and URLs; at most {ADDRESSES_MAX} in one submission"
        raise InvalidInput([Problem("inputs", text)])
    found = await inputs.measure(tuple(kept))
    datasets, advice = await _added(call, found)
    names = {key: f"{REFERENCE}{datasets[address].id}" for key, address in wanted.items() if address in datasets}
    return [_named(inputs, spec, names) for spec in specs], advice


def _is_brought(inputs: Inputs, spec: JobSpec) -> bool:
    """A job that waits for others may read what they are still to write: it finds that where it is."""
    return inputs.has_store(spec) and not spec.dependencies


def _texts(spec: JobSpec) -> list[str]:
    return [text for text in spec.inputs if not text.startswith(REFERENCE)]


def _why_nobodys(inputs: Inputs, address: str) -> Problem | None:
    try:
        inputs.provider(address)
    except NotFound as error:
        return Problem("inputs", str(error))
    return None


async def _added(
    call: Call, found: Mapping[str, Measured | HalError]
) -> tuple[dict[str, Dataset], tuple[Problem, ...]]:
    """Those that the catalogue has now, by address."""
    datasets: dict[str, Dataset] = {}
    advice: dict[str, Problem] = {}

    def leave(address: str, error: HalError) -> None:
        text = f"{address}: {error}; it is not brought to the job's nodes, which read it where it is"
        advice[address] = Problem("inputs", text)

    async def add(address: str, dataset: Dataset) -> None:
        try:
            await call.context.kernel.ask(AddDataset(dataset))
            datasets[address] = dataset
        except UserError as error:
            leave(address, error)

    async with trio.open_nursery() as nursery:
        for address, each in found.items():
            if isinstance(each, Measured):
                nursery.start_soon(add, address, anonymous(address, each, call.caller.owner))
            else:
                leave(address, each)
    return datasets, tuple(advice.values())


def _named(inputs: Inputs, spec: JobSpec, names: Mapping[tuple[str, str], str]) -> JobSpec:
    if not spec.inputs or not _is_brought(inputs, spec):
        return spec
    return attrs.evolve(spec, inputs=tuple(names.get((text, spec.working_directory), text) for text in spec.inputs))

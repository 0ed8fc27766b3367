"""The contract of a cloud provider, and what it must bear: checks to run against any implementation, real or fake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest
import trio

from hal_core.errors import NoCapacity, NotFound, Unavailable, UserError
from hal_core.planes import CloudProvider, Instance
from hal_core.testing.fake_machines import Fault

PATIENCE_S: Final = 120.0
"""For one check. A provider is asked some forty times, over a network; only a broken one takes so long."""


async def check_cloud(provider: CloudProvider) -> None:
    """The provider must have at least one offer with room for one more, and nothing provisioned yet."""
    with trio.fail_after(PATIENCE_S):
        assert not await provider.instances()
        offers = await provider.offers()
        assert len({offer.name for offer in offers}) == len(offers), "two offers of one name"
        assert all(offer.price_per_hour >= 0 and offer.boot_s >= 0 for offer in offers)
        offer = next(offer for offer in offers if offer.count_max >= 1)
        with pytest.raises(NotFound):
            await provider.provision("no-such-offer", 1, "token-0")
        made = await provider.provision(offer.name, 1, "token-1")
        assert [instance.offer for instance in made] == [offer.name]
        again = await _twice_at_once(provider, offer.name, "token-1")
        assert _ids(again) == _ids(made), "one token, two provisions"
        assert _ids(await provider.instances()) == _ids(made)
        with pytest.raises(UserError):
            await provider.provision(offer.name, offer.count_max, "token-2")
        assert _ids(await provider.instances()) == _ids(made), "a refused provision changed something"
        await provider.release(["no-such-instance"])
        await provider.release([])
        assert _ids(await provider.instances()) == _ids(made), "the release of what is unknown changed something"
        await provider.release(sorted(_ids(made)))
        await provider.release(sorted(_ids(made)))
        assert not await provider.instances()


async def check_cloud_faults(provider: CloudProvider, inject: Callable[[Fault], None]) -> None:
    """`inject(fault)` makes it meet the provider's next creation of a machine, and only that.

    As the kernel does it: a token is repeated until there is an answer; then there is one machine, and nothing is left.
    """
    offer = next(offer for offer in await provider.offers() if offer.count_max >= 1)
    for fault in Fault:
        token = f"fault-{fault.name}"
        with trio.fail_after(PATIENCE_S):
            inject(fault)
            made = await _repeated(provider, offer.name, token, fault)
            there = await provider.instances()
            assert len(made) == 1, f"{fault}: one was wanted, there are {len(made)}"
            assert _ids(there) == _ids(made), f"{fault}: {len(there) - 1} too many"
            await provider.release(sorted(_ids(made)))
            assert not await provider.instances(), f"{fault}: not released"


async def _repeated(provider: CloudProvider, offer: str, token: str, fault: Fault) -> Sequence[Instance]:
    for _ in range(5):
        try:
            return await provider.provision(offer, 1, token)
        except Unavailable as error:
            refusal = error
        is_told_apart = isinstance(refusal, NoCapacity) == (fault is Fault.NO_CAPACITY)
        assert is_told_apart, f"{fault} is told as {type(refusal).__name__}: {refusal}"
        assert refusal.retry_after_s > 0
    raise AssertionError(f"{fault}: no machine after five attempts")


async def _twice_at_once(provider: CloudProvider, offer: str, token: str) -> Sequence[Instance]:
    answers: list[Sequence[Instance]] = []

    async def provision() -> None:
        answers.append(await provider.provision(offer, 1, token))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(provision)
        nursery.start_soon(provision)
    assert _ids(answers[0]) == _ids(answers[1]), "one token, two answers"
    return answers[0]


def _ids(instances: Sequence[Instance]) -> set[str]:
    return {instance.native_id for instance in instances}

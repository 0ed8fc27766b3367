"""What a machine that is about to be made is told, and that what the one before it could show is void by then."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from hal_core.errors import Refused
from hal_core.fleet.machines import MachineName, digest_of
from hal_core.rentals import Bootstraps
from hal_core.wire.authority import Authority, JoinToken
from hal_core.wire.certificates import make_key, make_request
from tests.support.pool_world import PoolWorld, pool_cluster


def secret_of(world: PoolWorld, authority: Authority, token: str) -> str:
    """What the first machine of the offer, made for that request, is given to join with."""
    ask = partial(
        Bootstraps(lambda: world.state, authority.directory), MachineName("lab", "small", 0, digest_of(token))
    )
    bootstrap = trio.run(partial(trio.to_thread.run_sync, ask))
    return JoinToken.parse(bootstrap.join_token).secret


def certificate_of(world: PoolWorld, authority: Authority, token: str) -> int:
    """The serial of the one that it then gets."""
    secret = secret_of(world, authority, token)
    authority.enrol(secret, make_request(make_key(), "lab-small-0"), world.now_s)
    return int((authority.directory / "issued").read_text().splitlines()[-1].split()[0], 16)


def test_a_machine_that_vanished_cannot_speak_for_the_next_one_that_is_the_same_node(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "test", 1000.0)
    world = PoolWorld(pool_cluster(form="lab-small-{}"))
    world.submit(walltime_s=600.0, cpus_per_task=4)
    world.decide()
    first = certificate_of(world, authority, "burst-1")
    assert authority.revoked() == frozenset(), "a request that is repeated voids nothing"
    world.make()
    world.submit(walltime_s=600.0, cpus_per_task=4)
    world.decide()

    second = certificate_of(world, authority, "burst-2")

    assert authority.revoked() == {first}
    assert second != first


def test_a_machine_that_no_pool_wants_is_told_nothing(tmp_path: Path) -> None:
    world = PoolWorld(pool_cluster(form="lab-small-{}"))
    with pytest.raises(Refused, match="no pool wants it any more"):
        secret_of(world, Authority.create(tmp_path / "ca", "test", 1000.0), "burst-1")

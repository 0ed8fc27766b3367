"""The generic cloud against moto's server: real HTTP, libcloud's own EC2 driver."""

from __future__ import annotations

import base64
import itertools
import logging
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hal_core.errors import NoCapacity, PluginError, Refused, Unavailable
from hal_core.plugins import Plugins
from hal_core.testing import Fault, check_cloud, check_cloud_faults
from tests.support.moto import IMAGE, FaultyWay, Moto
from tests.support.ports import free_port

PLUGINS = Plugins.load({})
NUMBER = itertools.count()
CANARY = "canary0f4a1bfe"
OFFER = {"name": "small", "size": "t3.small", "count_max": 3, "cpu_count": 2}


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as moto:
        yield moto


@pytest.fixture
def way(moto):
    with FaultyWay(moto.port, "RunInstances").open() as way:
        yield way


@pytest.fixture
def make(tmp_path, way):
    for name in ("key", "secret"):
        (tmp_path / name).write_text(f"{CANARY}-{name}\n")
        (tmp_path / name).chmod(0o600)

    prefix = f"lab{next(NUMBER)}"  # Of its own for each test: moto is reset for none, which takes a while.

    def make(port=way.port, **changes):
        options = {
            "driver": "tests.support.moto:MotoEc2",
            "name_prefix": prefix,
            "image": IMAGE,
            "credentials": {name: {"file": str(tmp_path / name)} for name in ("key", "secret")},
            "driver_arguments": {"host": "127.0.0.1", "port": port, "secure": False, "signature_version": "4"},
            "offers": [OFFER],
        }
        return PLUGINS.cloud("libcloud", options | changes)

    return make


def ids(instances):
    return [instance.native_id for instance in instances]


async def test_it_keeps_the_contract(make):
    await check_cloud(make())


async def test_it_bears_every_fault(make, way):
    await check_cloud_faults(make(), way.faults.append)


async def test_a_daemon_that_comes_back_finds_its_machines(make):
    made = await make().provision("small", 2, "t1")
    heir = make()
    assert ids(await heir.instances()) == ids(made)
    assert [instance.node.partition("-")[2] for instance in made] == ["small-0", "small-1"]
    assert ids(await heir.provision("small", 2, "t1")) == ids(made)
    assert await make(name_prefix="other").instances() == []


async def test_a_machine_begins_with_its_user_data_its_tags_and_a_token_of_its_own(make, way, tmp_path):
    (tmp_path / "start.sh").write_text("hal agent enroll --node {node} <<< {join_token}")
    user_data = {"file": str(tmp_path / "start.sh"), "join_token_command": ["echo", "token-of-{node}"]}
    (made,) = await make(user_data=user_data, tags={"owner": "lab"}).provision("small", 1, "t1")
    (asked,) = [parse_qs(urlsplit(path.split()[0]).query) for path, _ in way.seen if "Action=RunInstances" in path]
    text = base64.b64decode(asked["UserData"][0]).decode()
    assert text == f"hal agent enroll --node {made.node} <<< token-of-{made.node}"
    assert (asked["TagSpecification.1.Tag.2.Key"], asked["TagSpecification.1.Tag.2.Value"]) == (["owner"], ["lab"])


async def test_a_list_that_the_driver_cannot_read_is_no_empty_cloud(make):
    """libcloud's stock driver finds nothing in moto's answers: a namespace differs. Nothing raises anywhere."""
    with pytest.raises(PluginError, match="which is no machine"):
        await make(driver="ec2").provision("small", 1, "t1")
    assert len(await make().instances()) == 1, "it is seen by whoever reads the answer right"


def what_everybody_sees(name):
    return Path(f"/proc/self/{name}").read_bytes().decode(errors="replace")


async def test_credentials_are_in_no_error_no_log_no_argument_and_no_environment(make, way, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    texts = []
    cloud = make()
    for fault, kind in (
        (Fault.NO_CAPACITY, NoCapacity),
        (Fault.ERROR, Unavailable),
        (Fault.THROTTLED, Unavailable),
    ):
        way.faults.append(fault)
        with pytest.raises(kind) as caught:
            await cloud.provision("small", 1, f"t-{fault.name}")
        texts.append(str(caught.value))
    with pytest.raises(Unavailable) as caught:
        await make(port=free_port()).instances()
    texts.append(str(caught.value))
    (tmp_path / "secret").chmod(0o604)
    with pytest.raises(Refused, match="chmod o-r") as caught:
        await make().instances()
    texts.append(str(caught.value))
    assert any(CANARY in header for _, headers in way.seen for header in headers.values()), "it is where it belongs"
    texts += [path for path, _ in way.seen]
    texts += [record.getMessage() for record in caplog.records]
    texts += [what_everybody_sees("cmdline"), what_everybody_sees("environ")]
    assert [text for text in texts if CANARY in text] == []

"""EC2 against moto's server: real HTTP, and what goes wrong on the way."""

from __future__ import annotations

import base64
import itertools
import logging
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hal_core.errors import InvalidInput, NoCapacity, NotFound, PluginError, Refused, Unavailable
from hal_core.plugins import Plugins
from hal_core.testing import Fault, check_cloud, check_cloud_faults
from tests.support.moto import IMAGE, FaultyWay, Moto
from tests.support.ports import free_port

PLUGINS = Plugins.load({})
NUMBER = itertools.count()
CANARY = "canary93d1ac07"
SMALL = {"name": "small", "type": "t3.small", "count_max": 3, "price_per_hour": 0.02}
GPU = {"name": "gpu", "type": "g5.12xlarge", "count_max": 2, "market": "spot", "price_max_per_hour": 2.5}
ZONES = ["eu-central-1a", "eu-central-1b"]


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as moto:
        yield moto


@pytest.fixture
def way(moto):
    with FaultyWay(moto.port, "RunInstances").open() as way:
        yield way


def credentials(directory):
    path = directory / "credentials"
    path.write_text(f"[default]\naws_access_key_id = {CANARY}-key\naws_secret_access_key = {CANARY}-secret\n")
    path.chmod(0o600)
    return {"file": str(path)}


def ec2(directory, **changes):
    options = {"region": "eu-central-1", "name_prefix": "lab", "image": IMAGE, "offers": [SMALL]}
    return PLUGINS.cloud("aws", options | {"credentials": credentials(directory)} | changes)


@pytest.fixture
def make(tmp_path, way):
    prefix = f"lab{next(NUMBER)}"  # Of its own for each test: what others left in moto is not seen.

    def make(**changes):
        return ec2(tmp_path, **{"name_prefix": prefix, "endpoint": f"http://127.0.0.1:{way.port}"} | changes)

    return make


def asked(way, action):
    """The parameters of all requests for that action."""
    queries = [parse_qs(urlsplit(path.split()[0]).query) for path, _ in way.seen]
    return [{name: values[0] for name, values in each.items()} for each in queries if each["Action"] == [action]]


def ids(instances):
    return [instance.native_id for instance in instances]


async def test_it_keeps_the_contract(make):
    await check_cloud(make())


async def test_it_bears_every_fault(make, way):
    await check_cloud_faults(make(zones=ZONES[:1]), way.faults.append)


async def test_offers_are_what_ec2_says_of_the_types(make):
    small, gpu = await make(offers=[SMALL | {"price_per_hour": None}, GPU]).offers()
    assert (small.node.cpu_count, small.node.memory_bytes, small.node.gpus) == (2, 2 << 30, ())
    assert small.price_per_hour > 0, "from libcloud's table"
    assert (gpu.node.cpu_count, gpu.node.gpus) == (48, ("a10g",) * 4)
    assert gpu.price_per_hour == 0.00001, "what moto says of every type"


async def test_all_that_is_wrong_with_offers_is_said_at_once(make):
    offers = [
        SMALL | {"name": "a", "type": "t3.smal"},
        SMALL | {"name": "b", "type": "t3.smll", "price_per_hour": None},
    ]
    with pytest.raises(InvalidInput) as caught:
        await make(offers=offers).offers()
    assert [problem.place for problem in caught.value.problems] == [
        "clouds.aws.offers.a.type",
        "clouds.aws.offers.b.type",
        "clouds.aws.offers.b.price_per_hour",
    ]


async def test_an_instance_is_asked_for_with_all_that_the_options_say(make, way, tmp_path):
    (tmp_path / "start.sh").write_text("hal agent enroll --node {node} <<< {join_token}")
    user_data = {"file": str(tmp_path / "start.sh"), "join_token_command": ["echo", "token-of-{node}"]}
    cloud = make(offers=[GPU], zones=ZONES, user_data=user_data, tags={"owner": "lab"})
    (made,) = await cloud.provision("gpu", 1, "t1")
    (request,) = asked(way, "RunInstances")
    assert (
        base64.b64decode(request["UserData"]).decode()
        == f"hal agent enroll --node {made.node} <<< token-of-{made.node}"
    )
    assert request["MetadataOptions.HttpTokens"] == "required"
    assert request["MetadataOptions.HttpPutResponseHopLimit"] == "1"
    assert request["InstanceMarketOptions.MarketType"] == "spot"
    assert request["InstanceMarketOptions.SpotOptions.MaxPrice"] == "2.5"
    assert request["Placement.AvailabilityZone"] == "eu-central-1a"
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert len(request["ClientToken"]) == 64
    for number, kind in ((1, "instance"), (2, "volume")):
        assert request[f"TagSpecification.{number}.ResourceType"] == kind
        tags = {
            request[f"TagSpecification.{number}.Tag.{n}.Key"]: request[f"TagSpecification.{number}.Tag.{n}.Value"]
            for n in range(1, 5)
        }
        assert tags["owner"] == "lab"
        assert tags["hal:offer"] == "gpu"
        assert tags["Name"].startswith(made.node)


async def test_what_another_service_says_is_handed_on(make, way):
    """Moto asks its IAM for the instance profile; its errors have another form than EC2's."""
    with pytest.raises(Refused, match="Instance profile no-such-profile not found"):
        await make(instance_profile="no-such-profile").provision("small", 1, "t1")
    assert asked(way, "RunInstances")[0]["IamInstanceProfile.Name"] == "no-such-profile"


async def test_the_next_zone_is_tried_when_one_has_no_capacity(make, way):
    cloud = make(zones=ZONES)
    way.faults.append(Fault.NO_CAPACITY)
    assert len(await cloud.provision("small", 1, "t1")) == 1
    # What lacked it a moment ago comes last.
    await cloud.provision("small", 1, "t2")
    zones = [request["Placement.AvailabilityZone"] for request in asked(way, "RunInstances")]
    assert zones == ["eu-central-1a", "eu-central-1b", "eu-central-1b"]
    way.faults += [Fault.NO_CAPACITY, Fault.NO_CAPACITY]
    with pytest.raises(
        NoCapacity, match=r"eu-central-1b\).*InsufficientInstanceCapacity.*; .*eu-central-1a\)"
    ) as caught:
        await cloud.provision("small", 1, "t3")
    assert caught.value.retry_after_s == 300


async def test_a_daemon_that_comes_back_finds_its_instances_and_ends_them_all(make):
    made = await make().provision("small", 2, "t1")
    heir = make()
    assert ids(await heir.provision("small", 2, "t1")) == ids(made)
    assert await make(name_prefix="somebody").instances() == []
    await heir.release(ids(await heir.instances()))
    assert await make().instances() == []


async def test_whatever_is_no_answer_of_ec2_is_an_error_and_no_empty_list(make, moto):
    """A proxy's page of welcome, say: well-formed, and without any instance."""
    cloud = make(endpoint=f"http://127.0.0.1:{moto.port}")
    assert await cloud.instances() == []
    with FaultyWay(moto.port, "DescribeInstances", ANSWERS).open() as way:
        way.faults.append(Fault.ERROR)
        with pytest.raises(PluginError, match="asked for DescribeInstances, the answer is 'html': is this EC2"):
            await make(endpoint=f"http://127.0.0.1:{way.port}").instances()


ANSWERS = {Fault.ERROR: (200, b"<html><body>Welcome</body></html>")}


async def test_credentials_are_in_no_error_no_log_no_argument_and_no_environment(make, way, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    texts = []
    for fault, kind in ((Fault.NO_CAPACITY, NoCapacity), (Fault.ERROR, Unavailable), (Fault.THROTTLED, Unavailable)):
        way.faults.append(fault)
        with pytest.raises(kind) as caught:
            await make().provision("small", 1, f"t-{fault.name}")
        texts.append(str(caught.value))
    with pytest.raises(Unavailable) as caught:
        await make(endpoint=f"http://127.0.0.1:{free_port()}").instances()
    texts.append(str(caught.value))
    assert any(CANARY in value for _, headers in way.seen for value in headers.values()), "it is where it belongs"
    texts += [path for path, _ in way.seen]
    texts += [record.getMessage() for record in caplog.records]
    texts += [what_everybody_sees("cmdline"), what_everybody_sees("environ")]
    assert [text for text in texts if CANARY in text] == []


def what_everybody_sees(name):
    return Path(f"/proc/self/{name}").read_bytes().decode(errors="replace")


async def test_what_is_not_there_is_named(make, tmp_path):
    with pytest.raises(NotFound, match="did you mean 'small'"):
        await make().provision("smal", 1, "t1")
    with pytest.raises(Refused, match=r"no region 'eu-centrl-1' \(did you mean 'eu-central-1'\?\)"):
        ec2(tmp_path, region="eu-centrl-1")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"credentials": {"file": "k"}}, "absolute path"),
        ({"offers": [SMALL | {"market": "spto"}]}, "market: expected on-demand or spot, not 'spto'"),
        ({"offers": [SMALL, SMALL]}, "listed more often: small"),
        ({"endpoint": "localhost:5000"}, r"endpoint: expected http\(s\)://HOST"),
        ({"tags": {"Name": "x"}}, "tags: Name are not yours to give"),
        ({"subnets": {"eu-central-1c": "subnet-1"}}, "subnets: eu-central-1c are not among the zones"),
        ({"security_groups": ["sg-1"], "zones": ZONES}, "every zone needs one of the subnets"),
        ({"security_groups": ["sg-1"]}, "name zones"),
        ({"zone": "x"}, r"did you mean 'zones'\?"),
    ],
)
def test_bad_options_are_refused(tmp_path, changes, text):
    with pytest.raises(InvalidInput, match=text):
        ec2(tmp_path, **changes)

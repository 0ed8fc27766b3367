"""What a rented machine is given to begin with: the text that comes with HAL, in both of its forms."""

from __future__ import annotations

import logging
import re
import subprocess
import time

import pytest
import yaml

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput, Refused
from hal_core.fleet.bootstrap import Bootstrap
from hal_core.fleet.fleet import Fleet, FleetOptions
from hal_core.fleet.machines import MachineName
from hal_core.fleet.user_data import BYTES_MAX, UserData, configuration_of
from hal_core.models.node import Node, NodeName
from hal_core.options import structure_options
from hal_core.planes import Offer
from hal_core.testing import FakeMachines
from hal_core.wire.authority import Authority

NODE = Node(NodeName("hal-small-3"), 4, (8 << 30) - 4096, ("a100", "a100"))
SERVER = "10.0.0.250:7444"
PLACE = "clouds.aws.user_data"


@pytest.fixture
def token(tmp_path):
    """A real one: they are long."""
    return Authority.create(tmp_path / "ca", "test", time.time()).make_token(NODE.name, time.time()).text()


def text_of(token, lease_s=3600.0, **options):
    bootstrap = Bootstrap(NODE, token, time.time() + lease_s)
    return UserData(**{"server": SERVER, **options}).text(NODE.name, PLACE, bootstrap)


def test_the_script_is_one_that_a_shell_takes_and_nothing_in_it_is_left_open(token):
    text = text_of(token, form="script", wheel="https://example.org/hal.whl", notices="aws")
    assert subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False).stderr == ""
    assert re.findall(r"(?<!\$)\{[a-z_]+\}", text) == []
    assert f"node='{NODE.name}'\nserver='{SERVER}'\n" in text
    assert "pip install --quiet 'https://example.org/hal.whl'" in text
    assert "--notices aws\n" in text
    assert len(text.encode()) < BYTES_MAX / 2, "there is room for longer names"


def test_the_cloud_init_form_holds_the_script(token):
    script = text_of(token, form="script")
    document = yaml.safe_load(text_of(token))
    (file,) = document["write_files"]
    assert file["permissions"] == "0700"
    assert re.sub(r"[0-9]{3,}", "#", file["content"]) == re.sub(r"[0-9]{3,}", "#", script), "but for the times"


def test_the_lease_is_told_as_a_time_and_as_a_length(token):
    text = text_of(token, lease_s=5000.0, form="script")
    assert 4990 <= int(re.search(r"\|\| left=([0-9]+)", text)[1]) <= 5000
    assert abs(int(re.search(r"left=\$\(\(([0-9]+) - ", text)[1]) - time.time() - 5000) < 60
    assert "left=0\n" in text_of(token, lease_s=-100.0, form="script"), "one that is over is over at once"


def test_the_token_is_in_no_line_that_runs(token):
    lines = text_of(token, form="script").splitlines()
    (at,) = [at for at, line in enumerate(lines) if token in line]
    assert lines[at - 1].endswith("<< 'TOKEN'")
    assert lines[at : at + 2] == [token, "TOKEN"]


def test_the_agent_offers_all_that_the_cluster_has_of_the_node():
    node = parse_configuration(configuration_of(NODE), "node.yaml").cluster.nodes[0]
    assert (node.name, node.cpu_count, node.memory_bytes, node.gpus) == (
        NODE.name, NODE.cpu_count, NODE.memory_bytes, NODE.gpus
    )  # fmt: skip


def test_a_site_s_own_file_is_filled_in_the_same_way(tmp_path, token):
    (tmp_path / "own").write_text("{node} {server} {join_token} {lease_s} ${node_other} {else}")
    text = text_of(token, file=str(tmp_path / "own"), lease_s=0.0)
    assert text == f"{NODE.name} {SERVER} {token} 0 ${{node_other}} {{else}}"


def test_what_is_too_long_is_refused(token):
    with pytest.raises(Refused, match=f"{PLACE}: HAL's own text has more than {BYTES_MAX} bytes"):
        text_of("x" * BYTES_MAX)


def test_without_a_daemon_that_rents_a_file_is_needed():
    with pytest.raises(Refused, match=f"{PLACE}: HAL's own text is for machines that its daemon rents"):
        UserData(server=SERVER).text(NODE.name, PLACE)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "server: HAL's own user data needs the daemon's address"),
        ({"server": "a'b"}, "server: expected one word without quotes"),
        ({"server": SERVER, "wheel": "x y"}, "wheel: expected one word"),
        ({"server": SERVER, "form": "yaml"}, "form: expected cloud-init or script, not 'yaml'"),
        ({"server": SERVER, "notices": "aws; reboot"}, "notices: expected a name such as aws"),
        ({"server": SERVER, "whel": "x"}, "did you mean 'wheel'"),
    ],
)
def test_bad_options_are_refused(options, text):
    with pytest.raises(InvalidInput, match=text):
        structure_options(UserData, options, PLACE)


async def test_a_fleet_asks_what_to_tell_just_before_it_makes_a_machine(caplog):
    caplog.set_level(logging.DEBUG)
    machines = FakeMachines([Offer("small", NODE, 0.1, 2, 1.0)])
    fleet = Fleet(machines, FleetOptions("hal"))
    fleet.bootstrap = lambda name: Bootstrap(NODE, f"canary-for-{name.node}", 7.0)
    (made,) = await fleet.provision("small", 1, "t1")
    (name,) = machines.told
    assert MachineName.parse(name).node == made.node == "hal-small-0"
    assert machines.told[name].join_token == "canary-for-hal-small-0"
    assert "canary" not in repr(machines.told[name]) + caplog.text


async def test_what_is_not_wanted_any_more_is_not_made():
    def refuse(name):
        raise Refused(f"{name.node} is not wanted any more")

    machines = FakeMachines([Offer("small", NODE, 0.1, 2, 1.0)])
    fleet = Fleet(machines, FleetOptions("hal"))
    fleet.bootstrap = refuse
    with pytest.raises(Refused, match="hal-small-0 is not wanted any more"):
        await fleet.provision("small", 1, "t1")
    assert machines.all == {}

"""`hal import slurm` on the test cluster's own files: what HAL reads is what `scontrol` and `sinfo` say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from hal_core.config.reading import read_configuration
from tests.support.hal import hal_command
from tests.support.slurm import SlurmCluster


def test_the_cluster_is_what_scontrol_and_sinfo_say(slurm: SlurmCluster, tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    folder.mkdir()
    for path in slurm.layout.configuration.parent.glob("*.conf"):
        if path.name != "slurmdbd.conf":
            (folder / path.name).write_bytes(path.read_bytes())
    dump = slurm.work / "sacctmgr.dump"  # another Slurm's programs see no other folder of ours
    slurm.run("sacctmgr", "dump", "testcluster", f"file={dump}")
    dump.rename(folder / dump.name)
    output = tmp_path / "cluster.yaml"
    words = [*hal_command(), "import", "slurm", str(folder), "--output", str(output), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    table = json.loads(done.stdout)
    assert all(table[name] for name in ("translated", "approximated", "unsupported"))

    cluster = read_configuration(output).cluster
    rows = slurm.run("sinfo", "-h", "-N", "-O", "NodeList:|,CPUs:|,Memory:|,Gres:|,Partition:|").split()
    told = {tuple(row.split("|")[:5]) for row in rows}
    nodes = {node.name: node for node in cluster.nodes}
    assert {(name, int(cpus), int(memory) << 20, gres) for name, cpus, memory, gres, _ in told} == {
        (node.name, node.cpu_count, node.memory_bytes, f"gpu:{node.gpus[0]}:{len(node.gpus)}")
        for node in nodes.values()
    }
    for partition in cluster.partitions:
        members = {name for name, _, _, _, each in told if each.rstrip("*") == partition.name}
        assert set(partition.nodes) == members
        shown = slurm.run("scontrol", "show", "partition", partition.name)
        days, clock = re.search(r"MaxTime=(?:(\d+)-)?([\d:]+)", shown).groups()
        hours, minutes, seconds = map(int, clock.split(":"))
        assert partition.walltime_s_max == ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
        assert partition.is_default == ("Default=YES" in shown)
    switches = dict(re.findall(r"SwitchName=(\S+) Level=0 .*?Nodes=(\S+)", slurm.run("scontrol", "show", "topology")))
    for switch, hosts in switches.items():
        behind = set(slurm.run("scontrol", "show", "hostnames", hosts).split())
        assert {node.name for node in cluster.nodes if node.location[-1] == switch} == behind
    assert {account.name for account in cluster.accounts} == {"test"}

"""Slurm's configuration as HAL's: each form of its files, and one line for whatever cannot be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hal_core.errors import InvalidInput
from hal_core.migration.findings import Verdict
from hal_core.migration.slurm import Imported, check_document, import_slurm

NODES = "NodeName=n[1-4] CPUs=8 RealMemory=1000\nPartitionName=p Nodes=ALL Default=YES\n"


def imported(directory: Path, executor: str = "metal", **files: str) -> Imported:
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    found = import_slurm(directory, executor)
    check_document(yaml.safe_dump(found.document, sort_keys=False), "imported")
    return found


def settings(found: Imported, verdict: Verdict) -> set[str]:
    return {each.setting for each in found.findings.of(verdict)}


def test_lines_go_on_have_comments_include_others_and_defaults(tmp_path):
    (tmp_path / "more.conf").write_text("nodename=m1 sockets=2 corespersocket=4 threadspercore=2 realmemory=500\n")
    text = "# words\nCLUSTERNAME=abc # here\nNodeName=DEFAULT RealMemory=2000 Feature=ib\nInclude more.conf\n"
    text += "NodeName=n[01-02] \\\n  CPUs=4 Gres=gpu:a100:2,fast:3\nPartitionName=DEFAULT MaxTime=90\n"
    found = imported(tmp_path, slurm_conf=text + "PartitionName=p Nodes=n[01-02] DefaultTime=30:30\n").document
    assert found["cluster"] == "abc"
    assert found["nodes"][0] == {"names": "m1", "cpus": 16, "memory": "500M", "features": ["ib"]}
    two = {"names": "n[01-02]", "cpus": 4, "memory": "2000M", "features": ["ib"]}
    assert found["nodes"][1] == two | {"gpus": "a100:2", "generic": {"fast": 3}}
    times = {"walltime_max": "0-01:30:00", "walltime_default": "0-00:30:30"}
    assert found["partitions"] == [{"name": "p", "nodes": "n[01-02]"} | times]


@pytest.mark.parametrize(
    ("text", "walltime"),
    [("60", "0-01:00:00"), ("2-0", "2-00:00:00"), ("1-12:30", "1-12:30:00"), ("36:00:00", "1-12:00:00")],
)
def test_times_are_read_as_slurm_reads_them(tmp_path, text, walltime):
    found = imported(tmp_path, slurm_conf=f"{NODES}PartitionName=q Nodes=n1 MaxTime={text}\n")
    assert found.document["partitions"][1]["walltime_max"] == walltime


def test_node_sets_are_their_nodes(tmp_path):
    text = "NodeName=a[1-2] CPUs=1 Feature=big\nNodeName=b CPUs=1\nNodeSet=large Feature=big\n"
    text += "PartitionName=p Nodes=large,b\n"
    assert imported(tmp_path, slurm_conf=text).document["partitions"][0]["nodes"] == "a[1-2],b"


def test_preemption_by_partition_is_kept(tmp_path):
    text = "PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\nSelectType=select/cons_tres\n" + NODES
    text += (
        "PartitionName=safe Nodes=ALL PreemptMode=OFF\nPartitionName=low Nodes=ALL PreemptMode=CANCEL GraceTime=60\n"
    )
    found = imported(tmp_path, slurm_conf=text + "PartitionName=top Nodes=ALL PriorityTier=9\n")
    p, safe, low, top = found.document["partitions"]
    assert top == {"name": "top", "nodes": "n[1-4]", "priority": 9, "preempt_mode": "requeue", "preempts": ["p", "low"]}
    assert (p["preempt_mode"], low["preempt_mode"], low["preempt_grace"]) == ("requeue", "cancel", "60s")
    assert "preempt_mode" not in safe
    assert not any("preempts" in each for each in (p, safe, low))
    assert settings(found, Verdict.UNSUPPORTED) == set()


@pytest.mark.parametrize("executor", ["metal", "slurm"])
def test_suspending_is_kept_where_hal_runs_the_jobs(tmp_path, executor):
    text = "PreemptType=preempt/partition_prio\nPreemptMode=SUSPEND,GANG\n" + NODES
    text += "PartitionName=top Nodes=ALL PriorityTier=9 PreemptMode=OFF\n"
    found = imported(tmp_path, executor=executor, slurm_conf=text)
    p, top = found.document["partitions"]
    assert (p.get("preempt_mode"), top["preempts"]) == ("suspend" if executor == "metal" else None, ["p"])
    unsupported = settings(found, Verdict.UNSUPPORTED)
    assert unsupported == (set() if executor == "metal" else {"PreemptMode=SUSPEND of partition p"})


@pytest.mark.parametrize("line", ["PreemptMode=GANG", "PreemptType=preempt/qos"])
def test_preemption_that_hal_cannot_take_over_is_told_with_the_way_out(tmp_path, line):
    found = imported(tmp_path, slurm_conf=f"{line}\n{NODES}")
    (unsupported,) = found.findings.of(Verdict.UNSUPPORTED)
    assert unsupported.setting == line
    assert "requeue, cancel or suspend" in unsupported.text or "qos: preempts" in unsupported.text
    assert not any({"preempts", "preempt_mode"} & each.keys() for each in found.document["partitions"])


TREE = "SwitchName=s1 Nodes=n[1-2]\nSwitchName=s2 Nodes=n[3-4]\nSwitchName=top Switches=s[1-2]\n"
TREE_YAML = """
- topology: other
  cluster_default: false
  flat: true
- topology: t
  cluster_default: true
  tree:
    switches:
      - {switch: top, children: "s[1-2]"}
      - {switch: s1, nodes: "n[1-2]"}
      - {switch: s2, nodes: "n[3-4]"}
"""


@pytest.mark.parametrize("files", [{"topology_conf": TREE}, {"topology_yaml": TREE_YAML}])
def test_a_tree_of_switches_is_levels_and_places(tmp_path, files):
    found = imported(tmp_path, slurm_conf=NODES, **files)
    assert [(each["names"], each["location"]) for each in found.document["nodes"]] == [
        ("n[1-2]", ["top", "s1"]),
        ("n[3-4]", ["top", "s2"]),
    ]
    assert list(found.document["topology"]["levels"]) == ["spine", "leaf"]
    assert any("guesses" in each.text for each in found.findings.of(Verdict.APPROXIMATED))


@pytest.mark.parametrize(
    "files",
    [
        {"topology_conf": "BlockName=b1 Nodes=n[1-2]\nBlockName=b2 Nodes=n[3-4]\nBlockSizes=2,4\n"},
        {
            "topology_yaml": "- topology: t\n  block:\n    block_sizes: [2, 4]\n    blocks:\n"
            "      - {block: b1, nodes: 'n[1-2]'}\n      - {block: b2, nodes: 'n[3-4]'}\n"
        },
    ],
)
def test_blocks_are_one_level(tmp_path, files):
    found = imported(tmp_path, slurm_conf=NODES, **files).document
    assert [each["location"] for each in found["nodes"]] == [["b1"], ["b2"]]
    assert (found["topology"]["levels"]["block"]["kind"], found["topology"]["levels"]["block"]["segment"]) == (
        "block",
        2,
    )


def test_leaves_of_unequal_depth_are_filled_up(tmp_path):
    tree = "SwitchName=s1 Nodes=n[1-2]\nSwitchName=s2 Nodes=n[3-4]\nSwitchName=top Switches=s1\n"
    found = imported(tmp_path, slurm_conf=NODES, topology_conf=tree).document
    assert [each["location"] for each in found["nodes"]] == [["top", "s1"], ["s2", "s2"]]


def test_a_weight_is_the_time_that_waiting_would_be_worth(tmp_path):
    text = (
        "PriorityType=priority/multifactor\nPriorityMaxAge=1-0\nPriorityWeightAge=1000\nPriorityWeightFairshare=2000\n"
    )
    found = imported(tmp_path, slurm_conf=text + NODES).document["priority"]
    assert found == {"order": "weighted", "half_life": "604800s", "age_max": "86400s", "fair_share": "172800s"}


DUMP = """# comment
Cluster - 'c':Fairshare=1:QOS='normal'
Parent - 'root'
User - 'root':Fairshare=1
Account - 'physics':Description='x y':Fairshare=30:GrpJobs=5:GrpTRES=cpu=100,mem=5
Parent - 'physics'
Account - 'optics':Fairshare=parent
User - 'ada':DefaultAccount='physics':Fairshare=3:MaxJobs=7
"""


def test_accounts_come_from_the_dump(tmp_path):
    found = imported(tmp_path, slurm_conf=NODES, sacctmgr_dump=DUMP)
    physics = {"name": "physics", "shares": 30, "users": {"ada": 3}, "limits": {"running_jobs": 5, "cpus": 100}}
    assert found.document["accounts"] == [physics, {"name": "optics", "parent": "physics", "shares": 1}]
    assert "Account physics GrpTRES=mem=5" in settings(found, Verdict.UNSUPPORTED)
    assert "Account optics Fairshare=parent" in settings(found, Verdict.APPROXIMATED)


def test_every_setting_is_in_the_table_and_what_is_unknown_is_said(tmp_path):
    text = "ClusterName=c\nLicenses=a:2,b\nSlurmUser=slurm\nJobSubmitPlugins=lua\nFirstJobId=7\n"
    text += "NodeName=n1 CPUs=2 Weight=9 Gres=gpu:2\nPartitionName=p Nodes=n1 AllowGroups=x State=UP\n"
    found = imported(tmp_path, slurm_conf=text, cgroup_conf="ConstrainRAMSpace=yes\nConstrainCores=no\n")
    assert found.document["licences"] == {"a": 2, "b": 1}
    unsupported = {"SlurmUser=slurm", "JobSubmitPlugins=lua", "FirstJobId=7", "Weight=9", "AllowGroups=x"}
    assert settings(found, Verdict.UNSUPPORTED) == unsupported
    assert settings(found, Verdict.APPROXIMATED) == {"Gres=gpu:2", "ConstrainCores=no"}
    assert {"ClusterName=c", "Licenses=a:2,b", "ConstrainRAMSpace=yes"} <= settings(found, Verdict.TRANSLATED)


def test_where_slurm_stays_its_nodes_are_slurms(tmp_path):
    found = imported(tmp_path, "slurm", slurm_conf=NODES).document
    assert found["nodes"][0]["executor"] == "slurm"
    assert found["executors"] == {"slurm": {}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("words without an equals sign\n", "slurm.conf:1"),
        ("NodeName=n[1- CPUs=1\n", "write n"),
        ("NodeName=n1 CPUs=many\n", "many"),
        ("Include slurm.conf\n", "include one another"),
        ("Include gone.conf\n", "gone.conf"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, words):
    with pytest.raises(InvalidInput, match=words):
        imported(tmp_path, slurm_conf=text)


def test_a_directory_without_slurm_conf_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"slurm\.conf: cannot be read"):
        import_slurm(tmp_path, "metal")

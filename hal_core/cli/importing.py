"""`hal import slurm DIR`: Slurm's configuration as HAL's, with a table of what became of each setting. No daemon."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal_core.migration.findings import Finding


def configure(parser: Parser) -> None:
    parser.add_argument("source", choices=("slurm",), metavar="slurm", help="what is imported: slurm")
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="with slurm.conf, and if there are any: topology.conf or topology.yaml, gres.conf, cgroup.conf, "
        "and sacctmgr.dump (sacctmgr dump CLUSTER file=sacctmgr.dump)",
    )
    parser.add_argument(
        "--output", metavar="FILE", required=True, help="where to write HAL's configuration; a new file"
    )
    parser.add_argument(
        "--executor",
        choices=("metal", "slurm"),
        default="metal",
        help="what runs jobs: metal where HAL takes over (default), slurm where Slurm stays and HAL hands jobs to it",
    )
    parser.add_argument("--json", action="store_true", help="the table as JSON")


def run(console: Console, arguments: Namespace) -> int:
    import yaml

    from hal_core.migration.findings import Verdict
    from hal_core.migration.slurm import check_document, import_slurm

    imported = import_slurm(Path(arguments.directory), arguments.executor)
    text = f"# From Slurm's configuration in {arguments.directory}, by `hal import slurm`.\n"
    text += yaml.safe_dump(imported.document, sort_keys=False, allow_unicode=True)
    check_document(text, arguments.output)
    with open(os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
        file.write(text)
    tables = {verdict.value: imported.findings.of(verdict) for verdict in Verdict}
    if arguments.json:
        rows = {name: [_row(each) for each in table] for name, table in tables.items()}
        console.line(json.dumps({"output": arguments.output} | rows))
        return 0
    for name, table in tables.items():
        console.line(f"{name}: {len(table)}", "bold")
        for each in table:
            console.line(f"  {each.place:<22} {escaped(each.setting)}: {escaped(each.text)}")
    console.line(f"{arguments.output} is written. Look it through, then: hal config check {arguments.output}")
    return 0


def _row(finding: Finding) -> dict[str, str]:
    return {"place": finding.place, "setting": finding.setting, "text": finding.text}

"""Accounts and shares from what `sacctmgr dump` wrote. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from hal_core.migration.findings import Findings

_LINE: Final = re.compile(r"(Cluster|Parent|Account|User)\s*-\s*'([^']*)'(.*)")
_OPTION: Final = re.compile(r":(\w+)=('[^']*'|[^:]*)")
_LIMITS: Final = {
    "grpjobs": "running_jobs",
    "grpsubmitjobs": "pending_jobs",
    "maxjobs": "user.running_jobs",
    "maxsubmitjobs": "user.pending_jobs",
}
_GROUP_TRES: Final = {"cpu": "cpus", "gres/gpu": "gpus"}
_SAID_ELSEWHERE: Final = ("fairshare", "description", "organization", "defaultaccount")


def read_accounts(text: str, place: str, findings: Findings) -> list[dict[str, Any]]:
    """Accounts as in HAL's YAML, parents first. Slurm's `root` is what has no account above it."""
    accounts: dict[str, dict[str, Any]] = {}
    parent = "root"
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line.strip())
        if match is None:
            if line.strip() and not line.lstrip().startswith("#"):
                findings.unsupported(f"{place}:{number}", line.strip()[:80], "not a line of a sacctmgr dump")
            continue
        kind, name, rest = match.groups()
        options = {key.lower(): value.strip("'") for key, value in _OPTION.findall(rest)}
        here, setting = f"{place}:{number}", f"{kind} {name}"
        if kind == "Parent":
            parent = name
        elif kind == "Account" and name != "root":
            accounts[name] = {"name": name, "parent": "" if parent == "root" else parent}
            accounts[name] |= {"shares": _shares(options, here, setting, findings), "users": {}}
            if limits := _limits(options, here, setting, findings):
                accounts[name]["limits"] = limits
            findings.translated(here, setting, f"an account below {parent}")
        elif kind == "User" and parent in accounts:
            accounts[parent]["users"][name] = _shares(options, here, setting, findings)
            findings.translated(here, f"{setting} of {parent}", "may use the account")
            _limits(options, here, setting, findings, is_user=True)
        elif kind == "User":
            findings.unsupported(here, setting, "a user of no account: HAL's users need an account to be charged")
    return [{key: value for key, value in each.items() if value not in ("", {})} for each in accounts.values()]


def _shares(options: dict[str, str], place: str, setting: str, findings: Findings) -> int:
    text = options.get("fairshare", "1")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    findings.approximated(place, f"{setting} Fairshare={text}", "1 share: HAL has no shares that are the parent's")
    return 1


def _limits(
    options: dict[str, str], place: str, setting: str, findings: Findings, is_user: bool = False
) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in options.items():
        name = _LIMITS.get(key)
        if name is not None and value.isdecimal() and not is_user:
            found[name] = int(value)
        elif key == "grptres" and not is_user:
            for part in value.split(","):
                resource, _, count = part.partition("=")
                if resource in _GROUP_TRES and count.isdecimal():
                    found[_GROUP_TRES[resource]] = int(count)
                else:
                    findings.unsupported(place, f"{setting} GrpTRES={part}", "HAL limits jobs, CPUs and GPUs")
        elif key not in _SAID_ELSEWHERE:
            findings.unsupported(place, f"{setting} {key}={value}", "HAL has no such setting of an account or a user")
    return found

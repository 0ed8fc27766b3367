"""`hal receipt`: what a job waited for, ran, used and cost; without a job, the sums of all that have ended."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, one_index, selector
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, money, pairs, size
from hal_core.cli.usage import UsageError
from hal_core.client.http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CAUSES = {
    "held": "being held",
    "begin_time": "its begin time",
    "dependency": "other jobs it depends on",
    "throttle": "its array's throttle",
    "priority": "jobs before it, limits",
    "resources": "resources, at the head",
    "staging": "its inputs",
    "launch": "the launch",
    "suspended": "standing still",
}
HOUR_S = 3600.0
KWH_J = 3.6e6


def configure(parser: Parser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="?", type=checked(selector), help="a job, such as 17")
    parser.add_argument(
        "--by", choices=("user", "account", "month", "day"), help="without JOB: a sum for each of these"
    )
    parser.add_argument("--user", metavar="USER", help="without JOB: of this user's jobs")
    parser.add_argument("--account", metavar="ACCOUNT", help="without JOB: of jobs of this account")
    parser.add_argument("--month", metavar="MONTH", help="without JOB: of jobs that ended in it (UTC): 2026-11")
    parser.add_argument(
        "--start", action="store_true", help="of JOB: when it could have started with its right size (takes longer)"
    )
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    names = ("by", "user", "account", "month")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.job is not None and given:
        raise UsageError(f"--{next(iter(given))} is for sums; leave out the job or the option")
    if arguments.job is None and arguments.start:
        raise UsageError("--start is of one job; name it")
    if arguments.job is None:
        answer = console.get_slowly(query("/v1/receipts", **given))
    else:
        job_id, _ = one_index(arguments.job, "receipt")
        path = f"/v1/jobs/{job_id}/receipt"
        answer = console.get_slowly(f"{path}/start") if arguments.start else console.get(path)
    if arguments.json:
        console.body(answer)
    elif arguments.job is None:
        print_sums(console, answer.json()["receipts"], given.get("by", "user"))
    else:
        print_receipt(console, answer.json())
    return 0


def print_receipt(console: Console, receipt: dict[str, Any]) -> None:
    attempts, elements = receipt["attempt_count"], receipt["element_count"]
    rows = [
        ("Job", f"{receipt['job_id']} {receipt['name']}, {receipt['state']}"),
        ("User", receipt["user"] + (f", account {receipt['account']}" if receipt["account"] else "")),
        ("Submitted", instant(receipt["submit_time_s"])),
        ("Started", instant(receipt["start_time_s"])),
        ("Ended", instant(receipt["end_time_s"])),
        ("Waited", precise(receipt["wait_s"]) + (f", over {elements} elements" if elements > 1 else "")),
    ]
    rows += [("", f"{precise(wait['seconds'])} for {CAUSES[wait['cause']]}") for wait in receipt["waits"]]
    lost = f", of which {precise(receipt['lost_s'])} in attempts that had to be repeated" if receipt["lost_s"] else ""
    rows += [
        ("Ran", precise(receipt["ran_s"]) + lost + (f", in {attempts} attempts" if attempts > 1 else "")),
        ("Held", held_text(receipt)),
        ("Used", used_text(receipt)),
        ("Energy", energy_text(receipt)),
        ("Cost", money(receipt["money"]) if receipt["money"] else "nothing: its partition has no prices"),
        ("Data", data_text(receipt)),
        ("Right size", right_size_text(receipt["right_size"])),
        ("", right_start_text(receipt)),
    ]
    for line in pairs([row for row in rows if row[1] not in ("", "-")]):
        console.line(line)


def precise(seconds: float) -> str:
    """With a tenth below a minute; a job's wait is often less than a second."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def held_text(receipt: dict[str, Any]) -> str:
    gpus = f", {receipt['gpu_s'] / HOUR_S:.2f} GPU-hours" if receipt["gpu_s"] else ""
    return f"{receipt['core_s'] / HOUR_S:.2f} core-hours{gpus}"


def used_text(receipt: dict[str, Any]) -> str:
    parts = []
    if receipt["cpu_s"] is not None and receipt["core_s"]:
        parts.append(f"{100 * receipt['cpu_s'] / receipt['core_s']:.0f} % of its CPUs")
    if receipt["gpu_busy_s"] is not None and receipt["gpu_s"]:
        parts.append(f"{100 * receipt['gpu_busy_s'] / receipt['gpu_s']:.0f} % of its GPUs")
    if receipt["peak_memory_bytes"]:
        asked = receipt["memory_bytes_per_node"]
        of = f" of {size(asked)}" if asked else ""
        parts.append(f"at most {size(receipt['peak_memory_bytes'])}{of} of memory")
    if receipt["walltime_s"] and receipt["ran_s"]:
        share = receipt["ran_s"] / receipt["attempt_count"] / receipt["walltime_s"]
        parts.append(f"{100 * share:.0f} % of its time limit")
    return ", ".join(parts)


def energy_text(receipt: dict[str, Any]) -> str:
    told = (("cpu_energy_j", "CPUs and memory"), ("energy_j", "GPUs"))
    parts = (f"{receipt[name] / KWH_J:.3f} kWh by its {what}" for name, what in told if receipt[name] is not None)
    return ", ".join(parts)


def right_size_text(right: dict[str, Any] | None) -> str:
    if right is None:
        return ""
    memory = f", {size(right['memory_bytes_per_node'])}" if right["memory_bytes_per_node"] else ""
    cost = f" and {right['money']:.2f}" if right["money"] else ""
    what = f"{right['cpu_count']} CPU{'s' * (right['cpu_count'] != 1)}{memory}, {duration(right['walltime_s'])}"
    return f"{what}: {right['core_s'] / HOUR_S:.2f} core-hours{cost}"


def right_start_text(receipt: dict[str, Any]) -> str:
    start_time_s = None if receipt["right_size"] is None else receipt["right_size"]["start_time_s"]
    if start_time_s is None:
        return ""
    sooner_s = (receipt["start_time_s"] or start_time_s) - start_time_s
    return f"there was room for that from {instant(start_time_s)}, {precise(max(sooner_s, 0.0))} before it started"


def data_text(receipt: dict[str, Any]) -> str:
    moved, saved = receipt["bytes_moved"], receipt["bytes_saved"]
    return f"{size(moved)} moved, {size(saved)} there already" if moved or saved else ""


def print_sums(console: Console, sums: list[dict[str, Any]], by: str) -> None:
    heads = (by.upper(), "JOBS", "WAITED", "RAN", "LOST", "CORE-HOURS", "GPU-HOURS", "KWH", "COST")
    rows = [
        (
            each[by] or "-", str(each["job_count"]),
            *(duration(each[name]) for name in ("wait_s", "ran_s", "lost_s")),
            *(f"{each[name] / HOUR_S:.2f}" for name in ("core_s", "gpu_s")),
            f"{(each['energy_j'] + each['cpu_energy_j']) / KWH_J:.3f}",
            f"{each['money']:.2f}",
        )
        for each in sums
    ]  # fmt: skip
    console.table(heads, rows, (False, *[True] * 8))

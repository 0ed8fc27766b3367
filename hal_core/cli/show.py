"""`hal show`: everything about one job, and how the elements of an array are doing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from hal_core.cli.arguments import Parser, checked, one_index, selector
from hal_core.cli.console import PAGE_MAX, Console
from hal_core.cli.explain import likely_text
from hal_core.cli.formats import duration, instant, pairs, size
from hal_core.cli.reserve import nodes_text
from hal_core.cli.waiting import FINAL, condition
from hal_core.client.http import query
from hal_core.client.transport import Answer, Rejected
from hal_core.models.event_words import end_text
from hal_core.models.plural import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ELEMENT_LINES_MAX = 20
TOLD_MIN = 0.1
"""What is less likely than that nobody needs to be told."""


def configure(parser: Parser) -> None:
    parser.add_argument(
        "job", metavar="JOB[_INDEX]", type=checked(selector), help="a job (17) or an array element (17_3)"
    )
    parser.add_argument("--script", action="store_true", help="print the job's script and nothing else")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    job_id, index = one_index(arguments.job, "show")
    if arguments.script:
        answer = console.get(f"/v1/jobs/{job_id}/script")
        if arguments.json:
            console.body(answer)
        else:
            console.write(answer.json()["script"])
        return 0
    try:
        also = None if arguments.json or index is not None else "likely_start"
        answer = console.get(query(f"/v1/jobs/{job_id}", **{"with": also}))
    except Rejected as rejected:
        if rejected.status == 404 and "/v1/history" in str(rejected):
            console.note(f"jobs that ended long ago are in the history: hal history --job {job_id}")
        raise
    if index is not None:
        page, element = find_element(console, job_id, index)
        if arguments.json:
            console.body(page)
        else:
            print_element(console, f"{job_id}_{index}", element)
    elif arguments.json:
        console.body(answer)
    else:
        print_job(console, answer.json())
    return 0


def find_element(console: Console, job_id: int, index: int) -> tuple[Answer, dict[str, Any]]:
    """The page that has the element, and the entry in it. Raises Rejected if the array has no such index."""
    for page in element_pages(console, job_id):
        for element in page.json()["elements"]:
            if any(low <= index <= high for low, high in bounds(element["indices"])):
                return page, element
    raise Rejected(404, {"kind": "not_found", "text": f"job {job_id} has no element {index}"}, 0)


def element_pages(console: Console, job_id: int) -> Iterator[Answer]:
    cursor = None
    while True:
        page = console.get(query(f"/v1/jobs/{job_id}/elements", limit=PAGE_MAX, cursor=cursor))
        yield page
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return


def bounds(ranges_text: str) -> list[tuple[int, int]]:
    """(first, last) of each range."""
    parts = [part.partition("-") for part in ranges_text.split(",")]
    return [(int(low), int(high or low)) for low, _, high in parts]


def print_job(console: Console, job: dict[str, Any]) -> None:
    element = job["element"] or {}
    values = [
        ("Job", str(job["job_id"])),
        ("Name", job["name"]),
        ("User", f"{job['user']} ({job['uid']})"),
        ("Partition", job["partition"]),
        ("State", condition(job)),
        ("Ended", end_text(job["end"] or element.get("end") or {})),
        ("Array", job["array"] or ""),
        ("Attempt", str(job["attempt"])),
        ("Priority", priority_text(job)),
        ("Submitted", instant(job["submit_time_s"])),
        ("Not before", instant(job["begin_time_s"])),
        ("To end by", instant(job.get("deadline_time_s"))),
        ("Expected start", instant(job["expected_start_time_s"])),
        ("Likely start", likely_text(job["likely_start"]) if job.get("likely_start") else ""),
        ("Started", instant(job["start_time_s"])),
        ("Suspended", still_text(element)),
        ("Finished", instant(job["end_time_s"])),
        ("Time limit", duration(job["walltime_s"]) if job["walltime_s"] else "none"),
        ("Expected to run", expected_text(job["prediction"])),
        ("Likely to", ends_text(job["prediction"])),
        ("Ran", ran_text(job)),
        ("Size", shape_text(job)),
        ("Chosen", job["choice"]),
        ("Nodes", job["nodes"]),
        ("Near", job["near"]),
        ("Only on", nodes_text(job["only_nodes"])),
        ("Never on", nodes_text(job["excluded_nodes"])),
        ("Span", span_text(job)),
        ("Uses", use_text(job.get("use"))),
        ("Used", used_text(job["end"] or element.get("end") or {})),
        ("Waits for", dependencies_text(job)),
        ("Command", command_text(job)),
        ("Directory", job["working_directory"] or ""),
        ("Output", job["output_path"] or ""),
        ("Errors", job["error_path"] or ("with the output" if job["output_path"] else "")),
        ("Inputs", ", ".join(job["inputs"] or ())),
        ("Outputs", ", ".join(job.get("outputs") or ())),
        ("Account", job["account"]),
        ("Quality of service", job["qos"]),
        ("Comment", job["comment"]),
    ]
    for line in pairs([(name, value) for name, value in values if value not in ("", "-")]):
        console.line(line)
    if not job["is_private_shown"]:
        console.note("command, paths and environment are shown to the job's owner only")
    if job["array"] is not None:
        print_elements(console, job["job_id"])


def still_text(element: dict[str, Any]) -> str:
    """Since when it stands still, and who wanted that; the empty string if it runs."""
    since_s, by = element.get("suspend_time_s"), element.get("suspended_by")
    return "" if since_s is None else f"since {instant(since_s)}{f', by {by}' if by else ', for another job'}"


def expected_text(prediction: dict[str, Any] | None) -> str:
    """What the predictor says; the empty string if nobody does."""
    if prediction is None:
        return ""
    low, middle, high = (duration(prediction[name]) for name in ("p10_s", "p50_s", "p90_s"))
    return middle if low == high else f"{middle} (8 of 10 times {low} to {high})"


def ends_text(prediction: dict[str, Any] | None) -> str:
    """How likely it is to end badly, where that is said and worth a line."""
    said = prediction or {}
    parts = [
        f"{words} ({share:.0%})"
        for words, name in (("run into the time limit", "time_out_probability"), ("fail", "failure_probability"))
        if (share := said.get(name) or 0.0) >= TOLD_MIN
    ]
    return ", ".join(parts)


def ran_text(job: dict[str, Any]) -> str:
    """How long a job ran of which something was said before, and how far off that was."""
    prediction, start_s, end_s = job["prediction"], job["start_time_s"], job["end_time_s"]
    if prediction is None or start_s is None or end_s is None:
        return ""
    run_s = max(0.0, end_s - start_s)
    is_within = prediction["p10_s"] <= run_s <= prediction["p90_s"]
    off_s = run_s - prediction["p50_s"]
    words = "as expected" if abs(off_s) < 1.0 else f"{duration(abs(off_s))} {'longer' if off_s > 0 else 'less'}"
    return f"{duration(run_s)} ({words}{'' if is_within else ', outside of what was expected'})"


def print_elements(console: Console, job_id: int) -> None:
    """The first few entries; `hal show JOB_INDEX` and --json have the rest."""
    page = console.get(query(f"/v1/jobs/{job_id}/elements", limit=ELEMENT_LINES_MAX)).json()
    rows = [
        (
            each["indices"], str(each["count"]), each["state"],
            instant(each["start_time_s"]), instant(each["end_time_s"]),
            ",".join(part["node"] for part in each["nodes"]), end_text(each["end"] or {}),
        )
        for each in page["elements"]
    ]  # fmt: skip
    console.line()
    console.table(("INDICES", "COUNT", "STATE", "STARTED", "ENDED", "NODES", "END"), rows, (False, True))
    tell_of_history(console, job_id, page["elements"])
    if page["next_cursor"] is not None:
        console.note(f"these are the first {len(rows)} entries; `hal show {job_id}_INDEX` shows any other")


def print_element(console: Console, name: str, element: dict[str, Any]) -> None:
    places = [part["node"] + (f" (CPUs {part['cpus']})" if part["cpus"] else "") for part in element["nodes"]]
    values = [
        ("Element", name),
        ("State", element["state"]),
        ("Ended", end_text(element["end"] or {})),
        ("Attempt", str(element["attempt"])),
        ("Started", instant(element["start_time_s"])),
        ("Suspended", still_text(element)),
        ("Finished", instant(element["end_time_s"])),
        ("Nodes", ", ".join(places)),
        ("Used", used_text(element["end"] or {})),
        ("Output", element["output_path"] or ""),
        ("Errors", element["error_path"] or ("with the output" if element["output_path"] else "")),
    ]
    for line in pairs([(label, value) for label, value in values if value not in ("", "-")]):
        console.line(line)
    tell_of_history(console, int(name.partition("_")[0]), [element])


def tell_of_history(console: Console, job_id: int, elements: list[dict[str, Any]]) -> None:
    """Of elements that ended well, the daemon keeps no more than that."""
    if any(each["state"] in FINAL and not each["end"] for each in elements):
        console.note(f"when and where they ran is in the history: hal history --job {job_id}")


def span_text(job: dict[str, Any]) -> str:
    """`rack r1/rack3, 1.25 times the run time on the nearest nodes`."""
    if job["span"] is None:
        return ""
    slow_down = job["slow_down"]
    return (
        f"{job['span']}, {slow_down:.3g} times the run time on the nearest nodes" if slow_down > 1 else str(job["span"])
    )


def shape_text(job: dict[str, Any]) -> str:
    """`2 nodes, 8 tasks, 4 CPUs each, 2.0 GiB a node, 1 a100 a node`; of several components one behind the other."""
    if not job["components"]:
        return _component_text(job)
    of_all: dict[str, Any] = {"generic_per_node": {}, "licences": {}, "is_exclusive": False}
    first, *others = job["components"]
    texts = [_component_text({**job, **first}), *(_component_text({**job, **of_all, **each}) for each in others)]
    return " + ".join(texts)


def _component_text(job: dict[str, Any]) -> str:
    parts = [plural(job["node_count"], "node"), plural(job["task_count"], "task")]
    parts.append(f"{plural(job['cpus_per_task'], 'CPU')} a task")
    if job["memory_bytes_per_node"]:
        parts.append(f"{memory_text(job)} a node")
    if job["gpus_per_node"]:
        parts.append(f"{job['gpus_per_node']} {job['gpu_type'] or 'GPU'} a node")
    if job["gpu_milli"]:
        parts.append(f"{job['gpu_milli'] / 1000:g} of a {job['gpu_type'] or 'GPU'} a node")
    parts += [f"{number} {name} a node" for name, number in job["generic_per_node"].items()]
    parts += job["features"]
    parts += [" or ".join("&".join(some) for some in job["alternatives"])] if job["alternatives"] else []
    parts += [f"{number} {name} licences" for name, number in job["licences"].items()]
    return ", ".join(parts) + (", exclusive" if job["is_exclusive"] else "")


def memory_text(job: dict[str, Any]) -> str:
    """`64.0 GiB`, or what it began with and whether that was enough: `2.1 GiB of 64.0 GiB`."""
    asked, first = size(job["memory_bytes_per_node"]), job["first_memory_bytes"]
    if not first:
        return asked
    return f"{asked} ({size(first)} were not enough)" if job["has_outgrown"] else f"{size(first)} of {asked}"


def priority_text(job: dict[str, Any]) -> str:
    """Its own, and what that comes to in the queue where other things count as well."""
    own, whole = job["priority"], job["queue_priority"]
    return str(own) if whole in (None, own) else f"{own}, in the queue {whole:.0f} (hal explain says how)"


def used_text(end: dict[str, Any]) -> str:
    parts = []
    if end.get("cpu_s") is not None:
        parts.append(f"{end['cpu_s']:.1f} s of CPU time")
    if end.get("peak_memory_bytes"):
        parts.append(f"at most {size(end['peak_memory_bytes'])} of memory")
    return ", ".join(parts)


def use_text(use: dict[str, Any] | None) -> str:
    """`1.9 of 4 CPUs (1.7 on average), 2.0 GiB of memory (at most 2.4 GiB), idle since 2026-11-26 09:10:00`."""
    if use is None:
        return ""
    most = f" (at most {size(use['memory_bytes_max'])} on a node)" if use["memory_bytes_max"] else ""
    idle = f", idle since {instant(use['idle_since_s'])}" if use["idle_since_s"] else ""
    cpus = f"{use['cpus']:.1f} of {plural(use['cpu_count'], 'CPU')} ({use['cpus_mean']:.1f} on average)"
    gpus = ""
    if use["gpu_count"]:
        known = use["gpus"] is not None and use["gpus_mean"] is not None
        mean = f" ({use['gpus_mean']:.1f} on average)" if known else ", it is not known how busy"
        gpus = f"{use['gpus']:.1f} of " if known else ""
        gpus = f", {gpus}{plural(use['gpu_count'], 'GPU')}{mean}"
    return f"{cpus}, {size(use['memory_bytes'])} of memory{most}{gpus}{idle}"


def dependencies_text(job: dict[str, Any]) -> str:
    texts = [each["kind"] + (f":{each['job_id']}" if each["job_id"] else "") for each in job["dependencies"]]
    return (" and " if job["needs_all_dependencies"] else " or ").join(texts)


def command_text(job: dict[str, Any]) -> str:
    import shlex

    if job["command"]:
        return shlex.join(job["command"])
    if not job["has_script"]:
        return ""
    return f"a script (--script prints it) {shlex.join(job['arguments'] or ())}".strip()

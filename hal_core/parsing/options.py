"""The table of job options: the one source for the parser, the command line, its completion and the documentation.

Plain data with no imports beyond `typing`, so that the command line can have it for nothing. How a value is read
stands in values.py, what it means for the job in request.py; a test holds the three together.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Takes = Literal["value", "flag", "optional"]
"""`optional`: a value only after `=`, as in `--exclusive=...`."""


class Option(NamedTuple):
    name: str
    letter: str
    takes: Takes
    value_name: str
    fields: str
    """The fields of JobSpec that it decides."""
    help: str
    aliases: tuple[str, ...] = ()


OPTIONS: Final[tuple[Option, ...]] = (
    Option("job-name", "J", "value", "NAME", "name", "name of the job (default: that of the program)", ("name",)),
    Option("partition", "p", "value", "NAME", "partition", "where to run (default: the default partition)"),
    Option("where", "", "value", "any|SITE,...", "partition variants",
           "at whichever of these sites it is expected to end first: HAL's own nodes, a Slurm cluster"),
    Option("time", "t", "value", "LIMIT", "walltime_s", "time limit: 30 (minutes), 1:30:00, 2-12:00:00, 90m, 2h"),
    Option("nodes", "N", "value", "COUNT", "node_count variants",
           "number of nodes; of 2-8 or 1,2,4,8 HAL takes the one with which the job is expected to end first"),
    Option("scaling", "", "value", "SHARE", "variants",
           "the share of the work that more nodes divide, for a range of them (default: 0.9)"),
    Option("or", "", "value", "OPTION=VALUE,...", "variants",
           "amounts to run with instead, whichever is expected to end first: 'gpus=0,cpus-per-task=16,time=4h'"),
    Option("and", "", "value", "OPTION=VALUE,...", "components",
           "further nodes with other amounts, together with the others or not at all: 'nodes=8,cpus-per-task=4'"),
    Option("ntasks", "n", "value", "COUNT", "task_count", "number of tasks; alone, HAL chooses the number of nodes"),
    Option("ntasks-per-node", "", "value", "COUNT", "node_count task_count", "tasks on each node, at most",
           ("tasks-per-node",)),
    Option("cpus-per-task", "c", "value", "COUNT", "cpus_per_task", "CPUs for each task (default: 1)"),
    Option("mem", "", "value", "SIZE", "memory_bytes_per_node", "memory on each node: 4096 (MiB), 512M, 10G"),
    Option("mem-per-cpu", "", "value", "SIZE", "memory_bytes_per_node", "memory for each CPU"),
    Option("mem-per-gpu", "", "value", "SIZE", "memory_bytes_per_node", "memory for each GPU"),
    Option("auto-memory", "", "flag", "", "has_auto_memory",
           "begin with what such jobs used before, if that is less; it is queued again if it needs more"),
    Option("gpus", "G", "value", "[TYPE:]COUNT", "gpus_per_node gpu_type gpu_milli",
           "GPUs of the whole job, spread evenly; or a share of one: 0.5"),
    Option("gpus-per-node", "", "value", "[TYPE:]COUNT", "gpus_per_node gpu_type gpu_milli",
           "GPUs on each node: 2, a100:2; or a share of one: 0.5"),
    Option("gpus-per-task", "", "value", "[TYPE:]COUNT", "gpus_per_node gpu_type gpu_milli", "GPUs for each task"),
    Option("gres", "", "value", "NAME[:COUNT],...", "generic_per_node gpus_per_node gpu_type gpu_milli",
           "generic resources on each node: licence_x:2,fast_disk"),
    Option("exclusive", "", "optional", "", "is_exclusive", "no other job on the nodes"),
    Option("constraint", "C", "value", "FEATURES", "features alternatives",
           "only nodes with these features: ib&ssd, (ib|opa)&ssd"),
    Option("nodelist", "w", "value", "NODES", "only_nodes", "on all of these nodes and no others: n1,n[3-5]"),
    Option("exclude", "x", "value", "NODES", "excluded_nodes", "on none of these nodes: n1,n[3-5]"),
    Option("topology", "", "value", "LEVEL[:NAME][=required]", "level domain is_level_required",
           "nodes within one domain of this level: rack, region:eu; waits for it only while that is worth it"),
    Option("comm", "", "value", "none|light|heavy|SHARE", "communication",
           "how much its nodes talk to each other: the share of the run time, 0 to 1"),
    Option("chdir", "D", "value", "DIRECTORY", "working_directory", "where to run (default: here)", ("workdir",)),
    Option("export", "", "value", "NAME,...", "environment", "ALL (default), NONE, names, or NAME=value"),
    Option("input", "i", "value", "FILE", "input_path", "standard input (default: /dev/null)"),
    Option("output", "o", "value", "PATTERN", "output_pattern", "standard output: %j %A %a %x %N %u"),
    Option("error", "e", "value", "PATTERN", "error_pattern", "standard error (default: joins the output)"),
    Option("open-mode", "", "value", "append|truncate", "does_append", "what happens to an existing output file"),
    Option("array", "a", "value", "INDICES[%COUNT]", "array", "a job array: 0-99, 1,3,5-7, 0-99:2, 0-999%10"),
    Option("dependency", "d", "value", "KIND:JOB,...", "dependencies needs_all_dependencies",
           "wait for other jobs: afterok:12, afterany:12:13, afterok:12?afterok:13, singleton"),
    Option("requeue", "", "flag", "", "can_requeue", "queue the job again if it loses a node; it must bear a restart"),
    Option("no-requeue", "", "flag", "", "can_requeue", "end with the node if one is lost (the default)"),
    Option("hold", "H", "flag", "", "is_held", "wait until `hal release`"),
    Option("begin", "b", "value", "TIME", "begin_time_s", "not before: now+1hour, 16:30, tomorrow, 2030-01-31T16:30"),
    Option("deadline", "", "value", "TIME", "deadline_time_s",
           "to have ended by then, for which nodes may be rented: now+8hours, tomorrow, 2030-01-31T16:30"),
    Option("value-per-hour", "", "value", "AMOUNT", "value_per_hour",
           "what an hour less to wait is worth, where nodes are rented (default, and most: what their pool says)"),
    Option("priority", "", "value", "NUMBER", "priority", "larger is earlier; above 0 for operators only"),
    Option("nice", "", "optional", "NUMBER", "priority", "be later by this much (default: 100)"),
    Option("spread", "", "value", "job|node|task", "spread", "run once, once on each node, or once for each task"),
    Option("kill-grace", "", "value", "DURATION", "kill_grace_s", "from SIGTERM to SIGKILL: 30s (default: 5s)"),
    Option("elastic", "", "optional", "WEIGHT", "elastic_weight",
           "use what others leave, give way within --kill-grace, and wait again; weight (default: 1)"),
    Option("inputs", "", "value", "DATASET,...", "inputs", "what it reads (dataset:NAME, paths, URLs), brought first",
           ("input-data",)),
    Option("outputs", "", "value", "NAME=PATH,...", "outputs", "what it leaves as datasets when it has ended well"),
    Option("account", "A", "value", "NAME", "account", "what the job is accounted to"),
    Option("checkpoint-every", "", "value", "TIME", "checkpoint_s", "it saves its work so often: 30m"),
    Option("reservation", "", "value", "NAME", "reservation", "run inside of this reservation; see `hal reserve ls`"),
    Option("licenses", "L", "value", "NAME[:COUNT],...", "licences", "licences of the cluster: matlab:2,ansys",
           ("licences", "licence")),
    Option("qos", "q", "value", "NAME", "qos", "the level of service (default: the site's)"),
    Option("mail-type", "", "value", "OCCASION,...", "mail_types",
           "mail its owner: BEGIN, END, FAIL, REQUEUE, TIME_LIMIT_80, ARRAY_TASKS, ALL and others of Slurm"),
    Option("mail-user", "", "value", "ADDRESS", "mail_user", "where (default: the user's address at the site)"),
    Option("comment", "", "value", "TEXT", "comment", "a note, shown by `hal show`"),
    Option("wrap", "", "value", "COMMAND", "script", "a shell command line instead of a script"),
)  # fmt: skip

BY_NAME: Final[dict[str, Option]] = {
    name: option
    for option in OPTIONS
    for name in (option.name, *([option.letter] if option.letter else []), *option.aliases)
}
"""By long name, letter and alias."""

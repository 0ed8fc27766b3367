"""Options of Slurm that HAL knows by name and does not support: each is refused with a reason and a way out.

Nothing is ever ignored: a script that asks for something must get it or be told that it does not. Plain data.
"""

from __future__ import annotations

from typing import Final

_CLIENT = "it is for the command line, not for a job's request; remove it here"
_LAYOUT = "HAL does not place tasks by sockets, cores or threads; use --ntasks, --cpus-per-task or --exclusive"
_BINDING = "HAL binds every job to its CPUs and GPUs by itself; remove it"
_GENERIC = "use --gres for countable resources that the site defines"
_NODES = "HAL chooses nodes by their resources; use --constraint with a feature, or --partition"
_STEP = "HAL starts all tasks of a job together, without steps; use --spread"
_FOREIGN = "there is no such thing in HAL; remove it"
_CLUSTER = "one HAL manages one cluster; submit to the HAL of the other one"
_CONTAINER = "start the container from the script instead"
_SHARING = "nodes are shared unless --exclusive is given, CPUs never; remove it"
_TIME = "give one limit with --time"
_HOOK = "put the commands into the script"

_GROUPS: Final[tuple[tuple[str, str], ...]] = (
    (_CLIENT, "help usage version verbose quiet parsable test-only wait bell no-bell no-shell immediate label"),
    (_CLIENT, "pty preserve-env quit-on-interrupt disable-status msg-timeout kill-command unbuffered h u V v Q W I"),
    (_LAYOUT, "extra-node-info sockets-per-node cores-per-socket threads-per-core ntasks-per-core ntasks-per-socket"),
    (_LAYOUT, "core-spec thread-spec mincpus hint overcommit distribution plane B O S m"),
    ("give --cpus-per-task and --gpus-per-task instead", "cpus-per-gpu ntasks-per-gpu"),
    ("give --gpus-per-node or --gpus-per-task instead", "gpus-per-socket tres-per-task tres-per-job tres-per-node"),
    (_BINDING, "cpu-bind mem-bind gpu-bind accel-bind tres-bind gres-flags"),
    ("HAL leaves the frequency to the node; remove it", "cpu-freq gpu-freq power"),
    (_GENERIC, "bb bbf tmp network resv-ports"),
    (_NODES, "nodefile F contiguous switches prefer cluster-constraint use-min-nodes spread-job"),
    (_NODES, "segment relative r"),
    (_STEP, "exact overlap whole het-group multi-prog mpi jobid external-launcher no-allocate interactive treewidth"),
    (_STEP, "bcast compress send-libs slurmd-debug stepmgr threads wait-all-nodes kill-on-bad-exit K"),
    ("HAL has no workload characterization keys; use --account or --comment", "wckey mcs-label extra"),
    (_CLUSTER, "clusters cluster M"),
    ("HAL ends all of a job when one of its nodes is lost; remove it", "no-kill k"),
    ("HAL sends SIGTERM, and SIGKILL after --kill-grace; catch SIGTERM", "signal"),
    (_TIME, "time-min delay-boot"),
    ("a job whose dependency cannot be satisfied is cancelled always; remove it", "kill-on-invalid-dep"),
    (_SHARING, "oversubscribe share s"),
    ("jobs run as the user who submits them; remove it", "uid gid get-user-env"),
    ("give variables with --export or set them in the script", "export-file"),
    ("the limits are those of the node; use ulimit in the script", "propagate"),
    (_CONTAINER, "container container-id oci-bundle container-image container-mounts"),
    ("HAL accounts for every job by itself; remove it", "acctg-freq profile"),
    (_HOOK, "prolog epilog task-prolog task-epilog"),
    (_FOREIGN, "ignore-pbs batch reboot x11 burst-buffer"),
    ("write further nodes with --and, or in lines behind `#SBATCH hetjob`", "hetjob packjob pack-group"),
)  # fmt: skip

UNSUPPORTED: Final[dict[str, str]] = {name: reason for reason, names in _GROUPS for name in names.split()}
"""Name (or letter) -> the reason and the way out."""

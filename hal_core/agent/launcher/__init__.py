"""The launcher: the only code of HAL that may run as root. Standard library only, single-threaded, no network.

    fields.py      what the agent says to the spawner: length-prefixed, NUL-separated fields
    records.py     the record of an attempt: one append-only file, the truth about what happened
    cgroups.py     limits and the kill of a whole tree by cgroup (v2, v1, hybrid)
    tree.py        finding and killing every process of an attempt, with or without cgroups
    process.py     starting the job's processes: become the user, then chdir, open files, exec
    supervisor.py  looks after one attempt at a time: start, wait, limit, end, record
    failpoints.py  where tests let a process die
    failpoints.py  where tests let a process die
    spawner.py     the resident parent of the supervisors; claims attempts durably before it forks

Run by path with `python -I -S .../launcher/__main__.py DIRECTORY`; imported as a package only for its formats and by
tests. It must not import anything of HAL outside this folder.
"""

"""The launcher: the only code of HAL that may run as root. Standard library only, single-threaded, no network.

    fields.py      what the agent says to the spawner: length-prefixed, NUL-separated fields
    records.py     the record of an attempt: one append-only file, the truth about what happened
    cgroups.py     limits and the kill of a whole tree by cgroup (v2, v1, hybrid)
    tree.py        finding and killing every process of an attempt, with or without cgroups
    process.py     starting the job's processes: become the user, then leave the rest to job/
    hooks.py       prolog and epilog
    supervisor.py  looks after one attempt at a time: start, wait, limit, end, record
    spawner.py     the resident parent of the supervisors; claims attempts durably before it forks
    failpoints.py  where tests let a process die
    job/           what runs as the owner of the job, and never as root

Run by path with `python -I -S .../launcher/__main__.py DIRECTORY`; imported as a package only for its formats and by
tests. It must not import anything of HAL outside this folder. tests/tidy/test_root_code.py holds its size.
"""

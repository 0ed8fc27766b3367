"""Answers of the daemon as docs/reference/rest.md describes them, for scripted servers."""

from __future__ import annotations

from typing import Any

JOB: dict[str, Any] = {
    "job_id": 12,
    "name": "train",
    "user": "ada",
    "partition": "main",
    "account": "",
    "state": "RUNNING",
    "array": None,
    "element_count": 1,
    "counts": {"RUNNING": 1},
    "qos": "",
    "priority": 0,
    "queue_priority": None,
    "submit_time_s": 1764000000.0,
    "begin_time_s": 0.0,
    "start_time_s": 1764000001.5,
    "end_time_s": None,
    "walltime_s": 600.0,
    "node_count": 1,
    "task_count": 1,
    "cpu_count": 4,
    "gpu_count": 0,
    "memory_bytes_per_node": 0,
    "nodes": "n1",
    "attempt": 1,
    "is_held": False,
    "reason": None,
    "expected_start_time_s": None,
    "end": None,
}

ELEMENT: dict[str, Any] = {
    "indices": "0",
    "count": 1,
    "state": "RUNNING",
    "attempt": 1,
    "start_time_s": 1764000001.5,
    "end_time_s": None,
    "nodes": [{"node": "n1", "task_count": 1, "cpus": "0-3", "memory_bytes": 0, "gpus": "", "generic": {}}],
    "end": None,
    "output_path": "/home/ada/hal-12.out",
    "error_path": "",
}

DETAILS: dict[str, Any] = {
    "uid": 1000,
    "gid": 1000,
    "is_private_shown": True,
    "has_script": True,
    "command": [],
    "arguments": ["a b"],
    "working_directory": "/home/ada",
    "environment": ["PATH=/usr/bin:/bin"],
    "input_path": "/dev/null",
    "output_path": "/home/ada/hal-12.out",
    "error_path": "",
    "output_pattern": "/home/ada/hal-12.out",
    "error_pattern": "",
    "inputs": [],
    "does_append": False,
    "cpus_per_task": 4,
    "gpus_per_node": 0,
    "gpu_type": "",
    "generic_per_node": {"licence_x": 1},
    "features": [],
    "alternatives": [],
    "licences": {},
    "is_exclusive": False,
    "gpu_milli": 0,
    "choice": "",
    "variants": [],
    "components": [],
    "communication": 0.0,
    "near": "",
    "span": None,
    "slow_down": None,
    "spread": "job",
    "kill_grace_s": 5.0,
    "comment": "",
    "dependencies": [{"kind": "afterok", "job_id": 11}],
    "needs_all_dependencies": True,
    "array_throttle": None,
    "has_auto_memory": False,
    "first_memory_bytes": 0,
    "only_nodes": [],
    "excluded_nodes": [],
    "has_outgrown": False,
    "prediction": None,
    "element": ELEMENT,
    "sequence": 104233,
}

NODE: dict[str, Any] = {
    "name": "n1",
    "status": "up",
    "is_drained": False,
    "reason": "",
    "by": "",
    "executor": "metal",
    "partitions": ["main"],
    "cpu_count": 8,
    "cpus_free": 4,
    "memory_bytes": 16 * 1024**3,
    "memory_bytes_free": 8 * 1024**3,
    "gpus": {"a100": 2},
    "gpus_free": {"a100": 1},
    "generic": {"licence_x": 4},
    "generic_free": {"licence_x": 4},
    "features": ["fast"],
    "missing": ["memory limits"],
    "location": ["site1", "rack3"],
    "allocation_count": 1,
}

END: dict[str, Any] = {
    "kind": "exited",
    "exit_code": 0,
    "signal": None,
    "peak_memory_bytes": 3145728,
    "cpu_s": 0.9,
    "by": "",
    "detail": "",
}

ENTRY: dict[str, Any] = {
    "sequence": 104230,
    "job_id": 12,
    "elements": "0",
    "attempt": 1,
    "user": "ada",
    "name": "train",
    "partition": "main",
    "account": "",
    "state": "COMPLETED",
    "kind": "exited",
    "exit_code": 0,
    "signal": None,
    "ended_by": "",
    "detail": "",
    "submit_time_s": 1764000000.0,
    "start_time_s": 1764000001.5,
    "end_time_s": 1764000002.5,
    "nodes": ["n1"],
    "node_count": 1,
    "cpus": 4,
    "walltime_s": 600.0,
    "peak_memory_bytes": 3145728,
    "cpu_s": 0.9,
    "ran_s": 1.0,
}

STATUS: dict[str, Any] = {
    "cluster": "laptop",
    "version": "0.1.0",
    "time_s": 1764000003.0,
    "started_time_s": 1763999000.0,
    "sequence": 3,
    "is_accepting": True,
    "problem": "",
    "nodes": {"up": 2},
    "drained_count": 0,
    "cpu_count": 16,
    "cpus_free": 12,
    "cpus_busy": None,
    "jobs": {"PENDING": 5, "RUNNING": 12},
    "caller": {"user": "ada", "uid": 1000, "role": "user"},
}


def job(**changes: Any) -> dict[str, Any]:
    """An entry of the queue."""
    return {**JOB, **changes}


def job_details(**changes: Any) -> dict[str, Any]:
    """The answer to GET /v1/jobs/{job_id}."""
    return {**JOB, **DETAILS, **changes}


def ended(job_id: int, state: str = "COMPLETED", **end: Any) -> dict[str, Any]:
    """The answer about a job that has ended."""
    how = {**END, **end}
    return job_details(job_id=job_id, state=state, end=how, element={**ELEMENT, "state": state, "end": how})

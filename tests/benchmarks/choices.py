"""The small figures behind three decisions: hooks only register, msgspec on attrs classes, and a lazy SDK.

Costs are CPU time for one operation, the least of several repeats: sharing the machine hardly changes that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import cattrs
import msgspec
import pluggy

from hal_core.models.event import JobSubmitted, decode_event, encode_event
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import PartitionName
from tests.benchmarks.common import Figures, parser_of, run

REPEATS = 7


def cost_us(action: Callable[[], object], count: int) -> float:
    """Microseconds of CPU for one call."""
    least_s = float("inf")
    for _ in range(REPEATS):
        begin_s = time.process_time()
        for _ in range(count):
            action()
        least_s = min(least_s, time.process_time() - begin_s)
    return round(least_s / count * 1e6, 3)


def hook_costs() -> Figures:
    """One call through three registered hooks, and one call of a method."""
    specs, impl = pluggy.HookspecMarker("bench"), pluggy.HookimplMarker("bench")

    class Hooks:
        @specs
        def look(self, job: object) -> object: ...

    class Plugin:
        @impl
        def look(self, job: object) -> object:
            return job

    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Hooks)
    plugins = [Plugin() for _ in range(3)]
    for plugin in plugins:
        manager.register(plugin)
    hook, method = manager.hook.look, plugins[0].look
    return {"hook_of_three_us": cost_us(lambda: hook(job=1), 20_000), "method_us": cost_us(lambda: method(1), 200_000)}


def codec_costs() -> Figures:
    """A submission as the journal has it, by msgspec on the attrs classes and by cattrs."""
    spec = JobSpec(
        name="train", partition=PartitionName("gpu"), script="#!/bin/sh\n" + "echo step\n" * 20,
        environment=tuple(f"NAME_{number}=value" for number in range(20)), walltime_s=3600.0,
    )  # fmt: skip
    event = JobSubmitted(1.0, JobId(7), "client-1", Owner("user", 1000, 1000), spec)
    kind, version, body = encode_event(event)
    converter = cattrs.Converter()
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    plain = encode(converter.unstructure(event))
    return {
        "msgspec_encode_us": cost_us(lambda: encode_event(event), 5_000),
        "msgspec_decode_us": cost_us(lambda: decode_event(kind, version, body), 5_000),
        "cattrs_encode_us": cost_us(lambda: encode(converter.unstructure(event)), 1_000),
        "cattrs_decode_us": cost_us(lambda: converter.structure(decode(plain), JobSubmitted), 1_000),
        "event_bytes": len(body),
    }


def sdk_cost() -> Figures:
    """What `import hal_core` adds to an interpreter, by its own account."""
    times = []
    for _ in range(REPEATS):
        command = [sys.executable, "-X", "importtime", "-c", "import hal_core"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
        times.append(int(lines[-1].split("|")[1]))
    return {"import_hal_core_us": min(times)}


def measure(_: argparse.Namespace) -> Figures:
    return hook_costs() | codec_costs() | sdk_cost()


if __name__ == "__main__":
    run(__doc__, measure, parser_of("choices"))

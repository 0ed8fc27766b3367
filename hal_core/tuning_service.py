"""Self-tuning put together: the daemon's part, and the process in which policies are tried.

`python -m hal_core.tuning_service STATE_DIR` reads a question on stdin and writes a verdict on stdout. It folds the
state from the journal up to the event that the question names, so it needs nothing of the daemon's memory, and what it
found can be found again later. Exit code 1: not possible, with the reason on stderr.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import attrs
import msgspec
import trio

from hal_core.config.configuration import Configuration
from hal_core.config.pinning import pins_of
from hal_core.errors import Unavailable
from hal_core.kernel.child_process import run_child
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.journal_recovery import plan_recovery, rebuild
from hal_core.kernel.tuning import Tuning
from hal_core.models.job import JobId
from hal_core.models.plugin import Pin
from hal_core.models.tuning import Bounds, Verdict
from hal_core.planes import Engine
from hal_core.plugins import Plugins
from hal_core.rules.core import Core
from hal_core.rules.excerpt import excerpt_of_queue
from hal_core.rules.state import State
from hal_core.rules.tuning import Policies, Queue, tune


@attrs.frozen
class Question:
    """Which policy should be in force, by the state as it was at that event?"""

    sequence: int
    now_s: float
    base: str
    current: str
    engines: dict[str, dict[str, Any]]
    """Name -> options; the configured one is among them."""
    bounds: Bounds
    pins: dict[str, Pin]


def engines_of(configuration: Configuration) -> dict[str, dict[str, Any]]:
    """Name -> options of all engines that may be in force."""
    chosen = configuration.engine
    named = {**configuration.tuning.engines, chosen.name: chosen.options}
    return {name: dict(options) for name, options in named.items()}


def engine_of(configuration: Configuration, plugins: Plugins, name: str) -> Engine:
    """A fresh one of that name."""
    return plugins.engine(name, engines_of(configuration)[name])


def tuning_of(configuration: Configuration, plugins: Plugins, core: Core, journal: Journal) -> Tuning | None:
    """What does it in the daemon, and the core with the engines that it may change to; None if nothing is tuned."""
    section, base = configuration.tuning, configuration.engine.name
    engines = engines_of(configuration)
    others = [name for name in engines if name != base]
    if not others:
        return None
    core.others = {name: engine_of(configuration, plugins, name) for name in others}
    bounds, pins = section.bounds(), pins_of(configuration.plugins)

    async def judge(current: str) -> Verdict:
        question = Question(journal.sequence, time.time(), base, current, engines, bounds, pins)
        command = [sys.executable, "-m", __name__, configuration.state_directory]
        asked = msgspec.json.encode(question)
        done = await trio.run_process(command, stdin=asked, check=False, capture_stdout=True, capture_stderr=True)
        if done.returncode:
            raise Unavailable(done.stderr.decode("utf-8", "replace").strip()[-500:])
        return msgspec.json.decode(done.stdout, type=Verdict)

    return Tuning(core, judge, section.every, bounds.queue_min)


def judged(directory: Path, question: Question, plugins: Plugins) -> Verdict:
    """Which policy should be in force, by the journal in that directory."""
    reader = JournalReader(directory)
    try:
        recover = functools.partial(plan_recovery, reader, directory, Disk(), question.sequence)
        state, _ = rebuild(recover, State)
    finally:
        reader.close()
    engines = {name: plugins.engine(name, options) for name, options in question.engines.items()}
    policies = Policies(engines, question.base, question.current)

    def user_of(job_id: JobId) -> str:
        record = state.find(job_id)
        return "" if record is None else record.owner.user

    random = Random(0)  # noqa: S311  repeatable, nothing secret
    queue = Queue(excerpt_of_queue(state, question.now_s), user_of, question.now_s, random)
    return tune(queue, policies, question.bounds)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m hal_core.tuning_service STATE_DIR < QUESTION\n")
        return 2

    def work() -> bytes:
        question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
        return msgspec.json.encode(judged(Path(arguments[0]), question, Plugins.load(pins=question.pins)))

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

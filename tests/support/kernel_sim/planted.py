"""Planted bugs: realistic mistakes in the production code, to prove that the simulation catches such.

Each replaces a piece of one module's text while it is loaded, in a process of its own; nothing on disk changes. A piece
must occur exactly once: when the code around it changes, a test says which bug needs another piece. This module must
not import what it changes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class Planted(NamedTuple):
    """In `module` (below hal_core), `right` becomes `wrong`."""

    module: str
    right: str
    wrong: str

    @property
    def full_name(self) -> str:
        return f"hal_core.{self.module}"

    @property
    def path(self) -> Path:
        return ROOT / (self.full_name.replace(".", "/") + ".py")

    def plant(self, text: str) -> str:
        count = text.count(self.right)
        if count != 1:
            raise ValueError(f"the piece to replace occurs {count} times in {self.path}: {self.right}")
        return text.replace(self.right, self.wrong)


PLANTED: dict[str, Planted] = {
    # -- what people ask
    "a repeated submission is a new job": Planted(
        "rules.admission",
        "    if key in in_this_batch:\n",
        "    if True:\n        return None\n    if key in in_this_batch:\n",
    ),
    "cancel leaves what is being staged": Planted(
        "rules.control",
        "    waiting.update(_active(record, elements, lambda activity: not activity.is_launched).ranges())\n",
        "",
    ),
    "cancel of a requeue is ignored": Planted(
        "rules.control",
        "activity.is_launched and not activity.is_cancelled)",
        "activity.is_launched and activity.cancel is None)",
    ),
    "held jobs start": Planted("rules.job_record", "if self.held_by or not self.is_met:", "if not self.is_met:"),
    "dependencies are not waited for": Planted(
        "rules.job_record", "if self.held_by or not self.is_met:", "if self.held_by:"
    ),
    # -- what nodes report
    "a report of an earlier attempt counts for this one": Planted(
        "rules.state",
        "activity is not None and activity.attempt == key.attempt else None",
        "activity is not None else None",
    ),
    "orphans are left alone": Planted(
        "rules.reports",
        "        return [OrphanFound(now_s, node, part.key, is_ended=part.end is not None)]\n",
        "        return []\n",
    ),
    "a gang ends with its first part": Planted(
        "rules.reports",
        "    if activity.is_launched and activity.parts_left - {part.node} - gone:\n",
        "    if False:\n",
    ),
    "a node is given up too early": Planted(
        "rules.reports",
        "now_s >= table.status_time_s[number] + timeout_s]",
        "now_s >= table.status_time_s[number] + timeout_s / 2]",
    ),
    "a reboot is not noticed": Planted(
        "rules.reports",
        '    did_reboot = state.table.boot_id[number] not in ("", message.boot_id)\n',
        "    did_reboot = False\n",
    ),
    "a lease that is over counts as a cancel": Planted(
        "rules.reports",
        "    if not activity.record.spec.can_requeue:\n        return attrs.evolve(end, detail=end.detail or why)\n",
        "    return attrs.evolve(end, detail=end.detail or why)\n",
    ),
    "what may still run is queued again by hand": Planted(
        "rules.control", "        if orphans and any(", "        if False and any("
    ),
    "what may still run is queued again when it was asked for": Planted(
        "rules.reports", "        if does_requeue and not part.is_at_large:\n", "        if does_requeue:\n"
    ),
    "a cancelled launch is over before its node has said so": Planted(
        "rules.reports",
        'has no record of it any more")\n    return None\n',
        'has no record of it any more")\n    return End(EndKind.CANCELLED) if activity.cancel is not None else None\n',
    ),
    "every lost job is queued again": Planted(
        "rules.reports",
        "(EndKind.NODE_LOST, EndKind.PROLOG_FAILED) and activity.record.spec.can_requeue",
        "(EndKind.NODE_LOST, EndKind.PROLOG_FAILED)",
    ),
    "no lost job is queued again": Planted(
        "rules.reports", "    if activity.attempt >= ATTEMPTS_MAX:", "    if activity.attempt >= 1:"
    ),
    "a bad end of a part is forgotten": Planted(
        "rules.reports",
        "    whole = part.end.after(activity.end)\n",
        "    whole = part.end\n",
    ),
    "a node comes back and may get work at once": Planted(
        "rules.node_table", "self.drain[number] is None and not self.orphans[number]\n", "self.drain[number] is None\n"
    ),
    "late staging ends what runs": Planted(
        "rules.reports",
        "    if activity is None or activity.is_launched:\n        return []\n    job_id, index, attempt",
        "    if activity is None:\n        return []\n    job_id, index, attempt",
    ),
    # -- what is accepted of a plan
    "the throttle is not looked at": Planted(
        "rules.job_record", "        return min(len(self.ready), room)\n", "        return len(self.ready)\n"
    ),
    "the room on a node is not looked at": Planted(
        "rules.commit",
        "            if state.table.room_count(number, part, lent.get(number, 0)) < start.element_count:\n",
        "            if False:\n",
    ),
    "begin times are not looked at": Planted(
        "rules.commit", "    if record.spec.begin_time_s > now_s:\n", "    if False:\n"
    ),
    "a node may be in a gang twice": Planted(
        "rules.commit",
        "    if len(numbers) != shape.total_nodes or len(set(numbers)) != len(numbers):\n",
        "    if len(numbers) != shape.total_nodes:\n",
    ),
    # -- the state
    "one node of a gang stays allocated": Planted(
        "rules.suspension",
        "shares, strict=True):\n        state.table.release(share,",
        "shares):\n        if number == activity.node_numbers[0]: state.table.release(share,",
    ),
    "who stands still goes on beside who has its CPUs": Planted(
        "rules.suspension",
        "        if not piles.is_covered(activity):\n",
        "        if True:\n",
    ),
    "who stands still is forgotten when its node reports": Planted(
        "rules.effects",
        "        if activity.was_suspended and node in activity.parts_started:\n",
        "        if False:\n",
    ),
    "a requeue has the number of the last attempt": Planted(
        "rules.job_record", "        self.attempts[index] = attempt + 1\n", "        self.attempts[index] = attempt\n"
    ),
    "children are not looked at when a job ends": Planted(
        "rules.state",
        "        self.queue.update(record)\n        dependencies.look_at_children(self, record.job_id)\n",
        "        self.queue.update(record)\n",
    ),
    "a snapshot forgets what was cancelled": Planted("rules.dump", "    activity.cancel = row.cancel\n", ""),
    "a snapshot forgets the attempts": Planted("rules.dump", "    record.attempts = dict(job.attempts)\n", ""),
    # -- effects
    "a requeue leaves its records": Planted(
        "rules.effects",
        "        return [Forget(share.node, event.key) for share in activity.shares] if activity else []\n",
        "        return []\n",
    ),
    "lost launches are not repeated": Planted(
        "rules.effects",
        "            effects += [effect for effect in _launches(state, activity) if effect.node == node]\n",
        "            pass\n",
    ),
    "lost cancels are not repeated": Planted(
        "rules.effects",
        'effect in _cancels(activity, "its end was asked for") if effect.node == node]',
        'effect in _cancels(activity, "its end was asked for") if False]',
    ),
    "staging is not taken up after a restart": Planted(
        "rules.effects", "            effects += _bring_up(state, activity)\n", "            pass\n"
    ),
    "what is being staged is launched when its node is back": Planted(
        "rules.effects",
        "        elif not activity.is_launched:\n            effects += _bring_up(state, activity)\n",
        "",
    ),
    "the rest of a failed gang runs on": Planted(
        "rules.effects", "if activity and activity.has_failed else []", "if False and activity else []"
    ),
    # -- the cycle
    "what can never start waits for ever": Planted(
        "rules.core", "        while self.state.doomed:\n", "        while False:\n"
    ),
    "nobody wakes for overdue nodes": Planted(
        "rules.core",
        "        times = [table.status_time_s[number] + timeout_s for number in table.suspects]\n",
        "        times: list[float] = []\n",
    ),
    # -- the launch protocol
    "orders of an old daemon are obeyed": Planted(
        "agent.agent", "    return message.epoch < newest_epoch\n", "    return False\n"
    ),
    "the lease has no margin, and more": Planted(
        "agent.lease", "heard_s + length_s - margin_s)", "heard_s + length_s + margin_s * 3)"
    ),
    "what is under the lease is ended too late": Planted(
        "agent.lease",
        "        return self.deadline_s - min(grace_s, self.length_s * GRACE_SHARE_MAX)\n",
        "        return self.deadline_s + self.length_s\n",
    ),
}


class _Loader(SourceFileLoader):
    """Compiles the wrong text, and leaves the cache of the right one alone."""

    planted: Planted

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError("no cache for a planted bug")

    def get_data(self, path: str) -> bytes:
        return self.planted.plant(super().get_data(path).decode()).encode()


class _Finder(MetaPathFinder):
    def __init__(self, planted: Planted) -> None:
        self._planted = planted

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._planted.full_name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        loader = _Loader(fullname, spec.origin)
        loader.planted = self._planted
        spec.loader = loader
        return spec


def plant(name: str) -> None:
    """From now on this process has the bug. The module must not have been imported yet."""
    planted = PLANTED[name]
    assert planted.full_name not in sys.modules, f"{planted.full_name} is in use already"
    sys.meta_path.insert(0, _Finder(planted))

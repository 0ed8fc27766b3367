"""Turns the daemon's launch orders into what the spawner is told: paths expanded, environment made, CPUs chosen. Pure.

An order that cannot be carried out is not dropped: it becomes an order with a `fault`, which the supervisor records as
a failed launch, so that it ends like every other attempt.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from hal_core.agent.environment import hook_environment, input_variables, part_environment, task_environments
from hal_core.agent.leftovers import mark
from hal_core.agent.options import AgentOptions, Machine
from hal_core.agent.orders import Order, Program
from hal_core.agent.terminals import TERMINAL_SOCKET
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import TERMINAL
from hal_core.models.node import Node
from hal_core.models.patterns import output_paths
from hal_core.models.ranges import members, parse_ranges


def translate(orders: Sequence[LaunchOrder], options: AgentOptions, machine: Machine) -> list[Order]:
    """One launcher order for each; orders with the same spec object share a Program."""
    programs: dict[int, Program] = {}
    translated = []
    for order in orders:
        if (program := programs.get(id(order.spec))) is None:
            program = programs[id(order.spec)] = _program(order)
        translated.append(_order(order, program, options, machine))
    return translated


def failed(order: LaunchOrder, fault: str) -> Order:
    """An order that is only recorded as a failed launch."""
    return Order(str(order.key), Program(order.owner.uid, order.owner.gid), fault)


def _program(order: LaunchOrder) -> Program:
    spec = order.spec
    return Program(
        order.owner.uid,
        order.owner.gid,
        directory=_bytes(spec.working_directory),
        script=_bytes(spec.script),
        arguments=[_bytes(text) for text in (*spec.command, *spec.arguments)],
        environment=[_bytes(text) for text in spec.environment if "=" in text[1:]],
        walltime_s=math.inf if spec.walltime_s is None else spec.walltime_s,
        grace_s=spec.kill_grace_s,
    )


def _order(order: LaunchOrder, program: Program, options: AgentOptions, machine: Machine) -> Order:
    spec, share, node = order.spec, order.share, options.node
    if all(name != node.name for name, _ in order.nodes):
        return failed(order, f"the order is for {[name for name, _ in order.nodes]}, not for {node.name}")
    if _has_nul(order):
        return failed(order, "the job has a NUL byte in its script, arguments, environment or paths")
    try:
        output, error = output_paths(spec, order.key, node.name, order.owner.user)
        is_shared = _is_shared(order, node, (output, error))
    except ValueError as wrong:
        return failed(order, str(wrong))
    result = Order(str(order.key), program)
    known = [*part_environment(order, node), *input_variables(order, options.store)]
    result.environment = [*known, mark(options.state_directory, order.key)]
    result.tasks = task_environments(order, node)
    if spec.partition in options.hooks:
        result.prolog, result.epilog = map(os.fsencode, options.hooks[spec.partition])
        result.hook_environment = hook_environment(order, node)
        result.hook_timeout_s = options.hook_timeout_s
    if spec.input_path == TERMINAL:
        result.terminal_path = os.fsencode(options.state_directory / TERMINAL_SOCKET)
    result.input_path = _bytes(spec.input_path)
    result.output_path = _bytes(output)
    result.error_path = b"" if error == output else _bytes(error)
    result.is_appending = spec.does_append or order.key.attempt > 1 or is_shared
    declared = list(members(parse_ranges(share.cpus)))
    if machine.cpus and declared and declared[-1] < len(machine.cpus):
        result.cpus = [machine.cpus[index] for index in declared]
    does_limit_cpus = options.does_limit_cpus
    if does_limit_cpus is None:
        does_limit_cpus = order.owner.uid != machine.uid
    if does_limit_cpus and result.cpus:
        result.cpu_quota = len(result.cpus)
    result.memory_bytes = share.memory_bytes
    result.pids_max = options.pids_max
    return result


def _is_shared(order: LaunchOrder, node: Node, paths: tuple[str, str]) -> bool:
    """Whether an output is that of the gang's first node, which empties it: what that wrote by now must stay."""
    first = order.nodes[0][0]
    theirs = output_paths(order.spec, order.key, first, order.owner.user)
    return node.name != first and not set(paths).isdisjoint(theirs)


def _has_nul(order: LaunchOrder) -> bool:
    spec = order.spec
    texts = (spec.script, spec.working_directory, spec.input_path, spec.output_pattern, spec.error_pattern, spec.name)
    return any("\0" in text for text in (*texts, *spec.command, *spec.arguments, *spec.environment))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

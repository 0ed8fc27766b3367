"""A job request to a JobSpec, or all that is wrong with it at once.

The command line wins over the script, a later option over an earlier one. What the user left open is filled in from
the partition here, so that the spec says everything and no later stage has defaults of its own. Nothing is looked up
outside the arguments: files, users and other jobs are checked where they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from keyword import iskeyword
from typing import Any, Final

import attrs

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.models.job import JobSpec, Spread
from hal_core.models.node import Partition, PartitionName
from hal_core.models.variant import Variant
from hal_core.parsing.amounts import Amounts, resolve_amounts
from hal_core.parsing.components import check_together, components_of
from hal_core.parsing.context import ParseContext
from hal_core.parsing.deadline import doubts_of
from hal_core.parsing.durations import format_time_limit
from hal_core.parsing.environment import check_strings, job_environment
from hal_core.parsing.hetjob import components_of_script
from hal_core.parsing.instants import parse_instant
from hal_core.parsing.layout import NodeClass
from hal_core.parsing.mail import check_mail
from hal_core.parsing.named_nodes import classes_left, with_named_nodes
from hal_core.parsing.names import parse_absolute_path, parse_line, parse_name
from hal_core.parsing.nearness import COMMUNICATION_DEFAULT, Nearness, check_level
from hal_core.parsing.options import BY_NAME, OPTIONS
from hal_core.parsing.script import ScriptOption, as_written, check_program_name, check_script, read_script
from hal_core.parsing.sites import sites_of, variants_of_sites
from hal_core.parsing.text import placed, shown
from hal_core.parsing.values import Wishes, find_option, parse_value, plain_fields
from hal_core.parsing.variants import VARIANTS_MAX, alternatives_of, sizes_of, variant_of, why_no_auto_memory

CLIENT_ID_CHARACTERS_MAX: Final = 128
KILL_GRACE_S_DEFAULT: Final = 5.0
_RIVALS: Final = (
    ("mem", "mem-per-cpu", "mem-per-gpu"),
    ("gpus", "gpus-per-node", "gpus-per-task"),
    ("priority", "nice"),
    ("requeue", "no-requeue"),
    ("partition", "where"),
)
"""Options that exclude each other: on one level both are refused, and the command line's displaces the script's."""
_SEVERAL: Final = ("or", "and")
"""Of these, each adds to those before it."""
_AMOUNT_FIELDS = frozenset(
    {"partition", "node_count", "task_count", "cpus_per_task", "memory_bytes_per_node", "gpus_per_node"}
    | {"only_nodes", "excluded_nodes", "gpu_milli", "gpu_type", "generic_per_node", "features", "alternatives"}
    | {"is_exclusive", "variants", "components"}
)
_AMOUNT_OPTIONS: Final = frozenset(each.name for each in OPTIONS if _AMOUNT_FIELDS.intersection(each.fields.split()))
"""With one of these misread, what the whole means is unknown, and saying more about it would mislead."""


@attrs.frozen
class JobRequest:
    """What a client read and sends; the body of POST /v1/jobs."""

    client_id: str = ""
    script: str = ""
    script_name: str = ""
    arguments: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """(name without dashes, text as typed); flags have an empty text. Later ones win."""
    working_directory: str = "/"
    environment: tuple[str, ...] = ()
    """`NAME=value`, later ones win."""


@attrs.frozen
class ParsedJob:
    spec: JobSpec
    warnings: tuple[Problem, ...] = ()


def parse_job(request: JobRequest, context: ParseContext) -> ParsedJob:
    """The spec that the request means. Raises InvalidInput with every problem; each place is an option or a line."""
    reading = _Reading(request, context)
    reading.read_options()
    reading.attempt("", reading.check_program)
    reading.attempt("environment", reading.check_environment)
    reading.attempt("working_directory", lambda: parse_absolute_path(reading.working_directory()))
    spec = reading.spec()
    if reading.problems or spec is None:
        raise InvalidInput(reading.problems)
    return ParsedJob(spec, tuple(reading.warnings))


class _Reading:
    """One request while it is read: what was wished for, where each wish stood, and what is wrong so far."""

    def __init__(self, request: JobRequest, context: ParseContext) -> None:
        self.request = request
        self.context = context
        self.script_name = request.script_name or "script"
        self.wishes = Wishes()
        self.places: dict[str, str] = {}
        self.misread: set[str] = set()
        self.environment: tuple[str, ...] = ()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def attempt(self, place: str, check: Any) -> Any:
        """The result of `check`, or None with its problems noted; those without a place get `place`."""
        try:
            return check()
        except InvalidInput as error:
            self.problems += [Problem(each.place or place, each.text) for each in error.problems]
            return None

    def place(self, *options: str) -> str:
        """Where the first of these options stood, else the name of the first."""
        return next((self.places[name] for name in options if name in self.places), f"--{options[0]}")

    def read_options(self) -> None:
        values: dict[str, object] = {}
        if self.request.script:
            lines = self.attempt(self.script_name, lambda: read_script(self.request.script, self.script_name))
            if lines is not None:
                self.warnings += lines.warnings
                values = self._read_level([each for each in lines.options if not each.component])
                if lines.heads:
                    self.places["and"] = lines.heads[-1]
                    earlier: Any = values.get("and", ())
                    further = self.attempt("", lambda: components_of_script(lines))
                    values["and"] = (*earlier, *(further or ()))
                    self.misread |= set() if further else {"and"}
        typed = [
            ScriptOption(name, text, "", f"{'-' if len(name) == 1 else '--'}{as_written(name)}")
            for name, text in self.request.options
        ]
        stronger = self._read_level(typed)
        for rivals in _RIVALS:
            if any(name in stronger for name in rivals):
                values = {name: value for name, value in values.items() if name not in rivals}
        values.update(stronger)
        fields = {name.replace("-", "_") + "_" * iskeyword(name): value for name, value in values.items()}
        self.wishes = Wishes(**fields)  # type: ignore[arg-type]

    def _read_level(self, options: Any) -> dict[str, object]:
        """Values of one level (script, or command line): later ones win, rivals are refused."""
        values: dict[str, object] = {}
        for given in options:
            place = given.place or given.shown_name
            option = None
            try:
                option = find_option(given.name)
                self.places[option.name] = place
                value: Any = parse_value(option, given.text)
                earlier: Any = values.get(option.name, ())
                values[option.name] = (*earlier, *value) if option.name in _SEVERAL else value
            except InvalidInput as error:
                self.problems += placed(error, place, given.shown_name if given.place else "")
                self.misread.add(given.name if option is None else option.name)
        for rivals in _RIVALS:
            both = [name for name in rivals if name in values]
            if len(both) > 1:
                self.problems.append(Problem(self.place(both[1]), f"give only one of --{' and --'.join(both)}"))
                self.misread.update(both)
        return values

    def check_program(self) -> None:
        """Exactly one of script, command and --wrap, within what a system can start."""
        request = self.request
        given = [bool(request.script), bool(request.command), self.wishes.wrap is not None]
        if not any(given) and not self.misread <= BY_NAME.keys():
            return  # What stands behind an unknown option may have been the program, or the option's value.
        if sum(given) != 1:
            raise InvalidInput([Problem("", "give exactly one of a script, a command (after --) and --wrap")])
        if request.command:
            check_program_name(request.command[0])
        if request.arguments and not request.script:
            raise InvalidInput([Problem("arguments", "only a script takes arguments; write them behind the command")])
        if self.wishes.wrap is not None:
            check_script(self.script(), self.place("wrap"))
        check_strings("command", request.command)
        check_strings("arguments", request.arguments)
        self.attempt("client_id", lambda: parse_line(request.client_id, CLIENT_ID_CHARACTERS_MAX))
        self.attempt("script_name", lambda: parse_line(request.script_name))

    def check_environment(self) -> None:
        self.environment, warnings = job_environment(self.request.environment, self.wishes.export)
        self.warnings += warnings

    def working_directory(self) -> str:
        return self.wishes.chdir or self.request.working_directory

    def script(self) -> str:
        wrap = self.wishes.wrap
        return self.request.script if wrap is None else f"#!/bin/sh\n# Made by --wrap.\n{wrap}\n"

    def name(self) -> str:
        """The name asked for, else that of the script or program."""
        if self.wishes.job_name is not None:
            return self.wishes.job_name
        source = self.request.script_name or (self.request.command[0] if self.request.command else "")
        source = source.rstrip("/").rpartition("/")[2] or ("wrap" if self.wishes.wrap is not None else "script")
        name: str = self.attempt("--job-name", lambda: parse_name(source))
        return name or ""

    def partition(self) -> Partition:
        """The partition asked for, else the default one."""
        known = self.context.partitions
        if self.wishes.partition is not None:
            partition = known.get(PartitionName(self.wishes.partition))
            hint = did_you_mean(self.wishes.partition, known)
            text = f"no partition {shown(self.wishes.partition)}{hint}; there are: {', '.join(known)}"
        else:
            partition = next((each for each in known.values() if each.is_default), None)
            text = f"there is no default partition; choose one of: {', '.join(known)}"
        if partition is None:
            raise InvalidInput([Problem(self.place("partition"), text)])
        return partition

    def variants_of_sites(self) -> list[Variant]:
        found = variants_of_sites(
            self.wishes.where, sites_of(self.context.partitions.values(), self.context.nodes), self.tried_variants
        )
        if len(found) > 1 and (self.wishes.elastic or self.wishes.auto_memory):
            text = "does not go beside --elastic or --auto-memory: name one partition instead"
            raise InvalidInput([Problem(self.place("where"), text)])
        return found

    def tried_variants(self, partition: Partition) -> list[Variant]:
        before = list(self.warnings)  # if it cannot be, nothing is warned of
        try:
            return self.variants(partition, self.walltime_s(partition, self.wishes))
        except InvalidInput:
            self.warnings = before
            raise

    def walltime_s(self, partition: Partition, wishes: Wishes) -> float | None:
        """The limit asked for, cut to none beyond the partition's; without one, the partition's default."""
        most = partition.walltime_s_max
        asked = wishes.time
        if "time" not in self.places and asked is None:
            default = partition.walltime_s_default
            return most if default is None else default
        if asked is not None and most is not None and asked > most:
            text = f"{format_time_limit(asked)} is more than partition {partition.name!r} allows"
            raise InvalidInput([Problem(self.place("time"), f"{text}; at most {format_time_limit(most)}")])
        return most if asked is None else asked

    def nearness(self) -> Nearness:
        wanted = self.wishes.topology or Nearness()
        check_level(wanted, self.context.levels)
        return wanted

    def deadline_time_s(self, walltime_s: float | None) -> float | None:
        place, wishes, context = self.place("deadline", "value-per-hour"), self.wishes, self.context
        if not context.can_rent and (wishes.deadline, wishes.value_per_hour) != (None, None):
            self.warnings.append(Problem(place, "changes nothing here: this cluster rents no nodes"))
        if wishes.deadline is None:
            return None
        deadline_s = parse_instant(wishes.deadline, context.now_s, context.zone)
        self.warnings += [Problem(place, text) for text in doubts_of(deadline_s, walltime_s, context.now_s)]
        return deadline_s

    def variants(self, partition: Partition, first_s: float | None) -> list[Variant]:
        """What it may run with; the first is what the options beside `--or` say, on the fewest nodes."""
        if self.wishes.outputs and partition.name in self.context.storeless:
            text = f"on nodes of partition {partition.name} nobody would look for what the job leaves; leave it away"
            raise InvalidInput([Problem(self.place("outputs"), text)])
        at = partition.name if self.wishes.where else ""
        found: list[Variant] = []
        for wishes in alternatives_of(self.wishes):
            walltime_s = first_s if wishes.time == self.wishes.time else self.walltime_s(partition, wishes)
            pace = walltime_s / first_s if walltime_s and first_s else 1.0
            sizes = sizes_of(wishes, partial(self.amounts, partition))
            found += [variant_of(amounts, walltime_s, pace * ratio, at) for amounts, ratio in sizes]
            self.check_sizes(wishes, found)
        if self.wishes.auto_memory and (text := why_no_auto_memory(self.wishes, found)):
            raise InvalidInput([Problem(self.place("auto-memory"), text)])
        return found

    def check_sizes(self, wishes: Wishes, found: Sequence[Variant]) -> None:
        """Say what of a range is left out, and what does not go together with more than one set of amounts."""
        counts = {each.node_count for each in found}
        missing = [str(count) for count in wishes.nodes or () if count not in counts]
        if missing:
            text = f"the job cannot run on {', '.join(missing)} nodes of this partition; they are left out"
            self.warnings.append(Problem(self.place("nodes", "or"), text))
        if len(found) > VARIANTS_MAX:
            raise InvalidInput([Problem(self.place("or", "nodes"), f"more than {VARIANTS_MAX} sets of amounts")])
        if len(found) > 1 and (self.wishes.array or self.wishes.elastic):
            other = "array" if self.wishes.array else "elastic"
            text = f"a job with --{other} runs with one set of amounts; give one number of nodes, and no --or"
            raise InvalidInput([Problem(self.place("or", "nodes"), text)])
        if self.wishes.scaling is not None and not any(len(each.nodes or ()) > 1 for each in (self.wishes, wishes)):
            raise InvalidInput([Problem(self.place("scaling"), "needs a range of nodes, such as --nodes=2-8")])

    def amounts(self, partition: Partition, wishes: Wishes) -> Amounts:
        if wishes.mem == 0 and not wishes.exclusive:
            text = "no memory is kept for the job and no limit is set; in Slurm it means all of the node: --exclusive"
            self.warnings.append(Problem(self.place("mem"), text))
        wishes = with_named_nodes(wishes, partition, self.context.nodes, self.place)
        return resolve_amounts(wishes, partition, self.classes(partition, wishes), self.place)

    def classes(self, partition: Partition, wishes: Wishes) -> Sequence[NodeClass]:
        return classes_left(wishes, partition, self.context.nodes, self.context.classes[partition.name])

    def with_components(self, spec: JobSpec) -> JobSpec:
        """The same with what `--and` says. Raises InvalidInput if the nodes of the partition are not enough for all."""
        if not self.wishes.and_:
            return spec
        partition = self.context.partitions[spec.partition]
        if partition.name in self.context.handed_on:
            text = f"another scheduler gives out nodes of partition {partition.name}, all of a job alike"
            raise InvalidInput([Problem(self.place("and"), f"{text}; choose another partition, or leave it away")])
        own = attrs.evolve(self.wishes, exclude=(*self.wishes.exclude, *self.context.rented))
        classes = self.classes(partition, own)
        spec = attrs.evolve(spec, components=components_of(self.wishes, partition, classes, self.place))
        check_together(spec, classes, self.place)
        return spec

    def partition_and_variants(self) -> tuple[str, list[Variant]] | None:
        """None: problems were found, or what was misread could make others."""
        found: list[Variant] | None
        is_whole = not self.misread & _AMOUNT_OPTIONS
        if self.wishes.where:
            found = self.attempt(self.place("where"), self.variants_of_sites) if is_whole else None
            return (found[0].partition, found) if found else None
        partition: Partition | None = self.attempt("--partition", self.partition)
        if partition is None:
            return None
        walltime_s: float | None = self.attempt("--time", lambda: self.walltime_s(partition, self.wishes))
        found = self.attempt("--nodes", lambda: self.variants(partition, walltime_s)) if is_whole else None
        return None if found is None else (partition.name, found)

    def spec(self) -> JobSpec | None:
        """The spec, as far as problems found so far allow to build one."""
        wishes, context = self.wishes, self.context
        name = self.name()
        begin, clock = wishes.begin, (context.now_s, context.zone)
        begin_time_s = self.attempt(self.place("begin"), lambda: 0.0 if begin is None else parse_instant(begin, *clock))
        found = None if self.misread & {"partition", "where"} else self.partition_and_variants()
        walltime_s = found[1][0].walltime_s if found else None
        deadline_s = self.attempt(self.place("deadline"), lambda: self.deadline_time_s(walltime_s))
        place = self.place("mail-type", "mail-user")
        if says := self.attempt(place, lambda: check_mail(wishes.mail_type, wishes.mail_user, context.mail_domain)):
            self.warnings.append(Problem(place, says))
        near: Nearness | None = self.attempt(self.place("topology"), self.nearness)
        if found is None or near is None or self.problems:
            return None
        partition, variants = found
        dependencies, needs_all = wishes.dependency or ((), True)
        spec = JobSpec(
            name=name,
            partition=PartitionName(partition),
            script=self.script(),
            command=self.request.command,
            arguments=self.request.arguments,
            variants=tuple(variants) if len(variants) > 1 else (),
            generic_per_node=wishes.gres.amounts if wishes.gres else (),
            features=wishes.constraint.features,
            alternatives=wishes.constraint.alternatives,
            only_nodes=wishes.nodelist,
            excluded_nodes=wishes.exclude,
            is_exclusive=wishes.exclusive,
            working_directory=self.working_directory(),
            environment=self.environment,
            input_path=wishes.input or "/dev/null",
            output_pattern=wishes.output or (context.array_output_default if wishes.array else context.output_default),
            error_pattern=wishes.error or "",
            does_append=wishes.open_mode == "append",
            array=wishes.array,
            dependencies=dependencies,
            needs_all_dependencies=needs_all,
            priority=(wishes.priority or 0) if wishes.nice is None else -wishes.nice,
            begin_time_s=begin_time_s,
            begin=wishes.begin or "",
            deadline_time_s=deadline_s,
            is_held=wishes.hold,
            spread=wishes.spread or (Spread.TASK if self.request.command else Spread.JOB),
            kill_grace_s=KILL_GRACE_S_DEFAULT if wishes.kill_grace is None else wishes.kill_grace,
            communication=(COMMUNICATION_DEFAULT if near.level else 0.0) if wishes.comm is None else wishes.comm,
            level=near.level,
            domain=near.domain,
            is_level_required=near.is_required,
            **plain_fields(wishes),
        ).with_amounts(variants[0])
        whole: JobSpec | None = self.attempt(self.place("and"), lambda: self.with_components(spec))
        return whole

"""How a Slurm cluster is reached, as it stands in the YAML: the same for jobs that are forwarded and for pilots."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable

import attrs

from hal_core import did_you_mean
from hal_plugin_slurm.command_line import ENVIRONMENT, CommandLine
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import PATH, Shell
from hal_plugin_slurm.tokens import Tokens
from hal_plugin_slurm.way import Way

WAYS = ("commands", "rest")


def _is_way(_: object, __: object, value: str) -> None:
    if value not in WAYS:
        raise ValueError(f"{value!r} is no way into Slurm{did_you_mean(value, WAYS)}; there are: {', '.join(WAYS)}")


def _is_address(_: object, __: object, value: str) -> None:
    if value and not value.startswith(("unix:/", "http://", "https://")):
        raise ValueError(f"{value!r} is not where slurmrestd listens: write unix:/path or http://host:port")


def _is_directory(_: object, __: object, value: str) -> None:
    if value and (not value.startswith("/") or ":" in value):
        raise ValueError(
            f"programs: expected the absolute path of one directory, such as /opt/slurm/bin, not {value!r}"
        )


@attrs.frozen(kw_only=True)
class WayOptions:
    """`way: commands` runs sbatch, squeue and the like, here or on `ssh`; `way: rest` talks to the slurmrestd at
    `address`, with the token in `token_file` or from `token_command`, or with none where it knows us by its socket.

    `configuration` is SLURM_CONF for the commands, if it is not Slurm's default; `programs` is the directory that they
    are in, if it is not a usual one (`/opt/slurm/bin`): it comes first in their PATH, and in that of jobs. `user` is
    who the commands run as, if not the daemon's user (with `ssh`). `slurm_user` may act for everybody. An answer is
    waited for at most `answer_timeout_s`.
    """

    way: str = attrs.field(default="commands", validator=_is_way)
    address: str = attrs.field(default="", validator=_is_address)
    token_file: str = ""
    token_command: str = ""
    ssh: str = ""
    configuration: str = ""
    programs: str = attrs.field(default="", validator=_is_directory)
    user: str = ""
    slurm_user: str = "slurm"
    answer_timeout_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0.0))

    def __attrs_post_init__(self) -> None:
        if self.way == "rest" and not self.address:
            raise ValueError("way rest needs an address: unix:/path or http://host:port of slurmrestd")
        if self.token_file and self.token_command:
            raise ValueError("token_file and token_command are two sources of one token: give one")

    @property
    def own_user(self) -> str:
        """Whose jobs are submitted without saying for whom."""
        return self.user or pwd.getpwuid(os.geteuid()).pw_name


def open_way(options: WayOptions, now_s: Callable[[], float]) -> Way:
    """Nothing is asked yet."""
    environment = {"SLURM_CONF": options.configuration} if options.configuration else {}
    environment |= {"PATH": f"{options.programs}:{PATH}"} if options.programs else {}
    if options.way == "commands":
        shell = Shell(options.ssh, {**ENVIRONMENT, **environment}, options.answer_timeout_s)
        return CommandLine(shell, options.own_user)
    tokens = None
    if options.token_file or options.token_command:
        renewing = Shell("", environment, options.answer_timeout_s)
        tokens = Tokens(options.token_file, options.token_command, now_s, renewing)
    return Rest.connect(options.address, tokens, options.answer_timeout_s, options.slurm_user, options.programs)

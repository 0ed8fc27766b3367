"""The options of the executor `slurm`, as they stand in the cluster's YAML."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping

import attrs

from hal_core import did_you_mean
from hal_plugin_slurm.command_line import ENVIRONMENT, CommandLine
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.tokens import Tokens
from hal_plugin_slurm.way import Way

WAYS = ("commands", "rest")


def _is_way(_: object, __: object, value: str) -> None:
    if value not in WAYS:
        raise ValueError(f"{value!r} is no way into Slurm{did_you_mean(value, WAYS)}; there are: {', '.join(WAYS)}")


def _is_address(_: object, __: object, value: str) -> None:
    if value and not value.startswith(("unix:/", "http://", "https://")):
        raise ValueError(f"{value!r} is not where slurmrestd listens: write unix:/path or http://host:port")


_POSITIVE = attrs.validators.gt(0.0)


@attrs.frozen(kw_only=True)
class SlurmOptions:
    """`way: commands` runs sbatch, squeue and the like, here or on `ssh`; `way: rest` talks to the slurmrestd at
    `address`, with the token in `token_file` or from `token_command`, or with none where it knows us by its socket.

    `configuration` is SLURM_CONF for the commands, if it is not Slurm's default. `user` is who the commands run as, if
    not the daemon's user (with `ssh`). `slurm_user` may act for everybody. `partitions` maps HAL's names to Slurm's
    where they differ. Times are in seconds: an answer is waited for at most `answer_timeout_s`; slurmctld is asked at
    most every `poll_s_min`, and at least every `poll_s_max` while something is there. `ahead` is how many times the
    size that Slurm says a node may be declared with, so that jobs wait in Slurm's queue instead of HAL's. The daemon
    fills in `state_directory`.
    """

    way: str = attrs.field(default="commands", validator=_is_way)
    address: str = attrs.field(default="", validator=_is_address)
    token_file: str = ""
    token_command: str = ""
    ssh: str = ""
    configuration: str = ""
    user: str = ""
    slurm_user: str = "slurm"
    partitions: Mapping[str, str] = attrs.Factory(dict)
    answer_timeout_s: float = attrs.field(default=60.0, validator=_POSITIVE)
    poll_s_min: float = attrs.field(default=1.0, validator=_POSITIVE)
    poll_s_max: float = attrs.field(default=30.0, validator=_POSITIVE)
    vanish_s: float = attrs.field(default=60.0, validator=_POSITIVE)
    ahead: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    state_directory: str = ""

    def __attrs_post_init__(self) -> None:
        if self.way == "rest" and not self.address:
            raise ValueError("way rest needs an address: unix:/path or http://host:port of slurmrestd")
        if self.token_file and self.token_command:
            raise ValueError("token_file and token_command are two sources of one token: give one")
        if self.poll_s_max < self.poll_s_min:
            raise ValueError(f"poll_s_max {self.poll_s_max:g} is less than poll_s_min {self.poll_s_min:g}")
        if not self.state_directory:
            raise ValueError("state_directory is missing: the folder where submissions are written down")


def open_way(options: SlurmOptions, now_s: Callable[[], float]) -> Way:
    """Nothing is asked yet."""
    environment = {"SLURM_CONF": options.configuration} if options.configuration else {}
    if options.way == "commands":
        shell = Shell(options.ssh, {**ENVIRONMENT, **environment}, options.answer_timeout_s)
        return CommandLine(shell, options.user or pwd.getpwuid(os.geteuid()).pw_name)
    tokens = None
    if options.token_file or options.token_command:
        renewing = Shell("", environment, options.answer_timeout_s)
        tokens = Tokens(options.token_file, options.token_command, now_s, renewing)
    return Rest.connect(options.address, tokens, options.answer_timeout_s, options.slurm_user)

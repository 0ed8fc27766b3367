"""File locality: datasets are paths on file systems that every node sees. Nothing is copied, only checked."""

from pathlib import Path

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="datasets as paths on shared file systems",
    not_yet=(
        "copies between the nodes' own disks: every dataset must be on a shared file system",
        "the check that an input is readable is made as the daemon's user, not as the job's owner",
    ),
)


@hookimpl
def hal_register_localities(register: Register) -> None:
    register("files", _make, "paths and file: URLs below shared prefixes; a missing input fails the job by name")


def _make(options: Options) -> object:
    from hal_locality_files.provider import FileLocality

    return FileLocality.from_options(options)


@hookimpl
def hal_register_trials(register: Register) -> None:
    register("files", _trial)


def _trial(given: Options) -> Options:
    present = Path(given["directory"]) / "present"
    present.write_bytes(b"data")
    options = {"shared_prefixes": [given["directory"]]}
    return {"options": options, "present": str(present), "absent": str(present.with_name("absent"))}

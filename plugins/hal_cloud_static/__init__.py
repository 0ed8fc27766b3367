"""The static cloud: machines listed in the options are started by a command when they are needed, and ended after."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="machines from a list, started by a command",
    not_yet=("a machine counts as ready as soon as its command runs; HAL waits for its agent in any case",),
)


@hookimpl
def hal_register_clouds(register: Register) -> None:
    register(
        "static",
        _make,
        "a fixed list of machines; a command for each brings it in (an agent, an ssh, an ipmitool)",
        _options,
    )


def _make(options: Options) -> object:
    from hal_cloud_static.provider import StaticCloud

    return StaticCloud.from_options(options)


def _options() -> type:
    from hal_cloud_static.options import StaticOptions

    return StaticOptions

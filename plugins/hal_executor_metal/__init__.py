"""The bare-metal executor: nodes are machines that run HAL's agent and dial in."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="runs jobs on machines that run `hal agent`")


@hookimpl
def hal_register_executors(register: Register) -> None:
    register("metal", _make, "bare metal: agents on machines, one supervisor per attempt, limits by cgroup", _options)


def _make(options: Options) -> object:
    from hal_executor_metal.executor import MetalExecutor

    return MetalExecutor.from_options(options)


def _options() -> type:
    from hal_executor_metal.executor import MetalOptions

    return MetalOptions

"""The Slurm bridge: HAL's jobs run as jobs of a Slurm cluster, or inside of allocations that HAL obtains from it."""

from hal_core import CloudProvider, Executor, ForeignScheduler, Options, PluginInfo, Register, hookimpl

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="a Slurm cluster: jobs run as its jobs, or in pilots; by slurmrestd or by Slurm's commands",
    not_yet=("interactive jobs, shares of a GPU, and hints on topology on Slurm's nodes",),
)


@hookimpl
def hal_register_executors(register: Register) -> None:
    def slurm(options: Options) -> Executor:
        from hal_plugin_slurm.executor import SlurmExecutor

        return SlurmExecutor.from_options(options)

    def slurm_options() -> type:
        from hal_plugin_slurm.options import SlurmOptions

        return SlurmOptions

    text = "forwarded jobs: each becomes a job or array of Slurm, and is followed in one question"
    register("slurm", slurm, text, slurm_options)


@hookimpl
def hal_register_schedulers(register: Register) -> None:
    def slurm(options: Options) -> ForeignScheduler:
        from hal_plugin_slurm.following import Following

        return Following.from_options(options)

    register("slurm", slurm, "a Slurm that is followed: its nodes and its queue in two questions, nothing is changed")


@hookimpl
def hal_register_clouds(register: Register) -> None:
    def slurm(options: Options) -> CloudProvider:
        from hal_plugin_slurm.pilots import make_pilots

        return make_pilots(options)

    def pilot_options() -> type:
        from hal_plugin_slurm.pilot_options import PilotOptions

        return PilotOptions

    text = "pilots: allocations of Slurm in which HAL's own agents run jobs and sessions"
    register("slurm", slurm, text, pilot_options)

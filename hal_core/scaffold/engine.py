"""The engine `example`: jobs in the order of the queue; one that does not fit now is passed over."""

from hal_core import Permits, Plan, PluginInfo, Register, Snapshot, Start, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="in the order of the queue, passing over what does not fit")


class Example:
    def plan(self, snapshot: Snapshot) -> Plan:
        room, starts = snapshot.room(), list[Start]()
        permits = Permits(snapshot.holds, room.packing, snapshot.now_s)
        for job in snapshot.pending():
            ask, left = permits.ask(job), job.element_count
            while left and (chosen := room.choose(ask)):
                room.take(chosen, ask)
                starts.append(Start(job.job_id, chosen))
                left -= 1
        return Plan(tuple(starts), depth=len(starts))


@hookimpl
def hal_register_engines(register: Register) -> None:
    register("example", lambda options: Example(), "in the order of the queue, passing over what does not fit")

"""The cloud provider `example`: a stand-in with nodes in memory. Put your provider's calls where it says so."""

from collections.abc import Sequence

import attrs

from hal_core import Instance, Node, NodeName, NotFound, Offer, PluginInfo, Refused, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="a stand-in cloud", not_yet=("calls to a real provider",))

SMALL = Offer("small", Node(NodeName("small"), 4, 16 << 30), price_per_hour=0.2, count_max=8, boot_s=60.0)


class Example:
    """`token` makes provisioning idempotent: asked again with it, give what there is. A list that fails is an error."""

    def __init__(self) -> None:
        self._instances: dict[str, Instance] = {}
        self._by_token: dict[str, tuple[str, ...]] = {}
        self._serial = 0

    async def offers(self) -> Sequence[Offer]:
        return [SMALL]

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        if token in self._by_token:
            return [self._instances[each] for each in self._by_token[token] if each in self._instances]
        if offer != SMALL.name:
            raise NotFound(f"no offer named {offer!r}; there is: {SMALL.name}")
        if len(self._instances) + count > SMALL.count_max:
            raise Refused(f"{count} more of {offer!r} would be more than {SMALL.count_max}")
        made = [self._start() for _ in range(count)]  # Here your provider starts machines, tagged with the token.
        self._by_token[token] = tuple(each.native_id for each in made)
        return made

    async def release(self, native_ids: Sequence[str]) -> None:
        for native_id in native_ids:  # Here it ends them; what is gone already is no error.
            self._instances.pop(native_id, None)

    async def instances(self) -> Sequence[Instance]:
        return tuple(self._instances.values())

    def _start(self) -> Instance:
        self._serial += 1
        name = f"example-{self._serial}"
        self._instances[name] = Instance(name, SMALL.name, NodeName(name), is_ready=True)
        return attrs.evolve(self._instances[name])


@hookimpl
def hal_register_clouds(register: Register) -> None:
    register("example", lambda options: Example(), "a stand-in cloud")

"""`Machines` over a driver of libcloud. Tokens, deadlines and wrong lists are the business of HAL's Fleet."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from hal_cloud_libcloud.drivers import PLACE, drivers_of
from hal_cloud_libcloud.options import LibcloudOptions, OfferOptions
from hal_core import (
    Bootstrap,
    CloudProvider,
    Fleet,
    InvalidInput,
    Machine,
    MachineName,
    Node,
    NodeName,
    Offer,
    Options,
    PluginError,
    Problem,
    Refused,
    did_you_mean,
    structure_options,
)

MIB = 1 << 20
_CPU_WORDS = ("vcpus", "vcpu", "cpus", "cpu", "cores", "guestCpus", "vcpu_count")
"""What drivers call the number of CPUs in the `extra` of a size."""


def make_cloud(options: Options) -> CloudProvider:
    structured = structure_options(LibcloudOptions, options, "libcloud")
    return Fleet(LibcloudMachines(structured), structured.fleet())


class LibcloudMachines:
    """Its calls block; each thread has a driver of its own. Sizes and locations are asked for once."""

    def __init__(self, options: LibcloudOptions) -> None:
        self._options = options
        self._offers = {offer.name: offer for offer in options.offers}
        self._drivers = drivers_of(options)
        self._lock = threading.Lock()
        self._listed: dict[str, dict[str, Any]] = {}
        """What was asked for once: "list_sizes" -> {id: size}."""
        self._nodes: dict[str, Any] = {}
        """The driver's own objects: to end a machine some need more than its id."""
        self._made: dict[str, Any] = {}
        """Those that a list has not shown yet, or never will."""

    def offers(self) -> Sequence[Offer]:
        return [self._offer(each) for each in self._options.offers]

    def list(self) -> Sequence[Machine]:
        with self._drivers.call("list") as driver:
            nodes = {str(node.id): node for node in driver.list_nodes() if str(node.name).startswith(self._prefix)}
        self._nodes = nodes
        for native_id in nodes:
            self._made.pop(native_id, None)
        return [_machine(node) for node in nodes.values()]

    def create(self, offer: str, name: MachineName, bootstrap: Bootstrap | None = None) -> Machine:
        chosen = self._offers[offer]
        with self._drivers.call(f"create {name}") as driver:
            made = self._arguments(driver, chosen) | self._user_data(name, bootstrap)
            node = driver.create_node(name=str(name), **made)
            if not getattr(node, "id", None):
                raise PluginError(f"create {name}: the driver answers with {node!r}, which is no machine")
            self._made[str(node.id)] = node
            return _machine(node)

    def destroy(self, native_id: str) -> None:
        node = self._nodes.get(native_id) or self._made.get(native_id)
        if node is None:
            self.list()
            node = self._nodes.get(native_id)
        if node is None:
            return
        with self._drivers.call(f"end {native_id}") as driver:
            if not driver.destroy_node(node):
                raise PluginError(f"end {native_id}: the provider did not say that it will")
        self._made.pop(native_id, None)

    @property
    def _prefix(self) -> str:
        return f"{self._options.name_prefix}-"

    def _arguments(self, driver: Any, offer: OfferOptions) -> dict[str, Any]:
        """What `create_node` is given besides the name."""
        from libcloud.compute.base import NodeImage

        options = self._options
        made = dict(options.create_arguments)
        made["image"] = NodeImage(id=options.image, name=options.image, driver=driver)
        made["size"] = self._size(offer) or _bare_size(driver, offer)
        if options.location:
            made["location"] = self._named("list_locations", options.location, f"{PLACE}.location")
        if options.tags:
            made[options.tags_argument] = dict(options.tags)
        return made

    def _user_data(self, name: MachineName, bootstrap: Bootstrap | None) -> dict[str, Any]:
        options = self._options
        if options.user_data is None:
            return {}
        return {options.user_data_argument: options.user_data.text(name.node, f"{PLACE}.user_data", bootstrap)}

    def _offer(self, offer: OfferOptions) -> Offer:
        cpu_count, memory_bytes, price = offer.cpu_count, offer.memory_bytes, offer.price_per_hour
        if cpu_count is None or memory_bytes is None or price is None:
            size = self._size(offer)
            cpu_count = cpu_count or _cpu_count(size)
            memory_bytes = memory_bytes or int(getattr(size, "ram", None) or 0) * MIB
            price = getattr(size, "price", None) if price is None else price
        found = {"cpu_count": cpu_count, "memory_bytes": memory_bytes, "price_per_hour": price}
        missing = [key for key, value in found.items() if value is None or (value == 0 and key != "price_per_hour")]
        if missing:
            place = f"{PLACE}.offers.{offer.name}"
            text = f"is missing, and the provider does not tell it of size {offer.size!r}"
            raise InvalidInput([Problem(f"{place}.{key}", text) for key in missing])
        node = Node(NodeName(offer.name), cpu_count or 0, memory_bytes, gpus=offer.gpus, features=offer.features)
        return Offer(offer.name, node, float(price or 0), offer.count_max, offer.boot_s)

    def _size(self, offer: OfferOptions) -> Any:
        """None for one that the driver does not know (its list may be older than the size) if the options say all."""
        says_all = None not in (offer.cpu_count, offer.memory_bytes, offer.price_per_hour)
        place = f"{PLACE}.offers.{offer.name}.size"
        return self._named("list_sizes", offer.size, place, is_needed=not says_all)

    def _named(self, method: str, wanted: str, place: str, is_needed: bool = True) -> Any:
        """The size or location with that id or name."""
        with self._lock:
            if method not in self._listed:
                with self._drivers.call(method) as driver:
                    listed = getattr(driver, method)()
                by_name = {str(each.name): each for each in reversed(listed)}
                self._listed[method] = by_name | {str(each.id): each for each in reversed(listed)}
            known = self._listed[method]
        if wanted not in known and is_needed:
            raise Refused(f"{place}: the provider has no {wanted!r}{did_you_mean(wanted, known)}")
        return known.get(wanted)


def _machine(node: Any) -> Machine:
    from libcloud.compute.types import NodeState

    created = node.created_at.isoformat() if getattr(node, "created_at", None) else ""
    is_over = node.state == NodeState.TERMINATED
    return Machine(str(node.id), str(node.name), node.state == NodeState.RUNNING, is_over, created)


def _bare_size(driver: Any, offer: OfferOptions) -> Any:
    from libcloud.compute.base import NodeSize

    return NodeSize(id=offer.size, name=offer.size, ram=0, disk=0, bandwidth=None, price=0.0, driver=driver)


def _cpu_count(size: Any) -> int | None:
    extra = getattr(size, "extra", None) or {}
    found = next((extra[word] for word in _CPU_WORDS if extra.get(word)), None)
    return int(found) if found is not None else None

"""Routes about nodes: list, show, drain, resume."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice

import attrs

from hal_core.errors import NotFound, did_you_mean
from hal_core.models.message import DrainNode, ResumeNode
from hal_core.models.node import NodeName, NodeStatus, PartitionName
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import DrainAnswer, DrainRequest, EmptyRequest, NodesPage
from hal_core.rest.call import Call, Route
from hal_core.rest.query import LIMIT, cursor_of, one_of, text, write_cursor
from hal_core.rest.rights import Verb
from hal_core.rules.cluster_map import ClusterMap, cluster_map
from hal_core.rules.link_map import LinkMap, link_map
from hal_core.rules.node_view import NodeDetail, node_detail, node_view


@attrs.frozen
class NodePosition:
    """After this node number."""

    number: int


def find_node(call: Call) -> int:
    """The number of the node that the path names. Raises NotFound."""
    call.caller.insist(Verb.SEE_NODES)
    table, name = call.context.kernel.state.table, call.path["name"]
    number = table.number_of.get(NodeName(name))
    if number is None:
        raise NotFound(f"no node named {name[:80]!r}{did_you_mean(name[:80], table.number_of)}")
    return number


async def list_nodes(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    state, query = call.context.kernel.state, call.query
    table, status, partition = state.table, query["status"], query["partition"]
    numbers = range(len(table)) if partition is None else state.partition_numbers.get(PartitionName(partition), [])
    start = bisect_right(numbers, query["cursor"].number) if query["cursor"] else 0
    wanted = (
        number
        for number in islice(numbers, start, None)
        if status is None
        or (table.drain[number] is not None if status == "drained" else table.status[number].value == status)
    )
    found = list(islice(wanted, query["limit"] + 1))
    page, has_more = found[: query["limit"]], len(found) > query["limit"]
    cursor = write_cursor(NodePosition(page[-1])) if has_more else None
    return json_answer(NodesPage([node_view(state, number) for number in page], cursor, state.sequence))


async def show_map(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    return json_answer(cluster_map(call.context.kernel.state))


async def show_links(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_DATA)
    return json_answer(link_map(call.context.kernel.state))


async def show_node(call: Call) -> Answer:
    return json_answer(node_detail(call.context.kernel.state, find_node(call)))


async def drain(call: Call) -> Answer:
    name = _controlled(call)
    await call.context.kernel.ask(DrainNode(name, call.body.reason, call.caller.user))
    return json_answer(DrainAnswer(name, True))


async def resume(call: Call) -> Answer:
    name = _controlled(call)
    await call.context.kernel.ask(ResumeNode(name, call.caller.user))
    return json_answer(DrainAnswer(name, False))


def _controlled(call: Call) -> NodeName:
    number = find_node(call)
    call.caller.insist(Verb.CONTROL_NODE)
    return call.context.kernel.state.table.nodes[number].name


_STATUSES = (*(status.value for status in NodeStatus), "drained")

ROUTES = (
    Route(
        method="GET",
        path="/v1/map",
        handler=show_map,
        summary="All nodes at once, as columns",
        answer=ClusterMap,
        is_shared=True,
    ),
    Route(
        method="GET",
        path="/v1/links",
        handler=show_links,
        summary="Where copies of datasets are, and what lies between",
        answer=LinkMap,
        is_shared=True,
    ),
    Route(
        method="GET",
        path="/v1/nodes",
        handler=list_nodes,
        summary="The nodes, page by page",
        answer=NodesPage,
        query=(
            one_of("status", "nodes in this status", _STATUSES),
            text("partition", "nodes of this partition"),
            LIMIT,
            cursor_of(NodePosition),
        ),
    ),
    Route(
        method="GET",
        path="/v1/nodes/{name}",
        handler=show_node,
        summary="One node and what runs on it",
        answer=NodeDetail,
    ),
    Route(
        method="POST",
        path="/v1/nodes/{name}/drain",
        handler=drain,
        summary="Give the node no new work",
        body=DrainRequest,
        answer=DrainAnswer,
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/nodes/{name}/resume",
        handler=resume,
        summary="Give the node work again",
        body=EmptyRequest,
        answer=DrainAnswer,
        reads_state=False,
    ),
)

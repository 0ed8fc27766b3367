"""The ASGI app: one route table, one endpoint for each path, no middleware.

`build_app(context)` is all that the composition root needs, together with `body_bytes_max` for the listener's limits.
"""

from __future__ import annotations

from starlette.routing import Route as PathRoute, Router

from hal_core.rest import (
    about,
    datasets,
    events,
    foresight,
    jobs,
    nodes,
    pools,
    receipts,
    reports,
    reservations,
    sessions,
    sharing,
    submit,
    terminals,
    tuning,
)
from hal_core.rest.answers import Answer, HttpError, error_answer, json_answer
from hal_core.rest.asgi import AsgiApp, Receive, Scope, Send
from hal_core.rest.bodies import OpenApiAnswer
from hal_core.rest.call import Call, Callers, Endpoint, Route
from hal_core.rest.openapi import openapi_document
from hal_core.rest.page import page_endpoints
from hal_core.rest.port import Context

BODY_BYTES_MAX = 1 << 20
BULK_BODY_BYTES_MAX = 10 << 20
BULK_PATHS = ("/v1/jobs/bulk", "/v1/datasets")


def body_bytes_max(path: str) -> int:
    """How large a body may be on that path; for `Limits` of the listener."""
    return BULK_BODY_BYTES_MAX if path in BULK_PATHS else BODY_BYTES_MAX


def all_routes(version: str) -> tuple[Route, ...]:
    """The route table. The last row serves a description of the table itself."""

    async def show_openapi(call: Call) -> Answer:
        return document

    of_jobs = (submit, jobs, receipts, foresight, events, terminals, sessions)
    of_the_site = (nodes, pools, reservations, datasets, sharing, tuning, reports, about)
    described = tuple(route for room in (*of_jobs, *of_the_site) for route in room.ROUTES)
    own = Route(
        method="GET",
        path="/v1/openapi.json",
        handler=show_openapi,
        summary="This document",
        answer=OpenApiAnswer,
        reads_state=False,
    )
    document = json_answer(openapi_document((*described, own), version))
    return (*described, own)


def build_app(context: Context) -> AsgiApp:
    """The app that serves HAL's API to whoever the listener identified."""
    by_path: dict[str, list[Route]] = {}
    for route in all_routes(context.version):
        by_path.setdefault(route.path, []).append(route)
    callers = Callers(context)
    endpoints = {path: Endpoint(context, callers, routes) for path, routes in by_path.items()}
    fixed = page_endpoints() | {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
    others = [PathRoute(path, endpoint) for path, endpoint in endpoints.items() if "{" in path]
    router = Router(others, redirect_slashes=False, default=_not_found)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if b"%" in scope["raw_path"]:
            await _not_found(scope, receive, send)  # no name in HAL needs escapes; one spelling for each path
            return
        endpoint = fixed.get(scope["path"])
        if endpoint is None:
            await router(scope, receive, send)
        else:
            scope["path_params"] = {}
            await endpoint(scope, receive, send)

    return app


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    answer = error_answer(HttpError(404, "not_found", "no such route; the routes are in /v1/openapi.json"))
    assert answer is not None
    await answer.send(send)

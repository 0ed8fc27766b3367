"""The OpenAPI 3.1 document, made from the same route table and classes that the server works with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from hal_core.rest.bodies import ErrorAnswer
from hal_core.rest.call import Route

_PATH_PARAMETER = re.compile(r"{(\w+)}")
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "job_id": {"type": "integer", "minimum": 1},
    "name": {"type": "string", "minLength": 1},
}
_REFERENCE = "#/components/schemas/{name}"


def openapi_document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document as plain values."""
    classes: list[type[Any]] = [ErrorAnswer]
    for route in routes:
        classes += [cls for cls in (route.body, route.answer) if cls is not None and cls not in classes]
    schemas, components = msgspec.json.schema_components(classes, ref_template=_REFERENCE)
    schema_of = dict(zip(classes, schemas, strict=True))
    for route in routes:
        if route.body is not None:
            components[route.body.__name__]["additionalProperties"] = False
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "HAL", "version": version, "summary": "Hybrid Adaptive Learning scheduler"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route, schema_of: dict[type[Any], dict[str, Any]]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    parameters += [
        {"name": each.name, "in": "query", "description": each.about, "schema": dict(each.schema)}
        for each in route.query
    ]
    content = {route.media_type: {"schema": schema_of[route.answer] if route.answer else {"type": "string"}}}
    responses: dict[str, Any] = {str(status): {"description": "done", "content": content} for status in route.statuses}
    error = {"application/json": {"schema": schema_of[ErrorAnswer]}}
    responses["default"] = {"description": "an error; nothing was changed", "content": error}
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if route.body is not None:
        body = {"application/json": {"schema": schema_of[route.body]}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation

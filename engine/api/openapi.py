"""The OpenAPI 3.0 description of what is served, made from the routes and `engine.api.descriptions`.

    python -m engine.api.openapi            prints it
    python -m engine.api.openapi --check    fails where docs/openapi.json is another one

Paths, methods and summaries come from the routes themselves, so that nothing served can be missing here. The document
is a function of the code alone. Reads that one file when it is to compare.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from engine.api import router
from engine.api.backend import Daemon
from engine.api.descriptions import DESCRIPTIONS, SCHEMAS, Described
from engine.api.router import CURRENT, Route, version_text
from engine.api.shapes import Shape
from engine.model import Json

PLACE = Path(__file__).parents[2] / "docs/openapi.json"
_MARK = re.compile(r"(.+?)(\?|#|\{\}|\*)?")
_PARAMETER = re.compile(r"\{(\w+)(\.\.\.)?\}")
_KINDS = {
    "json": ("application/json", {"type": "object"}),
    "list": ("application/json", {"type": "array", "items": {"type": "object"}}),
    "lines": ("application/json", {"type": "string", "description": "JSON documents, one a line"}),
    "tar": ("application/x-tar", {"type": "string", "format": "binary"}),
    "text": ("text/plain", {"type": "string"}),
    "stream": ("application/vnd.docker.raw-stream", {"type": "string", "format": "binary"}),
}
_ERRORS = {
    "400": "The request makes no sense; the message says why.",
    "404": "There is no such thing.",
    "409": "It stands in the way of what is asked.",
    "500": "It did not work; nothing half-done is left.",
}


def describe(routes: Iterable[Route]) -> Json:
    """The description of these routes."""
    paths: dict[str, Json] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.pattern)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "netpy, speaking the Docker Engine API",
            "version": version_text(CURRENT),
            "description": "Every path is served without a version too, and below /v1.24 to the present one.",
        },
        "servers": [{"url": f"/v{version_text(CURRENT)}"}],
        "paths": paths,
        "components": {"schemas": {name: shape.schema for name, shape in SCHEMAS.items()} | {"Error": _ERROR}},
    }


_ERROR: Json = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}


def _operation(route: Route, path: str) -> Json:
    described = DESCRIPTIONS.get(f"{route.method} {path}", Described())
    text = (inspect.getdoc(route.handler) or "").strip()
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": text.partition("\n")[0],
        "parameters": [*map(_in_path, _PARAMETER.findall(route.pattern)), *map(_in_query, described.query.split())],
        "responses": _responses(described),
    }
    if described.body:
        operation["requestBody"] = _body(described.body)
    return operation


def _in_path(found: tuple[str, str]) -> Json:
    name, several = found
    hint = {"description": "slashes are part of the name"} if several else {}
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, **hint}


def _in_query(word: str) -> Json:
    match = _MARK.fullmatch(word)
    assert match is not None
    name, mark = match[1], match[2]
    parameter: Json = {"name": name, "in": "query"}
    if mark == "{}":
        return parameter | {"content": {"application/json": {"schema": {"type": "object"}}}}
    types: dict[str | None, Json] = {
        "?": {"type": "boolean"},
        "#": {"type": "integer"},
        "*": {"type": "array", "items": {"type": "string"}},
    }
    return parameter | {"schema": types.get(mark, {"type": "string"})}


def _body(body: Shape | str) -> Json:
    if body == "tar":
        return {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}
    named = next((name for name, shape in SCHEMAS.items() if shape is body), "")
    schema = {"$ref": f"#/components/schemas/{named}"} if named else {"type": "object"}
    return {"content": {"application/json": {"schema": schema}}}


def _responses(described: Described) -> Json:
    good: Json = {"description": "Done."}
    if described.kind:
        media, schema = _KINDS[described.kind]
        good["content"] = {media: {"schema": schema}}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(described.status): good} | {
        status: {"description": text, "content": failed} for status, text in _ERRORS.items()
    }


def text() -> str:
    """The description as it lies in docs/openapi.json."""
    nobody = cast("Daemon", None)  # routes are asked what they are, not to serve
    return json.dumps(describe(router(nobody).routes), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.api.openapi")
    parser.add_argument("--check", action="store_true", help=f"compare with {PLACE.name} instead of printing")
    parser.add_argument("--write", action="store_true", help=f"write {PLACE.name}")
    options = parser.parse_args()
    if options.write:
        PLACE.write_text(text())
    elif options.check:
        if not PLACE.exists() or PLACE.read_text() != text():
            print(f"docs/{PLACE.name} is not what the routes say: python -m engine.api.openapi --write")
            return 1
    else:
        print(text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

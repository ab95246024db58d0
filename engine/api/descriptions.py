"""What the routes take and give, in one table: for the OpenAPI description, and for whoever wants to know. Pure.

A row says which parameters a query may have, what the body is, and what the answer is when all goes well. Parameters
are words with a mark behind them: `all?` a flag, `limit#` a whole number, `filters{}` a JSON document, `names*` may
come several times, and plain text without a mark. A route that has no row here is still described, by its path alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.api.shapes import CONTAINER, ENDPOINT, EXEC, Shape

Kind = str
"""`json`, `list` (JSON), `lines` (a stream of JSON documents), `tar`, `text`, `stream` (hijacked), or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One row. `body` is a shape, `object` for any JSON document, or `tar`."""

    query: str = ""
    body: Shape | str = ""
    status: int = 200
    kind: Kind = "json"


def _row(query: str = "", body: Shape | str = "", status: int = 200, kind: Kind = "json") -> Described:
    return Described(query=query, body=body, status=status, kind=kind)


def _done(query: str = "", body: Shape | str = "") -> Described:
    """No answer but the status 204."""
    return Described(query=query, body=body, status=204, kind="")


_ATTACH = "detachKeys logs? stream? stdin? stdout? stderr?"
_BUILD = (
    "dockerfile t* extrahosts remote q? nocache? cachefrom{} pull rm? forcerm? memory# memswap# cpushares# cpusetcpus "
    "cpuperiod# cpuquota# buildargs{} shmsize# squash? labels{} networkmode platform target version"
)
DESCRIPTIONS: Mapping[str, Described] = {
    "GET /_ping": _row(kind="text"),
    "GET /version": _row(),
    "GET /info": _row(),
    "GET /events": _row("since until filters{}", kind="lines"),
    "GET /system/df": _row("type*"),
    "POST /auth": _row(body="object"),
    # containers
    "GET /containers/json": _row("all? limit# size? filters{} since before", kind="list"),
    "POST /containers/create": _row("name platform dryrun?", CONTAINER, 201),
    "POST /containers/prune": _row("filters{}"),
    "GET /containers/{id}/json": _row("size?"),
    "POST /containers/{id}/start": _done("detachKeys"),
    "POST /containers/{id}/stop": _done("t# signal"),
    "POST /containers/{id}/restart": _done("t# signal"),
    "POST /containers/{id}/kill": _done("signal"),
    "POST /containers/{id}/pause": _done(),
    "POST /containers/{id}/unpause": _done(),
    "POST /containers/{id}/rename": _done("name"),
    "POST /containers/{id}/update": _row(body="object"),
    "POST /containers/{id}/resize": _row("h# w#", kind=""),
    "GET /containers/{id}/top": _row("ps_args"),
    "DELETE /containers/{id}": _done("v? force? link?"),
    "POST /containers/{id}/wait": _row("condition", kind="lines"),
    "POST /containers/{id}/attach": _row(_ATTACH, kind="stream"),
    "GET /containers/{id}/attach/ws": _row(_ATTACH, status=101, kind="stream"),
    "GET /containers/{id}/logs": _row("follow? stdout? stderr? since until timestamps? tail", kind="stream"),
    "GET /containers/{id}/stats": _row("stream? one-shot?", kind="lines"),
    "POST /containers/{id}/exec": _row(body=EXEC, status=201),
    "POST /exec/{id}/start": _row(body="object", kind="stream"),
    "POST /exec/{id}/resize": _row("h# w#", kind=""),
    "GET /exec/{id}/json": _row(),
    "HEAD /containers/{id}/archive": _row("path", kind=""),
    "GET /containers/{id}/archive": _row("path", kind="tar"),
    "PUT /containers/{id}/archive": _row("path noOverwriteDirNonDir? copyUIDGID?", "tar", kind=""),
    "GET /containers/{id}/changes": _row(kind="list"),
    "GET /containers/{id}/export": _row(kind="tar"),
    "POST /commit": _row("container repo tag comment author pause? changes*", "object", 201),
    # images
    "GET /images/json": _row("all? filters{} filter shared-size? digests?", kind="list"),
    "POST /images/create": _row("fromImage fromSrc repo tag message changes* platform", "tar", kind="lines"),
    "POST /images/load": _row("quiet?", "tar", kind="lines"),
    "POST /images/prune": _row("filters{}"),
    "GET /images/get": _row("names*", kind="tar"),
    "GET /images/search": _row("term limit# filters{}", kind="list"),
    "GET /images/{name}/get": _row(kind="tar"),
    "GET /images/{name}/json": _row(),
    "GET /images/{name}/history": _row(kind="list"),
    "POST /images/{name}/push": _row("tag", kind="lines"),
    "POST /images/{name}/tag": _row("repo tag", status=201, kind=""),
    "DELETE /images/{name}": _row("force? noprune?", kind="list"),
    "GET /distribution/{name}/json": _row(),
    "POST /build": _row(_BUILD, "tar", kind="lines"),
    "POST /build/prune": _row("all? keep-storage# filters{}"),
    # networks
    "GET /networks": _row("filters{}", kind="list"),
    "POST /networks/create": _row("dryrun?", "object", 201),
    "POST /networks/prune": _row("filters{}"),
    "GET /networks/{id}": _row("verbose? scope"),
    "DELETE /networks/{id}": _done(),
    "POST /networks/{id}/connect": _row("dryrun?", "object", kind=""),
    "POST /networks/{id}/disconnect": _row(body="object", kind=""),
    "GET /netpy/check": _row(),
    "GET /netpy/drivers": _row(kind="list"),
    "GET /netpy/drivers/{name}": _row(),
    "GET /netpy/ipam/{name}": _row(),
    "POST /netpy/repair": _row(),
    # volumes and plugins
    "GET /volumes": _row("filters{}"),
    "POST /volumes/create": _row(body="object", status=201),
    "POST /volumes/prune": _row("filters{}"),
    "GET /volumes/{name}": _row(),
    "DELETE /volumes/{name}": _done("force?"),
    "GET /plugins": _row("filters{}", kind="list"),
}
SCHEMAS: Mapping[str, Shape] = {"ContainerCreate": CONTAINER, "EndpointSettings": ENDPOINT, "ExecCreate": EXEC}
"""Shapes that have a name of their own in the description."""

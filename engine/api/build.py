"""The routes of the builder: build and prune. Decodes the query, hands the context on, streams the progress.

What is wrong with context, Dockerfile or query is an ordinary error; once the stream has begun, a failure is its last
line, with the exit code of the program that failed. A client that goes away ends its build.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from engine.api import credentials
from engine.api.announcements import tell_pruned
from engine.api.backend import Daemon
from engine.api.decode import loads
from engine.api.errors import message_of
from engine.api.reply import Reply, document, documents
from engine.api.request import Query, Request
from engine.api.router import Route
from engine.build import progress
from engine.build.bench import Failed
from engine.build.builder import Build as Building
from engine.build.context import Upload
from engine.build.options import BuildOptions
from engine.images import references
from engine.model import Json
from netpy.errors import InvalidArgument, Unsupported

_LIMITS = {
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota",
    "shmsize": "ShmSize",
}
_TEXTS = {"cpusetcpus": "CpusetCpus", "cpusetmems": "CpusetMems", "cgroupparent": "CgroupParent"}


class Build:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/build", self.build),
            Route("POST", "/build/prune", self.prune),
            Route("POST", "/build/cancel", self.cancel),
            Route("POST", "/session", self.session),
        ]

    def build(self, request: Request) -> Reply:
        """Equivalent: `docker build`, with Docker's classic builder."""
        options = options_of(request)
        upload = Upload(stream=request.stream(), remote=_remote(request.query))
        building = self._daemon.builder.build(upload, options)

        def give_up(*, stopping: bool) -> None:
            del stopping
            building.cancel()

        return documents(self._told(building, options), on_hangup=give_up, close=building.close)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker builder prune`."""
        request.query.filters()
        done = self._daemon.builder.prune()
        tell_pruned(self._daemon, "builder", int(done["SpaceReclaimed"]))
        return document(done)

    def cancel(self, request: Request) -> Reply:
        """Builds of ours have no id to cancel them by: they end with their connection."""
        raise InvalidArgument("build ID not found: a build is cancelled by closing its connection")

    def session(self, request: Request) -> Reply:
        """BuildKit's way to talk to its client."""
        raise Unsupported("BuildKit sessions are not supported: build with DOCKER_BUILDKIT=0")

    def _told(self, building: Building, options: BuildOptions) -> Iterator[Json]:
        try:
            yield from building
        except Failed as error:
            yield progress.failed(str(error), error.code)
            return
        except Exception as error:
            yield progress.failed(message_of(error))
            return
        for tag in options.tags:
            name = references.parse(tag).tagged().familiar
            image_id = self._daemon.images.resolve(name).id
            self._daemon.events.publish("image", "tag", image_id, {"name": name})


def options_of(request: Request) -> BuildOptions:
    """What the query asks for. InvalidArgument names a parameter that cannot be read; Unsupported for BuildKit."""
    query = request.query
    if query.text("version") not in ("", "1"):
        raise Unsupported(
            "this engine builds with the classic builder (version=1), not with BuildKit: build with DOCKER_BUILDKIT=0"
        )
    force = query.flag("forcerm")
    return BuildOptions(
        dockerfile=query.text("dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in query.texts("t") if tag),
        arguments=_arguments(query),
        labels=_strings(query, "labels"),
        target=query.text("target"),
        platform=_platform(query.text("platform")),
        cache=not query.flag("nocache"),
        cache_from=_list(query, "cachefrom"),
        pull=query.flag("pull"),
        remove=force or query.flag("rm", default=True),
        force_remove=force,
        squash=query.flag("squash"),
        quiet=query.flag("q"),
        host_config=_host_config(query),
        auths=credentials.by_registry(request),
    )


def _remote(query: Query) -> str:
    """`client-session` and the like belong to BuildKit; without a remote, the context is the body."""
    return query.text("remote")


def _arguments(query: Query) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in _document(query, "buildargs").items()}


def _strings(query: Query, name: str) -> dict[str, str]:
    return {key: str(value) for key, value in _document(query, name).items()}


def _document(query: Query, name: str) -> Json:
    try:
        return query.document(name)
    except InvalidArgument as error:
        what = {"buildargs": "build args"}.get(name, name)
        raise InvalidArgument(f"error reading {what}: {error}") from None


def _list(query: Query, name: str) -> tuple[str, ...]:
    """A JSON list of strings; empty where it is absent or null."""
    text = query.text(name).strip()
    value: Any = loads(text.encode()) if text else None
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidArgument(f"error reading {name}: a list of names is wanted")
    return tuple(str(item) for item in cast("list[object]", value))


def _platform(text: str) -> str:
    """A platform such as `linux/amd64`. Only Linux is built for; the rest is the pull's business."""
    first = text.partition("/")[0].lower()
    if text and first not in ("linux", "amd64", "x86_64", "arm64", "aarch64", "arm", "386", "i386"):
        raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    return text


def _host_config(query: Query) -> Json:
    """The part of HostConfig that holds for every RUN."""
    found: Json = {field: value for name, field in _LIMITS.items() if (value := query.number(name))}
    found |= {field: value for name, field in _TEXTS.items() if (value := query.text(name))}
    if query.text("networkmode"):
        found["NetworkMode"] = query.text("networkmode")
    hosts = [host for text in query.texts("extrahosts") for host in text.split(",") if host]
    if hosts:
        found["ExtraHosts"] = hosts
    if query.text("ulimits").strip() not in ("", "null"):
        found["Ulimits"] = loads(query.text("ulimits").encode())
    return found

"""The routes that concern the daemon itself: ping, version, info, events, disk usage. No I/O of its own."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from engine.api import machine
from engine.api.backend import Daemon
from engine.api.disk import usage
from engine.api.reply import Reply, document, documents, text
from engine.api.request import Request
from engine.api.router import CURRENT, Route, version_text
from engine.api.scenes import Scenes
from engine.api.views import system as views
from engine.api.views.images import shown
from engine.containers import logdrivers
from engine.model import Json
from netpy.errors import InvalidArgument

_EVENT_KEYS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope"}
    | {"secret", "service", "type", "volume"}
)
_PING: tuple[tuple[str, str], ...] = (
    ("Builder-Version", "1"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)


def banner(*, experimental: bool = False) -> tuple[tuple[str, str], ...]:
    """The headers that every answer has; clients negotiate the API's version by them."""
    return (
        ("Api-Version", version_text(CURRENT)),
        ("Docker-Experimental", str(experimental).lower()),
        ("Ostype", "linux"),
        ("Server", f"netpy/{machine.netpy_version()} (linux)"),
    )


class System:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._scenes = Scenes(daemon)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_ping", self.ping),
            Route("GET", "/version", self.version),
            Route("GET", "/info", self.info),
            Route("GET", "/events", self.events),
            Route("GET", "/system/df", self.disk_usage),
        ]

    def ping(self, request: Request) -> Reply:
        """Whether anybody is there. Clients ask without a version and learn ours."""
        return text("OK", headers=_PING)

    def version(self, request: Request) -> Reply:
        """Equivalent: `docker version`."""
        return document(
            views.version(machine.look(), machine.netpy_version(), experimental=self._daemon.settings.experimental)
        )

    def info(self, request: Request) -> Reply:
        """Equivalent: `docker info`."""
        daemon, settings = self._daemon, self._daemon.settings
        facts = views.Facts(
            id=hashlib.sha256(f"{settings.instance}@{settings.data_root}".encode()).hexdigest(),
            version=machine.netpy_version(),
            runtime=daemon.runtime_name,
            firewall=daemon.firewall_name,
            drivers=daemon.driver_names,
            counts=Counter(container.state.status for container in daemon.containers.all()),
            images=len(daemon.images.summaries(all=True)),
            data_root=str(settings.data_root),
            labels=settings.labels,
            registries=daemon.images.registry.document(),
            debug=settings.log_level == "debug",
            listeners=daemon.events.listeners(),
            threads=threading.active_count(),
            experimental=settings.experimental,
            now=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            log_driver=settings.log_driver,
            log_drivers=logdrivers.NAMES,
        )
        return document(views.info(machine.look(), facts))

    def events(self, request: Request) -> Reply:
        """Equivalent: `docker events`. Ends at `until`; without it, when the client goes."""
        filters = request.query.filters()
        for name in filters:
            if name not in _EVENT_KEYS:
                raise InvalidArgument(f"invalid filter '{name}'")
        since, until = request.query.seconds("since"), request.query.seconds("until")
        if since is not None and until is not None and until < since:
            raise InvalidArgument("`since` cannot be after `until`")
        subscription = self._daemon.events.subscribe(since, until, filters)
        return documents(subscription, on_hangup=lambda stopping: subscription.close())

    def disk_usage(self, request: Request) -> Reply:
        """Equivalent: `docker system df`. `type` limits it to some kinds of objects."""
        wanted = request.query.texts("type") or list(views.DISK_TYPES)
        for kind in wanted:
            if kind not in views.DISK_TYPES:
                raise InvalidArgument(f"unknown object type: {kind}")
        containers = list(self._scenes.summaries(request.version, sized="container" in wanted, passes=lambda _: True))
        found = {
            "image": lambda: self._image_usage(containers, request.version),
            "container": lambda: containers,
            "volume": self._volume_usage,
            "build-cache": list[Json],
        }
        return document(views.disk_usage(self._daemon.images.disk_usage(), {kind: found[kind]() for kind in wanted}))

    def _image_usage(self, containers: list[Json], version: tuple[int, int]) -> list[Json]:
        used = Counter(str(container["ImageID"]) for container in containers)
        images = self._daemon.images.summaries(shared=True)
        return [shown(image, version) | {"Containers": used[image["Id"]]} for image in images]

    def _volume_usage(self) -> list[Json]:
        mounted = Counter(str(mount.get("Name")) for c in self._daemon.containers.all() for mount in c.mounts)
        return [_measured(volume, mounted[volume["Name"]]) for volume in self._daemon.containers.volumes.all()]


def _measured(volume: Json, users: int) -> Json:
    return volume | {"UsageData": {"RefCount": users, "Size": usage(Path(volume["Mountpoint"]))}}

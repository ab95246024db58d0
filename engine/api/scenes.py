"""Collects what the documents of containers are made of: endpoints, networks, images, sizes.

Views are pure; this is where they get their facts from. It asks the daemon's parts, and the disk for sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.api import filters
from engine.api.backend import Daemon
from engine.api.disk import usage
from engine.api.views import containers as views
from engine.api.views.containers import Scene
from engine.containers import links
from engine.model import Container, Json
from netpy.errors import NotFound
from netpy.model import Network


class Scenes:
    """Scenes of one daemon's containers."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def of(self, container: Container, version: tuple[int, int]) -> Scene:
        """Everything that `docker inspect` shows of one container, sizes aside."""
        try:
            layers = [str(path) for path in self._daemon.images.layers(container.image_id)]
        except NotFound:  # the image was removed by force under the container
            layers = []
        scene = self._bare(container, self._networks(), version)
        return replace(scene, layers=layers, exec_ids=self._daemon.containers.exec_ids(container))

    def sized(self, scene: Scene) -> Scene:
        """The same with sizes, which cost a walk through the container's layer."""
        container = scene.container
        own = usage(Path(scene.data_root) / "overlay" / container.id / "upper")
        try:
            image = int(self._daemon.images.inspect(container.image_id).get("Size") or 0)
        except NotFound:
            image = 0
        return replace(scene, sizes=(own, own + image))

    def summaries(self, version: tuple[int, int], *, sized: bool, passes: Callable[[Scene], bool]) -> Iterator[Json]:
        """The documents of `docker ps`, newest first, of those that pass."""
        now = datetime.now(UTC)
        names: dict[str, str] = {}
        networks = self._networks()  # once for all: there may be as many as containers
        containers = self._daemon.containers.all()
        linked = [(target, f"/{c.name}/{alias}") for c in containers for target, alias in links.asked(c.host_config)]
        for container in containers:
            scene = self._bare(container, networks, version)
            if passes(scene):
                name = self._image_name(container, names)
                aliases = [
                    alias for target, alias in linked if target == container.name or container.id.startswith(target)
                ]
                scene = replace(self.sized(scene) if sized else scene, image_name=name, linked_as=aliases)
                yield views.summary(scene, now)

    def candidate(self, scene: Scene) -> filters.Candidate:
        """What filters ask of a container."""
        container = scene.container
        try:
            tags = self._daemon.images.resolve(container.image_id).tags
        except NotFound:
            tags = ()
        return filters.Candidate(
            container=container,
            ports=views.port_map(scene),
            exposed=list(container.config.get("ExposedPorts") or {}),
            image_names=tags,
            network_ids=[scene.networks[a.network].id for a in container.attachments if a.network in scene.networks],
        )

    def _networks(self) -> dict[str, Network]:
        return {network.name: network for network in self._daemon.controller.networks()}

    def _bare(self, container: Container, networks: Mapping[str, Network], version: tuple[int, int]) -> Scene:
        return Scene(
            container=container,
            endpoints=self._daemon.containers.endpoints(container),
            networks=networks,
            data_root=str(self._daemon.settings.data_root),
            exec_root=str(self._daemon.settings.exec_root),
            version=version,
        )

    def _image_name(self, container: Container, names: dict[str, str]) -> str:
        """The reference as given, while it still means this image; else the image's id, as Docker shows it."""
        if container.image not in names:
            try:
                names[container.image] = self._daemon.images.resolve(container.image).id
            except NotFound:
                names[container.image] = ""
        return container.image if names[container.image] == container.image_id else container.image_id

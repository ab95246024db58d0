"""What the steps of one build work with: the engine's parts, the build's options, where the build stands.

Also the one way in which a step becomes an image, and in which it is spared because it was done before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.build import cache
from engine.build.arguments import Arguments
from engine.build.cache import Cache
from engine.build.options import BuildOptions
from engine.build.trees import Tree
from engine.images.catalogue import Images
from engine.images.commit import Commit
from engine.images.records import short
from engine.streams import Session
from netpy.errors import NetpyError

Json = dict[str, Any]


class Cancelled(NetpyError):
    """Whoever wanted the build has gone."""


class Failed(NetpyError):
    """A program of the build failed; `code` is what it exited with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Waiter(Protocol):
    def result(self, timeout: float | None = None) -> tuple[int, str]: ...
    def close(self) -> None: ...


class Containers(Protocol):
    """`engine.containers.Containers`, as far as it is used here."""

    def intermediate(self, *, config: Json, host_config: Json) -> str: ...
    def keep(self, ref: str) -> None: ...
    def start(self, ref: str) -> None: ...
    def kill(self, ref: str, signal: str = "KILL") -> None: ...
    def wait(self, ref: str, condition: Any = "not-running") -> Waiter: ...
    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None: ...
    def attach(  # noqa: PLR0913 - Docker's query, flag by flag
        self, ref: str, *, stdin: bool, stdout: bool, stderr: bool, logs: bool, stream: bool
    ) -> Session: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all builds of a daemon share.

    `upper` gives a container's writable directory; `keep` is where cache mounts live; `new_id` gives 64 hex digits.
    """

    images: Images
    containers: Containers
    cache: Cache
    upper: Callable[[str], Path]
    keep: Path
    new_id: Callable[[], str]


class Cancellation:
    """Tells a build, from another thread, that nobody wants it any more; ends what it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._end: Callable[[], None] | None = None

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            end = self._end
        if end is not None:
            end()

    def on_cancel(self, end: Callable[[], None] | None) -> None:
        """What to call when the build is cancelled while it waits; None when it no longer does."""
        with self._lock:
            self._end = end
            late = self._cancelled and end is not None
        if late and end is not None:
            end()

    def check(self) -> None:
        """Raise Cancelled if it was."""
        if self._cancelled:
            raise Cancelled("build cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A stage that is done: its name, or the empty string, and its image."""

    name: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One build. `allowed` are the images that the cache may lead to, None for any."""

    shop: Workshop
    options: BuildOptions
    arguments: Arguments
    context: Tree
    escape: str
    allowed: frozenset[str] | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)
    done: list[Done] = field(default_factory=list[Done])


@dataclass(slots=True, kw_only=True)
class Scene:
    """Where a stage stands: the image so far (empty for nothing), the configuration to be, what has happened.

    `hopeful` ends with the first step that was not in the cache: later ones are not looked up.
    """

    image: str
    config: Json
    author: str = ""
    command_set: bool = False
    hopeful: bool = True


def probe(bench: Bench, scene: Scene, container_config: Json) -> bool:
    """Whether the step was done before; then the scene stands on what it led to."""
    if not scene.hopeful or not bench.options.cache:
        return False
    found = bench.shop.cache.find(cache.key(scene.image, container_config), bench.allowed)
    scene.hopeful = bool(found)
    scene.image = found or scene.image
    return scene.hopeful


def commit(  # noqa: PLR0913 - what stands in an image of the way it was made
    bench: Bench,
    scene: Scene,
    container_config: Json,
    *,
    container: str = "",
    upper: Path | None = None,
    ran: bool = False,
) -> None:
    """Make the image of a step; the scene stands on it. `ran` tells that a container ran on `upper`."""
    bench.cancellation.check()
    told = {**container_config, "Hostname": "" if ran else short(container), "Image": scene.image}
    image = bench.shop.images.commit(
        Commit(
            parent=scene.image,
            upper=upper,
            config={**scene.config, "Image": scene.image},
            created_by=" ".join(container_config["Cmd"]),
            author=scene.author,
            container=container,
            container_config=told,
            ran=ran,
        )
    )
    bench.shop.cache.remember(cache.key(scene.image, container_config), image)
    scene.image = image


def discard(bench: Bench, container: str) -> None:
    """Remove a container of ours, whatever state it is in; what cannot be removed is found by a prune."""
    with suppress(NetpyError, OSError):
        bench.shop.containers.remove(container, force=True, volumes=True)

"""What the rooms of this package share: the engine's other parts, where things lie on disk, and the time.

A seam: the runtime, the images and the mounting of root file systems stand here as protocols, so that the logic of
states is tested without them. No logic and no I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.containers.documents import table
from engine.containers.files import Files
from engine.containers.merging import Defaults
from engine.containers.records import Records
from engine.containers.timing import Scheduler
from engine.containers.volumes import Volumes
from engine.containers.waiting import Waiters
from engine.events import Events
from engine.images import Commit
from engine.model import Container, Json
from engine.oci.spec import HostFacts
from engine.runtime.cgroups import Hierarchy
from engine.runtime.conmon import Sink
from engine.runtime.rotation import Rotation
from engine.streams import Session
from netpy.controller import Controller
from netpy.kernel import Kernel


class Process(Protocol):
    """A container's first process, made but not started; `monitor_pid` outlives the daemon and knows how it ended."""

    @property
    def pid(self) -> int: ...
    @property
    def monitor_pid(self) -> int: ...


class ExecProcess(Protocol):
    """One more process in a container."""

    @property
    def session(self) -> Session | None: ...
    @property
    def pid(self) -> int: ...
    def wait(self) -> int: ...
    def resize(self, rows: int, columns: int) -> None: ...


class Runtime(Protocol):
    """`engine.runtime.runtime.Runtime`, as far as it is used here."""

    def create(self, id: str, spec: Json, *, log: Sink | None, tty: bool, stdin: bool) -> Process: ...
    def start(self, id: str) -> None: ...
    def kill(self, id: str, signal: int, all: bool = False) -> None: ...
    def update(self, id: str, resources: Json) -> None: ...
    def kill_exec(self, id: str, pid: int) -> None: ...
    def delete(self, id: str, force: bool = False) -> None: ...
    def abandon(self, id: str) -> None: ...
    def known(self) -> set[str]: ...
    def pause(self, id: str) -> None: ...
    def resume(self, id: str) -> None: ...
    def alive(self, id: str) -> bool: ...
    def state(self, id: str) -> Json | None: ...
    def attach(self, id: str, *, tty: bool, stdin: bool) -> Session: ...
    def resize(self, id: str, rows: int, cols: int) -> None: ...
    def watch(self, id: str, monitor_pid: int, on_exit: Callable[[int, bool], None]) -> None: ...
    def exec(self, id: str, process: Json, *, tty: bool, stdin: bool, detach: bool = False) -> ExecProcess: ...


class ImageRecord(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...


class Images(Protocol):
    """`engine.images.Images`, as far as it is used here."""

    def resolve(self, ref: str) -> ImageRecord: ...
    def layers(self, image_id: str) -> list[Path]: ...
    def commit(self, request: Commit) -> str: ...


class Mounter(Protocol):
    """`engine.runtime.views.Views`."""

    def mount(self, layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None: ...
    def unmount(self, target: Path) -> None: ...
    def view(self, layers: Sequence[Path], upper: Path, work: Path, target: Path) -> AbstractContextManager[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where things of a container lie. What is below `exec_root` does not survive a reboot."""

    data_root: Path
    exec_root: Path

    def home(self, container_id: str) -> Path:
        """hosts, hostname, resolv.conf and the log."""
        return self.data_root / "containers" / container_id

    def log(self, container_id: str) -> Path:
        return self.home(container_id) / f"{container_id}.log"

    def layer(self, container_id: str) -> Path:
        """The writable layer: `upper` and `work` in it."""
        return self.data_root / "overlay" / container_id

    def bundle(self, container_id: str) -> Path:
        return self.exec_root / "containers" / container_id

    def rootfs(self, container_id: str) -> Path:
        return self.bundle(container_id) / "rootfs"

    def shared_memory(self, container_id: str) -> Path:
        """What other containers see as /dev/shm, too, if it is shareable."""
        return self.bundle(container_id) / "shm"

    def netns(self, container_id: str) -> Path:
        return self.exec_root / "netns" / container_id[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the machine is and what the daemon was told: the same for all containers."""

    facts: HostFacts
    hierarchy: Hierarchy
    defaults: Defaults
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the rooms work with.

    `runtimes` finds an OCI runtime by name; `now` gives RFC 3339 in UTC with nanoseconds, `new_id` 64 hex digits.
    """

    controller: Controller
    kernel: Kernel
    images: Images
    runtimes: Callable[[str], Runtime]
    mounter: Mounter
    events: Events
    records: Records
    waiters: Waiters
    volumes: Volumes
    files: Files
    scheduler: Scheduler
    rotation: Rotation
    paths: Paths
    host: Host
    now: Callable[[], str]
    new_id: Callable[[], str]

    def runtime_of(self, container: Container) -> Runtime:
        """The runtime that the container is made with: what one has made, another does not know."""
        return self.runtimes(container.host_config["Runtime"])


def announce(parts: Parts, container: Container, action: str, **more: str) -> None:
    """Publish an event of a container, with the attributes that Docker gives it: image, name, labels."""
    labels: dict[str, str] = table(container.config, "Labels")
    attributes = labels | {"image": container.image, "name": container.name} | more
    parts.events.publish("container", action, container.id, attributes)

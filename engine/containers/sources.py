"""What stands behind the mounts of a container that is started: volumes mounted and filled, directories made.

`engine.containers.mounts` says what is wanted; `engine.oci.mounts` how the runtime is told. Does I/O.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable
from pathlib import Path

from engine.containers import wiring
from engine.containers.parts import Parts
from engine.containers.volumes import inside
from engine.model import Container, Json
from engine.oci.mounts import DEFAULT_SHM, Mount
from engine.runtime import filesystems
from engine.runtime.filesystems import QUIET
from netpy.errors import InvalidArgument, KernelError


def prepared(parts: Parts, container: Container, rootfs: Path) -> list[Mount]:
    """The three files of ours, then volumes and binds, which may lie over them."""
    owner = wiring.target_of(parts, container)
    found = [
        Mount(source=str(path), destination=place)
        for place, path in parts.files.paths(owner.id if owner else container.id).items()
    ]
    if owner is None:
        _touch(parts.files.paths(container.id).values())
    return found + [_mount(parts, container, point, rootfs) for point in container.mounts]


def shared_memory(parts: Parts, container: Container) -> str:
    """The directory that is /dev/shm in it and in others; empty where it has one of its own."""
    mode = str(container.host_config.get("IpcMode") or "")
    if mode == "shareable":
        place = parts.paths.shared_memory(container.id)
        place.mkdir(parents=True, exist_ok=True)
        if not filesystems.is_mounted(place):
            size = int(container.host_config.get("ShmSize") or DEFAULT_SHM)
            filesystems.mount("shm", place, "tmpfs", QUIET, f"mode=1777,size={size}")
        return str(place)
    if not mode.startswith("container:"):
        return ""
    donor = parts.records.find(mode.removeprefix("container:")).container
    if donor.host_config.get("IpcMode") == "host":
        return "/dev/shm"
    if donor.host_config.get("IpcMode") != "shareable":
        hint = "hint: use IpcMode:shareable for the donor container"
        raise KernelError(f"cannot join IPC of a container {donor.id}: non-shareable IPC ({hint})")
    return str(parts.paths.shared_memory(donor.id))


def adopt(parts: Parts, container: Container) -> None:
    """An earlier daemon has started it: note what it uses."""
    for name in _volumes(container):
        parts.volumes.mount(name, container.id)


def release(parts: Parts, container: Container) -> None:
    """It has ended: its volumes are no longer in use by it, and its memory is not shared any more."""
    filesystems.unmount(parts.paths.shared_memory(container.id))
    for name in _volumes(container):
        parts.volumes.unmount(name, container.id)


@contextlib.contextmanager
def looked_into(parts: Parts, container: Container, rootfs: Path) -> Generator[None]:
    """Its volumes as a start would find them, for somebody who looks into it while it does not run.

    One that was never started has them filled from its image first: a file that is put there would keep them from it.
    """
    with contextlib.ExitStack() as stack:
        for point in container.mounts if not container.state.running else ():
            if point["Type"] != "volume" or not point["Name"]:
                continue
            parts.volumes.create(point["Name"])
            stack.enter_context(parts.volumes.held(point["Name"]))
            if container.state.status == "created":
                _fill(parts, point, rootfs)
        yield


def _fill(parts: Parts, point: Json, rootfs: Path) -> None:
    if "nocopy" not in point["Mode"].split(",") and not point.get("NoCopy"):
        parts.volumes.populate(point["Name"], inside(rootfs, point["Destination"]))


def _volumes(container: Container) -> list[str]:
    return [point["Name"] for point in container.mounts if point["Type"] == "volume" and point["Name"]]


def _mount(parts: Parts, container: Container, point: Json, rootfs: Path) -> Mount:
    read_only = not point["RW"]
    if point["Type"] == "tmpfs":
        options = tuple(point.get("Tmpfs") or ())
        destination = point["Destination"]
        return Mount(kind="tmpfs", source="tmpfs", destination=destination, read_only=read_only, options=options)
    source = _volume(parts, container, point, rootfs) if point["Type"] == "volume" else _bind(point)
    return Mount(
        source=source,
        destination=point["Destination"],
        read_only=read_only,
        propagation=point["Propagation"] or "rprivate",
        recursive=point.get("Recursive", True),
        options=tuple(point.get("Options") or ()),
    )


def _volume(parts: Parts, container: Container, point: Json, rootfs: Path) -> str:
    """The directory of a volume, which is mounted if it is a file system of its own, and filled from the image."""
    name = point["Name"]
    parts.volumes.create(name)
    parts.volumes.mount(name, container.id)
    attributes = {"container": container.id, "destination": point["Destination"], "propagation": point["Propagation"]}
    parts.volumes.tell("mount", name, attributes | {"read/write": str(point["RW"]).lower()})
    _fill(parts, point, rootfs)
    root = parts.volumes.path(name)
    if not point.get("Subpath"):
        return str(root)
    place = inside(root, point["Subpath"])
    if not place.exists():
        raise KernelError(f"cannot access path {root / point['Subpath']}: lstat {place}: no such file or directory")
    return str(place)


def _bind(point: Json) -> str:
    """The source of a bind: made for `-v` if it is missing, as spread as the bind is to be."""
    source, spread = Path(point["Source"]), point["Propagation"].removeprefix("r")
    if not source.exists():
        if point.get("Required"):
            raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        source.mkdir(parents=True, exist_ok=True)
    if spread in ("shared", "slave"):
        place, present = filesystems.propagation(str(source))
        if present not in ("shared", spread):
            kinds = "shared" if spread == "shared" else "shared or slave"
            raise KernelError(f"path {source} is mounted on {place} but it is not a {kinds} mount")
    return str(source)


def _touch(paths: Iterable[Path]) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))

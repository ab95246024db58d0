"""A container's files as they look from within, for somebody outside: the order that engine/trees works on.

It decides what belongs to the picture: the root file system, every volume and bind, the three files of ours, and of a
running container its tmpfs; not what the kernel shows in /proc, /sys and /dev. Opens descriptors; mounts nothing
itself, and nothing of it is seen by the container or the host.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Generator
from pathlib import Path

from engine.containers import sources, wiring
from engine.containers.documents import items, table
from engine.containers.parts import Parts
from engine.containers.records import Entry
from engine.model import Container, Json


@contextlib.contextmanager
def view(parts: Parts, entry: Entry) -> Generator[Json]:
    """The container with all that is mounted into it. The view's `root` is a descriptor, also of use by itself."""
    container = entry.container
    with root(parts, container) as found, sources.looked_into(parts, container, _reached(found["root"])):
        namespace = _namespace(entry) if (tmpfs := _tmpfs(container)) else -1
        try:
            yield found | {
                "mounts": _mounts(parts, container),
                "tmpfs": tmpfs if namespace >= 0 else [],
                "namespace": namespace,
                "writable": not container.host_config.get("ReadonlyRootfs"),
            }
        finally:
            if namespace >= 0:
                os.close(namespace)


@contextlib.contextmanager
def root(parts: Parts, container: Container) -> Generator[Json]:
    """The container's own file system, without what is mounted into it."""
    layer = parts.paths.layer(container.id)
    layers = parts.images.layers(container.image_id)
    target = parts.paths.rootfs(container.id)
    with parts.mounter.view(layers, layer / "upper", layer / "work", target) as descriptor:
        yield {
            "root": descriptor,
            "place": str(layer),
            "mounts": [],
            "tmpfs": [],
            "namespace": -1,
            "writable": True,
        }


def descriptors(found: Json) -> tuple[int, ...]:
    """Those that a view needs to be inherited."""
    return tuple(number for number in (found["root"], found["namespace"]) if number >= 0)


def _reached(descriptor: int) -> Path:
    """A path by which other programs, too, reach what a descriptor of ours stands for."""
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _mounts(parts: Parts, container: Container) -> list[Json]:
    owner = wiring.target_of(parts, container)
    files = parts.files.paths(owner.id if owner else container.id)
    found = [{"source": str(path), "destination": place, "writable": True} for place, path in files.items()]
    found += [
        {"source": point["Source"], "destination": point["Destination"], "writable": bool(point["RW"])}
        for point in container.mounts
    ]
    return found


def _tmpfs(container: Container) -> list[str]:
    host = container.host_config
    mounts = [item["Target"] for item in items(host, "Mounts") if item.get("Type") == "tmpfs"]
    return [*table(host, "Tmpfs"), *mounts]


def _namespace(entry: Entry) -> int:
    """The mount namespace of a running container, -1 of any other: its tmpfs are nowhere else."""
    pid = entry.container.state.pid
    if not entry.container.state.running or not pid:
        return -1
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    try:
        namespace = os.open(Path(f"/proc/{pid}/ns/mnt"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    else:
        # The number may have gone to another process before it was pinned, but not if it is still the container's.
        poll = select.poll()
        poll.register(process, select.POLLIN)
        alive = not poll.poll(0)
        if alive and entry.container.state.running and entry.container.state.pid == pid:
            return namespace
        os.close(namespace)
        return -1
    finally:
        os.close(process)

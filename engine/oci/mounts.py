"""What is mounted inside a container, as OCI mounts: the kernel's file systems, the user's binds, tmpfs.

Pure: a bind is text here. That its source exists, and which directory a named volume stands for, is the caller's
business, who passes volumes as ready mounts. The runtime resolves destinations inside the rootfs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from engine.model import Json
from netpy.errors import InvalidArgument

DEFAULT_SHM = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A bind of a host path, or a tmpfs. `options` are those of mount(8), without `rbind`, `ro` and propagation."""

    kind: Literal["bind", "tmpfs"] = "bind"
    source: str
    destination: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    options: tuple[str, ...] = ()


def tmpfs(host_config: Json) -> list[Mount]:
    """Those of `HostConfig.Tmpfs`; all other mounts are the caller's business."""
    found: list[Mount] = []
    for destination, options in cast("dict[str, str]", host_config.get("Tmpfs") or {}).items():
        given = tuple(filter(None, options.split(",")))
        found.append(Mount(kind="tmpfs", source="tmpfs", destination=destination, options=given))
    return found


def kernel_mounts(host_config: Json, *, shm: str | None, private_cgroup: bool) -> list[Json]:
    """/proc, /dev and its children, /sys and the control groups, as Docker mounts them.

    `shm` is the directory that is bound to /dev/shm, empty for a file system of its own, None for nothing there.
    """
    privileged = bool(host_config.get("Privileged"))
    access = "rw" if privileged else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    cgroup = [*quiet, "relatime", access] if private_cgroup else [*quiet, access]
    mounts = [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", _DEVPTS),
        _mount("/sys", "sysfs", "sysfs", [*quiet, access]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
    ]
    if shm == "":
        size = int(host_config.get("ShmSize") or DEFAULT_SHM)
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={size}"]))
    elif shm:
        mounts.append(_mount("/dev/shm", "bind", shm, ["rbind", "rprivate"]))
    return mounts


_DEVPTS = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> Json:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def combined(kernel: Iterable[Json], user: Iterable[Mount]) -> list[Json]:
    """All mounts, parents before children; of two for one place the later one wins, the user's over ours."""
    places: dict[str, Json] = {mount["destination"]: mount for mount in kernel}
    own = dict.fromkeys(places)
    asked = {_clean(mount.destination): mount for mount in user}
    for destination in asked:
        for place in own:
            # A volume over /dev or /sys hides what we would have mounted below it.
            if place == destination or (place + "/").startswith(destination + "/"):
                places.pop(place, None)
    places |= {destination: _oci(mount, destination) for destination, mount in asked.items()}
    depth = {name: len([part for part in name.split("/") if part]) for name in places}
    kernel_first = [mount for name, mount in places.items() if name not in asked]
    return kernel_first + sorted((places[name] for name in asked), key=lambda mount: depth[mount["destination"]])


def _clean(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _oci(mount: Mount, destination: str) -> Json:
    match mount.kind:
        case "bind":
            options = ["rbind" if mount.recursive else "bind", mount.propagation, *mount.options]
        case "tmpfs":
            options = _tmpfs_options(mount.options)
    options += ["ro"] if mount.read_only else []
    return _mount(destination, mount.kind, mount.source, options)


def _tmpfs_options(given: Sequence[str]) -> list[str]:
    # Docker's defaults, each of which the user's opposite takes back.
    opposite = {"noexec": "exec", "nosuid": "suid", "nodev": "dev"}
    defaults = [name for name, other in opposite.items() if other not in given]
    return list(dict.fromkeys([*defaults, *given]))


def rootfs_propagation(mounts: Iterable[Mount]) -> str:
    """The propagation the rootfs itself needs for the mounts in it to have theirs; empty for the runtime's default."""
    wanted = {mount.propagation.removeprefix("r") for mount in mounts if mount.kind == "bind"}
    return "shared" if "shared" in wanted else "rslave" if "slave" in wanted else ""

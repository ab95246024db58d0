"""Control groups: which hierarchies the host has, and where a container stands in them.

Linux has two designs. In v1 every controller (memory, cpu, …) may be a hierarchy of its own, mounted somewhere under
/sys/fs/cgroup; in v2 one tree at /sys/fs/cgroup carries them all. A *hybrid* host has both at once, each controller
in exactly one of them. The OCI runtime makes the groups and sets the limits; this module only finds them, reads
them, and removes what a crash left. Reads and removes files under the mounts that it finds; starts nothing.

A container's group stands directly under the root, without a parent of ours: a shared parent could only be removed
while nobody else is making a child in it, and so would be left behind for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from netpy.errors import KernelError, Unsupported
from netpy.faults import point

Version = Literal["v1", "v2", "hybrid"]
_V1_NAMES = """
    blkio cpu cpuacct cpuset devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma
"""
V1_CONTROLLERS = frozenset(_V1_NAMES.split())
ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """The control groups of a host.

    `directories` maps each controller to the directory its hierarchy is mounted on. `trees` are all distinct mount
    points, named v1 hierarchies and the v2 tree included. `unified` is the controllers that the v2 tree offers.
    """

    version: Version
    directories: Mapping[str, Path] = field(default_factory=dict[str, Path])
    trees: tuple[Path, ...] = ()
    unified: frozenset[str] = frozenset()

    def file(self, controller: str, cgroup: str, name: str) -> Path | None:
        """The path of one file of a group, or None where the controller is not there."""
        directory = self.directories.get(controller)
        return None if directory is None else directory / cgroup.lstrip("/") / name

    def is_v2(self, controller: str) -> bool:
        """Whether the controller speaks the v2 file format here."""
        return controller in self.unified


def container_path(container_id: str, parent: str = "") -> str:
    """The group of a container, as the OCI configuration wants it. `parent` is Docker's `--cgroup-parent`."""
    return f"{'/' + parent.strip('/') if parent.strip('/') else ''}/netpy-{container_id}"


def hierarchy_of(mountinfo: str, unified_controllers: str) -> Hierarchy:
    """What a /proc/<pid>/mountinfo says of control groups. Pure; `unified_controllers` is the text of
    cgroup.controllers at the root of the v2 tree, empty without one."""
    directories: dict[str, Path] = {}
    trees: dict[Path, None] = {}
    root_is_v2 = False
    offered = frozenset(unified_controllers.split())
    for mount_point, kind, options in _cgroup_mounts(mountinfo):
        if kind == "cgroup2":
            if mount_point in trees:
                continue
            root_is_v2 = root_is_v2 or mount_point == ROOT
            trees.setdefault(mount_point)
            directories |= {name: mount_point for name in offered if name not in directories}
        elif kind == "cgroup":
            trees.setdefault(mount_point)
            directories |= {name: mount_point for name in options.split(",") if name in V1_CONTROLLERS}
    has_v2 = any(kind == "cgroup2" for _, kind, _ in _cgroup_mounts(mountinfo))
    version: Version = "v2" if root_is_v2 else "hybrid" if has_v2 else "v1"
    return Hierarchy(version=version, directories=directories, trees=tuple(trees), unified=offered)


def _cgroup_mounts(mountinfo: str) -> Iterator[tuple[Path, str, str]]:
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        if separator and kind in ("cgroup", "cgroup2"):
            yield Path(left.split()[4]), kind, rest.rsplit(" ", 1)[-1]


def detect() -> Hierarchy:
    """The hierarchies as this process sees them. Raises Unsupported where none is mounted."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    tree = next((path for path, kind, _ in _cgroup_mounts(mountinfo) if kind == "cgroup2"), None)
    found = hierarchy_of(mountinfo, read(tree / "cgroup.controllers") if tree else "")
    if not found.trees:
        raise Unsupported("no control groups are mounted on this host: mount cgroup2 on /sys/fs/cgroup")
    return found


def current() -> Hierarchy:
    """The same, worked out anew only when the kernel has got or lost a hierarchy.

    The table of mounts is long where many containers run, and it is asked several times in the life of each.
    """
    global _seen
    hierarchies = Path("/proc/self/cgroup").read_text()
    if _seen is None or _seen[0] != hierarchies:
        _seen = hierarchies, detect()
    return _seen[1]


_seen: tuple[str, Hierarchy] | None = None


def read(path: Path | None) -> str:
    """The text of a control file; empty where it does not exist or its group has gone."""
    if path is not None:
        with contextlib.suppress(OSError):
            return path.read_text()
    return ""


def read_table(path: Path | None) -> dict[str, int]:
    """A flat keyed control file (`key value` lines), such as memory.stat."""
    pairs = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}


def pids(hierarchy: Hierarchy, cgroup: str) -> list[int]:
    """Every process in the group and the groups below it, ascending."""
    for tree in _by_use(hierarchy):
        base = tree / cgroup.lstrip("/")
        if base.is_dir():
            groups = [base, *(path for path in base.rglob("*") if path.is_dir())]
            return sorted({int(word) for group in groups for word in read(group / "cgroup.procs").split()})
    return []


def _by_use(hierarchy: Hierarchy) -> list[Path]:
    # Runtimes join all hierarchies that carry a controller; the named and the empty v2 ones may be skipped.
    preferred = [hierarchy.directories[name] for name in ("pids", "freezer", "memory") if name in hierarchy.directories]
    return [*dict.fromkeys([*preferred, *hierarchy.directories.values(), *hierarchy.trees])]


def oom_kills(hierarchy: Hierarchy, cgroup: str) -> int:
    """How many processes of the group the kernel killed for want of memory. 0 where that cannot be known."""
    name = "memory.events" if hierarchy.is_v2("memory") else "memory.oom_control"
    return read_table(hierarchy.file("memory", cgroup, name)).get("oom_kill", 0)


def frozen(hierarchy: Hierarchy, cgroup: str) -> bool:
    """Whether the group is paused."""
    if hierarchy.is_v2("freezer") or hierarchy.version == "v2":
        base = next(iter(hierarchy.trees)) / cgroup.lstrip("/")
        return read(base / "cgroup.freeze").strip() == "1"
    return read(hierarchy.file("freezer", cgroup, "freezer.state")).strip() in ("FROZEN", "FREEZING")


def remove(hierarchy: Hierarchy, cgroup: str) -> None:
    """Remove the group everywhere, with the groups below it. Idempotent; its processes must have gone.

    Like `rmdir /sys/fs/cgroup/*/<cgroup>`. Raises an ExceptionGroup of KernelError, after having tried all.
    """
    failures: list[KernelError] = []
    for tree in hierarchy.trees:
        base = tree / cgroup.lstrip("/")
        if _removed(base, []):
            continue
        for path in [*sorted((path for path in base.rglob("*") if path.is_dir()), reverse=True), base]:
            _removed(path, failures)
    if failures:
        raise ExceptionGroup(f"control group {cgroup} is still there", failures)


def _removed(path: Path, failures: list[KernelError]) -> bool:
    point("before removing a control group")
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        failures.append(KernelError(f"cannot remove control group {path}: {error.strerror}"))
        return False
    return True

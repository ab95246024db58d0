"""Whether a process number still means the process that it meant: numbers are used again. Reads /proc."""

from __future__ import annotations

from pathlib import Path

from engine.runtime import cgroups


def belongs(pid: int, container_id: str) -> bool:
    """Whether the process is one of the container's, and more than a zombie that nobody has reaped yet."""
    # Every container has a control group with its id in the path, seen from whatever cgroup namespace.
    if pid <= 0 or container_id not in cgroups.read(Path(f"/proc/{pid}/cgroup")):
        return False
    state = cgroups.read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return bool(state) and state[0] not in ("Z", "X")


def is_monitor(pid: int, container_id: str) -> bool:
    """Whether the process is the monitor of the container."""
    return container_id in cgroups.read(Path(f"/proc/{pid}/cmdline"))

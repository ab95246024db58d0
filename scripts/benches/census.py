"""The processes of a place: those in its mount namespace, and what they have started since. Reads /proc.

That is how a contender is weighed whatever its processes are called, and how what outlives it is found and ended.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.runtime import cgroups
from scripts.benches.place import Place

PER_CONTAINER = ("conmon", "containerd-shim", "docker-proxy")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    words: tuple[str, ...]
    at_home: bool  # in the place's own mount namespace, so not in a container

    @property
    def helper(self) -> bool:
        """Whether it is there for one container."""
        return bool(self.words) and Path(self.words[0]).name.startswith(PER_CONTAINER)


def processes(place: Place) -> list[Process]:
    """All in the place's mount namespace, and their descendants; without the process that holds it."""
    home = Path(f"/proc/{place.host.process.pid}/ns/mnt").readlink()
    known = [process for entry in Path("/proc").glob("[0-9]*") if (process := _read(entry, home))]
    found = {process.pid: process for process in known if process.at_home}
    found.pop(place.host.process.pid, None)
    while more := [process for process in known if process.parent in found and process.pid not in found]:
        found.update((process.pid, process) for process in more)
    return list(found.values())


def _read(entry: Path, home: Path) -> Process | None:
    try:
        words = tuple((entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
        parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        return Process(int(entry.name), parent, words, (entry / "ns/mnt").readlink() == home)
    except OSError:
        return None  # it has ended meanwhile


def weight(among: Iterable[Process]) -> float:
    """MiB of memory, what is shared divided among those who share it (PSS)."""
    kilobytes = 0
    for process in among:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return kilobytes / 1024


def end(place: Place, patience: float = 10) -> list[Process]:
    """End whatever is left in a place, by process id, and remove their control groups; returns what would not go."""
    deadline = time.monotonic() + patience
    mine = os.getpid()
    groups: set[str] = set()
    while (left := [process for process in processes(place) if process.pid != mine]) and time.monotonic() < deadline:
        groups.update(*(_groups(process.pid) for process in left))
        # Those that look after containers go first, so that none of them restarts anything.
        for process in sorted(left, key=lambda process: not process.at_home):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
    for group in groups - _groups(mine):
        with suppress(ExceptionGroup):
            cgroups.remove(cgroups.detect(), group)
    return left


def _groups(pid: int) -> set[str]:
    """The paths of the control groups that a process is in, but for the root."""
    text = cgroups.read(Path(f"/proc/{pid}/cgroup"))
    return {path for line in text.splitlines() if (path := line.split(":", 2)[2]) != "/"}

"""Everything that a daemon can leave behind, as texts that can be compared: a leak is there after and not before.

Looks at the host's namespace (links, addresses, routes, rules, sockets), the mounts, the control groups, the files
under both roots, the records in the database, and the processes.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from engine.runtime.cgroups import detect
from tests.e2e.world import Daemon

_LOOK = (
    "ip -o link; ip -o addr; ip route; ip -6 route; nft -s list ruleset; iptables-legacy-save; ip6tables-legacy-save; "
    "ss -Hltun"
)
_VOLATILE = re.compile(
    r"^\d+: |@if\d+|valid_lft.*| tentative| linkdown|^#.*|^:\S+ \S+ \[.*|,LOWER_UP|NO-CARRIER,|state \S+|"
    r"expires \S+|^(tcp|udp) +\S+ +\d+ +\d+ |link-netns\S* \S+|master \S+(?= )|qlen \d+"
)
_PASSING = ("netpy.db-wal", "netpy.db-shm", "log", "dns.log", "pid", "daemon.lock")
# The kernel's own: link-local addresses, which come with the carrier, and rates that it measures and forgets.
_KERNELS = ("fe80::", "limit rate over")
Traces = Counter[str]


def taken(daemon: Daemon, ids: set[str]) -> Traces:
    """Everything there is now; control groups are looked for by the ids of containers."""
    found: Traces = Counter()
    found.update(f"host: {line}" for line in _host(daemon))
    found.update(f"mount: {line}" for line in _mounts(daemon))
    found.update(f"file: {line}" for root in (daemon.data_root, daemon.exec_root) for line in _files(root))
    found.update(f"record: {kind} {id}" for kind, id in records(daemon))
    found.update(f"process: {line}" for line in _processes(daemon))
    groups = (tree / f"netpy-{id}" for id in ids for tree in detect().trees)
    found.update(f"control group: {group}" for group in groups if group.exists())
    return found


def difference(before: Traces, after: Traces) -> list[str]:
    """What is new, and what is missing."""
    return [*(f"left behind: {each}" for each in after - before), *(f"lost: {each}" for each in before - after)]


def records(daemon: Daemon) -> list[tuple[str, str]]:
    """The kind and the id of every record in the database."""
    line = sqlite3.connect(f"file:{daemon.data_root}/netpy.db?mode=ro", uri=True, timeout=10)
    try:
        return line.execute("SELECT kind, id FROM record").fetchall()
    finally:
        line.close()


def _host(daemon: Daemon) -> Iterator[str]:
    done = daemon.world.at(daemon.world.host, "sh", "-c", f"({_LOOK}) 2>/dev/null", check=False)
    for line in done.stdout.splitlines():
        for part in line.split(", ") if " : " in line or line.startswith("\t\t\t") else [line]:
            text = " ".join(_VOLATILE.sub("", part.strip(" \t,")).split())
            if text and not any(mark in text for mark in _KERNELS):
                yield text


def _mounts(daemon: Daemon) -> Iterator[str]:
    ours = (str(daemon.data_root), str(daemon.exec_root))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if (place := line.split()[4]).startswith(ours):
            yield place


def _files(root: Path) -> Iterator[str]:
    device = root.stat().st_dev
    for directory, names, files in os.walk(root):
        where = Path(directory)
        if where.name == "layers":  # what is in one is the image's
            yield from (str(where / name) for name in names)
            names.clear()
        names[:] = [name for name in names if (where / name).is_symlink() or not _elsewhere(where / name, device)]
        for name in (*names, *files):
            if where != root or name not in _PASSING:
                yield str(where / name)


def _elsewhere(path: Path, device: int) -> bool:
    """Another file system, such as a container's root: what is in there is in its layer, too."""
    try:
        return path.stat().st_dev != device
    except FileNotFoundError:
        return True


def _processes(daemon: Daemon) -> Iterator[str]:
    marks = (str(daemon.exec_root).encode(), str(daemon.data_root).encode())
    main = daemon.process.pid if daemon.process else 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(mark in words for mark in marks) and int(entry.name) != main and b"tortures" not in words:
            shown = words.replace(b"\0", b" ").decode(errors="replace")[:160]
            yield shown

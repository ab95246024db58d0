"""How much of the machine a container uses: Docker's stats document, from the files of its control group.

Both designs of control groups end in one document. On v1 counters are nanoseconds and bytes in a file each; on v2 they
are microseconds and stand in tables. Docker's own differences between the two are kept, because its client computes
by them: `memory_stats.stats` are v1's or v2's names, and v2 has no `max_usage`. Network counters are those of the
network namespace of the container's first process, read by way of /proc without entering it. Reads files only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from engine.model import NEVER, Json
from engine.runtime.cgroups import Hierarchy, read, read_table
from engine.runtime.timestamps import rfc3339

_NANOSECONDS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
_NETWORK_FIELDS = ("bytes", "packets", "errors", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose numbers are wanted. `pid` is its first process, 0 to leave out the network (as Docker does for --network
    host, where the numbers would be the machine's)."""

    id: str
    name: str
    cgroup: str
    hierarchy: Hierarchy
    pid: int = 0


def sample(subject: Subject, previous: Json | None = None) -> Json:
    """Docker's document for now. `previous`, an earlier one, gives `precpu_stats` and `preread`, from which clients
    compute the percentage; without it they are empty. A container that does not run has zeros."""
    before = previous or {}
    document: Json = {
        "read": rfc3339(time.time_ns()),
        "preread": before.get("read", NEVER),
        "pids_stats": _pids(subject),
        "blkio_stats": _blkio(subject),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(subject),
        "precpu_stats": before.get("cpu_stats", _NO_CPU),
        "memory_stats": _memory(subject),
        "name": "/" + subject.name.lstrip("/"),
        "id": subject.id,
    }
    if subject.pid > 0:
        document["networks"] = networks(read(Path(f"/proc/{subject.pid}/net/dev")))
    return document


def idle(id: str, name: str) -> Json:
    """Docker's document of a container that does not run: nothing was read, and nothing is used."""
    return {
        "read": NEVER,
        "preread": NEVER,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(("io_service_bytes_recursive", *_OTHER_IO)),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _NO_CPU,
        "precpu_stats": _NO_CPU,
        "memory_stats": {},
        "name": "/" + name.lstrip("/"),
        "id": id,
    }


_NO_CPU: Json = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}


def _number(subject: Subject, controller: str, name: str) -> int | None:
    text = read(subject.hierarchy.file(controller, subject.cgroup, name)).strip()
    return int(text) if text.isdigit() else None


def _table(subject: Subject, controller: str, name: str) -> dict[str, int]:
    return read_table(subject.hierarchy.file(controller, subject.cgroup, name))


def _pids(subject: Subject) -> Json:
    current, limit = (_number(subject, "pids", name) for name in ("pids.current", "pids.max"))
    found = {"current": current, "limit": limit}
    return {key: value for key, value in found.items() if value is not None}


def _cpu(subject: Subject) -> Json:
    v2 = subject.hierarchy.is_v2("cpu")
    usage, throttling = _cpu_v2(subject) if v2 else _cpu_v1(subject)
    return {
        "cpu_usage": usage,
        "system_cpu_usage": system_cpu(read(Path("/proc/stat"))),
        "online_cpus": len(os.sched_getaffinity(0)),
        "throttling_data": throttling,
    }


def _cpu_v2(subject: Subject) -> tuple[Json, Json]:
    table = _table(subject, "cpu", "cpu.stat")
    usage = {
        "total_usage": table.get("usage_usec", 0) * 1000,
        "usage_in_kernelmode": table.get("system_usec", 0) * 1000,
        "usage_in_usermode": table.get("user_usec", 0) * 1000,
    }
    return usage, {
        "periods": table.get("nr_periods", 0),
        "throttled_periods": table.get("nr_throttled", 0),
        "throttled_time": table.get("throttled_usec", 0) * 1000,
    }


def _cpu_v1(subject: Subject) -> tuple[Json, Json]:
    ticks = _table(subject, "cpuacct", "cpuacct.stat")
    per_cpu = read(subject.hierarchy.file("cpuacct", subject.cgroup, "cpuacct.usage_percpu")).split()
    usage: Json = {
        "total_usage": _number(subject, "cpuacct", "cpuacct.usage") or 0,
        "percpu_usage": [int(word) for word in per_cpu],
        "usage_in_kernelmode": ticks.get("system", 0) * _NANOSECONDS_PER_TICK,
        "usage_in_usermode": ticks.get("user", 0) * _NANOSECONDS_PER_TICK,
    }
    table = _table(subject, "cpu", "cpu.stat")
    return usage, {
        "periods": table.get("nr_periods", 0),
        "throttled_periods": table.get("nr_throttled", 0),
        "throttled_time": table.get("throttled_time", 0),
    }


def system_cpu(text: str) -> int:
    """The time all processors have spent, from /proc/stat, in nanoseconds. Guest time is in user time already."""
    first = text.partition("\n")[0].split()
    return sum(int(word) for word in first[1:8]) * _NANOSECONDS_PER_TICK if first[:1] == ["cpu"] else 0


def _memory(subject: Subject) -> Json:
    v2 = subject.hierarchy.is_v2("memory")
    usage = _number(subject, "memory", "memory.current" if v2 else "memory.usage_in_bytes")
    if usage is None:
        return {}
    limit = _number(subject, "memory", "memory.max" if v2 else "memory.limit_in_bytes")
    total = _memory_of_machine()
    found: Json = {
        "usage": usage,
        "stats": _table(subject, "memory", "memory.stat"),
        "limit": total if limit is None or limit > _UNLIMITED else min(limit, total),
    }
    if not v2:
        found["max_usage"] = _number(subject, "memory", "memory.max_usage_in_bytes") or 0
        if failures := _number(subject, "memory", "memory.failcnt"):
            found["failcnt"] = failures
    return found


def _memory_of_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _blkio(subject: Subject) -> Json:
    if subject.hierarchy.is_v2("io"):
        entries = io_entries_v2(read(subject.hierarchy.file("io", subject.cgroup, "io.stat")))
        return {"io_service_bytes_recursive": entries} | dict.fromkeys(_OTHER_IO)
    names = {"io_service_bytes_recursive": "io_service_bytes", "io_serviced_recursive": "io_serviced"}
    found: Json = {key: [] for key in (*names, *_OTHER_IO)}
    for key, name in names.items():
        for prefix in ("blkio.bfq.", "blkio.throttle."):
            text = read(subject.hierarchy.file("blkio", subject.cgroup, f"{prefix}{name}_recursive"))
            found[key] = found[key] or io_entries_v1(text)
    return found


_OTHER_IO = (
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def io_entries_v1(text: str) -> list[Json]:
    """`8:0 Read 4096` lines as Docker has them."""
    rows = [line.split() for line in text.splitlines()]
    return [_io_entry(row[0], row[1], int(row[2])) for row in rows if len(row) == 3]


def io_entries_v2(text: str) -> list[Json]:
    """`8:0 rbytes=4096 wbytes=0 …` lines of io.stat as Docker has them: bytes read and written."""
    found: list[Json] = []
    for line in text.splitlines():
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for operation, key in (("read", "rbytes"), ("write", "wbytes")):
            if key in values:
                found.append(_io_entry(device, operation, int(values[key])))
    return found


def _io_entry(device: str, operation: str, value: int) -> Json:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor or 0), "op": operation, "value": value}


def networks(text: str) -> Json:
    """Counters by interface from a /proc/<pid>/net/dev, without loopback."""
    found: Json = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            received = {f"rx_{field}": numbers[i] for i, field in enumerate(_NETWORK_FIELDS)}
            sent = {f"tx_{field}": numbers[8 + i] for i, field in enumerate(_NETWORK_FIELDS)}
            found[name.strip()] = received | sent
    return found

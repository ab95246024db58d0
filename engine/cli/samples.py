"""What `stats` shows of a sample of the API: percentages and sizes as texts. Pure; Docker's own arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.cli.documents import entries, section
from engine.cli.units import binary_size, short_id, size

Row = dict[str, str]
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def stats_row(sample: Mapping[str, Any], *, trunc: bool = True) -> Row:
    """A sample of GET /containers/{id}/stats."""
    memory: Mapping[str, Any] = section(sample, "memory_stats")
    used, limit = memory_used(memory), int(memory.get("limit") or 0)
    received, sent = _network(sample)
    read, written = _blocks(sample)
    identifier, name = str(sample.get("id") or ""), str(sample.get("name") or "").removeprefix("/")
    return {
        "Container": name,
        "ID": short_id(identifier) if trunc else identifier,
        "Name": name,
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{size(received)} / {size(sent)}",
        "BlockIO": f"{size(read)} / {size(written)}",
        "PIDs": str(section(sample, "pids_stats").get("current") or 0),
    }


def unknown_row(name: str) -> Row:
    """A container that gives no sample: it does not run."""
    row = dict.fromkeys(("Container", "ID", "Name"), name)
    pairs = {"MemUsage": "-- / --", "NetIO": "--", "BlockIO": "--", "CPUPerc": "--", "MemPerc": "--", "PIDs": "--"}
    return row | pairs


def cpu_percent(sample: Mapping[str, Any]) -> float:
    """Of one CPU: two busy CPUs are 200 %."""
    now, before = section(sample, "cpu_stats"), section(sample, "precpu_stats")
    used = _total(now) - _total(before)
    passed = float(now.get("system_cpu_usage") or 0) - float(before.get("system_cpu_usage") or 0)
    if used <= 0 or passed <= 0:
        return 0.0
    cpus = int(now.get("online_cpus") or 0) or len(section(now, "cpu_usage").get("percpu_usage") or [0])
    return used / passed * cpus * 100


def _total(cpu: Mapping[str, Any]) -> float:
    return float(section(cpu, "cpu_usage").get("total_usage") or 0)


def memory_used(memory: Mapping[str, Any]) -> int:
    """Bytes without the page cache that could be dropped at once."""
    usage, details = int(memory.get("usage") or 0), section(memory, "stats")
    for name in ("total_inactive_file", "inactive_file"):  # cgroup v1, then v2
        if name in details and int(details[name]) < usage:
            return usage - int(details[name])
    return usage


def _network(sample: Mapping[str, Any]) -> tuple[int, int]:
    links = section(sample, "networks").values()
    return sum(int(link["rx_bytes"]) for link in links), sum(int(link["tx_bytes"]) for link in links)


def _blocks(sample: Mapping[str, Any]) -> tuple[int, int]:
    read = written = 0
    for entry in entries(section(sample, "blkio_stats"), "io_service_bytes_recursive"):
        letter = str(entry["op"])[:1].lower()
        read += int(entry["value"]) if letter == "r" else 0
        written += int(entry["value"]) if letter == "w" else 0
    return read, written

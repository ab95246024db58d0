"""Limits of a container: Docker's HostConfig numbers as the `resources` of an OCI configuration.

Pure. The numbers are given in the OCI's v1 terms; both runtimes convert them where a controller is on v2. A limit that
this host cannot enforce is left out, and `warnings` says so in Docker's words, for the answer of a create.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from engine.model import Json
from netpy.errors import InvalidArgument

MIN_MEMORY = 6 * 1024 * 1024
CPU_PERIOD = 100_000  # microseconds: the kernel's default


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Which limits the host can enforce. `cpus` is how many processors it has."""

    memory: bool = True
    swap: bool = True
    pids: bool = True
    cpu: bool = True
    cpuset: bool = True
    weight: bool = True
    throttle: bool = True
    swappiness: bool = True
    cpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node for the container: `kind` is c or b, `access` a subset of rwm."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


def resources(host_config: Json, support: Support, devices: Iterable[Device] = ()) -> Json:
    """The OCI `linux.resources`. Raises InvalidArgument for numbers that contradict each other."""
    check(host_config, support)
    found: Json = {"devices": device_rules(host_config, devices)}
    parts = {
        "memory": memory(host_config, support) if support.memory else {},
        "cpu": cpu(host_config, support),
        "blockIO": block_io(host_config, support),
    }
    found |= {name: part for name, part in parts.items() if part}
    limit = _number(host_config, "PidsLimit")
    if limit and support.pids:
        found["pids"] = {"limit": limit if limit > 0 else -1}
    return found


def check(host_config: Json, support: Support) -> None:
    """Raise InvalidArgument, with Docker's words, for limits that cannot be."""
    limit, swap, reservation = (_number(host_config, name) for name in ("Memory", "MemorySwap", "MemoryReservation"))
    nano = _number(host_config, "NanoCpus")
    problems = {
        "Minimum memory limit allowed is 6MB": 0 < limit < MIN_MEMORY,
        "Minimum memoryswap limit should be larger than memory limit, see usage": 0 < swap < limit,
        "You should always set the Memory limit when using Memoryswap limit, see usage": swap > 0 and not limit,
        "Minimum memory limit can not be less than memory reservation limit, see usage": 0 < limit < reservation,
        "Conflicting options: Nano CPUs and CPU Period cannot both be set": bool(
            nano and _number(host_config, "CpuPeriod")
        ),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set": bool(
            nano and _number(host_config, "CpuQuota")
        ),
        f"range of CPUs is from 0.01 to {support.cpus}.00, as there are only {support.cpus} CPUs available": bool(nano)
        and not 10_000_000 <= nano <= support.cpus * 1_000_000_000,
    }
    for message, wrong in problems.items():
        if wrong:
            raise InvalidArgument(message)


def memory(host_config: Json, support: Support) -> Json:
    """Memory in bytes. As Docker: without a word on swap, the container may use as much swap as memory."""
    limit, swap = _number(host_config, "Memory"), _number(host_config, "MemorySwap")
    found: Json = {}
    if limit > 0:
        found["limit"] = limit
    if support.swap and (swap or limit > 0):
        found["swap"] = swap or 2 * limit
    if reservation := _number(host_config, "MemoryReservation"):
        found["reservation"] = reservation
    swappiness = host_config.get("MemorySwappiness")
    if swappiness is not None and int(swappiness) >= 0 and support.swappiness:
        found["swappiness"] = int(swappiness)
    if host_config.get("OomKillDisable"):
        found["disableOOMKiller"] = True
    return found


def cpu(host_config: Json, support: Support) -> Json:
    """Shares, quota and period in microseconds, and the processors allowed. `--cpus 1.5` is a quota of 1.5 periods."""
    found: Json = {}
    if support.cpu:
        if nano := _number(host_config, "NanoCpus"):
            found = {"period": CPU_PERIOD, "quota": nano * CPU_PERIOD // 1_000_000_000}
        wanted = {
            "shares": "CpuShares",
            "period": "CpuPeriod",
            "quota": "CpuQuota",
            "realtimePeriod": "CpuRealtimePeriod",
            "realtimeRuntime": "CpuRealtimeRuntime",
        }
        found |= {key: value for key, field in wanted.items() if (value := _number(host_config, field))}
    if support.cpuset:
        sets = {"cpus": host_config.get("CpusetCpus"), "mems": host_config.get("CpusetMems")}
        found |= {key: value for key, value in sets.items() if value}
    return found


THROTTLES = {
    "throttleReadBpsDevice": "BlkioDeviceReadBps",
    "throttleWriteBpsDevice": "BlkioDeviceWriteBps",
    "throttleReadIOPSDevice": "BlkioDeviceReadIOps",
    "throttleWriteIOPSDevice": "BlkioDeviceWriteIOps",
}


def block_io(host_config: Json, support: Support) -> Json:
    """Weight and per-device throttles. The devices must have been looked up: `host.with_block_devices`."""
    found: Json = {}
    if (weight := _number(host_config, "BlkioWeight")) and support.weight:
        found["weight"] = weight
    for key, field in THROTTLES.items() if support.throttle else ():
        if entries := cast("list[Json]", host_config.get(field) or []):
            found[key] = [_throttle(entry) for entry in entries]
    return found


def _throttle(entry: Json) -> Json:
    if "Major" not in entry:
        raise InvalidArgument(f"cannot throttle {entry.get('Path')}: its device number is not known")
    return {"major": entry["Major"], "minor": entry["Minor"], "rate": int(entry["Rate"])}


# What every container may use: any node may be made, these may be opened.
_OPEN_TO_ALL = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts/*
)


def device_rules(host_config: Json, devices: Iterable[Device]) -> list[Json]:
    """The device controller's list: nothing, but Docker's defaults, the devices asked for, and the user's own rules."""
    if host_config.get("Privileged"):
        return [{"allow": True, "access": "rwm"}]
    rules: list[Json] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(*entry) for entry in _OPEN_TO_ALL]
    rules += [_rule(item.kind, item.major, item.minor, item.access) for item in devices]
    return rules + [_parsed_rule(text) for text in cast("list[str]", host_config.get("DeviceCgroupRules") or [])]


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> Json:
    numbers = {"major": major, "minor": minor}
    known = {key: value for key, value in numbers.items() if value is not None}
    return {"allow": True, "type": kind, "access": access, **known}


def _parsed_rule(text: str) -> Json:
    words = text.split()
    major, _, minor = words[1].partition(":") if len(words) == 3 else ("", "", "")
    numbers = [None if part == "*" else int(part) if part.isdigit() else -1 for part in (major, minor)]
    if len(words) != 3 or words[0] not in ("a", "b", "c") or -1 in numbers or not set(words[2]) <= set("rwm"):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    return _rule(words[0], numbers[0], numbers[1], words[2])


def rlimits(host_config: Json, ceilings: Mapping[str, int]) -> list[Json]:
    """The limits asked for by --ulimit, and no others: a runtime that cannot raise one fails the whole container.

    `ceilings` holds the daemon's own hard limits (by RLIMIT_ name) where it may not exceed them; empty where it may.
    """
    found: list[Json] = []
    for item in cast("list[Json]", host_config.get("Ulimits") or []):
        name = "RLIMIT_" + str(item["Name"]).upper()
        hard, soft = (_unlimited(item.get(side)) for side in ("Hard", "Soft"))
        ceiling = ceilings.get(name)
        if ceiling is not None:
            hard, soft = min(hard, ceiling), min(soft, ceiling)
        found.append({"type": name, "hard": hard, "soft": min(soft, hard)})
    return found


_INFINITY = 2**64 - 1


def _unlimited(value: object) -> int:
    number = int(cast("int", value or 0))
    return _INFINITY if number < 0 else number


def warnings(host_config: Json, support: Support) -> list[str]:
    """What of the wish this host cannot do, one sentence each, as Docker answers a create."""
    asked = {
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.": (
            "Memory",
            support.memory,
        ),
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap.": ("MemorySwap", support.swap),
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.": (
            "PidsLimit",
            support.pids,
        ),
        "Your kernel does not support CPU CFS quota or the cgroup is not mounted. Quota discarded.": (
            "NanoCpus",
            support.cpu,
        ),
        "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.": (
            "CpusetCpus",
            support.cpuset,
        ),
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.": (
            "BlkioWeight",
            support.weight,
        ),
    }
    return [text for text, (field, supported) in asked.items() if host_config.get(field) and not supported]


def _number(host_config: Json, field: str) -> int:
    return int(host_config.get(field) or 0)

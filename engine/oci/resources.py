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
    """Which limits the host can enforce. `cpus` is how many processors it has, `nodes` how many of memory."""

    memory: bool = True
    swap: bool = True
    pids: bool = True
    cpu: bool = True
    cpuset: bool = True
    weight: bool = True
    throttle: bool = True
    swappiness: bool = True
    cpus: int = 1
    nodes: int = 1
    weight_device: bool = True


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


def check(host_config: Json, support: Support, *, update: bool = False) -> None:
    """Raise InvalidArgument, with Docker's words, for limits that cannot be.

    An update may name swap alone: the limit of memory is there already.
    """
    for message, wrong in (*_memory_problems(host_config, update), *_cpu_problems(host_config, support)):
        if wrong:
            raise InvalidArgument(message)
    if support.weight and (weight := _number(host_config, "BlkioWeight")) and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if support.cpuset:
        _check_set(str(host_config.get("CpusetCpus") or ""), support.cpus, ("cpuset cpus", "CPUs"))
        _check_set(str(host_config.get("CpusetMems") or ""), support.nodes, ("cpuset mems", "memory nodes"))


def _memory_problems(host_config: Json, update: bool) -> list[tuple[str, bool]]:
    limit, swap, reservation = (_number(host_config, name) for name in ("Memory", "MemorySwap", "MemoryReservation"))
    return [
        ("Minimum memory limit allowed is 6MB", 0 < limit < MIN_MEMORY),
        ("Minimum memoryswap limit should be larger than memory limit, see usage", 0 < swap < limit),
        (
            "You should always set the Memory limit when using Memoryswap limit, see usage",
            swap > 0 and not limit and not update,
        ),
        ("Minimum memory reservation allowed is 6MB", 0 < reservation < MIN_MEMORY),
        ("Minimum memory limit can not be less than memory reservation limit, see usage", 0 < limit < reservation),
    ]


def _cpu_problems(host_config: Json, support: Support) -> list[tuple[str, bool]]:
    nano, period, quota = (_number(host_config, name) for name in ("NanoCpus", "CpuPeriod", "CpuQuota"))
    return [
        ("Conflicting options: Nano CPUs and CPU Period cannot both be set", bool(nano and period)),
        ("Conflicting options: Nano CPUs and CPU Quota cannot both be set", bool(nano and quota)),
        (
            f"range of CPUs is from 0.01 to {support.cpus}.00, as there are only {support.cpus} CPUs available",
            bool(nano) and not 10_000_000 <= nano <= support.cpus * 1_000_000_000,
        ),
        (
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            bool(period) and not 1000 <= period <= 1_000_000,
        ),
        ("CPU cfs quota can not be less than 1ms (i.e. 1000)", 0 < quota < 1000),
    ]


def _check_set(text: str, count: int, words: tuple[str, str]) -> None:
    """`0-3,5` must be processors, or nodes of memory, that are there."""
    highest = -1
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise InvalidArgument(f"Invalid value {text} for {words[0]}: invalid format: {part}")
        highest = max(highest, int(last or first))
    if highest >= count:
        there = f"0-{count - 1}" if count > 1 else "0"
        raise InvalidArgument(f"Requested {words[1]} are not available - requested {text}, available: {there}")


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
    if (weights := cast("list[Json]", host_config.get("BlkioWeightDevice") or [])) and support.weight_device:
        found["weightDevice"] = [_weighed(entry) for entry in weights]
    for key, field in THROTTLES.items() if support.throttle else ():
        if entries := cast("list[Json]", host_config.get(field) or []):
            found[key] = [_throttle(entry) for entry in entries]
    return found


def _weighed(entry: Json) -> Json:
    return {"major": entry["Major"], "minor": entry["Minor"], "weight": int(entry["Weight"])}


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


def rlimits(host_config: Json, ceilings: Mapping[str, int], former: Mapping[str, tuple[int, int]]) -> list[Json]:
    """The limits asked for by --ulimit, and no others: a runtime that cannot raise one fails the whole container.

    `ceilings` holds the daemon's own hard limits (by RLIMIT_ name) where it may not exceed them; empty where it may.
    `former` are limits, soft and hard, that the daemon has raised for itself: nobody inherits them raised.
    """
    found: dict[str, Json] = {name: {"type": name, "hard": hard, "soft": soft} for name, (soft, hard) in former.items()}
    for item in cast("list[Json]", host_config.get("Ulimits") or []):
        name = "RLIMIT_" + str(item["Name"]).upper()
        hard, soft = (_unlimited(item.get(side)) for side in ("Hard", "Soft"))
        ceiling = ceilings.get(name)
        if ceiling is not None:
            hard, soft = min(hard, ceiling), min(soft, ceiling)
        found[name] = {"type": name, "hard": hard, "soft": min(soft, hard)}
    return list(found.values())


_INFINITY = 2**64 - 1


def _unlimited(value: object) -> int:
    number = int(cast("int", value or 0))
    return _INFINITY if number < 0 else number


_UNSUPPORTED = "Your kernel does not support {} or the cgroup is not mounted. {}"
# What a host may lack: the field of Support, the fields of the HostConfig that come to nothing then, and the words.
_LACKING: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "memory",
        ("Memory", "MemorySwap", "MemoryReservation"),
        _UNSUPPORTED.format("memory limit capabilities", "Limitation discarded."),
    ),
    ("swap", ("MemorySwap",), _UNSUPPORTED.format("swap limit capabilities", "Memory limited without swap.")),
    ("pids", ("PidsLimit",), _UNSUPPORTED.format("PIDs limit capabilities", "PIDs limit discarded.")),
    ("cpu", ("NanoCpus",), _UNSUPPORTED.format("CPU CFS quota", "Quota discarded.")),
    ("cpuset", ("CpusetCpus",), _UNSUPPORTED.format("cpuset", "Cpuset discarded.")),
    ("weight", ("BlkioWeight",), _UNSUPPORTED.format("Block I/O weight", "Weight discarded.")),
    (
        "weight_device",
        ("BlkioWeightDevice",),
        _UNSUPPORTED.format("Block I/O weight_device", "Weight-device discarded."),
    ),
)


def warnings(host_config: Json, support: Support) -> list[str]:
    """What of the wish this host cannot do, one sentence each, as Docker answers a create."""
    return [text for name, fields, text in _LACKING if not getattr(support, name) and host_config.get(fields[0])]


def supported(host_config: Json, support: Support) -> Json:
    """The wish without what `warnings` tells of."""
    lost = {field for name, fields, _ in _LACKING if not getattr(support, name) for field in fields}
    return {key: value for key, value in host_config.items() if key not in lost}


def _number(host_config: Json, field: str) -> int:
    return int(host_config.get(field) or 0)

"""Limits, devices, ulimits, health checks and policies of `run`: flag values into the API's numbers. Pure.

Errors are BadValue (one flag's value is wrong) or ValueError (flags do not go together), in Docker's words.
"""

from __future__ import annotations

from engine.cli.filters import duration
from engine.cli.flags import BadValue, Options
from engine.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ULIMITS = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
]
_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
            "kernel.shmmni", "kernel.shm_rmid_forced")  # fmt: skip


def size_of(options: Options, flag: str, *, unlimited: bool = False) -> int:
    """The bytes of a flag such as `memory-swap`; 0 if it was not given, -1 where that stands for unlimited."""
    text = options.text(flag.replace("-", "_"))
    if not text or (unlimited and text == "-1"):
        return -1 if text else 0
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise BadValue(flag, text, str(error)) from error


def nano_cpus(text: str) -> int:
    """`1.5` CPUs in billionths."""
    if not text:
        return 0
    from fractions import Fraction

    try:
        nano = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError) as error:
        raise BadValue("cpus", text, f"failed to parse {text} as a rational number") from error
    if nano.denominator != 1:
        raise BadValue("cpus", text, "value is too precise")
    return int(nano)


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` as the API has it."""
    name, colon, count = text.partition(":")
    if colon and not count.lstrip("-").isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    return {"Name": name or "no", "MaximumRetryCount": int(count or 0)}


def ulimits(specs: Sequence[str]) -> list[dict[str, Any]]:
    """`nofile=1024:2048` as the API has it; the hard limit is the soft one if it is not given."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        if not equals:
            raise BadValue("ulimit", spec, f"invalid ulimit argument: {spec}")
        if name not in ULIMITS:
            raise BadValue("ulimit", spec, f"invalid ulimit type: {name}")
        soft, _, hard = value.partition(":")
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError as error:
            raise BadValue("ulimit", spec, f'strconv.ParseInt: parsing "{soft}": invalid syntax') from error
        if high != -1 and (low == -1 or low > high):
            raise BadValue(
                "ulimit", spec, f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}"
            )
        found[name] = {"Name": name, "Hard": high, "Soft": low}
    return [found[name] for name in sorted(found)]


def devices(specs: Sequence[str]) -> list[dict[str, str]]:
    """`/dev/sda:/dev/xvdc:rwm` as the API has it."""
    found: list[dict[str, str]] = []
    for spec in specs:
        parts = spec.split(":")
        if len(parts) > 3 or (len(parts) == 3 and not _is_mode(parts[2])):
            raise ValueError(f"bad format for path: {spec}")
        inside, mode = parts[0], "rwm"
        for part in parts[1:]:
            if _is_mode(part):
                mode = part
            else:
                inside = part
        if not parts[0].startswith("/") or not inside.startswith("/"):
            raise ValueError(f"{spec} is not an absolute path")
        found.append({"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": mode})
    return found


def _is_mode(text: str) -> bool:
    return bool(text) and not text.strip("rwm")


def sysctls(specs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
            raise BadValue("sysctl", spec, f"sysctl '{spec}' is not allowed")
        found[name] = value
    return found


def healthcheck(options: Options) -> dict[str, Any] | None:
    """The Healthcheck document, None if no flag speaks of it. Times are in nanoseconds."""
    command = options.text("health_cmd")
    times = {name: _nanoseconds(options, f"health-{flag}") for name, flag in _HEALTH_TIMES.items()}
    retries = options.number("health_retries")
    any_given = bool(command or retries or any(times.values()))
    if options.flag("no_healthcheck"):
        if any_given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not any_given:
        return None
    if retries < 0:
        raise ValueError("--health-retries cannot be negative")
    found: dict[str, Any] = {"Test": ["CMD-SHELL", command]} if command else {}
    return found | {name: value for name, value in times.items() if value} | ({"Retries": retries} if retries else {})


_HEALTH_TIMES = {
    "Interval": "interval",
    "Timeout": "timeout",
    "StartPeriod": "start-period",
    "StartInterval": "start-interval",
}


def _nanoseconds(options: Options, flag: str) -> int:
    text = options.text(flag.replace("-", "_"))
    if not text:
        return 0
    try:
        seconds = duration(text)
    except ValueError as error:
        raise BadValue(flag, text, str(error)) from error
    if seconds < 0:
        raise ValueError(f"--{flag} cannot be negative")
    return round(seconds * 1_000_000_000)

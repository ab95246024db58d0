"""What a container's health is: how its Healthcheck document is read, and what each probe changes. Pure.

The rules are Docker's. A container starts as `starting`; a probe that succeeds makes it healthy, so many failures in a
row make it unhealthy. While it is starting and its start period lasts, a failure does not count. `probing` runs the
probes; nothing here knows the time, which comes in as an argument.

    what the probe says | while starting, in the start period | else
    0                   | healthy, streak 0                   | healthy, streak 0
    anything else       | starting, streak as it was          | streak + 1, unhealthy from `retries` on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.containers.documents import items, table
from engine.model import Health, Json, Probe
from netpy.errors import InvalidArgument

SECOND = 1_000_000_000
LEAST = 1_000_000
"""Nanoseconds: shorter times than a millisecond are refused."""
KEPT, LONGEST_OUTPUT = 5, 4096
"""How many probes are remembered, and how many bytes of what each said."""
FAILED = -1
"""The exit code of a probe that could not be run, or not to its end."""
_SHELL = ("/bin/sh", "-c")
_INTERVAL, _TIMEOUT, _START_INTERVAL, _RETRIES = 30.0, 30.0, 5.0, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a container's health is looked after. Times are in seconds."""

    command: tuple[str, ...]
    interval: float = _INTERVAL
    timeout: float = _TIMEOUT
    retries: int = _RETRIES
    start_period: float = 0.0
    start_interval: float = _START_INTERVAL


def validate(config: Mapping[str, Any]) -> None:
    """InvalidArgument, in Docker's words, for times and counts in a Healthcheck that cannot be."""
    document = table(config, "Healthcheck")
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if document.get(name) and document[name] < LEAST:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if (document.get("Retries") or 0) < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def check_of(config: Mapping[str, Any]) -> Check | None:
    """The check that a container's Config asks for; None without one, and for a kind of test that nobody knows."""
    document = table(config, "Healthcheck")
    kind, *words = items(document, "Test") or ["NONE"]
    match kind:
        case "CMD":
            command = tuple(words)
        case "CMD-SHELL":
            command = (*(items(config, "Shell") or _SHELL), *words)
        case _:
            return None
    interval = _seconds(document, "Interval") or _INTERVAL
    return Check(
        command=command,
        interval=interval,
        timeout=_seconds(document, "Timeout") or _TIMEOUT,
        retries=document.get("Retries") or _RETRIES,
        start_period=_seconds(document, "StartPeriod"),
        # Who probes every second wants no longer gaps while the container comes up.
        start_interval=_seconds(document, "StartInterval") or min(interval, _START_INTERVAL),
    )


def _seconds(document: Json, key: str) -> float:
    return (document.get(key) or 0) / SECOND


def pause_before(check: Check, health: Health, running_for: float) -> float:
    """Seconds until the next probe of a container that has run for so long."""
    coming_up = health.status == "starting" and running_for < check.start_period
    return check.start_interval if coming_up else check.interval


def after(check: Check, health: Health, probe: Probe, running_for: float) -> Health:
    """The health once this probe is known; `running_for` is the container's age when it began, in seconds."""
    log = (*health.log, probe)[-KEPT:]
    if probe.exit_code == 0:
        return Health(status="healthy", log=log)
    if health.status == "starting" and running_for < check.start_period:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= check.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


def begun(check: Check | None, before: Health | None) -> Health | None:
    """The health of a container that starts: what was probed before is still shown."""
    return None if check is None else Health(log=before.log if before else ())


def unwatched(health: Health | None) -> Health | None:
    """The health when nobody looks any more, paused or ended: Docker calls that unhealthy."""
    return None if health is None else replace(health, status="unhealthy")


def shown(output: bytes) -> str:
    """What a probe said, as its record has it."""
    cut = output[:LONGEST_OUTPUT].decode(errors="replace")
    return cut + "..." if len(output) > LONGEST_OUTPUT else cut


def timed_out(timeout: float, output: str) -> str:
    """The record of a probe that took too long."""
    told = f"Health check exceeded timeout ({span(timeout)})"
    return f"{told}: {output}" if output else told


def span(seconds: float) -> str:
    """Seconds as Go writes a duration: `500ms`, `1.5s`, `1m30s`, `2h0m0s`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text

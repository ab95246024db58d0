"""How long ago, in Docker's words: `Up 3 seconds`, `Exited (0) About an hour ago`. Pure; the present is an argument."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.model import NEVER, State

_MINUTE, _HOUR = 60, 3600


def human_duration(seconds: float) -> str:
    """A duration as `docker ps` rounds it."""
    hours = int(seconds / _HOUR + 0.5)
    if seconds < _MINUTE:
        whole = int(seconds)
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if seconds < _HOUR:
        minutes = int(seconds / _MINUTE)
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours <= 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{int(seconds / _HOUR) // 24 // 365} years"


def moment(text: str) -> datetime:
    """RFC 3339 with up to nanoseconds, as records have it."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    parsed = datetime.strptime(head, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return parsed.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if fraction else parsed


def unix_time(text: str) -> int:
    """Seconds since the epoch."""
    return int(moment(text).timestamp())


def status(state: State, now: datetime) -> str:
    """The STATUS column."""
    match state.status:
        case "running" | "paused":
            return f"Up {_since(state.started_at, now)}{_remark(state)}"
        case "restarting":
            return f"Restarting ({state.exit_code}) {_since(state.finished_at, now)} ago"
        case "exited" if state.finished_at != NEVER:
            return f"Exited ({state.exit_code}) {_since(state.finished_at, now)} ago"
        case _:
            return _BARE[state.status]


def _remark(state: State) -> str:
    if state.status == "paused":
        return " (Paused)"
    if state.health is None:
        return ""
    return " (health: starting)" if state.health.status == "starting" else f" ({state.health.status})"


_BARE = {"created": "Created", "removing": "Removal In Progress", "dead": "Dead", "exited": ""}


def _since(text: str, now: datetime) -> str:
    return human_duration(max(0.0, (now - moment(text)).total_seconds()))

"""What may happen to a container, when, and what becomes of it. Pure: no clock, no I/O.

One table says which event is allowed in which state and where it leads. What is not in the table is refused, with
the words that Docker's daemon has for it, because scripts read them. Two kinds of event share the table: requests
(start, stop, pause, remove…), which somebody makes and which may be refused, and facts (started, exited,
backed-off…), which the engine reports after the thing has happened.

    created ──start──▶ created ──started──▶ running ◀──unpause── paused
                          │                 │ │  ▲ └───pause────────▲
                          └──failed──▶ created │  │ started
                                              │  └──── restarting ◀── backed-off (running, paused)
                                  exited ◀────┘ exited      │
                                     └──remove──▶ removing ◀┘ (by force)

A restarting container counts as running for whoever asks to start, stop or remove it: a process of it is due.

The restart policy is here too: whether, and after which delay, a container that ended is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.model import Status
from netpy.errors import Conflict, InvalidArgument

Request = Literal["start", "stop", "kill", "pause", "unpause", "exec", "top", "attach", "remove", "force-remove"]
Fact = Literal["started", "failed", "exited", "backed-off", "removal-failed"]
Event = Request | Fact

TABLE: Mapping[Status, Mapping[Event, Status]] = {
    "created": {
        "start": "created",
        "started": "running",
        "failed": "created",
        "attach": "created",
        "stop": "created",
        "remove": "removing",
        "force-remove": "removing",
    },
    "running": {
        "start": "running",
        "stop": "running",
        "kill": "running",
        "pause": "paused",
        "exec": "running",
        "top": "running",
        "attach": "running",
        "exited": "exited",
        "backed-off": "restarting",
        "force-remove": "running",
    },
    "paused": {
        "unpause": "running",
        "stop": "paused",
        "kill": "paused",
        "top": "paused",
        "exited": "exited",
        "backed-off": "restarting",
        "force-remove": "paused",
    },
    "restarting": {
        "start": "restarting",
        "started": "running",
        "failed": "exited",
        "stop": "restarting",
        "kill": "restarting",
        "exited": "exited",
        "backed-off": "restarting",
        "force-remove": "restarting",
    },
    "exited": {
        "start": "exited",
        "started": "running",
        "failed": "exited",
        "attach": "exited",
        "stop": "exited",
        "remove": "removing",
        "force-remove": "removing",
    },
    "removing": {"removal-failed": "dead"},
    "dead": {"remove": "removing", "force-remove": "removing"},
}
# Requests that already have what they ask for: they succeed and do nothing (304 in Docker's API).
IDLE: frozenset[tuple[Status, Event]] = frozenset(
    {("running", "start"), ("restarting", "start"), ("created", "stop"), ("exited", "stop")}
)


def step(status: Status, event: Event, container_id: str) -> Status:
    """The state after `event`. Conflict, in Docker's words, where it is not allowed."""
    after = TABLE[status].get(event)
    if after is None:
        raise Conflict(refusal(status, event, container_id))
    return after


def is_idle(status: Status, event: Event) -> bool:
    """Whether the request is allowed and there is nothing to do."""
    return (status, event) in IDLE


def is_alive(status: Status) -> bool:
    """Whether a process exists, or will again without anybody's asking."""
    return status in ("running", "paused", "restarting")


def refusal(status: Status, event: Event, container_id: str) -> str:
    """Why `event` cannot happen now, as dockerd says it."""
    match event:
        case "start":
            return _refused_start(status)
        case "pause" if status == "paused":
            return f"Container {container_id} is already paused"
        case "unpause":
            return f"Container {container_id} is not paused"
        case "remove" | "force-remove":
            return _refused_removal(status, container_id)
        case "exec" | "attach" if status == "paused":
            return f"Container {container_id} is paused, unpause the container before {event}"
        case "pause" | "exec" | "attach" | "top" if status == "restarting":
            return f"Container {container_id} is restarting, wait until the container is running"
        case _:
            return f"Container {container_id} is not running"


def _refused_start(status: Status) -> str:
    if status == "paused":
        return "cannot start a paused container, try unpause instead"
    if status == "dead":
        return "container is marked as dead and cannot be started"
    return "container is marked for removal and cannot be started"


def _refused_removal(status: Status, container_id: str) -> str:
    if status == "removing":
        return f"removal of container {container_id} is already in progress"
    hint = "Stop the container before attempting removal or force remove"
    if status == "paused":
        hint = "Unpause and then stop the container before attempting removal or force remove"
    return f"You cannot remove a {status} container {container_id}. {hint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """`--restart`: `no`, `always`, `unless-stopped` or `on-failure[:maximum]` (0: without end)."""

    name: str = "no"
    maximum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a container ended. `ran_for` and `delay`, the wait before that run (0: none), are in seconds."""

    exit_code: int
    restarts: int
    stopped_by_user: bool
    ran_for: float
    delay: float = 0.0


FIRST_DELAY, LONGEST_DELAY, STEADY = 0.1, 60.0, 10.0


def restart_delay(policy: RestartPolicy, ending: Ending) -> float | None:
    """Seconds until the container is to be started again, or None where it stays as it is.

    The delay doubles from 100 ms to a minute; a run of ten seconds or more begins anew.
    """
    if ending.stopped_by_user or not _wants_restart(policy, ending.exit_code, ending.restarts):
        return None
    if ending.ran_for >= STEADY or ending.delay <= 0:
        return FIRST_DELAY
    return min(ending.delay * 2, LONGEST_DELAY)


def starts_with_daemon(policy: RestartPolicy, *, exit_code: int, restarts: int, stopped_by_user: bool) -> bool:
    """Whether a container that is found dead when the daemon comes up is started."""
    if policy.name == "always":
        return True
    return not stopped_by_user and _wants_restart(policy, exit_code, restarts)


def _wants_restart(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return exit_code != 0 and (policy.maximum == 0 or restarts < policy.maximum)
        case _:
            return False


def restart_policy(document: Mapping[str, object] | None) -> RestartPolicy:
    """Docker's `RestartPolicy` document, checked. InvalidArgument names what is wrong with it."""
    name = str((document or {}).get("Name") or "no")
    maximum = (document or {}).get("MaximumRetryCount") or 0
    if not isinstance(maximum, int):
        raise InvalidArgument(f"invalid restart policy: maximum retry count '{maximum}' is not a number")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if maximum < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if maximum and name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    return RestartPolicy(name=name, maximum=maximum)

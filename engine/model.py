"""The engine's nouns: containers, as immutable records.

A container's configuration is kept as Docker's own documents (`Config`, `HostConfig`), because every client
expects to read back what it, or another client, wrote, field by field. They are decoded where they are
acted on. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from netpy.model import EndpointSpec

Json = dict[str, Any]
Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
HealthStatus = Literal["starting", "healthy", "unhealthy"]
NEVER = "0001-01-01T00:00:00Z"
# The `Config` that says nothing, as Docker writes it: every key is there.
EMPTY_CONFIG: Json = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One look at a container's health: when, with which exit code, and what the command said. Times as in State."""

    start: str
    end: str
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the probes so far say of a container: the verdict, failures in a row, and the last probes, oldest first."""

    status: HealthStatus = "starting"
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a container stands. Times are RFC 3339 in UTC with nanoseconds, NEVER where it did not happen."""

    status: Status = "created"
    pid: int = 0
    monitor_pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = NEVER
    finished_at: str = NEVER
    health: Health | None = None
    """None where nobody looks after its health, and before its first start."""

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One network a container is to be plugged into whenever it runs. `settings` is Docker's EndpointSettings."""

    network: str
    spec: EndpointSpec
    settings: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container. `id` is 64 hex digits, `name` has no leading slash, `image` is the reference as given."""

    id: str
    name: str
    created: str
    image: str
    image_id: str
    config: Json
    host_config: Json
    path: str = ""
    args: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    state: State = State()
    restart_count: int = 0
    stopped_by_user: bool = False
    mounts: tuple[Json, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

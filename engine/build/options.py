"""What a build is asked for, as a value. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The query of POST /build, decoded.

    `arguments` are build arguments, None for a name without a value. `host_config` is what of Docker's HostConfig
    holds for every RUN: limits, shared memory, extra hosts, the network mode. `auths` are credentials by registry.
    """

    dockerfile: str = "Dockerfile"
    tags: tuple[str, ...] = ()
    arguments: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    target: str = ""
    platform: str = ""
    cache: bool = True
    cache_from: tuple[str, ...] = ()
    pull: bool = False
    remove: bool = True
    force_remove: bool = False
    squash: bool = False
    quiet: bool = False
    host_config: Json = field(default_factory=dict[str, Any])
    auths: Json = field(default_factory=dict[str, Any])

"""What a container's configuration becomes: the request, completed by the image and by Docker's defaults.

Pure. Input and output are Docker's documents `Config` and `HostConfig`; keys that this engine does not know are kept as
they came, so that a client reads back what it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.containers import logdrivers
from engine.containers.documents import items, table
from engine.lifecycle import restart_policy
from engine.model import EMPTY_CONFIG, Json
from engine.oci.spec import MASKED_PATHS, READONLY_PATHS
from netpy.errors import Conflict, InvalidArgument

_CONFIG: Json = {**EMPTY_CONFIG, "Env": [], "Labels": {}}
_HOST: Mapping[str, Any] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "bridge",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "host",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "private",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 64 << 20,
    "Runtime": "runc",
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": False,
    "PidsLimit": None,
    "Ulimits": [],
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": list(MASKED_PATHS),
    "ReadonlyPaths": list(READONLY_PATHS),
}
# Zero stands for "not said" in requests; these come back as null, as Docker has it.
_NULL_WHEN_ZERO = ("PidsLimit", "OomKillDisable")


def config(request: Json, image: Mapping[str, Any], container_id: str) -> Json:
    """`Config`, complete. InvalidArgument("no command specified") when neither side names one."""
    merged: Json = dict(_CONFIG) | {key: value for key, value in request.items() if value is not None}
    merged["Env"] = _environment(items(request, "Env"), items(image, "Env"))
    merged["Labels"] = table(image, "Labels") | table(request, "Labels")
    for key in ("ExposedPorts", "Volumes"):
        union = dict(image.get(key) or {}) | dict(request.get(key) or {})
        merged[key] = union or None
    if not merged["ExposedPorts"]:
        del merged["ExposedPorts"]
    for key in ("User", "WorkingDir", "StopSignal", "StopTimeout", "Shell"):
        if not request.get(key) and image.get(key):
            merged[key] = image[key]
    merged["Entrypoint"], merged["Cmd"] = _command(request, image)
    _merge_healthcheck(merged, image)
    if merged["WorkingDir"] and not merged["WorkingDir"].startswith("/"):
        raise InvalidArgument(
            f"the working directory '{merged['WorkingDir']}' is invalid, it needs to be an absolute path"
        )
    return merged | {"Hostname": merged["Hostname"] or container_id[:12]}


def command(merged: Json) -> list[str]:
    """The program and its arguments: entrypoint, then command."""
    return [*(merged["Entrypoint"] or []), *(merged["Cmd"] or [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the daemon's settings and the machine say of containers that say nothing themselves."""

    shm_size: int = 64 << 20
    runtime: str = "runc"
    cgroup_namespace: str = "host"
    log: Mapping[str, Any] = field(default_factory=lambda: {"Type": logdrivers.DEFAULT, "Config": {}})


def host_config(request: Json, defaults: Defaults) -> Json:
    """`HostConfig` with Docker's defaults filled in. InvalidArgument or Conflict for what cannot be."""
    merged: Json = dict(_HOST) | {key: value for key, value in request.items() if value is not None}
    mode = merged["NetworkMode"]
    merged["NetworkMode"] = "bridge" if mode in ("", "default") else mode
    merged["ShmSize"] = request.get("ShmSize") or defaults.shm_size
    merged["Runtime"] = request.get("Runtime") or defaults.runtime
    merged["IpcMode"] = merged["IpcMode"] or "private"
    merged["CgroupnsMode"] = request.get("CgroupnsMode") or (
        "host" if merged["Privileged"] else defaults.cgroup_namespace
    )
    policy = restart_policy(merged["RestartPolicy"])
    merged["RestartPolicy"] = {"Name": policy.name, "MaximumRetryCount": policy.maximum}
    merged["LogConfig"] = logdrivers.settled(table(merged, "LogConfig"), defaults.log)
    if merged["MemorySwappiness"] == -1:
        merged["MemorySwappiness"] = None
    if merged["Memory"] > 0 and not merged["MemorySwap"]:
        merged["MemorySwap"] = 2 * merged["Memory"]  # as much swap as memory, when nothing is said
    merged |= {key: None for key in _NULL_WHEN_ZERO if not merged[key]}
    if merged["Privileged"]:
        merged |= {"MaskedPaths": None, "ReadonlyPaths": None}
    _check_host(merged)
    return merged


def _check_host(merged: Json) -> None:
    if merged["AutoRemove"] and merged["RestartPolicy"]["Name"] != "no":
        raise Conflict("can't create 'AutoRemove' container with restart policy")


def _environment(requested: list[str], inherited: list[str]) -> list[str]:
    known = {entry.partition("=")[0] for entry in requested}
    for entry in requested:
        if not entry.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: {entry}")
    return [*requested, *(entry for entry in inherited if entry.partition("=")[0] not in known)]


def _command(request: Json, image: Mapping[str, Any]) -> tuple[list[str] | None, list[str] | None]:
    """Docker's rules: an entrypoint of one's own sets the image's command aside; `[""]` sets its entrypoint aside."""
    entrypoint, arguments = _words(request.get("Entrypoint")), _words(request.get("Cmd"))
    if not entrypoint:
        arguments = arguments or _words(image.get("Cmd"))
        if entrypoint is None:
            entrypoint = _words(image.get("Entrypoint"))
    if entrypoint == [""]:
        entrypoint = None
    if not entrypoint and not arguments:
        raise InvalidArgument("no command specified")
    return entrypoint, arguments


def _words(value: Any) -> list[str] | None:
    """Old clients send one string where a list belongs."""
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(word) for word in value]


def _merge_healthcheck(merged: Json, image: Mapping[str, Any]) -> None:
    own, inherited = table(merged, "Healthcheck"), table(image, "Healthcheck")
    if own or inherited:
        merged["Healthcheck"] = inherited | {key: value for key, value in own.items() if value}

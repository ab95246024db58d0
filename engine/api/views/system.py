"""The daemon itself as `docker version`, `docker info` and `docker system df` show it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.api.router import CURRENT, MINIMUM, version_text
from engine.model import Json

if TYPE_CHECKING:
    from engine.api.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the daemon says of itself. `counts` is the number of containers by status; `now` is RFC 3339."""

    id: str
    version: str
    runtime: str
    firewall: str
    drivers: Sequence[str]
    counts: Mapping[str, int]
    images: int
    data_root: str
    labels: Sequence[str]
    registries: Json
    debug: bool
    listeners: int
    threads: int
    experimental: bool
    now: str
    log_driver: str
    log_drivers: Sequence[str]


def version(machine: Machine, netpy: str, *, experimental: bool = False) -> Json:
    """GET /version."""
    details = {
        "ApiVersion": version_text(CURRENT),
        "Arch": machine.architecture,
        "BuildTime": "",
        "Experimental": str(experimental).lower(),
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": machine.kernel,
        "MinAPIVersion": version_text(MINIMUM),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "netpy"},
        "Components": [{"Name": "Engine", "Version": netpy, "Details": details}],
        "Version": netpy,
        "ApiVersion": version_text(CURRENT),
        "MinAPIVersion": version_text(MINIMUM),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": machine.architecture,
        "KernelVersion": machine.kernel,
        "BuildTime": "",
        **({"Experimental": True} if experimental else {}),
    }


def info(machine: Machine, facts: Facts) -> Json:
    """GET /info. Keys and their order are Docker's; swarm and plugins are said to be absent."""
    return {
        "ID": facts.id,
        **_counts(facts.counts),
        "Images": facts.images,
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs"], ["Firewall Backend", facts.firewall]],
        "Plugins": {
            "Volume": ["local"],
            "Network": list(facts.drivers),
            "Authorization": None,
            "Log": list(facts.log_drivers),
        },
        **_limits(machine),
        "IPv4Forwarding": machine.ipv4_forwarding,
        "BridgeNfIptables": machine.bridge_nf,
        "BridgeNfIp6tables": machine.bridge_nf6,
        "Debug": facts.debug,
        "NFd": machine.descriptors,
        "OomKillDisable": machine.support.memory and machine.cgroup_version == "1",
        "NGoroutines": facts.threads,
        "SystemTime": facts.now,
        "LoggingDriver": facts.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": machine.cgroup_version,
        "NEventsListener": facts.listeners,
        "KernelVersion": machine.kernel,
        "OperatingSystem": machine.system,
        "OSVersion": machine.system_version,
        "OSType": "linux",
        "Architecture": machine.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": dict(facts.registries),
        "NCPU": machine.cpus,
        "MemTotal": machine.memory,
        "GenericResources": None,
        "DockerRootDir": facts.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": machine.hostname,
        "Labels": list(facts.labels),
        "ExperimentalBuild": facts.experimental,
        "ServerVersion": facts.version,
        "Runtimes": {facts.runtime: {"path": facts.runtime}},
        "DefaultRuntime": facts.runtime,
        "Swarm": _SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": _NO_COMMIT,
        "RuncCommit": _NO_COMMIT,
        "InitCommit": _NO_COMMIT,
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "Warnings": None,
    }


DISK_TYPES: Mapping[str, str] = {
    "image": "Images",
    "container": "Containers",
    "volume": "Volumes",
    "build-cache": "BuildCache",
}


def disk_usage(layers: int, found: Mapping[str, Sequence[Json]]) -> Json:
    """GET /system/df, of the kinds found. `layers` is the size of all layers in bytes, each counted once."""
    shown: Json = {key: list(found[kind]) if kind in found else None for kind, key in DISK_TYPES.items()}
    return {"LayersSize": layers if "image" in found else 0, **shown, "BuilderSize": 0}


_SWARM: Json = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}
_NO_COMMIT: Json = {"ID": "", "Expected": ""}


def _counts(counts: Mapping[str, int]) -> Json:
    running, paused = counts.get("running", 0) + counts.get("restarting", 0), counts.get("paused", 0)
    total = sum(counts.values())
    return {
        "Containers": total,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": total - running - paused,
    }


def _limits(machine: Machine) -> Json:
    can = machine.support
    return {
        "MemoryLimit": can.memory,
        "SwapLimit": can.swap,
        "CpuCfsPeriod": can.cpu,
        "CpuCfsQuota": can.cpu,
        "CPUShares": can.cpu,
        "CPUSet": can.cpuset,
        "PidsLimit": can.pids,
    }
